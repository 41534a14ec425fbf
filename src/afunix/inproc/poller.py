"""What select, poll and epoll have in common: files of our kernels and descriptors of the host, waited for together.

A thread that waits sleeps either on a lock, which our wake-ups release, or, once descriptors of the host take part, in
the host's own poll; our wake-ups then write to a host descriptor that is polled along. Nobody writes to it while nobody
sleeps there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.constants import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, POLLNVAL
from afunix.core import polling
from afunix.inproc import host, numbers
from afunix.inproc.host import MONOTONIC
from afunix.inproc.waiting import Sleeper, park

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.wait import WaitQueue
    from afunix.inproc.kernel import Kernel

__all__ = ["HostPoll", "Interest", "host_poll", "mask_of", "number_of", "wait"]

EVENT_READ: Final = 1
EVENT_WRITE: Final = 2


def number_of(source: Any) -> int:
    """The descriptor number that a select call was given, as an int or by `fileno`: TypeError, ValueError."""
    if isinstance(source, int):
        number = source
    else:
        try:
            number = source.fileno()
        except AttributeError:
            raise TypeError("argument must be an int, or have a fileno() method.") from None
        if not isinstance(number, int):
            raise TypeError("fileno() returned a non-integer")
    if number < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({number})")
    return int(number)


class HostPoll:
    """The host's descriptors where it has no epoll: its best selector in epoll's form, level-triggered only."""

    def __init__(self) -> None:
        self._selector = host.SELECTOR()

    def register(self, fd: int, events: int) -> None:
        """Watch a descriptor."""
        if self._interest(events):
            self._selector.register(fd, self._interest(events))

    def modify(self, fd: int, events: int) -> None:
        """Watch it for something else."""
        self.unregister(fd)
        self.register(fd, events)

    def unregister(self, fd: int) -> None:
        """Watch it no longer."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def poll(self, timeout: float | None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Pairs of descriptor and events; timeout in seconds, None or negative for none."""
        found = self._selector.select(None if timeout is None or timeout < 0 else timeout)
        events = [
            (key.fd, (EPOLLIN if mask & EVENT_READ else 0) | (EPOLLOUT if mask & EVENT_WRITE else 0))
            for key, mask in found
        ]
        return events if maxevents < 0 else events[:maxevents]

    def close(self) -> None:
        """Free it."""
        self._selector.close()

    @staticmethod
    def _interest(events: int) -> int:
        return (EVENT_READ if events & (EPOLLIN | EPOLLPRI) else 0) | (EVENT_WRITE if events & EPOLLOUT else 0)


def host_poll() -> Any:
    """The host's epoll, or what stands for it."""
    return HostPoll() if host.EPOLL is None else host.EPOLL()


class Interest:
    """One file in a wait: its kernel, the number it was found under, and the bits that are waited for."""

    __slots__ = ("events", "file", "kernel", "number")

    def __init__(self, kernel: Kernel, file: File, number: int, events: int) -> None:
        self.kernel = kernel
        self.file = file
        self.number = number
        self.events = events

    def mask(self) -> int:
        """What is ready under its number, which may have become another file's. ERR, HUP and NVAL always are asked for.

        Each look goes by number, as do_pollfd does, though a wait holds the file that it was before.
        """
        return mask_of(self.number, self.events)


def mask_of(number: int, events: int) -> int:
    """Which of these bits, ERR, HUP and NVAL are set for what a virtual number refers to now."""
    try:
        process, _, file = numbers.find(number)
    except OSError:
        return POLLNVAL
    with process.kernel.lock:
        return polling.mask(file) & (events | EPOLLERR | EPOLLHUP)


def wait(
    interests: Iterable[Interest],
    host_events: Callable[[float | None], list[Any]] | None,
    pipe: Any,
    until: float | None,
) -> tuple[list[tuple[int, int]], list[Any]]:
    """What is ready of our files, as pairs of number and events, and of the host's; both empty at the deadline.

    host_events polls the host's descriptors and `pipe` for so many seconds; without it there are none. While it sleeps
    it holds our files.
    """
    interests = list(interests)
    if host_events is None and len({interest.kernel for interest in interests}) == 1:
        return _wait_in_one(interests[0].kernel, interests, until), []
    sleeper = Sleeper()
    waker: Callable[[], object] = sleeper if host_events is None else pipe.wake
    queues: list[tuple[Kernel, WaitQueue]] = [
        (interest.kernel, queue) for interest in interests for queue, _ in polling.queues(interest.file)
    ]
    entered = False
    try:
        while True:
            ours = [(interest.number, mask) for interest in interests if (mask := interest.mask())]
            left = None if until is None else max(until - MONOTONIC(), 0.0)
            if ours or left == 0.0:
                return ours, host_events(0.0) if host_events is not None else []
            if not entered:
                # Enter the queues first, then look again: what comes between is not missed.
                entered = True
                for interest in interests:
                    with interest.kernel.lock:
                        interest.file.acquire()
                for kernel, queue in queues:
                    with kernel.lock:
                        queue.add(waker)
                continue
            if host_events is None:
                sleeper.sleep(until)
                continue
            theirs = host_events(left)
            if theirs:
                return [(interest.number, mask) for interest in interests if (mask := interest.mask())], theirs
            pipe.drain()
    finally:
        if entered:
            for kernel, queue in queues:
                with kernel.lock:
                    queue.discard(waker)
            for interest in interests:
                with interest.kernel.lock:
                    interest.file.release()
                    interest.kernel.settle()


def _wait_in_one(kernel: Kernel, interests: Sequence[Interest], until: float | None) -> list[tuple[int, int]]:
    """`wait` where nothing but files of one kernel takes part."""
    files: list[File] = []
    with kernel.lock:
        try:
            while True:
                ready = [(interest.number, mask) for interest in interests if (mask := interest.mask())]
                if ready or (until is not None and until <= MONOTONIC()):
                    return ready
                if not files:
                    for interest in interests:
                        interest.file.acquire()
                        files.append(interest.file)
                    queues = [queue for file in files for queue, _ in polling.queues(file)]
                park(kernel, queues, until)
        finally:
            for file in files:
                file.release()
            kernel.settle()
