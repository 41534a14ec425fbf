"""Datagrams to an address outside."""

from __future__ import annotations

import select
import socket as host
from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol

from afunix.abi.constants import MSG_PEEK
from afunix.abi.errno import Errno
from afunix.core import datagram
from afunix.core.credentials import NOBODY
from afunix.core.message import Received
from afunix.supervisor import native as hostside
from afunix.supervisor.link import RECORD, Side
from afunix.supervisor.native import Outsider, Virtual

if TYPE_CHECKING:
    from afunix.core.message import Message
    from afunix.core.socket import Socket
    from afunix.supervisor.paths import Inode
    from afunix.supervisor.retry import Retry

__all__ = ["Exit", "Outlet"]


class Exit(Side, Protocol):
    """What an outlet needs of the bridge."""

    retry: Retry
    outlets: set[Outlet]
    crowded: dict[Hashable, Outlet]


class Outlet:
    """A core socket whose queue is emptied to the host.

    It is made by each connect, and by each sendto on its own unless one for the same address still holds messages,
    which must not be overtaken. It goes when nobody is connected to it and its queue is empty. A sender with a name
    sends from the host socket that has the name, so that it gets replies; any other from this one's.
    """

    def __init__(
        self,
        bridge: Exit,
        sock: Socket,
        native: host.socket,
        *,
        connected: bool,
        key: Hashable,
        inode: Inode | None,
        to: str | bytes,
    ) -> None:
        self.bridge = bridge
        self.sock = sock
        self.native = native
        self.connected = connected
        """Not if the receiver is connected itself: then only from whom it chose it takes messages."""
        if connected:
            sock.address = hostside.address_of(native.getpeername())
        self.name = sock.address or b""
        self._key = key
        self._inode = inode
        self._to = to
        self._waiting = False
        sock.front = self
        sock.passcred = True
        bridge.outlets.add(self)
        bridge.kernel.changed[sock] = None
        bridge.watch.register(native.fileno(), 0, lambda _: self._ready())

    def sync(self) -> None:
        """Send on what was queued for the address."""
        sock = self.sock
        while sock.queue and not self._waiting:
            message = sock.queue[0]
            sock.error = None
            seen = datagram.receive(sock, RECORD, MSG_PEEK)
            assert isinstance(seen, Received)
            if self._send(message, seen) and not sock.dead:
                taken = datagram.receive(sock, RECORD)
                assert isinstance(taken, Received)
                taken.done()
        if not sock.queue:
            if self.bridge.crowded.get(self._key) is self:
                del self.bridge.crowded[self._key]
            if not sock.connectors:
                sock.close()

    def _send(self, message: Message, seen: Received) -> bool:
        """Whether the first message is dealt with: sent, or refused for good."""
        source = self.bridge.natives.get(message.owner)
        try:
            if source is None and self.connected:
                hostside.send(self.native, seen, self.bridge.leave)
            else:
                hostside.send(source or self.native, seen, self.bridge.leave, to=self._to)
        except BlockingIOError:
            self._wait(source)
            return False
        except Virtual:
            self.bridge.warn("not modelled: a virtual socket that isn't connected passed to a program outside")
            self.bridge.refuse(message, Errno.ENOSYS)
        except OSError as error:
            self.bridge.refuse(message, error.errno or Errno.ECONNREFUSED)
            if error.errno == Errno.ECONNREFUSED:
                self._gone()
        return True

    def _wait(self, source: host.socket | None) -> None:
        self._waiting = True
        self.bridge.crowded.setdefault(self._key, self)
        room = select.poll()
        room.register(self.native, select.POLLOUT)
        if room.poll(0):
            # It is not this socket that has to wait, but the sender's: for room of its own, or without a connection.
            self.bridge.retry.soon(self._ready)
        else:
            self.bridge.watch.modify(self.native.fileno(), select.EPOLLOUT | select.EPOLLONESHOT)

    def _gone(self) -> None:
        """Nobody has the address any more: who was connected to it is not, from now on (DGRAM-5)."""
        nobody = Outsider(NOBODY, (), self.sock.net)
        for sender in list(self.sock.connectors):
            if sender.peer is self.sock:
                datagram.connect(sender, nobody, None)
        self.sock.close()

    def _ready(self) -> None:
        self._waiting = False
        if not self.sock.dead:
            self.sync()

    @property
    def unsent(self) -> bool:
        """Whether there are messages that the host did not take yet."""
        return bool(self.sock.queue)

    def flush(self) -> None:
        """The programs inside are gone: what the receiver has no room for still has to wait."""
        self.sync()

    def dispose(self) -> None:
        """The address is not used any more."""
        self.bridge.outlets.discard(self)
        if self.bridge.crowded.get(self._key) is self:
            del self.bridge.crowded[self._key]
        if self.native.fileno() >= 0:
            self.bridge.watch.unregister(self.native.fileno())
            self.native.close()
        if self._inode is not None:
            self._inode.close()
