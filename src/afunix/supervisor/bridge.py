"""Sockets of the world outside: programs inside reach host sockets, programs outside reach names bound inside.

An outside connection is a *far* core socket, the peer of the program's, and a host socket; a `Link` carries bytes,
records, descriptors and ends of file between the two. An outside datagram address is a core socket whose queue is
emptied to the host (`Outlet`). A path or abstract name bound inside is bound on the host too, by a host socket that
`Inlet` accepts from or receives from. What the outside sees as the peer is the supervisor, except where the host
lets it pass on the program's credentials.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket as host
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING

from afunix.abi.constants import MSG_PEEK, SHUT_WR, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.sockaddr import SUN_PATH_OFFSET
from afunix.abi.structs import UCRED, unpack_ucred
from afunix.core import connection, datagram
from afunix.core.credentials import Credentials, Ucred
from afunix.core.message import Received
from afunix.core.operations import OPERATIONS
from afunix.core.socket import LISTEN, Socket
from afunix.core.wait import WouldBlock
from afunix.supervisor import paths
from afunix.supervisor.caller import HostInode, TaskCaller
from afunix.supervisor.passed import HostFile
from afunix.syscalls import naming
from afunix.syscalls.call import Outcome, Undo

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.kernel import Kernel
    from afunix.supervisor.call import NotifiedCall
    from afunix.supervisor.watch import Watch

__all__ = ["Bridge"]

CHUNK = 65536
RECORD_MAX = 1 << 20
CONTROL_ROOM = host.CMSG_SPACE(4 * 253) + host.CMSG_SPACE(UCRED.size)
KINDS = {SOCK_STREAM: host.SOCK_STREAM, SOCK_DGRAM: host.SOCK_DGRAM, SOCK_SEQPACKET: host.SOCK_SEQPACKET}


class Outsider:
    """A process outside as the `Caller` of a core operation."""

    def __init__(self, who: Ucred, net: Hashable) -> None:
        self.credentials = Credentials(who.pid, who.uid, who.gid, who.uid, who.gid, capabilities=-1)
        self.net = net
        self.nofile = 1 << 30

    def realtime(self) -> float:
        """The time of day."""
        return time.time()

    def process_exists(self, pid: int) -> bool:
        """The host has checked the credentials that come from outside."""
        return True

    def lookup(self, path: bytes) -> Hashable:
        """Outside processes resolve their paths themselves."""
        raise SyscallError(Errno.ECONNREFUSED)

    def create(self, path: bytes, mode: int, kind: int) -> HostInode:
        """Outside processes bind their sockets themselves."""
        raise SyscallError(Errno.EACCES)


class Link:
    """A far socket and its host socket. It is the far socket's front: `sync` runs when the far socket changed."""

    def __init__(self, bridge: Bridge, far: Socket, native: host.socket) -> None:
        self.bridge = bridge
        self.far = far
        self.native = native
        self._incoming: tuple[bytes, list[HostFile], Ucred | None] | None = None
        self._read_open = True
        self._write_open = True
        self._events = 0
        far.front = self
        far.passcred = True
        native.setblocking(False)
        bridge.watch.register(native.fileno(), 0, self._ready)
        self._want(select.EPOLLIN)
        self.sync()

    def _want(self, events: int) -> None:
        if events != self._events and self.native.fileno() >= 0:
            self._events = events
            self.bridge.watch.modify(self.native.fileno(), events)

    # -- inside to outside

    def sync(self, answered: bool = True) -> bool:
        """Send on what programs inside have queued; pass on the end of what they send."""
        self._sync()
        return True

    def _sync(self) -> None:
        far = self.far
        if far.dead or self.native.fileno() < 0:
            return
        while far.queue and self._write_open:
            if not self._send_one():
                self._want(self._events | select.EPOLLOUT)
                return
        self._want(self._events & ~select.EPOLLOUT)
        if far.shut & 1 and self._write_open and not far.queue:
            self._write_open = False
            with contextlib.suppress(OSError):
                self.native.shutdown(host.SHUT_WR)
        if self._incoming is not None:
            self._deliver()
        if far.peer is None or far.peer.dead:
            self._finish()

    def _send_one(self) -> bool:
        """Send the next message, or as much of it as the host takes. False: try again when it is writable."""
        far = self.far
        records = OPERATIONS[far.type].keeps_records
        seen = OPERATIONS[far.type].receive(far, RECORD_MAX if records else CHUNK, MSG_PEEK)
        if not isinstance(seen, Received):
            return True
        try:
            sent = self.bridge.sendmsg(self.native, seen, None)
        except BlockingIOError:
            return False
        except OSError:
            self._write_open = False
            far.shutdown(0)
            return True
        taken = OPERATIONS[far.type].receive(far, RECORD_MAX if records else sent, 0)
        if isinstance(taken, Received):
            taken.done()
        return sent == len(seen.data)

    # -- outside to inside

    def _ready(self, event: int) -> None:
        if event & select.EPOLLOUT:
            self.sync()
        if self.native.fileno() >= 0 and event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            if self._incoming is None and self._read_open:
                self._read()
            elif event & (select.EPOLLHUP | select.EPOLLERR):
                self._want(0)
                if not self._read_open or event & select.EPOLLERR:
                    self._finish()

    def _read(self) -> None:
        size = CHUNK if self.far.type == SOCK_STREAM else RECORD_MAX
        try:
            data, control, _, _ = self.native.recvmsg(size, CONTROL_ROOM, host.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            self.far._release(embryo=True)  # a reset outside is a reset inside
            return
        files, who = _unpack(control)
        if not data and not files:
            self._read_open = False
            self._want(self._events & ~select.EPOLLIN)
            self.far.shutdown(SHUT_WR)
            return
        self._incoming = (data, files, who)
        self._deliver()

    def _deliver(self) -> None:
        assert self._incoming is not None
        data, files, who = self._incoming
        far = self.far
        try:
            result = OPERATIONS[far.type].send(far, self.bridge.outsider(far), data, 0, files, who)
        except SyscallError:
            for file in files:
                file.release()
            self._incoming = None
            self._read_open = False
            self._want(self._events & ~select.EPOLLIN)
            with contextlib.suppress(OSError):
                self.native.shutdown(host.SHUT_RD)
            return
        if isinstance(result, WouldBlock):
            self._pause(result)
        elif result.length < len(data):
            self._incoming = (data[result.length :], [], who)
            self._pause(far.wait_writable)
        else:
            self._incoming = None
            self._want(self._events | select.EPOLLIN)

    def _pause(self, block: WouldBlock) -> None:
        self._want(self._events & ~select.EPOLLIN)
        for queue in block.queues:
            queue.add(self._space)

    def _space(self) -> None:
        self.far.writable.discard(self._space)
        if self._incoming is not None and not self.far.dead:
            self._deliver()

    def _finish(self) -> None:
        """One side is gone for good."""
        self.far.close()

    def dispose(self) -> None:
        """The far socket is gone: close the host's."""
        if self._incoming is not None:
            for file in self._incoming[1]:
                file.release()
            self._incoming = None
        if self.native.fileno() >= 0:
            self.bridge.watch.unregister(self.native.fileno())
            self.native.close()


class Arrival:
    """A listener made for one connect: the host has accepted already, so the first connection becomes a link."""

    def __init__(self, bridge: Bridge, listener: Socket, native: host.socket) -> None:
        self.bridge = bridge
        self.listener = listener
        self.native: host.socket | None = native

    def sync(self, answered: bool = True) -> bool:
        """The program's connect has queued its connection."""
        self._sync()
        return True

    def _sync(self) -> None:
        if self.native is None or self.listener.dead:
            return
        far = connection.accept(self.listener)
        if isinstance(far, Socket):
            native, self.native = self.native, None
            Link(self.bridge, far, native)
            self.listener.close()

    def dispose(self) -> None:
        """The connect failed after all, or is done."""
        if self.native is not None:
            self.native.close()
            self.native = None


class Outlet:
    """An outside datagram address."""

    def __init__(self, bridge: Bridge, sock: Socket, native: host.socket, key: Hashable) -> None:
        self.bridge = bridge
        self.sock = sock
        self.native = native
        self.key = key
        self._waiting = False
        sock.front = self
        sock.passcred = True
        native.setblocking(False)
        bridge.watch.register(native.fileno(), 0, self._ready)

    def sync(self, answered: bool = True) -> bool:
        """Send on what was queued for the address."""
        self._sync()
        return True

    def _sync(self) -> None:
        sock = self.sock
        while sock.queue and not sock.dead:
            message = sock.queue[0]
            source = self.bridge.natives.get(message.owner)
            seen = datagram.receive(sock, RECORD_MAX, MSG_PEEK)
            assert isinstance(seen, Received)
            try:
                if source is not None:
                    self.bridge.sendmsg(source, seen, self.native.getpeername())
                else:
                    self.bridge.sendmsg(self.native, seen, None)
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self.bridge.watch.modify(self.native.fileno(), select.EPOLLOUT | select.EPOLLONESHOT)
                return
            except OSError:
                sock.close()
                return
            taken = datagram.receive(sock, RECORD_MAX)
            assert isinstance(taken, Received)
            taken.done()

    def _ready(self, event: int) -> None:
        self._waiting = False
        if event & (select.EPOLLERR | select.EPOLLHUP) and not event & select.EPOLLOUT:
            self.sock.close()
        else:
            self.sync()

    def dispose(self) -> None:
        """The address is gone."""
        self.bridge.forget_outlet(self.key)
        self.bridge.watch.unregister(self.native.fileno())
        self.native.close()


class Inlet:
    """The host's half of a name bound inside: outside programs connect or send to it."""

    def __init__(self, bridge: Bridge, sock: Socket, native: host.socket) -> None:
        self.bridge = bridge
        self.sock = sock
        self.native = native
        native.setblocking(False)
        self.listening = False
        if sock.type == SOCK_DGRAM:
            native.setsockopt(host.SOL_SOCKET, host.SO_PASSCRED, 1)
            bridge.watch.register(native.fileno(), select.EPOLLIN, self._datagram)

    def listen(self) -> None:
        """The program listens now."""
        self.native.listen(self.sock.backlog)
        if not self.listening:
            self.listening = True
            self.bridge.watch.register(self.native.fileno(), select.EPOLLIN, self._connection)

    def _connection(self, event: int) -> None:
        sock = self.sock
        if sock.full:
            self.bridge.watch.modify(self.native.fileno(), 0)
            sock.peer_space.add(self._space)
            return
        try:
            native, _ = self.native.accept()
        except OSError:
            return
        who = _peer(native)
        near = Socket(self.bridge.kernel, sock.type, sock.net)
        try:
            connection.connect_to(near, Outsider(who, sock.net), sock)
        except SyscallError:
            native.close()
            return
        Link(self.bridge, near, native)

    def _space(self) -> None:
        self.sock.peer_space.discard(self._space)
        if self.native.fileno() >= 0:
            self.bridge.watch.modify(self.native.fileno(), select.EPOLLIN)

    def _datagram(self, event: int) -> None:
        if self.sock.full:
            self.bridge.watch.modify(self.native.fileno(), 0)
            self.sock.peer_space.add(self._space)
            return
        try:
            data, control, _, name = self.native.recvmsg(RECORD_MAX, CONTROL_ROOM, host.MSG_CMSG_CLOEXEC)
        except OSError:
            return
        files, who = _unpack(control)
        sender = Socket(self.bridge.kernel, SOCK_DGRAM, self.sock.net)
        sender.sndbuf = RECORD_MAX << 1
        sender.address = name.encode(errors="surrogateescape") if isinstance(name, str) else bytes(name or b"") or None
        try:
            datagram.send_to(sender, self.bridge.outsider(sender), data, self.sock, files, who)
        except SyscallError:
            for file in files:
                file.release()

    def close(self) -> None:
        """The socket inside is gone or was unbound."""
        if self.native.fileno() >= 0:
            self.bridge.watch.unregister(self.native.fileno())
            self.native.close()


class Bridge:
    """All traffic between the kernel and the host's own AF_UNIX."""

    def __init__(self, kernel: Kernel, watch: Watch) -> None:
        self.kernel = kernel
        self.watch = watch
        self.natives: dict[Socket, host.socket] = {}
        self._inlets: dict[Socket, Inlet] = {}
        self._outlets: dict[Hashable, Socket] = {}
        self._arrivals: list[Arrival] = []
        kernel.names.outside = self.find

    def outsider(self, sock: Socket) -> Outsider:
        """The caller that what comes from outside is accounted to."""
        return Outsider(Ucred(os.getpid(), os.getuid(), os.getgid()), sock.net)

    # -- programs inside to sockets outside

    def find(self, caller: Caller, address: bytes, kind: int) -> Socket | None:
        """A core socket that stands for the host's at this address; None: the host has none either."""
        if not isinstance(caller, TaskCaller):
            return None
        for arrival in self._arrivals:
            if arrival.native is not None and not arrival.listener.queue:
                arrival.listener.close()
        self._arrivals = [arrival for arrival in self._arrivals if not arrival.listener.dead]
        native = host.socket(host.AF_UNIX, KINDS[kind] | host.SOCK_NONBLOCK)
        try:
            if address[0]:
                inode = paths.lookup(caller.task, address)
                key: Hashable = inode.key
                try:
                    if kind == SOCK_DGRAM and key in self._outlets:
                        native.close()
                        return self._outlets[key]
                    native.connect(f"/proc/self/fd/{inode.fd}")
                finally:
                    inode.close()
            else:
                key = (caller.net, address)
                if kind == SOCK_DGRAM and key in self._outlets:
                    native.close()
                    return self._outlets[key]
                native.connect(address)
        except ConnectionRefusedError:
            native.close()
            return None
        except OSError as error:
            native.close()
            raise SyscallError(Errno(error.errno or Errno.ECONNREFUSED)) from None
        sock = Socket(self.kernel, kind, caller.net)
        sock.address = address
        if kind == SOCK_DGRAM:
            self._outlets[key] = sock
            Outlet(self, sock, native, key)
        else:
            sock.state = LISTEN
            who = _peer(native)
            sock.peer_cred = who
            sock.peer_groups = ()
            arrival = Arrival(self, sock, native)
            sock.front = arrival
            self._arrivals.append(arrival)
        return sock

    def forget_outlet(self, key: Hashable) -> None:
        """An outside datagram address is gone."""
        self._outlets.pop(key, None)

    # -- programs outside to sockets inside

    def bind(self, call: NotifiedCall) -> Outcome:
        """bind(2): inside, and on the host where the program chose the name."""
        outcome = naming.bind(call)
        if not isinstance(outcome, tuple):
            return outcome
        sock = call.sock
        inode = sock.inode
        if isinstance(inode, HostInode):
            native = inode.native
        elif call.args[2] & 0xFFFFFFFF != SUN_PATH_OFFSET:
            native = host.socket(host.AF_UNIX, sock.type)
            try:
                native.bind(sock.name())
            except OSError as error:
                native.close()
                outcome[1].undo()
                raise SyscallError(Errno(error.errno or Errno.EADDRINUSE)) from None
        else:
            native = None
        if native is not None:
            self._inlets[sock] = Inlet(self, sock, native)
            if sock.type == SOCK_DGRAM:
                self.natives[sock] = native
        return 0, Undo([lambda: self.unbound(sock), outcome[1].undo])

    def listen(self, call: NotifiedCall) -> Outcome:
        """listen(2): inside and on the host."""
        outcome = naming.listen(call)
        inlet = self._inlets.get(call.sock)
        if inlet is not None:
            inlet.listen()
        return outcome

    def unbound(self, sock: Socket) -> None:
        """A socket inside has no name any more."""
        self.natives.pop(sock, None)
        inlet = self._inlets.pop(sock, None)
        if inlet is not None:
            inlet.close()

    # -- both

    def sendmsg(self, native: host.socket, seen: Received, to: object) -> int:
        """Send what was seen in a queue to the host, with descriptors and, where allowed, credentials."""
        control: list[tuple[int, int, bytes]] = []
        fds = [file.fetch() for file in seen.files if isinstance(file, HostFile)]
        if fds:
            control.append((host.SOL_SOCKET, host.SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in fds)))
        who = seen.creds
        with_who = control
        if who is not None and who.pid:
            with_who = [*control, (host.SOL_SOCKET, 2, UCRED.pack(who.pid, who.uid, who.gid))]
        flags = host.MSG_DONTWAIT | host.MSG_NOSIGNAL
        address = () if to is None else (to,)
        try:
            return native.sendmsg([seen.data], with_who, flags, *address)
        except (PermissionError, ProcessLookupError):
            if with_who is control:
                raise
            return native.sendmsg([seen.data], control, flags, *address)


def _peer(native: host.socket) -> Ucred:
    return Ucred(*unpack_ucred(native.getsockopt(host.SOL_SOCKET, host.SO_PEERCRED, UCRED.size)))


def _unpack(control: list[tuple[int, int, bytes]]) -> tuple[list[HostFile], Ucred | None]:
    """The descriptors and the credentials among control messages."""
    files: list[HostFile] = []
    who = None
    for level, kind, data in control:
        if level != host.SOL_SOCKET:
            continue
        if kind == host.SCM_RIGHTS:
            files += [
                HostFile(int.from_bytes(data[at : at + 4], "little")) for at in range(0, len(data) - 3, 4)
            ]
        elif kind == 2 and len(data) >= UCRED.size:
            who = Ucred(*unpack_ucred(data[: UCRED.size]))
    return files, who

