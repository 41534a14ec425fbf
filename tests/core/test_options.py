"""getsockopt and setsockopt: every option in every state on host sockets and on ours, and the rules by name.

The host's answers under other identities come from a forked child that has given up privileges.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import pickle
import random
import socket
import struct
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from afunix.abi import constants as c
from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET
from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection, datagram, option_time, options
from afunix.core.caller import BoundInode
from afunix.core.credentials import CAP_NET_ADMIN, CAP_NET_RAW, Credentials
from afunix.core.errors import Unmodelled
from afunix.core.kernel import Kernel, Limits
from afunix.core.names import bind
from afunix.core.operations import OPERATIONS
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock

LIBC = ctypes.CDLL(None, use_errno=True)
TYPES = {"stream": SOCK_STREAM, "dgram": SOCK_DGRAM, "seqpacket": SOCK_SEQPACKET}
NAMES = range(101)
READ_LENGTHS = (0, 1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 36, 64)
WRITE_LENGTHS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 64)
NUMBERS = (0, 1, 0, -1, 2, 3, 7, 4096, 65536, 0x7FFFFFFF, -0x80000000, 0)
NOBODY = 65534


# The host's side.


def host_set(sock: socket.socket, level: int, name: int, value: bytes | None, length: int | None = None) -> int:
    """0 or the errno of setsockopt(2)."""
    size = length if length is not None else len(value or b"")
    return ctypes.get_errno() if LIBC.setsockopt(sock.fileno(), level, name, value, size) else 0


Read = bytes | int | tuple[str, int, int]
"""The value; an errno; an errno and the length that was set; or a pidfd's process and the length."""


def host_get(sock: socket.socket, level: int, name: int, length: int) -> Read:
    """What getsockopt(2) says, pidfds closed again."""
    buffer = ctypes.create_string_buffer(b"\xa5" * 128, 128)
    size = ctypes.c_int(length)
    before = descriptors() if name == c.SO_PEERPIDFD else frozenset()
    failed = LIBC.getsockopt(sock.fileno(), level, name, buffer, ctypes.byref(size))
    error = ctypes.get_errno()
    if failed:
        return ("length", error, size.value) if size.value != length else error
    assert buffer.raw[max(size.value, 0) :] == b"\xa5" * (128 - size.value), "bytes behind the value were written"
    if name != c.SO_PEERPIDFD:
        return buffer.raw[: size.value]
    (pidfd,) = descriptors() - before
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    os.close(pidfd)
    assert buffer.raw[: size.value] == struct.pack("<i", pidfd)[: size.value]
    (pid,) = [int(line.split()[1]) for line in lines if line.startswith("Pid:")]
    return "pidfd", pid, size.value


def descriptors() -> frozenset[int]:
    return frozenset(fd for fd in map(int, os.listdir("/proc/self/fd")) if open_descriptor(fd))


