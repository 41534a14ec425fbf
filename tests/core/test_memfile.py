"""Files in memory: random scripts on a memfd of the host and on ours, and the rules by name."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi.constants import O_APPEND, O_RDONLY, O_RDWR, O_WRONLY, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.errors import Unmodelled
from afunix.core.inode import RegularFile
from afunix.core.memfile import MAX_SIZE, MemoryFile

LARGEST = (1 << 63) - 1
MODES = [O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_APPEND]


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except SyscallError as error:
        return error.errno.name
    except OSError as error:
        return Errno(error.errno or 0).name


class Side(Protocol):
    def call(self, file: int, name: str, arguments: tuple[Any, ...]) -> Any: ...


class Host:
    """Four open file descriptions of one memfd, one for each mode."""

    def __init__(self) -> None:
        anonymous = os.memfd_create("test")
        self.files = [os.open(f"/proc/self/fd/{anonymous}", mode) for mode in MODES]
        os.close(anonymous)

    def call(self, file: int, name: str, arguments: tuple[Any, ...]) -> Any:
        fd = self.files[file]
        calls: dict[str, Callable[..., Any]] = {
            "read_nowait": os.read,
            "write_nowait": os.write,
            "pread": os.pread,
            "pwrite": os.pwrite,
            "lseek": os.lseek,
            "truncate": os.ftruncate,
        }
        return outcome(calls[name], fd, *arguments)

    def state(self) -> tuple[bytes, list[int]]:
        return os.pread(self.files[0], 1 << 20, 0), [os.lseek(fd, 0, os.SEEK_CUR) for fd in self.files]

    def close(self) -> None:
        for fd in self.files:
            os.close(fd)


class Ours:
    def __init__(self) -> None:
        inode = RegularFile(1, 0o777, 0, 0)
        self.files = [MemoryFile(inode, mode) for mode in MODES]

    def call(self, file: int, name: str, arguments: tuple[Any, ...]) -> Any:
        return outcome(getattr(self.files[file], name), *arguments)

    def state(self) -> tuple[bytes, list[int]]:
        return bytes(self.files[0].inode.data), [file.offset for file in self.files]


data = st.binary(max_size=20)
offset = st.one_of(st.integers(-3, 60), st.sampled_from([5000, -LARGEST - 1]))
far = st.one_of(offset, offset, st.sampled_from([LARGEST, LARGEST - 1, LARGEST - 20]))
script_of_steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(
            st.tuples(st.just("read_nowait"), st.tuples(st.integers(0, 40))),
            st.tuples(st.just("write_nowait"), st.tuples(data)),
            st.tuples(st.just("write_nowait"), st.tuples(data)),
            st.tuples(st.just("pread"), st.tuples(st.integers(0, 40), far)),
            st.tuples(st.just("pwrite"), st.tuples(data, offset)),
            st.tuples(st.just("lseek"), st.tuples(offset, st.integers(0, 2))),
            st.tuples(st.just("truncate"), st.tuples(st.integers(-1, 60))),
        ),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(script=script_of_steps)
def test_random_scripts_agree_with_the_host(script: list[tuple[int, tuple[str, tuple[Any, ...]]]]) -> None:
    """Results, errors, contents and all four offsets are the host's after every step."""
    host, ours = Host(), Ours()
    try:
        for file, (name, arguments) in script:
            assert ours.call(file, name, arguments) == host.call(file, name, arguments)
            assert ours.state() == host.state()
    finally:
        host.close()


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("start", [LARGEST, LARGEST - 1, LARGEST - 4])
@pytest.mark.parametrize("size", [0, 1, 5])
def test_the_largest_offset(mode: int, start: int, size: int) -> None:
    """Next to 2**63 - 1 reads and writes that end behind it are EINVAL, as on the host."""
    host, ours = Host(), Ours()
    try:
        for call in (("lseek", (start, 0)), ("read_nowait", (size,)), ("pread", (size, start)), ("lseek", (1, 1))):
            assert ours.call(mode, *call) == host.call(mode, *call)
        if start + size > LARGEST or mode == 3 or not size:
            assert ours.call(mode, "write_nowait", (bytes(size),)) == host.call(mode, "write_nowait", (bytes(size),))
            arguments = (bytes(size), start)
            assert ours.call(mode, "pwrite", arguments) == host.call(mode, "pwrite", arguments)
    finally:
        host.close()


@pytest.mark.parametrize("whence", [3, 4, 5, -1])
@pytest.mark.parametrize("start", [-1, 0, 1, 4999, 5000, 5001])
def test_seek_data_and_hole(whence: int, start: int) -> None:
    """In a file without gaps the only hole is its end."""
    host, ours = Host(), Ours()
    try:
        sides: list[Side] = [host, ours]
        for side in sides:
            assert side.call(0, "write_nowait", (b"x" * 5000,)) == 5000
        assert ours.call(0, "lseek", (start, whence)) == host.call(0, "lseek", (start, whence))
    finally:
        host.close()


def test_append_can_be_switched_on() -> None:
    """F_SETFL adds O_APPEND to an open file, as on the host."""
    host, ours = Host(), Ours()
    try:
        host.call(0, "write_nowait", (b"abc",))
        ours.call(0, "write_nowait", (b"abc",))
        fcntl.fcntl(host.files[0], fcntl.F_SETFL, os.O_APPEND)
        ours.files[0].flags |= O_APPEND
        for call in (("lseek", (0, 0)), ("write_nowait", (b"d",)), ("pwrite", (b"e", 0))):
            assert ours.call(0, *call) == host.call(0, *call)
            assert ours.state() == host.state()
    finally:
        host.close()


def test_what_is_too_large_is_loud() -> None:
    """A sparse file that would cost a gigabyte raises Unmodelled and is left as it was."""
    file = MemoryFile.anonymous()
    with pytest.raises(Unmodelled):
        file.truncate(MAX_SIZE + 1)
    with pytest.raises(Unmodelled):
        file.pwrite(b"x", MAX_SIZE)
    assert not file.inode.data


def test_anonymous_file() -> None:
    """A memfd has no name, can be read and written, and is always ready."""
    file = MemoryFile.anonymous(7)
    assert (file.inode.number, file.inode.nlink, file.inode.mode) == (7, 0, 0o100777)
    assert file.write_nowait(memoryview(b"hello")) == 5
    assert file.pread(10, 1) == b"ello"
    assert file.poll() == POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
    file.acquire()
    file.release()
    assert file.references == 0
