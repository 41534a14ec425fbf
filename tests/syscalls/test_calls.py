"""The system call handlers on a caller of bytes: registers, memory, EFAULT, control messages, and undo."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any

import pytest

from afunix.abi import constants as c
from afunix.abi.constants import (
    AF_UNSPEC,
    FIONBIO,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    MSG_WAITFORONE,
    SIOCINQ,
    SIOCOUTQ,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)  # fmt: skip
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import build_control, walk_control
from afunix.abi.sockaddr import encode
from afunix.core import connection
from afunix.core.caller import BoundInode
from afunix.core.credentials import Credentials
from afunix.core.file import File
from afunix.core.kernel import Kernel
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.syscalls import control, messages, naming, transfer
from afunix.syscalls.call import NATIVE, Answer, Install, Native

BASE = 0x10000
SIZE = 0x8000
BAD = 0x666000
"""An address where nothing is mapped."""
IOVS, HEADER, NAME, CONTROL, DATA = BASE + 0x100, BASE + 0x800, BASE + 0x1000, BASE + 0x1800, BASE + 0x3000
MINUS_ONE = 0xFFFFFFFFFFFFFFFF


class Memory:
    """One mapping of a program."""

    def __init__(self) -> None:
        self.bytes = bytearray(SIZE)

    def check(self, address: int, size: int) -> int:
        if not BASE <= address <= address + size <= BASE + SIZE:
            raise SyscallError(Errno.EFAULT)
        return address - BASE

    def read(self, address: int, size: int) -> bytes:
        start = self.check(address, size)
        return bytes(self.bytes[start : start + size])

    def write(self, address: int, data: bytes) -> None:
        start = self.check(address, len(data))
        self.bytes[start : start + len(data)] = data

    def read_vec(self, iovecs: Sequence[tuple[int, int]]) -> bytes:
        return b"".join(self.read(address, size) for address, size in iovecs)

    def write_vec(self, iovecs: Sequence[tuple[int, int]], data: bytes) -> None:
        for address, size in iovecs:
            if data:
                self.write(address, data[:size])
                data = data[size:]


class Program:
    """The calling thread."""

    credentials = Credentials(77, 1000, 1001, 1000, 1001)
    net: Hashable = "here"
    nofile = 64

    def realtime(self) -> float:
        return 1.5

    numbers = None

    def find_pid(self, number: int) -> int:
        return number if number == 77 else 0

    def lookup(self, path: bytes) -> Hashable:
        raise SyscallError(Errno.ENOENT)

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        raise SyscallError(Errno.EROFS)


class Counted(File):
    """A file that knows how often it was closed."""

    __slots__ = ("closed",)

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Machine:
    """A kernel, a memory and a descriptor table of `room` places; calls are made on it by hand."""

    def __init__(self) -> None:
        self.kernel = Kernel(random.Random(1))
        self.memory = Memory()
        self.program = Program()
        self.table: dict[int, File] = {}
        self.room = 16
        self.cloexec: set[int] = set()
        self.clock = 0.0

    def pair(self, kind: int, nonblock: bool = True) -> tuple[Socket, Socket]:
        one, two = connection.pair(self.kernel, self.program, kind)
        one.nonblock = two.nonblock = nonblock
        return one, two

    def open(self, file: File) -> int:
        file.acquire()
        number = next(number for number in range(3, 1000) if number not in self.table)
        self.table[number] = file
        return number

    def start(self, handler: Callable[[Any], Any], sock: Socket | None, *args: int) -> Any:
        padded = (3, *(arg & MINUS_ONE for arg in args), 0, 0, 0, 0, 0)[:6]
        return handler(Call(self, sock, padded))

    def change(self, handler: Callable[[Any], Any], sock: Socket | None, *args: int) -> tuple[int, Any]:
        """The value, and how to undo it; a call of this kind that waits is a mistake here."""
        outcome = self.start(handler, sock, *args)
        if isinstance(outcome, Generator):
            outcome = drive(outcome)
        assert isinstance(outcome, tuple)
        return outcome

    def call(self, handler: Callable[[Any], Any], sock: Socket | None, *args: int) -> int | str:
        """What the program gets: the value, or the name of the errno."""
        try:
            outcome = self.start(handler, sock, *args)
            if isinstance(outcome, Generator):
                outcome = drive(outcome)
        except SyscallError as error:
            return error.errno.name
        if isinstance(outcome, tuple):
            value, change = outcome
            change.done()
            return int(value)
        if isinstance(outcome, Install):
            number = self.open(outcome.sock)
            if outcome.cloexec:
                self.cloexec.add(number)
            return number
        assert isinstance(outcome, int)
        return outcome

    def put(self, address: int, data: bytes) -> int:
        self.memory.write(address, data)
        return address

    def iovecs(self, *ranges: tuple[int, int]) -> tuple[int, int]:
        self.put(IOVS, b"".join(struct.pack("<QQ", *pair) for pair in ranges))
        return IOVS, len(ranges)

    def header(
        self,
        *ranges: tuple[int, int],
        name: tuple[int, int] = (0, 0),
        control: tuple[int, int] = (0, 0),
        at: int = HEADER,
    ) -> int:
        iovs = IOVS + (at - HEADER) * 4
        self.put(iovs, b"".join(struct.pack("<QQ", *pair) for pair in ranges))
        return self.put(at, struct.pack("<Qi4xQQQQI4x", *name, iovs, len(ranges), *control, 0))

    def result(self, at: int = HEADER) -> tuple[int, int, int]:
        """msg_namelen, msg_controllen and msg_flags as recvmsg left them."""
        fields = struct.unpack("<Qi4xQQQQI4x", self.memory.read(at, 56))
        return fields[1], fields[5], fields[6]


class Call:
    """One call of the machine's thread."""

    def __init__(self, machine: Machine, sock: Socket | None, args: tuple[int, ...]) -> None:
        self.machine = machine
        self.args = args
        self.memory = machine.memory
        self.caller = machine.program
        self.kernel = machine.kernel
        self.mode = 0o777
        if sock is not None:
            self.sock = sock

    def now(self) -> float:
        return self.machine.clock

    def files(self, descriptors: Sequence[int]) -> list[File]:
        if any(number not in self.machine.table for number in descriptors):
            raise SyscallError(Errno.EBADF)
        files = [self.machine.table[number] for number in descriptors]
        for file in files:
            file.acquire()
        return files

    def ensure_room(self, number: int) -> None:
        if len(self.machine.table) + number > self.machine.room:
            raise SyscallError(Errno.EMFILE)

    def install(self, file: File, cloexec: bool) -> int:
        self.ensure_room(1)
        number = self.machine.open(file)
        if cloexec:
            self.machine.cloexec.add(number)
        return number

    def install_pidfd(self, pid: int) -> int:
        return 900

    def install_inode(self, sock: Socket) -> int:
        raise NotImplementedError


