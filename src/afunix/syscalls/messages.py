"""sendmsg, recvmsg, sendmmsg and recvmmsg: messages with addresses and control messages."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    MSG_CMSG_COMPAT,
    MSG_DONTWAIT,
    MSG_OOB,
    MSG_PEEK,
    MSG_WAITFORONE,
    SOCK_STREAM,
    UIO_MAXIOV,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import (
    MMSG_LEN_OFFSET,
    MMSGHDR_SIZE,
    MSG_CONTROLLEN_OFFSET,
    MSG_FLAGS_OFFSET,
    MSG_NAMELEN_OFFSET,
    MSG_RESULTS,
    MSGHDR,
    cmsg_space,
)
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT, SIZE, SOCKLEN, TIMESPEC
from afunix.core.ancillary import OPTMEM_MAX, BadControl, Control, deliver, only_rights, parse
from afunix.core.message import Received
from afunix.core.operations import OPERATIONS
from afunix.core.socket import ESTABLISHED
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer, Call, Memory, Outcome, Undo, Undoable, signed
from afunix.syscalls.receiving import RECEIVE, receive_data
from afunix.syscalls.sending import release, send_from
from afunix.syscalls.torn import TornControl, pieces, takes
from afunix.syscalls.transfer import (
    SOCKADDR_STORAGE,
    checked_iovecs,
    destination,
    iovecs_at,
    put_vec,
    vec_reader,
)

__all__ = ["read_timeout", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg"]


NO_CONTROL = Control([], None)
PAGE = 4096
"""The smallest size of a page."""
MOST_BESIDE = 256
"""Control messages other than SCM_RIGHTS are never longer than this together."""


class Header(NamedTuple):
    """A struct msghdr as its call will use it."""

    at: int
    name: int
    namelen: int
    address: bytes | None
    iovecs: list[tuple[int, int]]
    total: int
    control: int
    controllen: int
    flags: int
    raw: bytes | None
    """The control messages of a send, if they were read with the iovecs."""


MANY_IOVECS = 16
"""So many iovecs are worth reading together with what is next to be read."""


def read_header(call: Call, at: int, sends: bool = False) -> Header:
    """Read and check a msghdr (copy_msghdr_from_user), for a send with the address that it points to.

    EFAULT; EINVAL: negative length; EMSGSIZE: too many iovecs.
    """
    name, namelen, iov, iovlen, control, controllen, flags = MSGHDR.unpack(call.memory.read(at, MSGHDR.size))
    if not name:
        namelen = 0
    if namelen < 0:
        raise SyscallError(Errno.EINVAL)
    namelen = min(namelen, SOCKADDR_STORAGE)
    address = call.memory.read(name, namelen) if sends and namelen else None
    if iovlen > UIO_MAXIOV:
        raise SyscallError(Errno.EMSGSIZE)
    raw = None
    if sends and 0 < iovlen <= MANY_IOVECS and 0 < controllen < OPTMEM_MAX:
        try:
            both = call.memory.read_vec([(iov, 16 * iovlen), (control, controllen)])
        except SyscallError:
            pass  # which of them is bad is found in their order
        else:
            iovecs, total = checked_iovecs(both[: 16 * iovlen])
            raw = both[16 * iovlen :]
    if raw is None:
        iovecs, total = iovecs_at(call, iov, iovlen)
    return Header(at, name, namelen, address, iovecs, total, control, controllen, flags, raw)


def sendmsg(call: Call) -> Outcome:
    """sendmsg(2)."""
    flags = _flags(call.args[2])
    return _send(call, read_header(call, call.args[1], True), flags)


def _flags(register: int) -> int:
    """The flags of a call with headers. EINVAL: those of a 32-bit program (forbid_cmsg_compat)."""
    flags = signed(register)
    if flags & MSG_CMSG_COMPAT:
        raise SyscallError(Errno.EINVAL)
    return flags


def _control(call: Call, header: Header) -> Control:
    """The control messages of a send. ENOBUFS: too long; EFAULT; what ancillary.parse raises."""
    if not header.controllen:
        return NO_CONTROL
    if header.controllen >= OPTMEM_MAX:
        raise SyscallError(Errno.ENOBUFS)
    raw = call.memory.read(header.control, header.controllen) if header.raw is None else header.raw
    early = OPERATIONS[call.sock.type].early
    if early is not None:
        early(call.sock)
    try:
        return parse(raw, call.caller, call.sock)
    except BadControl as error:
        # The descriptors named before the mistake are looked up first: EBADF wins.
        release(call.files(error.fds))
        raise


def _send(call: Call, header: Header, flags: int) -> Outcome:
    sock = call.sock
    control = _control(call, header)
    files = call.files(control.fds) if control.fds else ()
    try:
        address = destination(sock, header.address, flags)
    except SyscallError:
        release(files)
        raise
    read = vec_reader(call, header.iovecs, header.total)
    return send_from(call, header.total, read, flags, address, files, control.creds)


def recvmsg(call: Call) -> Outcome:
    """recvmsg(2)."""
    flags = _flags(call.args[2])
    return _receive(call, read_header(call, call.args[1]), flags)


def _receive(call: Call, header: Header, flags: int) -> Outcome:
    try:
        return receive_data(
            call, header.total, flags & ~MSG_CMSG_CLOEXEC, lambda received: _give_message(call, received, header, flags)
        )
    except SyscallError:
        sock = call.sock
        if sock.passpidfd and flags & MSG_PEEK and not header.total and sock.state == ESTABLISHED:
            _tell_of_peeked(call, header, flags)
        raise


def _tell_of_peeked(call: Call, header: Header, flags: int) -> None:
    """A peek of no bytes saw a message and failed for what is behind: a stream comes to scm_recv_unix all the same."""
    sock = call.sock
    if sock.type != SOCK_STREAM or flags & MSG_OOB:
        return
    # A peek of one byte sees the same message and looks no further.
    seen = RECEIVE[sock.type](sock, 1, MSG_PEEK)
    if isinstance(seen, Received) and seen.name is not None:
        TornControl(call, header.control).deliver(seen, header.controllen, flags)
        seen.undo()


def _give_message(call: Call, received: Received, header: Header, flags: int) -> Answer:
    """Write data, address, control messages and flags of a received message to memory."""
    memory = call.memory
    sock = call.sock
    try:
        received = put_vec(call, received, header.iovecs)
    except SyscallError:
        if sock.wants_credentials and not OPERATIONS[sock.type].keeps_records:
            # A stream comes to scm_recv_unix all the same, without the descriptors.
            received.files = ()
            TornControl(call, header.control).deliver(received, header.controllen, flags)
        raise
    room = header.controllen if header.control else None
    control: Sequence[tuple[int, bytes]] = ()
    if room and (received.files or sock.passpidfd) and not _takes_control(memory, received, header):
        length, more_flags = TornControl(call, header.control).deliver(received, room, flags)
    else:
        raw, more_flags = deliver(received, sock, room, flags, call.install, call.install_pidfd, call.caller)
        length = len(raw)
        if raw:
            control = pieces(header.control, raw)
    bits = (received.flags | more_flags) & 0xFFFFFFFF
    name = b""
    ranges = [*control]
    if header.name:
        name = encode(received.name) if received.name else b""
        ranges.append((header.at + MSG_NAMELEN_OFFSET, INT.pack(len(name))))
        ranges.append((header.name, name[: header.namelen]))
    ranges.append((header.at + MSG_CONTROLLEN_OFFSET, MSG_RESULTS.pack(length, bits)))
    overwritten = header.name != 0 and _is_overwritten(header)
    if overwritten or not _put(memory, ranges):
        # One after the other, as far as it goes.
        try:
            if control and not _put(memory, control):
                length, more_flags = TornControl(call, header.control, True).deliver(received, header.controllen, flags)
                bits = (received.flags | more_flags) & 0xFFFFFFFF
            if header.name:
                _give_name(memory, header, name, overwritten)
            memory.write(header.at + MSG_FLAGS_OFFSET, SOCKLEN.pack(bits))
            memory.write(header.at + MSG_CONTROLLEN_OFFSET, SIZE.pack(length))
        except SyscallError:
            received.done()
            raise
    return received.length, received


def _takes_control(memory: Memory, received: Received, header: Header) -> bool:
    """Whether the control messages can be written, which is found before descriptors are installed."""
    needed = cmsg_space(INT.size * len(received.files)) + (0 if only_rights(received.sock) else MOST_BESIDE)
    needed = min(header.controllen, needed)
    if received.data and _in_one_page(header.iovecs, header.control, needed):
        return True
    return takes(memory, header.control, needed)


def _in_one_page(iovecs: Sequence[tuple[int, int]], address: int, size: int) -> bool:
    """Whether a range is in the page that data were just written to, and so can be written to as well."""
    page = address // PAGE
    base = next((base for base, length in iovecs if length), -1)
    return base // PAGE == page == (address + size - 1) // PAGE


def _is_overwritten(header: Header) -> bool:
    """Whether what was received may lie over the header itself."""
    start, end = header.at, header.at + MSGHDR.size
    ranges = [*header.iovecs, (header.control, header.controllen)]
    return any(base < end and start < base + length for base, length in ranges)


def _give_name(memory: Memory, header: Header, name: bytes, overwritten: bool) -> None:
    """The sender's address (move_addr_to_user): msg_namelen is looked at now. EINVAL: it has become negative."""
    room = header.namelen
    if overwritten:
        (room,) = INT.unpack(memory.read(header.at + MSG_NAMELEN_OFFSET, INT.size))
    if min(room, len(name)) < 0:
        raise SyscallError(Errno.EINVAL)
    memory.write(header.at + MSG_NAMELEN_OFFSET, INT.pack(len(name)))
    if name[:room]:
        memory.write(header.name, name[:room])


