"""Threads that wait: the driver of the bodies of core.blocking, and what puts one thread to sleep."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from afunix.abi.errno import Errno, SyscallError
from afunix.inproc.host import MONOTONIC

if TYPE_CHECKING:
    from afunix.core.blocking import Body
    from afunix.core.socket import Socket
    from afunix.core.wait import WaitQueue
    from afunix.inproc.kernel import Kernel

__all__ = ["Sleeper", "await_data", "park", "run"]

T = TypeVar("T")


class Sleeper:
    """A thread that sleeps until it is called: a waiter of wait queues. Calls are made under the kernel's lock."""

    __slots__ = ("_kernel", "_lock")

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        """Wake it."""
        if self._lock.locked():
            self._lock.release()
            if self._kernel is not None:
                self._kernel.roused = True

    def sleep(self, until: float | None) -> bool:
        """Sleep until called (True) or the deadline has passed (False). Python's signal handlers run meanwhile."""
        if until is None:
            return self._lock.acquire()
        left = until - MONOTONIC()
        # A time-out too long for the lock is as good as none.
        return self._lock.acquire(timeout=min(left, threading.TIMEOUT_MAX)) if left > 0 else self._lock.acquire(False)


def park(kernel: Kernel, queues: Sequence[WaitQueue], until: float | None) -> bool:
    """Sleep until one of the queues is woken, or False at the deadline. The kernel's lock is held, but while asleep.

    An exception of a signal handler, such as KeyboardInterrupt, leaves no trace in the queues.
    """
    kernel.settle()
    sleeper = Sleeper(kernel)
    for queue in queues:
        queue.add(sleeper)
    try:
        kernel.lock.release()
        return sleeper.sleep(until)
    finally:
        kernel.lock.acquire()
        for queue in queues:
            queue.discard(sleeper)


def await_data(kernel: Kernel, sock: Socket) -> None:
    """Sleep until a connected stream socket has something to tell: the cheap beginning of a receive that may wait."""
    readable = sock.readable
    while not sock.queue and not sock.shut and sock.error is None and sock.references:
        sleeper = Sleeper(kernel)
        readable.waiters[sleeper] = False
        try:
            kernel.lock.release()
            sleeper.sleep(None)
        finally:
            kernel.lock.acquire()
            readable.waiters.pop(sleeper, None)


def run(kernel: Kernel, body: Body[T]) -> T:
    """Drive a body to its end in this thread. The kernel's lock is held."""
    try:
        block = next(body)
        while True:
            woken = park(kernel, block.queues, block.deadline)
            block = next(body) if woken else body.throw(SyscallError(Errno.EAGAIN))
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        body.close()