def drive(body: Generator[WouldBlock, None, Answer]) -> Any:
    """Run a body that never has to wait."""
    try:
        next(body)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


@pytest.fixture
def machine() -> Machine:
    return Machine()


# read and write.


def test_read_and_write(machine: Machine) -> None:
    """Bytes go from memory to memory."""
    one, two = machine.pair(SOCK_STREAM)
    assert machine.call(transfer.write, one, machine.put(DATA, b"hello"), 5) == 5
    assert machine.call(transfer.read, two, DATA + 100, 3) == 3
    assert machine.call(transfer.read, two, DATA + 103, 100) == 2
    assert machine.memory.read(DATA + 100, 6) == b"hello\0"
    assert machine.call(transfer.read, two, DATA, 10) == "EAGAIN"
    assert machine.call(transfer.read, two, DATA, 0) == 0
    assert machine.call(transfer.write, one, BAD, 5) == "EFAULT"
    assert machine.call(transfer.write, one, 0x7FFFFFFFF000, 1) == "EFAULT"
    assert machine.call(transfer.read, two, 0x7FFFFFFFEFFF, 2) == "EFAULT"
    assert not two.queue


def test_read_into_bad_memory(machine: Machine) -> None:
    """Stream bytes stay queued behind the last message that could be copied; a record is lost."""
    one, two = machine.pair(SOCK_STREAM)
    for _ in range(3):
        machine.call(transfer.write, one, machine.put(DATA, b"0123456789"), 10)
    assert machine.call(transfer.read, two, BAD, 30) == "EFAULT"
    assert sum(map(len, two.queue)) == 30
    assert machine.call(transfer.read, two, BASE + SIZE - 25, 30) == 20
    assert machine.memory.read(BASE + SIZE - 25, 25) == b"0123456789" * 2 + bytes(5)
    assert machine.call(transfer.read, two, DATA, 30) == 10

    one, two = machine.pair(SOCK_SEQPACKET)
    machine.call(transfer.write, one, DATA, 10)
    machine.call(transfer.write, one, machine.put(DATA, b"next"), 4)
    assert machine.call(transfer.read, two, BAD, 30) == "EFAULT"
    assert machine.call(transfer.read, two, DATA + 50, 30) == 4
    assert machine.memory.read(DATA + 50, 4) == b"next"


