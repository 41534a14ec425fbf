"""Connections between a program inside and one outside: a *far* core socket, the program's peer, and a host socket."""

from __future__ import annotations

import contextlib
import select
import socket as host
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from afunix.abi.constants import MSG_OOB, MSG_PEEK, SHUT_RD, SHUT_WR, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection
from afunix.core.message import Received
from afunix.core.operations import OPERATIONS
from afunix.core.socket import RCV_SHUTDOWN, SEND_SHUTDOWN, Socket
from afunix.core.wait import WouldBlock
from afunix.supervisor import native as hostside
from afunix.supervisor.native import CHUNK, Arrived, Outsider, Virtual

if TYPE_CHECKING:
    from afunix.core.kernel import Kernel
    from afunix.core.message import Message
    from afunix.supervisor.placeholder import Placeholder
    from afunix.supervisor.watch import Watch

__all__ = ["Arrival", "Link", "Side"]

EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
"""Edge-triggered: a hang-up can't be unasked for, and while the program does not read, it must not be told again."""
RECORD: Final = 1 << 30
"""More than any record has."""


class Side(Protocol):
    """What the parts of the bridge share."""

    kernel: Kernel
    watch: Watch
    links: set[Link]
    natives: dict[Socket, host.socket]
    warn: Callable[[str], None]

    def refuse(self, message: Message, errno: int) -> None:
        """The host does not take a message: the call that sends it, if it is under way, fails."""

    def leave(self, placeholder: Placeholder, native: host.socket) -> None:
        """A program outside was sent the other end of this host socket, which is to be a virtual socket's."""


