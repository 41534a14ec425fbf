"""NETLINK_SOCK_DIAG of programs, by which `ss -x` lists sockets: requests for Unix sockets are answered here.

A program's netlink socket is the host's. Its request goes to the host as well, so that the socket becomes readable, and
what the host refuses is refused. When the program comes for the answer, the host's is taken out of the socket, and the
program is given one with the virtual sockets in place of placeholders. While parts of it are left, a request that the
host answers with an error keeps the socket readable.

As long as no program has made such a netlink socket nothing here is looked at. Answers are taken by read, recvfrom and
recvmsg; readv and recvmmsg get the host's.
"""

from __future__ import annotations

import os
import socket as host
from collections import deque
from typing import TYPE_CHECKING, Final

from afunix.abi import netlink
from afunix.abi.constants import AF_NETLINK, MAX_RW_COUNT, MSG_PEEK, MSG_TRUNC, SO_DOMAIN, SO_PROTOCOL
from afunix.abi.errno import SyscallError
from afunix.abi.message import MSG_CONTROLLEN_OFFSET, MSG_FLAGS_OFFSET, MSG_NAMELEN_OFFSET
from afunix.abi.structs import INT, SIZE, SOCKLEN
from afunix.core import diag, listing
from afunix.core.credentials import Ucred
from afunix.core.socket import Socket
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.caller import HostInode
from afunix.supervisor.copies import cookie
from afunix.supervisor.procfiles import inode_of, is_inside, own_sockets
from afunix.syscalls.call import address_check, signed
from afunix.syscalls.messages import read_header
from afunix.syscalls.transfer import write_address

if TYPE_CHECKING:
    from afunix.supervisor.supervisor import Supervisor
    from afunix.supervisor.tasks import Task

__all__ = ["SockDiag"]

REQUEST_MAX: Final = 4096
"""Bytes of a send that are looked at."""
BUFFER: Final = 1 << 18
KERNEL: Final = netlink.SOCKADDR_NL.pack(AF_NETLINK, 0, 0, 0)
"""The address that answers come from."""


class Asked:
    """A request whose answer was not read, or not to its end."""

    __slots__ = ("answers", "cookie", "kept_readable", "request")

    def __init__(self, request: diag.Request, cookie: int) -> None:
        self.request = request
        self.cookie = cookie
        """SO_COOKIE of the netlink socket, as inode numbers are used again."""
        self.answers: deque[bytes] | None = None
        self.kept_readable = False


