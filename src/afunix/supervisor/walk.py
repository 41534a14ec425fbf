"""Where a path leads for a program: in its root, working directory and mount namespace.

Two ways of walking. The kernel's own, openat2 from the program's root or working directory with the scope fixed to
it, finds most paths at once. What it can't do are links that depend on who follows them (/proc/self, the links in
/proc/PID/fd), and relative paths with '..' or links, which may leave the working directory, or come to the program's
root. Whatever it doesn't find is walked here, one component after the other, which also decides which error it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, ENOENT, EPERM, ESRCH
from typing import Final, Protocol

from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor import hostcalls
from afunix.supervisor.hostcalls import Gone, Inaccessible

__all__ = ["O_LOOK", "Origin", "Walker", "mount_id", "split_last"]

O_LOOK: Final = os.O_PATH | os.O_CLOEXEC

MAXSYMLINKS: Final = 40
ST_NOSYMFOLLOW: Final = 0x2000
PROC_SUPER_MAGIC: Final = 0x9FA0
PROC_ROOT_INO: Final = 1
STICKY_WORLD_WRITABLE: Final = stat.S_ISVTX | stat.S_IWOTH


class Origin(Protocol):
    """The thread whose paths they are."""

    @property
    def tid(self) -> int:
        """Thread number."""
        ...

    @property
    def tgid(self) -> int:
        """Process number."""
        ...


def split_last(path: bytes) -> tuple[bytes, bytes]:
    """The directory part with its slash, empty if there is none, and the last component with any slashes after it.

    For a path of slashes only the last component is empty.
    """
    body = path.rstrip(b"/")
    if not body:
        return path, b""
    start = body.rfind(b"/") + 1
    return path[:start], path[start:]


class Walker:
    """Resolves paths of one thread from one moment's root and working directory.

    It only holds descriptors: the identity that the walk is permitted or refused by is that of the calling thread.
    Methods raise OSError, or SyscallError where a rule is applied here.
    """

    __slots__ = ("cwd", "origin", "root")

    def __init__(self, origin: Origin, root: int, cwd: int) -> None:
        self.origin = origin
        self.root = root
        self.cwd = cwd

    @classmethod
    @contextmanager
    def at(cls, origin: Origin) -> Iterator[Walker]:
        """A walker for as long as the block lasts. Gone: the thread is dead. Inaccessible: we may not look."""
        root = _open_place(origin, "root")
        try:
            cwd = _open_place(origin, "cwd")
            try:
                yield cls(origin, root, cwd)
            finally:
                os.close(cwd)
        finally:
            os.close(root)

    def find(self, path: bytes) -> int:
        """An O_PATH descriptor for what a path names; links are followed to the end."""
        fd = self._find_by_kernel(path, O_LOOK)
        if fd is None:
            return self._walk(path, parent=False)
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            return fd
        # No socket is in /proc, but if this is a file there, it may be one of ours: look again to be sure.
        os.close(fd)
        return self._walk(path, parent=False)

    def find_directory(self, path: bytes) -> int:
        """An O_PATH descriptor for the directory part of a path; of an empty one, the working directory."""
        if not path:
            return os.open(b".", O_LOOK | os.O_DIRECTORY, dir_fd=self.cwd)
        fd = self._find_by_kernel(path, O_LOOK | os.O_DIRECTORY)
        if fd is not None:
            if hostcalls.filesystem_type(fd) != PROC_SUPER_MAGIC:
                return fd
            os.close(fd)
        return self._walk(path, parent=True)

    def _find_by_kernel(self, path: bytes, flags: int) -> int | None:
        scope = hostcalls.resolve_as_program(path)
        if scope is None:
            return None
        try:
            return hostcalls.openat2(self.root if path.startswith(b"/") else self.cwd, path, flags, 0, scope)
        except SyscallError:
            return None

    def _walk(self, path: bytes, *, parent: bool) -> int:
        """One component after the other (link_path_walk); with `parent` the path is what stands before a last one."""
        if not path:
            raise SyscallError(Errno.ENOENT)
        trail = _Trail(self, self.root if path.startswith(b"/") else self.cwd)
        try:
            pending = _components(path)
            directory = parent or path.endswith(b"/")
            links = 0
            while pending:
                name = pending.pop()
                last = not pending and not parent
                if name == b".":
                    trail.check_search()
                    continue
                if name == b"..":
                    trail.up()
                    continue
                fd, mode = _step(trail.here, name, last)
                if not stat.S_ISLNK(mode):
                    trail.push(fd)
                    if pending and not stat.S_ISDIR(mode):
                        raise SyscallError(Errno.ENOTDIR)
                    continue
                try:
                    links += 1
                    if links > MAXSYMLINKS or os.fstatvfs(fd).f_flag & ST_NOSYMFOLLOW:
                        raise SyscallError(Errno.ELOOP)
                    if last:
                        _may_follow(trail.here, fd)
                    target = self._target(trail, name, fd)
                finally:
                    os.close(fd)
                if target.startswith(b"/"):
                    trail.restart(self.root)
                if last and target.endswith(b"/"):
                    directory = True
                pending += _components(target)
            return trail.take(directory)
        finally:
            trail.close()

    def _target(self, trail: _Trail, name: bytes, link: int) -> bytes:
        """The text of a link; empty if it was one of /proc that leads there by itself, and the trail is there now."""
        here = trail.here
        if hostcalls.filesystem_type(link) == PROC_SUPER_MAGIC:
            if name in (b"self", b"thread-self") and os.fstat(here).st_ino == PROC_ROOT_INO:
                # These name whoever reads them: the program is in the walker's place.
                trail.push(os.open(f"/proc/{self.origin.tgid}", O_LOOK | os.O_DIRECTORY))
                if name == b"thread-self":
                    trail.push(os.open("task", O_LOOK | os.O_DIRECTORY, dir_fd=trail.here))
                    trail.push(os.open(f"{self.origin.tid}", O_LOOK | os.O_DIRECTORY, dir_fd=trail.here))
                return b""
            if _is_magic(here, name):
                trail.jump(os.open(name, O_LOOK, dir_fd=here))
                return b""
        target = os.readlink(b"", dir_fd=link)
        if not target:
            raise SyscallError(Errno.ENOENT)
        return target


class _Trail:
    """The directories from the start of a walk to where it is, so that '..' goes back the way that it came.

    The last one may be of any kind of file, at the end of a path.
    """

    __slots__ = ("_fds", "_walker")

    def __init__(self, walker: Walker, start: int) -> None:
        self._walker = walker
        self._fds = [os.dup(start)]

    @property
    def here(self) -> int:
        """Where the walk is, as a descriptor that the trail owns."""
        return self._fds[-1]

    def push(self, fd: int) -> None:
        """Go on to a file, whose descriptor the trail owns from now on."""
        self._fds.append(fd)

    def jump(self, fd: int) -> None:
        """Go to a place that has no way back."""
        self.close()
        self._fds.append(fd)

    def restart(self, root: int) -> None:
        """Go to the root."""
        self.jump(os.dup(root))

    def check_search(self) -> None:
        """The permission that '.' and '..' need too. ENOTDIR if this is no directory."""
        os.close(os.open(b".", O_LOOK | os.O_DIRECTORY, dir_fd=self.here))

    def up(self) -> None:
        """Follow '..', which in the root leads nowhere (follow_dotdot)."""
        self.check_search()
        if _same_place(self.here, self._walker.root):
            return
        if len(self._fds) > 1:
            os.close(self._fds.pop())
        else:
            self.jump(os.open(b"..", O_LOOK | os.O_DIRECTORY, dir_fd=self.here))

    def take(self, directory: bool) -> int:
        """The end of the walk, which the caller owns. ENOTDIR if it must be a directory and isn't."""
        if directory and not stat.S_ISDIR(os.fstat(self.here).st_mode):
            raise SyscallError(Errno.ENOTDIR)
        return self._fds.pop()

    def close(self) -> None:
        """Close what is left."""
        while self._fds:
            os.close(self._fds.pop())