def test_read_closes_descriptors(machine: Machine) -> None:
    """read has no place for a passed descriptor, which is closed."""
    one, two = machine.pair(SOCK_STREAM)
    file = Counted()
    send_rights(machine, one, b"x", file)
    assert machine.call(transfer.read, two, DATA, 10) == 1
    assert file.references == 1


def test_undone_read(machine: Machine) -> None:
    """The bytes are there again."""
    one, two = machine.pair(SOCK_STREAM)
    machine.call(transfer.write, one, machine.put(DATA, b"hello"), 5)
    value, change = machine.change(transfer.read, two, DATA, 3)
    assert value == 3
    assert change.undo() == 0
    assert machine.call(transfer.read, two, DATA + 9, 9) == 5


def test_vectors(machine: Machine) -> None:
    """readv and writev spread over their ranges, as one message; empty ones do nothing."""
    one, two = machine.pair(SOCK_SEQPACKET)
    machine.put(DATA, b"abcdef")
    assert machine.call(transfer.writev, one, *machine.iovecs((DATA, 2), (DATA, 0), (DATA + 3, 3))) == 5
    assert len(two.queue) == 1
    assert machine.call(transfer.readv, two, *machine.iovecs((DATA + 100, 1), (DATA + 200, 10))) == 5
    assert machine.memory.read(DATA + 100, 2) == b"a\0"
    assert machine.memory.read(DATA + 200, 5) == b"bdef\0"
    assert machine.call(transfer.writev, one, *machine.iovecs((DATA, 0))) == 0
    assert machine.call(transfer.readv, two, IOVS, 0) == 0
    assert not two.queue


def test_bad_vectors(machine: Machine) -> None:
    """EINVAL: too many, or a negative length; EFAULT: the vector, or what it names."""
    one, two = machine.pair(SOCK_STREAM)
    assert machine.call(transfer.writev, one, IOVS, 1025) == "EINVAL"
    assert machine.call(transfer.writev, one, BAD, 1) == "EFAULT"
    assert machine.call(transfer.writev, one, *machine.iovecs((DATA, 1 << 63))) == "EINVAL"
    assert machine.call(transfer.writev, one, *machine.iovecs((DATA, 1), (BAD, 1))) == "EFAULT"
    assert machine.call(transfer.writev, one, *machine.iovecs((DATA, 1), (0x7FFFFFFFFFFF, 1))) == "EFAULT"
    assert not two.queue
    machine.call(transfer.write, one, machine.put(DATA, b"12"), 2)
    machine.call(transfer.write, one, DATA, 2)
    assert machine.call(transfer.readv, two, *machine.iovecs((DATA + 50, 3), (BAD, 3))) == 2
    assert machine.call(transfer.read, two, DATA + 90, 10) == 2


def test_positioned_vectors(machine: Machine) -> None:
    """preadv2 and pwritev2: only at the current position, RWF_NOWAIT does not wait."""
    one, two = machine.pair(SOCK_STREAM, nonblock=False)
    machine.put(DATA, b"x")
    assert machine.call(transfer.pwritev2, one, *machine.iovecs((DATA, 1)), -1, 0, 0) == 1
    assert machine.call(transfer.preadv2, two, *machine.iovecs((DATA, 1)), 0, 0, 0) == "ESPIPE"
    assert machine.call(transfer.preadv2, two, *machine.iovecs((DATA, 1)), -1, 0, 0x4000) == "EOPNOTSUPP"
    assert machine.call(transfer.preadv2, two, *machine.iovecs((DATA, 1)), -1, 0, 8) == 1
    assert machine.call(transfer.preadv2, two, *machine.iovecs((DATA, 1)), -1, 0, 8) == "EAGAIN"


def test_waiting_calls(machine: Machine) -> None:
    """A call on a blocking socket becomes a body, which answers once it is resumed."""
    one, two = machine.pair(SOCK_STREAM, nonblock=False)
    body = machine.start(transfer.read, two, DATA + 100, 10)
    assert isinstance(body, Generator)
    block = next(body)
    assert two.readable in block.queues
    machine.call(transfer.write, one, machine.put(DATA, b"hello"), 5)
    with pytest.raises(StopIteration) as stop:
        next(body)
    assert stop.value.value[0] == 5
    assert machine.memory.read(DATA + 100, 5) == b"hello"

    body = machine.start(transfer.recvfrom, two, DATA, 4, MSG_WAITALL, 0, 0)
    next(body)
    machine.call(transfer.write, one, DATA, 3)
    next(body)
    with pytest.raises(StopIteration) as stop:
        body.throw(SyscallError(Errno.EINTR))
    assert stop.value.value[0] == 3, "what came before the signal is the answer"


