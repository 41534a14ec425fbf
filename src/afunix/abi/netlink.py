"""Netlink messages, and those of NETLINK_SOCK_DIAG about Unix sockets (linux/netlink.h, sock_diag.h, unix_diag.h)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

__all__ = [
    "ATTRIBUTE",
    "ERROR",
    "HEADER",
    "NETLINK_SOCK_DIAG",
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLM_F_DUMP",
    "NLM_F_MULTI",
    "NLM_F_REQUEST",
    "SOCKADDR_NL",
    "SOCK_DIAG_BY_FAMILY",
    "UNIX_DIAG_MSG",
    "UNIX_DIAG_REQ",
    "attribute",
    "attributes",
    "message",
    "messages",
]

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLM_F_REQUEST: Final = 0x1
NLM_F_MULTI: Final = 0x2
NLM_F_DUMP: Final = 0x300

UNIX_DIAG_NAME: Final = 0
UNIX_DIAG_VFS: Final = 1
UNIX_DIAG_PEER: Final = 2
UNIX_DIAG_ICONS: Final = 3
UNIX_DIAG_RQLEN: Final = 4
UNIX_DIAG_MEMINFO: Final = 5
UNIX_DIAG_SHUTDOWN: Final = 6
UNIX_DIAG_UID: Final = 7

UDIAG_SHOW_NAME: Final = 0x1
UDIAG_SHOW_VFS: Final = 0x2
UDIAG_SHOW_PEER: Final = 0x4
UDIAG_SHOW_ICONS: Final = 0x8
UDIAG_SHOW_RQLEN: Final = 0x10
UDIAG_SHOW_MEMINFO: Final = 0x20
UDIAG_SHOW_UID: Final = 0x40

HEADER: Final = Struct("<IHHII")
"""struct nlmsghdr: length with the header, type, flags, sequence number, port."""
ATTRIBUTE: Final = Struct("<HH")
"""struct nlattr: length with the header, type."""
ERROR: Final = Struct("<i")
"""The first field of struct nlmsgerr, and all that NLMSG_DONE has: minus an errno, or 0. The request follows it."""
SOCKADDR_NL: Final = Struct("<HHII")
"""struct sockaddr_nl: family, padding, port, groups."""
UNIX_DIAG_REQ: Final = Struct("<BBHIIIII")
"""struct unix_diag_req: family, protocol, padding, states as bits, inode number, what to show, cookie in two halves."""
UNIX_DIAG_MSG: Final = Struct("<BBBBIII")
"""struct unix_diag_msg: family, type, state, padding, inode number, cookie in two halves. Attributes follow."""

_ALIGN: Final = 4


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute."""
    return _padded(ATTRIBUTE.pack(ATTRIBUTE.size + len(data), kind) + data)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes in a message, by their types."""
    found = {}
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        found[kind] = data[ATTRIBUTE.size : length]
        data = data[max(length + -length % _ALIGN, ATTRIBUTE.size) :]
    return found


def message(kind: int, flags: int, sequence: int, port: int, payload: bytes) -> bytes:
    """One message."""
    return _padded(HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, port) + payload)


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """The messages of a datagram: type, flags, sequence number, port, payload. It ends before a malformed one."""
    while len(data) >= HEADER.size:
        length, kind, flags, sequence, port = HEADER.unpack_from(data)
        if not HEADER.size <= length <= len(data):
            return
        yield kind, flags, sequence, port, data[HEADER.size : length]
        data = data[length + -length % _ALIGN :]
