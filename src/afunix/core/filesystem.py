"""A file tree in memory: where socket names live, with what tests do to them.

The sockets see it as a `Namespace`, three methods that a front end can also put on the host's own tree. Times
and open directories are not kept; permission bits, owners, link counts and errors are Linux's.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Protocol

from afunix.abi.constants import (
    O_ACCMODE,
    O_CREAT,
    O_EXCL,
    O_TRUNC,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import Credentials
from afunix.core.errors import Unmodelled
from afunix.core.inode import (
    CHANGES,
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    Directory,
    Inode,
    RegularFile,
    SocketInode,
    Symlink,
    change_mode,
    change_owner,
    empty,
    initial_owner,
    is_owner,
    may_create_in_sticky,
    may_delete,
    permission,
    safe_hardlink_source,
)
from afunix.core.pathwalk import NAME_MAX, PATH_MAX, PathCaller, PathWalk, straight

__all__ = ["Filesystem", "Namespace", "PathCaller"]

MOST_FOUND: Final = 1024
"""Paths that are remembered at most."""


class Namespace(Protocol):
    """Where the path names of sockets live.

    An inode is known by a key: one for each inode, whatever its names, and not used again while it is bound.
    """

    def lookup(self, caller: PathCaller, path: bytes) -> Hashable:
        """Give the key of the socket inode that connect and sendto mean (unix_find_bsd, NAME-8).

        Links are followed. Errors of the walk come first, then EACCES without write permission on the inode,
        then ECONNREFUSED for what is no socket. Whether a socket is still bound to it the sockets know.
        """

    def create(self, caller: PathCaller, path: bytes, mode: int) -> Hashable:
        """Make a socket inode and give its key (unix_bind_bsd, NAME-6).

        mode: permission bits, the umask taken off. EADDRINUSE: an entry is there, even a dangling link.
        """

    def remove(self, caller: PathCaller, path: bytes, key: Hashable) -> None:
        """Take back what create just made (NAME-7); nothing if the path leads elsewhere by now."""

    def forget(self, key: Hashable) -> None:
        """No socket is bound to what create made any more; its names stay."""


class Filesystem:
    """An in-memory tree (a `Namespace`), and the calls on paths.

    Every call takes the caller first and paths as bytes; mode arguments have the umask already taken off. All
    raise the walk's errors: ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG. Of the kernel's settings
    fs.protected_symlinks, fs.protected_hardlinks and fs.protected_regular are known, all off by default as in
    Linux itself.
    """

    __slots__ = ("_found", "_last", "device", "protected_hardlinks", "protected_regular", "protected_symlinks", "root")

    def __init__(
        self,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        device: int = 0,
        protected_symlinks: bool = False,
        protected_hardlinks: bool = False,
        protected_regular: int = 0,
    ) -> None:
        """Make a tree with nothing but a root directory, which has this mode and owner."""
        self._last = 1
        # By path: the socket inode that it led to, when, for whom and from which root.
        self._found: dict[bytes, tuple[SocketInode, object, Credentials, object]] = {}
        self.device = device
        self.protected_symlinks = protected_symlinks
        self.protected_hardlinks = protected_hardlinks
        self.protected_regular = protected_regular
        self.root: Final = Directory(1, mode & 0o7777, uid, gid, None)

    # The names of sockets.

    def lookup(self, caller: PathCaller, path: bytes) -> SocketInode:
        """As `Namespace.lookup`; the key is the inode itself."""
        now, credentials, root = CHANGES.now, caller.credentials, caller.root  # before the walk: it may be another soon
        found = self._found.get(path)
        if found is not None and found[1] is now and found[2] is credentials and found[3] is root:
            return found[0]
        direct = straight(caller, path)
        inode = direct or self._walk(caller).to_end(path)
        permission(credentials, inode, MAY_WRITE)
        if not isinstance(inode, SocketInode):
            raise SyscallError(Errno.ECONNREFUSED)
        if direct is not None:
            if len(self._found) >= MOST_FOUND:
                self._found.clear()
            self._found[path] = inode, now, credentials, root
        return inode

    def create(self, caller: PathCaller, path: bytes, mode: int) -> SocketInode:
        """As `Namespace.create`; the key is the inode itself."""
        try:
            inode = self.mknod(caller, path, S_IFSOCK | mode & 0o7777)
        except SyscallError as error:
            if error.errno is Errno.EEXIST:
                raise SyscallError(Errno.EADDRINUSE) from None
            raise
        assert isinstance(inode, SocketInode)
        return inode

    def remove(self, caller: PathCaller, path: bytes, key: Hashable) -> None:
        """As `Namespace.remove`."""
        walk = self._walk(caller)
        try:
            walk.to_parent(path)
            if walk.child(walk.name) is not key or walk.special:
                return
        except SyscallError:
            return
        self._drop(walk.directory, walk.name)

    def forget(self, key: Hashable) -> None:
        """As `Namespace.forget`: an inode lives as long as it has a name, and no other is ever equal to it."""

    # Looking.

    def stat(self, caller: PathCaller, path: bytes, *, follow: bool = True) -> Inode:
        """The inode itself, whose attributes are what stat(2) and lstat(2) tell."""
        return self._walk(caller).to_end(path, follow=follow)

    def directory(self, caller: PathCaller, path: bytes) -> Directory:
        """A directory to be cwd or root (chdir, chroot): ENOTDIR, EACCES without search permission."""
        inode = self._walk(caller).to_end(path)
        if not isinstance(inode, Directory):
            raise SyscallError(Errno.ENOTDIR)
        permission(caller.credentials, inode, MAY_EXEC)
        return inode

    def listdir(self, caller: PathCaller, path: bytes) -> list[bytes]:
        """Names in a directory, oldest first, without '.' and '..': ENOTDIR, EACCES."""
        inode = self._walk(caller).to_end(path)
        if not isinstance(inode, Directory):
            raise SyscallError(Errno.ENOTDIR)
        permission(caller.credentials, inode, MAY_READ)
        return list(inode.entries)

    def readlink(self, caller: PathCaller, path: bytes) -> bytes:
        """A link's target: EINVAL if the path is no link."""
        inode = self._walk(caller).to_end(path, follow=False)
        if not isinstance(inode, Symlink):
            raise SyscallError(Errno.EINVAL)
        return inode.target

    # Making.

    def open(
        self,
        caller: PathCaller,
        path: bytes,
        flags: int,
        mode: int = 0,
        *,
        directory: bool = False,
        nofollow: bool = False,
    ) -> Inode:
        """The inode that open(2) opens (path_openat, do_open, may_open); `MemoryFile` reads and writes it.

        flags: access mode, O_CREAT, O_EXCL, O_TRUNC; directory and nofollow stand for the flags whose numbers
        depend on the architecture. EEXIST, EISDIR, EACCES, ELOOP of a link not followed, ENXIO of a socket
        (NAME-9a).
        """
        create = flags & O_CREAT
        if create and directory:
            raise SyscallError(Errno.EINVAL)
        access = (MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE, MAY_READ | MAY_WRITE)[flags & O_ACCMODE]
        if flags & O_TRUNC:
            access |= MAY_WRITE
        walk = self._walk(caller)
        if create:
            found = self._open_last(walk, path, flags, mode, nofollow)
            if found is None:
                return walk.child(walk.name)
            inode = found
            if flags & O_EXCL:
                raise SyscallError(Errno.EEXIST)
            if isinstance(inode, Directory):
                raise SyscallError(Errno.EISDIR)
            if not may_create_in_sticky(caller.credentials, walk.directory, inode, self.protected_regular):
                raise SyscallError(Errno.EACCES)
        else:
            inode = walk.to_end(path, follow=not nofollow)
        if directory and not isinstance(inode, Directory):
            raise SyscallError(Errno.ENOTDIR)
        if isinstance(inode, Symlink):
            raise SyscallError(Errno.ELOOP)
        if isinstance(inode, Directory) and access & MAY_WRITE:
            raise SyscallError(Errno.EISDIR)
        permission(caller.credentials, inode, access)
        if isinstance(inode, SocketInode):
            raise SyscallError(Errno.ENXIO)
        if flags & O_TRUNC and isinstance(inode, RegularFile):
            empty(caller.credentials, inode)
        return inode

    def _open_last(self, walk: PathWalk, path: bytes, flags: int, mode: int, nofollow: bool) -> Inode | None:
        """The last component under O_CREAT (open_last_lookups): what is there, None once the file is made."""
        walk.to_parent(path)
        while True:
            if walk.special:
                return walk.child(walk.name)
            if walk.slashes:
                raise SyscallError(Errno.EISDIR)
            if len(walk.name) > NAME_MAX:
                raise SyscallError(Errno.ENAMETOOLONG)
            inode = walk.directory.entries.get(walk.name)
            if inode is None:
                self._may_create(walk)
                self._make(walk, S_IFREG | mode & 0o7777)
                return None
            if not isinstance(inode, Symlink) or flags & O_EXCL or nofollow:
                return inode
            walk.follow(inode)

    def mkdir(self, caller: PathCaller, path: bytes, mode: int) -> Directory:
        """Make a directory: EEXIST. Of mode the permission bits and the sticky bit count."""
        walk = self._new_name(caller, path, directory=True)
        self._may_create(walk)
        directory = self._make(walk, S_IFDIR | mode & 0o1777)
        assert isinstance(directory, Directory)
        return directory

    def mknod(self, caller: PathCaller, path: bytes, mode: int) -> Inode:
        """Make a socket inode or an empty regular file, as the type in mode says (0 is regular): EEXIST.

        EPERM for a directory, EINVAL for no type at all; `Unmodelled` for devices and FIFOs.
        """
        kind = mode & S_IFMT
        if kind == S_IFDIR:
            raise SyscallError(Errno.EPERM)
        if kind in {S_IFIFO, S_IFCHR, S_IFBLK}:
            raise Unmodelled("mknod of a FIFO or device in the in-memory filesystem")
        if kind not in {0, S_IFREG, S_IFSOCK}:
            raise SyscallError(Errno.EINVAL)
        walk = self._new_name(caller, path)
        self._may_create(walk)
        return self._make(walk, (kind or S_IFREG) | mode & 0o7777)

    def symlink(self, caller: PathCaller, target: bytes, path: bytes) -> Symlink:
        """Make a symbolic link at path: EEXIST, and ENOENT for an empty target."""
        if not target:
            raise SyscallError(Errno.ENOENT)
        if len(target) >= PATH_MAX:
            raise SyscallError(Errno.ENAMETOOLONG)
        walk = self._new_name(caller, path)
        self._may_create(walk)
        _, uid, gid = initial_owner(caller.credentials, walk.directory, 0)
        link = Symlink(self._number(), target, uid, gid)
        walk.directory.enter(walk.name, link)
        return link

    def link(self, caller: PathCaller, path: bytes, new: bytes, *, follow: bool = False) -> None:
        """Give an inode one more name (do_linkat): EEXIST, EPERM for a directory.

        follow: AT_SYMLINK_FOLLOW.
        """
        inode = self._walk(caller).to_end(path, follow=follow)
        walk = self._new_name(caller, new)
        credentials = caller.credentials
        if (
            self.protected_hardlinks
            and not is_owner(credentials, inode)
            and not safe_hardlink_source(credentials, inode)
        ):
            raise SyscallError(Errno.EPERM)
        self._may_create(walk)
        if isinstance(inode, Directory):
            raise SyscallError(Errno.EPERM)
        walk.directory.enter(walk.name, inode)
        inode.nlink += 1

    # Removing and moving.

    def unlink(self, caller: PathCaller, path: bytes) -> None:
        """Remove a name (do_unlinkat): EISDIR for a directory, EPERM in another's sticky one."""
        walk = self._walk(caller)
        walk.to_parent(path)
        if walk.special:
            raise SyscallError(Errno.EISDIR)
        victim = walk.child(walk.name)
        if walk.slashes:
            raise SyscallError(Errno.EISDIR if isinstance(victim, Directory) else Errno.ENOTDIR)
        may_delete(walk.credentials, walk.directory, victim, directory=False)
        self._drop(walk.directory, walk.name)

    def rmdir(self, caller: PathCaller, path: bytes) -> None:
        """Remove an empty directory (do_rmdir): ENOTEMPTY, ENOTDIR, EBUSY for the root, EINVAL for '.'."""
        walk = self._walk(caller)
        walk.to_parent(path)
        if walk.special:
            raise SyscallError({b"": Errno.EBUSY, b".": Errno.EINVAL, b"..": Errno.ENOTEMPTY}[walk.name])
        victim = walk.child(walk.name)
        may_delete(walk.credentials, walk.directory, victim, directory=True)
        assert isinstance(victim, Directory)
        if victim.entries:
            raise SyscallError(Errno.ENOTEMPTY)
        self._drop(walk.directory, walk.name)

    def rename(self, caller: PathCaller, path: bytes, new: bytes) -> None:
        """Move a name, and replace what has the new one (do_renameat2, vfs_rename in fs/namei.c).

        EBUSY for '.', '..' and the root, EINVAL into itself, ENOTEMPTY, EISDIR, ENOTDIR. Where both are names
        of one inode, both stay.
        """
        source, target = self._walk(caller), self._walk(caller)
        source.to_parent(path)
        target.to_parent(new)
        if source.special or target.special:
            raise SyscallError(Errno.EBUSY)
        inode = source.child(source.name)
        if len(target.name) > NAME_MAX:
            raise SyscallError(Errno.ENAMETOOLONG)
        replaced = target.directory.entries.get(target.name)
        is_directory = isinstance(inode, Directory)
        if not is_directory and (source.slashes or target.slashes):
            raise SyscallError(Errno.ENOTDIR)
        if isinstance(inode, Directory) and target.directory.within(inode):
            raise SyscallError(Errno.EINVAL)
        if isinstance(replaced, Directory) and source.directory.within(replaced):
            raise SyscallError(Errno.ENOTEMPTY)
        if replaced is inode:
            return
        credentials = caller.credentials
        may_delete(credentials, source.directory, inode, directory=is_directory)
        if replaced is None:
            self._may_create(target)
        else:
            may_delete(credentials, target.directory, replaced, directory=is_directory)
        if is_directory and source.directory is not target.directory:
            permission(credentials, inode, MAY_WRITE)  # its '..' changes
        if isinstance(replaced, Directory) and replaced.entries:
            raise SyscallError(Errno.ENOTEMPTY)
        if replaced is not None:
            self._drop(target.directory, target.name)
        source.directory.remove(source.name)
        target.directory.enter(target.name, inode)
        if isinstance(inode, Directory):
            source.directory.nlink -= 1
            target.directory.nlink += 1
            inode.parent = target.directory

    # Attributes.

    def chmod(self, caller: PathCaller, path: bytes, mode: int) -> None:
        """Set permission bits, links followed: EPERM; see `change_mode`."""
        change_mode(caller.credentials, self._walk(caller).to_end(path), mode)

    def chown(self, caller: PathCaller, path: bytes, uid: int, gid: int, *, follow: bool = True) -> None:
        """Set owner and group, -1 for no change: EPERM; see `change_owner`."""
        change_owner(caller.credentials, self._walk(caller).to_end(path, follow=follow), uid, gid)

    # Within.

    def _walk(self, caller: PathCaller) -> PathWalk:
        return PathWalk(caller, self.protected_symlinks)

    def _number(self) -> int:
        self._last += 1
        return self._last

    def _new_name(self, caller: PathCaller, path: bytes, *, directory: bool = False) -> PathWalk:
        """A walk to a name that does not exist yet (filename_create).

        Slashes may follow only the name of a new directory.
        """
        walk = self._walk(caller)
        walk.to_parent(path)
        if walk.special:
            raise SyscallError(Errno.EEXIST)
        if len(walk.name) > NAME_MAX:
            raise SyscallError(Errno.ENAMETOOLONG)
        if walk.name in walk.directory.entries:
            raise SyscallError(Errno.EEXIST)
        if walk.slashes and not directory:
            raise SyscallError(Errno.ENOENT)
        return walk

    @staticmethod
    def _may_create(walk: PathWalk) -> None:
        """Whether the walk's directory takes a new entry (may_create): ENOENT once removed, EACCES."""
        if not walk.directory.nlink:
            raise SyscallError(Errno.ENOENT)
        permission(walk.credentials, walk.directory, MAY_WRITE | MAY_EXEC)

    def _make(self, walk: PathWalk, mode: int) -> Inode:
        parent = walk.directory
        permissions, uid, gid = initial_owner(walk.credentials, parent, mode)
        kind = mode & S_IFMT
        inode: Inode
        if kind == S_IFDIR:
            inode = Directory(self._number(), permissions, uid, gid, parent)
            parent.nlink += 1
        elif kind == S_IFSOCK:
            inode = SocketInode(self._number(), permissions, uid, gid)
        else:
            inode = RegularFile(self._number(), permissions, uid, gid)
        parent.enter(walk.name, inode)
        return inode

    @staticmethod
    def _drop(parent: Directory, name: bytes) -> None:
        inode = parent.remove(name)
        assert inode is not None
        if isinstance(inode, Directory):
            inode.nlink = 0
            parent.nlink -= 1
        else:
            inode.nlink -= 1
