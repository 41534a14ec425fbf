"""The host's directories in a private filesystem: made there when a path leads through them, and only they."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from afunix.abi.errno import Errno, SyscallError
from afunix.core.filesystem import Filesystem
from afunix.core.inode import MAY_WRITE, Directory, Inode, SocketInode, Symlink, permission
from afunix.core.pathwalk import PathWalk, straight
from afunix.inproc import host

if TYPE_CHECKING:
    from afunix.core.pathwalk import PathCaller

__all__ = ["MirroredFilesystem"]


class MirroredFilesystem(Filesystem):
    """Copies directories, with mode and owner, and symbolic links to them. Files and sockets stay out."""

    __slots__ = ()

    def _walk(self, caller: PathCaller) -> PathWalk:
        return _Walk(self, caller)

    def lookup(self, caller: PathCaller, path: bytes) -> SocketInode:
        """As `Filesystem.lookup`; what only the host has there is no socket of ours: ECONNREFUSED."""
        inode: Inode | None
        try:
            # What was bound is there already, with the directories that lead to it.
            inode = straight(caller, path) or PathWalk(caller, self.protected_symlinks).to_end(path)
        except SyscallError:
            inode = None
        if isinstance(inode, SocketInode):
            permission(caller.credentials, inode, MAY_WRITE)
            return inode
        try:
            return super().lookup(caller, path)
        except SyscallError as error:
            if error.errno is Errno.ENOENT and self._on_host(caller, path):
                raise SyscallError(Errno.ECONNREFUSED) from None
            raise

    def create(self, caller: PathCaller, path: bytes, mode: int) -> SocketInode:
        """As `Filesystem.create`; what the host has there is in the way: EADDRINUSE."""
        if self._on_host(caller, path):
            raise SyscallError(Errno.EADDRINUSE)
        return super().create(caller, path, mode)

    def _on_host(self, caller: PathCaller, path: bytes) -> bool:
        cwd = caller.cwd
        assert isinstance(cwd, Directory)
        try:
            host.LSTAT(os.path.join(self.path_of(cwd), path))
        except (OSError, ValueError):
            return False
        return True

    def host_directory(self, path: str) -> Directory:
        """The directory at an absolute path of the host; as far as it exists there."""
        self.extend(self.root, os.path.join(os.fsencode(path), b"."))
        found = self.root
        for name in _names(os.fsencode(os.path.realpath(path))):
            entry = found.entries.get(name)
            if not isinstance(entry, Directory):
                break
            found = entry
        return found

    def extend(self, cwd: Directory, path: bytes) -> bool:
        """Copy what is missing on the way to the last component of a path; whether there was anything."""
        prefix = b"" if path.startswith((b"/", b"\\")) else self.path_of(cwd)
        whole = os.path.join(prefix or b"/", path)
        return self._extend(_names(os.path.dirname(whole)), 0)

    def path_of(self, directory: Directory) -> bytes:
        """The absolute path of a directory of the tree."""
        names: list[bytes] = []
        while directory.parent is not directory:
            parent = directory.parent
            names += [name for name, entry in parent.entries.items() if entry is directory][:1]
            directory = parent
        return b"/" + b"/".join(reversed(names))

    def _extend(self, names: list[bytes], links: int) -> bool:
        changed = False
        here = self.root
        for index, name in enumerate(names):
            if name == b"..":
                here = here.parent
                continue
            entry = here.entries.get(name)
            if entry is None:
                entry = self._copy(here, b"/" + b"/".join(names[: index + 1]), name)
                if entry is None:
                    return changed
                changed = True
            if isinstance(entry, Symlink):
                if links == 40:
                    return changed
                base = [] if entry.target.startswith(b"/") else names[:index]
                return self._extend([*base, *_names(entry.target), *names[index + 1 :]], links + 1) or changed
            if not isinstance(entry, Directory):
                return changed
            here = entry
        return changed

    def _copy(self, parent: Directory, path: bytes, name: bytes) -> Directory | Symlink | None:
        try:
            status = host.LSTAT(path)
            target = host.READLINK(path) if stat.S_ISLNK(status.st_mode) else None
        except (OSError, ValueError):
            return None
        inode: Directory | Symlink
        if target is not None:
            inode = Symlink(status.st_ino, target, status.st_uid, status.st_gid)
        elif stat.S_ISDIR(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            inode = Directory(status.st_ino, mode, status.st_uid, status.st_gid, parent)
            parent.nlink += 1
        else:
            return None
        parent.entries[name] = inode
        return inode


class _Walk(PathWalk):
    """A walk that finds the host's directories."""

    __slots__ = ("_filesystem",)

    def __init__(self, filesystem: MirroredFilesystem, caller: PathCaller) -> None:
        super().__init__(caller, filesystem.protected_symlinks)
        self._filesystem = filesystem

    def to_parent(self, path: bytes) -> None:
        self._filesystem.extend(self.directory, path)
        super().to_parent(path)


def _names(path: bytes) -> list[bytes]:
    return [name for name in path.replace(os.fsencode(os.sep), b"/").split(b"/") if name not in (b"", b".")]
