"""The steps of random programs: what a step is, and what raw calls it comes to in a process's memory.

A step is plain data that `repr` writes as Python. It names descriptors by *handles*, numbers that the program gives
them when they are made, so that a program keeps its meaning when steps are left out. Its raw form says what is written
to memory, which calls are made, and which memory is looked at after them. That form is the same for both sides: their
memory lies at the same address, and their descriptors and processes have the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from afunix.abi import arch
from afunix.abi.constants import AF_UNIX, MSG_DONTWAIT, SCM_CREDENTIALS, SCM_RIGHTS, SOCK_NONBLOCK, SOL_SOCKET
from afunix.abi.message import CMSGHDR, IOVEC, MMSGHDR_SIZE, MSGHDR, cmsg_len
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT, POLLFD, SOCKLEN, UCRED
from afunix.conformance.machine import ARENA_SIZE

__all__ = [
    "BASE", "BUFFER", "BUFFER_SIZE", "CONTROL", "END", "END_ROOM", "HEADER", "NAME", "OPERATIONS", "PATTERN",
    "PATTERN_AT", "VALUE", "Raw", "Resolved", "Spoil", "Step", "encode_step",
]  # fmt: skip

BASE: Final = 0x10000000
"""Where the memory of every process lies, on both sides."""

HEADER: Final = 0x000
"""msghdr or mmsghdrs."""
IOVECS: Final = 0x100
NAME: Final = 0x200
"""An address, up to 0xe0 bytes."""
LENGTH: Final = 0x2F0
"""A socklen_t."""
VALUE: Final = 0x300
"""An option's value, descriptors of a pair, what an ioctl writes, pollfds."""
VALUE_ROOM: Final = 0x80
SECOND_NAME: Final = 0x400
SECOND_LENGTH: Final = 0x4F0
THIRD_NAME: Final = 0x500
THIRD_LENGTH: Final = 0x5F0
CONTROL: Final = 0x1000
BUFFER: Final = 0x2000
BUFFER_SIZE: Final = 0x100000
PATTERN_AT: Final = 0x200000
END: Final = ARENA_SIZE - 0x400
"""The end of the memory, which some wrong pointers lead to."""
END_ROOM: Final = 0x400
PATTERN: Final = bytes(33 + (at * 7 + at // 94 * 3 + at // 8836) % 94 for at in range(320_000))
"""What is sent is always some part of this."""

NOBODY: Final = 0x7FFFFFFE
"""The number of no process."""
FILLING: Final = 8
"""Bytes behind a buffer that are looked at too."""
NAME_ROOM: Final = 0xE0
NUMBERS: Final = arch.current().numbers

Spoil = tuple[str, int, int]
"""("arg", n, value): the main call's argument n; ("mem", offset, value): eight bytes of memory."""


class Step(NamedTuple):
    """One step of a program: an operation of one process.

    args: as the operation's function in this module takes them. makes: handles for the descriptors that it makes.
    spoil: what is made wrong with the call at last.
    """

    process: int
    operation: str
    args: tuple[object, ...]
    makes: tuple[int, ...] = ()
    spoil: tuple[Spoil, ...] = ()


Name = tuple[str, object]
"""("abstract", tail), ("path", name), ("auto", None), ("raw", all bytes of the address), ("none", None)."""

Call = tuple[str, tuple[int, ...]]
Window = tuple[int, int]


class Raw(NamedTuple):
    """The raw form: bytes by offset; bytes of the buffer to be filled; calls; offset and size of what to compare.

    main: which of the calls the step is about; the others set its stage, or look at what it did.
    """

    writes: list[tuple[int, bytes]]
    fill: int
    calls: list[Call]
    windows: list[Window]
    main: int = 0


class Resolved(NamedTuple):
    """What a step's names mean at the moment.

    fds: by handle. pids: of all processes. prefix: of abstract names. users: whom processes can become besides root.
    """

    fds: Mapping[int, int]
    pids: Sequence[int]
    prefix: bytes
    users: Sequence[int]

    def user(self, number: int) -> int:
        """Number of a user or group: 1 and more are those of the run, all others as they are."""
        return self.users[(number - 1) % len(self.users)] if number > 0 else number

    def fd(self, handle: int) -> int:
        """The descriptor; of a handle that was not made, another one; and numbers below 0 are descriptors as such."""
        if handle < 0:
            return -handle - 2
        if (fd := self.fds.get(handle)) is not None:
            return fd
        return list(self.fds.values())[handle % len(self.fds)] if self.fds else -1

    def address(self, name: Name) -> bytes:
        """The bytes of a sockaddr."""
        form, value = name
        if form == "none":
            return b""
        if form == "auto":
            return encode(b"")
        assert isinstance(value, bytes)
        if form == "raw":
            return value
        return encode(b"\0" + self.prefix + value if form == "abstract" else value)


def encode_step(step: Step, resolved: Resolved) -> Raw:
    """The raw form of a step."""
    raw = OPERATIONS[step.operation](resolved, *step.args)
    for form, at, value in step.spoil:
        if form == "mem":
            raw.writes.append((at, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little")))
        else:
            name, args = raw.calls[raw.main]
            if at < len(args):
                raw.calls[raw.main] = name, (*args[:at], value, *args[at + 1 :])
    if step.spoil:
        raw.windows.append((END, END_ROOM))
    return raw


def plain(name: str, *args: int) -> Raw:
    """A call that says all with its value."""
    return Raw([], 0, [(name, args)], [])


def name_calls(call: str, fd: int, at: int = SECOND_NAME) -> tuple[list[tuple[int, bytes]], Call, list[Window]]:
    """Ask for a socket's name, into a place of its own."""
    length = at + NAME_ROOM + 16
    writes = [(at, bytes(NAME_ROOM)), (length, INT.pack(NAME_ROOM))]
    return writes, (call, (fd, BASE + at, BASE + length)), [(at, NAME_ROOM + 20)]


def with_names(raw: Raw, fd: int, *calls: str) -> Raw:
    """Look at the names after the call itself."""
    for call, at in zip(calls, (SECOND_NAME, THIRD_NAME), strict=False):
        writes, extra, windows = name_calls(call, fd, at)
        raw.writes.extend(writes)
        raw.calls.append(extra)
        raw.windows.extend(windows)
    return raw


# Making and naming.


def socket(at: Resolved, kind: int, protocol: int, family: int) -> Raw:
    """socket(2)."""
    return plain("socket", family, kind | SOCK_NONBLOCK, protocol)


def socketpair(at: Resolved, kind: int, protocol: int) -> Raw:
    """socketpair(2)."""
    return Raw(
        [(VALUE, bytes(8))], 0, [("socketpair", (AF_UNIX, kind | SOCK_NONBLOCK, protocol, BASE + VALUE))], [(VALUE, 8)]
    )


def _addressed(at: Resolved, call: str, handle: int, name: Name) -> Raw:
    address = at.address(name)
    args = (at.fd(handle), BASE + NAME, len(address))
    return with_names(Raw([(NAME, address)], 0, [(call, args)], []), args[0], "getsockname", "getpeername")


def bind(at: Resolved, handle: int, name: Name) -> Raw:
    """bind(2), and the names after it."""
    return _addressed(at, "bind", handle, name)


def connect(at: Resolved, handle: int, name: Name) -> Raw:
    """connect(2), and the names after it."""
    return _addressed(at, "connect", handle, name)


def connect_to(at: Resolved, handle: int, other: int, length: int) -> Raw:
    """connect(2) to the name that another socket has, with that length of address."""
    writes, ask, windows = name_calls("getsockname", at.fd(other), NAME)
    return Raw(writes, 0, [ask, ("connect", (at.fd(handle), BASE + NAME, length))], windows, 1)


def listen(at: Resolved, handle: int, backlog: int) -> Raw:
    """listen(2)."""
    return plain("listen", at.fd(handle), backlog)


def accept(at: Resolved, handle: int, flags: int, room: int) -> Raw:
    """accept4(2) with the peer's address."""
    args = (at.fd(handle), BASE + NAME, BASE + LENGTH, flags | SOCK_NONBLOCK)
    return Raw([(LENGTH, INT.pack(room)), (NAME, bytes(112))], 0, [("accept4", args)], [(NAME, 0x100)])


def name_of(at: Resolved, call: str, handle: int, room: int) -> Raw:
    """getsockname(2) or getpeername(2)."""
    args = (at.fd(handle), BASE + NAME, BASE + LENGTH)
    return Raw([(LENGTH, INT.pack(room)), (NAME, bytes(112))], 0, [(call, args)], [(NAME, 0x100)])


def getsockname(at: Resolved, handle: int, room: int) -> Raw:
    """getsockname(2)."""
    return name_of(at, "getsockname", handle, room)


def getpeername(at: Resolved, handle: int, room: int) -> Raw:
    """getpeername(2)."""
    return name_of(at, "getpeername", handle, room)


# Sending.


def write(at: Resolved, handle: int, start: int, size: int) -> Raw:
    """write(2)."""
    return plain("write", at.fd(handle), BASE + PATTERN_AT + start, size)


def send(at: Resolved, handle: int, start: int, size: int, flags: int, name: Name) -> Raw:
    """sendto(2)."""
    address = at.address(name)
    to = BASE + NAME if address else 0
    args = (at.fd(handle), BASE + PATTERN_AT + start, size, flags, to, len(address))
    return Raw([(NAME, address)], 0, [("sendto", args)], [])


def pattern_iovecs(start: int, sizes: Sequence[int]) -> bytes:
    """Parts of the pattern, one after the other."""
    iovecs = b""
    for size in sizes:
        iovecs += IOVEC.pack(BASE + PATTERN_AT + start, size)
        start += size
    return iovecs


def writev(at: Resolved, handle: int, start: int, sizes: tuple[int, ...]) -> Raw:
    """writev(2)."""
    iovecs = pattern_iovecs(start, sizes)
    return Raw([(IOVECS, iovecs)], 0, [("writev", (at.fd(handle), BASE + IOVECS, len(sizes)))], [])


ControlItem = tuple[str, tuple[int, ...], int]
"""("rights", handles, change) or ("creds", (process, uid, gid), change) or ("other", (level, type, bytes), change):
the change is added to cmsg_len."""


def control_chain(at: Resolved, items: Sequence[ControlItem]) -> bytes:
    """The bytes of msg_control."""
    chain = b""
    for form, values, change in items:
        if form == "rights":
            level, kind, data = SOL_SOCKET, SCM_RIGHTS, b"".join([INT.pack(at.fd(handle)) for handle in values])
        elif form == "creds":
            process, *ids = values
            pid = at.pids[process] if 0 <= process < len(at.pids) else NOBODY
            uid, gid = (at.user(number) & 0xFFFFFFFF for number in ids)
            level, kind, data = SOL_SOCKET, SCM_CREDENTIALS, UCRED.pack(pid, uid, gid)
        else:
            level, kind, size = values
            data = bytes(size)
        chain += CMSGHDR.pack((cmsg_len(len(data)) + change) & 0xFFFFFFFFFFFFFFFF, level, kind) + data
        chain += bytes(-len(chain) & 7)
    return chain


def sendmsg(
    at: Resolved,
    handle: int,
    start: int,
    sizes: tuple[int, ...],
    flags: int,
    name: Name,
    control: tuple[ControlItem, ...],
    cut: int,
) -> Raw:
    """sendmsg(2). cut: bytes that msg_controllen lacks (or has in addition)."""
    address, chain = at.address(name), control_chain(at, control)
    room = max(0, len(chain) - cut)
    header = MSGHDR.pack(
        BASE + NAME if address else 0,
        len(address),
        BASE + IOVECS,
        len(sizes),
        BASE + CONTROL if room else 0,
        room,
        0,
    )
    writes = [(HEADER, header), (IOVECS, pattern_iovecs(start, sizes)), (NAME, address), (CONTROL, chain)]
    return Raw(writes, 0, [("sendmsg", (at.fd(handle), BASE + HEADER, flags))], [])


def sendmmsg(at: Resolved, handle: int, start: int, sizes: tuple[int, ...], flags: int) -> Raw:
    """sendmmsg(2) of plain messages."""
    headers = b"".join(
        [
            MSGHDR.pack(0, 0, BASE + IOVECS + IOVEC.size * number, 1, 0, 0, 0).ljust(MMSGHDR_SIZE, b"\0")
            for number in range(len(sizes))
        ]
    )
    writes = [(HEADER, headers), (IOVECS, pattern_iovecs(start, sizes))]
    args = (at.fd(handle), BASE + HEADER, len(sizes), flags)
    return Raw(writes, 0, [("sendmmsg", args)], [(HEADER, len(headers))])


# Receiving.


def read(at: Resolved, handle: int, size: int) -> Raw:
    """read(2)."""
    return Raw([], size + FILLING, [("read", (at.fd(handle), BASE + BUFFER, size))], [(BUFFER, size + FILLING)])


def recv(at: Resolved, handle: int, size: int, flags: int, room: int) -> Raw:
    """recvfrom(2). room: bytes for the address; -1: no pointers."""
    pointers = (0, 0) if room < 0 else (BASE + NAME, BASE + LENGTH)
    args = (at.fd(handle), BASE + BUFFER, size, flags, *pointers)
    writes = [(LENGTH, INT.pack(room)), (NAME, bytes(112))]
    return Raw(writes, size + FILLING, [("recvfrom", args)], [(NAME, 0x100), (BUFFER, size + FILLING)])


def buffer_iovecs(sizes: Sequence[int]) -> tuple[bytes, int]:
    """Parts of the buffer with gaps between them, and the bytes they take in all."""
    at = 0
    iovecs = b""
    for size in sizes:
        iovecs += IOVEC.pack(BASE + BUFFER + at, size)
        at += size + FILLING
    return iovecs, at


def readv(at: Resolved, handle: int, sizes: tuple[int, ...]) -> Raw:
    """readv(2)."""
    iovecs, total = buffer_iovecs(sizes)
    args = (at.fd(handle), BASE + IOVECS, len(sizes))
    return Raw([(IOVECS, iovecs)], total, [("readv", args)], [(BUFFER, total)])


def recvmsg(at: Resolved, handle: int, sizes: tuple[int, ...], flags: int, control: int, name: int) -> Raw:
    """recvmsg(2). control, name: room for them; -1: no pointer."""
    iovecs, total = buffer_iovecs(sizes)
    header = MSGHDR.pack(
        BASE + NAME if name >= 0 else 0,
        max(name, 0),
        BASE + IOVECS,
        len(sizes),
        BASE + CONTROL if control >= 0 else 0,
        max(control, 0),
        0,
    )
    writes = [(HEADER, header), (IOVECS, iovecs), (NAME, bytes(128)), (CONTROL, b"\xa5" * (max(control, 0) + FILLING))]
    windows = [(HEADER, MSGHDR.size), (NAME, 128), (CONTROL, max(control, 0) + FILLING), (BUFFER, total)]
    return Raw(writes, total, [("recvmsg", (at.fd(handle), BASE + HEADER, flags))], windows)


def recvmmsg(at: Resolved, handle: int, sizes: tuple[int, ...], flags: int) -> Raw:
    """recvmmsg(2) of plain messages, which does not wait."""
    iovecs, total = buffer_iovecs(sizes)
    headers = b"".join(
        [
            MSGHDR.pack(0, 0, BASE + IOVECS + IOVEC.size * number, 1, 0, 0, 0).ljust(MMSGHDR_SIZE, b"\0")
            for number in range(len(sizes))
        ]
    )
    args = (at.fd(handle), BASE + HEADER, len(sizes), flags | MSG_DONTWAIT, 0)
    windows = [(HEADER, len(headers)), (BUFFER, total)]
    return Raw([(HEADER, headers), (IOVECS, iovecs)], total, [("recvmmsg", args)], windows)


# The rest.


def shutdown(at: Resolved, handle: int, how: int) -> Raw:
    """shutdown(2)."""
    return plain("shutdown", at.fd(handle), how)


def setsockopt(at: Resolved, handle: int, level: int, name: int, value: bytes, length: int) -> Raw:
    """setsockopt(2)."""
    args = (at.fd(handle), level, name, BASE + VALUE, length)
    return Raw([(VALUE, value.ljust(VALUE_ROOM, b"\0"))], 0, [("setsockopt", args)], [])


def getsockopt(at: Resolved, handle: int, level: int, name: int, room: int) -> Raw:
    """getsockopt(2)."""
    args = (at.fd(handle), level, name, BASE + VALUE, BASE + LENGTH)
    return Raw(
        [(LENGTH, INT.pack(room)), (VALUE, b"\xa5" * VALUE_ROOM)],
        0,
        [("getsockopt", args)],
        [(LENGTH, 4), (VALUE, VALUE_ROOM)],
    )


def ioctl(at: Resolved, handle: int, command: int) -> Raw:
    """ioctl(2) that writes an int."""
    return Raw([(VALUE, b"\xa5" * 8)], 0, [("ioctl", (at.fd(handle), command, BASE + VALUE))], [(VALUE, 8)])


def poll(at: Resolved, handles: tuple[int, ...], events: int) -> Raw:
    """ppoll(2) that does not wait."""
    entries = b"".join([POLLFD.pack(at.fd(handle), events, 0) for handle in handles])
    args = (BASE + VALUE, len(handles), BASE + LENGTH - 16, 0, 0)
    return Raw([(VALUE, entries), (LENGTH - 16, bytes(16))], 0, [("ppoll", args)], [(VALUE, len(entries))])


def close(at: Resolved, handle: int) -> Raw:
    """close(2)."""
    return plain("close", at.fd(handle))


def dup(at: Resolved, handle: int) -> Raw:
    """dup(2)."""
    return plain("dup", at.fd(handle))


def dup3(at: Resolved, handle: int, over: int) -> Raw:
    """dup3(2) over another descriptor."""
    return plain("dup3", at.fd(handle), at.fd(over), 0)


def setresuid(at: Resolved, real: int, effective: int, saved: int) -> Raw:
    """setresuid(2)."""
    return plain("setresuid", *(at.user(number) & 0xFFFFFFFF for number in (real, effective, saved)))


def setresgid(at: Resolved, real: int, effective: int, saved: int) -> Raw:
    """setresgid(2)."""
    return plain("setresgid", *(at.user(number) & 0xFFFFFFFF for number in (real, effective, saved)))


def setgroups(at: Resolved, groups: tuple[int, ...]) -> Raw:
    """setgroups(2)."""
    raw = b"".join([SOCKLEN.pack(at.user(number) & 0xFFFFFFFF) for number in groups])
    return Raw([(VALUE, raw)], 0, [("setgroups", (len(groups), BASE + VALUE))], [])


def unlink(at: Resolved, path: bytes) -> Raw:
    """unlinkat(2) in the current directory."""
    return Raw([(NAME, path + b"\0")], 0, [("unlinkat", (-100, BASE + NAME, 0))], [])


OPERATIONS: Final[dict[str, Callable[..., Raw]]] = {
    function.__name__: function
    for function in (
        socket, socketpair, bind, connect, connect_to, listen, accept, getsockname, getpeername, write, send, writev,
        sendmsg, sendmmsg, read, recv, readv, recvmsg, recvmmsg, shutdown, setsockopt, getsockopt, ioctl, poll, close,
        dup, dup3, setresuid, setresgid, setgroups, unlink,
    )
}  # fmt: skip
"""What a step can be, besides "fork" and "exit", which are about processes."""

assert set(NUMBERS) >= {"accept4", "ppoll"}, "both architectures have all calls that are made here"
