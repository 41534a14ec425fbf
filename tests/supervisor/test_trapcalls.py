"""The host calls of each trap: what is compiled and what is in Python do the same."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from supervised import NUMBERS, Session

from afunix.supervisor import _trapcalls, trapcalls, trapcalls_python

Compile = Callable[[str], str]
both = pytest.mark.parametrize("calls", [_trapcalls, trapcalls_python], ids=["compiled", "python"])
NOBODY: dict[int, Any] = {}


@both
def test_memory(calls: ModuleType) -> None:
    """Whole or in several ranges; None where only the beginning is there, EFAULT where nothing is."""
    area = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    view = (ctypes.c_char * len(area)).from_buffer(area)
    at, pid = ctypes.addressof(view), os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)
    assert calls.vm_write(pid, at, b"abcdef") == 6
    assert calls.vm_write(pid, at + 8, memoryview(b"ghi")) == 3
    assert calls.vm_read(pid, at, 11) == b"abcdef\0\0ghi"
    assert calls.vm_writev(pid, [(at, 2), (at + 4, 100)], b"1234") == 4
    assert calls.vm_readv(pid, [(at + 4, 2), (at, 3)], 5) == b"3412c"
    long = os.urandom(len(area))
    assert calls.vm_write(pid, at, long) == len(long)
    assert calls.vm_read(pid, at, len(long)) == long
    second = ctypes.c_void_p(at + mmap.PAGESIZE)
    assert libc.mprotect(second, mmap.PAGESIZE, 0) == 0
    try:
        assert calls.vm_read(pid, at, len(area)) is None
        assert calls.vm_readv(pid, [(at, 1), (at + mmap.PAGESIZE, 1)], 2) is None
        assert calls.vm_write(pid, at, long) == mmap.PAGESIZE
        for call, data in ((calls.vm_read, 1), (calls.vm_write, b"x")):
            with pytest.raises(OSError, match="address") as caught:
                call(pid, second.value, data)
            assert caught.value.errno == errno.EFAULT
    finally:
        assert libc.mprotect(second, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) == 0
        del view
    with pytest.raises(ProcessLookupError):
        calls.vm_read(1 << 22, at, 1)


@both
def test_memory_larger_than_any_buffer(calls: ModuleType) -> None:
    data = os.urandom(trapcalls_python.SCRATCH_SIZE + 1)
    area = ctypes.create_string_buffer(data, len(data))
    assert calls.vm_read(os.getpid(), ctypes.addressof(area), len(data)) == data


@both
def test_bad_arguments(calls: ModuleType) -> None:
    """Nothing but an exception comes of them."""
    for function, args in (
        ("vm_write", (os.getpid(), 0, 1.5)),
        ("vm_readv", (os.getpid(), [3], 1)),
        ("inode", ("x",)),
        ("answer", (1,)),
    ):
        with pytest.raises(TypeError):
            getattr(calls, function)(*args)


@both
def test_inode(calls: ModuleType) -> None:
    """A link shows what is behind the number at the time of each look."""
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    link = os.open(f"/proc/self/fd/{number}", os.O_PATH | os.O_NOFOLLOW)
    try:
        assert calls.inode(link) == os.fstat(number).st_ino
        os.dup2(0, number)
        assert calls.inode(link) == (os.fstat(0).st_ino if os.readlink("/proc/self/fd/0").startswith("socket") else -1)
        os.close(ours.detach())
        with pytest.raises(FileNotFoundError):
            calls.inode(link)
    finally:
        os.close(link)
        theirs.close()


PIPE = """
int main(void) {
    char byte = 0;
    int ends[2];
    if (pipe(ends) || write(ends[1], "ab", 2) != 2) return 1;
    if (read(ends[0], &byte, 1) != 1 || byte != 'a') return 2;
    if (read(ends[0], &byte, 1) != 1 || byte != 'b') return 3;
    return 7;
}
"""


@both
def test_turn(calls: ModuleType, compile_c: Compile) -> None:
    """A call, then the other descriptor, then nothing in time, and at last the end."""
    out, into = os.pipe()
    with Session(compile_c(PIPE), traps=["write"]) as session:

        def turn(timeout: int) -> tuple[int, list[trapcalls.Notification]]:
            result: tuple[int, list[trapcalls.Notification]] = calls.turn(
                session.listener.fd, out, timeout, 9, NOBODY, NOBODY, b""
            )
            return result

        what, [(ident, _, number, args, found)] = turn(-1)
        assert (what, number, args[2], found) == (0, NUMBERS["write"], 2, None)
        os.write(into, b"x")
        assert turn(-1) == (trapcalls.OTHERS, [])
        os.read(out, 1)
        assert turn(1) == (0, [])
        assert session.listener.proceed(ident)
        assert turn(-1) == (trapcalls.ENDED, [])
        assert session.finish() == 7
    os.close(out)
    os.close(into)


def test_turn_passes_calls_about_other_files(compile_c: Compile) -> None:
    """Where the link is known, and as long as it leads to no socket of ours; a socket of ours is told."""
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    with ours, theirs, Session(compile_c(PIPE), traps=["write", "read"]) as session:
        listener = session.listener.fd
        while True:
            _, [(ident, tid, number, args, _)] = _trapcalls.turn(listener, ours.fileno(), -1, 1, NOBODY, NOBODY, b"")
            if number == NUMBERS["write"]:
                break
            assert session.listener.proceed(ident)  # the start of the program reads, too
        about = bytes(number in (NUMBERS["read"], NUMBERS["write"]) for number in range(512))
        links = {tid: {fd: os.open(f"/proc/{tid}/fd/{fd}", os.O_PATH | os.O_NOFOLLOW) for fd in (args[0], args[0] - 1)}}
        assert session.listener.proceed(ident)
        # Both reads are of the pipe.
        assert _trapcalls.turn(listener, ours.fileno(), -1, 1, links, NOBODY, about) == (trapcalls.ENDED, [])
        assert session.finish() == 7
        for link in links[tid].values():
            os.close(link)


def test_turn_tells_whose_socket_it_is(compile_c: Compile) -> None:
    source = """
    int main(void) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || write(pair[0], "a", 1) != 1) return 1;
        return write(pair[0], "b", 1) == 1 ? 7 : 2;
    }
    """
    out, into = os.pipe()
    with Session(compile_c(source), traps=["write"]) as session:
        listener = session.listener.fd
        _, [(ident, tid, number, args, _)] = _trapcalls.turn(listener, out, -1, 1, NOBODY, NOBODY, b"")
        link = os.open(f"/proc/{tid}/fd/{args[0]}", os.O_PATH | os.O_NOFOLLOW)
        sockets = {_trapcalls.inode(link): "that one"}
        assert session.listener.proceed(ident)
        about = bytes(at == number for at in range(number + 1))
        _, [(ident, _, _, _, found)] = _trapcalls.turn(listener, out, -1, 1, {tid: {args[0]: link}}, sockets, about)
        assert found == "that one"
        assert session.listener.proceed(ident)
        assert session.finish() == 7
        os.close(link)
    os.close(out)
    os.close(into)


@both
def test_turn_and_signals(calls: ModuleType) -> None:
    """A handler that raises ends the wait; another one does not."""
    seen = []

    def handler(*_: object) -> None:
        seen.append(1)
        if len(seen) == 2:
            raise InterruptedError("handled")

    before = signal.signal(signal.SIGUSR1, handler)
    (quiet, into), (other, beside) = os.pipe(), os.pipe()
    to = threading.get_ident(), signal.SIGUSR1
    timers = [threading.Timer(after, signal.pthread_kill, to) for after in (0.05, 0.1)]
    try:
        for timer in timers:
            timer.start()
        with pytest.raises(InterruptedError, match="handled"):
            calls.turn(quiet, other, -1, 1, NOBODY, NOBODY, b"")
    finally:
        for timer in timers:
            timer.join()
        signal.signal(signal.SIGUSR1, before)
        for fd in (quiet, into, other, beside):
            os.close(fd)
