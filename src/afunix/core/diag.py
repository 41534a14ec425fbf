"""sock_diag for Unix sockets (net/unix/diag.c, OPT-7): what it answers, as a function of the sockets' state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from afunix.abi import netlink
from afunix.abi.constants import AF_UNIX
from afunix.abi.errno import Errno
from afunix.abi.netlink import attribute
from afunix.abi.sockaddr import SUN_PATH_OFFSET, encode
from afunix.abi.structs import SIZE, SOCKLEN
from afunix.core.options import memory_info
from afunix.core.socket import LISTEN, Socket

__all__ = ["Identity", "Request", "is_for_unix", "replies", "row"]

DATAGRAM: Final = 3700
"""The most bytes that rows take of one datagram: what the kernel gives to readers of any buffer (NLMSG_GOODSIZE)."""
ANY_COOKIE: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Identity:
    """What the front end knows of a socket: its inode number, device and inode number of its path, its owner."""

    inode: Callable[[Socket], int]
    path: Callable[[Socket], tuple[int, int] | None]
    uid: Callable[[Socket], int]


class Request:
    """A request: SOCK_DIAG_BY_FAMILY for AF_UNIX."""

    __slots__ = ("cookie", "flags", "inode", "payload", "raw", "sequence", "show", "states")

    def __init__(self, raw: bytes) -> None:
        """Decode one that `is_for_unix`; it may be too short for anything more."""
        self.flags: int
        self.sequence: int
        _, _, self.flags, self.sequence, _ = netlink.HEADER.unpack_from(raw)
        self.raw = raw
        self.payload = raw[netlink.HEADER.size :]
        fields = netlink.UNIX_DIAG_REQ.unpack_from(self.payload.ljust(netlink.UNIX_DIAG_REQ.size, b"\0"))
        _, _, _, self.states, self.inode, self.show, low, high = fields
        self.cookie = low, high

    @property
    def dumps(self) -> bool:
        """Whether it asks for all sockets, not for one."""
        return self.flags & netlink.NLM_F_DUMP == netlink.NLM_F_DUMP

    @property
    def malformed(self) -> bool:
        """Whether it is too short."""
        return len(self.payload) < netlink.UNIX_DIAG_REQ.size


def is_for_unix(raw: bytes) -> bool:
    """Whether a message is such a request."""
    for kind, flags, _, _, payload in netlink.messages(raw):
        wanted = kind == netlink.SOCK_DIAG_BY_FAMILY and flags & netlink.NLM_F_REQUEST
        return bool(wanted) and payload[:1] == bytes([AF_UNIX])
    return False


def replies(
    request: Request, port: int, sockets: Sequence[Socket], identity: Identity, more: Sequence[bytes] = ()
) -> list[bytes]:
    """The datagrams that answer a request (unix_diag_handler_dump). `more` are rows of other kernels for a dump."""
    if request.malformed:
        return [_error(request, port, Errno.EINVAL)]
    if not request.dumps:
        return [_one(request, port, sockets, identity)]
    kind, flags = netlink.SOCK_DIAG_BY_FAMILY, netlink.NLM_F_MULTI
    rows = [netlink.message(kind, flags, request.sequence, port, one) for one in _rows(request, sockets, identity)]
    rows += [netlink.message(kind, flags, request.sequence, port, one) for one in more]
    datagrams = [b""]
    for one in rows:
        if len(datagrams[-1]) + len(one) > DATAGRAM and datagrams[-1]:
            datagrams.append(b"")
        datagrams[-1] += one
    done = netlink.message(netlink.NLMSG_DONE, flags, request.sequence, port, netlink.ERROR.pack(0))
    return [*(datagram for datagram in datagrams if datagram), done]


def _rows(request: Request, sockets: Sequence[Socket], identity: Identity) -> Iterator[bytes]:
    """unix_diag_dump: sockets that nobody has accepted are left out, as they have no inode."""
    for sock in sockets:
        if request.states >> sock.state & 1 and sock.grafted:
            yield row(sock, request.show, identity)


def _one(request: Request, port: int, sockets: Sequence[Socket], identity: Identity) -> bytes:
    """unix_diag_get_exact."""
    if not request.inode:
        return _error(request, port, Errno.EINVAL)
    found = next((sock for sock in sockets if sock.grafted and identity.inode(sock) == request.inode), None)
    if found is None:
        return _error(request, port, Errno.ENOENT)
    if request.cookie not in ((ANY_COOKIE, ANY_COOKIE), _cookie(found)):
        return _error(request, port, Errno.ESTALE)
    payload = row(found, request.show, identity)
    return netlink.message(netlink.SOCK_DIAG_BY_FAMILY, 0, request.sequence, port, payload)


def _error(request: Request, port: int, errno: Errno) -> bytes:
    payload = netlink.ERROR.pack(-errno) + request.raw
    return netlink.message(netlink.NLMSG_ERROR, 0, request.sequence, port, payload)


def _cookie(sock: Socket) -> tuple[int, int]:
    return sock.number & 0xFFFFFFFF, sock.number >> 32


def row(sock: Socket, show: int, identity: Identity) -> bytes:
    """What is told of one socket (sk_diag_fill)."""
    parts = [netlink.UNIX_DIAG_MSG.pack(AF_UNIX, sock.type, sock.state, 0, identity.inode(sock), *_cookie(sock))]
    if show & netlink.UDIAG_SHOW_NAME and sock.address is not None:
        parts.append(attribute(netlink.UNIX_DIAG_NAME, encode(sock.address)[SUN_PATH_OFFSET:]))
    if show & netlink.UDIAG_SHOW_VFS:
        where = identity.path(sock)
        if where is not None:
            device, inode = where
            parts.append(attribute(netlink.UNIX_DIAG_VFS, _pair(inode & 0xFFFFFFFF, device)))
    if show & netlink.UDIAG_SHOW_PEER and sock.peer is not None:
        parts.append(attribute(netlink.UNIX_DIAG_PEER, SOCKLEN.pack(_inode(sock.peer, identity))))
    if show & netlink.UDIAG_SHOW_ICONS and sock.state == LISTEN:
        parts.append(attribute(netlink.UNIX_DIAG_ICONS, _connecting(sock, identity)))
    if show & netlink.UDIAG_SHOW_RQLEN:
        parts.append(attribute(netlink.UNIX_DIAG_RQLEN, _pair(*_queues(sock))))
    if show & netlink.UDIAG_SHOW_MEMINFO:
        parts.append(attribute(netlink.UNIX_DIAG_MEMINFO, memory_info(sock)))
    parts.append(attribute(netlink.UNIX_DIAG_SHUTDOWN, bytes([sock.shut])))
    if show & netlink.UDIAG_SHOW_UID:
        parts.append(attribute(netlink.UNIX_DIAG_UID, SOCKLEN.pack(identity.uid(sock))))
    return b"".join(parts)


def _pair(one: int, two: int) -> bytes:
    return SIZE.pack(one | two << 32)


def _inode(sock: Socket, identity: Identity) -> int:
    """0 for a socket that is closed, or not accepted yet."""
    return 0 if sock.dead or not sock.grafted else identity.inode(sock)


def _connecting(sock: Socket, identity: Identity) -> bytes:
    """The sockets whose connections wait in a listener's queue (sk_diag_dump_icons)."""
    peers = [message.embryo.peer for message in sock.queue if message.embryo is not None]
    return b"".join([SOCKLEN.pack(0 if peer is None else _inode(peer, identity)) for peer in peers])


def _queues(sock: Socket) -> tuple[int, int]:
    """What can be read, and what was sent and not read; of a listener connections and backlog (sk_diag_show_rqlen)."""
    if sock.state == LISTEN:
        return len(sock.queue), sock.backlog
    return sock.unread, sock.wmem
