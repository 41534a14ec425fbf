"""Which placeholders there are, and which of them programs have closed for good."""

from __future__ import annotations

import re
import resource
import select
import socket as host
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from afunix.supervisor.placeholder import Placeholder

__all__ = ["SOCKET_ROW", "Watch"]

EVENTS = select.EPOLLRDHUP | select.EPOLLET
SWEEP_FIRST = 64
BACKLOG = 4096
RESERVE = 320
"""So many of the supervisor's descriptors no new socket gets: it needs some for a moment to serve those there are, and
253 to take those of one message out of a queue (SCM_MAX_FD).
"""
NEAR = 8
"""With so few descriptors left it is looked each time whether loose placeholders are still needed."""
SOCKET_ROW = re.compile(rb"^[0-9a-f]+:(?: [0-9A-F]{8}){3} [0-9A-F]{4} [0-9A-F]{2} +([0-9]+)", re.MULTILINE)
"""A line of /proc/net/unix up to the inode number."""


class Watch:
    """All placeholders by the inode number of their program end.

    Those with an other end tell of their last close by an event on `epoll`. Those without one (sockets that never
    connected, or whose peer is gone) are *loose*: a sweep looks them up in the host's own table of Unix sockets, when
    it matters whether one is still alive and each time their number has doubled, so that the cost stays constant per
    socket.
    """

    def __init__(self) -> None:
        self.by_inode: dict[int, Placeholder] = {}
        self.epoll = select.epoll()
        self._by_end: dict[int, Placeholder] = {}
        self._others: dict[int, Callable[[int], None]] = {}
        self._loose: dict[int, Placeholder] = {}
        self._sweep_at = SWEEP_FIRST
        self.watcher = (self.epoll.fileno(), EVENTS)
        """How the other ends of placeholders are watched: for endcalls.pair."""
        self._meeting = host.socket(host.AF_UNIX, host.SOCK_STREAM)
        self._meeting.bind("")
        self._meeting.listen(BACKLOG)
        address: bytes = host.AF_UNIX.to_bytes(2, sys.byteorder) + self._meeting.getsockname()
        self.meeting = (self._meeting.fileno(), *self.watcher, address)
        """How unconnected ones are connected to their other ends: for endcalls.join."""
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = allowed - min(RESERVE, allowed // 4) if allowed >= 0 else 1 << 31
        """The first descriptor number that a new placeholder may not have."""
        self._expected = 0  # so many more will be needed if all loose placeholders come to have another end
        self._next = 0  # the first number that was free when the last placeholder was made, if they all had

    def close(self) -> None:
        """Close its own descriptors."""
        self._meeting.close()
        self.epoll.close()

    def has_room(self, number: int) -> bool:
        """Whether there is room for a new placeholder that has this descriptor number.

        Loose ones count: to refuse a program a socket is better than to find no descriptor when it connects.
        """
        self._next = number + self._expected
        return self._next < self.limit

    def add(self, placeholder: Placeholder) -> None:
        """A new placeholder."""
        self.by_inode[placeholder.inode] = placeholder
        if placeholder.end < 0:
            self._loose[placeholder.inode] = placeholder
            self._expected += 1
        else:
            self._by_end[placeholder.end] = placeholder

    def remove(self, placeholder: Placeholder) -> None:
        """A placeholder whose virtual socket is gone; its other end is about to be closed, if it has one."""
        self.by_inode.pop(placeholder.inode, None)
        if self._loose.pop(placeholder.inode, None) is not None and not placeholder.hung_up:
            self._expected -= 1
        self._by_end.pop(placeholder.end, None)

    def paired(self, placeholder: Placeholder) -> None:
        """A loose placeholder got its other end."""
        del self._loose[placeholder.inode]
        self._expected -= 1
        self._by_end[placeholder.end] = placeholder

    def unpaired(self, placeholder: Placeholder) -> None:
        """A placeholder is about to lose its other end, which the epoll forgets when it is closed: it is its only
        descriptor.
        """
        self._by_end.pop(placeholder.end, None)
        self._loose[placeholder.inode] = placeholder

    def poll(self) -> Iterator[Placeholder]:
        """The placeholders that programs have closed for good; runs the callbacks of other ready descriptors."""
        alive: set[int] | None = None
        for number, event in self.epoll.poll(0):
            placeholder = self._by_end.get(number)
            if placeholder is None:
                callback = self._others.get(number)
                if callback is not None:
                    callback(event)
            elif event & (select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP):
                if placeholder.shut_both:
                    # One look for all: who is closed after it makes another event.
                    alive = _host_sockets() if alive is None else alive
                    if placeholder.inode in alive:
                        continue
                yield placeholder

    def register(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call back with the events whenever another descriptor is ready (level-triggered unless asked otherwise)."""
        self._others[fd] = callback
        self.epoll.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events on a descriptor given to `register`."""
        self.epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Stop watching a descriptor given to `register`; before it is closed."""
        if self._others.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    @property
    def many_loose(self) -> bool:
        """Whether it is time for a sweep."""
        return len(self._loose) >= self._sweep_at or (self._expected > 0 and self._next + NEAR >= self.limit)

    def dead_loose(self) -> Iterator[Placeholder]:
        """The loose placeholders that no program has any more."""
        if not self._loose:
            return
        alive = _host_sockets()
        dead = [p for inode, p in self._loose.items() if inode not in alive and p.held < 0 and p.parked is None]
        yield from dead
        self._sweep_at = max(SWEEP_FIRST, 2 * len(self._loose))


def _host_sockets() -> set[int]:
    """Inode numbers of all Unix sockets in the supervisor's network namespace, where placeholders are made."""
    with open("/proc/self/net/unix", "rb") as table:
        # A name may hold any byte, so what it adds to the table can look like further lines; they only add numbers.
        return {int(inode) for inode in SOCKET_ROW.findall(table.read())}
