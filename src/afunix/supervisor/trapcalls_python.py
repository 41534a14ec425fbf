"""The functions of trapcalls in Python, by fcntl.ioctl, ctypes and the socket module.

Everything is done on reused buffers where that can be. One thread only: they are shared by all calls.
"""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Mapping, Sequence
from errno import EINTR, ENOENT
from fcntl import ioctl
from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.seccomp import NOTIF, NOTIF_CALL, RESP, SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND

if TYPE_CHECKING:
    from afunix.supervisor.trapcalls import Notification

__all__ = [
    "TELLING",
    "answer",
    "inode",
    "receive",
    "turn",
    "vm_read",
    "vm_readv",
    "vm_write",
    "vm_writev",
]

# -- the listener

_notification: Final = bytearray(NOTIF.size)
_response: Final = bytearray(RESP.size)
_clear: Final = Struct(f"{NOTIF.size}x").pack_into


def receive(listener: int) -> Notification | None:
    """The oldest call that nobody has received; waits for one. None: it was interrupted, or no thread is left."""
    _clear(_notification, 0)
    try:
        ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, _notification)
    except OSError as error:
        if error.errno in (ENOENT, EINTR):
            return None
        raise
    ident, tid, number, *args = NOTIF_CALL.unpack(_notification)
    return ident, tid, number, tuple(args), None


def turn(
    listener: int,
    others: int,
    timeout: int,
    most: int,
    links: Mapping[int, Mapping[int, int]],
    sockets: Mapping[int, object],
    about: bytes,
) -> tuple[int, list[Notification]]:
    """Wait for calls, of which up to `most` are received, or for `others`, at most `timeout` milliseconds; -1: ever.

    Returns trapcalls.OTHERS, ENDED or neither, and the calls. The listener is looked at first.

    The rest is for speed, and the compiled function's only: where a call's number has something but 0 in `about`
    (trapcalls.OTHER_FILES or NO_SOCKETS), so that its first argument is a descriptor, and `links` has a link for the
    thread and this descriptor, then what `sockets` has for the socket is told with the call, and a call about anything
    else goes on natively at once.
    """
    poll = _poller(listener, others)
    what = 0
    calls: list[Notification] = []
    while True:
        received = ended = False
        for fd, event in poll.poll(timeout if timeout >= 0 else None):
            if fd == others:
                what |= 1
            elif event & select.POLLIN:
                call = receive(listener)
                if call is not None:
                    calls.append(call)
                    received = True
            else:
                ended = bool(event & select.POLLHUP)
        if not received or len(calls) >= most:
            return what | (2 if ended and not calls else 0), calls
        timeout = 0


@cache
def _poller(listener: int, others: int) -> select.poll:
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(others, select.POLLIN)
    return poll


def answer(listener: int, ident: int, value: int, error: int, flags: int) -> bool:
    """End a call with a value, or a positive error number; SECCOMP_USER_NOTIF_FLAG_*. False: nobody is in it."""
    RESP.pack_into(_response, 0, ident, value, -error, flags)
    while True:
        try:
            ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, _response)
        except OSError as failure:
            if failure.errno == ENOENT:
                return False
            if failure.errno != EINTR:  # EINPROGRESS: answered twice, which is our own mistake
                raise
        else:
            return True


# -- who has which socket


TELLING: Final = -2
"""In place of an inode number: no socket, but perhaps a file of /proc that tells of sockets (see procfiles)."""


def inode(handle: int) -> int:
    """The inode number of the socket to which a link in /proc/TID/fd leads, given an O_PATH descriptor of the link.

    -1, TELLING: to something else. OSError: nowhere, or we may not look.
    """
    return inode_in(os.readlink(b"", dir_fd=handle))


def inode_in(link: bytes) -> int:
    """The same of the link's text."""
    if link[:8] == b"socket:[":
        return int(link[8:-1])
    return TELLING if link[-9:] == b"/net/unix" or b"/fdinfo/" in link else -1


# -- memory

SCRATCH_SIZE: Final = 1 << 18
"""Transfers up to this size go through one buffer: more than the longest message of the default SO_SNDBUF."""


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


def _function(name: str) -> Any:
    """Without argtypes, and with arguments that ctypes passes as they are: a quarter less than with converted ones.

    PyDLL: the interpreter lock stays held, as the call never waits.
    """
    function = ctypes.PyDLL(None, use_errno=True)[name]
    function.restype = ctypes.c_ssize_t
    return function


_readv: Final = _function("process_vm_readv")
_writev: Final = _function("process_vm_writev")

_scratch: Final = bytearray(SCRATCH_SIZE)
_scratch_array: Final[Any] = (ctypes.c_char * SCRATCH_SIZE).from_buffer(_scratch)
# The kernel stops at the shorter side, so one local iovec serves every size.
_scratch_iovec: Final = ctypes.byref(_Iovec(ctypes.addressof(_scratch_array), SCRATCH_SIZE))
_direct: Final = _Iovec()
_direct_iovec: Final = ctypes.byref(_direct)
_pack: Final = Struct("<QQ").pack


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def vm_read(tid: int, address: int, size: int) -> bytes | None:
    """`size` bytes of a thread's memory (process_vm_readv(2)); None: only a part of them is readable. OSError."""
    return _read(tid, _pack(address, size), 1, size)


def vm_readv(tid: int, ranges: Sequence[tuple[int, int]], size: int) -> bytes | None:
    """The same of up to IOV_MAX ranges (address, length), which are `size` bytes together."""
    return _read(tid, _vector(len(ranges))(*[number for pair in ranges for number in pair]), len(ranges), size)


def _read(tid: int, remote: bytes, count: int, size: int) -> bytes | None:
    if size <= SCRATCH_SIZE:
        copied = _readv(tid, _scratch_iovec, 1, remote, count, 0)
        data: bytes = _scratch_array[:size] if copied == size else b""
    else:
        buffer = bytearray(size)
        array = (ctypes.c_char * size).from_buffer(buffer)
        copied = _readv(tid, ctypes.byref(_Iovec(ctypes.addressof(array), size)), 1, remote, count, 0)
        data = bytes(buffer) if copied == size else b""
    if copied < 0:
        raise _failure()
    return data if copied == size else None


def vm_write(tid: int, address: int, data: bytes) -> int:
    """Write to a thread's memory, page protection respected (process_vm_writev(2)); how many bytes. OSError."""
    return _write(tid, _pack(address, len(data)), 1, data)


def vm_writev(tid: int, ranges: Sequence[tuple[int, int]], data: bytes) -> int:
    """The same to up to IOV_MAX ranges (address, length), which may be longer than the data together."""
    return _write(tid, _vector(len(ranges))(*[number for pair in ranges for number in pair]), len(ranges), data)


def _write(tid: int, remote: bytes, count: int, data: bytes) -> int:
    _direct.base = data if type(data) is bytes else bytes(data)
    _direct.length = len(data)
    written: int = _writev(tid, _direct_iovec, 1, remote, count, 0)
    _direct.base = None
    if written < 0:
        raise _failure()
    return written


@cache
def _vector(count: int) -> Any:
    return Struct(f"<{2 * count}Q").pack