# sendto and recvfrom.


def test_sendto_and_recvfrom(machine: Machine) -> None:
    """The address of a datagram, whole or cut, and its full length."""
    one, two = machine.pair(SOCK_DGRAM)
    raw = encode(b"\0sender")
    assert machine.call(naming.bind, one, machine.put(NAME, raw), len(raw)) == 0
    assert machine.call(transfer.sendto, one, machine.put(DATA, b"data"), 4, 0, 0, 0) == 4
    assert machine.call(transfer.sendto, one, DATA, 4, 0, 0, 0) == 4
    machine.put(CONTROL, struct.pack("<i", 100))
    assert machine.call(transfer.recvfrom, two, DATA + 50, 2, MSG_TRUNC, NAME + 200, CONTROL) == 4
    assert machine.memory.read(DATA + 50, 3) == b"da\0"
    assert machine.memory.read(CONTROL, 4) == struct.pack("<i", len(raw))
    assert machine.memory.read(NAME + 200, len(raw)) == raw
    machine.put(CONTROL, struct.pack("<i", 3))
    assert machine.call(transfer.recvfrom, two, DATA, 10, 0, NAME + 300, CONTROL) == 4
    assert machine.memory.read(NAME + 300, 4) == raw[:3] + b"\0"
    assert machine.memory.read(CONTROL, 4) == struct.pack("<i", len(raw))
    assert machine.call(transfer.recvfrom, two, DATA, 10, MSG_DONTWAIT, 0, 0) == "EAGAIN"


def test_recvfrom_bad_address(machine: Machine) -> None:
    """The length of the address's room is looked at when the message is gone already."""
    one, two = machine.pair(SOCK_DGRAM)
    for expected, length_at, value in (("EFAULT", BAD, 0), ("EINVAL", CONTROL, -1)):
        machine.put(CONTROL, struct.pack("<i", value))
        machine.call(transfer.write, one, DATA, 1)
        assert machine.call(transfer.recvfrom, two, DATA, 10, 0, NAME, length_at) == expected
        assert not two.queue


def test_sendto_addresses(machine: Machine) -> None:
    """EISCONN on a stream; SEQPACKET doesn't look; DGRAM decodes; EINVAL and EFAULT before all that."""
    stream, _ = machine.pair(SOCK_STREAM)
    record, other = machine.pair(SOCK_SEQPACKET)
    datagram = connection.create(machine.kernel, machine.program, SOCK_DGRAM)
    junk = machine.put(NAME, struct.pack("<H", 99) + b"junk")
    assert machine.call(transfer.sendto, stream, DATA, 1, 0, junk, 6) == "EISCONN"
    assert machine.call(transfer.sendto, record, DATA, 1, 0, junk, 6) == 1
    assert len(other.queue) == 1
    assert machine.call(transfer.sendto, datagram, DATA, 1, 0, junk, 6) == "EINVAL"
    assert machine.call(transfer.sendto, record, DATA, 1, 0, junk, 129) == "EINVAL"
    assert machine.call(transfer.sendto, record, DATA, 1, 0, junk, -1) == "EINVAL"
    assert machine.call(transfer.sendto, record, DATA, 1, 0, BAD, 6) == "EFAULT"
    assert machine.call(transfer.sendto, record, BAD, 1, 0, 0, 0) == "EFAULT"
    raw = encode(b"\0nobody")
    assert machine.call(transfer.sendto, datagram, DATA, 1, 0, machine.put(NAME, raw), len(raw)) == "ECONNREFUSED"
    assert machine.call(transfer.sendto, datagram, DATA, 1, 0, 0, 0) == "ENOTCONN"


# sendmsg and recvmsg.


def rights(*numbers: int) -> bytes:
    return build_control([(SOL_SOCKET, c.SCM_RIGHTS, struct.pack(f"<{len(numbers)}i", *numbers))])


def send_rights(machine: Machine, sock: Socket, data: bytes, *files: File) -> int | str:
    raw = rights(*(machine.open(file) for file in files))
    machine.put(DATA, data)
    header = machine.header((DATA, len(data)), control=(machine.put(CONTROL, raw), len(raw)))
    return machine.call(messages.sendmsg, sock, header, 0)


