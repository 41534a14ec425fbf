"""Threads that wait: the driver of the bodies of core.blocking, and what puts one thread to sleep.

A call that sleeps holds a reference to its open file, as fdget does: whoever closes the descriptor meanwhile does not
end it, and the file is closed when the call is over. While it has the lock nobody else can close anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from afunix.abi.constants import SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.stream_quick import hand_back
from afunix.inproc.host import MONOTONIC
from afunix.inproc.parking import Parker

if TYPE_CHECKING:
    from afunix.core.blocking import Body
    from afunix.core.file import File
    from afunix.core.socket import Socket
    from afunix.core.wait import WaitQueue
    from afunix.inproc.kernel import Kernel

__all__ = ["Sleeper", "Taker", "park", "retake", "run"]

T = TypeVar("T")


class Sleeper:
    """A thread that sleeps until it is called: a waiter of wait queues. Calls are made under the kernel's lock."""

    __slots__ = ("_kernel", "_parker")

    def __init__(self, kernel: Kernel | None = None) -> None:
        self._kernel = kernel
        self._parker = Parker()

    def __call__(self) -> None:
        """Wake it."""
        if self._parker.unpark() and self._kernel is not None:
            self._kernel.roused = True

    def sleep(self, until: float | None) -> bool:
        """Sleep until called (True) or the deadline has passed (False). Python's signal handlers run meanwhile."""
        return self._parker.park(None if until is None else until - MONOTONIC())


def park(kernel: Kernel, queues: Sequence[WaitQueue], until: float | None) -> bool:
    """Sleep until one of the queues is woken, or False at the deadline. The kernel's lock is held, but while asleep.

    An exception of a signal handler, such as KeyboardInterrupt, leaves no trace in the queues.
    """
    kernel.settle()
    sleeper = Sleeper(kernel)
    for queue in queues:
        queue.add(sleeper)
    raised: BaseException | None = None
    kernel.lock.release()
    try:
        woken = sleeper.sleep(until)
    finally:
        raised = retake(kernel.lock)
        for queue in queues:
            queue.discard(sleeper)
    if raised is not None:
        raise raised
    return woken


class Taker(Sleeper):
    """A thread that sleeps in a plain read: a core `Taker`, of a stream. It may be used again after `wait`."""

    __slots__ = ("_given", "data", "size", "sock")

    _kernel: Kernel
    sock: Socket

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.size = 0
        self.data: bytes | None = None
        # The data, once all is done that needs the lock: a reader whose time is over looks without having been called.
        self._given: bytes | None = None

    def __call__(self) -> None:
        """Wake it. With the data the read is over, and the reference dropped, as the reader will not take the lock."""
        data, self.data = self.data, None
        if data is not None:
            self.sock.release()
            self._given = data
        if self._parker.unpark():
            self._kernel.roused = True

    def enter(self, sock: Socket, size: int) -> bool:
        """Begin to wait, under the kernel's lock; False where there is something to read or to tell already."""
        if sock.queue or sock.shut or sock.error is not None or sock.rcvlowat > 1 or not sock.references:
            return False
        sock.references += 1
        self.sock = sock
        self.size = size
        sock.readable[self] = False
        if sock.taker is None and sock.type == SOCK_STREAM:
            sock.taker = self
        return True

    def wait(self, sock: Socket, timeout: float | None) -> bytes | None:
        """Sleep for at most so many seconds, without the lock: the data that were handed over.

        None where something else has happened, or nothing: the lock is held then, and still the reference, and whoever
        gets it releases both. After an exception of a signal handler nothing is left of it, and data that came too
        late are back in the queue.
        """
        try:
            self._parker.park(timeout)
        except BaseException:
            self._leave(sock, ended=True)
            raise
        data, self._given = self._given, None
        return self._leave(sock) if data is None else data

    def _leave(self, sock: Socket, ended: bool = False) -> bytes | None:
        """Wait no longer; what was handed over in the last moment, which a read that has ended gives back."""
        kernel = self._kernel
        raised = retake(kernel.lock)
        sock.readable.discard(self)
        if sock.taker is self:
            sock.taker = None
        self._parker.park(0)
        data, self._given = self._given, None
        ended = ended or raised is not None
        if ended:
            if data is not None:
                hand_back(sock, data)
            else:
                sock.release()
            kernel.settle()
        if ended or data is not None:
            kernel.lock.release()
        if raised is not None:
            raise raised
        return data


def retake(lock: Any) -> BaseException | None:
    """Acquire a kernel's lock, whatever signal handlers raise meanwhile: the result, to be raised later."""
    raised: BaseException | None = None
    while True:
        try:
            lock.acquire()
            return raised
        except BaseException as error:
            raised = error
            if lock._is_owned():
                return raised


def run(kernel: Kernel, file: File, body: Body[T]) -> T:
    """Drive a body to its end in this thread, holding the file it is about. The kernel's lock is held."""
    file.acquire()
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
        file.release()