class SockDiag:
    """All netlink sockets that wait for answers about Unix sockets."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.active = False
        """Whether a program has made a netlink socket of this kind."""
        self._asked: dict[int, Asked] = {}

    def trap(self, name: str, ident: int, tid: int, args: tuple[int, ...], task: Task, inode: int) -> None:
        """A call on a host's descriptor, whose inode number this is if it is a socket."""
        call = NotifiedCall(self._supervisor, ident, tid, task, name, args)
        listener = self._supervisor.listener
        if inode >= 0 and name in SENDING:
            self._sends(call, inode)
        elif inode in self._asked and name in RECEIVING:
            try:
                value = self._receives(call, inode)
            except SyscallError as error:
                listener.fail(ident, error.errno)
                return
            if value is not None:
                listener.answer(ident, value)
                return
        listener.proceed(ident)

    # -- requests

    def _sends(self, call: NotifiedCall, inode: int) -> None:
        """Remember a request for Unix sockets. Whatever is wrong with the call the host will say."""
        try:
            raw = self._data(call)
            if not diag.is_for_unix(raw):
                return
            fd = call.task.take(call.args[0] & 0xFFFFFFFF)
        except SyscallError:
            return
        with host.socket(fileno=fd) as native:
            if is_sock_diag(native):
                self._asked[inode] = Asked(diag.Request(raw), cookie(native))

    @staticmethod
    def _data(call: NotifiedCall) -> bytes:
        if call.name == "sendmsg":
            header = read_header(call, call.args[1])
            return call.memory.read_vec(header.iovecs) if header.total <= REQUEST_MAX else b""
        return call.memory.read(call.args[1], call.args[2]) if call.args[2] <= REQUEST_MAX else b""

    # -- answers

    def _receives(self, call: NotifiedCall, inode: int) -> int | None:
        """Give the next part of an answer: the call's value; None: there is none, the host is to be asked."""
        asked = self._asked[inode]
        with host.socket(fileno=call.task.take(call.args[0] & 0xFFFFFFFF)) as native:
            if cookie(native) != asked.cookie:
                del self._asked[inode]
                return None
            if asked.answers is None:
                asked.answers = self._answers(call, asked.request, native)
            if not asked.answers:
                del self._asked[inode]
                return None
            flags = 0 if call.name == "read" else signed(call.args[2 if call.name == "recvmsg" else 3])
            value = self._give(call, asked.answers[0], flags)
            if not flags & MSG_PEEK:
                asked.answers.popleft()
            if asked.answers and not asked.kept_readable:
                native.send(netlink.message(netlink.SOCK_DIAG_BY_FAMILY, netlink.NLM_F_REQUEST, 0, 0, b""))
                asked.kept_readable = True
            elif not asked.answers:
                del self._asked[inode]
                if asked.kept_readable:
                    taken(native)
        return value

    def _answers(self, call: NotifiedCall, request: diag.Request, native: host.socket) -> deque[bytes]:
        """The answer as datagrams; empty if the host has none."""
        theirs: list[bytes] = []
        last = -1
        while last not in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR) and (request.dumps or last < 0):
            datagram = taken(native)
            if not datagram:
                return deque()
            for last, _, _, number, payload in netlink.messages(datagram):
                port = number
                if last == netlink.SOCK_DIAG_BY_FAMILY:
                    theirs.append(payload)
        if last == netlink.NLMSG_ERROR and (request.dumps or request.malformed):
            return deque([datagram])
        supervisor = self._supervisor
        supervisor.sweep()
        sockets = [s for s in listing.sockets_in(supervisor.kernel, call.caller.net) if is_inside(s)]
        numbers = call.caller.numbers

        def uid(sock: Socket) -> int:
            return sock.uid if numbers is None else numbers.shown(Ucred(0, sock.uid, 0)).uid

        hidden = supervisor.watch.by_inode.keys() | own_sockets()
        identity = diag.Identity(inode_of, _path, uid)
        if not request.dumps:
            if request.inode not in hidden and theirs and not supervisor.proc_files.private:
                return deque([datagram])
            return deque(diag.replies(request, port, sockets, identity))
        if supervisor.proc_files.private:
            theirs = []
        others = [row for row in theirs if netlink.UNIX_DIAG_MSG.unpack_from(row)[4] not in hidden]
        return deque(diag.replies(request, port, sockets, identity, others))

    @staticmethod
    def _give(call: NotifiedCall, answer: bytes, flags: int) -> int:
        """Write a datagram to the program's memory: the call's value (netlink_recvmsg)."""
        args, memory = call.args, call.memory
        if call.name == "recvmsg":
            header = read_header(call, args[1])
            iovecs, room = header.iovecs, header.total
        else:
            room = min(args[2], MAX_RW_COUNT)
            address_check(args[1], room)
            iovecs = [(args[1], room)]
        memory.write_vec(iovecs, answer[:room])
        if call.name == "recvmsg":
            if header.name:
                memory.write(header.at + MSG_NAMELEN_OFFSET, INT.pack(len(KERNEL)))
                memory.write(header.name, KERNEL[: header.namelen])
            told = MSG_TRUNC if len(answer) > room else 0
            memory.write(header.at + MSG_FLAGS_OFFSET, SOCKLEN.pack(told))
            memory.write(header.at + MSG_CONTROLLEN_OFFSET, SIZE.pack(0))
        elif call.name == "recvfrom" and args[4]:
            write_address(call, b"", args[4], args[5], unnamed=KERNEL)
        return len(answer) if flags & MSG_TRUNC else min(len(answer), room)


SENDING: Final = frozenset({"write", "sendto", "sendmsg"})
RECEIVING: Final = frozenset({"read", "recvfrom", "recvmsg"})


def is_sock_diag(native: host.socket) -> bool:
    """Whether a host socket is a netlink socket of NETLINK_SOCK_DIAG."""
    return (
        native.getsockopt(host.SOL_SOCKET, SO_DOMAIN) == AF_NETLINK
        and native.getsockopt(host.SOL_SOCKET, SO_PROTOCOL) == netlink.NETLINK_SOCK_DIAG
    )


def taken(native: host.socket) -> bytes:
    """A datagram that waits; b"" if none does."""
    try:
        return native.recv(BUFFER, host.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


def _path(sock: Socket) -> tuple[int, int] | None:
    """Device, as the kernel itself numbers it, and inode number of what a socket is bound to."""
    if sock.inode is None:
        return None
    assert isinstance(sock.inode, HostInode)
    device, inode = sock.inode.identity
    return os.major(device) << 20 | os.minor(device), inode
