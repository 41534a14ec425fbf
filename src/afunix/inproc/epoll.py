"""The class `epoll`: the core's epoll for our files, the host's for its own, waited for in one call."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.constants import EPOLLIN, EPOLLOUT, EPOLLPRI
from afunix.abi.errno import Errno, SyscallError
from afunix.core.epoll import Epoll
from afunix.core.errors import Unmodelled
from afunix.inproc import host, numbers
from afunix.inproc.host import MONOTONIC, bad_descriptor, os_error
from afunix.inproc.poller import host_poll, number_of
from afunix.inproc.waiting import Sleeper

if TYPE_CHECKING:
    from types import TracebackType

    from afunix.core.file import File
    from afunix.inproc.kernel import Kernel

__all__ = ["epoll"]

FD_SETSIZE: Final = 1023
Events = list[tuple[int, int]]
"""Masks of events, each with the descriptor it is of."""

HOST_EVERY: Final = 4
"""While there is always something of ours, the host is asked with every so manieth poll: a poll is a system call."""


_by_number: weakref.WeakValueDictionary[int, epoll] = weakref.WeakValueDictionary()


class Part:
    """The core's epoll on one kernel, and the waiter that is in its queue while somebody sleeps."""

    __slots__ = ("core", "kernel", "lock", "owner")

    def __init__(self, kernel: Kernel, owner: epoll) -> None:
        self.kernel = kernel
        self.lock = kernel.lock
        self.owner = owner
        self.core = Epoll(kernel.core.wakeups)

    def __call__(self) -> None:
        """Something became ready."""
        self.owner._ring()


