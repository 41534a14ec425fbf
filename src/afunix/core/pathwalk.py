"""The way from a path to an inode, with Linux's rules and errors (fs/namei.c)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Protocol

from afunix.abi.constants import S_ISVTX, S_IWOTH
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import Credentials
from afunix.core.inode import MAY_EXEC, S_IXUGO, Directory, Inode, Symlink, permission, permitted

__all__ = ["MAX_SYMLINKS", "NAME_MAX", "PATH_MAX", "PathCaller", "PathWalk", "straight"]

NAME_MAX: Final = 255
"""Bytes of one component at most."""
PATH_MAX: Final = 4096
"""Bytes of a path, its NUL included."""
MAX_SYMLINKS: Final = 40
"""Links that one walk follows (MAXSYMLINKS in include/linux/namei.h)."""


class PathCaller(Protocol):
    """Who asks for a path.

    What cwd and root are is between the caller and its namespace: the tree in memory wants its `Directory`.
    """

    @property
    def credentials(self) -> Credentials:
        """The identity that access is checked for."""

    @property
    def cwd(self) -> object:
        """Where relative paths start."""

    @property
    def root(self) -> object:
        """Where absolute paths start, and what '..' does not leave."""


class PathWalk:
    """One walk (`struct nameidata`): `to_parent` stops before the last component, `to_end` goes all the way.

    directory: how far the walk has come. name: the last component, empty for a path of slashes only. slashes:
    whether slashes follow it.
    """

    __slots__ = ("credentials", "directory", "links", "name", "protected_symlinks", "root", "slashes")

    def __init__(self, caller: PathCaller, protected_symlinks: bool = False) -> None:
        root, cwd = caller.root, caller.cwd
        assert isinstance(root, Directory)
        assert isinstance(cwd, Directory)
        self.credentials = caller.credentials
        self.root = root
        self.directory = cwd
        self.name = b""
        self.slashes = False
        self.links = 0
        self.protected_symlinks = protected_symlinks

    @property
    def special(self) -> bool:
        """Whether the last component is '.', '..' or the root: no name that could be made or removed."""
        return self.name in {b"", b".", b".."}

    def to_parent(self, path: bytes) -> None:
        """Walk all but the last component, which stays in `name` (filename_parentat, link_path_walk).

        ENOENT, ENOTDIR, EACCES without search permission, ELOOP, ENAMETOOLONG.
        """
        if not path:
            raise SyscallError(Errno.ENOENT)
        if len(path) >= PATH_MAX:
            raise SyscallError(Errno.ENAMETOOLONG)
        if 0 in path:
            raise ValueError("embedded null byte")
        self._walk(path)

    def to_end(self, path: bytes, *, follow: bool = True) -> Inode:
        """Walk the whole path (path_lookupat); follow says whether a link at the end is followed.

        Trailing slashes follow it anyway and demand a directory. Errors as for to_parent.
        """
        self.to_parent(path)
        directory_only = False
        while True:
            directory_only = directory_only or self.slashes
            inode = self.child(self.name)
            if isinstance(inode, Symlink) and (follow or directory_only):
                self.follow(inode)
                continue
            if directory_only and not isinstance(inode, Directory):
                raise SyscallError(Errno.ENOTDIR)
            return inode

    def follow(self, link: Symlink) -> None:
        """From `name`, which is this link, go on to the last component of its target.

        EACCES: with protected_symlinks a link in a sticky directory that all can write is followed only by
        its owner, or if the directory's owner made it (may_follow_link).
        """
        directory = self.directory
        if (
            self.protected_symlinks
            and directory.mode & S_ISVTX
            and directory.mode & S_IWOTH
            and link.uid not in {self.credentials.euid, directory.uid}
        ):
            raise SyscallError(Errno.EACCES)
        self._count_link()
        self._walk(link.target)

    def child(self, name: bytes) -> Inode:
        """What a component means in the current directory: ENOENT, ENAMETOOLONG."""
        directory = self.directory
        if name in {b"", b"."}:
            return directory
        if name == b"..":
            return directory if directory is self.root else directory.parent
        if len(name) > NAME_MAX:
            raise SyscallError(Errno.ENAMETOOLONG)
        try:
            return directory.entries[name]
        except KeyError:
            raise SyscallError(Errno.ENOENT) from None

    def _count_link(self) -> None:
        if self.links == MAX_SYMLINKS:
            raise SyscallError(Errno.ELOOP)
        self.links += 1

    def _walk(self, rest: bytes) -> None:
        if rest[0] == 0x2F:
            self.directory = self.root
            rest = rest.lstrip(b"/")
        while rest:
            permission(self.credentials, self.directory, MAY_EXEC)
            name, slash, rest = rest.partition(b"/")
            rest = rest.lstrip(b"/")
            if not rest:
                self.name = name
                self.slashes = bool(slash)
                return
            inode = self.child(name)
            if isinstance(inode, Symlink):
                self._count_link()
                if inode.target[0] == 0x2F:
                    self.directory = self.root
                rest = (inode.target + b"/" + rest).lstrip(b"/")
            elif isinstance(inode, Directory):
                self.directory = inode
            else:
                raise SyscallError(Errno.ENOTDIR)
        self.name = b""
        self.slashes = False


@lru_cache(maxsize=1024)
def _names(path: bytes) -> list[bytes] | None:
    """The names in an absolute path."""
    return path[1:].split(b"/") if path[:1] == b"/" and len(path) < PATH_MAX else None


def straight(caller: PathCaller, path: bytes) -> Inode | None:
    """Where an absolute path leads that has only names in it, no link, dot or second slash; None for any other.

    The common case of `PathWalk.to_end` at a quarter of the cost; what is refused on the way is left to that.
    """
    names = _names(path)
    here = caller.root
    if names is None:
        return None
    for name in names:
        if not isinstance(here, Directory):
            return None
        if here.mode & S_IXUGO != S_IXUGO and not permitted(caller.credentials, here, MAY_EXEC):
            return None
        here = here.entries.get(name)
    return here if isinstance(here, Inode) and not isinstance(here, Symlink) else None
