"""Socket calls of the host kernel with exactly the bytes given, through our own layouts."""

from __future__ import annotations

import ctypes
import errno
import socket

from afunix.abi import message

_libc = ctypes.CDLL(None, use_errno=True)


def _result(value: int) -> int | str:
    return errno.errorcode[ctypes.get_errno()] if value < 0 else value


def bind(sock: socket.socket, raw: bytes) -> int | str:
    """bind(2) with an address of len(raw) bytes: 0 or the name of an errno."""
    return _result(_libc.bind(sock.fileno(), raw, len(raw)))


def connect(sock: socket.socket, raw: bytes) -> int | str:
    """connect(2) with an address of len(raw) bytes."""
    return _result(_libc.connect(sock.fileno(), raw, len(raw)))


def getsockname(sock: socket.socket) -> bytes:
    """The whole address that getsockname(2) reports."""
    buffer = ctypes.create_string_buffer(128)
    length = ctypes.c_uint(128)
    assert _libc.getsockname(sock.fileno(), buffer, ctypes.byref(length)) == 0
    return buffer.raw[: length.value]


def sendmsg(sock: socket.socket, data: bytes, control: bytes) -> int | str:
    """sendmsg(2) with this msg_control: bytes sent or the name of an errno."""
    sent = ctypes.create_string_buffer(data, len(data))
    memory = ctypes.create_string_buffer(control, max(1, len(control)))
    iovec = ctypes.create_string_buffer(message.IOVEC.pack(ctypes.addressof(sent), len(data)), message.IOVEC.size)
    header = ctypes.create_string_buffer(
        message.MSGHDR.pack(0, 0, ctypes.addressof(iovec), 1, ctypes.addressof(memory), len(control), 0),
        message.MSGHDR.size,
    )
    return _result(_libc.sendmsg(sock.fileno(), header, 0))


def recvmsg(sock: socket.socket, length: int, size: int) -> tuple[bytes, bytes, int]:
    """recvmsg(2) with a msg_control of size bytes: data, the control bytes written, msg_flags."""
    data = ctypes.create_string_buffer(length)
    memory = ctypes.create_string_buffer(max(1, size))
    iovec = ctypes.create_string_buffer(message.IOVEC.pack(ctypes.addressof(data), length), message.IOVEC.size)
    header = ctypes.create_string_buffer(
        message.MSGHDR.pack(0, 0, ctypes.addressof(iovec), 1, ctypes.addressof(memory), size, 0),
        message.MSGHDR.size,
    )
    done = _result(_libc.recvmsg(sock.fileno(), header, 0))
    assert isinstance(done, int), done
    *_, used, flags = message.MSGHDR.unpack(header.raw)
    return data.raw[:done], memory.raw[:used], flags
