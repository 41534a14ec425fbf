"""sendfile, splice and tee where one of the two files is a virtual socket: the supervisor moves the bytes."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from collections.abc import Callable, Generator
from typing import Final

from afunix.abi.constants import MSG_DONTWAIT, SIOCINQ
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT, SIZE
from afunix.core import blocking
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.supervisor.call import NotifiedCall
from afunix.syscalls.call import Answer, signed

__all__ = ["DESCRIPTORS", "HANDLERS"]

CHUNK: Final = 65536
"""The host's kernel moves this much at a time too: sixteen pages of a pipe."""
SPLICE_F_NONBLOCK: Final = 2
DESCRIPTORS: Final = {"sendfile": (0, 1), "splice": (0, 2), "tee": (0, 1)}
"""Which arguments are descriptors."""

Body = Generator[WouldBlock, None, Answer]


class Moved:
    """Bytes that went from one file to another: that can't be taken back."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length

    def undo(self) -> int:
        """All of it stays."""
        return self.length

    def done(self) -> None:
        """Nothing is left to do."""


def sendfile(call: NotifiedCall, out: Socket | None, source: Socket | None) -> Body:
    """sendfile(2) to a socket. EINVAL: from a socket, or from what can't be read at an offset."""
    if out is None or source is not None:
        raise SyscallError(Errno.EINVAL)
    if call.args[3] >> 63:
        raise SyscallError(Errno.EINVAL)  # rw_verify_area
    offset_at = call.args[2]
    offset = SIZE.unpack(call.memory.read(offset_at, 8))[0] if offset_at else None
    fd = call.task.take(call.args[1] & 0xFFFFFFFF)
    return _sendfile(call, out, fd, offset, min(call.args[3], 0x7FFFF000))


def _sendfile(call: NotifiedCall, out: Socket, fd: int, offset: int | None, count: int) -> Body:
    moved = 0
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise SyscallError(Errno.EINVAL)
        while moved < count:
            size = min(CHUNK, count - moved)
            data = _read(fd, size, None if offset is None else offset + moved)
            if not data:
                break
            try:
                sent = yield from _send(call, out, data, 0)
            except SyscallError:
                if offset is None:
                    os.lseek(fd, -len(data), os.SEEK_CUR)
                if moved:
                    break
                raise
            if offset is None and sent < len(data):
                os.lseek(fd, sent - len(data), os.SEEK_CUR)
            moved += sent
            if sent < len(data):
                break
        if offset is not None:
            call.memory.write(call.args[2], SIZE.pack(offset + moved))
    finally:
        os.close(fd)
    return moved, Moved(moved)


def _send(call: NotifiedCall, sock: Socket, data: bytes, flags: int) -> Generator[WouldBlock, None, int]:
    if sock.nonblock or flags & MSG_DONTWAIT:
        # One step: the body's first wait is where a call that may not wait ends.
        body = blocking.send(sock, call.caller, data, call.now(), flags)
        try:
            next(body)
        except StopIteration as stop:
            return int(stop.value.length)
        try:
            body.throw(SyscallError(Errno.EAGAIN))
        except StopIteration as stop:
            return int(stop.value.length)
        raise AssertionError("a body that timed out goes on waiting")
    sent = yield from blocking.send(sock, call.caller, data, call.now(), flags)
    return sent.length


def _read(fd: int, size: int, offset: int | None) -> bytes:
    try:
        return os.read(fd, size) if offset is None else os.pread(fd, size, offset)
    except OSError as error:
        raise SyscallError(Errno(error.errno or Errno.EIO)) from None


