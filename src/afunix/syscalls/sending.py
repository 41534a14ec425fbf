"""What every call that sends does: bytes of the program's memory, read in portions, with what goes along with them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

from afunix.abi.constants import MSG_DONTWAIT, MSG_OOB
from afunix.abi.errno import Errno, SyscallError
from afunix.core import blocking
from afunix.core.message import Sent
from afunix.core.operations import OPERATIONS
from afunix.core.socket import Socket
from afunix.core.truesize import STREAM_CHUNK
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer, Call, Outcome

if TYPE_CHECKING:
    from afunix.core.credentials import Ucred
    from afunix.core.file import File

__all__ = ["PORTION", "SEND", "Reader", "buffer_size", "release", "send_data", "send_from"]

SEND = {kind: row.send for kind, row in OPERATIONS.items()}

PORTION = 28 * STREAM_CHUNK
"""What is read of a program's memory at a time for one send: a longer one would be held, unsent, as a copy.

About a megabyte, and whole buffers, so that the queue looks as if it had been sent in one piece.
"""

Reader = Callable[[int, int], bytes]
"""Gives so many bytes of the program's memory from an offset into what it sends. EFAULT."""


def _send_later(
    call: Call,
    sock: Socket,
    data: bytes,
    first: Sent | None,
    flags: int,
    address: bytes | None,
    files: Sequence[File],
    creds: Ucred | None,
) -> Generator[WouldBlock, None, Answer]:
    try:
        sent = yield from blocking.send(sock, call.caller, data, call.now(), flags, files, creds, address, first)
    except BaseException:
        # Nothing was queued, or `files` had gone with the first part and is empty.
        release(files)
        raise
    return sent.length, sent


def release(files: Sequence[File]) -> None:
    """Give up descriptors that were to be sent."""
    for file in files:
        file.release()


def send_data(
    call: Call,
    sock: Socket,
    data: bytes,
    flags: int,
    address: bytes | None,
    files: Sequence[File] = (),
    creds: Ucred | None = None,
) -> Outcome:
    """Send with the flags of a send call (MSG_DONTWAIT included). The files are taken over, whatever comes of it."""
    try:
        sent = SEND[sock.type](sock, call.caller, data, flags, files, creds, address)
    except BaseException:
        release(files)
        raise
    blocks = not (sock.nonblock or flags & MSG_DONTWAIT)
    if type(sent) is WouldBlock:
        if not blocks:
            release(files)
            raise SyscallError(Errno.EAGAIN)
        return _send_later(call, sock, data, None, flags, address, files, creds)
    if sent.length < len(data) and blocks:
        return _send_later(call, sock, data, sent, flags, address, (), creds)
    return sent.length, sent


class Portions:
    """What a send in portions queued."""

    __slots__ = ("_before", "_last")

    def __init__(self, before: int, last: Sent) -> None:
        self._before = before
        self._last = last

    def done(self) -> None:
        """The answer arrived."""

    def undo(self) -> int:
        """Take back what can be of the last portion; all before it stays sent."""
        return self._before + self._last.undo()


def send_from(
    call: Call,
    size: int,
    read: Reader,
    flags: int,
    address: bytes | None,
    files: Sequence[File] = (),
    creds: Ucred | None = None,
) -> Outcome:
    """Send `size` bytes of the program's memory, with descriptors and credentials. The files are taken over."""
    sock = call.sock
    keeps_records = OPERATIONS[sock.type].keeps_records
    if size > PORTION and not keeps_records:
        return _send_portions(call, sock, size, read, flags, address, files, creds)
    try:
        # Of a long record one byte more than the send buffer could ever take is enough to be told so (EMSGSIZE).
        data = read(0, size if size <= PORTION else min(size, sock.sndbuf + 1)) if size else b""
    except SyscallError:
        try:
            _refuse_unreadable(call, sock, size, flags, address, files)
        except SyscallError:
            release(files)
            raise
        return _send_portions(call, sock, size, read, flags, address, files, creds)
    except BaseException:
        release(files)
        raise
    return send_data(call, sock, data, flags, address, files, creds)


def _refuse_unreadable(
    call: Call, sock: Socket, size: int, flags: int, address: bytes | None, files: Sequence[File]
) -> None:
    """What a send of data that are not all readable is refused for before that is found; a stream goes on then.

    EFAULT, also where Linux would first wait for room.
    """
    row = OPERATIONS[sock.type]
    block = row.reserve(sock, size, flags, address)
    if block is not None and (sock.nonblock or flags & MSG_DONTWAIT):
        raise SyscallError(Errno.EAGAIN)
    if files:
        call.kernel.check_flight(call.caller)
    if row.keeps_records:
        raise SyscallError(Errno.EFAULT)


def _send_portions(
    call: Call,
    sock: Socket,
    size: int,
    read: Reader,
    flags: int,
    address: bytes | None,
    files: Sequence[File],
    creds: Ucred | None,
) -> Generator[WouldBlock, None, Answer]:
    """A stream's send in portions, the files with the first; from one that can't be read on, buffer by buffer."""
    done = 0
    answer: Answer = 0
    portion = PORTION
    while done < size:
        try:
            try:
                data = read(done, min(portion, size - done))
            except SyscallError:
                OPERATIONS[sock.type].reserve(sock, size - done, flags, address)
                portion = buffer_size(sock, size - done, flags)
                data = read(done, portion)
        except SyscallError:
            release(files)
            if not done:
                raise
            break
        except BaseException:
            release(files)
            raise
        rest = flags if done + len(data) == size else flags & ~MSG_OOB
        taken, files = files, ()
        try:
            outcome = send_data(call, sock, data, rest, address, taken, creds)
            part = (yield from outcome) if isinstance(outcome, Generator) else outcome
        except SyscallError:
            if not done:
                raise
            break
        assert isinstance(part, tuple), "a send answers with what it queued"
        length, sent = part
        assert isinstance(sent, Sent)
        answer = done + length, Portions(done, sent)
        done += length
        if length < len(data):
            break
    return answer


def buffer_size(sock: Socket, size: int, flags: int) -> int:
    """How much of what is sent goes into the next buffer of a stream. The urgent byte is a buffer of its own."""
    urgent = bool(flags & MSG_OOB) and size > 1
    return min((sock.sndbuf >> 1) - 64, STREAM_CHUNK, size - urgent)
