"""Calls that move data: send, recv and their relatives, with addresses and control messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from afunix.abi.constants import (
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SOL_SOCKET,
)
from afunix.abi.message import (
    IOVEC,
    MMSG_LEN_OFFSET,
    MMSGHDR_SIZE,
    MSGHDR,
    ControlMessage,
    build_control,
    iter_control,
)
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT, SOCKLEN, pack_ucred
from afunix.conformance.raw_calls import timespec
from afunix.conformance.results import Error, Message, result
from afunix.conformance.socket_calls import SocketCalls, plain_name

__all__ = ["DataCalls", "creds", "rights"]

ROOM: Final = 65536
"""Bytes that a receive asks for unless told."""
CONTROL_ROOM: Final = 512


def rights(*fds: int) -> ControlMessage:
    """SCM_RIGHTS with these descriptors."""
    return SOL_SOCKET, SCM_RIGHTS, b"".join([INT.pack(fd) for fd in fds])


def creds(pid: int, uid: int, gid: int) -> ControlMessage:
    """SCM_CREDENTIALS with these numbers."""
    return SOL_SOCKET, SCM_CREDENTIALS, pack_ucred(pid, uid, gid)


class DataCalls(SocketCalls):
    """What is received comes as bytes, or as a `Message` where there is more to it."""

    def send(self, fd: int, data: bytes, flags: int = 0) -> int:
        """send(2)."""
        return self.scalar("sendto", (fd, self.put(data), len(data), flags, 0, 0), (fd, data, flags))

    def sendto(self, fd: int, data: bytes, name: bytes, flags: int = 0) -> int:
        """sendto a name."""
        address = encode(name)
        args = (fd, self.put(data), len(data), flags, self.put(address), len(address))
        return self.scalar("sendto", args, (fd, data, name, flags))

    def write(self, fd: int, data: bytes) -> int:
        """write(2)."""
        return self.scalar("write", (fd, self.put(data), len(data)), (fd, data))

    def writev(self, fd: int, parts: Sequence[bytes]) -> int:
        """writev with an iovec for each part."""
        return self.scalar("writev", (fd, self._iovecs(parts), len(parts)), (fd, *parts))

    def sendmsg(
        self,
        fd: int,
        data: bytes | Sequence[bytes] = b"",
        control: Sequence[ControlMessage] | bytes = (),
        flags: int = 0,
        name: bytes | None = None,
    ) -> int:
        """sendmsg of one part or several. control: messages, or the bytes of a whole msg_control."""
        header = self._send_header(data, control, name)
        return self.scalar("sendmsg", (fd, self.put(header), flags), (fd, data, control, flags, name))

    def _send_header(
        self, data: bytes | Sequence[bytes], control: Sequence[ControlMessage] | bytes, name: bytes | None
    ) -> bytes:
        parts = (data,) if isinstance(data, bytes) else data
        address = b"" if name is None else encode(name)
        raw = control if isinstance(control, bytes) else build_control(control)
        return MSGHDR.pack(
            self.put(address) if address else 0,
            len(address),
            self._iovecs(parts),
            len(parts),
            self.put(raw) if raw else 0,
            len(raw),
            0,
        )

    def _iovecs(self, parts: Sequence[bytes]) -> int:
        return self.put(b"".join([IOVEC.pack(self.put(part), len(part)) for part in parts]))

    def sendmmsg(self, fd: int, messages: Sequence[bytes], flags: int = 0) -> int:
        """sendmmsg of plain messages: how many were sent."""
        headers = [self._send_header(data, (), None).ljust(MMSGHDR_SIZE, b"\0") for data in messages]
        args = (fd, self.put(b"".join(headers)), len(messages), flags)
        return self.scalar("sendmmsg", args, (fd, *messages, flags))

    def recv(self, fd: int, size: int = ROOM, flags: int = 0) -> bytes | Error:
        """recv: the bytes that were read."""
        at = self.room(size)

        def decode(value: int) -> bytes | Error:
            return Error(value) if value < 0 else self.peek(at, min(value, size))

        return self.run("recvfrom", (fd, at, size, flags, 0, 0), decode, (fd, size, flags))

    def recv_length(self, fd: int, size: int, flags: int = 0) -> int:
        """recv: its value alone, which with MSG_TRUNC exceeds the bytes."""
        return self.scalar("recvfrom", (fd, self.room(size), size, flags, 0, 0), (fd, size, flags))

    def recvfrom(self, fd: int, size: int = ROOM, flags: int = 0) -> Message:
        """recvfrom: data and address."""
        at, name, length = self.room(size), self.room(128), self.put(INT.pack(128))

        def decode(value: int) -> Message:
            if value < 0:
                return Message(result(value))
            return Message(value, self.peek(at, min(value, size)), (), 0, self.name_at(name, length))

        return self.run("recvfrom", (fd, at, size, flags, name, length), decode, (fd, size, flags))

    def read(self, fd: int, size: int = ROOM) -> bytes | Error:
        """The bytes that were read."""
        at = self.room(size)

        def decode(value: int) -> bytes | Error:
            return Error(value) if value < 0 else self.peek(at, value)

        return self.run("read", (fd, at, size), decode, (fd, size))

    def readv(self, fd: int, sizes: Sequence[int]) -> list[bytes] | Error:
        """readv: what is in each buffer."""
        rooms = [(self.room(size), size) for size in sizes]
        iovecs = self.put(b"".join([IOVEC.pack(*pair) for pair in rooms]))

        def decode(value: int) -> list[bytes] | Error:
            if value < 0:
                return Error(value)
            parts = []
            for address, size in rooms:
                parts.append(self.peek(address, min(size, value)))
                value -= len(parts[-1])
            return parts

        return self.run("readv", (fd, iovecs, len(sizes)), decode, (fd, *sizes))

    def recvmsg(
        self, fd: int, size: int = ROOM, control: int | None = CONTROL_ROOM, flags: int = 0, name: int | None = 128
    ) -> Message:
        """recvmsg. control, name: bytes of room for them; None: no pointer at all."""
        header = self._receive_header(size, control, name)
        at = self.put(header)

        def decode(value: int) -> Message:
            return self._message(at, value, size)

        return self.run("recvmsg", (fd, at, flags), decode, (fd, size, control, flags))

    def _receive_header(self, size: int, control: int | None, name: int | None) -> bytes:
        return MSGHDR.pack(
            0 if name is None else self.room(name),
            name or 0,
            self.put(IOVEC.pack(self.room(size), size)),
            1,
            0 if control is None else self.room(control),
            control or 0,
            0,
        )

    def _message(self, at: int, value: int, size: int) -> Message:
        if value < 0:
            return Message(result(value))
        name, name_length, iovecs, _, control, control_length, flags = MSGHDR.unpack(self.peek(at, MSGHDR.size))
        data = self.peek(IOVEC.unpack(self.peek(iovecs, IOVEC.size))[0], min(value, size))
        raw = self.peek(control, control_length) if control and control_length else b""
        address = plain_name(self.peek(name, name_length)) if name else None
        return Message(value, data, tuple(iter_control(raw)), flags, address)

    def recvmmsg(
        self, fd: int, count: int, size: int = 64, flags: int = 0, timeout: float | None = None
    ) -> list[Message] | Error:
        """recvmmsg: the messages that came."""
        headers = [self._receive_header(size, None, None).ljust(MMSGHDR_SIZE, b"\0") for _ in range(count)]
        at = self.put(b"".join(headers))
        limit = 0 if timeout is None else self.put(timespec(timeout))

        def decode(value: int) -> list[Message] | Error:
            if value < 0:
                return Error(value)
            lengths = [
                SOCKLEN.unpack(self.peek(at + entry * MMSGHDR_SIZE + MMSG_LEN_OFFSET, 4))[0] for entry in range(value)
            ]
            return [self._message(at + entry * MMSGHDR_SIZE, length, size) for entry, length in enumerate(lengths)]

        return self.run("recvmmsg", (fd, at, count, flags, limit), decode, (fd, count, size, flags, timeout))
