"""epoll: files of interest, and of those the ones that may be ready (fs/eventpoll.c, POLL-3).

What is not ready costs nothing: an item enters the ready list when a queue of its file is woken, and only the ready
list is looked at. As in Linux the list is a hint: what is in it is polled again before it is reported.

* Level-triggered: what was reported goes back to the end of the list, and leaves it once it polls as not ready.
* Edge-triggered (EPOLLET): it leaves the list when it is reported, until it is woken again.
* EPOLLONESHOT: once reported, nothing but `modify` arms it again.
* EPOLLEXCLUSIVE: of several epolls that wait for one file, a wake-up goes to one that somebody waits on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from afunix.abi.constants import (
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    EPOLLRDNORM,
    EPOLLWAKEUP,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core import polling
from afunix.core.blocking import deadline
from afunix.core.file import File
from afunix.core.polling import READING, WRITING
from afunix.core.wait import WaitQueue, Wakeups, WouldBlock

if TYPE_CHECKING:
    from afunix.core.blocking import Body

__all__ = ["EP_MAX_NESTS", "Epoll", "wait"]

PRIVATE_BITS: Final = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE
EXCLUSIVE_OK_BITS: Final = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE
ONE_REPORT: Final = EPOLLONESHOT | EPOLLET
"""Modes in which an event is not reported again by itself."""
EP_MAX_NESTS: Final = 4
"""Epolls that may watch each other in a row."""


class Item:
    """One file that an epoll watches under a descriptor (`struct epitem`)."""

    __slots__ = ("data", "epoll", "events", "fd", "file", "poll", "queues")

    def __init__(self, epoll: Epoll, fd: int, file: File, events: int, data: object) -> None:
        self.epoll = epoll
        self.fd = fd
        self.file = file
        self.events = events
        self.data = data
        self.poll = polling.poller(file)
        self.queues = polling.queues(file)

    def enter(self) -> None:
        """Wait on the file's queues."""
        exclusive = bool(self.events & EPOLLEXCLUSIVE)
        for queue, key in self.queues:
            queue.add(self.read_woken if key & EPOLLIN else self.write_woken, exclusive)

    def leave(self) -> None:
        """Wait on them no longer."""
        for queue, key in self.queues:
            queue.discard(self.read_woken if key & EPOLLIN else self.write_woken)

    def closed(self) -> None:
        """The last reference to the file is gone (eventpoll_release)."""
        self.epoll.forget(self)

    def read_woken(self) -> bool:
        """The reading queue was woken (ep_poll_callback): whether this one takes a wake-up for one waiter only."""
        events = self.events
        # Who waits for the end only is woken with the readers.
        if (events & READING or not events & WRITING) and events & ~PRIVATE_BITS:
            return self.epoll.note(self)
        return False  # or disarmed by EPOLLONESHOT

    def write_woken(self) -> bool:
        """The writing queue was woken."""
        return self.epoll.note(self) if self.events & WRITING and self.events & ~PRIVATE_BITS else False