def _put(memory: Memory, ranges: Sequence[tuple[int, bytes]]) -> bool:
    """Whether all could be written; control messages for a bad pointer are lost, and the call succeeds (put_cmsg)."""
    try:
        if len(ranges) == 1:
            memory.write(*ranges[0])
        else:
            memory.write_vec([(start, len(piece)) for start, piece in ranges], b"".join([piece for _, piece in ranges]))
    except SyscallError:
        return False
    return True


def sendmmsg(call: Call) -> Outcome:
    """sendmmsg(2): messages until one fails or goes in part; the error is told only if it is the first (DATA-14)."""
    number = min(call.args[2] & 0xFFFFFFFF, UIO_MAXIOV)
    return _sendmmsg(call, number, _flags(call.args[3]))


def _sendmmsg(call: Call, number: int, flags: int) -> Generator[WouldBlock, None, Answer]:
    undo: list[Undoable] = []
    done = 0
    at = call.args[1]
    for done in range(number):
        entry = at + done * MMSGHDR_SIZE
        try:
            header = read_header(call, entry, True)
            outcome = _send(call, header, flags)
            if isinstance(outcome, Generator):
                outcome = yield from outcome
            length = _value(outcome, undo)
            call.memory.write(entry + MMSG_LEN_OFFSET, SOCKLEN.pack(length))
        except SyscallError:
            if not done:
                raise
            return done, _all(undo)
        if length < header.total:
            return done + 1, _all(undo)
    return number, _all(undo)


