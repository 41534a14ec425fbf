"""Placeholders: the real descriptors that stand in programs for virtual sockets, and how they mirror readiness.

A placeholder is a host Unix stream socket whose program end (P) only programs hold, so close, dup, fork, exec,
poll, select and epoll on it are the host kernel's work. What makes P show the poll bits of the virtual socket:

=====================  ==============================================================================================
virtual state          host state of P
=====================  ==============================================================================================
closed, never used     P is unconnected, which by itself polls OUT|HUP; there is no other end
readable               one byte in P's queue for each message: every message is an edge for edge-triggered epoll.
                       Descriptors in a message (and connections in a listener's queue) travel with its byte as
                       SCM_RIGHTS, so the host counts them, closes them with the queue, and collects cycles (SCM-10)
not writable           P's own send buffer is filled; draining it at the supervisor's end (S) makes it writable
urgent byte            the byte was sent with MSG_OOB
reading shut           S shut its writing: RDHUP|IN
both directions shut   S shut both: HUP|RDHUP|IN
peer closed            S was closed: HUP|RDHUP|IN
error pending          S was closed with unread data: ERR|HUP|RDHUP|IN
=====================  ==============================================================================================

While S is open, its end of file says that the last descriptor of P anywhere is gone. Without S nothing of P can change
any more that another program would notice, so sweeps (see watch) are early enough. Bytes are taken out of P through
a short-lived copy of a program's descriptor (pidfd_getfd); the bytes of messages already read may stay as long as
the queue is not empty, so a burst is drained once.
"""

from __future__ import annotations

import os
import socket as host
from collections import deque
from contextlib import suppress
from errno import EMFILE
from typing import TYPE_CHECKING, Final, Protocol

from afunix.abi.constants import SOCK_DGRAM
from afunix.abi.errno import SyscallError
from afunix.core import readiness
from afunix.core.socket import CLOSED, RCV_SHUTDOWN, SHUTDOWN_MASK, Socket
from afunix.supervisor import endcalls
from afunix.supervisor.copies import Copy, HostSocket, copy, socket_of
from afunix.supervisor.endcalls_python import CONTROL_ROOM, FILL, descriptors, meet, socket_inode
from afunix.supervisor.passed import HostFile

if TYPE_CHECKING:
    from afunix.core.message import Message
    from afunix.supervisor.watch import Watch

__all__ = ["SEVERAL", "Holder", "Parkable", "Placeholder"]

SEVERAL: Final = -1
"""In place of a process."""

LAG_MAX: Final = 128
"""How many bytes of messages already read may stay in P's queue."""
_drained: Final = bytearray(1 << 14)


class Holder(Protocol):
    """The process that has a descriptor of P."""

    tgid: int

    @property
    def name(self) -> str:
        """The program's name."""

    @property
    def thread(self) -> int:
        """A pidfd of the thread that used it; -1: there is none."""

    def take(self, fd: int) -> int:
        """A copy of the descriptor in the supervisor (pidfd_getfd). EBADF, ESRCH."""


class Parkable(Protocol):
    """Something that travels as a descriptor: a passed file, or the placeholder of a connection not yet accepted."""

    held: int
    """The supervisor's own copy of the descriptor; -1 while it is parked in a host queue or with programs only."""
    parked: Placeholder | None
    """In whose queue it is parked."""


