"""Descriptors and open files of a core process: the calls on them that are not a socket's own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.constants import (
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_GETFL,
    F_SETFD,
    F_SETFL,
    FD_CLOEXEC,
    O_APPEND,
    O_CLOEXEC,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    POLLIN,
    POLLOUT,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import clip_iovecs, unpack_iovecs
from afunix.core.credentials import CAP_SYS_ADMIN
from afunix.core.errors import Unmodelled
from afunix.core.eventfd import EventCounter
from afunix.core.file import File
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import PipeReader, PipeWriter, make_pipe
from afunix.core.process import Process
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer, Outcome, signed

if TYPE_CHECKING:
    from afunix.conformance.core_machine import CoreTask

__all__ = [
    "Args",
    "Body", "NullFile", "PathFile", "Pidfd", "close", "close_range", "ensure_room", "eventfd2", "fcntl", "file_of",
    "lseek", "memfd_create", "pipe2", "read", "readv", "unshare", "write",
]  # fmt: skip

Args = tuple[int, ...]
"""Six registers."""
Body = Generator[WouldBlock, None, Answer]

CLONE_NEWNET: Final = 0x40000000
MFD_CLOEXEC: Final = 1
EFD_SEMAPHORE: Final = 1


class NullFile(File):
    """What descriptors 0 to 2 are: reads end, writes vanish."""

    def read_nowait(self, size: int) -> bytes:
        """End of file."""
        return b""

    def write_nowait(self, data: bytes) -> int:
        """Gone."""
        return len(data)

    def poll(self) -> int:
        """Always ready."""
        return POLLIN | POLLOUT

    def close(self) -> None:
        """Holds nothing."""


class PathFile(File):
    """An O_PATH descriptor: it stands for an inode, and all it can do is be held, passed and looked at."""

    def __init__(self, inode: object) -> None:
        super().__init__()
        self.inode = inode

    def close(self) -> None:
        """Holds nothing."""


class Pidfd(File):
    """A descriptor of a process."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.pid = pid

    def close(self) -> None:
        """Holds nothing."""


def ensure_room(process: Process, number: int) -> None:
    """EMFILE unless so many more descriptors fit."""
    table = process.descriptors
    if sum(fd < table.limit for fd in table.files) + number > table.limit:
        raise SyscallError(Errno.EMFILE)


def file_of(task: CoreTask, fd: int, *, path: bool = False) -> Any:
    """What a descriptor refers to: EBADF, also for an O_PATH descriptor unless that is wanted."""
    file = task.process.descriptors.get(signed(fd))
    if isinstance(file, PathFile) and not path:
        raise SyscallError(Errno.EBADF)
    return file


def close(task: CoreTask, args: Args) -> int:
    """close(2)."""
    file = task.process.descriptors.get(signed(args[0]))
    task.process.descriptors.close(signed(args[0]))
    if not file.references:
        task.machine.modes.pop(file, None)  # type: ignore[call-overload]
    return 0


def unshare(task: CoreTask, args: Args) -> int:
    """unshare(2) of the network namespace."""
    if signed(args[0]) != CLONE_NEWNET:
        raise Unmodelled(f"unshare {signed(args[0]):#x}")
    if not task.process.credentials.capable(CAP_SYS_ADMIN):
        raise SyscallError(Errno.EPERM)
    task.process.net = object()
    return 0


def close_range(task: CoreTask, args: Args) -> int:
    """close_range(2)."""
    task.process.descriptors.close_range(args[0] & 0xFFFFFFFF, args[1] & 0xFFFFFFFF, signed(args[2]))
    return 0


