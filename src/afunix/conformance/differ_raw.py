"""What a step of a random program is, and the raw form that it comes to in a process's memory.

A step is plain data that `repr` writes as Python. It names descriptors by *handles*, numbers that the program gives
them when they are made, so that a program keeps its meaning when steps are left out. Its raw form says what is written
to memory, which calls are made, and which memory is looked at after them. That form is the same for both sides: their
memory lies at the same address, and their descriptors and processes have the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from afunix.abi import arch
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT
from afunix.conformance.machine import ARENA_SIZE

__all__ = [
    "BASE", "BUFFER", "BUFFER_SIZE", "CONTROL", "END", "END_ROOM", "FILLING", "HEADER", "IOVECS", "LENGTH", "NAME",
    "NAME_ROOM", "NOBODY", "NUMBERS", "PATTERN", "PATTERN_AT", "SECOND_NAME", "TIMEOUT", "VALUE", "VALUE_ROOM",
    "Call", "Name", "Raw", "Resolved", "Spoil", "Step", "name_calls", "plain", "with_names",
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
TIMEOUT: Final = 0x600
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

    fds, epolls: by handle. pids: of all processes. prefix: of abstract names. users: whom processes can become besides
    root.
    """

    fds: Mapping[int, int]
    pids: Sequence[int]
    prefix: bytes
    users: Sequence[int]
    epolls: Mapping[int, int]

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

    def epoll(self, handle: int) -> int:
        """The descriptor of an epoll."""
        return self.epolls.get(handle, -1)

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
