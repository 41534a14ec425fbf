"""Descriptors and control messages between Python's form and the core's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from afunix.abi.constants import MSG_OOB, SCM_RIGHTS, SOL_SOCKET
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import CMSGHDR, ControlMessage, cmsg_align, cmsg_space
from afunix.abi.structs import INT
from afunix.core import ancillary
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.pidfd import Pidfd
from afunix.inproc import host, numbers

if TYPE_CHECKING:
    from afunix.core.credentials import Ucred
    from afunix.core.message import Received
    from afunix.core.socket import Socket
    from afunix.inproc.kernel import Kernel
    from afunix.inproc.process import Process

__all__ = ["HostFile", "control", "descriptors", "file_of", "files_of", "install", "outgoing", "pidfd_of", "release"]

CMSGHDR_SIZE = CMSGHDR.size


class HostFile(File):
    """A descriptor of the host on its way through our sockets: a duplicate, with the same open file and offset."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        """Duplicate fd: OSError EBADF, EMFILE."""
        super().__init__()
        self.fd = host.DUP(fd)

    def close(self) -> None:
        """Close the duplicate."""
        host.CLOSE(self.fd)


def file_of(kernel: Kernel, number: int) -> File:
    """A new reference to what a virtual or host number refers to: EBADF as OSError. `Unmodelled`: another kernel's."""
    file: File
    if number < numbers.FIRST:
        file = HostFile(number)
    else:
        process, _, file = numbers.find(number)
        if process.kernel is not kernel:
            raise Unmodelled("a descriptor of one kernel in a message of another")
    file.acquire()
    return file


def install(process: Process, file: File, cloexec: bool) -> int:
    """The number under which a received file is this process's: a new one of the host's for a host file."""
    if not isinstance(file, HostFile):
        return process.base | process.core.descriptors.install(file, cloexec=cloexec)
    try:
        fd = host.DUP(file.fd)
        if not cloexec:
            host.SET_INHERITABLE(fd, True)
    except OSError:
        raise SyscallError(Errno.EMFILE) from None
    return fd


def pidfd_of(process: Process, pid: int) -> Pidfd:
    """A new pidfd of the process with this number, which may be gone."""
    kernel = process.kernel
    return Pidfd(kernel.core.wakeups, kernel.table.processes.get(pid))


def release(files: Iterable[File]) -> None:
    """Drop references."""
    for file in files:
        file.release()


def outgoing(
    process: Process, sock: Socket, items: Iterable[ControlMessage], open_file: Callable[[int], File] | None = None
) -> tuple[Sequence[File], Ucred | None]:
    """The files, with references, and credentials that control messages ask for. SyscallError; OSError EBADF."""
    items = list(items)
    if sum(cmsg_space(len(data)) for _, _, data in items) >= ancillary.OPTMEM_MAX:
        raise SyscallError(Errno.ENOBUFS)
    open_file = open_file or partial(file_of, process.kernel)
    try:
        fds, creds = ancillary.parse_items(items, process.core, sock)
    except ancillary.BadControl as error:
        release(files_of(error.fds, open_file))
        raise
    return files_of(fds, open_file), creds


def files_of(fds: Iterable[int], open_file: Callable[[int], File]) -> list[File]:
    """References to what all these numbers refer to, or to none of it: EBADF as OSError."""
    files: list[File] = []
    try:
        for fd in fds:
            files.append(open_file(fd))
    except BaseException:
        release(files)
        raise
    return files


def control(
    process: Process,
    received: Received,
    sock: Socket,
    room: int,
    flags: int,
    put: Callable[[Process, File, bool], int] = install,
) -> tuple[list[tuple[int, int, bytes]], int]:
    """The control messages of what was received, and the bits for msg_flags; its descriptors are installed.

    room: bytes for control messages, as the program's msg_controllen.
    """
    pidfd = (lambda pid: put(process, pidfd_of(process, pid), True)) if sock.passpidfd else None
    raw, extra = ancillary.deliver(received, sock, room or None, flags, partial(put, process), pidfd, process.core)
    items: list[tuple[int, int, bytes]] = []
    if not raw:
        return items, extra
    position = 0
    while position + CMSGHDR_SIZE <= len(raw):
        length, level, kind = CMSGHDR.unpack_from(raw, position)
        items.append((level, kind, raw[position + CMSGHDR_SIZE : position + length]))
        position += cmsg_align(length)
    return items, extra


def descriptors(process: Process, received: Received, sock: Socket, room: int, flags: int) -> tuple[list[int], int]:
    """`control` for who wants the numbers of the descriptors only."""
    if ancillary.only_rights(sock) and not received.flags & MSG_OOB:
        return ancillary.deliver_rights(received.files, room, flags, partial(install, process))
    items, extra = control(process, received, sock, room, flags)
    fds: list[int] = []
    for level, kind, data in items:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += [fd for (fd,) in INT.iter_unpack(data[: len(data) - len(data) % INT.size])]
    return fds, extra