def _open_place(origin: Origin, which: str) -> int:
    try:
        return os.open(f"/proc/{origin.tid}/{which}", O_LOOK | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (ENOENT, ESRCH):
            raise Gone from None
        if error.errno in (EACCES, EPERM):
            raise Inaccessible(f"no permission to see the {which} directory of process {origin.tgid}") from None
        raise


def _components(path: bytes) -> list[bytes]:
    """The components of a path, the first one last."""
    return [name for name in reversed(path.split(b"/")) if name]


def _step(here: int, name: bytes, last: bool) -> tuple[int, int]:
    """Open an entry of a directory without following a link; returns the descriptor and the file's mode."""
    if not last:
        try:
            # That a directory is asked for has automounts happen.
            return os.open(name, O_LOOK | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=here), stat.S_IFDIR
        except NotADirectoryError:
            pass
    fd = os.open(name, O_LOOK | os.O_NOFOLLOW, dir_fd=here)
    return fd, os.fstat(fd).st_mode


def _may_follow(directory: int, link: int) -> None:
    """fs.protected_symlinks: EACCES for somebody else's link in a sticky directory that all may write to, at the end
    of a path (may_follow_link).
    """
    parent = os.fstat(directory)
    if parent.st_mode & STICKY_WORLD_WRITABLE != STICKY_WORLD_WRITABLE:
        return
    owner = os.fstat(link).st_uid
    if owner in (parent.st_uid, hostcalls.setfsuid(0xFFFFFFFF)):
        return
    try:
        with open("/proc/sys/fs/protected_symlinks", "rb") as setting:
            protected = setting.read().strip() != b"0"
    except OSError:
        protected = False
    if protected:
        raise SyscallError(Errno.EACCES)


def _is_magic(directory: int, name: bytes) -> bool:
    """Whether a link in /proc leads to a file itself rather than by its text."""
    try:
        scope = hostcalls.RESOLVE_NO_MAGICLINKS | hostcalls.RESOLVE_BENEATH
        os.close(hostcalls.openat2(directory, name, O_LOOK, 0, scope))
    except SyscallError as error:
        return error.errno is Errno.ELOOP
    return False


def _same_place(one: int, other: int) -> bool:
    """Whether two descriptors are for one directory of one mount."""
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino) and mount_id(one) == mount_id(other)


def mount_id(fd: int) -> bytes:
    """The number of the mount that a file was opened through, as its fdinfo tells it."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        for line in info:
            if line.startswith(b"mnt_id:"):
                return line
    return b""
