"""The host calls of placeholders and path names: what is compiled and what is in Python do the same."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from afunix.supervisor import _endcalls, endcalls_python
from afunix.supervisor.hostcalls import pidfd_open

both = pytest.mark.parametrize("calls", [_endcalls, endcalls_python], ids=["compiled", "python"])
EVENTS = select.EPOLLRDHUP | select.EPOLLET


@pytest.fixture
def pidfd() -> Iterator[int]:
    fd = pidfd_open(os.getpid())
    yield fd
    os.close(fd)


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    with select.epoll() as poll:
        yield poll


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """P and S."""
    program, end = socket.socketpair()
    with program, end:
        yield program, end


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def open_files() -> set[str]:
    return {number for number in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{number}")}


@both
def test_loose(calls: ModuleType) -> None:
    fd, number = calls.loose()
    with socket.socket(fileno=fd) as sock:
        assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        assert number == inode(sock)
        assert not os.get_inheritable(fd)
        poll = select.poll()
        poll.register(fd)
        assert poll.poll(0) == [(fd, select.POLLOUT | select.POLLHUP)]


@both
def test_pair(calls: ModuleType, epoll: select.epoll) -> None:
    """The epoll tells when the last descriptor of P is gone, and nothing before."""
    mine, end, number = calls.pair(epoll.fileno(), EVENTS)
    with socket.socket(fileno=end) as other:
        with socket.socket(fileno=mine) as sock:
            assert number == inode(sock)
            assert not os.get_inheritable(mine)
            assert not os.get_inheritable(end)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 10_000
            sock.send(b"x")
            assert other.recv(2) == b"x"
            assert epoll.poll(0) == []
            copy = sock.dup()
        assert epoll.poll(0) == []
        copy.close()
        assert [fd for fd, _ in epoll.poll(0)] == [end]
    before = open_files()
    with pytest.raises(OSError, match=r"argument|permitted"):
        calls.pair(0, EVENTS)
    assert open_files() == before


@both
def test_join(calls: ModuleType, epoll: select.epoll, pidfd: int) -> None:
    """A connection that somebody else made to the listener is not taken for that of P."""
    with socket.socket(socket.AF_UNIX) as meeting, socket.socket(socket.AF_UNIX) as program:
        meeting.bind("")
        meeting.listen(8)
        address = socket.AF_UNIX.to_bytes(2, sys.byteorder) + meeting.getsockname()
        to = (meeting.fileno(), epoll.fileno(), EVENTS, address)
        code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(bytes.fromhex(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, meeting.getsockname().hex()], check=True)
        before = open_files()
        number, mark = program.fileno(), inode(program)
        assert calls.join(pidfd, number, mark + 1, *to) == calls.join(pidfd, 999_999, mark, *to) == -1
        assert open_files() == before
        end = calls.join(pidfd, number, mark, *to)
        assert open_files() == before | {str(end)}
        with socket.socket(fileno=end) as other:
            assert not os.get_inheritable(end)
            other.send(b"x")
            assert program.recv(2) == b"x"
            assert program.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 10_000
            with pytest.raises(OSError, match="already connected"):
                calls.join(pidfd, number, mark, *to)
            assert open_files() == before | {str(end)}
            program.close()
            assert [fd for fd, _ in epoll.poll(0)] == [end]


@both
def test_join_when_strangers_fill_the_queue(calls: ModuleType, epoll: select.epoll, pidfd: int) -> None:
    """They are sent away, and nothing waits for them."""
    with (
        socket.socket(socket.AF_UNIX) as meeting,
        socket.socket(socket.AF_UNIX) as program,
        contextlib.ExitStack() as strangers,
    ):
        meeting.bind("")
        meeting.listen(2)
        for _ in range(3):
            strangers.enter_context(socket.socket(socket.AF_UNIX)).connect(meeting.getsockname())
        address = socket.AF_UNIX.to_bytes(2, sys.byteorder) + meeting.getsockname()
        end = calls.join(pidfd, program.fileno(), inode(program), meeting.fileno(), epoll.fileno(), EVENTS, address)
        with socket.socket(fileno=end) as other:
            other.send(b"x")
            assert program.recv(2) == b"x"
            assert not any(program.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16))


@both
def test_join_without_descriptors(calls: ModuleType, epoll: select.epoll, pidfd: int) -> None:
    """The number of its copy of P is enough; with less, nobody is left waiting who would be taken for the next P."""
    with socket.socket(socket.AF_UNIX) as meeting, socket.socket(socket.AF_UNIX) as program:
        meeting.bind("")
        meeting.listen(8)
        address = socket.AF_UNIX.to_bytes(2, sys.byteorder) + meeting.getsockname()
        to = (meeting.fileno(), epoll.fileno(), EVENTS, address)
        before = open_files()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(map(int, before)) + 8
        outcomes = []
        fillers = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, limit[1]))
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.dup(0))
            while not outcomes or outcomes[-1] < 0:
                try:
                    outcomes.append(calls.join(pidfd, program.fileno(), inode(program), *to))
                except OSError:
                    outcomes.append(-1)
                if outcomes[-1] < 0:
                    assert select.select([meeting], [], [], 0)[0] == []
                    os.close(fillers.pop())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            for fd in fillers:
                os.close(fd)
        assert outcomes[0] == -1
        assert len(outcomes) == (2 if calls is _endcalls else 4)  # the other one has two more for a moment
        with socket.socket(fileno=outcomes[-1]) as end:
            end.send(b"x")
            assert program.recv(2) == b"x"
        assert open_files() == before


@both
def test_push_and_fetch(calls: ModuleType, ends: tuple[socket.socket, socket.socket], pidfd: int) -> None:
    """Descriptors go with the byte, all that one message can carry; ours are closed, or not, if nothing was sent."""
    program, end = ends
    number, mark = program.fileno(), inode(program)
    before = open_files()
    assert calls.fetch(pidfd, number, mark) is None
    for count in (0, 1, 253):
        sent = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
        assert calls.push(end.fileno(), False, sent) is True
        assert open_files() == before
        assert calls.fetch(pidfd, number, mark + 1) is None
        got = calls.fetch(pidfd, number, mark)
        assert len(got) == count
        assert not any(os.get_inheritable(fd) for fd in got)
        for fd in got:
            os.close(fd)
        assert open_files() == before
    poll = select.poll()
    poll.register(program, select.POLLPRI)
    assert calls.push(end.fileno(), True, []) is True
    assert poll.poll(0)
    while calls.push(end.fileno(), False, []):
        pass
    kept = os.open("/dev/null", os.O_RDONLY)
    assert calls.push(end.fileno(), False, [kept]) is False
    os.close(kept)
    program.close()
    assert calls.push(end.fileno(), False, []) is False


@both
def test_take(calls: ModuleType, ends: tuple[socket.socket, socket.socket], pidfd: int, tmp_path: Path) -> None:
    """Only sockets have an inode number here: those of files are of other filesystems, and may be the same."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "name"))
    name = os.open(tmp_path / "name", os.O_PATH)
    copy, *found = calls.take(pidfd, name)
    assert found == [0, True]
    os.close(copy)
    os.close(name)
    fd, number, path_only = calls.take(pidfd, ends[0].fileno())
    assert (number, path_only) == (inode(ends[0]), False)
    assert os.path.sameopenfile(fd, ends[0].fileno())
    os.close(fd)
    for flags in (os.O_RDONLY, os.O_PATH):
        file = os.open("/dev/null", flags)
        fd, number, path_only = calls.take(pidfd, file)
        assert (number, path_only) == (0, flags == os.O_PATH)
        os.close(fd)
        os.close(file)
    with pytest.raises(OSError, match="descriptor"):
        calls.take(pidfd, file)


