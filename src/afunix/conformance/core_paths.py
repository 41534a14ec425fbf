"""Paths, identity and limits of a core process: registers and memory around what the core does."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from afunix.abi import arch
from afunix.abi.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_PATH,
    S_IFCHR,
    S_IFIFO,
    S_IFSOCK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.conformance import core_proc
from afunix.conformance.core_files import Args, NullFile, PathFile, file_of
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.inode import Directory, Inode, RegularFile, change_mode
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import PipeReader, PipeWriter
from afunix.core.socket import Socket
from afunix.syscalls.call import signed

if TYPE_CHECKING:
    from afunix.conformance.core_machine import CoreTask

PATH_MAX: Final = 4096
GID: Final = Struct("<I")
RLIMIT: Final = Struct("<QQ")
STATX: Final = Struct("<IIQIIIHHQQ")
"""The beginning of struct statx, up to stx_size; the rest is zeros up to 256 bytes."""
STATX_SIZE: Final = 256


def path_at(task: CoreTask, address: int) -> bytes:
    """The path in memory: EFAULT, ENAMETOOLONG."""
    room = task.base + len(task.arena) - address
    data = task.read(address, max(0, min(PATH_MAX, room)))
    end = data.find(0)
    if end < 0:
        raise SyscallError(Errno.ENAMETOOLONG if len(data) == PATH_MAX else Errno.EFAULT)
    return data[:end]


def at_cwd(fd: int) -> None:
    """Only paths from the current directory are modelled here."""
    if signed(fd) != AT_FDCWD:
        raise Unmodelled("paths that start at a descriptor")


def openat(task: CoreTask, args: Args) -> int:
    """openat(2) from the current directory."""
    at_cwd(args[0])
    path, flags = path_at(task, args[1]), signed(args[2])
    if path.startswith(core_proc.ROOT):
        return task.process.descriptors.install(core_proc.open(task, path), cloexec=bool(flags & O_CLOEXEC))
    machine, here = task.machine, arch.current()
    nofollow, directory = bool(flags & here.o_nofollow), bool(flags & here.o_directory)
    file: File
    if flags & O_PATH:
        file = PathFile(machine.filesystem.stat(task.process, path, follow=not nofollow))
    else:
        mode = args[3] & ~task.process.umask
        inode = machine.filesystem.open(task.process, path, flags, mode, directory=directory, nofollow=nofollow)
        file = MemoryFile(inode, flags & (O_ACCMODE | O_APPEND)) if isinstance(inode, RegularFile) else PathFile(inode)
    return task.process.descriptors.install(file, cloexec=bool(flags & O_CLOEXEC))


def statx(task: CoreTask, args: Args) -> int:
    """statx(2) of a path or, with AT_EMPTY_PATH, of a descriptor."""
    path, flags = path_at(task, args[1]), signed(args[2])
    subject: object
    if not path and flags & AT_EMPTY_PATH:
        subject = file_of(task, args[0], path=True)
    else:
        at_cwd(args[0])
        subject = task.machine.filesystem.stat(task.process, path, follow=not flags & AT_SYMLINK_NOFOLLOW)
    mode, nlink, ino, uid, gid, size = _attributes(task, subject)
    task.write(args[4], STATX.pack(0x7FF, PATH_MAX, 0, nlink, uid, gid, mode, 0, ino, size).ljust(STATX_SIZE, b"\0"))
    return 0


def _attributes(task: CoreTask, subject: object) -> tuple[int, int, int, int, int, int]:
    if isinstance(subject, PathFile | MemoryFile):
        subject = subject.inode
    if isinstance(subject, Inode):
        return subject.mode, subject.nlink, subject.number, subject.uid, subject.gid, subject.size
    if isinstance(subject, Socket):
        return S_IFSOCK | task.machine.modes.get(subject, 0o777), 1, core_proc.socket_inode(subject), 0, 0, 0
    if isinstance(subject, PipeReader | PipeWriter):
        return S_IFIFO | 0o600, 1, id(subject.pipe), 0, 0, 0
    if isinstance(subject, NullFile):
        return S_IFCHR | 0o666, 1, id(subject), 0, 0, 0
    return 0o600, 1, id(subject), 0, 0, 0


def unlinkat(task: CoreTask, args: Args) -> int:
    """unlinkat(2), also as rmdir."""
    at_cwd(args[0])
    tree = task.machine.filesystem
    remove = tree.rmdir if signed(args[2]) & AT_REMOVEDIR else tree.unlink
    remove(task.process, path_at(task, args[1]))
    return 0


def renameat2(task: CoreTask, args: Args) -> int:
    """renameat2(2) without flags."""
    at_cwd(args[0])
    at_cwd(args[2])
    task.machine.filesystem.rename(task.process, path_at(task, args[1]), path_at(task, args[3]))
    return 0


def linkat(task: CoreTask, args: Args) -> int:
    """linkat(2)."""
    at_cwd(args[0])
    at_cwd(args[2])
    follow = bool(signed(args[4]) & AT_SYMLINK_FOLLOW)
    task.machine.filesystem.link(task.process, path_at(task, args[1]), path_at(task, args[3]), follow=follow)
    return 0


def symlinkat(task: CoreTask, args: Args) -> int:
    """symlinkat(2)."""
    at_cwd(args[1])
    task.machine.filesystem.symlink(task.process, path_at(task, args[0]), path_at(task, args[2]))
    return 0


def mkdirat(task: CoreTask, args: Args) -> int:
    """mkdirat(2)."""
    at_cwd(args[0])
    task.machine.filesystem.mkdir(task.process, path_at(task, args[1]), args[2] & 0o1777 & ~task.process.umask)
    return 0


def fchmodat(task: CoreTask, args: Args) -> int:
    """fchmodat(2)."""
    at_cwd(args[0])
    task.machine.filesystem.chmod(task.process, path_at(task, args[1]), args[2] & 0o7777)
    return 0


def fchmod(task: CoreTask, args: Args) -> int:
    """fchmod(2); of a socket it changes what bind gives to the inode (NAME-7)."""
    file, mode = file_of(task, args[0]), args[1] & 0o7777
    if isinstance(file, Socket):
        task.machine.modes[file] = mode
    elif isinstance(file, MemoryFile):
        change_mode(task.process.credentials, file.inode, mode)
    else:
        raise Unmodelled(f"fchmod of a {type(file).__name__}")
    return 0


def fchownat(task: CoreTask, args: Args) -> int:
    """fchownat(2)."""
    at_cwd(args[0])
    follow = not signed(args[4]) & AT_SYMLINK_NOFOLLOW
    uid, gid = signed(args[2]), signed(args[3])
    task.machine.filesystem.chown(task.process, path_at(task, args[1]), uid, gid, follow=follow)
    return 0


def chdir(task: CoreTask, args: Args) -> int:
    """chdir(2)."""
    task.process.cwd = task.machine.filesystem.directory(task.process, path_at(task, args[0]))
    return 0


def chroot(task: CoreTask, args: Args) -> int:
    """chroot(2)."""
    directory = task.machine.filesystem.directory(task.process, path_at(task, args[0]))
    assert isinstance(directory, Directory)
    task.process.root = directory
    return 0


# Identity and limits.


def setresuid(task: CoreTask, args: Args) -> int:
    """setresuid(2)."""
    task.process.setresuid(*map(signed, args[:3]))
    return 0


def setresgid(task: CoreTask, args: Args) -> int:
    """setresgid(2)."""
    task.process.setresgid(*map(signed, args[:3]))
    return 0


def setgroups(task: CoreTask, args: Args) -> int:
    """setgroups(2)."""
    raw = task.read(args[1], 4 * args[0])
    task.process.setgroups(tuple(gid for (gid,) in GID.iter_unpack(raw)))
    return 0


def prlimit64(task: CoreTask, args: Args) -> int:
    """prlimit64(2) of the caller itself."""
    if args[0] not in (0, task.pid):
        raise Unmodelled("the limits of another process")
    resource = signed(args[1])
    old = task.process.limits.get(resource)
    if args[2]:
        task.process.setrlimit(resource, *RLIMIT.unpack(task.read(args[2], RLIMIT.size)))
    if args[3]:
        if old is None:
            raise Unmodelled(f"resource limit {resource}")
        task.write(args[3], RLIMIT.pack(*old))
    return 0


def kill(task: CoreTask, args: Args) -> int:
    """kill(2)."""
    task.machine.table.kill(task.process, signed(args[0]), signed(args[1]))
    return 0
