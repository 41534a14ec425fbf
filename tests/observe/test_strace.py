"""`format_call` where strace can't be the judge: what it says more, what a program can't do to it, its writer."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi import structs
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import CMSGHDR, IOVEC, MMSGHDR_SIZE, MSGHDR, build_control
from afunix.observe.calls import CALLS
from afunix.observe.strace import TraceWriter, entry_values, format_call

MINUS_1 = (1 << 64) - 1
INT = struct.Struct("<i").pack


class FakeMemory:
    """Memory made of pieces at chosen addresses."""

    def __init__(self, **pieces: bytes) -> None:
        self.pieces = {int(address[1:], 16): data for address, data in pieces.items()}

    def read(self, address: int, size: int) -> bytes:
        for start, data in self.pieces.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise SyscallError(Errno.EFAULT)


def show(name: str, *args: int, result: int | None = 0, memory: FakeMemory | None = None, **options: object) -> str:
    """A call's line with the blanks before the result squeezed."""
    line = format_call(name, args, result, memory or FakeMemory(), lambda fd: None, **options)  # type: ignore[arg-type]
    call, _, rest = line.partition(" = ")
    return f"{call.rstrip()} = {rest}"


def test_a_passed_descriptor_is_described_and_a_note_follows_the_result() -> None:
    memory = FakeMemory(
        x1000=MSGHDR.pack(0, 0, 0x2000, 1, 0x3000, 24, 0),
        x2000=IOVEC.pack(0x4000, 96),
        x3000=build_control([(1, 1, INT(9))]),
        x4000=b"l\2\1\1" + bytes(92),
    )
    line = format_call(
        "sendmsg",
        [7, 0x1000, 0x4000, 0, 0, 0],
        96,
        memory,
        {9: "/memfd:shm"}.get,
        note="→ 5 dbus-send[415]",
        limit=4,
    )
    assert line == (
        'sendmsg(7, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="l\\2\\1\\1"..., iov_len=96}], msg_iovlen=1, '
        "msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[9 → /memfd:shm]}], "
        "msg_controllen=24, msg_flags=0}, MSG_NOSIGNAL) = 96 → 5 dbus-send[415]"
    )


def test_only_known_descriptors_are_described() -> None:
    memory = FakeMemory(
        x1000=MSGHDR.pack(0, 0, 0, 0, 0x3000, 32, 0), x3000=build_control([(1, 1, INT(3) + INT(4) + INT(-1))])
    )

    def describe(fd: int) -> str | None:
        if fd < 0:
            raise OSError(Errno.EBADF, "closed")
        return "socket" if fd == 4 else None

    line = format_call("sendmsg", [7, 0x1000, 0], 0, memory, describe)
    assert "cmsg_data=[3, 4 → socket, -1]" in line


def test_control_messages_that_strace_6_1_does_not_know() -> None:
    control = build_control([(1, 4, INT(11)), (1, 84, INT(70000))])
    memory = FakeMemory(x1000=MSGHDR.pack(0, 0, 0, 0, 0x3000, len(control), 0), x3000=control)
    line = format_call("recvmsg", [3, 0x1000, 0], 0, memory, {11: "pidfd of 77"}.get)
    assert "cmsg_type=SCM_PIDFD, cmsg_data=[11 → pidfd of 77]}" in line
    assert "cmsg_type=SCM_INQ, cmsg_data=[70000]}" in line


@pytest.mark.parametrize(
    ("option", "name"),
    [(20, "SO_RCVTIMEO_OLD"), (21, "SO_SNDTIMEO_OLD"), (66, "SO_RCVTIMEO_NEW"), (67, "SO_SNDTIMEO_NEW")],
)
def test_timeouts_are_structures(option: int, name: str) -> None:
    memory = FakeMemory(x1000=struct.pack("<qq", 2, 500000), x2000=INT(16))
    shown = "{tv_sec=2, tv_usec=500000}"
    assert show("setsockopt", 3, 1, option, 0x1000, 16, memory=memory) == (
        f"setsockopt(3, SOL_SOCKET, {name}, {shown}, 16) = 0"
    )
    assert show("getsockopt", 3, 1, option, 0x1000, 0x2000, memory=memory) == (
        f"getsockopt(3, SOL_SOCKET, {name}, {shown}, [16]) = 0"
    )
    assert show("setsockopt", 3, 1, option, 0x1000, 4, memory=memory, result=-Errno.EINVAL) == (
        f"setsockopt(3, SOL_SOCKET, {name}, [2], 4) = -1 EINVAL (Invalid argument)"
    )


