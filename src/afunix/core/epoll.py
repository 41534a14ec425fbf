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

    __slots__ = ("data", "epoll", "events", "fd", "file", "mask", "queues")

    def __init__(
        self, epoll: Epoll, fd: int, file: File, queues: tuple[tuple[WaitQueue, int], ...], events: int, data: object
    ) -> None:
        self.epoll = epoll
        self.fd = fd
        self.file = file
        self.events = events
        self.data = data
        self.mask = polling.poller(file)
        self.queues = queues

    def enter(self) -> None:
        """Wait on those of the file's queues that are about what is wanted, and on no other."""
        events = self.events
        exclusive = bool(events & EPOLLEXCLUSIVE)
        writing = events & WRITING
        reading = events & READING or not writing  # who waits for the end only is woken with the readers
        for queue, key in self.queues:
            if reading if key & EPOLLIN else writing:
                queue.add(self.woken, exclusive)
            else:
                queue.discard(self.woken)

    def leave(self) -> None:
        """Wait on them no longer."""
        for queue, _ in self.queues:
            queue.discard(self.woken)

    def closed(self) -> None:
        """The last reference to the file is gone (eventpoll_release)."""
        self.epoll.forget(self)

    def woken(self) -> bool:
        """It may be ready (ep_poll_callback): whether this one takes a wake-up that is for one waiter only."""
        if not self.events & ~PRIVATE_BITS:
            return False  # disarmed by EPOLLONESHOT
        epoll = self.epoll
        epoll.ready[self] = None
        readable = epoll.readable
        if not readable:
            return False
        epoll.wakeups.pending[readable] = None
        return True


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
        queues = polling.queues(file)
        if not queues:
            raise SyscallError(Errno.EPERM)
        if file is self:
            raise SyscallError(Errno.EINVAL)
        if events & EPOLLEXCLUSIVE and (isinstance(file, Epoll) or events & ~EXCLUSIVE_OK_BITS):
            raise SyscallError(Errno.EINVAL)
        if isinstance(file, Epoll) and (file.watches(self) or file.depth() >= EP_MAX_NESTS):
            raise SyscallError(Errno.ELOOP)
        if (fd, file) in self.items:
            raise SyscallError(Errno.EEXIST)
        item = Item(self, fd, file, queues, events | EPOLLERR | EPOLLHUP, data)
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
        item.enter()
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
        mask = item.mask
        if mask(item.file) & item.events:
            self.ready[item] = None
            self.wakeups.wake(self.readable)

    def forget(self, item: Item) -> None:
        """Drop an item (ep_remove)."""
        item.leave()
        self.items.pop((item.fd, item.file), None)
        self.ready.pop(item, None)
        watchers = item.file.watchers
        item.file.watchers = tuple(other for other in watchers if other is not item) if len(watchers) > 1 else ()

    def wait_nowait(self, maxevents: int) -> list[tuple[int, object]] | WouldBlock:
        """Up to maxevents pairs of events and data (ep_send_events). EINVAL: maxevents below 1."""
        if maxevents <= 0:
            raise SyscallError(Errno.EINVAL)
        ready = self.ready
        if not ready:
            return self.wait_readable
        events: list[tuple[int, object]] = []
        # Going back to the end changes the order only where some are not looked at.
        more = len(ready) > maxevents
        for item in list(ready):
            wanted = item.events
            mask = item.mask
            bits = mask(item.file) & wanted
            if not bits:
                del ready[item]
                continue
            events.append((bits, item.data))
            if wanted & ONE_REPORT:
                del ready[item]
                if wanted & EPOLLONESHOT:
                    item.events = wanted & PRIVATE_BITS
            elif more:
                del ready[item]
                ready[item] = None
            if more and len(events) >= maxevents:
                break
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
