"""What libraries do with a socket's number, in os and fcntl: the same natively and under a patch."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import afunix

FIONREAD, SIOCOUTQ, SIOCATMARK, FIONBIO, FIOCLEX, FIONCLEX = 0x541B, 0x5411, 0x8905, 0x5421, 0x5451, 0x5450


def told(operation: Callable[[], Any]) -> Any:
    try:
        return operation()
    except OSError as error:
        return type(error).__name__, error.errno, error.strerror
    except (TypeError, ValueError) as error:
        return type(error).__name__


def script() -> Iterator[Callable[[], Any]]:
    one, two = socket.socketpair()
    a, b = one.fileno(), two.fileno()
    yield lambda: fcntl.fcntl(one, fcntl.F_GETFD)
    yield lambda: fcntl.fcntl(a, fcntl.F_SETFD, 0)
    yield lambda: (one.get_inheritable(), os.get_inheritable(a))
    yield lambda: fcntl.ioctl(a, FIOCLEX)
    yield lambda: os.get_inheritable(a)
    yield lambda: fcntl.ioctl(a, FIONCLEX)
    yield lambda: os.set_inheritable(a, False)
    yield lambda: fcntl.fcntl(a, fcntl.F_GETFD)
    yield lambda: fcntl.fcntl(a, fcntl.F_GETFL)
    yield lambda: fcntl.fcntl(a, fcntl.F_SETFL, os.O_NONBLOCK)
    yield lambda: (os.get_blocking(a), fcntl.fcntl(a, fcntl.F_GETFL))
    yield lambda: os.read(a, 1)
    yield lambda: fcntl.ioctl(one, FIONBIO, struct.pack("i", 0))
    yield lambda: os.get_blocking(a)
    yield lambda: os.write(b, b"some data")
    yield lambda: struct.unpack("i", fcntl.ioctl(a, FIONREAD, bytes(4)))
    yield lambda: fcntl.ioctl(a, FIONREAD, b"\0\0\0\0rest")
    buffer = bytearray(4)
    yield lambda: (fcntl.ioctl(a, FIONREAD, buffer), bytes(buffer))
    yield lambda: struct.unpack("i", fcntl.ioctl(b, SIOCOUTQ, bytes(4)))[0] > 0
    yield lambda: fcntl.ioctl(a, SIOCATMARK, bytes(4))
    yield lambda: fcntl.ioctl(a, 0x5401, bytes(64))
    views = [bytearray(2), bytearray(3)]
    yield lambda: (os.readv(a, views), [bytes(view) for view in views])
    yield lambda: os.writev(a, [b"x", b"", memoryview(b"yz")])
    yield lambda: os.read(b, 10)
    yield lambda: os.lseek(a, 0, os.SEEK_SET)
    yield lambda: os.isatty(a)
    yield lambda: stat.filemode(os.fstat(a).st_mode)
    yield lambda: stat.S_ISSOCK(os.stat(a).st_mode)
    twin = fcntl.fcntl(a, fcntl.F_DUPFD_CLOEXEC, 0)
    yield lambda: (twin != a, os.get_inheritable(twin), os.path.sameopenfile(twin, a))
    yield lambda: os.read(os.dup(a), 4)
    third = os.dup2(twin, twin)
    yield lambda: third == twin
    yield lambda: os.close(twin)
    yield lambda: os.close(twin)
    yield lambda: fcntl.fcntl(twin, fcntl.F_GETFD)
    yield lambda: os.fstat(twin)
    yield lambda: socket.socket(fileno=twin)
    with socket.socket(fileno=os.dup(b)) as again:
        yield lambda: (again.family, again.type, again.getblocking())
    one.close()
    two.close()


def test_as_natively() -> None:
    """Step by step."""
    results = []
    for patched in (False, True):
        with afunix.patch() if patched else contextlib.nullcontext():
            results.append([told(operation) for operation in script()])
    assert results[1] == results[0]


@pytest.mark.parametrize("patched", [False, True])
def test_open_file_descriptions_are_shared(patched: bool) -> None:
    """By dup, fromfd and SCM_RIGHTS: O_NONBLOCK, options and the queue are one; a time-out is the object's own."""
    with afunix.patch() if patched else contextlib.nullcontext():
        one, two = socket.socketpair()
        twin = one.dup()
        other = socket.fromfd(one.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
        socket.send_fds(two, [b"x"], [one.fileno()])
        passed = socket.socket(fileno=socket.recv_fds(one, 1, 1)[1][0])
        everyone = [one, twin, other, passed]
        assert len({sock.fileno() for sock in everyone}) == 4
        one.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        assert [sock.getsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED) for sock in everyone] == [1] * 4
        one.setblocking(False)
        assert [os.get_blocking(sock.fileno()) for sock in everyone] == [False] * 4
        assert [sock.gettimeout() for sock in everyone] == [0.0, None, None, None]
        with pytest.raises(BlockingIOError):
            twin.recv(1)
        two.send(b"abcd")
        assert [sock.recv(1) for sock in everyone] == [b"a", b"b", b"c", b"d"]
        for sock in everyone:
            assert two.send(b"x") == 1, "open until the last one is closed"
            one.setblocking(False) if sock is one else None
            sock.close()
        with pytest.raises(BrokenPipeError):
            two.send(b"x")
        two.close()