class epoll:  # noqa: N801 - its name in the standard library
    """As the standard library's `select.epoll`. Cost of a poll: by what is ready, not by what is registered.

    Virtual descriptors have all modes of epoll(7) everywhere; the host's have what the host has.
    """

    __slots__ = ("__dict__", "__weakref__", "closed")
    # The object's own; all else it shares with those that `fromfd` made of it.
    closed: bool

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        if sizehint < -1 or sizehint == 0:
            raise ValueError("negative sizehint")
        if flags not in (0, 0o2000000):
            raise os_error(SyscallError(Errno.EINVAL))
        self._parts: list[Part] = []
        # By virtual number: the part, and the file that it referred to when it was registered.
        self._files: dict[int, tuple[Part, File]] = {}
        self._host: Any = None
        self._host_fds: set[int] = set()
        self._pipe: host.Pipe | None = None
        self._calls: dict[Sleeper, None] = {}  # that wait, and hold what close would free
        self._sleepers: dict[Sleeper, None] = {}
        self._outside = 0  # threads in the host's poll
        self._unasked = HOST_EVERY  # polls that had events of ours since the host was asked last
        self._ended = False
        self.closed = False

    @classmethod
    def fromfd(cls, fd: int) -> epoll:
        """Another object for the same epoll of ours, by what its `fileno` said: whichever is closed closes it."""
        original = _by_number.get(fd)
        if original is None:
            raise Unmodelled("an epoll of the host that others made")
        made = cls.__new__(cls)
        made.__dict__ = original.__dict__
        made.closed = False
        return made

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed epoll object")
        if self._ended:
            raise bad_descriptor()

    def register(self, fd: Any, eventmask: int = EPOLLIN | EPOLLPRI | EPOLLOUT) -> None:
        """Watch a descriptor. OSError EEXIST, EBADF, EPERM."""
        self._check()
        number = number_of(fd)
        if numbers.is_virtual(number):
            process, _, file = numbers.find(number)
            part = self._part(process.kernel)
            self._call(part, part.core.add, number, file, eventmask & 0xFFFFFFFF, number)
            self._files[number] = part, file
        else:
            self._watch_host(number, eventmask)

    def _part(self, kernel: Kernel) -> Part:
        for part in self._parts:
            if part.kernel is kernel:
                return part
        part = Part(kernel, self)
        self._parts.append(part)
        if self._outside or self._sleepers:
            with kernel.lock:
                part.core.readable.add(part)
        return part

    def _watch_host(self, fd: int, events: int) -> None:
        if self._host is None:
            self._host = host_poll()
            self._pipe = host.Pipe()
            self._host.register(self._pipe.fileno(), EPOLLIN)
        self._host.register(fd, events)
        self._host_fds.add(fd)
        for sleeper in list(self._sleepers):
            sleeper()  # it has to sleep in the host's poll from now on

    def modify(self, fd: Any, eventmask: int) -> None:
        """Watch it for something else. OSError ENOENT, EBADF."""
        self._check()
        number = number_of(fd)
        if numbers.is_virtual(number):
            part, file = self._watched(number)
            self._call(part, part.core.modify, number, file, eventmask & 0xFFFFFFFF, number)
        elif self._host is None:
            raise os_error(SyscallError(Errno.ENOENT))
        else:
            self._host.modify(number, eventmask)

    def unregister(self, fd: Any) -> None:
        """Watch it no longer. OSError ENOENT, EBADF."""
        self._check()
        number = number_of(fd)
        if numbers.is_virtual(number):
            part, file = self._watched(number)
            del self._files[number]
            self._call(part, part.core.remove, number, file)
        elif self._host is None:
            raise os_error(SyscallError(Errno.ENOENT))
        else:
            self._host_fds.discard(number)
            self._host.unregister(number)

    def _watched(self, number: int) -> tuple[Part, File]:
        """The part and the file of a number: EBADF when it is closed, ENOENT if it was not registered since."""
        found = self._files.get(number)
        try:
            _, _, file = numbers.find(number)
        except OSError:
            self._files.pop(number, None)
            raise
        if found is None or found[1] is not file:
            raise os_error(SyscallError(Errno.ENOENT))
        return found

    @staticmethod
    def _call(part: Part, operation: Any, *arguments: Any) -> None:
        part.lock.acquire()
        try:
            operation(*arguments)
        except SyscallError as error:
            raise os_error(error) from None
        finally:
            part.kernel.leave()

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Pairs of descriptor and events, at least one within timeout seconds, None or negative for no limit."""
        return [(number, mask) for mask, number in self.events(timeout, maxevents)]

    def events(self, timeout: float | None, maxevents: int) -> Events:
        """What `poll` returns, in the core's form: events first."""
        if self._ended:
            self._check()
        if maxevents <= 0:
            if maxevents != -1:
                raise ValueError(f"maxevents must be greater than 0, got {maxevents}")
            maxevents = FD_SETSIZE
        events = self._ready(maxevents)
        if self._host_fds:
            if events or timeout == 0:
                self._unasked += 1
                if len(events) < maxevents and (not events or self._unasked >= HOST_EVERY):
                    self._unasked = 0
                    events += self._host_ready(0, maxevents - len(events))
                return events
        elif events or timeout == 0:
            return events
        return self._wait(None if timeout is None or timeout < 0 else MONOTONIC() + timeout, maxevents)

    def _ready(self, maxevents: int) -> Events:
        events: Events = []
        for part in self._parts:
            core = part.core
            if core.ready and len(events) < maxevents:
                part.lock.acquire()
                try:
                    found = core.wait_nowait(maxevents - len(events))
                finally:
                    part.lock.release()
                if isinstance(found, list):
                    events = events + found if events else found  # type: ignore[assignment, operator]
        return events

    def _host_ready(self, timeout: float | None, maxevents: int) -> Events:
        events = self._host.poll(timeout, maxevents + 1)
        if not events:
            return []
        assert self._pipe is not None
        bell = self._pipe.fileno()
        if any(fd == bell for fd, _ in events):
            self._pipe.drain()
        return [(mask, fd) for fd, mask in events if fd != bell][:maxevents]

    def _wait(self, until: float | None, maxevents: int) -> Events:
        sleeper = Sleeper()
        self._calls[sleeper] = None
        try:
            return self._sleep(sleeper, until, maxevents)
        finally:
            del self._calls[sleeper]
            if self._ended:
                self._free()

    def _sleep(self, sleeper: Sleeper, until: float | None, maxevents: int) -> list[tuple[int, int]]:
        while True:
            outside = bool(self._host_fds)
            # Say that somebody sleeps, then look again: who makes something ready after that rings.
            if outside:
                self._outside += 1
            else:
                self._sleepers[sleeper] = None
            theirs: Events = []
            self._listen(True)
            try:
                events = self._ready(maxevents)
                left = None if until is None else max(until - MONOTONIC(), 0.0)
                if not events and outside:
                    theirs = self._host_ready(left, maxevents)
                elif not events:
                    sleeper.sleep(until)
            finally:
                if outside:
                    self._outside -= 1
                else:
                    self._sleepers.pop(sleeper, None)
                self._listen(False)
            events = events or self._ready(maxevents)
            if events or theirs or left == 0.0:
                return (events + theirs)[:maxevents]

    def _listen(self, on: bool) -> None:
        """Have the parts ring while somebody sleeps."""
        for part in self._parts:
            with part.kernel.lock:
                if on:
                    part.core.readable.add(part)
                elif not self._outside and not self._sleepers:
                    part.core.readable.discard(part)

    def _ring(self) -> None:
        if self._outside and self._pipe is not None:
            self._pipe.wake()
        for sleeper in list(self._sleepers):
            sleeper()

    def fileno(self) -> int:
        """The host's epoll's, which tells of host descriptors only."""
        self._check()
        if self._host is None:
            self._host = host_poll()
            self._pipe = host.Pipe()
            self._host.register(self._pipe.fileno(), EPOLLIN)
        fileno = getattr(self._host, "fileno", None)
        number = -1 if fileno is None else int(fileno())
        _by_number[number] = self
        return number

    def close(self) -> None:
        """Free it, as soon as no poll of another thread waits in it."""
        self.closed = True
        if not self._ended:
            self._ended = True
            self._free()

    def _free(self) -> None:
        if self._calls:
            return
        for part in self._parts:
            with part.kernel.lock:
                part.core.close()
        self._parts.clear()
        self._files.clear()
        for made in (self._host, self._pipe):
            if made is not None:
                made.close()
        self._host = self._pipe = None

    def __enter__(self) -> epoll:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