@pytest.mark.parametrize(("option", "name"), [(76, "SO_PASSPIDFD"), (83, "SO_PASSRIGHTS"), (84, "SO_INQ")])
def test_later_options_by_name(option: int, name: str) -> None:
    memory = FakeMemory(x1000=INT(1))
    assert (
        show("setsockopt", 3, 1, option, 0x1000, 4, memory=memory) == f"setsockopt(3, SOL_SOCKET, {name}, [1], 4) = 0"
    )


def test_peer_credentials() -> None:
    memory = FakeMemory(x1000=structs.pack_ucred(7, 0xFFFFFFFE, -1), x2000=INT(12))
    line = "getsockopt(3, SOL_SOCKET, SO_PEERCRED, {pid=7, uid=4294967294, gid=-1}, [12]) = 0"
    assert show("getsockopt", 3, 1, 17, 0x1000, 0x2000, memory=memory) == line
    assert show("getsockopt", 3, 1, 17, 0x1000, 0x2000, memory=memory, entry=(40,)) == line.replace(
        "[12]", "[40 => 12]"
    )


def test_an_overwritten_length_needs_the_entry_value() -> None:
    before = FakeMemory(x1000=bytes(110), x2000=INT(110))
    args = [4, 0x1000, 0x2000, 0, 0, 0]
    entry = entry_values("accept", args, before)
    assert entry == (110,)
    after = FakeMemory(x1000=b"\1\0\0name" + bytes(103), x2000=INT(7))
    address = '{sa_family=AF_UNIX, sun_path=@"name"}'
    assert show("accept", *args, memory=after, result=5, entry=entry) == f"accept(4, {address}, [110 => 7]) = 5"
    assert show("accept", *args, memory=after, result=5) == f"accept(4, {address}, [7]) = 5"


def test_a_short_buffer_ends_the_address() -> None:
    """What lies behind the program's buffer is not part of the address, though the length says so."""
    memory = FakeMemory(x1000=b"\1\0/tm" + b"private", x2000=INT(20))
    line = show("getsockname", 4, 0x1000, 0x2000, memory=memory, entry=(5,))
    assert line == 'getsockname(4, {sa_family=AF_UNIX, sun_path="/tm"}, [5 => 20]) = 0'


def test_entry_values_are_empty_where_there_are_none() -> None:
    memory = FakeMemory()
    assert all(entry_values(name, [3, 0, 0, 0, 0, 0], memory) in ((), (0, 0, 0), (0, 0, 0, 0)) for name in CALLS)
    assert entry_values("accept", [3, 0x10, 0x10, 0, 0, 0], memory) == ()
    assert entry_values("no_such_call", [], memory) == ()


def test_batches_show_what_entry_kept() -> None:
    """recvmmsg overwrites its time-out and each msg_namelen."""

    def batch(namelen: int, length: int) -> bytes:
        header = MSGHDR.pack(0x5000, namelen, 0x6000, 1, 0, 0, 0) + struct.pack("<I", length)
        return header.ljust(MMSGHDR_SIZE, b"\0")

    pieces = {"x5000": b"\1\0/s\0", "x6000": IOVEC.pack(0x7000, 9), "x7000": b"hello...."}
    args = [3, 0x1000, 2, 0, 0x2000, 0]
    before = FakeMemory(x1000=batch(110, 0) + batch(110, 0), x2000=struct.pack("<qq", 5, 0), **pieces)
    after = FakeMemory(x1000=batch(5, 5) + batch(110, 0), x2000=struct.pack("<qq", 4, 999), **pieces)
    line = show("recvmmsg", *args, memory=after, result=1, entry=entry_values("recvmmsg", args, before))
    assert line == (
        'recvmmsg(3, [{msg_hdr={msg_name={sa_family=AF_UNIX, sun_path="/s"}, msg_namelen=110 => 5, '
        'msg_iov=[{iov_base="hello", iov_len=9}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, msg_len=5}], 2, 0, '
        "{tv_sec=5, tv_nsec=0}) = 1 (left {tv_sec=4, tv_nsec=999})"
    )


def test_results() -> None:
    assert show("listen", 3, 5) == "listen(3, 5) = 0"
    assert show("listen", 3, 5, result=-Errno.EAGAIN).endswith("= -1 EAGAIN (Resource temporarily unavailable)")
    restart = "= ? ERESTARTSYS (To be restarted if SA_RESTART is set)"
    assert show("listen", 3, 5, result=None).endswith(restart)
    assert show("listen", 3, 5, result=-512).endswith(restart)
    assert show("listen", 3, 5, result=-4000).endswith("= -1 (errno 4000)")
    assert format_call("listen", [3, 5], 0, FakeMemory(), lambda fd: None).index("=") == 40


