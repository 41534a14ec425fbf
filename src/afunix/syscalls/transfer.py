"""read, write and their relatives, sendto and recvfrom: bytes without control messages."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from afunix.abi.constants import (
    MAX_RW_COUNT,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_OOB,
    SOCK_DGRAM,
    UIO_MAXIOV,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import clip_iovecs, unpack_iovecs
from afunix.abi.sockaddr import decode, encode
from afunix.abi.structs import INT
from afunix.core import blocking
from afunix.core.message import Received
from afunix.core.socket import Socket
from afunix.core.stream_quick import HandedOver, hand_back, only_waits
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import TASK_SIZE_MAX, Answer, Call, Outcome, address_check, signed
from afunix.syscalls.receiving import as_far_as_possible, hand_out, receive_data
from afunix.syscalls.sending import Reader, send_from

if TYPE_CHECKING:
    pass

__all__ = [
    "check_offset",
    "preadv2",
    "pwritev2",
    "read",
    "read_later",
    "read_on",
    "readv",
    "recvfrom",
    "sendto",
    "write",
    "writev",
]

SOCKADDR_STORAGE = 128
"""sizeof(struct sockaddr_storage): no address is longer (move_addr_to_kernel)."""

CURRENT_POSITION = (1 << 64) - 1
RWF_NOWAIT = 0x8
RWF_APPEND = 0x10
RWF_NOAPPEND = 0x20
RWF_NOSIGNAL = 0x100
RWF_SUPPORTED = 0x1 | 0x2 | 0x4 | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND | RWF_NOSIGNAL


def read(call: Call) -> Outcome:
    """read(2): sock_read_iter. A length of 0 takes nothing."""
    args = call.args
    size = args[2]
    address = args[1]
    if address + size > TASK_SIZE_MAX:
        raise SyscallError(Errno.EFAULT)
    if size > MAX_RW_COUNT:
        size = MAX_RW_COUNT
    if not size:
        return 0
    sock = call.sock
    if not sock.queue and not sock.nonblock and only_waits(sock):
        return read_later(call)
    return receive_data(call, size, 0, lambda received: _give(call, received, address))


def read_later(call: Call) -> Generator[WouldBlock, bytes | None, Answer]:
    """A read that begins with waiting, and gets bytes handed over or looks for itself."""
    sock = call.sock
    address = call.args[1]
    size = min(call.args[2], MAX_RW_COUNT)
    data = yield WouldBlock((sock.readable,), None, size)
    if data is not None:
        try:
            call.memory.write(address, data)
        except SyscallError:
            hand_back(sock, data)  # and as far as the memory allows
        except BaseException:
            hand_back(sock, data)
            raise
        else:
            return len(data), HandedOver(sock, data)
    return (yield from read_on(call))


def read_on(call: Call) -> Generator[WouldBlock, Any, Answer]:
    """A read that has waited for anything, for ever (`only_waits`), and goes on so whatever is set meanwhile."""
    received = yield from blocking.receive_until(call.sock, min(call.args[2], MAX_RW_COUNT), 0, None, 1)
    return hand_out(received, lambda received: _give(call, received, call.args[1]))


def _give(call: Call, received: Received, address: int) -> Answer:
    """Write what was received to memory. Descriptors are closed: read has no place for them (scm_destroy)."""
    if received.data:
        try:
            call.memory.write(address, received.data)
        except SyscallError:
            received = as_far_as_possible(received, lambda at, data: call.memory.write(address + at, data))
    return received.length, received


def write(call: Call) -> Outcome:
    """write(2): sock_write_iter."""
    args = call.args
    size = args[2]
    if args[1] + size > TASK_SIZE_MAX:
        raise SyscallError(Errno.EFAULT)
    if size > MAX_RW_COUNT:
        size = MAX_RW_COUNT
    return send_from(call, size, lambda at, count: call.memory.read(args[1] + at, count), 0, None)


def iovecs_at(call: Call, address: int, number: int) -> tuple[list[tuple[int, int]], int]:
    """The iovecs at an address and their total length. EINVAL: more than UIO_MAXIOV, or a bad length; EFAULT."""
    if number > UIO_MAXIOV:
        raise SyscallError(Errno.EINVAL)
    try:
        raw = call.memory.read(address, 16 * number) if number else b""
    except SyscallError:
        # A bad length in front of what can't be read is met first (copy_iovec_from_user).
        for at in range(number):
            clip_iovecs(unpack_iovecs(call.memory.read(address + 16 * at, 16)))
        raise
    return checked_iovecs(raw)


def checked_iovecs(raw: bytes) -> tuple[list[tuple[int, int]], int]:
    """What was read as iovecs, and their total length. EINVAL: a bad length; EFAULT."""
    given = unpack_iovecs(raw)
    iovecs, total = clip_iovecs(given)
    for base, length in given if len(given) > 1 else iovecs:
        address_check(base, length)
    return iovecs, total


def readv(call: Call) -> Outcome:
    """readv(2)."""
    return _readv(call, 0)


def preadv2(call: Call) -> Outcome:
    """preadv2(2): only the current position exists on a socket, so any offset but -1 is EINVAL or ESPIPE."""
    _positioned(call)
    return _readv(call, call.args[5])


def check_offset(offset: int) -> None:
    """EINVAL: negative, and not the one that means the current position; also before the descriptor's EBADF."""
    if offset >> 63 and offset != CURRENT_POSITION:
        raise SyscallError(Errno.EINVAL)