class Link:
    """Carries bytes, records, descriptors, credentials, urgent bytes and ends of file both ways.

    It is the far socket's front: `sync` runs when that changed. The far socket's queue is what goes out; what comes in
    is sent by the far socket, and while that has no room nothing is read from the host.
    """

    def __init__(self, bridge: Side, far: Socket, native: host.socket, outsider: Outsider) -> None:
        self.bridge = bridge
        self.far = far
        self.native = native
        self.outsider = outsider
        self._operations = OPERATIONS[far.type]
        self._incoming: Arrived | None = None
        self._urgent = False
        self._read_open = True
        self._write_open = True
        self._reset = False
        far.front = self
        far.passcred = True
        far.oobinline = True
        if far.address is None:
            far.address = b""  # asking for credentials must not give it a name
        native.setblocking(False)
        native.setsockopt(host.SOL_SOCKET, host.SO_PASSCRED, 1)
        with contextlib.suppress(OSError):
            native.setsockopt(host.SOL_SOCKET, host.SO_OOBINLINE, 1)
        bridge.links.add(self)
        bridge.watch.register(native.fileno(), EVENTS, lambda _: self._ready())
        self._ready()

    def sync(self) -> None:
        """The far socket changed: send on what programs inside have queued, and the end of what they send."""
        self._write()

    def _ready(self) -> None:
        if not self.far.dead:
            self._write()
        if not self.far.dead:
            self._read()

    # -- inside to outside

    def _write(self) -> None:
        far = self.far
        far.error = None  # a program that closes with unread data resets; what it sent before still goes out
        queue = far.queue
        while queue and self._write_open:
            if not self._send_one():
                break
        if far.dead:
            return
        if far.shut & SEND_SHUTDOWN and self._read_open:
            self._stop_reading()
        if far.shut & RCV_SHUTDOWN and not queue and self._write_open:
            self._write_open = False
            with contextlib.suppress(OSError):
                self.native.shutdown(host.SHUT_WR)
        self._finish_if_over()

    def _send_one(self) -> bool:
        """Send the next message, or as much as the host takes. False: nothing more can be sent now."""
        far = self.far
        records = self._operations.keeps_records
        urgent = far.oob is not None and far.oob is far.queue[0]
        size = RECORD if records else self._stretch()
        seen = self._operations.receive(far, size, MSG_PEEK)
        if not isinstance(seen, Received):
            return False
        try:
            sent = hostside.send(self.native, seen, self.bridge.leave, flags=host.MSG_OOB if urgent else 0)
        except BlockingIOError:
            return False
        except Virtual:
            self.bridge.warn("this virtual socket can't be passed to a program outside: its message is dropped")
            sent = len(seen.data)
        except OSError as error:
            self._cannot_send(error)
            return False
        taken = self._operations.receive(far, size if records else sent, 0)
        if isinstance(taken, Received):
            taken.done()
        return sent == len(seen.data)

    def _stretch(self) -> int:
        """How many bytes go into one send: descriptors stay with their own message, an urgent byte is alone."""
        far = self.far
        size = 0
        for message in far.queue:
            alone = message.files or message is far.oob
            if size and (alone or size >= CHUNK):
                break
            size += len(message)
            if alone:
                break
        return size

    def _cannot_send(self, error: OSError) -> None:
        """Nobody outside reads any more, or a record is longer than the host allows."""
        far = self.far
        if error.errno == Errno.EMSGSIZE:
            message = far.queue.popleft()
            self.bridge.refuse(message, Errno.EMSGSIZE)
            self.bridge.kernel.free(message)
            return
        if error.errno == Errno.ECONNRESET:
            self._reset = True
        self._write_open = False
        while far.queue:
            self.bridge.kernel.free(far.queue.popleft())
        far.oob = None
        far.shutdown(SHUT_RD)

    # -- outside to inside

    def _read(self) -> None:
        far = self.far
        while self._incoming is None and self._read_open and not far.dead:
            self._urgent = far.type == SOCK_STREAM and hostside.at_mark(self.native)
            try:
                arrived = hostside.receive(self.native, far.type, 1 if self._urgent else CHUNK)
            except BlockingIOError:
                break
            except ConnectionResetError:
                self._reset = True  # told once, before the records that are left and the end of file
                continue
            except OSError:
                arrived = None
            if arrived is None:
                self._read_open = False
                if not hostside.hung_up(self.native):
                    far.shutdown(SHUT_WR)
                break
            self._incoming = arrived
            self._deliver()
        self._finish_if_over()

    def _deliver(self) -> None:
        """Let the far socket send what came, as far as it has room."""
        arrived = self._incoming
        assert arrived is not None
        far = self.far
        if self._operations.keeps_records and far.sndbuf < 2 * len(arrived.data):
            far.sndbuf = 2 * len(arrived.data)
        flags = MSG_OOB if self._urgent else 0
        try:
            result = self._operations.send(far, self.outsider, arrived.data, flags, arrived.files, arrived.who)
        except SyscallError:
            self._stop_reading()
            return
        if isinstance(result, WouldBlock):
            for queue in result.queues:
                queue.add(self._space)
        elif result.length < len(arrived.data):
            self._incoming = arrived._replace(data=arrived.data[result.length :], files=[])
            far.writable.add(self._space)
        else:
            self._incoming = None

    def _space(self) -> None:
        far = self.far
        far.writable.discard(self._space)
        if self._incoming is not None and not far.dead:
            self._deliver()
            self._read()

    def _stop_reading(self) -> None:
        """Nobody inside reads any more: senders outside are to get EPIPE."""
        self._drop_incoming()
        self._read_open = False
        with contextlib.suppress(OSError):
            self.native.shutdown(host.SHUT_RD)

    def _drop_incoming(self) -> None:
        if self._incoming is not None:
            for file in self._incoming.files:
                file.release()
            self._incoming = None

    # -- the end

    def _finish_if_over(self) -> None:
        """Close the far socket, and with it the host's, once one side is gone and nothing of it is left to carry."""
        far = self.far
        if far.dead or self._incoming is not None:
            return
        peer = far.peer
        if peer is None or peer.dead:
            if far.queue and self._write_open:
                return
        elif self._read_open or not hostside.hung_up(self.native):
            return
        elif self._reset:
            peer.error = Errno.ECONNRESET
        self._over()

    def _over(self) -> None:
        self.far.close()

    @property
    def unsent(self) -> bool:
        """Whether programs inside have sent something that the host did not take yet."""
        return not self.far.dead and self._write_open and bool(self.far.queue)

    def flush(self) -> None:
        """The programs inside are gone: leave as much with the host as it keeps for the reader."""
        size = sum(2 * message.truesize for message in self.far.queue)
        hostside.enlarge(self.native, self.native.getsockopt(host.SOL_SOCKET, host.SO_SNDBUF) + size)
        self._write()

    def dispose(self) -> None:
        """The far socket is gone: close the host's."""
        self._drop_incoming()
        self.bridge.links.discard(self)
        if self.native.fileno() >= 0:
            self.bridge.watch.unregister(self.native.fileno())
            self.native.close()


class Arrival:
    """A listener made for one connect: the host has accepted already, so its only connection becomes a link.

    It lives no longer than that call; a connect that fails nevertheless (EISCONN) closes the host's at once.
    """

    def __init__(self, bridge: Side, listener: Socket, native: host.socket, outsider: Outsider) -> None:
        self.bridge = bridge
        self.listener = listener
        self.native: host.socket | None = native
        self.outsider = outsider
        listener.front = self
        bridge.kernel.changed[listener] = None

    def sync(self) -> None:
        """The call has queued its connection, or failed."""
        listener = self.listener
        if self.native is not None and not listener.dead:
            far = connection.accept(listener) if listener.queue else None
            if isinstance(far, Socket):
                native, self.native = self.native, None
                Link(self.bridge, far, native, self.outsider)
            listener.close()

    def dispose(self) -> None:
        """The listener is gone."""
        if self.native is not None:
            self.native.close()
            self.native = None