def splice(call: NotifiedCall, source: Socket | None, out: Socket | None) -> Body:
    """splice(2) between a pipe and a socket. EINVAL: no pipe, an offset for the socket; ESPIPE: one for the pipe."""
    if source is not None and out is not None:
        raise SyscallError(Errno.EINVAL)
    other = call.args[2] if source is not None else call.args[0]
    fd = call.task.take(other & 0xFFFFFFFF)
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise SyscallError(Errno.EINVAL)
        pipe_offset, sock_offset = (call.args[3], call.args[1]) if source is not None else (call.args[1], call.args[3])
        if pipe_offset:
            raise SyscallError(Errno.ESPIPE)
        if sock_offset:
            raise SyscallError(Errno.EINVAL)
    except SyscallError:
        os.close(fd)
        raise
    if call.args[4] >> 63:
        os.close(fd)
        raise SyscallError(Errno.EINVAL)  # rw_verify_area
    size = min(call.args[4], CHUNK)
    nonblock = bool(signed(call.args[5]) & SPLICE_F_NONBLOCK)
    if source is not None:
        return _to_pipe(call, source, fd, size, nonblock)
    assert out is not None
    return _from_pipe(call, out, fd, size, nonblock)


def _to_pipe(call: NotifiedCall, sock: Socket, fd: int, size: int, nonblock: bool) -> Body:
    try:
        while True:
            room = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) - _queued(fd)
            if room > 0:
                break
            if nonblock:
                raise SyscallError(Errno.EAGAIN)
            yield from call.supervisor.wait_for_host(fd, select.POLLOUT)
        size = min(size, room)
        if not size:
            return 0
        flags = MSG_DONTWAIT if nonblock or sock.nonblock else 0
        if flags:
            body = blocking.receive(sock, size, flags, call.now())
            try:
                next(body)
            except StopIteration as stop:
                received = stop.value
            else:
                body.close()
                raise SyscallError(Errno.EAGAIN)
        else:
            received = yield from blocking.receive(sock, size, 0, call.now())
        data = received.data
        try:
            written = _write_now(fd, data) if data else 0
        except OSError as error:
            received.undo()
            raise SyscallError(Errno(error.errno or Errno.EIO)) from None
        received.done()
        return written, Moved(written)
    finally:
        os.close(fd)


def _from_pipe(call: NotifiedCall, sock: Socket, fd: int, size: int, nonblock: bool) -> Body:
    try:
        while True:
            try:
                data = _read_now(fd, size) if size else b""
                break
            except BlockingIOError:
                if nonblock:
                    raise SyscallError(Errno.EAGAIN) from None
            except OSError as error:
                raise SyscallError(Errno(error.errno or Errno.EIO)) from None
            yield from call.supervisor.wait_for_host(fd, select.POLLIN)
        if not data:
            return 0
        sent = yield from _send(call, sock, data, 0)
        return sent, Moved(sent)
    finally:
        os.close(fd)


def _read_now(fd: int, size: int) -> bytes:
    """Read a pipe without waiting, whatever its description's mode. BlockingIOError."""
    scratch = bytearray(size)
    try:
        return bytes(scratch[: os.preadv(fd, [scratch], -1, os.RWF_NOWAIT)])
    except OSError as error:
        if error.errno != Errno.EOPNOTSUPP:
            raise
    again = _again(fd, os.O_RDONLY)
    try:
        return os.read(again, size)
    finally:
        os.close(again)


def _write_now(fd: int, data: bytes) -> int:
    """Write to a pipe without waiting, whatever its description's mode. BlockingIOError."""
    try:
        return os.pwritev(fd, [data], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno != Errno.EOPNOTSUPP:
            raise
    again = _again(fd, os.O_WRONLY)
    try:
        return os.write(again, data)
    finally:
        os.close(again)


def _again(fd: int, mode: int) -> int:
    """Another description of a pipe, which never waits: the host's own splice takes RWF_NOWAIT from a pipe's files."""
    return os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK)


def _queued(fd: int) -> int:
    return int(INT.unpack(fcntl.ioctl(fd, SIOCINQ, bytes(4)))[0])


def tee(call: NotifiedCall, source: Socket | None, out: Socket | None) -> Answer:
    """tee(2) works on two pipes: EINVAL."""
    raise SyscallError(Errno.EINVAL)


HANDLERS: Final[dict[str, Callable[..., Body | Answer]]] = {"sendfile": sendfile, "splice": splice, "tee": tee}
