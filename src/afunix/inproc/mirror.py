"""A private filesystem that grows in the host's directories: they are copied when a path leads through them.

Only directories and symbolic links are kept, and links are read anew each time. What else the host has at a path is
seen, so that nothing private takes its place, but not kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from afunix.abi.errno import Errno, SyscallError
from afunix.core.filesystem import Filesystem
from afunix.core.inode import Directory, Inode, SocketInode, Symlink
from afunix.core.pathwalk import NAME_MAX, PathWalk
from afunix.inproc import host

if TYPE_CHECKING:
    from afunix.core.pathwalk import PathCaller

__all__ = ["MirroredFilesystem"]

Times = tuple[int, int, int]
"""Nanoseconds since the epoch: of the last access, modification and change."""


class HostLink(Symlink):
    """A copy of a link of the host."""

    __slots__ = ()


class MirroredFilesystem(Filesystem):
    """The tree in memory, and the host's directories in it.

    used: whether any name was ever made, before which nobody needs to look here. times: of the names of sockets.
    """

    __slots__ = ("_copies", "times", "used")

    def __init__(self) -> None:
        super().__init__()
        self.used = False
        self.times: dict[Inode, Times] = {}
        self._copies: dict[tuple[int, int], Directory] = {}  # by device and inode number of the host
        self._remember(self.root, b"/")

    def _walk(self, caller: PathCaller) -> PathWalk:
        return _Walk(self, caller)

    # Names of sockets.

    def create(self, caller: PathCaller, path: bytes, mode: int) -> SocketInode:
        """As `Filesystem.create`; what the host has there is in the way: EADDRINUSE."""
        walk = self._walk(caller)
        walk.to_parent(path)
        if self.find(walk.directory, walk.name) is not None:
            raise SyscallError(Errno.EADDRINUSE)
        inode = super().create(caller, path, mode)
        self.used = True
        now = host.TIME_NS()
        self.times[inode] = now, now, now
        return inode

    def changed(self, inode: Inode) -> None:
        """Something about a name was changed: its third time is now."""
        if inode.nlink:
            self.times[inode] = (*self.times.get(inode, (0, 0))[:2], host.TIME_NS())
        else:
            self.times.pop(inode, None)

    # What the host has.

    def find(self, directory: Directory, name: bytes) -> Inode | None:
        """What is in a directory under this name, here or on the host."""
        inode = directory.entries.get(name)
        if inode is None or isinstance(inode, HostLink):
            return self._copy(directory, name)
        return inode

    def _copy(self, parent: Directory, name: bytes) -> Inode | None:
        """What the host has there, which becomes part of the tree if paths can lead through it."""
        path = self.host_path(parent, name)
        parent.remove(name)
        try:
            status = host.LSTAT(path)
            target = host.READLINK(path) if stat.S_ISLNK(status.st_mode) else None
        except (OSError, ValueError):
            return None
        number, mode, uid, gid = status.st_ino, status.st_mode, status.st_uid, status.st_gid
        if target is not None:
            link = HostLink(number, os.fsencode(target), uid, gid)
            parent.enter(name, link)
            return link
        if not stat.S_ISDIR(mode):
            return Inode(number, mode, uid, gid)
        directory = Directory(number, stat.S_IMODE(mode), uid, gid, parent)
        parent.enter(name, directory)
        parent.nlink += 1
        self._copies[status.st_dev, number] = directory
        return directory

    def _remember(self, directory: Directory, path: bytes) -> None:
        try:
            status = host.LSTAT(path)
        except OSError:
            return
        self._copies[status.st_dev, status.st_ino] = directory

    def host_path(self, directory: Directory, name: bytes = b"") -> bytes:
        """Where that is, or would be, on the host."""
        names = [name] if name else []
        while directory.parent is not directory:
            parent = directory.parent
            names += [name for name, entry in parent.entries.items() if entry is directory][:1]
            directory = parent
        path = b"/" + b"/".join(reversed(names))
        return path[1:] if host.DRIVES and path[2:3] == b":" else path

    def host_directory(self, path: str) -> Directory:
        """The directory at an absolute path of the host; as far as it exists there."""
        found = self.root
        for name in host.to_unix(os.fsencode(os.path.realpath(path))).split(b"/"):
            entry = self.find(found, name) if name else found
            if not isinstance(entry, Directory):
                break
            found = entry
        return found

    def copy_at(self, fd: int) -> Directory | None:
        """The copy of the directory that a descriptor of the host refers to, if there is one: OSError EBADF."""
        status = host.FSTAT(fd)
        return self._copies.get((status.st_dev, status.st_ino))

    # What the host did to a directory.

    def attributes_changed(self, directory: Directory) -> None:
        """The host's directory has another mode or owner."""
        try:
            status = host.LSTAT(self.host_path(directory))
        except OSError:
            return
        directory.change(status.st_mode, status.st_uid, status.st_gid)

    def removed(self, directory: Directory) -> None:
        """The host's directory is gone."""
        for name, entry in list(directory.parent.entries.items()):
            if entry is directory:
                self._drop(directory.parent, name)

    def moved(self, directory: Directory, caller: PathCaller, path: bytes) -> None:
        """The host's directory is elsewhere: what is private in it goes with it."""
        links = directory.nlink
        self.removed(directory)
        walk = self._walk(caller)
        walk.to_parent(path)
        walk.directory.enter(walk.name, directory)
        walk.directory.nlink += 1
        directory.nlink = links
        directory.parent = walk.directory

    @staticmethod
    def private(directory: Directory) -> Iterator[tuple[bytes, SocketInode]]:
        """The names of sockets in a directory."""
        for name, entry in directory.entries.items():
            if isinstance(entry, SocketInode):
                yield name, entry


class _Walk(PathWalk):
    """A walk that finds what the host has."""

    __slots__ = ("_filesystem",)

    def __init__(self, filesystem: MirroredFilesystem, caller: PathCaller) -> None:
        super().__init__(caller, filesystem.protected_symlinks)
        self._filesystem = filesystem

    def child(self, name: bytes) -> Inode:
        if name in {b"", b".", b".."} or len(name) > NAME_MAX:
            return super().child(name)
        inode = self._filesystem.find(self.directory, name)
        if inode is None:
            raise SyscallError(Errno.ENOENT)
        return inode
