"""The host's half of a name that a program inside bound: programs outside connect or send to it."""

from __future__ import annotations

import select
import socket as host
from typing import TYPE_CHECKING, Protocol

from afunix.abi.constants import SOCK_DGRAM
from afunix.abi.errno import SyscallError
from afunix.core import connection, datagram
from afunix.core.credentials import NOBODY
from afunix.core.errors import BrokenPipe
from afunix.core.socket import Socket
from afunix.supervisor import native as hostside
from afunix.supervisor.link import Link, Side
from afunix.supervisor.native import Outsider
from afunix.supervisor.outlet import Outlet

if TYPE_CHECKING:
    from afunix.core.credentials import Credentials
    from afunix.supervisor.retry import Retry

__all__ = ["Entrance", "Inlet"]


class Entrance(Side, Protocol):
    """What an inlet needs of the bridge."""

    retry: Retry


class Inlet:
    """A host socket with the name, and the socket inside whose it is.

    It takes connections and datagrams as long as the socket inside has room for them, and leaves the others in the
    host's queue, so that who sends them waits.
    """

    def __init__(self, bridge: Entrance, sock: Socket, native: host.socket) -> None:
        self.bridge = bridge
        self.sock = sock
        self.native = native
        self._listening = False
        native.setblocking(False)
        native.setsockopt(host.SOL_SOCKET, host.SO_PASSCRED, 1)
        if sock.type == SOCK_DGRAM:
            bridge.watch.register(native.fileno(), select.EPOLLIN, lambda _: self._datagram())

    def listen(self, who: Credentials) -> None:
        """The program listens now, or with another backlog."""
        with hostside.effective_as(who):
            self.native.listen(self.sock.backlog)
        if not self._listening:
            self._listening = True
            self.bridge.watch.register(self.native.fileno(), select.EPOLLIN, lambda _: self._connection())

    def _pause(self) -> None:
        self.bridge.watch.modify(self.native.fileno(), 0)

    def _resume(self) -> None:
        self.sock.peer_space.discard(self._resume)
        if self.native.fileno() >= 0:
            self.bridge.watch.modify(self.native.fileno(), select.EPOLLIN)

    def _wait_for_space(self) -> None:
        self._pause()
        self.sock.peer_space.add(self._resume)

    def _connection(self) -> None:
        sock = self.sock
        if sock.full:
            self._wait_for_space()
            return
        try:
            native, name = self.native.accept()
        except BlockingIOError:
            return
        except OSError:
            # No descriptor is free: the connection stays where it is.
            self._pause()
            self.bridge.retry.soon(self._resume)
            return
        near = Socket(self.bridge.kernel, sock.type, sock.net)
        near.address = hostside.address_of(name)
        outsider = hostside.peer_of(native, sock.net)
        try:
            connection.connect_to(near, outsider, sock)
        except SyscallError:
            # It shut its reading (CONN-7): who comes later is refused by the host itself.
            native.close()
            self._pause()
            self.native.shutdown(host.SHUT_RDWR)
            return
        Link(self.bridge, near, native, outsider)

    def _datagram(self) -> None:
        sock = self.sock
        if sock.full:
            self._wait_for_space()
            return
        try:
            arrived = hostside.receive(self.native, SOCK_DGRAM)
        except OSError:
            return
        if arrived is None:
            return
        sender = self._sender(arrived.name)
        outsider = Outsider(arrived.who or NOBODY, (), sock.net)
        try:
            datagram.send_to(sender, outsider, arrived.data, sock, arrived.files, arrived.who)
        except SyscallError as error:
            for file in arrived.files:
                file.release()
            if isinstance(error, BrokenPipe):
                self._pause()
                self.native.shutdown(host.SHUT_RD)

    def _sender(self, name: bytes) -> Socket:
        """A core socket with the sender's name: that which a connected receiver takes messages from, if it is it."""
        peer = self.sock.peer
        if peer is not None and isinstance(peer.front, Outlet) and name and peer.front.name == name:
            return peer
        sender = Socket(self.bridge.kernel, SOCK_DGRAM, self.sock.net)
        sender.address = name
        return sender

    def close(self) -> None:
        """The socket inside is gone or was unbound."""
        if self.native.fileno() >= 0:
            self.bridge.watch.unregister(self.native.fileno())
            self.native.close()