def test_input_is_shown_and_output_is_not_when_a_call_is_interrupted() -> None:
    memory = FakeMemory(x1000=b"secret")
    assert show("write", 3, 0x1000, 6, memory=memory, result=None).startswith('write(3, "secret", 6) = ?')
    assert show("read", 3, 0x1000, 6, memory=memory, result=None).startswith("read(3, 0x1000, 6) = ?")


def test_an_unknown_call_shows_its_registers() -> None:
    assert show("futex", 0x7000, 0x81, 3, result=1) == "futex(0x7000, 0x81, 0x3) = 1"


def test_a_corrupt_chain_of_control_messages_ends() -> None:
    """A length that wraps to nothing when it is rounded up; strace 6.1 itself never returns from this one."""
    control = CMSGHDR.pack(MINUS_1, 1, 1) + INT(5)
    memory = FakeMemory(x1000=MSGHDR.pack(0, 0, 0, 0, 0x3000, len(control), 0), x3000=control)
    line = show("sendmsg", 3, 0x1000, 0, memory=memory, result=-Errno.EINVAL)
    assert f"msg_control=[{{cmsg_len={MINUS_1}, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[5]}}]" in line


class RandomMemory:
    """Every address reads as something, or as nothing, or ends the program in mid-read."""

    def __init__(self, words: list[int], broken: type[Exception]) -> None:
        self.words, self.broken = words, broken
        self.reads = 0

    def read(self, address: int, size: int) -> bytes:
        self.reads += size
        assert self.reads < 64 << 20, "reads without bound"
        word = self.words[(address // 8) % len(self.words)]
        if word % 7 == 3:
            raise self.broken(Errno.EFAULT)
        return (
            struct.pack("<Q", word) * (size // 8 + 1) if word % 5 == 3 else (word.to_bytes(8, "little") * size)[:size]
        )


REGISTERS = st.one_of(
    st.integers(0, 40),
    st.integers(0, MINUS_1),
    st.sampled_from([0, 1, 8, 0x1000, 0x7FFFFFFFFFFF, 1 << 63, MINUS_1, MINUS_1 - 7, 0xFFFFFFFF, 1 << 31]),
)


@settings(max_examples=600, deadline=None)
@given(
    name=st.sampled_from(sorted(CALLS)),
    args=st.lists(REGISTERS, max_size=6),
    result=st.one_of(st.none(), st.integers(-600, 300), st.sampled_from([MINUS_1 >> 1, 1 << 31])),
    words=st.lists(REGISTERS, min_size=1, max_size=8),
    broken=st.sampled_from([SyscallError, OSError, OverflowError, RuntimeError]),
    limit=st.integers(-1, 40),
    with_entry=st.booleans(),
)
def test_nothing_that_a_program_does_raises(
    *,
    name: str,
    args: list[int],
    result: int | None,
    words: list[int],
    broken: type[Exception],
    limit: int,
    with_entry: bool,
) -> None:
    memory = RandomMemory(words, broken)
    entry = entry_values(name, args, memory) if with_entry else None
    line = format_call(name, args, result, memory, lambda fd: None, limit=limit, entry=entry)
    assert line.startswith(f"{name}(")
    assert line.isprintable()
    assert ") " in line
    assert " = " in line or "= " in line


def test_the_writer_writes_whole_flushed_lines() -> None:
    class Stream(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.said: list[str] = []

        def write(self, text: str) -> int:
            self.said.append(text)
            return len(text)

        def flush(self) -> None:
            self.said.append("flush")

    stream = Stream()
    writer = TraceWriter(stream, 100)
    writer.call("dbus-daemon", 412, "listen(3, 5) = 0")
    writer.call("two\nlines\x1b", 413, "close → 4")
    assert writer.limit == 100
    assert stream.said == [
        "dbus-daemon[412] listen(3, 5) = 0\n",
        "flush",
        "two\\12lines\\33[413] close → 4\n",
        "flush",
    ]


def test_the_writer_survives_a_stream_that_cannot_say_everything() -> None:
    raw = io.BytesIO()
    writer = TraceWriter(io.TextIOWrapper(raw, encoding="ascii"))
    writer.call("program", 1, "write(3, …) = 5 → 6")
    assert raw.getvalue() == b"program[1] write(3, \\u2026) = 5 \\u2192 6\n"
