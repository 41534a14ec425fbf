"""Programs for the path tests: forked processes that take a place and an identity, then make native calls on request.

What such a process gets from bind and connect is what `afunix.supervisor.paths` must say of the same path.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import stat
import traceback
from collections.abc import Callable
from typing import Any

from afunix.core.credentials import Credentials
from afunix.supervisor.identity import is_ours

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_REMOUNT, MS_NOSYMFOLLOW, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 256, 4096, 16384, 1 << 18
PR_SET_DUMPABLE, PR_CAPBSET_DROP = 4, 24

Status = tuple[int, int, int]
"""Mode, user and group of an inode."""


def check(result: int) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def unshare(flags: int) -> None:
    check(libc.unshare(flags))


def mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, options: bytes | None = None) -> None:
    check(libc.mount(source, target, kind, ctypes.c_ulong(flags), options))


def private_mounts() -> None:
    """A mount namespace of its own."""
    unshare(CLONE_NEWNS)
    mount(b"none", b"/", b"", MS_REC | MS_PRIVATE)


def dumpable() -> None:
    """As after execve: a change of identity alone makes a process untraceable."""
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))


def become(uid: int, gid: int, groups: tuple[int, ...] = ()) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    dumpable()


def drop_capabilities(mask: int) -> None:
    """Take capabilities out of the effective and permitted sets."""
    from afunix.supervisor import hostcalls

    effective, permitted, inheritable = hostcalls.capget()
    hostcalls.capset(effective & ~mask, permitted & ~mask, inheritable & ~mask)


def sockaddr(path: bytes) -> bytes:
    return b"\1\0" + (path + b"\0")[:108]


class Place:
    """A process as the supervisor sees it."""

    def __init__(self, pid: int) -> None:
        self.tid = self.tgid = pid
        self._directory = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY)

    def _status(self) -> dict[str, str]:
        with open(f"/proc/{self.tid}/status") as stream:
            return dict(line.rstrip("\n").split(":\t", 1) for line in stream)

    def credentials(self) -> Credentials:
        status = self._status()
        uid, euid, suid, _ = map(int, status["Uid"].split())
        gid, egid, sgid, _ = map(int, status["Gid"].split())
        groups = tuple(map(int, status["Groups"].split()))
        return Credentials(self.tgid, uid, gid, euid, egid, groups, int(status["CapEff"], 16), suid, sgid)

    def filesystem_ids(self) -> tuple[int, int]:
        status = self._status()
        return int(status["Uid"].split()[3]), int(status["Gid"].split()[3])

    def umask(self) -> int:
        return int(self._status()["Umask"], 8)

    def near(self) -> int:
        return self._directory if is_ours(self) else -1

    def close(self) -> None:
        os.close(self._directory)


class Native:
    """The calls that a program makes for the tests."""

    def connect(self, path: bytes) -> tuple[int, tuple[int, int] | None]:
        """errno of connect, and device and inode number of the socket found."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            address = sockaddr(path)
            if libc.connect(sock.fileno(), address, len(address)) < 0:
                return ctypes.get_errno(), None
        status = os.stat(path)
        return 0, (status.st_dev, status.st_ino)

    def bind(self, path: bytes, mode: int) -> tuple[int, Status | None]:
        """errno of bind, and what inode it made, which is removed again."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            os.fchmod(sock.fileno(), mode)
            address = sockaddr(path)
            if libc.bind(sock.fileno(), address, len(address)) < 0:
                return ctypes.get_errno(), None
        found = self.lstat(path)
        assert found is not None
        os.unlink(path)
        return 0, found[0]

    def lstat(self, path: bytes) -> tuple[Status, tuple[int, int]] | None:
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        assert stat.S_ISSOCK(status.st_mode)
        return (status.st_mode, status.st_uid, status.st_gid), (status.st_dev, status.st_ino)

    def open(self, path: str) -> int:
        return os.open(path, os.O_PATH)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


class Program:
    """A forked process that has done the given steps and waits for requests."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                self._here.close()
                self._serve(there, steps)
            finally:
                os._exit(0)
        there.close()
        self.place = Place(self.pid)
        self._result()

    def _serve(self, there: socket.socket, steps: tuple[Callable[[], object], ...]) -> None:
        native = Native()
        signal.alarm(300)
        try:
            for step in steps:
                step()
            there.send(pickle.dumps((True, None)))
            while request := there.recv(1 << 16):
                name, args = pickle.loads(request)
                there.send(pickle.dumps((True, getattr(native, name)(*args))))
        except BaseException:
            there.send(pickle.dumps((False, traceback.format_exc())))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._here.send(pickle.dumps((name, args)))
            return self._result()

        return call

    def _result(self) -> Any:
        answer = self._here.recv(1 << 20)
        assert answer, "the program died"
        good, value = pickle.loads(answer)
        assert good, value
        return value

    def close(self) -> None:
        self._here.close()
        self.place.close()
        os.waitpid(self.pid, 0)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def run_in_child(*steps: Callable[[], object]) -> None:
    """Do the steps in a forked process; AssertionError with its traceback if it fails."""
    with Program(*steps):
        pass
