"""Simulated processes: credentials, descriptors of their own, fork and kill, and the raw calls."""

from __future__ import annotations

import struct
import threading
import time

import pytest

import afunix
from afunix import socket
from afunix.abi.constants import (
    EPOLL_CTL_ADD,
    EPOLLET,
    EPOLLIN,
    F_GETFL,
    F_SETFL,
    O_NONBLOCK,
    POLLIN,
    POLLNVAL,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SO_PASSCRED,
    SO_PEERCRED,
    SOL_SOCKET,
)
from afunix.core.errors import Unmodelled

ONE = struct.pack("i", 1)


def test_server_sees_who_connects(kernel: afunix.Kernel) -> None:
    """SO_PEERCRED and SCM_CREDENTIALS tell of the simulated process, permissions of its uid are checked."""
    server, client = kernel.process(uid=0), kernel.process(uid=1000, gid=100)
    with server, client:
        listener = server.socket()
        listener.bind("/run/app.sock")
        listener.listen()
        with client.socket() as refused, pytest.raises(PermissionError):
            refused.connect("/run/app.sock")
        server.call(kernel.filesystem.chmod, server.core, b"/run/app.sock", 0o666)
        sock = client.socket()
        sock.connect("/run/app.sock")
        accepted, _ = listener.accept()
        expected = struct.pack("3i", client.pid, 1000, 100)
        assert accepted.getsockopt(SOL_SOCKET, SO_PEERCRED, 12) == expected
        accepted.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
        sock.send(b"x")
        assert accepted.recvmsg(10, 100)[1] == [(SOL_SOCKET, SCM_CREDENTIALS, expected)]
        with pytest.raises(PermissionError):
            sock.sendmsg([b"x"], [(SOL_SOCKET, SCM_CREDENTIALS, struct.pack("3i", client.pid, 0, 0))])
        for made in (listener, sock, accepted):
            made.close()


def test_fork_shares_and_kill_closes(kernel: afunix.Kernel) -> None:
    """The child has the same open files; the end comes when both processes are gone."""
    parent = kernel.process(uid=5)
    one, two = parent.socketpair()
    child = parent.fork()
    assert child.pid != parent.pid
    assert child.uid == 5
    twin = child.socket(fileno=one.fileno() & 0xFFFFF)
    assert twin.fileno() != one.fileno()
    twin.send(b"from the child")
    assert two.recv(100) == b"from the child"
    one.close()
    two.setblocking(False)
    with pytest.raises(BlockingIOError):
        two.recv(1)
    child.kill()
    assert not child.alive
    assert two.recv(1) == b""
    with pytest.raises(OSError, match="Bad file descriptor"):
        twin.send(b"x")
    two.close()
    parent.exit()
    with pytest.raises(PermissionError):
        kernel.process(uid=1).kill(kernel.process(uid=2))


def test_descriptors_pass_between_processes(kernel: afunix.Kernel) -> None:
    """The number that the receiver gets is of its own table."""
    with kernel.process() as server, kernel.process() as client:
        path = "\0passing"
        listener = server.socket()
        listener.bind(path)
        listener.listen()
        sock = client.socket()
        sock.connect(path)
        accepted, _ = listener.accept()
        mine, theirs = client.socketpair()
        socket.send_fds(sock, [b"x"], [theirs.fileno()])
        theirs.close()
        _, (number,), _, _ = socket.recv_fds(accepted, 1, 1)
        with socket.socket(fileno=number) as received:
            assert received._process is server
            received.send(b"hello")
        assert mine.recv(10) == b"hello"
        for made in (listener, sock, accepted, mine):
            made.close()