def test_descriptors_arrive(machine: Machine) -> None:
    """SCM_RIGHTS: the receiver has a descriptor of its own, close-on-exec if asked."""
    one, two = machine.pair(SOCK_STREAM)
    file = Counted()
    assert send_rights(machine, one, b"x", file) == 1
    assert file.references == 2
    header = machine.header((DATA + 100, 10), control=(CONTROL, 64))
    assert machine.call(messages.recvmsg, two, header, MSG_CMSG_CLOEXEC) == 1
    assert machine.result() == (0, 24, MSG_CMSG_CLOEXEC)
    ((level, kind, data),) = walk_control(machine.memory.read(CONTROL, 24))
    assert (level, kind) == (SOL_SOCKET, c.SCM_RIGHTS)
    (number,) = struct.unpack("<i", data)
    assert machine.table[number] is file
    assert number in machine.cloexec
    assert file.references == 2
    assert not machine.kernel.inflight


@pytest.mark.parametrize("room", [(0, 0), (0, 64), (CONTROL, 0), (CONTROL, 15), (BAD, 64)])
def test_descriptors_without_room(machine: Machine, room: tuple[int, int]) -> None:
    """What can't be told is closed and not installed; the data arrive."""
    one, two = machine.pair(SOCK_STREAM)
    file = Counted()
    send_rights(machine, one, b"x", file)
    before = dict(machine.table)
    header = machine.header((DATA, 10), control=room)
    assert machine.call(messages.recvmsg, two, header, 0) == 1
    assert machine.result()[1:] == (0, MSG_CTRUNC)
    assert machine.table == before
    assert file.references == 1


def test_descriptors_beyond_the_limit(machine: Machine) -> None:
    """EMFILE on the way ends the descriptors there, and the rest is closed."""
    one, two = machine.pair(SOCK_STREAM)
    files = [Counted() for _ in range(3)]
    send_rights(machine, one, b"x", *files)
    machine.room = len(machine.table) + 1
    assert machine.call(messages.recvmsg, two, machine.header((DATA, 10), control=(CONTROL, 64)), 0) == 1
    assert machine.result()[1:] == (24, MSG_CTRUNC)
    assert [file.references for file in files] == [2, 1, 1]


def test_descriptors_of_a_failed_send(machine: Machine) -> None:
    """Whatever the error, the message's references are gone again."""
    one, two = machine.pair(SOCK_STREAM)
    file = Counted()
    number = machine.open(file)
    raw = rights(number)
    machine.put(CONTROL, raw)
    for ranges in [((BAD, 1),), ((DATA, 1), (BAD, 1))]:
        header = machine.header(*ranges, control=(CONTROL, len(raw)))
        assert machine.call(messages.sendmsg, one, header, 0) == "EFAULT"
    two.shutdown(0)
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), control=(CONTROL, len(raw))), 0) == "EPIPE"
    machine.put(CONTROL, rights(number, 99))
    header = machine.header((DATA, 1), control=(CONTROL, len(rights(number, 99))))
    assert machine.call(messages.sendmsg, one, header, 0) == "EBADF"
    one, two = machine.pair(SOCK_SEQPACKET)
    one.wmem = one.sndbuf
    machine.put(CONTROL, raw)
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), control=(CONTROL, len(raw))), 0) == "EAGAIN"
    assert file.references == 1
    assert not file.closed
    assert not machine.kernel.inflight


def test_peeked_descriptors(machine: Machine) -> None:
    """Each MSG_PEEK installs another one; the queue keeps its own."""
    one, two = machine.pair(SOCK_DGRAM)
    file = Counted()
    send_rights(machine, one, b"x", file)
    for references in (3, 4):
        header = machine.header((DATA, 10), control=(CONTROL, 64))
        assert machine.call(messages.recvmsg, two, header, MSG_PEEK) == 1
        assert file.references == references
    assert two.queue[0].files == [file]


def test_message_headers(machine: Machine) -> None:
    """The checks of a msghdr: EFAULT, EINVAL, EMSGSIZE, ENOBUFS."""
    one, two = machine.pair(SOCK_STREAM)
    assert machine.call(messages.sendmsg, one, BAD, 0) == "EFAULT"
    assert machine.call(messages.recvmsg, two, BAD, 0) == "EFAULT"
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), name=(NAME, -1)), 0) == "EINVAL"
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), name=(0, -1)), 0) == 1
    machine.put(HEADER, struct.pack("<Qi4xQQQQI4x", 0, 0, IOVS, 1025, 0, 0, 0))
    assert machine.call(messages.sendmsg, one, HEADER, 0) == "EMSGSIZE"
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), control=(CONTROL, 131072)), 0) == "ENOBUFS"
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), control=(BAD, 24)), 0) == "EFAULT"
    machine.put(CONTROL, struct.pack("<Qii", 8, SOL_SOCKET, c.SCM_RIGHTS))
    assert machine.call(messages.sendmsg, one, machine.header((DATA, 1), control=(CONTROL, 16)), 0) == "EINVAL"
    assert len(two.queue) == 1


