"""The steps of random programs that are about sockets: the raw form of each, and the table of all operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from afunix.abi.constants import AF_UNIX, MSG_DONTWAIT, SCM_CREDENTIALS, SCM_RIGHTS, SOCK_NONBLOCK, SOL_SOCKET
from afunix.abi.message import CMSGHDR, IOVEC, MMSGHDR_SIZE, MSGHDR, cmsg_len
from afunix.abi.structs import INT, POLLFD, TIMESPEC, UCRED
from afunix.conformance.differ_file_steps import FILE_OPERATIONS
from afunix.conformance.differ_raw import (
    BASE,
    BUFFER,
    CONTROL,
    END,
    END_ROOM,
    FILLING,
    HEADER,
    IOVECS,
    LENGTH,
    NAME,
    NOBODY,
    NUMBERS,
    PATTERN_AT,
    TIMEOUT,
    VALUE,
    VALUE_ROOM,
    Name,
    Raw,
    Resolved,
    Step,
    name_calls,
    plain,
    with_names,
)

__all__ = ["CONTROL_STEP", "NO_TIMEOUT", "OPERATIONS", "Step", "encode_step"]

NO_TIMEOUT: Final = -2
"""Seconds of a recvmmsg without a time-out."""
CONTROL_STEP: Final = 0x80
"""From the control messages of one message of a recvmmsg to those of the next."""


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


def pwritev2(at: Resolved, handle: int, start: int, sizes: tuple[int, ...], offset: int, flags: int) -> Raw:
    """pwritev2(2)."""
    args = (at.fd(handle), BASE + IOVECS, len(sizes), offset, 0, flags)
    return Raw([(IOVECS, pattern_iovecs(start, sizes))], 0, [("pwritev2", args)], [])


ControlItem = tuple[str, tuple[int, ...], int]
"""("rights", handles, change), ("copies", (number,), change), which is descriptor 0 so many times, ("creds", (process,
uid, gid), change) or ("other", (level, type, bytes), change): the change is added to cmsg_len."""


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
        elif form == "copies":
            level, kind, data = SOL_SOCKET, SCM_RIGHTS, bytes(INT.size * sum(values))
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


def sendmmsg(
    at: Resolved,
    handle: int,
    start: int,
    sizes: tuple[int, ...],
    flags: int,
    name: Name = ("none", None),
    control: tuple[ControlItem, ...] = (),
) -> Raw:
    """sendmmsg(2) of messages that have the same name and control messages."""
    address, chain = at.address(name), control_chain(at, control)
    headers = b"".join(
        [
            MSGHDR.pack(
                BASE + NAME if address else 0,
                len(address),
                BASE + IOVECS + IOVEC.size * number,
                1,
                BASE + CONTROL if chain else 0,
                len(chain),
                0,
            ).ljust(MMSGHDR_SIZE, b"\0")
            for number in range(len(sizes))
        ]
    )
    writes = [(HEADER, headers), (IOVECS, pattern_iovecs(start, sizes)), (NAME, address), (CONTROL, chain)]
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


def preadv2(at: Resolved, handle: int, sizes: tuple[int, ...], offset: int, flags: int) -> Raw:
    """preadv2(2)."""
    iovecs, total = buffer_iovecs(sizes)
    args = (at.fd(handle), BASE + IOVECS, len(sizes), offset, 0, flags)
    return Raw([(IOVECS, iovecs)], total, [("preadv2", args)], [(BUFFER, total)])


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


def recvmmsg(
    at: Resolved,
    handle: int,
    sizes: tuple[int, ...],
    flags: int,
    control: int = -1,
    seconds: int = NO_TIMEOUT,
    nanoseconds: int = 0,
) -> Raw:
    """recvmmsg(2), which does not wait. control: room for control messages in each; -1: no pointer.

    seconds, nanoseconds: of the time-out.
    """
    iovecs, total = buffer_iovecs(sizes)
    headers = b"".join(
        [
            MSGHDR.pack(
                0,
                0,
                BASE + IOVECS + IOVEC.size * number,
                1,
                BASE + CONTROL + CONTROL_STEP * number if control >= 0 else 0,
                max(control, 0),
                0,
            ).ljust(MMSGHDR_SIZE, b"\0")
            for number in range(len(sizes))
        ]
    )
    timeout = 0 if seconds == NO_TIMEOUT else BASE + TIMEOUT
    args = (at.fd(handle), BASE + HEADER, len(sizes), flags | MSG_DONTWAIT, timeout)
    room = CONTROL_STEP * len(sizes)
    writes = [
        (HEADER, headers),
        (IOVECS, iovecs),
        (CONTROL, b"\xa5" * room),
        (TIMEOUT, TIMESPEC.pack(seconds, nanoseconds)),
    ]
    windows = [(HEADER, len(headers)), (BUFFER, total), (CONTROL, room), (TIMEOUT, TIMESPEC.size)]
    return Raw(writes, total, [("recvmmsg", args)], windows)


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


OPERATIONS: Final[dict[str, Callable[..., Raw]]] = {
    function.__name__: function
    for function in (
        socket, socketpair, bind, connect, connect_to, listen, accept, getsockname, getpeername, write, send, writev,
        pwritev2, sendmsg, sendmmsg, read, recv, readv, preadv2, recvmsg, recvmmsg, shutdown, setsockopt, getsockopt,
        ioctl, poll,
    )
} | FILE_OPERATIONS  # fmt: skip
"""What a step can be, besides "fork" and "exit", which are about processes."""

assert set(NUMBERS) >= {"accept4", "ppoll"}, "both architectures have all calls that are made here"
