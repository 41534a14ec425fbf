"""The names of our sockets on the host's own filesystem: real socket inodes, which nobody outside can connect to."""

from __future__ import annotations

import os
import stat
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Final

from afunix.abi.constants import S_IFSOCK
from afunix.abi.errno import Errno, SyscallError
from afunix.core.inode import MAY_WRITE, Inode, permission
from afunix.inproc import host

if TYPE_CHECKING:
    from afunix.core.pathwalk import PathCaller

__all__ = ["HostFilesystem", "HostInode"]

O_PATH: Final[int] = getattr(os, "O_PATH", 0) | getattr(os, "O_NOFOLLOW", 0)


class HostInode:
    """An inode of the host, equal to every other object for the same inode.

    path: where it was made, for who asks what is left. hold: a descriptor that keeps the inode, and so its number,
    from reuse; -1 where the host has none for sockets.
    """

    __slots__ = ("device", "hold", "number", "path")

    def __init__(self, status: os.stat_result, path: bytes = b"", hold: int = -1) -> None:
        self.device = status.st_dev
        self.number = status.st_ino
        self.path = path
        self.hold = hold

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostInode) and (self.device, self.number) == (other.device, other.number)

    def __hash__(self) -> int:
        return hash((self.device, self.number))

    @property
    def left(self) -> bool:
        """Whether it still has the name it was made under."""
        try:
            return HostInode(host.LSTAT(self.path)) == self
        except OSError:
            return False


class HostFilesystem:
    """A core `Namespace` on the host's tree. cwd of a caller is an absolute path.

    Paths are walked with the rights of this Python process; the ids of the simulated process count for the write
    permission on the socket (NAME-8), and own what it makes where this process may give it away.
    """

    root: Final = b"/"

    def __init__(self) -> None:
        self.made: list[HostInode] = []

    def lookup(self, caller: PathCaller, path: bytes) -> HostInode:
        """As `Namespace.lookup`."""
        try:
            status = host.STAT(self._absolute(caller, path))
        except OSError as error:
            raise host.to_core(error) from None
        permission(caller.credentials, Inode(status.st_ino, status.st_mode, status.st_uid, status.st_gid), MAY_WRITE)
        if not stat.S_ISSOCK(status.st_mode):
            raise SyscallError(Errno.ECONNREFUSED)
        return HostInode(status)

    def create(self, caller: PathCaller, path: bytes, mode: int) -> HostInode:
        """As `Namespace.create`. EOPNOTSUPP: this host knows no socket inodes."""
        where = self._absolute(caller, path)
        try:
            _make(where)
        except FileExistsError:
            raise SyscallError(Errno.EADDRINUSE) from None
        except OSError as error:
            raise host.to_core(error) from None
        try:
            host.CHMOD(where, mode)
            status = host.LSTAT(where)
            credentials = caller.credentials
            if (credentials.euid, credentials.egid) != (status.st_uid, status.st_gid):
                _give_away(where, credentials.euid, credentials.egid)
            inode = HostInode(status, where, host.OPEN(where, O_PATH) if hasattr(os, "O_PATH") else -1)
        except OSError as error:
            host.UNLINK(where)
            raise host.to_core(error) from None
        self.made.append(inode)
        return inode

    def remove(self, caller: PathCaller, path: bytes, key: Hashable) -> None:
        """As `Namespace.remove`."""
        if isinstance(key, HostInode) and key.left:
            host.UNLINK(key.path)

    def forget(self, key: Hashable) -> None:
        """As `Namespace.forget`."""
        if isinstance(key, HostInode) and key.hold >= 0:
            hold, key.hold = key.hold, -1
            host.CLOSE(hold)

    def left(self) -> Iterator[HostInode]:
        """The inodes that still have the names they were made under."""
        return (inode for inode in self.made if inode.left)

    @staticmethod
    def _absolute(caller: PathCaller, path: bytes) -> bytes:
        cwd = caller.cwd
        assert isinstance(cwd, bytes)
        return os.path.join(cwd, path)


def _make(path: bytes) -> None:
    """A socket inode. Where mknod is for the superuser alone, a socket that is bound there leaves one behind."""
    if host.MKNOD is not None:
        try:
            host.MKNOD(path, S_IFSOCK | 0o600)
        except PermissionError:
            if not host.UNIX:
                raise
        else:
            return
    elif not host.UNIX:
        raise SyscallError(Errno.EOPNOTSUPP)
    with host.SOCKET(host.UNIX) as sock:
        sock.bind(path)


def _give_away(path: bytes, uid: int, gid: int) -> None:
    """Have it owned by a simulated process's ids, if that is allowed."""
    try:
        host.CHOWN(path, uid, gid, follow_symlinks=False)
    except PermissionError:
        return
