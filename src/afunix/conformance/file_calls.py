"""Calls of the layers around sockets: descriptors, paths from the current directory, identity, readiness."""

from __future__ import annotations

from typing import Final

from afunix.abi import arch
from afunix.abi.constants import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_NOFOLLOW,
    EPOLL_CTL_ADD,
    F_GETFD,
    F_GETFL,
    F_SETFD,
    F_SETFL,
    FD_CLOEXEC,
    O_CLOEXEC,
    O_RDONLY,
    POLLIN,
    POLLOUT,
    POLLPRI,
    POLLRDHUP,
)
from afunix.abi.structs import INT, POLLFD, SOCKLEN
from afunix.conformance.raw_calls import RawCalls, timespec
from afunix.conformance.results import Error, Stat, result
from afunix.conformance.socket_calls import PAIR

__all__ = ["FileCalls"]

ALL_EVENTS: Final = POLLIN | POLLPRI | POLLOUT | POLLRDHUP
STATX_SIZE: Final = 256
RLIMIT_NOFILE: Final = 7


class FileCalls(RawCalls):
    """Descriptors first."""

    def close(self, fd: int) -> int:
        """close(2)."""
        return self.scalar("close", (fd,), (fd,))

    def dup(self, fd: int) -> int:
        """dup(2)."""
        return self.scalar("dup", (fd,), (fd,))

    def dup3(self, fd: int, new: int, flags: int = 0) -> int:
        """dup3(2)."""
        return self.scalar("dup3", (fd, new, flags), (fd, new, flags))

    def fcntl(self, fd: int, command: int, arg: int = 0) -> int:
        """fcntl(2)."""
        return self.scalar("fcntl", (fd, command, arg), (fd, command, arg))

    def status_flags(self, fd: int) -> int:
        """F_GETFL."""
        return self.fcntl(fd, F_GETFL)

    def set_status_flags(self, fd: int, flags: int) -> int:
        """F_SETFL."""
        return self.fcntl(fd, F_SETFL, flags)

    def cloexec(self, fd: int) -> int:
        """F_GETFD: FD_CLOEXEC or 0."""
        return self.fcntl(fd, F_GETFD)

    def set_cloexec(self, fd: int) -> int:
        """F_SETFD with FD_CLOEXEC."""
        return self.fcntl(fd, F_SETFD, FD_CLOEXEC)

    def ioctl(self, fd: int, command: int) -> int:
        """ioctl that tells an int: that int."""
        at = self.room(4)

        def decode(value: int) -> int:
            return result(value) if value < 0 else int(INT.unpack(self.peek(at, 4))[0])

        return self.run("ioctl", (fd, command, at), decode, (fd, command))

    def ioctl_set(self, fd: int, command: int, value: int) -> int:
        """ioctl that takes a pointer to an int."""
        return self.scalar("ioctl", (fd, command, self.put(INT.pack(value))), (fd, command, value))

    def ioctl_plain(self, fd: int, command: int) -> int:
        """ioctl without an argument: its value."""
        return self.scalar("ioctl", (fd, command, 0), (fd, command))

    def pipe(self, flags: int = O_CLOEXEC) -> tuple[int, int]:
        """pipe2: reading and writing end."""
        at = self.room(8)

        def decode(value: int) -> tuple[int, int]:
            if value < 0:
                return result(value), result(value)
            one, two = PAIR.unpack(self.peek(at, 8))
            return one, two

        return self.run("pipe2", (at, flags), decode, ())

    def memfd(self) -> int:
        """memfd_create: an empty file."""
        return self.scalar("memfd_create", (self.put(b"file\0"), 0), ())

    def eventfd(self, initial: int = 0, flags: int = 0) -> int:
        """eventfd2."""
        return self.scalar("eventfd2", (initial, flags), (initial, flags))

    def lseek(self, fd: int, offset: int, whence: int = 0) -> int:
        """lseek(2)."""
        return self.scalar("lseek", (fd, offset, whence), (fd, offset, whence))

    # Paths, from the current directory.

    def open(self, path: bytes, flags: int = O_RDONLY, mode: int = 0o644) -> int:
        """openat."""
        return self.scalar("openat", (AT_FDCWD, self._path(path), flags, mode), (path, flags, mode))

    def stat(self, path: bytes, follow: bool = True) -> Stat | Error:
        """statx of a path."""
        return self._stat(AT_FDCWD, path, 0 if follow else AT_SYMLINK_NOFOLLOW, (path,))

    def fstat(self, fd: int) -> Stat | Error:
        """statx of a descriptor."""
        return self._stat(fd, b"", AT_EMPTY_PATH, (fd,))

    def _stat(self, directory: int, path: bytes, flags: int, shown: tuple[object, ...]) -> Stat | Error:
        at = self.room(STATX_SIZE)

        def decode(value: int) -> Stat | Error:
            if value < 0:
                return Error(value)
            raw = self.peek(at, 48)
            nlink, uid, gid = (int.from_bytes(raw[start : start + 4], "little") for start in (16, 20, 24))
            mode = int.from_bytes(raw[28:30], "little")
            ino, size = (int.from_bytes(raw[start : start + 8], "little") for start in (32, 40))
            return Stat(mode, nlink, ino, uid, gid, size)

        return self.run("statx", (directory, self._path(path), flags, 0x7FF, at), decode, shown)

    def chmod(self, path: bytes, mode: int) -> int:
        """fchmodat."""
        return self.scalar("fchmodat", (AT_FDCWD, self._path(path), mode), (path, mode))

    def fchmod(self, fd: int, mode: int) -> int:
        """fchmod(2)."""
        return self.scalar("fchmod", (fd, mode), (fd, mode))

    def chown(self, path: bytes, uid: int, gid: int) -> int:
        """fchownat."""
        return self.scalar("fchownat", (AT_FDCWD, self._path(path), uid, gid, 0), (path, uid, gid))

    def unlink(self, path: bytes) -> int:
        """unlinkat."""
        return self.scalar("unlinkat", (AT_FDCWD, self._path(path), 0), (path,))

    def rmdir(self, path: bytes) -> int:
        """unlinkat of a directory."""
        return self.scalar("unlinkat", (AT_FDCWD, self._path(path), AT_REMOVEDIR), (path,))

    def rename(self, path: bytes, new: bytes) -> int:
        """renameat2."""
        args = (AT_FDCWD, self._path(path), AT_FDCWD, self._path(new), 0)
        return self.scalar("renameat2", args, (path, new))

    def link(self, path: bytes, new: bytes) -> int:
        """linkat."""
        args = (AT_FDCWD, self._path(path), AT_FDCWD, self._path(new), 0)
        return self.scalar("linkat", args, (path, new))

    def symlink(self, target: bytes, path: bytes) -> int:
        """symlinkat."""
        return self.scalar("symlinkat", (self._path(target), AT_FDCWD, self._path(path)), (target, path))

    def mkdir(self, path: bytes, mode: int = 0o755) -> int:
        """mkdirat."""
        return self.scalar("mkdirat", (AT_FDCWD, self._path(path), mode), (path, mode))

    def chdir(self, path: bytes) -> int:
        """chdir(2)."""
        return self.scalar("chdir", (self._path(path),), (path,))

    def umask(self, mask: int) -> int:
        """umask(2)."""
        return self.scalar("umask", (mask,), (mask,))

    def _path(self, path: bytes) -> int:
        return self.put(path + b"\0")

    # Identity and limits.

    def getuid(self) -> int:
        """getuid(2)."""
        return self.scalar("getuid", (), ())

    def getgid(self) -> int:
        """getgid(2)."""
        return self.scalar("getgid", (), ())

    def setresuid(self, uid: int, euid: int, suid: int) -> int:
        """setresuid(2)."""
        return self.scalar("setresuid", (uid, euid, suid), (uid, euid, suid))

    def setresgid(self, gid: int, egid: int, sgid: int) -> int:
        """setresgid(2)."""
        return self.scalar("setresgid", (gid, egid, sgid), (gid, egid, sgid))

    def setgroups(self, *groups: int) -> int:
        """setgroups to these."""
        raw = b"".join([SOCKLEN.pack(gid) for gid in groups])
        return self.scalar("setgroups", (len(groups), self.put(raw)), groups)

    def set_nofile(self, soft: int, hard: int | None = None) -> int:
        """RLIMIT_NOFILE, the hard limit as high as the soft one unless told."""
        limits = soft.to_bytes(8, "little") + (soft if hard is None else hard).to_bytes(8, "little")
        return self.scalar("prlimit64", (0, RLIMIT_NOFILE, self.put(limits), 0), (soft, hard))

    def kill(self, pid: int, signal: int) -> int:
        """kill(2)."""
        return self.scalar("kill", (pid, signal), (pid, signal))

    # Readiness.

    def poll(self, fd: int, events: int = ALL_EVENTS) -> int:
        """ppoll of one descriptor without waiting: revents."""
        return self._poll(fd, events, 0)

    def wait_for(self, fd: int, events: int, timeout: float | None = None) -> int:
        """ppoll of one descriptor that waits: revents, 0 after the time-out in seconds."""
        return self._poll(fd, events, timeout)

    def _poll(self, fd: int, events: int, timeout: float | None) -> int:
        at = self.put(POLLFD.pack(fd, events, 0))
        limit = 0 if timeout is None else self.put(timespec(timeout))

        def decode(value: int) -> int:
            return result(value) if value < 0 else int(POLLFD.unpack(self.peek(at, POLLFD.size))[2])

        return self.run("ppoll", (at, 1, limit, 0, 0), decode, (fd, events, timeout))

    def epoll(self) -> int:
        """epoll_create1."""
        return self.scalar("epoll_create1", (0,), ())

    def epoll_ctl(self, epfd: int, operation: int, fd: int, events: int = 0, data: int | None = None) -> int:
        """epoll_ctl; data is the descriptor unless told."""
        event = arch.current().epoll_event.pack(events, fd if data is None else data)
        return self.scalar("epoll_ctl", (epfd, operation, fd, self.put(event)), (epfd, operation, fd, events))

    def watch(self, epfd: int, fd: int, events: int) -> int:
        """EPOLL_CTL_ADD."""
        return self.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, events)

    def epoll_wait(self, epfd: int, count: int = 16, timeout: int = 0) -> list[tuple[int, int]] | Error:
        """epoll_pwait: (events, data) of each that is ready. timeout in milliseconds, -1 for none."""
        layout = arch.current().epoll_event
        at = self.room(layout.size * count)

        def decode(value: int) -> list[tuple[int, int]] | Error:
            if value < 0:
                return Error(value)
            return list(layout.iter_unpack(self.peek(at, layout.size * value)))

        return self.run("epoll_pwait", (epfd, at, count, timeout, 0, 8), decode, (epfd, count, timeout))