def test_raw_calls(kernel: afunix.Kernel) -> None:
    """Descriptors are small and lowest first; nowait never waits."""
    with kernel.process() as process:
        calls = process.syscalls
        assert calls.socketpair() == (0, 1)
        reading, writing = calls.pipe()
        assert (reading, writing) == (2, 3)
        assert calls.sendmsg(0, [b"da", b"ta"], [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", writing))]) == 4
        data, control, _, _ = calls.recvmsg(1, 10, 100)
        assert (data, control) == (b"data", [(SOL_SOCKET, SCM_RIGHTS, struct.pack("i", 4))])
        assert calls.write(4, b"piped") == 5
        assert calls.read(reading, 10) == b"piped"
        for operation in (lambda: calls.nowait.read(reading, 1), lambda: calls.nowait.recvfrom(1, 1)):
            with pytest.raises(BlockingIOError):
                operation()
        calls.fcntl(1, F_SETFL, O_NONBLOCK)
        assert calls.fcntl(1, F_GETFL) & O_NONBLOCK
        with pytest.raises(BlockingIOError):
            calls.read(1, 1)
        with pytest.raises(OSError, match="Bad file descriptor"):
            calls.read(77, 1)
        with pytest.raises(OSError, match="Socket operation on non-socket"):
            calls.listen(reading)
        assert calls.poll([(1, POLLIN), (99, POLLIN)], 0.0) == [(99, POLLNVAL)]
        epoll = calls.epoll_create()
        calls.epoll_ctl(epoll, EPOLL_CTL_ADD, 1, EPOLLIN | EPOLLET, "one")
        calls.write(0, b"x")
        assert calls.epoll_wait(epoll, 5) == [(EPOLLIN, "one")]
        assert calls.epoll_wait(epoll, 5, 0.0) == []
        calls.setsockopt(0, SOL_SOCKET, SO_PASSCRED, ONE)
        assert calls.getsockopt(0, SOL_SOCKET, SO_PASSCRED) == ONE
        calls.close(0)
        assert calls.eventfd(3) == 0
        assert calls.read(0, 8) == struct.pack("Q", 3)


def test_raw_calls_wait(kernel: afunix.Kernel) -> None:
    """A read waits for a write of another process in another thread, a write for space in a pipe."""
    with kernel.process() as process:
        reading, writing = process.syscalls.pipe()
        with process.fork() as child:
            result: list[bytes] = []
            thread = threading.Thread(target=lambda: result.append(process.syscalls.read(reading, 10)))
            thread.start()
            time.sleep(0.05)
            child.syscalls.write(writing, b"data")
            thread.join(10)
            assert result == [b"data"]
            thread = threading.Thread(
                target=lambda: result.append(bytes(child.syscalls.write(writing, bytes(200_000))))
            )
            thread.start()
            got = 0
            while got < 200_000:
                got += len(process.syscalls.read(reading, 65536))
            thread.join(10)
            assert len(result[1]) == 200_000


def test_after_the_end(kernel: afunix.Kernel) -> None:
    """A process that exited makes nothing, and what another has does not answer to its numbers."""
    main, process = kernel.main, kernel.process()
    one, two = process.socketpair()
    number = one.fileno()
    process.exit()
    for operation in (
        process.socket,
        process.socketpair,
        process.fork,
        process.syscalls.socket,
        process.syscalls.pipe,
        lambda: process.syscalls.pidfd_open(main.pid),
    ):
        with pytest.raises(ProcessLookupError):
            operation()
    with process.running(), pytest.raises(ProcessLookupError):
        socket.socket(socket.AF_UNIX)
    for close in (process.exit, one.close, two.close):
        close()
    with kernel.process() as other, other.socket() as sock:
        assert sock.fileno() == number, "the number is used again"
        with pytest.raises(OSError, match="Bad file descriptor"):
            one.send(b"x")
    assert not process.core.descriptors.files


def test_killed_while_it_receives(kernel: afunix.Kernel) -> None:
    """Descriptors that come too late are closed, as with the end of the thread itself."""
    with kernel.process() as sender:
        one, two = sender.socketpair()
        mine, passed = sender.socketpair()
        got: list[object] = []
        child = sender.fork()
        its = child.socket(fileno=two.fileno() & 0xFFFFF)
        thread = threading.Thread(target=lambda: got.append(its.recvmsg(10, 100)))
        thread.start()
        time.sleep(0.05)
        child.kill()
        socket.send_fds(one, [b"data"], [passed.fileno()])
        passed.close()
        thread.join(10)
        data, control, flags, _ = got[0]  # type: ignore[misc]
        assert (data, control, flags) == (b"data", [], socket.MSG_CTRUNC)
        assert mine.recv(1) == b""
        its.close()


def test_wrong_use(kernel: afunix.Kernel) -> None:
    """Numbers that are taken or make no sense, and what belongs to another kernel."""
    process = kernel.process()
    for pid in (process.pid, 0, -1, 1 << 22):
        with pytest.raises(ValueError, match="no free process number"):
            kernel.process(pid=pid)
    with pytest.raises(TypeError):
        kernel.process(uid="root")  # type: ignore[arg-type]
    calls = process.syscalls
    assert calls.poll([(-1, POLLIN)], 0.0) == [], "as Linux passes over negative numbers"
    sock = calls.socket()
    calls.bind(sock, b"/tmp/name\0and more")
    assert calls.getsockname(sock) == b"/tmp/name"
    one, two = process.socketpair()
    with one, two, afunix.Kernel().process() as other, other.socket() as foreign:
        with pytest.raises(Unmodelled, match="another"):
            socket.send_fds(one, [b"x"], [foreign.fileno()])
        one.send(b"y")
        assert two.recv(10) == b"y"
