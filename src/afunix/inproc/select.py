"""`select` and `poll` over our files and the host's together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from afunix.abi.constants import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLNVAL,
    POLLOUT,
    POLLPRI,
    POLLRDBAND,
    POLLRDNORM,
    POLLWRBAND,
    POLLWRNORM,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core import readiness
from afunix.inproc import host, numbers
from afunix.inproc.endpoint import INT_MAX, Endpoint, seconds
from afunix.inproc.host import MONOTONIC, os_error
from afunix.inproc.poller import HostPoll, Interest, mask_of, number_of, wait

__all__ = ["poll", "select"]

READ_SET: Final = POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR | POLLNVAL
WRITE_SET: Final = POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR | POLLNVAL
EXCEPT_SET: Final = POLLPRI | POLLNVAL
"""What each set of select(2) stands for (POLLIN_SET, POLLOUT_SET and POLLEX_SET in fs/select.c)."""
USHRT_MAX: Final = 0xFFFF
SEQUENCES: Final = frozenset({list, tuple})
"""What can be looked at twice."""


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any], timeout: float | None = None, /
) -> tuple[list[Any], list[Any], list[Any]]:
    """As the standard library's `select.select`."""
    if timeout is not None:
        timeout = seconds(timeout)
        if timeout < 0:
            raise ValueError("timeout must be non-negative")
    at_once = [_ready(rlist, READ_SET), _ready(wlist, WRITE_SET), _ready(xlist, EXCEPT_SET)]
    if None not in at_once and (timeout == 0 or any(at_once)):
        return tuple(at_once)  # type: ignore[return-value]
    host_select: Any = host.SELECT
    sets = [[(number_of(source), source) for source in sources] for sources in (rlist, wlist, xlist)]
    if not any(numbers.is_virtual(number) for members in sets for number, _ in members):
        # By number, as fileno() is asked once only.
        ready = [set(found) for found in host_select(*[[number for number, _ in members] for members in sets], timeout)]
        r, w, x = ([s for n, s in members if n in found] for members, found in zip(sets, ready, strict=True))
        return r, w, x
    until = _deadline(timeout)
    interests: dict[int, Interest] = {}
    theirs: list[list[int]] = [[], [], []]
    for index, (members, bits) in enumerate(zip(sets, (READ_SET, WRITE_SET, EXCEPT_SET), strict=True)):
        for number, _ in members:
            if not numbers.is_virtual(number):
                theirs[index].append(number)
            elif number in interests:
                interests[number].events |= bits
            else:
                process, _, file = numbers.find(number)
                interests[number] = Interest(process.kernel, file, number, bits)
    found: list[set[int]] = [set(), set(), set()]
    pipe = host.Pipe() if any(theirs) else None

    def host_events(left: float | None) -> list[Any]:
        assert pipe is not None
        ready = host_select([*theirs[0], pipe], theirs[1], theirs[2], left)
        for index, numbers_ in enumerate(ready):
            found[index] = {number for number in numbers_ if number is not pipe}
        return [number for members in found for number in members]

    try:
        ours, _ = wait(interests.values(), None if pipe is None else host_events, pipe, until)
    finally:
        if pipe is not None:
            pipe.close()
    masks = dict(ours)
    result = []
    for index, (members, bits) in enumerate(zip(sets, (READ_SET, WRITE_SET, EXCEPT_SET), strict=True)):
        result.append([source for number, source in members if masks.get(number, 0) & bits or number in found[index]])
    return result[0], result[1], result[2]


def _ready(sources: Iterable[Any], bits: int) -> list[Any] | None:
    """Those for which one of these bits is set; None where not all are open sockets of ours, and need a closer look."""
    if type(sources) not in SEQUENCES:
        return None
    ready = []
    for source in sources:
        if getattr(type(source), "fileno", None) is not Endpoint.fileno:
            return None
        sock = source._sock
        if sock is None or source._process.core.descriptors.files.get(source._fd) is not sock:
            return None
        with source._kernel.lock:
            mask = readiness.mask(sock)
        if mask & bits:
            ready.append(source)
    return ready


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else MONOTONIC() + timeout