def fcntl(task: CoreTask, args: Args) -> int:
    """fcntl(2) of descriptors and of the flags of open file descriptions."""
    table, fd, command = task.process.descriptors, signed(args[0]), signed(args[1])
    file = table.get(fd)
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        return table.dup_from(fd, signed(args[2]), cloexec=command == F_DUPFD_CLOEXEC)
    if command == F_GETFD:
        return FD_CLOEXEC if table.get_cloexec(fd) else 0
    if command == F_SETFD:
        table.set_cloexec(fd, bool(args[2] & FD_CLOEXEC))
        return 0
    if isinstance(file, PathFile):
        if command == F_GETFL:
            return O_PATH
        raise SyscallError(Errno.EBADF)
    if command == F_GETFL:
        return _status_flags(file)
    if command == F_SETFL:
        if isinstance(file, MemoryFile):
            file.flags = file.flags & ~O_APPEND | args[2] & O_APPEND
        elif hasattr(file, "nonblock"):
            file.nonblock = bool(args[2] & O_NONBLOCK)
        return 0
    raise Unmodelled(f"fcntl command {command}")


def _status_flags(file: File) -> int:
    if isinstance(file, MemoryFile):
        return file.flags
    access = O_RDONLY if isinstance(file, PipeReader) else O_WRONLY if isinstance(file, PipeWriter) else O_RDWR
    return access | (O_NONBLOCK if getattr(file, "nonblock", False) else 0)


def pipe2(task: CoreTask, args: Args) -> int:
    """pipe2(2)."""
    ensure_room(task.process, 2)
    flags = signed(args[1])
    ends = make_pipe(task.machine.kernel.wakeups, nonblock=bool(flags & O_NONBLOCK))
    fds = [task.process.descriptors.install(end, cloexec=bool(flags & O_CLOEXEC)) for end in ends]
    task.write(args[0], Struct("<ii").pack(*fds))
    return 0


def memfd_create(task: CoreTask, args: Args) -> int:
    """memfd_create(2)."""
    return task.process.descriptors.install(MemoryFile.anonymous(), cloexec=bool(args[1] & MFD_CLOEXEC))


def eventfd2(task: CoreTask, args: Args) -> int:
    """eventfd2(2)."""
    flags = signed(args[1])
    counter = EventCounter(
        task.machine.kernel.wakeups,
        args[0],
        semaphore=bool(flags & EFD_SEMAPHORE),
        nonblock=bool(flags & O_NONBLOCK),
    )
    return task.process.descriptors.install(counter, cloexec=bool(flags & O_CLOEXEC))


def read(task: CoreTask, args: Args) -> Outcome:
    """read(2) of what is no socket."""
    file = file_of(task, args[0])

    def attempt() -> int | WouldBlock:
        data = file.read_nowait(args[2])
        if isinstance(data, WouldBlock):
            return data
        task.write(args[1], data)
        return len(data)

    return _retry(file, attempt)


def readv(task: CoreTask, args: Args) -> Outcome:
    """readv(2) of what is no socket."""
    file = file_of(task, args[0])
    iovecs, size = clip_iovecs(unpack_iovecs(task.read(args[1], 16 * args[2])))

    def attempt() -> int | WouldBlock:
        data = file.read_nowait(size)
        if isinstance(data, WouldBlock):
            return data
        task.write_vec(iovecs, data)
        return len(data)

    return _retry(file, attempt)


def write(task: CoreTask, args: Args) -> Outcome:
    """write(2) to what is no socket."""
    file = file_of(task, args[0])
    data = task.read(args[1], args[2])
    return _retry(file, lambda: file.write_nowait(data))


def _retry(file: Any, attempt: Callable[[], int | WouldBlock]) -> Outcome:
    value = attempt()
    if not isinstance(value, WouldBlock):
        return value
    if getattr(file, "nonblock", False):
        raise SyscallError(Errno.EAGAIN)
    return _wait(attempt, value)


def _wait(attempt: Callable[[], int | WouldBlock], value: int | WouldBlock) -> Body:
    while isinstance(value, WouldBlock):
        yield value
        value = attempt()
    return value


def lseek(task: CoreTask, args: Args) -> int:
    """lseek(2)."""
    file = file_of(task, args[0])
    if not isinstance(file, MemoryFile):
        raise SyscallError(Errno.ESPIPE)
    offset = args[1] - (1 << 64) if args[1] >> 63 else args[1]
    return file.lseek(offset, signed(args[2]))
