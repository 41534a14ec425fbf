"""Threads that wait: many of them, time-outs, and what signals leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sides import each_byte_is_read_once

import afunix
from afunix import socket as our_socket
from afunix.inproc.socket import socket
from afunix.inproc.waiting import Taker


@pytest.fixture
def pair(kernel: afunix.Kernel) -> Iterator[tuple[socket, socket]]:
    with kernel.main.running():
        one, two = our_socket.socketpair()
    yield one, two
    one.close()
    two.close()


class Stop(BaseException):
    """As KeyboardInterrupt, but pytest does not know it."""


def interrupted(operation: Callable[[], object]) -> None:
    """Do something that waits, and raise out of a signal handler meanwhile."""

    def stop(*_: object) -> None:
        raise Stop

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Stop):
            operation()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_interrupt_leaves_nothing(pair: tuple[socket, socket], timeout: float | None) -> None:
    """After an exception of a signal handler the lock is free, no waiter is left, and the socket works."""
    one, two = pair
    one.settimeout(timeout)
    interrupted(lambda: one.recv(1))
    interrupted(lambda: one.recvmsg(1, 100))
    interrupted(lambda: one.sendall(bytes(1_000_000)))
    for sock in (one, two):
        core = sock._sock
        assert core is not None
        assert not core.readable
        assert not core.writable
        assert not core.peer_space
    done = threading.Event()

    def send() -> None:
        two.send(b"x")
        done.set()

    threading.Thread(target=send).start()
    assert done.wait(10), "another thread gets the lock"
    assert one.recv(10) == b"x"


def test_signal_handler_may_return(pair: tuple[socket, socket]) -> None:
    """A handler that returns lets the call go on (PEP 475), and may use the sockets itself."""
    one, two = pair
    old = signal.signal(signal.SIGALRM, lambda *_: two.send(b"from the handler"))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        assert one.recv(100) == b"from the handler"
    finally:
        signal.signal(signal.SIGALRM, old)


def test_time_out_while_data_are_handed_over(pair: tuple[socket, socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader whose time is over just then has the data, and nothing of it is left at the socket: the end is seen."""
    one, two = pair
    one.settimeout(0.5)
    two.settimeout(30)
    core = one._sock
    assert core is not None
    called = Taker.__call__

    def call_later(taker: Taker) -> None:
        if taker.data is not None:
            reader.join(0.8)
        called(taker)

    monkeypatch.setattr(Taker, "__call__", call_later)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(one.recv(10)))
    reader.start()
    while core.taker is None:
        time.sleep(0.001)
    two.send(b"data")
    reader.join(30)
    assert got == [b"data"]
    assert core.references == 1
    one.close()
    assert two.recv(1) == b""


def test_many_threads_on_one_queue(pair: tuple[socket, socket]) -> None:
    """Each byte goes to one reader, and none is lost."""
    one, two = pair
    each_byte_is_read_once(one, two, 8, 2000, lambda: one.shutdown(our_socket.SHUT_WR))


def test_accept_and_connect_wait(kernel: afunix.Kernel) -> None:
    """A connect waits while the queue is full (CONN-3), an accept for a connect."""
    with kernel.process() as process:
        server, first, second = (process.socket() for _ in range(3))
        server.bind("\0s")
        server.listen(0)
        first.connect("\0s")
        thread = threading.Thread(target=second.connect, args=("\0s",))
        thread.start()
        time.sleep(0.05)
        assert thread.is_alive()
        accepted = [server.accept()[0], server.accept()[0]]
        thread.join(10)
        assert not thread.is_alive()
        for sock in (server, first, second, *accepted):
            sock.close()


