"""Pipes: random scripts on a pipe of the host and on ours, and the rules by name."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import select
import signal
import termios
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi.constants import F_GETPIPE_SZ, F_SETPIPE_SZ, POLLERR, POLLHUP, POLLIN, POLLOUT
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import CAP_SYS_RESOURCE, Credentials
from afunix.core.errors import Unmodelled
from afunix.core.pipe import PIPE_BUF, Pipe, PipeReader, PipeWriter, make_pipe, reader_mask, writer_mask
from afunix.core.wait import Wakeups, WouldBlock

CREDENTIALS = Credentials(1)
Outcome = Any


@contextlib.contextmanager
def ignored(number: int) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


def pattern(size: int, seed: int) -> bytes:
    """Bytes in which a shift or a mix-up shows."""
    return bytes((seed * 7 + index * 31 + (index >> 8)) & 0xFF for index in range(size))


class HostPipe:
    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK)
        self.open = {self.reader, self.writer}

    def write(self, data: bytes) -> int:
        return os.write(self.writer, data)

    def read(self, size: int) -> bytes:
        return os.read(self.reader, size)

    def queued(self) -> int:
        answer = array.array("i", [0])
        fcntl.ioctl(self.reader, termios.FIONREAD, answer)
        return answer[0]

    def size(self) -> int:
        return fcntl.fcntl(self.reader, F_GETPIPE_SZ)

    def resize(self, size: int) -> int:
        return fcntl.fcntl(self.reader, F_SETPIPE_SZ, size)

    def masks(self) -> list[int]:
        poll = select.poll()
        for fd in self.open:
            poll.register(fd, POLLIN | POLLOUT)
        events = dict(poll.poll(0))
        return [events.get(fd, 0) if fd in self.open else -1 for fd in (self.reader, self.writer)]

    def close(self, end: int) -> None:
        fd = (self.reader, self.writer)[end]
        os.close(fd)
        self.open.remove(fd)


class OurPipe:
    def __init__(self) -> None:
        self.ends = make_pipe(Wakeups())
        self.reader, self.writer = self.ends
        self.pipe = self.reader.pipe
        for end in self.ends:
            end.acquire()
        self.open = set(self.ends)

    def write(self, data: bytes) -> int | WouldBlock:
        return self.writer.write_nowait(data)

    def read(self, size: int) -> bytes | WouldBlock:
        return self.reader.read_nowait(size)

    def queued(self) -> int:
        return self.pipe.queued

    def size(self) -> int:
        return self.pipe.size

    def resize(self, size: int) -> int:
        return self.pipe.resize(CREDENTIALS, size)

    def masks(self) -> list[int]:
        wanted = POLLIN | POLLOUT | POLLERR | POLLHUP
        return [end.poll() & wanted if end in self.open else -1 for end in self.ends]

    def close(self, end: int) -> None:
        self.ends[end].release()
        self.open.remove(self.ends[end])


def outcome(call: Callable[..., Any], *arguments: Any) -> Outcome:
    """A result, or the errno by name; EAGAIN and would-block are the same."""
    try:
        result = call(*arguments)
    except SyscallError as error:
        return error.errno.name
    except OSError as error:
        return Errno(error.errno or 0).name
    return "EAGAIN" if isinstance(result, WouldBlock) else result


sizes = st.one_of(
    st.sampled_from([0, 1, 100, 4095, 4096, 4097, 5000, 8192, 60000, 65535, 65536, 70000]), st.integers(0, 9000)
)
script_of_steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), sizes),
        st.tuples(st.just("write"), sizes),
        st.tuples(st.just("write"), sizes),
        st.tuples(st.just("read"), sizes),
        st.tuples(st.just("read"), sizes),
        st.tuples(
            st.just("resize"),
            st.sampled_from([0, 1, 4096, 4097, 8192, 16384, 30000, 65536, 1 << 17, (1 << 31) - 1, -1]),
        ),
        st.tuples(st.just("close"), st.integers(0, 1)),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(script=script_of_steps)
def test_random_scripts_agree_with_the_host(script: list[tuple[str, int]]) -> None:
    """Bytes, partial writes, errors, poll masks, FIONREAD and capacity are the host's after every step."""
    host, ours = HostPipe(), OurPipe()
    try:
        with ignored(signal.SIGPIPE):
            for number, (name, argument) in enumerate(script):
                if name == "close" and len(host.open) < 2:
                    continue
                if name == "read" and host.reader not in host.open:
                    continue
                if name == "write" and host.writer not in host.open:
                    continue
                value = pattern(argument, number) if name == "write" else argument
                if name == "resize" and host.reader not in host.open:
                    continue
                if name == "resize" and argument > 1 << 20 and os.geteuid() == 0:
                    continue  # what CAP_SYS_RESOURCE allows costs real memory
                expected = outcome(getattr(host, name), value)
                assert outcome(getattr(ours, name), value) == expected, (number, name, argument)
                assert ours.masks() == host.masks()
                if host.reader in host.open:
                    assert ours.queued() == host.queued()
                    assert ours.size() == host.size()
    finally:
        for fd in host.open:
            os.close(fd)


