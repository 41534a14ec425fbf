"""Which of the host's own Unix sockets the processes of a run hold, as the kernel itself says it (unix_diag).

What a program under `afunix run --private` holds must be placeholders: without a name, not listening, and, if
connected at all, connected to the supervisor. The supervisor may listen, on a name that the kernel has made up, to be
one end of placeholders; its sockets must lead to nobody outside the run.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HostSocket", "host_sockets", "trespasses"]

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
UDIAG_SHOW_NAME, UDIAG_SHOW_PEER = 0x1, 0x4
UNIX_DIAG_NAME, UNIX_DIAG_PEER = 0, 2
TCP_LISTEN = 10

NLMSGHDR = struct.Struct("=IHHII")
UNIX_DIAG_REQ = struct.Struct("=BBHIII8x")
UNIX_DIAG_MSG = struct.Struct("=BBBBI8x")
NLATTR = struct.Struct("=HH")

AUTOBOUND = re.compile(rb"\0[0-9a-f]{5}")


@dataclass(frozen=True)
class HostSocket:
    """A Unix socket of the host's kernel."""

    inode: int
    listens: bool
    name: bytes
    peer: int
    """The inode of the socket that it is connected to, or 0."""


def host_sockets() -> dict[int, HostSocket]:
    """All Unix sockets of the network namespace, by inode."""
    request = UNIX_DIAG_REQ.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, UDIAG_SHOW_NAME | UDIAG_SHOW_PEER)
    header = NLMSGHDR.pack(NLMSGHDR.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    found = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(header + request)
        for kind, body in _messages(netlink):
            if kind == NLMSG_ERROR:
                raise OSError(-struct.unpack_from("=i", body)[0], "unix_diag")
            _, _, state, _, inode = UNIX_DIAG_MSG.unpack_from(body)
            attributes = dict(_attributes(body[UNIX_DIAG_MSG.size :]))
            peer = int.from_bytes(attributes.get(UNIX_DIAG_PEER, b""), "little")
            found[inode] = HostSocket(inode, state == TCP_LISTEN, attributes.get(UNIX_DIAG_NAME, b""), peer)
    return found


def _messages(netlink: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        data = netlink.recv(1 << 20)
        while data:
            length, kind, *_ = NLMSGHDR.unpack_from(data)
            if kind == NLMSG_DONE:
                return
            yield kind, data[NLMSGHDR.size : length]
            data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= NLATTR.size:
        length, kind = NLATTR.unpack_from(data)
        yield kind, data[NLATTR.size : length]
        data = data[(length + 3) & ~3 :]


def holders() -> dict[int, set[int]]:
    """Which processes have a descriptor of each socket inode."""
    found: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                for link in (entry / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if number := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                            found.setdefault(int(number[1]), set()).add(int(entry.name))
    return found


def trespasses(supervisor: int, members: Callable[[], Set[int]]) -> tuple[set[str], int]:
    """What is wrong with the host sockets of a private run, and how many were looked at.

    members says which processes belong to the run. They come and go while we look, so that what is wrong is what
    two looks agree on.
    """
    first, _ = _look(supervisor, members)
    second, looked_at = _look(supervisor, members)
    return first & second, looked_at


def _look(supervisor: int, members: Callable[[], Set[int]]) -> tuple[set[str], int]:
    sockets = host_sockets()
    before = members()
    held_by = holders()
    run = before | members()
    wrong = set()
    looked_at = 0
    for inode, holding in held_by.items():
        ours = holding & run
        host = sockets.get(inode)
        if host is None or not ours:
            continue
        looked_at += 1
        who = f"socket {inode} of {sorted(ours)}"
        if host.name and not (ours == {supervisor} and AUTOBOUND.fullmatch(host.name)):
            wrong.add(f"{who} is bound to {host.name!r}")
        if host.listens and ours != {supervisor}:
            wrong.add(f"{who} listens")
        peers = held_by.get(host.peer, set())
        if peers - run:
            wrong.add(f"{who} is connected to {sorted(peers - run)}, outside")
        if supervisor not in ours and peers and supervisor not in peers:
            wrong.add(f"{who} is connected to {sorted(peers)}, past the supervisor")
    return wrong, looked_at