def open_descriptor(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def host_limits() -> Limits:
    """The host's own limits; HZ is what the shortest time-out reads back as."""

    def sysctl(name: str) -> int:
        return int(Path("/proc/sys/net/core", name).read_text())

    with socket.socket(socket.AF_UNIX) as sock:
        sock.setsockopt(SOL_SOCKET, c.SO_RCVTIMEO, struct.pack("<qq", 0, 1))
        _, tick = struct.unpack("<qq", sock.getsockopt(SOL_SOCKET, c.SO_RCVTIMEO, 16))
    return Limits(
        wmem_default=sysctl("wmem_default"),
        wmem_max=sysctl("wmem_max"),
        rmem_default=sysctl("rmem_default"),
        rmem_max=sysctl("rmem_max"),
        hz=1_000_000 // tick,
    )


def own_credentials() -> Credentials:
    uid, euid, suid = os.getresuid()
    gid, egid, sgid = os.getresgid()
    status = Path("/proc/self/status").read_text()
    (capabilities,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")]
    groups = tuple(os.getgroups())
    return Credentials(os.getpid(), uid, gid, euid, egid, groups, capabilities, suid, sgid)


# Ours.


class Program:
    """A caller without any paths."""

    net: Hashable = "here"
    nofile = 1024

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials

    def realtime(self) -> float:
        return 0.0

    numbers = None

    def find_pid(self, number: int) -> int:
        return number

    def lookup(self, path: bytes) -> NoReturn:
        raise SyscallError(Errno.ENOENT)

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        raise SyscallError(Errno.EROFS)


def our_set(sock: Socket, program: Program, level: int, name: int, value: bytes) -> int | str:
    try:
        options.set(sock, program, level, name, value)
    except SyscallError as error:
        return int(error.errno)
    except Unmodelled:
        return "unmodelled"
    return 0


def our_get(sock: Socket, program: Program, level: int, name: int, length: int) -> Read:
    try:
        value = options.get(sock, program, level, name, length)
    except options.TooShort as error:
        return "length", int(error.errno), error.needed
    except SyscallError as error:
        return int(error.errno)
    if isinstance(value, options.PidfdOf):
        return "pidfd", value.pid, min(length, 4)
    assert len(value) <= length
    return value


# The same state on both sides. Every builder returns the socket to look at and whatever must stay alive.


class World:
    """A kernel of ours next to the host's, with names that both can use."""

    def __init__(self) -> None:
        self.kernel = Kernel(random.Random(1), host_limits())
        self.program = Program(own_credentials())
        self.names = iter(range(10_000))

    def name(self) -> bytes:
        return b"\0afunix-options-%d-%d" % (os.getpid(), next(self.names))


Pair = tuple[socket.socket, Socket, list[object]]


def fresh(world: World, kind: int) -> Pair:
    return socket.socket(socket.AF_UNIX, kind), connection.create(world.kernel, world.program, kind), []


def pair(world: World, kind: int) -> Pair:
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    ours, other = connection.pair(world.kernel, world.program, kind)
    return one, ours, [two, other]


def busy(world: World, kind: int) -> Pair:
    """Unread messages in both directions."""
    one, ours, (two, other) = pair(world, kind)
    assert isinstance(two, socket.socket)
    assert isinstance(other, Socket)
    for size in (1, 3000, 10_000):
        one.send(bytes(size))
        two.send(bytes(size))
        for sender in (ours, other):
            assert not isinstance(OPERATIONS[kind].send(sender, world.program, bytes(size)), WouldBlock)
    return one, ours, [two, other]


def bound(world: World, kind: int) -> Pair:
    host, ours, _ = fresh(world, kind)
    name = world.name()
    host.bind(name)
    bind(ours, world.program, name)
    return host, ours, []


def listening(world: World, kind: int) -> Pair:
    host, ours, _ = bound(world, kind)
    host.listen(5)
    connection.listen(ours, world.program, 5)
    return host, ours, []


def connected(world: World, kind: int) -> Pair:
    """A client of a listener that has not accepted; a datagram socket with a default peer."""
    server, our_server, _ = bound(world, kind) if kind == SOCK_DGRAM else listening(world, kind)
    host, ours, _ = bound(world, kind)
    host.connect(server.getsockname())
    assert our_server.address is not None
    if kind == SOCK_DGRAM:
        datagram.connect(ours, world.program, our_server.address)
    else:
        connection.connect(ours, world.program, our_server.address)
    return host, ours, [server, our_server]


def accepted(world: World, kind: int) -> Pair:
    client, _, (server, our_server) = connected(world, kind)
    assert isinstance(server, socket.socket)
    assert isinstance(our_server, Socket)
    host, _ = server.accept()
    ours = connection.accept(our_server)
    assert isinstance(ours, Socket)
    return host, ours, [client, server, our_server]


def orphaned(world: World, kind: int) -> Pair:
    """The peer is gone."""
    host, ours, (two, other) = pair(world, kind)
    assert isinstance(two, socket.socket)
    assert isinstance(other, Socket)
    two.close()
    other.close()
    return host, ours, []


def failed(world: World, kind: int) -> Pair:
    """An error is pending: the peer went away, or turned away, with data unread."""
    host, ours, (two, other) = pair(world, kind)
    assert isinstance(two, socket.socket)
    assert isinstance(other, Socket)
    host.send(b"x")
    OPERATIONS[kind].send(ours, world.program, b"x")
    if kind == SOCK_DGRAM:
        assert LIBC.connect(two.fileno(), bytes(2), 2) == 0
        datagram.connect(other, world.program, None)
        return host, ours, [two, other]
    two.close()
    other.close()
    return host, ours, []


Builder = Callable[[World, int], Pair]
STATES: dict[str, tuple[Builder, ...]] = {
    "stream": (fresh, pair, busy, bound, listening, connected, accepted, orphaned, failed),
    "seqpacket": (fresh, pair, busy, bound, listening, connected, accepted, orphaned, failed),
    "dgram": (fresh, pair, busy, bound, connected, orphaned, failed),
}


@contextlib.contextmanager
def in_state(world: World, kind: int, builder: Builder) -> Iterator[tuple[socket.socket, Socket]]:
    host, ours, kept = builder(world, kind)
    try:
        yield host, ours
    finally:
        for one in (host, *kept):
            if isinstance(one, socket.socket):
                one.close()


# Values.


def words(number: int, length: int) -> Iterator[bytes]:
    """A number as an int with zeros behind it, and repeated."""
    raw = struct.pack("<i", number)
    yield (raw + bytes(length))[:length]
    yield (raw * (length // 4 + 1))[:length]


def special(name: int, limits: Limits) -> Iterator[bytes]:
    """Values at the borders of an option's own rules."""
    if name in (c.SO_TIMESTAMPING_OLD, c.SO_TIMESTAMPING_NEW):
        for bit in range(32):
            yield struct.pack("<I", 1 << bit)
            yield struct.pack("<Ii", 1 << bit, 3)
        for flags in (1 << 7 | 1 << 16, 1 << 11 | 1 << 12, 1 << 15 | 1 << 12, 0x18):
            yield struct.pack("<I", flags)
    elif name == c.SO_BINDTODEVICE:
        yield from (b"lo", b"lo\0rest", b"nosuchdevice0", b"", b"lo" * 20, b"lo\0", b"\0lo")
    elif name == c.SO_BINDTOIFINDEX:
        yield from (struct.pack("<i", index) for index in (0, 1, 2_000_000_000, 1, -5, 0))
    elif name == c.SO_TXTIME:
        yield from (struct.pack("<iI", clock, flags) for clock in (0, 1, 2, 7, 11, 12, -1) for flags in range(6))
    elif name == c.SO_LINGER:
        yield from (struct.pack("<ii", on, time) for on in (0, 1, -1, 5) for time in (0, 1, 77, -1, 0x7FFFFFFF))
    elif name in (c.SO_RCVTIMEO_OLD, c.SO_RCVTIMEO_NEW, c.SO_SNDTIMEO_OLD, c.SO_SNDTIMEO_NEW):
        most = ((1 << 63) - 1) // limits.hz - 1
        for seconds in (0, 1, -1, 3600, most - 1, most, most + 1, (1 << 63) - 1, -(1 << 63), 1 << 55):
            for microseconds in (0, 1, 3999, 4000, 4001, 500_000, 999_999, 1_000_000, -1, 1 << 40):
                yield struct.pack("<qq", seconds, microseconds)
    elif name == c.SO_PRIORITY:
        yield from (struct.pack("<i", priority) for priority in range(-2, 12))
    elif name == c.SO_BUSY_POLL_BUDGET:
        yield from (struct.pack("<i", budget) for budget in (65535, 65536, 8, 9, 8, 7, 0))
    elif name in (c.SO_SNDBUF, c.SO_RCVBUF, c.SO_SNDBUFFORCE, c.SO_RCVBUFFORCE):
        for size in (1151, 1152, 1153, 2303, 2304, 2305, 106_496, limits.wmem_max, limits.rmem_max):
            for number in (size - 1, size, size + 1, -size):
                yield struct.pack("<i", number)
        yield from (struct.pack("<i", number) for number in (1 << 29, 1 << 30, (1 << 30) - 1, (1 << 30) + 1))
    elif name == c.SO_MAX_PACING_RATE:
        yield from (struct.pack("<Q", rate) for rate in (0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1, 1 << 63))
    elif name == c.SO_BUF_LOCK:
        yield from (struct.pack("<i", bits) for bits in range(6))


GENERAL = [word for number in NUMBERS for length in WRITE_LENGTHS for word in words(number, length)]
INTS = [struct.pack("<i", number) for number in NUMBERS]


# What the two may differ in, and nothing else.

PROGRAM_IN_MEMORY = (c.SO_ATTACH_FILTER, c.SO_ATTACH_REUSEPORT_CBPF)
BPF_DESCRIPTOR = (c.SO_ATTACH_BPF, c.SO_ATTACH_REUSEPORT_EBPF)


def same_set(name: int, host: int, ours: int | str) -> bool:
    if ours == "unmodelled":
        if name == c.SO_ATTACH_FILTER:
            return host == errno.EFAULT
        # None of the numbers tried is a BPF program.
        return name in BPF_DESCRIPTOR and host in (errno.EBADF, errno.EINVAL)
    if name == c.SO_ATTACH_REUSEPORT_CBPF and host == errno.EFAULT:
        # We never look at the program, which this socket refuses whatever it is.
        return ours == errno.EINVAL
    return host == ours


def same_get(name: int, host: Read, ours: Read) -> bool:
    if name in (c.SO_COOKIE, c.SO_NETNS_COOKIE) and isinstance(host, bytes) and isinstance(ours, bytes):
        return len(host) == len(ours) == 8 and any(host) and any(ours)
    return host == ours


def differences(kind: str, builders: tuple[Builder, ...] = ()) -> list[str]:
    """Every option in every state of a type, each on sockets of its own and then all of them on the same."""
    world = World()
    found = []
    for builder in builders or STATES[kind]:
        general = GENERAL if builder in (fresh, busy) else INTS
        for name in NAMES:
            with in_state(world, TYPES[kind], builder) as (host, ours):
                found += differ(world, host, ours, name, general)
        with in_state(world, TYPES[kind], builder) as (host, ours):
            for name in NAMES:
                found += differ(world, host, ours, name, INTS)
                for other in NAMES:
                    found += differ_get(world, (host, ours), other, 64, f"after {name}")
    return found


def differ(world: World, host: socket.socket, ours: Socket, name: int, general: list[bytes]) -> list[str]:
    found = [line for length in READ_LENGTHS for line in differ_get(world, (host, ours), name, length, "first")]
    for value in [*special(name, world.kernel.limits), *general]:
        expected = host_set(host, SOL_SOCKET, name, value)
        got = our_set(ours, world.program, SOL_SOCKET, name, value)
        if not same_set(name, expected, got):
            found.append(f"{ours!r}: set {name} {value!r}: host {expected}, ours {got}")
        found += differ_get(world, (host, ours), name, 64, f"after {value!r}")
    for length in READ_LENGTHS:
        found += differ_get(world, (host, ours), name, length, "last")
    return found


def differ_get(world: World, both: tuple[socket.socket, Socket], name: int, length: int, when: str) -> list[str]:
    host, ours = both
    expected = host_get(host, SOL_SOCKET, name, length)
    got = our_get(ours, world.program, SOL_SOCKET, name, length)
    if same_get(name, expected, got):
        return []
    return [f"{ours!r}: get {name} length {length} {when}: host {expected!r}, ours {got!r}"]


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


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.setgroups([5, 7, 9])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    assert own_credentials().capabilities == 0


def keep_only(capability: int) -> Callable[[], None]:
    def drop() -> None:
        header = struct.pack("<Ii", 0x20080522, 0)
        low, high = (1 << capability) & 0xFFFFFFFF, capability >= 32
        assert LIBC.capset(header, struct.pack("<6I", low, low, 0, high, high, 0)) == 0
        assert own_credentials().capabilities == 1 << capability

    return drop


@pytest.mark.parametrize("kind", TYPES)
def test_every_option_as_the_host_has_it(kind: str) -> None:
    assert differences(kind) == []


@pytest.mark.parametrize("kind", TYPES)
def test_every_option_without_privileges(kind: str) -> None:
    assert in_child(become_nobody, lambda: differences(kind)) == []


@pytest.mark.parametrize("capability", [CAP_NET_ADMIN, CAP_NET_RAW])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can keep a single capability")
def test_every_option_with_a_single_capability(capability: int) -> None:
    assert in_child(keep_only(capability), lambda: differences("stream", (fresh,))) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can set these options first")
def test_what_root_set_and_others_change() -> None:
    """The options that look at what is there: lowering a budget, another device, switching off."""
    world = World()
    steps = ((c.SO_BUSY_POLL_BUDGET, 100, (101, 100, 50, 51, 0, 1)), (c.SO_DEBUG, 1, (1, 0, 1)),
             (c.SO_BINDTOIFINDEX, 1, (1, 0, 2)), (c.SO_MARK, 5, (5, 0)), (c.SO_PRIORITY, 9, (9, 6, 7)),
             (c.SO_PREFER_BUSY_POLL, 1, (1, 0, 1)), (c.SO_LOCK_FILTER, 1, (1, 0)))  # fmt: skip

    def change() -> list[str]:
        nobody = Program(own_credentials())
        found = []
        for name, _, numbers in steps:
            for number in numbers:
                value = struct.pack("<i", number)
                expected = host_set(host, SOL_SOCKET, name, value)
                got = our_set(ours, nobody, SOL_SOCKET, name, value)
                if got != expected:
                    found.append(f"{name} {number}: host {expected}, ours {got}")
                found += differ_get(world, (host, ours), name, 64, f"after {number}")
        return found

    with in_state(world, SOCK_STREAM, fresh) as (host, ours):
        for name, number, _ in steps:
            assert host_set(host, SOL_SOCKET, name, struct.pack("<i", number)) == 0
            assert our_set(ours, world.program, SOL_SOCKET, name, struct.pack("<i", number)) == 0
        assert in_child(become_nobody, change) == []


@pytest.mark.parametrize("kind", TYPES.values())
def test_other_levels_and_negative_lengths(kind: int) -> None:
    world = World()
    with in_state(world, kind, pair) as (host, ours):
        for level in (0, 2, 6, 17, 41, 58, 132, 255, 263, 270, 284, -1, 0x7FFFFFFF):
            for name in (0, 1, 2, 3, 25, 84, 99):
                for length in (-1, 0, 4, 8):
                    got = our_get(ours, world.program, level, name, length)
                    assert got == host_get(host, level, name, length), (level, name, length)
                    value = bytes(max(length, 0))
                    expected = host_set(host, level, name, value, length)
                    if length >= 0:
                        assert our_set(ours, world.program, level, name, value) == expected
                    else:
                        with pytest.raises(SyscallError) as raised:
                            options.value_length(ours, level, name, length)
                        assert raised.value.errno == expected
        for name in NAMES:
            assert our_get(ours, world.program, SOL_SOCKET, name, -1) == host_get(host, SOL_SOCKET, name, -1)


@pytest.fixture
def end_of_memory() -> Iterator[int]:
    """An address at which readable memory ends."""
    size = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * size)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    end = ctypes.c_void_p(start + size)
    assert LIBC.mprotect(end, size, 0) == 0
    yield start + size
    assert LIBC.mprotect(end, size, mmap.PROT_READ | mmap.PROT_WRITE) == 0


@pytest.mark.parametrize("kind", TYPES.values())
def test_value_length_is_what_the_host_reads(kind: int, end_of_memory: int) -> None:
    world = World()
    with in_state(world, kind, fresh) as (host, ours):
        for name in NAMES:
            for length in (-1, *range(20), 64, 1 << 20):
                for readable in range(18):
                    where = ctypes.c_void_p(end_of_memory - readable)
                    failed = LIBC.setsockopt(host.fileno(), SOL_SOCKET, name, where, length)
                    expected = ctypes.get_errno() if failed else 0
                    needed, refused = 0, 0
                    try:
                        needed = options.value_length(ours, SOL_SOCKET, name, length)
                    except SyscallError as error:
                        refused = error.errno
                    if refused:
                        assert expected == refused, (name, length, readable)
                        continue
                    if name in BPF_DESCRIPTOR and length > 4 and readable == 4:
                        # We want a fifth byte, to see that the value is too long; Linux doesn't read it.
                        assert (expected, needed) == (errno.EINVAL, 5)
                        continue
                    assert (expected == errno.EFAULT) == (readable < needed), (name, length, readable)


def test_a_real_filter_is_not_modelled() -> None:
    """Linux attaches it; we say loudly that we don't run filters."""
    world = World()
    accept_all = ctypes.create_string_buffer(struct.pack("<HBBI", 0x06, 0, 0, 0xFFFFFFFF), 8)
    program = struct.pack("<H6xQ", 1, ctypes.addressof(accept_all))
    with in_state(world, SOCK_DGRAM, fresh) as (host, ours):
        assert host_set(host, SOL_SOCKET, c.SO_ATTACH_FILTER, program) == 0
        assert our_set(ours, world.program, SOL_SOCKET, c.SO_ATTACH_FILTER, program) == "unmodelled"
        for name in (c.SO_ATTACH_REUSEPORT_CBPF, c.SO_ATTACH_FILTER):
            for bad in (struct.pack("<H6xQ", 0, 1), struct.pack("<H6xQ", 4097, 1), struct.pack("<H6xQ", 1, 0)):
                assert our_set(ours, world.program, SOL_SOCKET, name, bad) == errno.EINVAL
                assert host_set(host, SOL_SOCKET, name, bad) == errno.EINVAL
        assert host_set(host, SOL_SOCKET, c.SO_ATTACH_REUSEPORT_CBPF, program) == errno.EINVAL
        assert our_set(ours, world.program, SOL_SOCKET, c.SO_ATTACH_REUSEPORT_CBPF, program) == errno.EINVAL


def test_the_sweep_reaches_every_row() -> None:
    """No row of the table stands outside the numbers that are compared."""
    assert set(options.OPTIONS) <= set(NAMES)


# What the options do to the socket.


@pytest.fixture
def world() -> World:
    return World()


def our_socket(world: World, kind: int = SOCK_STREAM) -> Socket:
    return connection.create(world.kernel, world.program, kind)


def test_timeouts_are_seconds_for_the_waiting_calls(world: World) -> None:
    sock = our_socket(world)
    hz = world.kernel.limits.hz
    for name, field in ((c.SO_RCVTIMEO_OLD, "rcvtimeo"), (c.SO_SNDTIMEO_NEW, "sndtimeo")):
        for seconds, microseconds, expected in (
            (0, 0, None), (2, 500_000, 2.5), (-1, 0, 0.0), (0, 1, 1 / hz), ((1 << 63) - 1, 0, None)
        ):  # fmt: skip
            options.set(sock, world.program, SOL_SOCKET, name, struct.pack("<qq", seconds, microseconds))
            assert getattr(sock, field) == expected


def test_a_larger_send_buffer_wakes_who_waits_for_room(world: World) -> None:
    one, _ = connection.pair(world.kernel, world.program, SOCK_STREAM)
    options.set(one, world.program, SOL_SOCKET, c.SO_SNDBUF, struct.pack("<i", 0))
    assert one.sndbuf == 4608
    while not isinstance(OPERATIONS[SOCK_STREAM].send(one, world.program, b"x"), WouldBlock):
        pass
    woken: list[str] = []
    one.writable.add(lambda: woken.append("writer"))
    world.kernel.changed.clear()
    options.set(one, world.program, SOL_SOCKET, c.SO_SNDBUF, struct.pack("<i", one.wmem // 2))
    world.kernel.wakeups.apply()
    assert woken == []
    assert one in world.kernel.changed
    options.set(one, world.program, SOL_SOCKET, c.SO_SNDBUF, struct.pack("<i", one.wmem * 4))
    world.kernel.wakeups.apply()
    assert woken == ["writer"]


def test_reading_the_error_clears_it_and_changes_readiness(world: World) -> None:
    sock = our_socket(world)
    sock.error = Errno.ECONNRESET
    world.kernel.changed.clear()
    assert options.get(sock, world.program, SOL_SOCKET, c.SO_ERROR, 0) == b""
    assert sock.error is None
    assert sock in world.kernel.changed


def test_cookies_tell_sockets_and_namespaces_apart(world: World) -> None:
    def cookie(sock: Socket, name: int) -> Read:
        return our_get(sock, world.program, SOL_SOCKET, name, 8)

    sockets = [our_socket(world) for _ in range(3)]
    elsewhere = Program(world.program.credentials)
    elsewhere.net = "elsewhere"
    sockets += [connection.create(world.kernel, elsewhere, SOCK_DGRAM) for _ in range(2)]
    assert len({cookie(sock, c.SO_COOKIE) for sock in sockets}) == 5
    assert [cookie(sock, c.SO_COOKIE) for sock in sockets] == [cookie(sock, c.SO_COOKIE) for sock in sockets]
    spaces = [cookie(sock, c.SO_NETNS_COOKIE) for sock in sockets]
    assert len(set(spaces)) == 2
    assert len(set(spaces[:3])) == 1


def test_flags_reach_the_fields_that_operations_read(world: World) -> None:
    sock = our_socket(world)
    for name, field in (
        (c.SO_PASSCRED, "passcred"), (c.SO_PASSPIDFD, "passpidfd"), (c.SO_PASSSEC, "passsec"),
        (c.SO_PASSRIGHTS, "passrights"), (c.SO_OOBINLINE, "oobinline"), (c.SO_INQ, "inq"),
    ):  # fmt: skip
        for number in (1, 0, 1):
            options.set(sock, world.program, SOL_SOCKET, name, struct.pack("<i", number))
            assert getattr(sock, field) is bool(number)


def test_a_refused_option_changes_nothing(world: World) -> None:
    sock = our_socket(world)
    sock.kernel.changed.clear()
    for name, value in (
        (c.SO_RCVTIMEO, struct.pack("<qq", 1, -1)), (c.SO_INQ, struct.pack("<i", 2)), (c.SO_LINGER, bytes(4)),
        (c.SO_TIMESTAMPING, struct.pack("<i", 1 << 16)), (c.SO_BUF_LOCK, struct.pack("<i", 4)),
        (c.SO_TXTIME, bytes(7)), (c.SO_BINDTODEVICE, b"no"), (c.SO_ZEROCOPY, struct.pack("<i", 1)),
    ):  # fmt: skip
        assert our_set(sock, world.program, SOL_SOCKET, name, value) != 0
    assert sock.options == {}
    assert (sock.rcvtimeo, sock.inq, sock.timestamp) == (None, False, 0)
    assert not sock.kernel.changed


@pytest.mark.parametrize("name", [c.SO_TIMESTAMP_OLD, c.SO_TIMESTAMP_NEW, c.SO_TIMESTAMPNS_OLD, c.SO_TIMESTAMPNS_NEW])
def test_timestamp_forms(world: World, name: int) -> None:
    sock = our_socket(world)
    options.set(sock, world.program, SOL_SOCKET, name, struct.pack("<i", 1))
    form, new = option_time.timestamp_form(sock)
    assert form == (c.SO_TIMESTAMPNS_OLD if name in (c.SO_TIMESTAMPNS_OLD, c.SO_TIMESTAMPNS_NEW) else c.SO_TIMESTAMP)
    assert new is (name in (c.SO_TIMESTAMP_NEW, c.SO_TIMESTAMPNS_NEW))
    options.set(sock, world.program, SOL_SOCKET, c.SO_TIMESTAMP_OLD, struct.pack("<i", 0))
    assert option_time.timestamp_form(sock) == (0, new)
