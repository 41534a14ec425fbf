"""Inodes of the in-memory filesystem, and who may do what with one.

One class for each kind, so that only a directory has entries and only a link has a target. The rules on one
inode (access, removal, change of mode and owner) stand here, those on paths in filesystem.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from afunix.abi.constants import (
    S_IFDIR,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    S_ISGID,
    S_ISUID,
    S_ISVTX,
    S_IWGRP,
    S_IWOTH,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Credentials

__all__ = [
    "CHANGES",
    "MAY_EXEC",
    "MAY_READ",
    "MAY_WRITE",
    "Changes",
    "Directory",
    "Inode",
    "RegularFile",
    "SocketInode",
    "Symlink",
    "change_mode",
    "change_owner",
    "empty",
    "in_group",
    "initial_owner",
    "is_owner",
    "may_create_in_sticky",
    "may_delete",
    "permission",
    "permitted",
    "safe_hardlink_source",
]

MAY_EXEC: Final = 1
MAY_WRITE: Final = 2
MAY_READ: Final = 4

CAP_CHOWN: Final = 0
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4

S_IXGRP: Final = 0o010
S_IXUGO: Final = 0o111
S_IALLUGO: Final = 0o7777


class Changes:
    """The state that all trees of this interpreter are in: `now` is another object after each change of any of them.

    So what was found out about a tree holds as long as `now` is the object that it was then (a dentry's sequence count
    in Linux). Trees may be changed by several threads: no object comes back.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = object()


CHANGES: Final = Changes()


class Inode:
    """What a name leads to (`struct inode`); compares and hashes by identity.

    number: unique in its filesystem. mode: file type and permission bits. nlink: names that lead here, for a
    directory 2 and one for each subdirectory; 0 once removed.
    """

    __slots__ = ("gid", "mode", "nlink", "number", "uid")

    def __init__(self, number: int, mode: int, uid: int, gid: int) -> None:
        self.number = number
        self.mode: Final = mode
        self.uid: Final = uid
        self.gid: Final = gid
        self.nlink = 1

    def change(self, mode: int, uid: int, gid: int) -> None:
        """Give it another mode and owner; nothing else does."""
        for name, value in (("mode", mode), ("uid", uid), ("gid", gid)):
            object.__setattr__(self, name, value)
        CHANGES.now = object()

    @property
    def size(self) -> int:
        """st_size in bytes."""
        return 0


class SocketInode(Inode):
    """A socket's name, which stays when the socket is gone. Who is bound to it, `Names` knows."""

    __slots__ = ()

    def __init__(self, number: int, mode: int, uid: int, gid: int) -> None:
        super().__init__(number, S_IFSOCK | mode, uid, gid)


class RegularFile(Inode):
    """A file whose bytes are in memory; `MemoryFile` is an open file description of it."""

    __slots__ = ("data",)

    def __init__(self, number: int, mode: int, uid: int, gid: int) -> None:
        super().__init__(number, S_IFREG | mode, uid, gid)
        self.data = bytearray()

    @property
    def size(self) -> int:
        """st_size in bytes."""
        return len(self.data)


class Symlink(Inode):
    """A symbolic link; its permission bits are 0777 and mean nothing."""

    __slots__ = ("target",)

    def __init__(self, number: int, target: bytes, uid: int, gid: int) -> None:
        super().__init__(number, S_IFLNK | 0o777, uid, gid)
        self.target = target

    @property
    def size(self) -> int:
        """st_size in bytes: the target's length."""
        return len(self.target)


