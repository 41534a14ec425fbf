"""Sockets of NETLINK_SOCK_DIAG, for processes of the bare core."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from afunix.abi.constants import AF_NETLINK, MSG_DONTWAIT, MSG_PEEK, MSG_TRUNC, POLLIN, POLLOUT, SOCK_CLOEXEC
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.netlink import NETLINK_SOCK_DIAG
from afunix.conformance.core_files import Args, file_of
from afunix.conformance.core_proc import socket_inode
from afunix.core import diag, listing
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.inode import SocketInode
from afunix.core.socket import Socket
from afunix.syscalls.call import signed

if TYPE_CHECKING:
    from afunix.conformance.core_machine import CoreTask

__all__ = ["DiagSocket", "recvfrom", "sendto", "socket"]


class DiagSocket(File):
    """A netlink socket, with the answers that wait in it."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: deque[bytes] = deque()

    def poll(self) -> int:
        """Readable while answers wait."""
        return POLLIN | POLLOUT if self.answers else POLLOUT

    def close(self) -> None:
        """Holds nothing."""


def _path(sock: Socket) -> tuple[int, int] | None:
    key = None if sock.inode is None else sock.inode.key
    return (0, key.number) if isinstance(key, SocketInode) else None


_IDENTITY = diag.Identity(socket_inode, _path, lambda sock: sock.uid)


def socket(task: CoreTask, args: Args) -> int:
    """socket(2) of AF_NETLINK."""
    if signed(args[0]) != AF_NETLINK or signed(args[2]) != NETLINK_SOCK_DIAG:
        raise Unmodelled(f"sockets of family {signed(args[0])}")
    return task.process.descriptors.install(DiagSocket(), cloexec=bool(args[1] & SOCK_CLOEXEC))


def _netlink(task: CoreTask, fd: int) -> DiagSocket:
    file = file_of(task, fd)
    if not isinstance(file, DiagSocket):
        raise SyscallError(Errno.ENOTSOCK)
    return file


def sendto(task: CoreTask, args: Args) -> int:
    """sendto(2): a request."""
    file = _netlink(task, args[0])
    raw = task.read(args[1], args[2])
    if not diag.is_for_unix(raw):
        raise Unmodelled("a netlink message of another kind")
    sockets = listing.sockets_in(task.machine.kernel, task.process.net)
    file.answers += diag.replies(diag.Request(raw), task.pid, sockets, _IDENTITY)
    return len(raw)


def recvfrom(task: CoreTask, args: Args) -> int:
    """recvfrom(2): the next answer."""
    file = _netlink(task, args[0])
    flags = signed(args[3])
    if not file.answers:
        if flags & MSG_DONTWAIT:
            raise SyscallError(Errno.EAGAIN)
        raise Unmodelled("waiting for a netlink message")
    answer = file.answers[0] if flags & MSG_PEEK else file.answers.popleft()
    task.write(args[1], answer[: args[2]])
    return len(answer) if flags & MSG_TRUNC else min(len(answer), args[2])
