"""Short-lived copies of programs' descriptors, as sockets to work with."""

from __future__ import annotations

import atexit
import os
import socket as host
import sys
from types import TracebackType
from typing import Final

from afunix.abi.constants import SO_COOKIE

__all__ = ["Copy", "HostSocket", "cookie", "copy", "socket_of"]

HostSocket = host.SocketType


class Copy:
    """A descriptor of this process, as a socket, for the time of a `with`; closed at its end."""

    __slots__ = ("_fd", "_sock")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sock = HostSocket(host.AF_UNIX, host.SOCK_STREAM, 0, fd)

    def __enter__(self) -> HostSocket:
        return self._sock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def forget(self) -> None:
        """The number is no longer this object's: at the end it must not be closed."""
        self._sock.detach()


def cookie(sock: HostSocket) -> int:
    """SO_COOKIE: a number that no other socket ever has."""
    return int.from_bytes(sock.getsockopt(host.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


_copies: Final[dict[int, Copy]] = {}


def copy(fd: int) -> Copy:
    """The descriptor as a copy to be closed.

    Copies come and go one at a time, and so have always the same few numbers: the object made for a number is kept,
    as to make one asks the kernel what the number is, and costs more than most of what is then done with it.
    """
    found = _copies.get(fd)
    if found is None:
        found = _copies[fd] = Copy(fd)
    return found


def socket_of(fd: int) -> HostSocket:
    """One of our own sockets as an object, for a moment: the number stays its owner's to close."""
    return copy(fd)._sock


@atexit.register
def _forget() -> None:
    for kept in _copies.values():
        kept.forget()
    _copies.clear()
