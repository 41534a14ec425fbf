"""Messages with descriptors and credentials on any AF_UNIX socket object, the host's or ours."""

from __future__ import annotations

import array
import contextlib
import socket as standard
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    SCM_CREDENTIALS,
    SCM_MAX_FD,
    SCM_RIGHTS,
    SO_PASSCRED,
    SO_PEERCRED,
)
from afunix.abi.message import cmsg_space
from afunix.inproc import files, host, numbers

__all__ = [
    "Credentials",
    "Message",
    "close_all",
    "duplicates",
    "pass_credentials",
    "peer_credentials",
    "receive",
    "receive_flags",
    "send",
]

NOBODY: Final = 0xFFFFFFFF
"""The uid of a peer that is not there."""

_UCRED: Final = struct.Struct("iII")
_ROOM: Final = cmsg_space(SCM_MAX_FD * 4) + cmsg_space(_UCRED.size)
_HOST_CLOEXEC: Final = hasattr(standard, "MSG_CMSG_CLOEXEC")
_CLOEXEC: Final[int] = getattr(standard, "MSG_CMSG_CLOEXEC", MSG_CMSG_CLOEXEC)
_CUT_OFF: Final[int] = getattr(standard, "MSG_CTRUNC", MSG_CTRUNC)


class Credentials(NamedTuple):
    """Who sent a message (SCM_CREDENTIALS), or who is at the other end (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class Message(NamedTuple):
    """What was received. Whoever gets it owns the descriptors, which are close-on-exec.

    data: a record, or of a stream some bytes; b"" at the end. credentials: if the socket asks for them. address: the
    sender's, of datagrams. flags: MSG_TRUNC if data were cut off, MSG_CTRUNC if descriptors or credentials were.
    """

    data: bytes
    fds: tuple[int, ...] = ()
    credentials: Credentials | None = None
    address: Any = None
    flags: int = 0

    def close(self) -> None:
        """Close its descriptors, for who has no use for them."""
        close_all(self.fds)

    def as_received(self, maxfds: int) -> tuple[bytes, list[int], int, Any]:
        """What `socket.recv_fds` would return: further descriptors are closed, and MSG_CTRUNC says so."""
        close_all(self.fds[maxfds:])
        flags = self.flags | (_CUT_OFF if len(self.fds) > maxfds else 0)
        return self.data, list(self.fds[:maxfds]), flags, self.address


def receive_flags(sock: standard.socket) -> int:
    """What `receive` needs to know of a socket: MSG_CMSG_CLOEXEC where there is such a thing."""
    return _CLOEXEC if _HOST_CLOEXEC or sock.fileno() >= numbers.FIRST else 0


def receive(sock: standard.socket, size: int, flags: int) -> Message:
    """Receive once, with all that comes along; OSError as of recvmsg."""
    data, items, told, address = sock.recvmsg(size, _ROOM, flags)
    told &= ~_CLOEXEC
    if not items:
        return Message(data, (), None, address or None, told)
    fds: tuple[int, ...] = ()
    credentials = None
    for level, kind, content in items:
        if level != standard.SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            found = array.array("i")
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
            fds += tuple(found)
        elif kind == SCM_CREDENTIALS:
            credentials = Credentials(*_UCRED.unpack(content))
    if fds and not flags:
        for fd in fds:
            host.SET_INHERITABLE(fd, False)
    return Message(data, fds, credentials, address or None, told)


def send(
    sock: standard.socket,
    data: Any,
    fds: Sequence[int] = (),
    credentials: Credentials | None = None,
    address: Any = None,
) -> int:
    """Send once: bytes sent. OSError as of sendmsg."""
    items: list[tuple[int, int, Any]] = []
    if fds:
        items.append((standard.SOL_SOCKET, SCM_RIGHTS, array.array("i", fds)))
    if credentials is not None:
        items.append((standard.SOL_SOCKET, SCM_CREDENTIALS, _UCRED.pack(*credentials)))
    if address is not None:
        return sock.sendmsg([data], items, 0, address)
    return sock.sendmsg([data], items) if items else sock.send(data)


def pass_credentials(sock: standard.socket) -> None:
    """Have messages to this socket, and to those that it accepts, bring the sender's credentials."""
    sock.setsockopt(standard.SOL_SOCKET, SO_PASSCRED, 1)


def peer_credentials(sock: standard.socket) -> Credentials | None:
    """Who is at the other end; None if that is nobody, or the host does not tell."""
    if sock.fileno() < numbers.FIRST and not hasattr(standard, "SO_PEERCRED"):
        return None
    try:
        found = Credentials(*_UCRED.unpack(sock.getsockopt(standard.SOL_SOCKET, SO_PEERCRED, _UCRED.size)))
    except OSError:
        return None
    return found if found.uid != NOBODY else None


def duplicates(fds: Iterable[int]) -> tuple[int, ...]:
    """Descriptors of our own for the same open files, of the host or ours: OSError EBADF, EMFILE."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(files.REPLACED["dup"](fd))
    except BaseException:
        close_all(made)
        raise
    return tuple(made)


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors, of the host or ours."""
    for fd in fds:
        with contextlib.suppress(OSError):
            files.REPLACED["close"](fd)