def test_credentials_and_name_arrive(machine: Machine) -> None:
    """SO_PASSCRED: the sender's ids, its address, and their lengths."""
    one, two = machine.pair(SOCK_DGRAM)
    raw = encode(b"\0sender")
    machine.call(naming.bind, one, machine.put(NAME, raw), len(raw))
    machine.put(DATA, struct.pack("<i", 1))
    assert machine.call(control.setsockopt, two, SOL_SOCKET, c.SO_PASSCRED, DATA, 4) == 0
    machine.call(transfer.write, one, DATA, 1)
    header = machine.header((DATA, 10), name=(NAME + 100, 50), control=(CONTROL, 64))
    assert machine.call(messages.recvmsg, two, header, 0) == 1
    assert machine.result() == (len(raw), 32, 0)
    assert machine.memory.read(NAME + 100, len(raw)) == raw
    assert walk_control(machine.memory.read(CONTROL, 32)) == [
        (SOL_SOCKET, c.SCM_CREDENTIALS, struct.pack("<iII", 77, 1000, 1001))
    ]


def many(machine: Machine, *ranges: tuple[int, int]) -> int:
    for index, pair in enumerate(ranges):
        machine.header(pair, at=HEADER + 64 * index)
    return HEADER


def lengths(machine: Machine, number: int) -> list[int]:
    return [struct.unpack("<I", machine.memory.read(HEADER + 64 * at + 56, 4))[0] for at in range(number)]


def test_many_messages(machine: Machine) -> None:
    """sendmmsg and recvmmsg: the count, and each message's length."""
    one, two = machine.pair(SOCK_SEQPACKET)
    machine.put(DATA, b"abcdef")
    entries = many(machine, (DATA, 1), (DATA, 2), (DATA, 3))
    assert machine.call(messages.sendmmsg, one, entries, 3, 0) == 3
    assert lengths(machine, 3) == [1, 2, 3]
    entries = many(machine, *((DATA + 100 * at, 10) for at in range(1, 5)))
    assert machine.call(messages.recvmmsg, two, entries, 4, 0, 0) == 3
    assert lengths(machine, 3) == [1, 2, 3]
    assert machine.memory.read(DATA + 300, 4) == b"abc\0"
    assert machine.call(messages.recvmmsg, two, entries, 4, 0, 0) == "EAGAIN"


def test_many_messages_of_which_one_fails(machine: Machine) -> None:
    """An error is told only by the first; later ones cut the count, and a receive's waits in SO_ERROR."""
    one, two = machine.pair(SOCK_SEQPACKET)
    assert machine.call(messages.sendmmsg, one, many(machine, (DATA, 1), (BAD, 1), (DATA, 1)), 3, 0) == 1
    assert machine.call(messages.sendmmsg, one, many(machine, (BAD, 1), (DATA, 1)), 2, 0) == "EFAULT"
    machine.call(transfer.write, one, DATA, 1)
    assert machine.call(messages.recvmmsg, two, many(machine, (DATA, 9), (BAD, 9)), 2, 0, 0) == 1
    assert two.error is Errno.EFAULT
    assert machine.call(messages.recvmmsg, two, many(machine, (DATA, 9)), 1, 0, 0) == "EFAULT"
    assert machine.call(messages.recvmmsg, two, many(machine, (DATA, 9)), 1, 0, 0) == "EAGAIN"


def test_many_messages_undone(machine: Machine) -> None:
    """All of them go back, in order."""
    one, two = machine.pair(SOCK_SEQPACKET)
    for data in (b"a", b"b"):
        machine.call(transfer.write, one, machine.put(DATA, data), 1)
    _, change = machine.change(messages.recvmmsg, two, many(machine, (DATA, 9), (DATA, 9)), 2, 0, 0)
    assert not two.queue
    change.undo()
    assert [message.data for message in two.queue] == [b"a", b"b"]
    _, change = machine.change(messages.sendmmsg, one, many(machine, (DATA, 1), (DATA, 1)), 2, 0)
    assert len(two.queue) == 4
    change.undo()
    assert len(two.queue) == 2


def test_recvmmsg_time(machine: Machine) -> None:
    """A bad time-out is EINVAL; the time left is written back; MSG_WAITFORONE waits for the first only."""
    one, two = machine.pair(SOCK_DGRAM, nonblock=False)
    entries = many(machine, (DATA, 9), (DATA, 9))
    machine.put(CONTROL, struct.pack("<qq", 0, 1_000_000_000))
    assert machine.call(messages.recvmmsg, two, entries, 2, 0, CONTROL) == "EINVAL"
    assert machine.call(messages.recvmmsg, two, entries, 2, 0, BAD) == "EFAULT"
    machine.call(transfer.write, one, DATA, 1)
    machine.put(CONTROL, struct.pack("<qq", 5, 0))
    assert machine.call(messages.recvmmsg, two, entries, 2, MSG_WAITFORONE, CONTROL) == 1
    assert struct.unpack("<qq", machine.memory.read(CONTROL, 16)) == (5, 0)