def _positioned(call: Call) -> None:
    """What preadv2 and pwritev2 check of their offset. EINVAL, ESPIPE."""
    offset = call.args[3]
    check_offset(offset)
    if offset != CURRENT_POSITION:
        raise SyscallError(Errno.ESPIPE)


def _message_flags(register: int) -> int:
    """RWF flags as message flags (kiocb_set_rw_flags). EOPNOTSUPP, EINVAL."""
    if not register:
        return 0
    flags = signed(register)
    if flags & ~RWF_SUPPORTED:
        raise SyscallError(Errno.EOPNOTSUPP)
    if flags & RWF_APPEND and flags & RWF_NOAPPEND:
        raise SyscallError(Errno.EINVAL)
    return (MSG_DONTWAIT if flags & RWF_NOWAIT else 0) | (MSG_NOSIGNAL if flags & RWF_NOSIGNAL else 0)


def _readv(call: Call, flags: int) -> Outcome:
    iovecs, total = iovecs_at(call, call.args[1], call.args[2] & 0xFFFFFFFF)
    if not total:
        return 0
    return receive_data(call, total, _message_flags(flags), lambda received: give_vec(call, received, iovecs))


def give_vec(call: Call, received: Received, iovecs: Sequence[tuple[int, int]]) -> Answer:
    received = put_vec(call, received, iovecs)
    return received.length, received


def put_vec(call: Call, received: Received, iovecs: Sequence[tuple[int, int]]) -> Received:
    """Spread what was received over iovecs, as far as the memory allows; what of it was."""
    try:
        call.memory.write_vec(iovecs, received.data)
    except SyscallError:
        return as_far_as_possible(received, lambda at, data: call.memory.write_vec(skip(iovecs, at), data))
    return received


def skip(iovecs: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """What is left of iovecs behind the first `count` bytes."""
    left = []
    for base, length in iovecs:
        if count >= length:
            count -= length
        else:
            left.append((base + count, length - count))
            count = 0
    return left


def writev(call: Call) -> Outcome:
    """writev(2): one message across all its iovecs (DATA-14)."""
    return _writev(call, 0)


def pwritev2(call: Call) -> Outcome:
    """pwritev2(2); see preadv2."""
    _positioned(call)
    return _writev(call, call.args[5])


def _writev(call: Call, flags: int) -> Outcome:
    iovecs, total = iovecs_at(call, call.args[1], call.args[2] & 0xFFFFFFFF)
    if not total:
        return 0
    return send_from(call, total, vec_reader(call, iovecs, total), _message_flags(flags), None)


def vec_reader(call: Call, iovecs: Sequence[tuple[int, int]], total: int) -> Reader:
    """Reads so many bytes at an offset into iovecs, which have a total of so many."""

    def read(at: int, count: int) -> bytes:
        if count == total:
            return call.memory.read_vec(iovecs)
        wanted = []
        for base, length in skip(iovecs, at):
            wanted.append((base, min(length, count)))
            count -= wanted[-1][1]
            if not count:
                break
        return call.memory.read_vec(wanted)

    return read


def read_address(call: Call, address: int, length: int) -> bytes | None:
    """The raw destination of a send: None where there is none. EINVAL: negative or above 128 bytes; EFAULT."""
    if length < 0 or length > SOCKADDR_STORAGE:
        raise SyscallError(Errno.EINVAL)
    if not length:
        return None
    return call.memory.read(address, length)


def destination(sock: Socket, raw: bytes | None, flags: int) -> bytes | None:
    """The decoded destination. Only datagram sockets look at what it says (DATA-1), once MSG_OOB is refused."""
    if raw is None:
        return None
    if flags & MSG_OOB and sock.type == SOCK_DGRAM:
        raise SyscallError(Errno.EOPNOTSUPP)
    return decode(raw) if sock.type == SOCK_DGRAM else raw


def sendto(call: Call) -> Outcome:
    """sendto(2) and send(2)."""
    args = call.args
    size = min(args[2], MAX_RW_COUNT)
    address_check(args[1], size)
    raw = read_address(call, args[4], signed(args[5])) if args[4] else None
    sock = call.sock
    flags = signed(args[3])
    address = destination(sock, raw, flags)

    def read(at: int, count: int) -> bytes:
        return call.memory.read(args[1] + at, count)

    return send_from(call, size, read, flags, address)


def recvfrom(call: Call) -> Outcome:
    """recvfrom(2) and recv(2)."""
    args = call.args
    if not args[3] & 0xFFFFFFFF and not args[4] and 0 < args[2] <= MAX_RW_COUNT:
        return read(call)
    size = min(args[2], MAX_RW_COUNT)
    address_check(args[1], size)
    return receive_data(call, size, signed(args[3]), lambda received: _give_from(call, received))


def _give_from(call: Call, received: Received) -> Answer:
    answer = _give(call, received, call.args[1])
    if call.args[4]:
        try:
            write_address(call, received.name or b"", call.args[4], call.args[5], unnamed=b"")
        except SyscallError:
            received.done()
            raise
    return answer


def write_address(call: Call, name: bytes, address: int, length_at: int, unnamed: bytes | None = None) -> None:
    """Report an address: as much as fits at `address`, and its full length (move_addr_to_user, NAME-10).

    EINVAL: the length given is negative; EFAULT. `unnamed` is what a socket without a name reports.
    """
    room = INT.unpack(call.memory.read(length_at, 4))[0]
    raw = encode(name) if name or unnamed is None else unnamed
    if room < 0:
        raise SyscallError(Errno.EINVAL)
    call.memory.write(length_at, INT.pack(len(raw)))
    if room and raw:
        call.memory.write(address, raw[:room])