def test_garbage_collected_within_an_operation(kernel: afunix.Kernel) -> None:
    """A forgotten socket whose end comes while the lock is held is closed right after."""
    with kernel.process() as process:
        one, two = process.socketpair()
        with kernel.lock, pytest.warns(ResourceWarning):  # noqa: PT031 - the lock is held
            del one
            assert kernel.abandoned
        two.settimeout(10)
        kernel.settle()
        assert two.recv(1) == b""
        two.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_fork_amid_operations(pair: tuple[socket, socket]) -> None:
    """A child has a copy of the kernel that works, whatever other threads were doing when it was made."""
    one, two = pair
    over = threading.Event()

    def play() -> None:
        while not over.is_set():
            one.send(b"x")
            two.recv(1)

    threads = [threading.Thread(target=play) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)
                here, there = one._process.socketpair()
                here.send(b"from the copy")
                os._exit(there.recv(100) != b"from the copy")
            assert os.waitpid(child, 0)[1] == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_fork_while_another_thread_reads(pair: tuple[socket, socket], closed: bool) -> None:
    """In the child that thread does not exist, and data go to who is there to read them."""
    one, two = pair
    other = one.dup()
    reader = threading.Thread(target=one.recv, args=(100,))
    reader.start()
    while not one._sock or one._sock.taker is None:
        time.sleep(0.01)
    if closed:
        one.close()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        two.send(b"from the copy")
        os._exit(other.recv(100) != b"from the copy")
    status = os.waitpid(child, 0)[1]
    two.send(b"x")
    reader.join()
    other.close()
    assert status == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.usefixtures("alarm")
def test_fork_within_a_handler_that_interrupts_a_read(pair: tuple[socket, socket]) -> None:
    """The read goes on in both processes."""
    one, two = pair
    children: list[int] = []

    def fork(*_: object) -> None:
        children.append(os.fork())
        threading.Thread(target=two.send, args=(b"child" if not children[0] else b"parent",)).start()

    signal.signal(signal.SIGALRM, fork)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    data = one.recv(100)
    if not children[0]:
        os._exit(data != b"child")
    assert data == b"parent"
    assert os.waitpid(children[0], 0)[1] == 0


FORKS = """
import os, threading, time
import afunix

class Lock:
    # As soon as it is free another thread goes on.
    def __init__(self):
        self.lock = threading.RLock()
        self.acquire = self.lock.acquire
    def release(self):
        self.lock.release()
        time.sleep(0.01)

kernels = [afunix.Kernel() for _ in range(3)]
for kernel in kernels:
    kernel.lock = Lock()

def fork():
    for _ in range(5):
        child = os.fork()
        if not child:
            one, two = afunix.Kernel().main.socketpair()
            one.send(b"x")
            os._exit(two.recv(1) != b"x")
        assert os.waitpid(child, 0)[1] == 0

threads = [threading.Thread(target=fork, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
    assert not thread.is_alive()
for kernel in kernels:
    assert kernel.lock.acquire(blocking=False)
"""


def test_many_threads_fork() -> None:
    """Each gives back the locks that it has taken, and no other's."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=120)


def test_data_in_the_moment_of_a_timeout(pair: tuple[socket, socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that is held up while it hands data over to a read whose time is over: the read leaves nothing behind.

    A reference left of it would keep the socket open, and its peer without an end of file.
    """
    one, two = pair
    begun, over = threading.Event(), threading.Event()
    wake = Taker.__call__

    def slowly(taker: Taker) -> None:
        begun.set()
        over.wait(0.3)
        wake(taker)

    monkeypatch.setattr(Taker, "__call__", slowly)
    sender = threading.Timer(0.05, two.send, (b"data",))
    sender.start()
    one.settimeout(0.2)
    assert one.recv(10) == b"data"
    over.set()
    assert begun.is_set()
    sender.join()
    one.close()
    two.settimeout(30)
    assert two.recv(1) == b""


def test_threads_bind_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many at once in a directory that nobody has looked at before: no name is lost."""
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        directory = tmp_path / f"d{number}"
        directory.mkdir()
        os.chdir(directory)
        kernel = afunix.Kernel()
        together = threading.Barrier(6)

        def bind(name: str, process: afunix.Process = kernel.main, together: threading.Barrier = together) -> None:
            with process.socket() as sock:
                together.wait()
                sock.bind(name)

        threads = [threading.Thread(target=bind, args=(f"s{index}",)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        path = os.fsencode(directory)
        assert sorted(kernel.filesystem.listdir(kernel.main.core, path)) == [b"s%d" % index for index in range(6)]