class Epoll(File):
    """The open file description that epoll_create1(2) makes. Masks are Linux's EPOLL bits, unsigned.

    items: by descriptor and file, as one file may be watched under several. ready: items that may be ready, in order.
    readable: woken when one enters `ready`.
    """

    __slots__ = ("items", "readable", "ready", "wait_readable", "wakeups")

    def __init__(self, wakeups: Wakeups) -> None:
        super().__init__()
        self.wakeups = wakeups
        self.items: dict[tuple[int, File], Item] = {}
        self.ready: dict[Item, None] = {}
        self.readable = WaitQueue()
        self.wait_readable = WouldBlock((self.readable,))

    def add(self, fd: int, file: File, events: int, data: object) -> None:
        """EPOLL_CTL_ADD. EEXIST; EPERM: a file that can't be polled; EINVAL: itself, or a bad EPOLLEXCLUSIVE.

        ELOOP: epolls would watch each other in a circle, or more than `EP_MAX_NESTS` in a row.
        """
        if not polling.queues(file):
            raise SyscallError(Errno.EPERM)
        if file is self:
            raise SyscallError(Errno.EINVAL)
        if events & EPOLLEXCLUSIVE and (isinstance(file, Epoll) or events & ~EXCLUSIVE_OK_BITS):
            raise SyscallError(Errno.EINVAL)
        if isinstance(file, Epoll) and (file.watches(self) or file.depth() >= EP_MAX_NESTS):
            raise SyscallError(Errno.ELOOP)
        if (fd, file) in self.items:
            raise SyscallError(Errno.EEXIST)
        item = Item(self, fd, file, events | EPOLLERR | EPOLLHUP, data)
        self.items[fd, file] = item
        file.watchers += (item,)
        item.enter()
        self._poll_new(item)

    def modify(self, fd: int, file: File, events: int, data: object) -> None:
        """EPOLL_CTL_MOD. ENOENT; EINVAL: EPOLLEXCLUSIVE, before or now."""
        if events & EPOLLEXCLUSIVE:
            raise SyscallError(Errno.EINVAL)
        item = self._item(fd, file)
        if item.events & EPOLLEXCLUSIVE:
            raise SyscallError(Errno.EINVAL)
        item.events = events | EPOLLERR | EPOLLHUP
        item.data = data
        self._poll_new(item)

    def remove(self, fd: int, file: File) -> None:
        """EPOLL_CTL_DEL. ENOENT."""
        self.forget(self._item(fd, file))

    def _item(self, fd: int, file: File) -> Item:
        item = self.items.get((fd, file))
        if item is None:
            raise SyscallError(Errno.ENOENT)
        return item

    def _poll_new(self, item: Item) -> None:
        if polling.mask(item.file) & item.events:
            self.ready[item] = None
            self.wakeups.wake(self.readable)

    def forget(self, item: Item) -> None:
        """Drop an item (ep_remove)."""
        item.leave()
        self.items.pop((item.fd, item.file), None)
        self.ready.pop(item, None)
        item.file.watchers = tuple(other for other in item.file.watchers if other is not item)

    def note(self, item: Item) -> bool:
        """An item may be ready; whether somebody waits for one."""
        self.ready[item] = None
        readable = self.readable
        if not readable.waiters:
            return False
        self.wakeups.pending[readable] = None
        return True

    def wait_nowait(self, maxevents: int) -> list[tuple[int, object]] | WouldBlock:
        """Up to maxevents pairs of events and data (ep_send_events). EINVAL: maxevents below 1."""
        if maxevents <= 0:
            raise SyscallError(Errno.EINVAL)
        ready = self.ready
        if not ready:
            return self.wait_readable
        events: list[tuple[int, object]] = []
        for item in list(ready):
            if len(events) >= maxevents:
                break
            wanted = item.events
            del ready[item]
            bits = item.poll() & wanted
            if not bits:
                continue
            events.append((bits, item.data))
            if not wanted & ONE_REPORT:
                ready[item] = None
            elif wanted & EPOLLONESHOT:
                item.events = wanted & PRIVATE_BITS
        return events or self.wait_readable

    def poll(self) -> int:
        """Readable while an item is ready (ep_eventpoll_poll)."""
        for item in list(self.ready):
            if polling.mask(item.file) & item.events:
                return EPOLLIN | EPOLLRDNORM
            del self.ready[item]
        return 0

    def close(self) -> None:
        """Watch nothing any more."""
        for item in list(self.items.values()):
            self.forget(item)

    def watches(self, other: Epoll) -> bool:
        """Whether it watches the other one, directly or through others."""
        return any(epoll is other or epoll.watches(other) for epoll in self._nested())

    def depth(self) -> int:
        """How many epolls it watches in a row, itself included."""
        return 1 + max((epoll.depth() for epoll in self._nested()), default=0)

    def _nested(self) -> list[Epoll]:
        return [item.file for item in self.items.values() if isinstance(item.file, Epoll)]


def wait(epoll: Epoll, maxevents: int, now: float, timeout: float | None) -> Body[list[tuple[int, object]]]:
    """epoll_wait(2) as a body of core.blocking; timeout in seconds, None for no limit. [] when it runs out."""
    until = deadline(now, timeout)
    while isinstance(events := epoll.wait_nowait(maxevents), WouldBlock):
        try:
            yield events.until(until)
        except SyscallError as error:
            if error.errno is Errno.EAGAIN:
                return []
            raise
    return events
