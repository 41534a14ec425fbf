"""Control messages: what the host's sendmsg accepts and its recvmsg hands out, byte for byte, and who owns what."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import pickle
import random
import resource
import socket
import struct
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi import constants as c
from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    MSG_OOB,
    MSG_PEEK,
    SCM_CREDENTIALS,
    SCM_PIDFD,
    SCM_RIGHTS,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import CMSGHDR, MSGHDR, ControlMessage, build_control, walk_control
from afunix.core import connection, options
from afunix.core.ancillary import BadControl, Control, deliver, parse
from afunix.core.caller import BoundInode
from afunix.core.credentials import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, Credentials, Ucred
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.kernel import Kernel
from afunix.core.message import Message, Received
from afunix.core.operations import OPERATIONS
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock

LIBC = ctypes.CDLL(None, use_errno=True)
TYPES = (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET)
TIMESTAMPS = (29, 35, 37, 63, 64, 65)


# The host's side.


def message_header(
    data: ctypes.Array[ctypes.c_char], control: int, size: int
) -> tuple[ctypes.Array[ctypes.c_char], ctypes.Array[ctypes.c_char]]:
    """A msghdr and the iovec that it points to."""
    iovec = ctypes.create_string_buffer(struct.pack("<QQ", ctypes.addressof(data), len(data)), 16)
    return ctypes.create_string_buffer(MSGHDR.pack(0, 0, ctypes.addressof(iovec), 1, control, size, 0), 56), iovec


def host_receive(sock: socket.socket, size: int, room: int | None, flags: int = 0) -> tuple[bytes, bytes, int]:
    """recvmsg(2): data, the control bytes, msg_flags. room None: no msg_control."""
    data = ctypes.create_string_buffer(size)
    control = ctypes.create_string_buffer(room or 1)
    header, iovec = message_header(data, 0 if room is None else ctypes.addressof(control), room or 0)
    length = LIBC.recvmsg(sock.fileno(), header, flags)
    if length < 0:
        raise OSError(ctypes.get_errno(), "recvmsg")
    del iovec
    *_, used, msg_flags = MSGHDR.unpack(header.raw)
    return data.raw[:length], control.raw[:used], msg_flags


def host_send(sock: socket.socket, raw: bytes) -> int:
    """0, or the errno of sendmsg(2) with this msg_control."""
    data = ctypes.create_string_buffer(b"x", 1)
    control = ctypes.create_string_buffer(raw, len(raw) or 1)
    header, iovec = message_header(data, ctypes.addressof(control), len(raw))
    failed = LIBC.sendmsg(sock.fileno(), header, 0) < 0
    del iovec
    return ctypes.get_errno() if failed else 0


def numbers(control: Iterable[ControlMessage], kind: int) -> list[int]:
    """The ints in the control messages of a type."""
    return [
        number
        for _, cmsg_type, data in control
        if cmsg_type == kind
        for (number,) in struct.iter_unpack("<i", data[: len(data) & ~3])
    ]


def host_control(raw: bytes) -> list[ControlMessage]:
    """What is in a control buffer; the padding that is missing after the last message is no fault."""
    return walk_control(raw)


def close_all(raw: bytes) -> tuple[list[int], list[int]]:
    """The descriptors and pidfds in a control buffer, which are closed."""
    control = host_control(raw)
    fds, pidfds = numbers(control, SCM_RIGHTS), numbers(control, SCM_PIDFD)
    for fd in fds + [pidfd for pidfd in pidfds if pidfd >= 0]:
        os.close(fd)
    return fds, pidfds


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# Ours.


class Thing(File):
    """A passed file that counts how often it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0
        self.acquire()

    def close(self) -> None:
        self.closed += 1


class Table:
    """A program's descriptors: installs under given numbers until they run out."""

    def __init__(self, free: Iterable[int]) -> None:
        self.free = list(free)
        self.files: dict[int, File] = {}
        self.cloexec: set[bool] = set()

    def install(self, file: File, cloexec: bool) -> int:
        if not self.free:
            raise SyscallError(Errno.EMFILE)
        fd = self.free.pop(0)
        file.acquire()
        self.files[fd] = file
        self.cloexec.add(cloexec)
        return fd

    def pidfd(self, pid: int) -> int:
        assert pid == os.getpid()
        if not self.free:
            raise SyscallError(Errno.EMFILE)
        return self.free.pop(0)