class Placeholder:
    """What the supervisor holds for one virtual socket."""

    __slots__ = (
        "_closed_end", "_entries", "_error_shown", "_filled", "_loose_shut", "_shut", "_special", "_stale",
        "_urgent", "end", "held", "holder", "in_flight", "inode", "parked", "sock", "user", "watch",
    )  # fmt: skip

    def __init__(self, sock: Socket, watch: Watch) -> None:
        """Make the host sockets: a pair, or an unconnected one for a closed stream or record socket.

        OSError: EMFILE, also if only the reserve of descriptors (see watch) is left.
        """
        self.sock = sock
        self.watch = watch
        self.parked: Placeholder | None = None
        self.holder: tuple[Holder, int] | None = None
        self.user = 0
        """The process that has made calls on it; SEVERAL: more than one."""
        # Descriptors of P that are on their way in messages.
        self.in_flight: dict[HostFile, None] = {}
        # What P's queue holds, in order: the message a byte stands for, whether it is urgent, what is parked with it.
        self._entries: deque[tuple[Message, bool, list[Parkable]]] = deque()
        self._special = 0  # how many of them are urgent, or have something parked with them
        self._urgent = 0  # how many are urgent
        self._stale = 0  # entries at the front whose messages were read already
        self._filled = False
        self._shut = 0
        self._loose_shut = 0
        self._closed_end = False
        self._error_shown = False
        self.end = -1
        if sock.state == CLOSED and sock.type != SOCK_DGRAM:
            self.held, self.inode = endcalls.loose()
        else:
            self.held, self.end, self.inode = endcalls.pair(*watch.watcher)
        if not watch.has_room(self.held):
            os.close(self.held)
            if self.end >= 0:
                os.close(self.end)
            raise OSError(EMFILE, os.strerror(EMFILE))
        if sock.nonblock:
            os.set_blocking(self.held, False)
        watch.add(self)
        sock.front = self
        if sock.queue or sock.shut:
            sock.kernel.changed[sock] = None  # a connection that was there before (see _items)

    # -- life

    def installed(self) -> None:
        """A program has P now: the supervisor's copy goes, so that the end of file on S means something."""
        if self.held >= 0:
            os.close(self.held)
            self.held = -1

    def used_by(self, process: int) -> None:
        """Another process than `user` makes a call."""
        self.user = SEVERAL if self.user else process

    def dispose(self) -> None:
        """The virtual socket is gone: free all that the host holds for it."""
        self.watch.remove(self)
        if self.end >= 0:
            os.close(self.end)
            self.end = -1
        self._closed_end = True
        if self.held >= 0:
            os.close(self.held)
            self.held = -1
        for _, _, items in self._entries:
            for item in items:
                if item.parked is self:
                    item.parked = None
        self._entries.clear()
        if self.sock.front is self:
            self.sock.front = None  # so that there is no cycle to collect

    @property
    def hung_up(self) -> bool:
        """Whether it has no other end any more, and never will."""
        return self._closed_end

    @property
    def shut_both(self) -> bool:
        """Whether S shut both directions, so that a hang-up on it may be its own."""
        return self._shut == SHUTDOWN_MASK

    def keeps_itself(self) -> bool:
        """Whether P is in flight in its own queue, or in that of a socket that is in flight there, and so on.

        A P that is closed all the same was collected by the host (SCM-10).
        """
        seen: set[Placeholder] = set()
        left = [self]
        while left:
            for file in left.pop().in_flight:
                queue = file.parked
                if queue is self:
                    return True
                if queue is not None and queue not in seen:
                    seen.add(queue)
                    left.append(queue)
        return False

    # -- P, for as long as something is done to it

    def _program_end(self) -> Copy | None:
        """P itself: the held copy's duplicate, or a copy of the descriptor in the program that last used it."""
        if self.held >= 0:
            return copy(os.dup(self.held))
        if self.parked is not None:
            self.parked.unpark_all()
            if self.held >= 0:
                return copy(os.dup(self.held))
        if self.holder is not None:
            holder, number = self.holder
            try:
                fd = holder.take(number)
            except SyscallError:
                return None
            if socket_inode(fd) == self.inode:
                return copy(fd)
            os.close(fd)
        return None

    def _at_hand(self) -> tuple[int, int] | None:
        """Thread (a pidfd) and number of the descriptor that was used last, if that is where to look for P."""
        if self.held >= 0 or self.parked is not None or self.holder is None:
            return None
        holder, number = self.holder
        return holder.thread, number

    # -- mirroring

    def sync(self) -> None:
        """Make P show what the virtual socket's state says; SIGIO and SIGURG come with that (kill_fasync)."""
        sock = self.sock
        if (
            not sock.queue
            and not self._entries
            and not sock.shut
            and not self._filled
            and self.end >= 0
            and not sock.space_freed
            and readiness.writable(sock)
        ):
            return  # the common case: nothing to show, and nothing shown
        if self._closed_end:
            self._sync_closed()
            return
        if self.end < 0 and not self._pair():
            return
        if sock.queue or self._entries:
            self._sync_queue()
        shut = sock.shut
        peer = sock.peer
        if peer is not None and peer.dead and sock.type != SOCK_DGRAM:
            self._hang_up()
            return
        if self._filled == readiness.writable(sock):
            self._sync_writable()
        elif sock.space_freed:
            self._send_edge()
        if shut & RCV_SHUTDOWN and self._shut != shut:
            self._sync_shut(shut)

    def _pair(self) -> bool:
        """Give an unconnected P an other end, once the virtual socket connects or listens."""
        sock = self.sock
        if sock.state == CLOSED:
            if sock.shut & ~self._loose_shut:
                self._loose_shut = sock.shut
                own = self._program_end()
                if own is not None:
                    with own as mine:
                        mine.shutdown((sock.shut & SHUTDOWN_MASK) - 1)
            return False
        at_hand = self._at_hand()
        if at_hand is not None:
            thread, number = at_hand
            self.end = endcalls.join(thread, number, self.inode, *self.watch.meeting)
        if self.end < 0:
            own = self._program_end()
            if own is None:
                return False
            self.end = meet(own, *self.watch.meeting)
        self.watch.paired(self)
        if self._loose_shut & 2:
            # P cannot send through its shut half; the virtual socket polls writable all the same.
            self._filled = False
        return True

    def _sync_queue(self) -> None:
        queue = self.sock.queue
        entries = self._entries
        # Entries in front whose messages are no longer queued: read, or dropped.
        stale = self._stale
        first = queue[0] if queue else None
        count = len(entries)
        while stale < count and entries[stale][0] is not first:
            stale += 1
        self._stale = stale
        if stale == count and queue and count and entries[-1][0] in queue:
            # The order changed (an undo put messages back in front): start over.
            self._rebuild()
            return
        if stale and (not queue or stale > LAG_MAX or self._parked_in_front(stale)):
            self._drain(stale)
            count = len(entries)
            if self._stale:
                return  # P could not be reached; a later call by its holder makes up for it
        live = count - self._stale
        if live > len(queue) or (live and entries[-1][0] is not queue[live - 1]) or self._urgent_changed():
            self._rebuild()
            return
        if live < len(queue):
            for position in range(live, len(queue)):
                if not self._push(queue[position]):
                    break

    def _parked_in_front(self, stale: int) -> bool:
        entries = self._entries
        return self._special > 0 and any(entries[position][2] for position in range(stale))

    def _urgent_changed(self) -> bool:
        oob = self.sock.oob
        return self._urgent > 0 and any(urgent and message is not oob for message, urgent, _ in self._entries)

    def _taken(self) -> None:
        """The first entry's byte is out of P's queue."""
        _, urgent, items = self._entries.popleft()
        if urgent or items:
            self._special -= 1
            self._urgent -= urgent

    def _push(self, message: Message) -> bool:
        """Queue one byte for a message, and with it what it carries. False: P's queue is full."""
        if self.end < 0 or self._shut:
            return False
        urgent = message is self.sock.oob
        items = self._items(message)
        if not endcalls.push(self.end, urgent, [item.held for item in items]):
            return self._make_room(message)
        for item in items:
            item.held = -1
            item.parked = self
        self._entries.append((message, urgent, items))
        if urgent or items:
            self._special += 1
            self._urgent += urgent
        return True

    def _make_room(self, message: Message) -> bool:
        """P's queue is full: give S a larger send buffer, once; else the readiness that is there must do."""
        end = socket_of(self.end)
        before = end.getsockopt(host.SOL_SOCKET, host.SO_SNDBUF)
        end.setsockopt(host.SOL_SOCKET, host.SO_SNDBUF, 1 << 30)
        if end.getsockopt(host.SOL_SOCKET, host.SO_SNDBUF) > before:
            return self._push(message)
        # An edge all the same: take the oldest byte that carries nothing, and send another.
        return False

    def _items(self, message: Message) -> list[Parkable]:
        if message.embryo is not None:
            front = message.embryo.front
            if front is None:
                try:
                    front = Placeholder(message.embryo, self.watch)
                except OSError:
                    return []  # accept makes it, or is refused
            assert isinstance(front, Placeholder)
            return [front] if front.held >= 0 else []
        return [file for file in message.files if getattr(file, "held", -1) >= 0]  # type: ignore[misc]

    def _drain(self, number: int) -> None:
        """Take the bytes of the first entries out of P, and hold again what was parked with them."""
        entries = self._entries
        if not self._special:
            number -= self._drain_plain(number)
            if not number:
                return
        elif number == 1 and self._fetch():
            return
        own = self._program_end()
        if own is None:
            return
        with own as mine:
            while number:
                plain = 0
                while plain < number and not entries[plain][2] and not entries[plain][1]:
                    plain += 1
                try:
                    if plain:
                        got = len(mine.recv(plain, host.MSG_DONTWAIT))
                        for _ in range(got):
                            self._taken()
                    else:
                        self._take_one(mine)
                        got = 1
                except OSError:
                    got = 0
                if not got:
                    # A program read the placeholder natively: nothing is left of what it took.
                    got = number
                    for _ in range(number):
                        self._taken()
                number -= got
                self._stale = max(0, self._stale - got)

    def _drain_plain(self, number: int) -> int:
        """The common case: bytes that nothing is parked with, out of a P that is at hand. How many were taken."""
        at_hand = self._at_hand()
        if at_hand is None:
            return 0
        got = endcalls.drain(*at_hand, self.inode, number)
        if got <= 0:
            return 0
        for _ in range(got):
            self._entries.popleft()
        self._stale = max(0, self._stale - got)
        return got

    def _fetch(self) -> bool:
        """The other common case: one byte with what is parked with it, out of a P that is at hand."""
        at_hand = self._at_hand()
        if at_hand is None or self._entries[0][1]:
            return False
        fds = endcalls.fetch(*at_hand, self.inode)
        if fds is None:
            return False
        self._taken_with(fds)
        self._stale = max(0, self._stale - 1)
        return True

    def _take_one(self, mine: HostSocket) -> None:
        """Take one byte with what is parked with it, or an urgent one."""
        if self._entries[0][1]:
            self._inline(mine)
        _, control, _, _ = mine.recvmsg(1, CONTROL_ROOM, host.MSG_DONTWAIT | host.MSG_CMSG_CLOEXEC)
        self._taken_with(descriptors(control))

    def _taken_with(self, fds: list[int]) -> None:
        """The first entry's byte is out of P's queue, and what was parked with it is held again."""
        items = self._entries[0][2]
        self._taken()
        for item, fd in zip(items, fds, strict=False):
            if item.parked is self and item.held < 0:
                item.held = fd
            else:
                os.close(fd)
            if item.parked is self:
                item.parked = None
        for fd in fds[len(items) :]:
            os.close(fd)

    @staticmethod
    def _inline(mine: HostSocket) -> None:
        """Have an urgent byte read like any other, with what is parked with it.

        MSG_OOB would take the byte alone, and leave its buffer and the descriptors in it in the queue (manage_oob).
        """
        mine.setsockopt(host.SOL_SOCKET, host.SO_OOBINLINE, 1)

    def unpark_all(self) -> None:
        """Take everything out of P's queue, so that what was parked there is held; the next sync puts it back.

        Without an other end nothing could be put back: then copies are held, and what is parked stays.
        """
        if self._closed_end:
            self._borrow()
        else:
            self._drain(len(self._entries))
        self.sock.kernel.changed[self.sock] = None

    def _borrow(self) -> None:
        """Hold copies of what is parked with the first entry that has something."""
        self._drain(self._stale)
        own = self._program_end()
        if own is None:
            return
        with own as mine, suppress(OSError):
            if self._urgent:
                self._inline(mine)
            _, control, _, _ = mine.recvmsg(
                len(self._entries), CONTROL_ROOM, host.MSG_PEEK | host.MSG_DONTWAIT | host.MSG_CMSG_CLOEXEC
            )
            items = next((items for _, _, items in self._entries if items), [])
            fds = descriptors(control)
            for at, fd in enumerate(fds):
                if at < len(items) and items[at].held < 0:
                    items[at].held = fd
                else:
                    os.close(fd)

    def _give_back(self) -> None:
        """Close the copies that `_borrow` made."""
        for _, _, items in self._entries:
            for item in items:
                if item.parked is self and item.held >= 0:
                    os.close(item.held)
                    item.held = -1

    def _rebuild(self) -> None:
        """The queue changed other than at its ends (an undo, an urgent byte taken): write it anew."""
        self._drain(len(self._entries))
        if self._entries:
            return
        self._stale = 0
        for message in self.sock.queue:
            if not self._push(message):
                break

    def _sync_writable(self) -> None:
        if self._filled:
            end = socket_of(self.end)
            with suppress(OSError):
                # P sends nothing but this, so it is all there is; but for what a program wrote to P natively.
                while end.recv_into(_drained, 0, host.MSG_DONTWAIT) >= len(_drained):
                    pass
            self._filled = False
            return
        at_hand = self._at_hand()
        if at_hand is not None:
            filled = endcalls.fill(*at_hand, self.inode)
            if filled >= 0:
                self._filled = filled > 0
                return
        own = self._program_end()
        if own is None:
            return
        with own as mine:
            try:
                mine.send(FILL, host.MSG_DONTWAIT | host.MSG_NOSIGNAL)
            except OSError:
                return
        self._filled = True

    def _sync_shut(self, shut: int) -> None:
        with suppress(OSError):  # P is closed already: its end of file is on its way
            socket_of(self.end).shutdown(host.SHUT_RDWR if shut == SHUTDOWN_MASK else host.SHUT_WR)
        self._shut = shut

    def _hang_up(self) -> None:
        """The peer is gone: P's other end goes, too, with a reset if there is an error to show."""
        if self.sock.error is None:
            if self._filled:
                self._sync_writable()
        else:
            own = self._program_end()
            if own is not None:
                self._error_shown = True
                with own as mine, suppress(OSError):
                    mine.send(b"e", host.MSG_DONTWAIT | host.MSG_NOSIGNAL)
        self.watch.unpaired(self)
        os.close(self.end)
        self.end = -1
        self._closed_end = True

    def _sync_closed(self) -> None:
        """P has no other end: messages are read out of it, and an error that the program has seen is cleared."""
        if self._entries:
            self._sync_queue()
            if self._special:
                self._give_back()
        if self._error_shown and self.sock.error is None and not self.sock.dead:
            own = self._program_end()
            if own is not None:
                self._error_shown = False
                with own as mine:
                    mine.getsockopt(host.SOL_SOCKET, host.SO_ERROR)

    def _send_edge(self) -> None:
        """The peer read while this side was writable: edge-triggered epoll reports that (sock_wfree)."""
        self.sock.space_freed = False
        if self._filled or self.end < 0:
            return
        own = self._program_end()
        if own is not None:
            with own as mine, suppress(OSError):
                mine.send(b"o", host.MSG_DONTWAIT | host.MSG_NOSIGNAL)
                socket_of(self.end).recv(1, host.MSG_DONTWAIT)