def poll() -> Poll:
    """As the standard library's `select.poll`."""
    made = object.__new__(Poll)
    made._events = {}
    made._host = None
    made._polling = False
    made._virtual = 0
    return made


class Poll:
    """As the object that the standard library's `select.poll()` makes."""

    _events: dict[int, int]
    _host: Any
    _polling: bool
    _virtual: int

    __qualname__ = "poll"
    __module__ = "select"

    def __new__(cls) -> Poll:
        raise TypeError("cannot create 'select.poll' instances")

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT, /) -> None:
        """Watch a descriptor, or watch it for something else."""
        number = number_of(fd)
        _check_events(eventmask)
        if numbers.is_virtual(number):
            self._virtual += number not in self._events
        else:
            self._host_poll().register(number, eventmask)
        self._events[number] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Watch it for something else. OSError ENOENT."""
        number = number_of(fd)
        _check_events(eventmask)
        if number not in self._events:
            raise os_error(SyscallError(Errno.ENOENT))
        self.register(number, eventmask)

    def unregister(self, fd: Any, /) -> None:
        """Watch it no longer. KeyError."""
        number = number_of(fd)
        del self._events[number]
        if numbers.is_virtual(number):
            self._virtual -= 1
        else:
            self._host.unregister(number)

    def _host_poll(self) -> Any:
        if self._host is None:
            self._host = HostPoll() if host.POLL is None else host.POLL()
        return self._host

    def _host_events(self, left: float | None) -> list[tuple[int, int]]:
        if host.POLL is None:
            return self._host_poll().poll(left)  # type: ignore[no-any-return]
        events: list[tuple[int, int]] = self._host_poll().poll(None if left is None else math.ceil(left * 1000))
        return events

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Pairs of descriptor and events; timeout in milliseconds, None or negative for no limit.

        RuntimeError: another thread is polling with it.
        """
        if timeout is not None:
            timeout = seconds(timeout)
            if abs(timeout) > INT_MAX:
                raise OverflowError("timeout is too large")
        if self._polling:
            raise RuntimeError("concurrent poll() invocation")
        self._polling = True
        try:
            return self._poll(None if timeout is None or timeout < 0 else timeout / 1000)
        finally:
            self._polling = False

    def _poll(self, left: float | None) -> list[tuple[int, int]]:
        watched = list(self._events.items())  # others may register meanwhile
        if not self._virtual:
            return self._host_events(left)
        if self._virtual == len(watched):
            found = [(number, mask) for number, events in watched if (mask := mask_of(number, events))]
            if found or left == 0:
                return found
        interests = []
        invalid = []
        for number, events in watched:
            if numbers.is_virtual(number):
                try:
                    process, _, file = numbers.find(number)
                    interests.append(Interest(process.kernel, file, number, events))
                except OSError:
                    invalid.append((number, POLLNVAL))
        until = MONOTONIC() if invalid else _deadline(left)
        if len(watched) == len(interests) + len(invalid):
            return wait(interests, None, None, until)[0] + invalid
        pipe = host.Pipe()
        self._host_poll().register(pipe.fileno(), POLLIN)
        try:
            ours, theirs = wait(interests, self._host_events, pipe, until)
        finally:
            self._host_poll().unregister(pipe.fileno())
            pipe.close()
        return ours + invalid + [event for event in theirs if event[0] in self._events]


def _check_events(eventmask: int) -> None:
    """TypeError, ValueError, OverflowError: no C unsigned short."""
    if not isinstance(eventmask, int):
        raise TypeError("an integer is required")
    if eventmask < 0:
        raise ValueError("value must be positive")
    if eventmask > USHRT_MAX:
        raise OverflowError("Python int too large for C unsigned short")


Poll.__name__ = "poll"  # as the standard library's class calls itself
