"""Names of flags and numbers for traces, in strace's form.

A table is the pattern that stands for an unknown number, and the names by value, taken from `constants`. Of
names that share a value, the table has the one that stands first there.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from afunix.abi import constants


class Table(NamedTuple):
    """Names of the values of one parameter, in the order in which a set of flags shows them."""

    unknown: str
    names: dict[int, str]


def flags(value: int, table: Table) -> str:
    """A set of flags: `MSG_DONTWAIT|MSG_NOSIGNAL`, `0`, and bits without a name last: `MSG_PEEK|0x800000`.

    If none has a name: `0x800000 /* MSG_??? */`. An int with its high bit set may be given as negative.
    """
    value &= 0xFFFFFFFF
    if not value:
        return "0"
    shown = []
    rest = value
    for flag, name in table.names.items():
        if rest & flag == flag:
            shown.append(name)
            rest &= ~flag
    if not shown:
        return f"{value:#x} /* {table.unknown} */"
    if rest:
        shown.append(f"{rest:#x}")
    return "|".join(shown)


def enum(value: int, table: Table) -> str:
    """A number that stands for one thing: `AF_UNIX`, or `0x63 /* AF_??? */` if it has no name."""
    name = table.names.get(value)
    if name is not None:
        return name
    return f"{value & 0xFFFFFFFF:#x} /* {table.unknown} */" if value else f"0 /* {table.unknown} */"


def socket_type(value: int) -> str:
    """The type argument of socket(2) and socketpair(2): `SOCK_STREAM|SOCK_CLOEXEC`."""
    value &= 0xFFFFFFFF
    name = SOCK.names.get(value & constants.SOCK_TYPE_MASK)
    if name is None:
        return flags(value, SOCK_FLAGS)
    modifiers = value & ~constants.SOCK_TYPE_MASK
    return f"{name}|{flags(modifiers, SOCK_FLAGS)}" if modifiers else name


def _table(unknown: str, pattern: str) -> Table:
    """The constants whose whole name matches the pattern, by rising value."""
    matches = re.compile(pattern).fullmatch
    names: dict[int, str] = {}
    for name, value in vars(constants).items():
        if matches(name):
            names.setdefault(value, name)
    return Table(unknown, dict(sorted(names.items())))


AF: Final = _table("AF_???", r"AF_\w+")
SOCK: Final = _table("SOCK_???", r"SOCK_(STREAM|DGRAM|RAW|RDM|SEQPACKET|DCCP|PACKET)")

SOCK_FLAGS: Final = Table(
    "SOCK_???", {constants.SOCK_CLOEXEC: "SOCK_CLOEXEC", constants.SOCK_NONBLOCK: "SOCK_NONBLOCK"}
)
"""The flags that go with a type, and those of accept4(2)."""

MSG: Final = _table("MSG_???", r"MSG_\w+")
SHUT: Final = _table("SHUT_???", r"SHUT_\w+")
SOL: Final = _table("SOL_??", r"SOL_\w+")

SO: Final[dict[int, Table]] = {
    constants.SOL_SOCKET: _table("SO_???", r"SO_\w+"),
    constants.SOL_IP: _table("IP_???", r"IP_\w+"),
    constants.SOL_IPV6: _table("IPV6_???", r"IPV6_\w+"),
    constants.SOL_TCP: _table("TCP_???", r"TCP_\w+"),
}
"""Option names by level. Options of a level that is not here have no names."""

SCM: Final = _table("SCM_???", r"SCM_(?!MAX_FD)\w+")
"""Types of control messages at SOL_SOCKET."""

SIOC: Final = _table("SIOC_???", r"SIOC\w+|FIO\w+|TCGETS")
"""ioctl commands by their names on sockets (SIOCINQ), where strace has those of terminals (FIONREAD)."""

POLL: Final = _table("POLL???", r"POLL[A-Z]+")
EPOLL: Final = _table("EPOLL???", r"EPOLL[A-Z]+")
EPOLL_CTL: Final = _table("EPOLL_CTL_???", r"EPOLL_CTL_\w+")
SPLICE_F: Final = _table("SPLICE_F_???", r"SPLICE_F_\w+")
RWF: Final = _table("RWF_???", r"RWF_\w+")

F: Final = _table("F_???", r"F_(?!OWNER_)\w+")
"""fcntl commands."""
