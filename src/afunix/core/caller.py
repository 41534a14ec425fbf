"""What an operation must know of the thread that makes the call, and of the tree its paths are resolved in."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from afunix.core.credentials import Credentials

__all__ = ["BoundInode", "Caller"]


class BoundInode(Protocol):
    """The socket inode that a path name made; it lives, and keeps its key from reuse, until `close`."""

    @property
    def key(self) -> Hashable:
        """What identifies the inode: (device, inode number) on a host's tree."""

    def remove(self) -> None:
        """Unlink the name it was made under, if that name still is this inode: the bind is being undone."""

    def close(self) -> None:
        """Drop the hold on the inode; its names stay."""


class Caller(Protocol):
    """One thread of a program during a call."""

    @property
    def credentials(self) -> Credentials:
        """The identity at the time of the call."""

    @property
    def net(self) -> Hashable:
        """The network namespace, which abstract names belong to (NAME-12)."""

    @property
    def nofile(self) -> int:
        """RLIMIT_NOFILE, which also bounds the descriptors in flight (SCM-2)."""

    def realtime(self) -> float:
        """Seconds since the epoch, for SO_TIMESTAMP."""

    def process_exists(self, pid: int) -> bool:
        """Whether a process or thread has this number, in the caller's pid namespace (find_get_pid, SCM-4)."""

    def lookup(self, path: bytes) -> Hashable:
        """The key of the inode at a path, in the caller's root and working directory, following symbolic links.

        Raises, in this order: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES on search; EACCES without write
        permission on the inode; ECONNREFUSED when it is no socket (NAME-8).
        """

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        """Make a socket inode with `mode & ~umask` for a socket of type `kind`.

        EADDRINUSE: the name exists (NAME-6); else mknod(2)'s errors.
        """