class Directory(Inode):
    """A directory: entries by name, oldest first, and the parent, which a removed directory still knows.

    Entries are changed by `enter` and `remove` only.
    """

    __slots__ = ("_entries", "entries", "parent")

    def __init__(self, number: int, mode: int, uid: int, gid: int, parent: Directory | None) -> None:
        super().__init__(number, S_IFDIR | mode, uid, gid)
        self.nlink = 2
        self._entries: dict[bytes, Inode] = {}
        self.entries: Mapping[bytes, Inode] = self._entries
        self.parent = self if parent is None else parent

    def enter(self, name: bytes, inode: Inode) -> None:
        """Have a name lead to an inode; link counts are the caller's."""
        self._entries[name] = inode
        CHANGES.now = object()

    def remove(self, name: bytes) -> Inode | None:
        """Take a name out, if it is there: what it led to."""
        inode = self._entries.pop(name, None)
        if inode is not None:
            CHANGES.now = object()
        return inode

    def within(self, other: Directory) -> bool:
        """Whether this directory is the other one or lies below it (is_subdir in fs/dcache.c)."""
        directory = self
        while directory is not other:
            if directory.parent is directory:
                return False
            directory = directory.parent
        return True


def in_group(credentials: Credentials, gid: int) -> bool:
    """Whether the caller is in this group (in_group_p in kernel/groups.c)."""
    return gid == credentials.egid or gid in credentials.groups


def is_owner(credentials: Credentials, inode: Inode) -> bool:
    """Whether the caller owns the inode or holds CAP_FOWNER (inode_owner_or_capable in fs/inode.c)."""
    return credentials.euid == inode.uid or credentials.capable(CAP_FOWNER)


def permitted(credentials: Credentials, inode: Inode, mask: int) -> bool:
    """Whether the caller may do what mask says, a sum of MAY_READ, MAY_WRITE, MAY_EXEC (generic_permission).

    Exactly one of the owner's, the group's and the others' bits counts: an owner whose bits refuse is refused
    even where the others' allow. What the bits refuse, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH can allow.
    """
    mode = inode.mode
    if credentials.euid == inode.uid:
        bits = mode >> 6
    elif in_group(credentials, inode.gid):
        bits = mode >> 3
    else:
        bits = mode
    if not mask & ~bits & 7:
        return True
    if mode & S_IFMT == S_IFDIR:
        if not mask & MAY_WRITE and credentials.capable(CAP_DAC_READ_SEARCH):
            return True
    elif mask == MAY_READ and credentials.capable(CAP_DAC_READ_SEARCH):
        return True
    elif mask & MAY_EXEC and not mode & S_IXUGO:
        return False  # what nobody may execute, not even CAP_DAC_OVERRIDE executes
    return credentials.capable(CAP_DAC_OVERRIDE)


def permission(credentials: Credentials, inode: Inode, mask: int) -> None:
    """Refuse what `permitted` does not allow: EACCES (inode_permission in fs/namei.c)."""
    if not permitted(credentials, inode, mask):
        raise SyscallError(Errno.EACCES)


def _may_keep_setgid(credentials: Credentials, gid: int) -> bool:
    return in_group(credentials, gid) or credentials.capable(CAP_FSETID)


def initial_owner(credentials: Credentials, parent: Directory, mode: int) -> tuple[int, int, int]:
    """Mode, uid and gid of an inode made in this directory (inode_init_owner, mode_strip_sgid in fs/inode.c).

    A setgid directory hands on its group, and the bit too to a subdirectory. mode holds the file type.
    """
    gid = credentials.egid
    if parent.mode & S_ISGID:
        gid = parent.gid
        if mode & S_IFMT == S_IFDIR:
            mode |= S_ISGID
        elif mode & S_ISGID and mode & S_IXGRP and not _may_keep_setgid(credentials, gid):
            mode &= ~S_ISGID
    return mode & S_IALLUGO, credentials.euid, gid


def may_delete(credentials: Credentials, parent: Directory, victim: Inode, *, directory: bool) -> None:
    """Refuse to take an entry out of a directory (may_delete).

    EACCES; EPERM: the sticky bit; ENOTDIR, EISDIR: directory says whether the call is for directories, as
    rmdir is and unlink is not.
    """
    permission(credentials, parent, MAY_WRITE | MAY_EXEC)
    if (
        parent.mode & S_ISVTX
        and credentials.euid not in {victim.uid, parent.uid}
        and not credentials.capable(CAP_FOWNER)
    ):
        raise SyscallError(Errno.EPERM)
    if directory and not isinstance(victim, Directory):
        raise SyscallError(Errno.ENOTDIR)
    if not directory and isinstance(victim, Directory):
        raise SyscallError(Errno.EISDIR)