@both
def test_fill_and_drain(calls: ModuleType, epoll: select.epoll, pidfd: int) -> None:
    """Only what is the socket with that inode number is touched."""
    mine, other, mark = endcalls_python.pair(epoll.fileno(), EVENTS)
    program, end = socket.socket(fileno=mine), socket.socket(fileno=other)
    poll = select.poll()
    poll.register(program, select.POLLOUT)
    with program, end:
        number = program.fileno()
        end.send(b"x" * 300)
        assert calls.drain(pidfd, number, mark, 2) == 2
        assert calls.drain(pidfd, number, mark, 1000) == 256
        assert calls.drain(pidfd, number, mark, 1000) == 42
        assert calls.drain(pidfd, number, mark, 1) == 0
        assert poll.poll(0)
        filled = 0
        while calls.fill(pidfd, number, mark):
            filled += 1
            assert not poll.poll(0)
        assert filled
        assert calls.drain(pidfd, number, mark + 1, 1) == calls.fill(pidfd, number, mark + 1) == -1
        with pytest.raises(ValueError, match="negative"):
            calls.drain(pidfd, number, mark, -1)
        assert calls.drain(pidfd, 0, mark, 1) == calls.fill(pidfd, 999_999, mark) == calls.fill(-1, number, mark) == -1
        assert len(end.recv(10_000)) == filled * len(endcalls_python.FILL)


@both
def test_find(calls: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that may be written to; for anything else a closer look is asked for."""
    place = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    here = tmp_path / "in"
    here.mkdir()
    monkeypatch.chdir(here)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s")
        (here / "link").symlink_to("s")
        (here / "file").touch()
        (here / "d").mkdir()
        status = os.stat("s")
        before = open_files()
        for path in (b"s", b"./s", os.fsencode(here / "s"), os.fsencode(here / "link"), os.fsencode(here / "../in/s")):
            fd, *found = calls.find(place, path)
            assert found == [status.st_dev, status.st_ino, status.st_mode]
            assert os.fstat(fd).st_ino == status.st_ino
            assert not os.get_inheritable(fd)
            os.close(fd)
        for path in (b"", b"file", b"none", b"s/", b"../in/s", b"d/../s", b"link", b"/proc/self/cwd/s", b"."):
            assert calls.find(place, path) is None
        assert calls.find(sock.fileno(), b"s") is None
        assert open_files() == before
    os.close(place)


@both
def test_numbers_that_no_descriptor_has(calls: ModuleType, ends: tuple[socket.socket, socket.socket]) -> None:
    """They are not taken for another number, which would be closed."""
    for number in (-1, 1 << 40, 1 << 80):
        with pytest.raises(OverflowError):
            calls.push(ends[1].fileno(), False, [number])
    os.fstat(0)


def test_bad_arguments() -> None:
    """Nothing but an exception comes of them."""
    for function, args in (
        ("pair", (1,)),
        ("push", ("x", 0, [])),
        ("push", (0, 0, 3)),
        ("push", (0, 0, ["x"])),
        ("push", (0, 0, [0] * 254)),
        ("join", (0, 0, 0, 0, 0, 0, 7)),
        ("join", (0, 0, 0, 0, 0, 0, bytes(200))),
        ("find", (0, 1)),
        ("take", ("x", 0)),
    ):
        with pytest.raises(TypeError):
            getattr(_endcalls, function)(*args)
