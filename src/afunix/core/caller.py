"""What an operation must know of the thread that makes the call, and of the tree its paths are resolved in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from afunix.core.credentials import Credentials, Ucred

__all__ = ["BoundInode", "Caller", "Numbers"]


class BoundInode(Protocol):
    """The socket inode that a path name made; it lives, and keeps its key from reuse, until `close`."""

    @property
    def key(self) -> Hashable:
        """What identifies the inode: (device, inode number) on a host's tree."""

    def remove(self) -> None:
        """Unlink the name it was made under, if that name still is this inode: the bind is being undone."""

    def share(self) -> BoundInode:
        """Hold it once more, for a connection that takes over the path (path_get); each holder closes it once."""

    def close(self) -> None:
        """Drop a hold on the inode; its names stay."""


class Numbers(Protocol):
    """How the namespaces of a caller number processes, users and groups, where they are not the kernel's first ones."""

    def shown(self, who: Ucred) -> Ucred:
        """An identity as the caller reads it: pid 0 for a process out of its sight (pid_vnr), OVERFLOW_ID for an id
        without a number there (from_kuid_munged)."""

    def shown_groups(self, groups: Sequence[int]) -> Sequence[int]:
        """Groups as the caller reads them."""

    def uid(self, number: int) -> int:
        """The user whom the caller means by a number; -1: nobody (make_kuid)."""

    def gid(self, number: int) -> int:
        """The group that the caller means by a number; -1: none."""


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

    @property
    def numbers(self) -> Numbers | None:
        """How its namespaces number what `Ucred` has; None: in the same way."""

    def find_pid(self, number: int) -> int:
        """The process or thread with this number in the caller's pid namespace; 0: none (find_get_pid, SCM-4)."""

    def lookup(self, path: bytes) -> Hashable:
        """The key of the inode at a path, in the caller's root and working directory, following symbolic links.

        Raises, in this order: ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG, EACCES on search; EACCES without write
        permission on the inode; ECONNREFUSED when it is no socket (NAME-8).
        """

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        """Make a socket inode with `mode & ~umask` for a socket of type `kind`.

        EADDRINUSE: the name exists (NAME-6); else mknod(2)'s errors.
        """