def own_credentials() -> Credentials:
    uid, euid, suid = os.getresuid()
    gid, egid, sgid = os.getresgid()
    status = Path("/proc/self/status").read_text()
    (capabilities,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")]
    return Credentials(os.getpid(), uid, gid, euid, egid, tuple(os.getgroups()), capabilities, suid, sgid)


class Program:
    """This process as a caller."""

    net: Hashable = None
    nofile = 1024

    def __init__(self) -> None:
        self.credentials = own_credentials()

    def realtime(self) -> float:
        return time.time()

    numbers = None

    def find_pid(self, number: int) -> int:
        try:
            os.kill(number, 0)
        except PermissionError:
            return number
        except ProcessLookupError:
            return 0
        return number

    def lookup(self, path: bytes) -> NoReturn:
        raise SyscallError(Errno.ENOENT)

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        raise SyscallError(Errno.EROFS)


def our_pair(kind: int) -> tuple[Socket, Socket, Program]:
    program = Program()
    kernel = Kernel(random.Random(1))
    return (*connection.pair(kernel, program, kind), program)


def set_option(host: socket.socket, ours: Socket, name: int, number: int) -> None:
    value = struct.pack("<i", number)
    host.setsockopt(SOL_SOCKET, name, value)
    options.set(ours, Program(), SOL_SOCKET, name, value)


def without_times(raw: bytes) -> bytes:
    """A control buffer with the data of timestamps blanked: two clocks are read."""
    blank = bytearray(raw)
    position = 0
    while position + CMSGHDR.size <= len(raw):
        length, _, kind = CMSGHDR.unpack_from(raw, position)
        if kind in TIMESTAMPS:
            blank[position + CMSGHDR.size : position + length] = b"t" * (length - CMSGHDR.size)
        position += length + 7 & ~7
    return bytes(blank)


# recvmsg.

ROOMS = (None, *range(201))
FLAGS = (c.SO_PASSCRED, c.SO_PASSPIDFD, c.SO_PASSSEC)
STREAM_FLAGS = (*FLAGS, c.SO_INQ)
RECORD_FLAGS = (*FLAGS, c.SO_TIMESTAMP_OLD, c.SO_TIMESTAMPNS_NEW)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("count", range(6))
def test_layout_and_truncation(kind: int, count: int) -> None:
    """Every room from none to more than enough, for every set of options: the same bytes, flags and descriptors."""
    before = open_descriptors()
    names = STREAM_FLAGS if kind == SOCK_STREAM else RECORD_FLAGS
    for chosen in itertools.product((0, 1), repeat=len(names)):
        one, two = socket.socketpair(socket.AF_UNIX, kind)
        with one, two:
            ours, _, program = our_pair(kind)
            for name, number in zip(names, chosen, strict=True):
                if number:
                    set_option(two, ours, name, number)
            if ours.timestamp and count % 2:
                set_option(two, ours, c.SO_TIMESTAMPING_OLD, 1 << 3 | 1 << 4)
            if kind == SOCK_STREAM:
                ours.queue.append(Message(b"left", 768, ours))
            for room in ROOMS:
                compare((one, two), ours, program, count, room)
    assert open_descriptors() == before


def compare(
    host: tuple[socket.socket, socket.socket], ours: Socket, program: Program, count: int, room: int | None
) -> None:
    """Pass `count` descriptors through the host and what it made of them through `deliver`."""
    one, two = host
    flags = MSG_CMSG_CLOEXEC if (room or 0) % 3 == 1 else 0
    socket.send_fds(one, [b"xleft"], [0] * count)
    _, expected, expected_flags = host_receive(two, 1, room, flags | c.MSG_DONTWAIT)
    if two.type == SOCK_STREAM:
        assert two.recv(10) == b"left"
    fds, pidfds = close_all(expected)
    files = [Thing() for _ in range(count)]
    received = Received(ours, b"x", 1)
    received.name = b""
    received.files = files
    received.timestamp = 1_000_000_000.5
    if ours.passcred or ours.passpidfd:
        received.creds = program.credentials.real
    # More numbers than the host used: ours would take too many if it were wrong about the room.
    table = Table([*fds, *pidfds, 901, 902, 903, 904, 905])
    control, our_flags = deliver(received, ours, room, flags, table.install, table.pidfd)
    context = (ours.type, count, room, ours.options)
    assert without_times(control) == without_times(expected), context
    assert our_flags == expected_flags & ~c.MSG_TRUNC, context
    assert list(table.files) == fds, context
    assert table.cloexec <= {bool(flags)}
    assert [file.references for file in files] == [2] * len(fds) + [1] * (count - len(fds))
    assert received.files is files


@contextlib.contextmanager
def free_descriptors(count: int) -> Iterator[None]:
    """RLIMIT_NOFILE such that just so many more descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    holes = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 10, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                holes.append(os.dup(0))
        for _ in range(count):
            os.close(holes.pop())
        yield
    finally:
        for hole in holes:
            os.close(hole)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("free", range(6))
def test_out_of_descriptors(kind: int, free: int) -> None:
    """As many as can be opened are kept, the rest is dropped with MSG_CTRUNC; SCM_PIDFD then holds the errno."""
    for wants_pidfd, room in itertools.product((0, 1), (16, 20, 24, 28, 32, 48, 100)):
        one, two = socket.socketpair(socket.AF_UNIX, kind)
        with one, two:
            ours, _, program = our_pair(kind)
            set_option(two, ours, c.SO_PASSPIDFD, wants_pidfd)
            socket.send_fds(one, [b"x"], [0] * 3)
            with free_descriptors(free):
                _, expected, expected_flags = host_receive(two, 1, room)
                fds, pidfds = close_all(expected)
            received = Received(ours, b"x", 1)
            received.name = b""
            received.files = [Thing() for _ in range(3)]
            received.creds = program.credentials.real
            # The numbers that the host had free, in its order, and none more.
            table = Table([*fds, *(number for number in pidfds if number >= 0)])
            assert deliver(received, ours, room, 0, table.install, table.pidfd) == (expected, expected_flags)
            assert len(fds) == min(free, 3, max(0, room - 16) // 4)
            assert pidfds in ([], [-errno.EMFILE]) or free > len(fds)


def test_close_on_exec_reaches_the_descriptors() -> None:
    one, two = socket.socketpair(socket.AF_UNIX)
    with one, two:
        for flags in (0, MSG_CMSG_CLOEXEC):
            socket.send_fds(one, [b"x"], [0])
            _, raw, msg_flags = host_receive(two, 1, 24, flags)
            (fd,) = numbers(host_control(raw), SCM_RIGHTS)
            assert bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC) == bool(flags)
            os.close(fd)
            ours, _, _ = our_pair(SOCK_STREAM)
            received = Received(ours, b"x", 1)
            received.name = b""
            received.files = [Thing()]
            table = Table([fd])
            assert deliver(received, ours, 24, flags, table.install) == (raw, msg_flags)
            assert table.cloexec == {bool(flags)}


def send_both(host: socket.socket, ours: Socket, data: bytes, flags: int = 0) -> None:
    host.send(data, flags)
    assert not isinstance(OPERATIONS[ours.type].send(ours, Program(), data, flags), WouldBlock)


def receive_both(host: socket.socket, ours: Socket, size: int, room: int | None, flags: int = 0) -> bytes:
    """Receive on both sides and compare; the control bytes."""
    data, expected, expected_flags = host_receive(host, size, room, flags)
    received = OPERATIONS[ours.type].receive(ours, size, flags)
    assert isinstance(received, Received)
    assert received.data == data
    control, our_flags = deliver(received, ours, room, flags, Table([]).install)
    assert (control, received.flags | our_flags) == (expected, expected_flags)
    received.done()
    return control


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("room", [None, 0, 15, 20, 32, 100])
def test_credentials_asked_for_too_late(kind: int, room: int | None) -> None:
    """A message sent before either side asked shows (0, 65534, 65534), and no pidfd (SCM-5)."""
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    with one, two:
        ours, other, _ = our_pair(kind)
        send_both(one, other, b"x")
        for name in (c.SO_PASSCRED, c.SO_PASSPIDFD):
            set_option(two, ours, name, 1)
        control = receive_both(two, ours, 1, room)
        if room == 100:
            assert walk_control(control) == [(SOL_SOCKET, SCM_CREDENTIALS, struct.pack("<3I", 0, 65534, 65534))]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("room", [None, 0, 20, 100])
def test_end_of_file(kind: int, room: int | None) -> None:
    """A stream tells of nobody as (0, 0, 0); records tell nothing."""
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    ours, other, _ = our_pair(kind)
    with one, two:
        for name in (c.SO_PASSCRED, c.SO_PASSPIDFD, *((c.SO_INQ,) if kind == SOCK_STREAM else ())):
            set_option(two, ours, name, 1)
        if kind == SOCK_DGRAM:
            # Only a call that would wait is told, which the blocking layer does.
            two.shutdown(socket.SHUT_RD)
            _, expected, expected_flags = host_receive(two, 1, room)
            assert deliver(Received(ours, b"", 0), ours, room, 0, Table([]).install) == (expected, expected_flags)
            return
        one.close()
        other.close()
        control = receive_both(two, ours, 1, room)
        if room == 100:
            ended = [(1, SCM_CREDENTIALS, bytes(12)), (1, c.SCM_INQ, bytes(4))]
            assert walk_control(control) == (ended if kind == SOCK_STREAM else [])


def test_urgent_byte_comes_without_control_messages() -> None:
    one, two = socket.socketpair()
    with one, two:
        ours, other, _ = our_pair(SOCK_STREAM)
        for name in (c.SO_PASSCRED, c.SO_PASSPIDFD, c.SO_INQ):
            set_option(two, ours, name, 1)
        for room in (None, 0, 100):
            send_both(one, other, b"ab", MSG_OOB)
            assert receive_both(two, ours, 1, room, MSG_OOB) == b""
            for flags in (MSG_PEEK, 0):
                data, expected, expected_flags = host_receive(two, 1, room, flags)
                close_all(expected)
                received = OPERATIONS[SOCK_STREAM].receive(ours, 1, flags)
                assert isinstance(received, Received)
                assert received.data == data
                table = Table(numbers(host_control(expected), SCM_PIDFD))
                assert deliver(received, ours, room, flags, table.install, table.pidfd) == (expected, expected_flags)


def test_bytes_left_to_read() -> None:
    """SCM_INQ counts what the read has left, also of the message that it read in part, and the urgent byte."""
    one, two = socket.socketpair()
    with one, two:
        ours, other, _ = our_pair(SOCK_STREAM)
        set_option(two, ours, c.SO_INQ, 1)
        send_both(one, other, b"x" * 10)
        send_both(one, other, b"y" * 5)
        send_both(one, other, b"za", MSG_OOB)
        left: list[int] = []
        for size, flags in ((4, MSG_PEEK), (4, 0), (1, 0), (5, 0), (3, 0), (100, 0)):
            (item,) = walk_control(receive_both(two, ours, size, 24, flags))
            left += struct.unpack("<i", item[2])
        assert left == [17, 13, 12, 7, 4, 1]


@pytest.mark.parametrize("kind", [SOCK_DGRAM, SOCK_SEQPACKET])
@pytest.mark.parametrize("name", [c.SO_TIMESTAMP_OLD, c.SO_TIMESTAMP_NEW, c.SO_TIMESTAMPNS_OLD, c.SO_TIMESTAMPNS_NEW])
@pytest.mark.parametrize("wanted", [None, 0, 1 << 4, 1 << 3, 3 << 3, 1 << 4 | 1 << 17, 3 << 3 | 1 << 17])
@pytest.mark.parametrize("late", [False, True])
def test_timestamps(kind: int, name: int, wanted: int | None, late: bool) -> None:
    """Which ones, in which form, and the right time in them, whether it was taken on sending or on receipt."""
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    with one, two:
        ours, other, _ = our_pair(kind)
        if late:
            send_both(one, other, b"x")
        set_option(two, ours, name, 1)
        if wanted is not None:
            both = (c.SO_TIMESTAMPING_NEW, c.SO_TIMESTAMPING_OLD)
            set_option(two, ours, both[name in (c.SO_TIMESTAMP_OLD, c.SO_TIMESTAMPNS_OLD)], wanted)
        if not late:
            send_both(one, other, b"x")
        _, expected, expected_flags = host_receive(two, 1, 200)
        received = OPERATIONS[kind].receive(ours, 1)
        assert isinstance(received, Received)
        assert bool(received.timestamp) != late
        control, flags = deliver(received, ours, 200, 0, Table([]).install, None, Program())
        assert without_times(control) == without_times(expected)
        assert flags == expected_flags
        now = time.time()
        for raw in (expected, control):
            for _, cmsg_type, data in walk_control(raw):
                seconds, fraction = struct.unpack_from("<qq", data)
                unit = 1e6 if cmsg_type in (c.SCM_TIMESTAMP_OLD, c.SCM_TIMESTAMP_NEW) else 1e9
                assert now - 10 < seconds + fraction / unit <= now + 0.001


def test_a_stream_has_no_timestamps() -> None:
    one, two = socket.socketpair()
    with one, two:
        ours, other, _ = our_pair(SOCK_STREAM)
        for name in (c.SO_TIMESTAMP_OLD, c.SO_TIMESTAMPNS_NEW):
            set_option(two, ours, name, 1)
            set_option(two, ours, c.SO_TIMESTAMPING_NEW, 3 << 3)
            for room in (None, 0, 100):
                send_both(one, other, b"x")
                assert receive_both(two, ours, 1, room) == b""


def test_fractions_of_a_second() -> None:
    ours, _, _ = our_pair(SOCK_DGRAM)
    received = Received(ours, b"x", 1)
    received.name = b""
    received.timestamp = 1_700_000_000.25
    options.set(ours, Program(), SOL_SOCKET, c.SO_TIMESTAMPING_OLD, struct.pack("<i", 3 << 3))
    for name, kind, fraction in (
        (c.SO_TIMESTAMP_OLD, c.SCM_TIMESTAMP_OLD, 250_000),
        (c.SO_TIMESTAMPNS_OLD, c.SCM_TIMESTAMPNS_OLD, 250_000_000),
    ):
        options.set(ours, Program(), SOL_SOCKET, name, struct.pack("<i", 1))
        control, flags = deliver(received, ours, 200, 0, Table([]).install)
        assert flags == 0
        assert walk_control(control) == [
            (SOL_SOCKET, kind, struct.pack("<qq", 1_700_000_000, fraction)),
            (SOL_SOCKET, c.SCM_TIMESTAMPING_OLD, struct.pack("<qq32x", 1_700_000_000, 250_000_000)),
        ]


def test_what_needs_the_front_end_is_loud_without_it() -> None:
    """No clock for a message that came too early, nobody to make a pidfd: neither is silently left out."""
    ours, other, program = our_pair(SOCK_DGRAM)
    received = Received(ours, b"x", 1)
    received.name = b""
    ours.timestamp = c.SO_TIMESTAMP_OLD
    with pytest.raises(Unmodelled, match="SO_TIMESTAMP"):
        deliver(received, ours, 100, 0, Table([]).install)
    received = Received(other, b"x", 1)
    received.name = b""
    received.creds = program.credentials.real
    other.passpidfd = True
    with pytest.raises(Unmodelled, match="PIDFD"):
        deliver(received, other, 100, 0, Table([]).install)


# Ownership.


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("room", [None, 0, 16, 20, 24, 28, 100])
@pytest.mark.parametrize("free", [0, 1, 5])
def test_every_descriptor_is_closed_exactly_once(kind: int, room: int | None, free: int) -> None:
    """Undone, the message is in the queue again with all of them; done, only what was installed is still open."""
    ours, other, program = our_pair(kind)
    files = [Thing() for _ in range(3)]
    assert not isinstance(OPERATIONS[kind].send(other, program, b"x", 0, files), WouldBlock)
    for attempt in ("undone", "done"):
        received = OPERATIONS[kind].receive(ours, 1)
        assert isinstance(received, Received)
        table = Table(range(free))
        deliver(received, ours, room, 0, table.install)
        assert [file.references for file in files] == [2 if file in table.files.values() else 1 for file in files]
        if attempt == "undone":
            received.undo()
            for file in table.files.values():
                file.release()
            assert [file.references for file in files] == [1, 1, 1]
        else:
            received.done()
    kept = list(table.files.values())
    assert len(kept) == min(free, 3, max(0, (room or 0) - 16) // 4)
    assert [file.closed for file in files] == [0 if file in kept else 1 for file in files]
    for kept_file in kept:
        kept_file.release()
    other.close()
    ours.close()
    assert [file.closed for file in files] == [1, 1, 1]


@pytest.mark.parametrize("kind", TYPES)
def test_peeking_gives_descriptors_of_its_own(kind: int) -> None:
    """Each MSG_PEEK installs fresh ones and the queue keeps its own (SCM-3)."""
    ours, other, program = our_pair(kind)
    thing = Thing()
    assert not isinstance(OPERATIONS[kind].send(other, program, b"x", 0, [thing]), WouldBlock)
    for peeks in (1, 2):
        received = OPERATIONS[kind].receive(ours, 1, MSG_PEEK)
        assert isinstance(received, Received)
        deliver(received, ours, 24, MSG_PEEK, Table([7]).install)
        received.done()
        assert thing.references == 1 + peeks
    received = OPERATIONS[kind].receive(ours, 1)
    assert isinstance(received, Received)
    deliver(received, ours, None, 0, Table([7]).install)
    received.done()
    assert thing.references == 2
    assert not thing.closed


def test_an_install_that_dies_leaves_everything_to_undo() -> None:
    """Any other exception than an errno passes through, with the references where they were."""
    ours, other, program = our_pair(SOCK_STREAM)
    files = [Thing(), Thing()]
    assert not isinstance(OPERATIONS[SOCK_STREAM].send(other, program, b"x", 0, files), WouldBlock)
    received = OPERATIONS[SOCK_STREAM].receive(ours, 1)
    assert isinstance(received, Received)

    def vanish(file: File, cloexec: bool) -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        deliver(received, ours, 100, 0, vanish)
    received.undo()
    assert [file.references for file in files] == [1, 1]
    ours.close()
    assert [file.closed for file in files] == [1, 1]


# sendmsg.

BAD_FD = 1_000_000
Parsed = int | tuple[int, tuple[int, int, int]]
"""An errno, or how many descriptors arrive with which credentials."""


def both_parse(raw: bytes, program: Program) -> tuple[Parsed, Parsed]:
    """The host's result and ours, with the same descriptors open."""
    one, two = socket.socketpair(socket.AF_UNIX, SOCK_DGRAM)
    with one, two:
        two.setsockopt(SOL_SOCKET, c.SO_PASSCRED, 1)
        return host_parse(one, two, raw), our_parse(raw, program)


def host_parse(one: socket.socket, two: socket.socket, raw: bytes) -> Parsed:
    failed = host_send(one, raw)
    if failed:
        return failed
    _, control, flags = host_receive(two, 1, 2000)
    assert not flags
    fds, _ = close_all(control)
    (creds,) = [data for _, kind, data in host_control(control) if kind == SCM_CREDENTIALS]
    pid, uid, gid = struct.unpack("<iii", creds)
    return len(fds), (pid, uid, gid)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except (OSError, OverflowError):
        return False
    return True


def our_parse(raw: bytes, program: Program) -> Parsed:
    """`parse` as a front end uses it: descriptors are looked up before a refusal is told."""
    ours, _, _ = our_pair(SOCK_DGRAM)
    refused: int | None = None
    try:
        control = parse(raw, program, ours)
        fds, creds = control.fds, control.creds
    except BadControl as error:
        fds, creds, refused = error.fds, None, int(error.errno)
    if not all(map(is_open, fds)):
        return int(Errno.EBADF)
    if refused is not None:
        return refused
    creds = creds or program.credentials.real
    # An id above 2**31 is shown as a negative int here, on both sides.
    pid, uid, gid = struct.unpack("<iii", struct.pack("<iII", creds.pid, creds.uid, creds.gid))
    return len(fds), (pid, uid, gid)


def rights(*fds: int) -> ControlMessage:
    return SOL_SOCKET, SCM_RIGHTS, struct.pack(f"<{len(fds)}i", *fds)


def creds(pid: int, uid: int, gid: int) -> ControlMessage:
    return SOL_SOCKET, SCM_CREDENTIALS, struct.pack("<iII", pid, uid & 0xFFFFFFFF, gid & 0xFFFFFFFF)


def agree(items: Sequence[ControlMessage], program: Program, cut: int | None = None) -> Parsed:
    raw = build_control(items)[:cut]
    expected, got = both_parse(raw, program)
    assert got == expected, items
    return expected


def test_types_levels_and_lengths() -> None:
    program = Program()
    for kind in range(-1, 101):
        for size in (0, 3, 4, 8, 11, 12, 13, 16, 48):
            agree([(SOL_SOCKET, kind, bytes(size))], program)
    for level in (-1, 0, 2, 6, 17, 41, 255, 1 << 30):
        for kind in (-1, 0, SCM_RIGHTS, SCM_CREDENTIALS, 99):
            assert agree([(level, kind, b"\xff" * 12)], program) == (0, agree([], program)[1])  # type: ignore[index]


def test_how_many_descriptors() -> None:
    """253 in all, however they are split; what is left of an int is ignored (SCM-1)."""
    program = Program()
    for counts in ((0,), (1,), (252,), (253,), (254,), (200, 53), (200, 54), (0, 0), (253, 0), (253, 1), (1, 253),
                   (254, 0), (100, 100, 53), (1,) * 253, (1,) * 254):  # fmt: skip
        result = agree([rights(*[0] * count) for count in counts], program)
        assert (result == Errno.EINVAL) if sum(counts) > 253 else (result[0] == sum(counts))  # type: ignore[index]
    for size in range(20):
        agree([(SOL_SOCKET, SCM_RIGHTS, bytes(size))], program)


def test_which_error_comes_first() -> None:
    """Descriptors are looked up as their message is reached: EBADF of an earlier one beats EINVAL of a later one."""
    program = Program()
    me = (os.getpid(), os.getuid(), os.getgid())
    bad = rights(0, -1)
    unopened = rights(BAD_FD)
    unknown = (SOL_SOCKET, SCM_PIDFD, bytes(4))
    for first, second in itertools.permutations(
        [bad, unopened, unknown, rights(0), rights(*[0] * 253), rights(*[0] * 254), creds(*me), creds(me[0], -1, me[2]),
         creds(1 << 22, me[1], me[2]), (0, 0, b"")], 2
    ):  # fmt: skip
        agree([first, second], program)
        for cut in (1, 8, 15, 16, 17, 20, 30, 31, 33):
            agree([first, second], program, cut)
    assert agree([bad, unknown], program) == Errno.EBADF
    assert agree([unknown, bad], program) == Errno.EINVAL


def test_the_last_credentials_hold() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can show other ids")
    program = Program()
    me = os.getpid()
    assert agree([creds(me, 5, 6), creds(1, 7, 8), rights(0)], program) == (1, (1, 7, 8))
    assert agree([creds(me, 5, 6), creds(me, -1, 8)], program) == Errno.EINVAL
    assert agree([creds(me, 4_000_000_000, 3_000_000_000)], program) != Errno.EINVAL


def dead_process() -> int:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def who_may_show_whom() -> list[str]:
    """Every combination of pid, uid and gid that matters, under this process's identity."""
    program = Program()
    own = program.credentials
    found = []
    pids = (own.pid, 1, os.getppid(), 0, -1, dead_process(), 1 << 30)
    uids = {own.uid, own.euid, own.suid, 0, 4242, -1, 0x7FFFFFFF, 0xFFFFFFFE}
    gids = {own.gid, own.egid, own.sgid, 0, 4242, -1}
    for pid, uid, gid in itertools.product(pids, uids, gids):
        raw = build_control([creds(pid, uid, gid)])
        expected, got = both_parse(raw, program)
        if expected != got:
            found.append(f"{own}: {pid} {uid} {gid}: host {expected}, ours {got}")
    return found


def in_child(before: Callable[[], None], job: Callable[[], list[str]]) -> list[str]:
    """Run a job in a child process that has called `before`, and return what it found."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            before()
            with open(writer, "wb") as stream:
                pickle.dump(job(), stream)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as stream:
        raw = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child failed; its traceback is above"
    found = pickle.loads(raw)
    assert isinstance(found, list)
    return found


def test_credentials_of_this_process() -> None:
    assert who_may_show_whom() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take on these identities")
@pytest.mark.parametrize("kept", list(itertools.product((False, True), repeat=3)))
def test_credentials_by_capability(kept: tuple[bool, bool, bool]) -> None:
    """Real, effective and saved ids that differ, with each set of the three capabilities (SCM-4)."""
    chosen = [cap for cap, keep in zip((CAP_SETUID, CAP_SETGID, CAP_SYS_ADMIN), kept, strict=True) if keep]
    mask = sum(1 << capability for capability in chosen)

    def become() -> None:
        keep_capabilities = 8
        assert LIBC.prctl(keep_capabilities, 1, 0, 0, 0) == 0
        os.setgroups([])
        os.setresgid(2001, 2002, 2003)
        os.setresuid(1001, 1002, 1003)
        header = struct.pack("<Ii", 0x20080522, 0)
        assert LIBC.capset(header, struct.pack("<6I", mask, mask, 0, 0, 0, 0)) == 0
        assert own_credentials().capabilities == mask

    assert in_child(become, who_may_show_whom) == []


PIECES = st.one_of(
    st.lists(st.sampled_from([0, 1, -1, BAD_FD]), max_size=4).map(lambda fds: rights(*fds)),
    st.tuples(st.sampled_from([0, 1, 6]), st.integers(-1, 5), st.binary(max_size=16)),
    st.builds(creds, st.sampled_from([os.getpid(), 0, 1]), st.sampled_from([0, 5, -1]), st.sampled_from([0, 5])),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=4), st.integers(0, 120), st.integers(-20, 20))
def test_random_chains(items: list[ControlMessage], cut: int, wrong: int) -> None:
    program = Program()
    agree(items, program)
    agree(items, program, cut)
    raw = bytearray(build_control(items))
    if raw:
        # The first length a little wrong.
        length = max(0, struct.unpack_from("<Q", raw)[0] + wrong)
        struct.pack_into("<Q", raw, 0, length)
        expected, got = both_parse(bytes(raw), program)
        assert got == expected


def test_parse_says_what_to_send() -> None:
    program = Program()
    ours, _, _ = our_pair(SOCK_STREAM)
    own = program.credentials
    raw = build_control([rights(3, 4), creds(own.pid, own.uid, own.gid), rights(5)])
    assert parse(raw, program, ours) == Control([3, 4, 5], Ucred(own.pid, own.uid, own.gid))
    assert parse(b"", program, ours) == Control([], None)
    with pytest.raises(BadControl) as raised:
        parse(build_control([rights(3), (SOL_SOCKET, c.SO_MARK, bytes(4))]), program, ours)
    assert (raised.value.errno, raised.value.fds) == (Errno.EINVAL, [3])


def test_the_receiver_refuses_descriptors() -> None:
    """SO_PASSRIGHTS of the receiving socket is looked at on sending, the sender's own is not (SCM-8): the host."""
    for kind in TYPES:
        one, two = socket.socketpair(socket.AF_UNIX, kind)
        with one, two:
            one.setsockopt(SOL_SOCKET, c.SO_PASSRIGHTS, 0)
            assert host_send(one, build_control([rights(0)])) == 0
            two.setsockopt(SOL_SOCKET, c.SO_PASSRIGHTS, 0)
            assert host_send(one, build_control([rights(0)])) == errno.EPERM
            assert host_send(one, build_control([rights()])) == 0