def may_create_in_sticky(credentials: Credentials, parent: Directory, inode: Inode, protected_regular: int) -> bool:
    """Whether open(2) with O_CREAT takes what is there already in a sticky directory (may_create_in_sticky).

    Not if others can write to the directory, and the inode is neither the caller's nor of the directory's
    owner; no capability helps. protected_regular is fs.protected_regular: with 0 files are always taken, with
    2 it counts as well who is in the directory's group. It says nothing of sockets (NAME-9c).
    """
    regular = isinstance(inode, RegularFile)
    if (regular and not protected_regular) or not parent.mode & S_ISVTX:
        return True
    if inode.uid in {parent.uid, credentials.euid}:
        return True
    return not parent.mode & (S_IWOTH | S_IWGRP if regular and protected_regular > 1 else S_IWOTH)


def safe_hardlink_source(credentials: Credentials, inode: Inode) -> bool:
    """Whether fs.protected_hardlinks lets others than the owner link this inode (safe_hardlink_source)."""
    return (
        isinstance(inode, RegularFile)
        and not inode.mode & S_ISUID
        and inode.mode & (S_ISGID | S_IXGRP) != S_ISGID | S_IXGRP
        and permitted(credentials, inode, MAY_READ | MAY_WRITE)
    )


def _without_privileges(credentials: Credentials, inode: Inode) -> int:
    """The mode less the setuid bit, and less the setgid bit if it is one for the program to run with."""
    mode = inode.mode & ~S_ISUID
    if mode & S_ISGID and (mode & S_IXGRP or not _may_keep_setgid(credentials, inode.gid)):
        mode &= ~S_ISGID
    return mode


def empty(credentials: Credentials, inode: RegularFile) -> None:
    """Cut a file to nothing, as open(2) with O_TRUNC; without CAP_FSETID it loses its setuid and setgid bits."""
    inode.data.clear()
    if not credentials.capable(CAP_FSETID):
        inode.change(_without_privileges(credentials, inode), inode.uid, inode.gid)


def change_mode(credentials: Credentials, inode: Inode, mode: int) -> None:
    """Set the permission bits, as chmod(2) and fchmod(2) do (chmod_common, setattr_prepare).

    EPERM for who is neither the owner nor holds CAP_FOWNER. The setgid bit is dropped without a word where
    the caller is not in the inode's group and lacks CAP_FSETID.
    """
    if not is_owner(credentials, inode):
        raise SyscallError(Errno.EPERM)
    mode &= S_IALLUGO
    if mode & S_ISGID and not _may_keep_setgid(credentials, inode.gid):
        mode &= ~S_ISGID
    inode.change(inode.mode & S_IFMT | mode, inode.uid, inode.gid)


def change_owner(credentials: Credentials, inode: Inode, uid: int, gid: int) -> None:
    """Set owner and group, as chown(2) does; -1 leaves one as it is (chown_common in fs/open.c).

    EPERM: giving away needs CAP_CHOWN, and so does a group that the owner is not in. Any chown of what is no
    directory drops the setuid bit, and the setgid bit of what its group may execute.
    """
    chown = credentials.capable(CAP_CHOWN)
    owner = credentials.euid == inode.uid
    if uid != -1 and not chown and not (owner and uid == inode.uid):
        raise SyscallError(Errno.EPERM)
    if gid != -1 and not chown and not (owner and (gid == inode.gid or in_group(credentials, gid))):
        raise SyscallError(Errno.EPERM)
    mode = inode.mode
    if mode & S_IFMT != S_IFDIR:
        mode = _without_privileges(credentials, inode)
        if mode != inode.mode and not is_owner(credentials, inode):
            raise SyscallError(Errno.EPERM)
    inode.change(mode, inode.uid if uid == -1 else uid, inode.gid if gid == -1 else gid)
