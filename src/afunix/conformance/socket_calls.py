"""Calls on sockets as such: names, connections, options."""

from __future__ import annotations

from struct import Struct
from typing import Final

from afunix.abi.constants import (
    AF_UNIX,
    SOL_SOCKET,
)
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT, TIMEVAL
from afunix.conformance.raw_calls import RawCalls
from afunix.conformance.results import Error, result

__all__ = ["PAIR", "SocketCalls", "plain_name"]

PAIR: Final = Struct("<ii")
"""Two descriptors."""


def plain_name(raw: bytes) -> bytes:
    """The name in a sockaddr_un: without family, and without the NUL behind a path."""
    name = raw[2:]
    return name if not name or not name[0] else name.removesuffix(b"\0")


class SocketCalls(RawCalls):
    """Names are as in the core: b"" none, b"\\0x" abstract, else a path."""

    def socket(self, kind: int, protocol: int = 0, family: int = AF_UNIX) -> int:
        """socket(2)."""
        return self.scalar("socket", (family, kind, protocol), (kind, protocol))

    def socketpair(self, kind: int, protocol: int = 0) -> tuple[int, int]:
        """Both descriptors, or the Error twice."""
        at = self.room(8)

        def decode(value: int) -> tuple[int, int]:
            if value < 0:
                return result(value), result(value)
            one, two = PAIR.unpack(self.peek(at, 8))
            return one, two

        return self.run("socketpair", (AF_UNIX, kind, protocol, at), decode, (kind, protocol))

    def bind(self, fd: int, name: bytes) -> int:
        """A path goes with its NUL; b"" is the family alone, which asks for autobind."""
        return self.bind_raw(fd, encode(name))

    def bind_raw(self, fd: int, address: bytes, length: int | None = None) -> int:
        """bind to these bytes, or to the first `length` of them."""
        return self.scalar("bind", (fd, self.put(address), len(address) if length is None else length), (fd, address))

    def connect(self, fd: int, name: bytes) -> int:
        """connect to a name."""
        return self.connect_raw(fd, encode(name))

    def connect_raw(self, fd: int, address: bytes, length: int | None = None) -> int:
        """connect to these bytes, or to the first `length` of them."""
        return self.scalar(
            "connect", (fd, self.put(address), len(address) if length is None else length), (fd, address)
        )

    def disconnect(self, fd: int) -> int:
        """connect to AF_UNSPEC."""
        return self.connect_raw(fd, bytes(16))

    def listen(self, fd: int, backlog: int = 5) -> int:
        """listen(2)."""
        return self.scalar("listen", (fd, backlog), (fd, backlog))

    def accept(self, fd: int, flags: int = 0) -> int:
        """accept4 without room for the address."""
        return self.scalar("accept4", (fd, 0, 0, flags), (fd, flags))

    def accept_from(self, fd: int, flags: int = 0) -> tuple[int, bytes]:
        """accept4: the descriptor, or the Error; and the address that was told."""
        at, length = self.room(128), self.put(INT.pack(128))

        def decode(value: int) -> tuple[int, bytes]:
            return result(value), self.name_at(at, length) if value >= 0 else b""

        return self.run("accept4", (fd, at, length, flags), decode, (fd, flags))

    def shutdown(self, fd: int, how: int) -> int:
        """shutdown(2)."""
        return self.scalar("shutdown", (fd, how), (fd, how))

    def getsockname(self, fd: int) -> bytes | Error:
        """The name, without a path's NUL."""
        return self._get_name("getsockname", fd)

    def getpeername(self, fd: int) -> bytes | Error:
        """The peer's name, without a path's NUL."""
        return self._get_name("getpeername", fd)

    def _get_name(self, call: str, fd: int) -> bytes | Error:
        at, length = self.room(128), self.put(INT.pack(128))

        def decode(value: int) -> bytes | Error:
            return Error(value) if value < 0 else self.name_at(at, length)

        return self.run(call, (fd, at, length), decode, (fd,))

    def sockname_raw(self, fd: int, room: int = 128) -> tuple[int, bytes]:
        """getsockname: the length reported, or the Error; and as many bytes as there was room for."""
        at, length = self.room(128), self.put(INT.pack(room))

        def decode(value: int) -> tuple[int, bytes]:
            if value < 0:
                return result(value), b""
            told = INT.unpack(self.peek(length, 4))[0]
            return told, self.peek(at, min(told, room))

        return self.run("getsockname", (fd, at, length), decode, (fd, room))

    def name_at(self, at: int, length: int) -> bytes:
        """The name that a call told."""
        return plain_name(self.peek(at, max(0, INT.unpack(self.peek(length, 4))[0])))

    # Options.

    def setsockopt(self, fd: int, option: int, value: int | bytes, level: int = SOL_SOCKET) -> int:
        """setsockopt; an int goes as four bytes."""
        raw = INT.pack(value) if isinstance(value, int) else value
        return self.scalar("setsockopt", (fd, level, option, self.put(raw), len(raw)), (fd, level, option, value))

    def set_timeout(self, fd: int, option: int, seconds: float) -> int:
        """SO_RCVTIMEO or SO_SNDTIMEO."""
        return self.setsockopt(fd, option, TIMEVAL.pack(int(seconds), int(seconds % 1 * 1_000_000)))

    def getsockopt(self, fd: int, option: int, size: int = 64, level: int = SOL_SOCKET) -> bytes | Error:
        """getsockopt: the bytes of the value."""
        at, length = self.room(size), self.put(INT.pack(size))

        def decode(value: int) -> bytes | Error:
            return Error(value) if value < 0 else self.peek(at, INT.unpack(self.peek(length, 4))[0])

        return self.run("getsockopt", (fd, level, option, at, length), decode, (fd, level, option))

    def option(self, fd: int, option: int, level: int = SOL_SOCKET) -> int:
        """getsockopt of an int."""
        at, length = self.room(4), self.put(INT.pack(4))

        def decode(value: int) -> int:
            return result(value) if value < 0 else int(INT.unpack(self.peek(at, 4))[0])

        return self.run("getsockopt", (fd, level, option, at, length), decode, (fd, level, option))
