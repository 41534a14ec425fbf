"""Descriptors of simulated processes: SO_PEERPIDFD, SCM_PIDFD and pidfd_open, and what can be done with them."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import struct
import threading

import pytest

import afunix
from afunix.abi.constants import (
    POLLHUP,
    POLLIN,
    SCM_PIDFD,
    SO_PASSPIDFD,
    SO_PEERPIDFD,
    SOL_SOCKET,
)
from afunix.core.errors import Unmodelled
from afunix.core.process import SIGKILL

GONE = POLLIN | POLLHUP


def connected(kernel: afunix.Kernel, uid: int = 0) -> tuple[socket.socket, socket.socket, afunix.Process]:
    """A server's socket of the main process, the client's, and the client."""
    client = kernel.process(uid=uid)
    with socket.socket(socket.AF_UNIX) as listener, client.running():
        listener.bind(b"\0server")
        listener.listen()
        sock = client.socket()
        sock.connect(b"\0server")
        accepted, _ = listener.accept()
    return accepted, sock, client


def test_peer() -> None:
    """It becomes readable when the peer ends, whichever way it is waited for, and a signal reaches it."""
    with afunix.patch() as kernel:
        accepted, sock, client = connected(kernel)
        pidfd = accepted.getsockopt(SOL_SOCKET, SO_PEERPIDFD)
        assert pidfd >= 1 << 30
        assert not os.get_inheritable(pidfd)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        epoll = select.epoll()
        epoll.register(pidfd, select.EPOLLIN)
        assert poll.poll(0) == epoll.poll(0) == []
        signal.pidfd_send_signal(pidfd, 0)
        assert client.alive
        threading.Timer(0.05, signal.pidfd_send_signal, (pidfd, SIGKILL)).start()
        assert poll.poll(20_000) == [(pidfd, GONE)]
        assert not client.alive
        assert epoll.poll(0) == [(pidfd, GONE)]
        assert select.select([pidfd], [], [], 0) == ([pidfd], [], [])
        assert accepted.recv(1) == b""
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, 0)
        with pytest.raises(OSError, match="Invalid argument"):
            os.read(pidfd, 1)
        late = accepted.getsockopt(SOL_SOCKET, SO_PEERPIDFD)
        assert select.select([late], [], [], 0)[0] == [late], "of a process that is gone already, as in Linux 6.18"
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(late, SIGKILL)
        epoll.close()
        for fd in (pidfd, late):
            os.close(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            signal.pidfd_send_signal(pidfd, 0)
        accepted.close()
        sock.close()
        assert not kernel.main.core.descriptors.files


def test_with_messages() -> None:
    """SO_PASSPIDFD: who sent it, which may be another process than the peer."""
    with afunix.patch() as kernel:
        accepted, sock, client = connected(kernel, uid=1000)
        accepted.setsockopt(SOL_SOCKET, SO_PASSPIDFD, 1)
        child = client.fork()
        with child.socket(fileno=sock.fileno() & 0xFFFFF) as its:
            its.send(b"from the child")
        data, control, flags, _ = accepted.recvmsg(100, 100)
        assert (data, flags) == (b"from the child", 0)
        [(level, kind, number)] = control
        assert (level, kind) == (SOL_SOCKET, SCM_PIDFD)
        pidfd = struct.unpack("i", number)[0]
        client.exit()
        assert select.select([pidfd], [], [], 0)[0] == []
        child.exit()
        assert select.select([pidfd], [], [], 0)[0] == [pidfd]
        os.close(pidfd)
        accepted.close()
        sock.close()


def test_raw_calls(kernel: afunix.Kernel) -> None:
    """pidfd_open, permission to kill, and the number in the receiver's own table."""
    one, two = kernel.process(uid=1), kernel.process(uid=2)
    calls = one.syscalls
    pidfd = calls.pidfd_open(two.pid)
    assert pidfd == 0
    with pytest.raises(PermissionError):
        calls.pidfd_send_signal(pidfd, SIGKILL)
    with pytest.raises(PermissionError):
        calls.kill(two.pid)
    with pytest.raises(ProcessLookupError):
        calls.pidfd_open(1_000_000)
    with pytest.raises(OSError, match="Invalid argument"):
        calls.pidfd_open(two.pid, 1)
    with pytest.raises(Unmodelled):
        kernel.process().syscalls.kill(one.pid, 15)
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.pidfd_send_signal(calls.socket(), 0)
    assert calls.poll([(pidfd, POLLIN)], 0.0) == []
    two.syscalls.kill(two.pid)
    assert not two.alive
    assert calls.poll([(pidfd, POLLIN)], 0.0) == [(pidfd, GONE)]
    successor = kernel.process(uid=1, pid=two.pid)
    with pytest.raises(ProcessLookupError):
        calls.pidfd_send_signal(pidfd, 0)
    assert successor.alive
    for process in (one, successor):
        process.exit()
    assert not [process for process in kernel.table if process.pidfds]


def test_cut_to_its_room(kernel: afunix.Kernel) -> None:
    """As other options; what does not fit a control buffer is left out, and no descriptor is made for it."""
    with kernel.process() as process:
        one, two = process.socketpair()
        with one, two:
            before = len(process.core.descriptors)
            two.setsockopt(SOL_SOCKET, SO_PASSPIDFD, 1)
            one.send(b"data")
            assert two.recvmsg(10, 16)[:2] == (b"data", [])
            assert len(process.core.descriptors) == before
            assert len(one.getsockopt(SOL_SOCKET, SO_PEERPIDFD, 2)) == 2


def test_asyncio_reader() -> None:
    """A loop watches it."""

    async def main(pidfd: int, client: afunix.Process) -> None:
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        loop.add_reader(pidfd, gone.set)
        loop.call_later(0.05, client.kill)
        await asyncio.wait_for(gone.wait(), 20)
        loop.remove_reader(pidfd)

    with afunix.patch() as kernel:
        accepted, sock, client = connected(kernel)
        pidfd = accepted.getsockopt(SOL_SOCKET, SO_PEERPIDFD)
        asyncio.run(main(pidfd, client))
        os.close(pidfd)
        accepted.close()
        sock.close()


def test_thousands_of_kernels() -> None:
    """A kernel that nobody uses any more gives back the numbers of its processes."""
    for _ in range(1100):
        for sock in afunix.Kernel().main.socketpair():
            sock.close()
