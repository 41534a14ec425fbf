"""SOCK_STREAM data: unix_stream_sendmsg and unix_stream_read_generic as nowait operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afunix.abi.constants import MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_WAITALL
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import Ucred
from afunix.core.errors import BrokenPipe
from afunix.core.message import Message, Received, Sent
from afunix.core.socket import ESTABLISHED, RCV_SHUTDOWN, SEND_SHUTDOWN, Socket
from afunix.core.stream_quick import hand_over, plain, split
from afunix.core.truesize import STREAM_CHUNK
from afunix.core.truesize import stream as truesize
from afunix.core.wait import WouldBlock

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.file import File

__all__ = ["receive", "reserve", "send"]


def send(
    sock: Socket,
    caller: Caller,
    data: bytes,
    flags: int = 0,
    files: Sequence[File] = (),
    creds: Ucred | None = None,
    address: bytes | None = None,
    start: int = 0,
) -> Sent | WouldBlock:
    """Queue as much of data[start:] as the send buffer admits; `Sent.length` says how much.

    On success the files belong to the queue (those of an empty send are closed, DATA-11); on any other outcome they
    stay the caller's. EISCONN, EOPNOTSUPP: an address was given (DATA-1). ENOTCONN: no peer. EPIPE: this side shut
    writing, or the peer reading or died; with SIGPIPE unless MSG_NOSIGNAL (DATA-6). ETOOMANYREFS: see
    Kernel.check_flight.
    """
    total = len(data)
    peer = _check(sock, total - start, flags, address)
    oob = flags & MSG_OOB
    if oob:
        total -= 1
    kernel = sock.kernel
    if peer.taker is not None and not (oob or files or creds) and total > start and plain(sock, peer):
        rest = data[start:total] if start else data
        if hand_over(peer, rest):
            return Sent(peer, total - start, [])
    sent = start
    queued: list[Message] = []
    replaced: Message | None = None
    while sent < total or oob:
        if sock.wmem >= sock.sndbuf:
            if queued:
                break
            return sock.wait_writable
        urgent = sent == total
        chunk: bytes | memoryview
        if urgent:
            oob = 0
            chunk = data[total:]
        else:
            size = min(total - sent, (sock.sndbuf >> 1) - 64, STREAM_CHUNK)
            chunk = data if size == len(data) else memoryview(data)[sent : sent + size]
        message = Message(chunk, truesize(len(chunk)), sock, creds=creds)
        if chunk is not data and not urgent:
            message.whole = data
            message.offset = sent
        if files and not queued:
            kernel.check_flight(caller)
        if peer.dead or peer.shut & RCV_SHUTDOWN:
            if queued:
                break
            raise BrokenPipe(signal=not flags & MSG_NOSIGNAL)
        if files and not queued:
            if not peer.passrights:
                raise SyscallError(Errno.EPERM)
            message.files = files
            kernel.attach(message, caller)
        if creds is None and (sock.wants_credentials or peer.wants_credentials or not peer.grafted):
            message.creds = caller.credentials.real
        sock.wmem += message.truesize
        peer.queue.append(message)
        if urgent:
            replaced, peer.oob = peer.oob, message
        sent += len(chunk)
        queued.append(message)
    if queued:
        changed = kernel.changed
        changed[peer] = None
        if (sock.wmem + 1) << 2 > sock.sndbuf:
            changed[sock] = None
        if peer.readers:
            kernel.wakeups.pending[peer.readers] = None
    else:
        for file in files:
            file.release()
    result = Sent(peer, sent - start, queued)
    if replaced is not None:
        result.replaced = replaced
    return result


def _check(sock: Socket, size: int, flags: int, address: bytes | None) -> Socket:
    if flags & MSG_OOB and not size:
        raise SyscallError(Errno.EOPNOTSUPP)
    if address is not None:
        raise SyscallError(Errno.EISCONN if sock.state == ESTABLISHED else Errno.EOPNOTSUPP)
    peer = sock.peer
    if peer is None:
        raise SyscallError(Errno.ENOTCONN)
    if sock.shut & SEND_SHUTDOWN:
        raise BrokenPipe(signal=not flags & MSG_NOSIGNAL)
    if sock.error is not None and size:
        sock.take_error()
    return peer


def reserve(sock: Socket, size: int, flags: int, address: bytes | None = None) -> WouldBlock | None:
    """What comes before the data are looked at: address, state, and room in the send buffer. Errors as for `send`."""
    _check(sock, size, flags, address)
    return sock.wait_writable if size and sock.wmem >= sock.sndbuf else None


def receive(sock: Socket, size: int, flags: int = 0) -> Received | WouldBlock:
    """Take up to `size` bytes, merging messages as far as Linux does (DATA-10, OOB-1).

    A result of length 0 with `name` None means end of file. EINVAL: not connected (DATA-2), or no urgent byte for
    MSG_OOB. Queued data come first, then the pending error once, then the end of file (DATA-3).
    """
    if sock.state != ESTABLISHED:
        raise SyscallError(Errno.EINVAL)
    if flags & MSG_OOB:
        return _receive_urgent(sock, size, flags)
    queue = sock.queue
    if not queue and sock.error is None and not sock.shut & RCV_SHUTDOWN:
        return sock.wait_readable
    peek = flags & MSG_PEEK
    if sock.oob is None and sock.peek_off < 0 and not peek and queue and sock.error is None:
        message = queue[0]
        if size >= len(message.data) - message.consumed > 0 and (len(queue) == 1 or message.files):
            return _take_whole(sock, message)
    return _read(sock, size, flags, bool(peek))


def _take_whole(sock: Socket, message: Message) -> Received:
    """The common case: one message, read to its end, with nothing behind it to merge."""
    before = message.consumed
    data = bytes(message.data[before:])  # no copy of whole bytes
    received = Received(sock, data, len(data))
    received.before = before
    received.popped = (message,)
    received.name = message.owner.address or b""
    received.creds = message.creds
    sock.queue.popleft()
    kernel = sock.kernel
    if message.files:
        received.files = message.files
        kernel.detach(message)
    kernel.uncharge(message)
    kernel.changed[sock] = None
    return received


def _read(sock: Socket, size: int, flags: int, peek: bool) -> Received | WouldBlock:
    """unix_stream_read_generic, message by message."""
    kernel = sock.kernel
    queue = sock.queue
    chunks: list[bytes | memoryview] = []
    # Where the chunks lie side by side in the bytes of one send: that, and from where to where in it.
    whole: bytes | None = None
    begin = end = 0
    copied = 0
    taken: list[Message] = []
    received = Received(sock, b"", 0)
    received.oob = sock.oob
    received.popped = taken
    if sock.peek_off >= 0:
        received.peek_off = sock.peek_off
    skip = sock.peek_off if peek and sock.peek_off > 0 else 0
    index = 0  # of the message looked at; reads unlink as they go, so it stays 0 unless peeking
    check = sock.wants_credentials
    while True:
        message, index = _manage_oob(sock, index, peek, copied, received, taken)
        while message is not None and skip >= len(message):
            skip -= len(message)
            index += 1
            message = queue[index] if index < len(queue) else None
        if message is None:
            if copied:
                if index < len(queue):
                    received.ended = True
                elif (
                    sock.error is not None
                    and not peek
                    and copied < (size if flags & MSG_WAITALL else min(sock.rcvlowat, size))
                ):
                    # Looking for more meets the pending error, which is lost: the call answers with what it has.
                    received.error, sock.error = sock.error, None
                    received.ended = True
                break
            # Looked at before descriptors passed over are closed, which the kernel does when the call is over.
            error = sock.error
            if error is None and sock.shut & RCV_SHUTDOWN:
                return received
            if error is not None:
                sock.error = None
                kernel.changed[sock] = None
            received.done()
            if error is not None:
                raise SyscallError(error)
            return sock.wait_readable
        if received.name is None:
            received.creds = message.creds
            received.name = message.owner.address or b""
        elif check and message.creds != received.creds:
            received.ended = True
            break
        if message.whole is message.data and not peek and len(message) > size - copied:
            message = split(sock, message, index)
        start = message.consumed + skip
        chunk = message.data[start : start + size - copied]
        if not chunks:
            whole = message.whole
            begin = end = message.offset + start
        elif whole is not message.whole or end != message.offset + start:
            whole = None
        end += len(chunk)
        chunks.append(chunk)
        copied += len(chunk)
        if peek:
            if sock.peek_off >= 0:
                sock.peek_off += len(chunk)
            if message.files:
                received.files = message.files
                break
            skip = 0
            index += 1
            if index >= len(queue):
                break
            # Also with nothing left to ask for: Linux looks at the rest of the queue, and descriptors there are seen.
            continue
        if sock.peek_off >= 0:
            sock.peek_off = max(0, sock.peek_off - len(chunk))
        if not taken:
            received.before = message.consumed
        message.consumed += len(chunk)
        if message.files:
            received.files = message.files
            kernel.detach(message)
        if len(message):
            received.partial = message
            break
        queue.popleft()
        kernel.uncharge(message)
        taken.append(message)
        if received.files or copied >= size:
            break
    received.data = b"".join(chunks) if whole is None else whole[begin:end]
    received.length = copied
    if not peek:
        kernel.changed[sock] = None
    return received


def _manage_oob(
    sock: Socket, index: int, peek: bool, copied: int, received: Received, taken: list[Message]
) -> tuple[Message | None, int]:
    """The message to read next: reads stop at the urgent mark, and pass over an urgent byte that is not inline.

    Follows manage_oob; a message that was emptied by recv(MSG_OOB) stays in the queue until the next read.
    """
    queue = sock.queue
    kernel = sock.kernel
    while True:
        if index >= len(queue):
            return None, index
        message = queue[index]
        if len(message) and message is not sock.oob:
            return message, index
        if not len(message):
            if copied and (sock.oob is None or message is sock.oob):
                return None, index
            if peek:
                index += 1
            else:
                taken.append(queue.popleft())
                received.drop(message)
                kernel.changed[sock] = None
            if index >= len(queue):
                return None, index
            message = queue[index]
            if message is not sock.oob:
                if len(message):
                    return message, index
                continue
        if copied:
            return None, index
        if peek:
            if sock.oobinline:
                return message, index
            index += 1
            if index >= len(queue):
                return None, index
            continue
        sock.oob = None
        kernel.changed[sock] = None
        if sock.oobinline:
            return message, index
        taken.append(queue.popleft())
        received.drop(message)


def pass_over(sock: Socket, copied: int) -> None:
    """Throw away what a read that has so many bytes passes over: so does one that goes no further then (EFAULT)."""
    received = Received(sock, b"", 0)
    _manage_oob(sock, 0, False, copied, received, [])
    received.done()


def _receive_urgent(sock: Socket, size: int, flags: int) -> Received:
    """recv(MSG_OOB): the urgent byte (unix_stream_recv_urg, OOB-1). EINVAL: there is none, or it is inline."""
    message = sock.oob
    if sock.oobinline or message is None:
        raise SyscallError(Errno.EINVAL)
    # Without room for the byte it is taken, and counted, all the same.
    received = Received(sock, bytes(message.data[message.consumed : message.consumed + 1][:size]), 1)
    received.flags = MSG_OOB
    received.name = b""  # this path of Linux tells no address
    received.oob = message
    if not flags & MSG_PEEK:
        received.before = message.consumed
        received.partial = message
        message.consumed += 1
        sock.oob = None
        kernel = sock.kernel
        kernel.changed[sock] = None
        queue = sock.queue
        at = queue.index(message)
        if at and not len(queue[at - 1]):
            # Of two urgent bytes in a row that were read, the earlier leaves no trace.
            earlier = queue[at - 1]
            del queue[at - 1]
            received.drop(earlier)
    return received