# Names and connections.


def test_names(machine: Machine) -> None:
    """bind, getsockname, getpeername; a short buffer gets the start and the full length."""
    one, two = machine.pair(SOCK_STREAM)
    raw = encode(b"\0name")
    length = machine.put(CONTROL, struct.pack("<i", 4))
    assert machine.call(naming.bind, one, machine.put(NAME, raw), len(raw)) == 0
    assert machine.call(naming.getpeername, two, NAME + 100, length) == 0
    assert machine.memory.read(NAME + 100, 5) == raw[:4] + b"\0"
    assert machine.memory.read(length, 4) == struct.pack("<i", len(raw))
    assert machine.call(naming.getsockname, two, NAME + 200, machine.put(CONTROL, struct.pack("<i", 50))) == 0
    assert machine.memory.read(NAME + 200, 3) == b"\1\0\0"
    assert machine.memory.read(length, 4) == struct.pack("<i", 2)
    assert machine.call(naming.getsockname, one, BAD, machine.put(CONTROL, struct.pack("<i", 50))) == "EFAULT"
    assert machine.call(naming.getsockname, one, NAME, BAD) == "EFAULT"
    assert machine.call(naming.getsockname, one, NAME, machine.put(CONTROL, struct.pack("<i", -1))) == "EINVAL"
    lonely = connection.create(machine.kernel, machine.program, SOCK_STREAM)
    assert machine.call(naming.getpeername, lonely, NAME, CONTROL) == "ENOTCONN"


def test_bad_bind(machine: Machine) -> None:
    """EINVAL for the length and the family, EFAULT, EADDRINUSE; and its undo."""
    one, two = machine.pair(SOCK_STREAM)
    raw = encode(b"\0name")
    machine.put(NAME, raw)
    assert machine.call(naming.bind, one, NAME, 129) == "EINVAL"
    assert machine.call(naming.bind, one, NAME, -1) == "EINVAL"
    assert machine.call(naming.bind, one, NAME, 1) == "EINVAL"
    assert machine.call(naming.bind, one, BAD, 5) == "EFAULT"
    _, change = machine.change(naming.bind, one, NAME, len(raw))
    assert machine.call(naming.bind, two, NAME, len(raw)) == "EADDRINUSE"
    change.undo()
    assert machine.call(naming.bind, two, NAME, len(raw)) == 0
    assert machine.call(naming.bind, two, NAME, 2) == 0, "autobind of a bound socket changes nothing"
    assert two.name() == b"\0name"


def listener(machine: Machine) -> tuple[Socket, Socket, int]:
    listening, client = (connection.create(machine.kernel, machine.program, SOCK_STREAM) for _ in range(2))
    raw = encode(b"\0listener")
    assert machine.call(naming.bind, listening, machine.put(NAME, raw), len(raw)) == 0
    assert machine.call(naming.listen, listening, 0) == 0
    listening.nonblock = client.nonblock = True
    return listening, client, len(raw)


def test_connections(machine: Machine) -> None:
    """connect and accept, the client's address, flags, and a full queue."""
    listening, client, size = listener(machine)
    assert machine.call(naming.accept, listening, 0, 0) == "EAGAIN"
    assert machine.call(naming.connect, client, NAME, size) == 0
    assert machine.call(naming.connect, client, NAME, size) == "EAGAIN", "full comes before connected already"
    assert machine.call(naming.accept4, listening, 0, 0, 1) == "EINVAL"
    machine.put(CONTROL, struct.pack("<i", 50))
    number = machine.call(naming.accept4, listening, NAME + 100, CONTROL, SOCK_CLOEXEC | SOCK_NONBLOCK)
    assert isinstance(number, int)
    accepted = machine.table[number]
    assert isinstance(accepted, Socket)
    assert accepted.peer is client
    assert accepted.nonblock
    assert number in machine.cloexec
    assert machine.memory.read(CONTROL, 4) == struct.pack("<i", 2)
    assert machine.call(naming.connect, client, NAME, size) == "EISCONN"