def new_pipe() -> tuple[PipeReader, PipeWriter, Wakeups]:
    wakeups = Wakeups()
    reader, writer = make_pipe(wakeups)
    reader.acquire()
    writer.acquire()
    return reader, writer, wakeups


def test_default_capacity_is_sixteen_pages() -> None:
    """64 KiB fit, not a byte more, and a partial read of a page frees nothing."""
    reader, writer, _ = new_pipe()
    assert writer.write_nowait(bytes(70000)) == 65536
    assert writer.write_nowait(b"x") is reader.pipe.wait_writable
    assert len(reader.read_nowait(4095)) == 4095  # type: ignore[arg-type]
    assert isinstance(writer.write_nowait(b"x"), WouldBlock)
    assert reader.read_nowait(1) == b"\0"
    assert writer.write_nowait(b"x") == 1


@pytest.mark.parametrize("size", [1, 4095, PIPE_BUF])
def test_up_to_pipe_buf_is_all_or_nothing(size: int) -> None:
    """A write of PIPE_BUF bytes or less never succeeds in part."""
    for queued in (65536, 65535, 61441, 61440):
        _, writer, _ = new_pipe()
        assert writer.write_nowait(bytes(queued)) == queued
        before = writer.pipe.queued
        result = writer.write_nowait(bytes(size))
        assert result == size or (isinstance(result, WouldBlock) and writer.pipe.queued == before)


def test_end_of_file_comes_after_what_is_queued() -> None:
    """Closing the writer leaves the bytes readable; poll says HUP at once, IN while there are any."""
    reader, writer, _ = new_pipe()
    writer.write_nowait(b"last")
    writer.release()
    assert reader_mask(reader.pipe) & (POLLIN | POLLHUP) == POLLIN | POLLHUP
    assert reader.read_nowait(10) == b"last"
    assert reader.read_nowait(10) == b""
    assert reader_mask(reader.pipe) == POLLHUP


def test_would_block_names_the_queue_that_is_woken() -> None:
    """Whoever waits as the answer says is told of data, of room, of the end of file, and of EPIPE."""
    reader, writer, wakeups = new_pipe()
    told: list[str] = []

    def wait(result: object, name: str) -> None:
        assert isinstance(result, WouldBlock)
        for queue in result.queues:
            queue.add(lambda: told.append(name))

    wait(reader.read_nowait(1), "readable")
    writer.write_nowait(bytes(65536))
    wakeups.apply()
    assert told == ["readable"]
    wait(writer.write_nowait(b"x"), "writable")
    reader.read_nowait(100)
    wakeups.apply()
    assert told == ["readable"], "no page is free yet"
    reader.read_nowait(4096)
    wakeups.apply()
    assert told == ["readable", "writable"]
    writer.release()
    wakeups.apply()
    assert told[2:] == ["readable"]
    reader.release()
    wakeups.apply()
    assert told[3:] == ["writable"]


def test_growing_wakes_writers() -> None:
    """F_SETPIPE_SZ makes room."""
    reader, writer, wakeups = new_pipe()
    writer.write_nowait(bytes(65536))
    told: list[int] = []
    reader.pipe.writable.add(lambda: told.append(1))
    assert reader.pipe.resize(CREDENTIALS, 65537) == 131072
    wakeups.apply()
    assert told == [1]


def test_each_end_does_one_thing() -> None:
    """Reading the writing end and writing the reading end are EBADF."""
    reader, writer, _ = new_pipe()
    with pytest.raises(SyscallError, match="EBADF"):
        reader.write_nowait(b"x")
    with pytest.raises(SyscallError, match="EBADF"):
        writer.read_nowait(1)


def test_epipe_changes_nothing() -> None:
    """Without a reader a write is refused, but one of 0 bytes is not; poll says ERR."""
    reader, writer, _ = new_pipe()
    reader.release()
    assert writer.write_nowait(b"") == 0
    with pytest.raises(SyscallError, match="EPIPE"):
        writer.write_nowait(b"x")
    assert not writer.pipe.pages
    assert writer_mask(writer.pipe) & (POLLOUT | POLLERR) == POLLOUT | POLLERR


def test_more_than_a_mebibyte_needs_a_capability() -> None:
    """EPERM without CAP_SYS_RESOURCE."""
    pipe = Pipe(Wakeups())
    with pytest.raises(SyscallError, match="EPERM"):
        pipe.resize(CREDENTIALS, (1 << 20) + 1)
    assert pipe.size == 65536
    assert pipe.resize(CREDENTIALS, 1 << 20) == 1 << 20
    assert pipe.resize(Credentials(1, capabilities=1 << CAP_SYS_RESOURCE), (1 << 20) + 1) == 1 << 21


def test_packet_mode_is_unmodelled() -> None:
    """O_DIRECT is refused aloud."""
    with pytest.raises(Unmodelled):
        make_pipe(Wakeups(), packets=True)


def test_buffers_of_any_kind() -> None:
    """bytes, bytearray and memoryview are written alike, and later changes of them are not seen."""
    reader, writer, _ = new_pipe()
    buffer = bytearray(b"ab")
    writer.write_nowait(buffer)
    writer.write_nowait(memoryview(buffer)[1:])
    buffer[:] = b"xx"
    assert reader.read_nowait(10) == b"abb"
