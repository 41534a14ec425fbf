"""Socket paths as a program sees them: what a path names for connect, and the inode that bind makes.

Everything is done in the program's place, root, mounts and working directory (walk.py), with its identity
(identity.py) and umask, by the host's own system calls. Addresses are paths of at most 108 bytes, without a NUL.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EEXIST
from typing import Final, NoReturn, Protocol

from afunix.abi.constants import AF_UNIX, AT_EACCESS, AT_EMPTY_PATH, UNIX_PATH_MAX
from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor import endcalls, hostcalls
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.identity import Subject, acting_as
from afunix.supervisor.walk import O_LOOK, Origin, Walker, mount_id, split_last

__all__ = ["Inode", "Place", "bind_host", "create", "lookup", "remove"]

S_IALLUGO: Final = 0o7777


class Place(Origin, Subject, Protocol):
    """The thread whose paths they are: its numbers, identity and umask."""

    def umask(self) -> int:
        """The file mode creation mask now."""
        ...

    def near(self) -> int:
        """A descriptor of its directory in /proc if its filesystem identity is ours; -1: it is not."""
        ...


class Inode:
    """A file of the host, held by an O_PATH descriptor, so that its number is not given to another file.

    key: device and inode number, the same by each hard link and after each rename. mode: st_mode.
    """

    __slots__ = ("fd", "key", "mode")

    def __init__(self, fd: int, device: int, number: int, mode: int) -> None:
        self.key = (device, number)
        self.mode = mode
        self.fd = fd

    @classmethod
    def of(cls, fd: int) -> Inode:
        """That of a descriptor, which belongs to it from now on."""
        status = os.fstat(fd)
        return cls(fd, status.st_dev, status.st_ino, status.st_mode)

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def lookup(place: Place, path: bytes) -> Inode:
    """The socket inode that connect or sendto finds at a path; links are followed. The caller closes it.

    Linux: unix_find_bsd (NAME-8). Errors of the walk (ENOENT, ENOTDIR, ELOOP, EACCES on search, ENAMETOOLONG), then
    EACCES without write permission on the inode, then ECONNREFUSED if it is no socket. Whether anybody is bound to
    it is not looked at.
    """
    directory = place.near()
    found = endcalls.find(directory, path) if directory >= 0 else None
    if found is not None:
        return Inode(*found)
    # It may be there all the same (see walk); and if not, this tells why.
    with _errors(), Walker.at(place) as walker, acting_as(place):
        fd = walker.find(path)
        try:
            inode = Inode.of(fd)
            if not stat.S_ISSOCK(inode.mode):
                _refuse(fd)
            hostcalls.faccessat2(fd, b"", os.W_OK, AT_EMPTY_PATH | AT_EACCESS)
        except BaseException:
            os.close(fd)
            raise
        return inode


def create(place: Place, path: bytes, mode: int) -> Inode:
    """Make the socket inode of a bind; mode is the socket's own, before the umask. The caller closes it.

    Linux: unix_bind_bsd, kern_path_create. EADDRINUSE if there is an entry of any kind, a dangling link too
    (NAME-6), or the path ends in '/', '.' or '..' of what exists. ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG,
    EROFS, ENOSPC, EDQUOT.
    """
    umask = place.umask()
    with _errors(), _parent(place, path) as (_, directory, name):
        # bind takes the umask off even where a default ACL has mknod leave it alone.
        ours = os.umask(0)
        try:
            os.mknod(name, stat.S_IFSOCK | mode & S_IALLUGO & ~umask, dir_fd=directory)
        except OSError as error:
            _fail_to_create(error)
        finally:
            os.umask(ours)
        return _made(directory, name)


def bind_host(place: Place, path: bytes, sock: socket.socket) -> Inode:
    """Bind a socket of the host at a path of the program, so that processes outside can connect to it.

    As `create`, but the mode is the host socket's own; EINVAL if it is bound already. Its name, as outside peers
    see it, is the path where that leads to the same directory from here or, with CAP_SYS_CHROOT, from the program's
    root; else one through /proc/self/fd.
    """
    umask = place.umask()
    with _return() as here, _errors(), _parent(place, path) as (walker, directory, name):
        ours = os.umask(umask)
        try:
            _bind(sock.fileno(), walker, directory, path, name, may_leave=here is not None)
        except SyscallError as error:
            _fail_to_create(error)
        finally:
            os.umask(ours)
        return _made(directory, name)


def remove(place: Place, path: bytes, inode: Inode) -> bool:
    """Undo `create` or `bind_host`: unlink the name if it still is this inode. Whether it was removed.

    Like the kernel's own clean-up in unix_bind_bsd it can't fail: a name that can't be removed stays.
    """
    try:
        with _parent(place, path) as (_, directory, name):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if (status.st_dev, status.st_ino) != inode.key:
                return False
            os.unlink(name, dir_fd=directory)
            return True
    except (OSError, SyscallError, Gone, Inaccessible):
        return False


@contextmanager
def _parent(place: Place, path: bytes) -> Iterator[tuple[Walker, int, bytes]]:
    """Within the block: the walker, the directory of the path's last component and that component, acting as the
    program.
    """
    directory_path, name = split_last(path)
    with Walker.at(place) as walker, acting_as(place):
        directory = walker.find_directory(directory_path)
        try:
            if not name:
                raise SyscallError(Errno.EADDRINUSE if path else Errno.ENOENT)
            yield walker, directory, name
        finally:
            os.close(directory)


def _made(directory: int, name: bytes) -> Inode:
    return Inode.of(os.open(name, O_LOOK | os.O_NOFOLLOW, dir_fd=directory))


@contextmanager
def _return() -> Iterator[int | None]:
    """At the end of the block go back to this process's working directory: within, its descriptor.

    None if even we may not search it: then it must not be left. It stands outside of acting as the program, which
    might not be allowed to go there.
    """
    try:
        here = os.open(".", O_LOOK | os.O_DIRECTORY)
    except OSError:
        yield None
        return
    try:
        yield here
    finally:
        os.fchdir(here)
        os.close(here)


def _bind(fd: int, walker: Walker, directory: int, path: bytes, name: bytes, *, may_leave: bool) -> None:
    """Bind by the first of the names for this directory entry that is right and short enough."""
    directory_path, _ = split_last(path)
    absolute = path.startswith(b"/")
    if not absolute and may_leave:
        os.fchdir(walker.cwd)
    if (absolute or may_leave) and _leads_to(directory_path or b".", directory):
        hostcalls.bind(fd, _sockaddr(path))
        return
    if _bind_in_its_root(fd, walker, directory, path):
        return
    address = b"/proc/self/fd/%d/%s" % (directory, name)
    if len(address) > UNIX_PATH_MAX and may_leave:
        os.fchdir(directory)
        address = name
    hostcalls.bind(fd, _sockaddr(address))


def _bind_in_its_root(fd: int, walker: Walker, directory: int, path: bytes) -> bool:
    """Bind by the path in a thread that has the program's root and working directory; False where that can't be."""
    outcome: list[SyscallError | bool] = [False]

    def bind() -> None:
        try:
            hostcalls.unshare_fs()
            os.fchdir(walker.root)
            os.chroot(b".")
            os.fchdir(walker.cwd)
            same = os.path.samestat(os.stat(split_last(path)[0] or b"."), os.fstat(directory))
        except (OSError, SyscallError):
            return
        if same:
            try:
                hostcalls.bind(fd, _sockaddr(path))
                outcome[0] = True
            except SyscallError as error:
                outcome[0] = error

    try:
        thread = threading.Thread(target=bind)
        thread.start()
    except RuntimeError:  # RLIMIT_NPROC
        return False
    thread.join()
    if isinstance(outcome[0], SyscallError):
        raise outcome[0]
    return outcome[0]


def _leads_to(path: bytes, directory: int) -> bool:
    """Whether a path from here leads to this very directory, through the same mount."""
    try:
        fd = os.open(path, O_LOOK | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return os.path.sameopenfile(fd, directory) and mount_id(fd) == mount_id(directory)
    finally:
        os.close(fd)


def _sockaddr(path: bytes) -> bytes:
    """With its NUL where there is room for one."""
    return AF_UNIX.to_bytes(2, "little") + (path + b"\0")[:UNIX_PATH_MAX]


def _refuse(fd: int) -> NoReturn:
    """The error that connect gives for this file, which is no socket: the kernel knows, and nobody is disturbed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.connect(b"/proc/self/fd/%d" % fd)
    raise SyscallError(Errno.ECONNREFUSED)


def _fail_to_create(error: OSError | SyscallError) -> NoReturn:
    if error.errno == EEXIST:
        raise SyscallError(Errno.EADDRINUSE) from None
    raise error


@contextmanager
def _errors() -> Iterator[None]:
    """The host's errors, as the ones of the system call that is being served."""
    try:
        yield
    except OSError as error:
        raise SyscallError(Errno(error.errno or Errno.EIO)) from None