def recvmmsg(call: Call) -> Outcome:
    """recvmmsg(2): messages until one would block or the time-out, looked at only between messages, has passed."""
    flags = _flags(call.args[3])
    number = call.args[2] & 0xFFFFFFFF
    return _recvmmsg(call, number, flags, read_timeout(call.memory, call.args[4]))


def read_timeout(memory: Memory, address: int) -> float | None:
    """The time-out of a recvmmsg in seconds; None without one. EFAULT, EINVAL, also before its descriptor's EBADF."""
    if not address:
        return None
    seconds, nanoseconds = TIMESPEC.unpack(memory.read(address, TIMESPEC.size))
    if seconds < 0 or not 0 <= nanoseconds < 1_000_000_000:
        raise SyscallError(Errno.EINVAL)
    return float(seconds + nanoseconds / 1e9)


def _recvmmsg(call: Call, number: int, flags: int, timeout: float | None) -> Generator[WouldBlock, None, Answer]:
    sock = call.sock
    sock.take_error()
    start = call.now()
    undo: list[Undoable] = []
    wait = not (sock.nonblock or flags & MSG_DONTWAIT)
    done = 0
    while done < number:
        entry = call.args[1] + done * MMSGHDR_SIZE
        try:
            header = read_header(call, entry)
            outcome = _receive(call, header, flags & ~MSG_WAITFORONE | (0 if wait else MSG_DONTWAIT))
            if isinstance(outcome, Generator):
                outcome = yield from outcome
            length = _value(outcome, undo)
            call.memory.write(entry + MMSG_LEN_OFFSET, SOCKLEN.pack(length))
        except SyscallError as error:
            if not done:
                raise
            if error.errno is not Errno.EAGAIN:
                # Told by the next call (sk_err), since this one has messages to report.
                sock.error = error.errno
                call.kernel.changed[sock] = None
            break
        done += 1
        if flags & MSG_WAITFORONE:
            wait = False
        if timeout is not None and call.now() - start >= timeout:
            break
    if timeout is not None:
        left = max(0.0, timeout - (call.now() - start))
        call.memory.write(call.args[4], TIMESPEC.pack(int(left), int(left % 1 * 1e9)))
    return done, _all(undo)


def _value(outcome: Answer, undo: list[Undoable]) -> int:
    if isinstance(outcome, int):
        return outcome
    assert isinstance(outcome, tuple), "a message call answers with a number"
    value, change = outcome
    undo.append(change)
    return value


def _all(undo: list[Undoable]) -> Undoable:
    return Undo([step.undo for step in reversed(undo)], [step.done for step in undo])
