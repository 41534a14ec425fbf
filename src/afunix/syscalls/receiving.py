"""What every call that receives does: take bytes, wait for them, and put back what the program's memory can't hold."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from afunix.abi.constants import MSG_DONTWAIT, MSG_OOB, MSG_PEEK, MSG_WAITALL
from afunix.abi.errno import Errno, SyscallError
from afunix.core import blocking, stream
from afunix.core.message import Message, Received
from afunix.core.operations import OPERATIONS
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer, Call, Outcome

__all__ = ["RECEIVE", "as_far_as_possible", "hand_out", "receive_data"]

RECEIVE = {kind: row.receive for kind, row in OPERATIONS.items()}


def receive_data(call: Call, size: int, flags: int, give: Callable[[Received], Answer]) -> Outcome:
    """Receive, now or in a body that waits, and hand the result to `give`, which writes it to memory."""
    sock = call.sock
    received = RECEIVE[sock.type](sock, size, flags)
    if type(received) is WouldBlock:
        if sock.nonblock or flags & MSG_DONTWAIT:
            raise SyscallError(Errno.EAGAIN)
        return _receive_later(call, sock, size, flags, None, received, give)
    if (
        (sock.rcvlowat > 1 or flags & MSG_WAITALL)
        and not (sock.nonblock or flags & MSG_DONTWAIT)
        and blocking.unfinished(sock, received, size, flags)
    ):
        return _receive_later(call, sock, size, flags, received, None, give)
    return hand_out(received, give)


def _receive_later(
    call: Call,
    sock: Socket,
    size: int,
    flags: int,
    first: Received | None,
    block: WouldBlock | None,
    give: Callable[[Received], Answer],
) -> Generator[WouldBlock, None, Answer]:
    received = yield from blocking.receive(sock, size, flags, call.now(), first, block)
    return hand_out(received, give)


def hand_out(received: Received, give: Callable[[Received], Answer]) -> Answer:
    """Give; if the program vanishes meanwhile, what was received goes back, as others may have the socket, too."""
    try:
        return give(received)
    except SyscallError:
        raise
    except BaseException:
        received.undo()
        raise


def as_far_as_possible(received: Received, put: Callable[[int, bytes], None]) -> Received:
    """The program's buffer is bad somewhere: keep the messages in front of that (unix_stream_read_generic).

    `put` writes bytes at an offset. Stream bytes that don't fit stay queued; a datagram or record is lost
    (skb_free_datagram), and the offset of peeks does not move. EFAULT: not even the first message could be copied.
    """
    sock = received.sock
    if OPERATIONS[sock.type].keeps_records or received.flags & MSG_OOB:
        if received.peek_off is not None:
            sock.peek_off = received.peek_off
        received.done()
        raise SyscallError(Errno.EFAULT)
    size = received.length
    peeked = not received.popped and received.partial is None
    received.undo()
    fitting = _peek_fitting(sock, size, put) if peeked else _take_fitting(sock, size, put)
    if fitting is None:
        raise SyscallError(Errno.EFAULT)
    return fitting


def _ahead(sock: Socket) -> Iterator[Message]:
    """The messages that a read would come to, one after the other."""
    return (message for message in sock.queue if len(message) and (sock.oobinline or message is not sock.oob))


def _fits(put: Callable[[int, bytes], None], at: int, data: bytes) -> bool:
    try:
        put(at, data)
    except SyscallError:
        return False
    return True


def _take_fitting(sock: Socket, size: int, put: Callable[[int, bytes], None]) -> Received | None:
    whole: Received | None = None
    while size and (message := next(_ahead(sock), None)) is not None:
        part = RECEIVE[sock.type](sock, min(size, len(message)))
        if isinstance(part, WouldBlock):
            break
        copied = 0 if whole is None else whole.length
        other_sender = whole is not None and sock.wants_credentials and part.creds != whole.creds
        if other_sender or not _fits(put, copied, part.data):
            part.undo()
            stream.pass_over(sock, copied)
            break
        if whole is None:
            whole = part
        else:
            whole.extend(part)
        size -= part.length
        if part.files:
            break
    return whole


def _peek_fitting(sock: Socket, size: int, put: Callable[[int, bytes], None]) -> Received | None:
    whole: Received | None = None
    end = -max(0, sock.peek_off)
    for message in _ahead(sock):
        end += len(message)
        if end <= 0:
            continue
        part = RECEIVE[sock.type](sock, min(end, size), MSG_PEEK)
        if isinstance(part, WouldBlock):
            break
        try:
            put(0, part.data)
        except SyscallError:
            part.undo()
            break
        if whole is not None and part.length == whole.length:
            break
        part.undo()
        whole = part
        # Not those of a message behind, which this peek has seen and the call never comes to.
        whole.files = message.files
        if end >= size:
            break
    if whole is not None and whole.peek_off is not None:
        sock.peek_off = whole.peek_off + whole.length
    return whole