def test_connections_undone(machine: Machine) -> None:
    """A connect or an accept whose answer did not arrive was never made; accept's EFAULT drops the connection."""
    listening, client, size = listener(machine)
    _, change = machine.change(naming.connect, client, NAME, size)
    change.undo()
    assert not listening.queue
    assert machine.call(naming.connect, client, NAME, size) == 0
    answer = machine.start(naming.accept, listening, 0, 0)
    assert isinstance(answer, Install)
    answer.undo()
    assert len(listening.queue) == 1
    assert machine.call(naming.accept, listening, BAD, BAD) == "EFAULT"
    assert not listening.queue
    assert client.shut == 3


def test_connect_unspecified(machine: Machine) -> None:
    """AF_UNSPEC dissolves a datagram socket's association, and is EINVAL on a stream."""
    one, _ = machine.pair(SOCK_DGRAM)
    machine.put(NAME, struct.pack("<H14x", AF_UNSPEC))
    assert machine.call(naming.connect, one, NAME, 16) == 0
    assert one.peer is None
    stream, _ = machine.pair(SOCK_STREAM)
    assert machine.call(naming.connect, stream, NAME, 16) == "EINVAL"


def test_socket_and_socketpair(machine: Machine) -> None:
    """New descriptors, their flags, and that a pair that can't be told is closed."""
    number = machine.call(naming.socket, None, SOCK_STREAM | SOCK_NONBLOCK, 0)
    assert isinstance(number, int)
    made = machine.table[number]
    assert isinstance(made, Socket)
    assert made.nonblock
    assert machine.call(naming.socket, None, 77, 0) == "EINVAL"
    assert machine.call(naming.socket, None, 3, 0) != "ESOCKTNOSUPPORT", "SOCK_RAW stands for SOCK_DGRAM"
    assert machine.call(naming.socket, None, 4, 0) == "ESOCKTNOSUPPORT"
    assert machine.call(naming.socket, None, SOCK_STREAM, 6) == "EPROTONOSUPPORT"
    assert machine.call(naming.socketpair, None, SOCK_STREAM, 0, DATA) == 0
    first, second = struct.unpack("<ii", machine.memory.read(DATA, 8))
    one, two = machine.table[first], machine.table[second]
    assert isinstance(one, Socket)
    assert one.peer is two
    before = dict(machine.table)
    assert machine.call(naming.socketpair, None, SOCK_STREAM, 0, BAD) == "EFAULT"
    machine.room = len(machine.table) + 1
    assert machine.call(naming.socketpair, None, SOCK_STREAM, 0, DATA) == "EMFILE"
    assert machine.table == before


# Options and ioctls.


def test_options(machine: Machine) -> None:
    """The value is cut to the room, its length written; EFAULT on either pointer."""
    one, _ = machine.pair(SOCK_STREAM)
    machine.put(CONTROL, struct.pack("<i", 50))
    assert machine.call(control.getsockopt, one, SOL_SOCKET, c.SO_TYPE, DATA, CONTROL) == 0
    assert machine.memory.read(DATA, 4) == struct.pack("<i", SOCK_STREAM)
    assert machine.memory.read(CONTROL, 4) == struct.pack("<i", 4)
    assert machine.call(control.getsockopt, one, SOL_SOCKET, c.SO_TYPE, BAD, CONTROL) == "EFAULT"
    assert machine.call(control.getsockopt, one, SOL_SOCKET, c.SO_TYPE, DATA, BAD) == "EFAULT"
    assert machine.call(control.getsockopt, one, SOL_SOCKET, 9999, DATA, CONTROL) == "ENOPROTOOPT"
    assert machine.call(control.setsockopt, one, SOL_SOCKET, c.SO_PASSCRED, BAD, 4) == "EFAULT"
    assert not one.passcred


def test_ioctls(machine: Machine) -> None:
    """SIOCINQ, SIOCOUTQ and FIONBIO, and ENOTTY."""
    one, two = machine.pair(SOCK_STREAM)
    machine.call(transfer.write, one, DATA, 3)
    assert machine.call(control.ioctl, two, SIOCINQ, CONTROL) == 0
    assert machine.memory.read(CONTROL, 4) == struct.pack("<i", 3)
    assert machine.call(control.ioctl, one, SIOCOUTQ, CONTROL) == 0
    assert machine.memory.read(CONTROL, 4) == struct.pack("<i", 768)
    assert machine.call(control.ioctl, one, SIOCINQ, BAD) == "EFAULT"
    assert machine.call(control.ioctl, one, 0x5401, CONTROL) == "ENOTTY"
    machine.put(CONTROL, struct.pack("<i", 0))
    answer = machine.start(control.ioctl, one, FIONBIO, CONTROL)
    assert isinstance(answer, Native)
    assert answer is NATIVE
    assert not one.nonblock
