"""SOCK_DGRAM and SOCK_SEQPACKET data: unix_dgram_sendmsg and unix_dgram_recvmsg as nowait operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afunix.abi.constants import MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_TRUNC, SOCK_DGRAM, SOCK_SEQPACKET
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import Ucred
from afunix.core.errors import BrokenPipe
from afunix.core.message import Message, Received, Sent
from afunix.core.socket import CLOSED, ESTABLISHED, RCV_SHUTDOWN, SEND_SHUTDOWN, Socket
from afunix.core.truesize import datagram as truesize
from afunix.core.wait import WouldBlock

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.file import File

__all__ = [
    "OVERHEAD", "check_record", "connect", "made_room", "may_send", "receive", "receive_record", "reserve",
    "reserve_record", "send", "send_record", "send_to",
]  # fmt: skip

OVERHEAD = 32
"""What unix_dgram_sendmsg keeps of the send buffer when it checks a message's length (DGRAM-6)."""


def may_send(sock: Socket, other: Socket) -> bool:
    """Whether `other` accepts messages of this sender: its default peer, if it has one, is the only one (DGRAM-1)."""
    return other.peer is None or other.peer is sock


def connect(sock: Socket, caller: Caller, address: bytes | None) -> None:
    """Set the default peer, or with None dissolve it (unix_dgram_connect, DGRAM-1, DGRAM-2).

    EPERM: the target is connected to somebody else; and what Names.find raises.
    """
    other = None
    if address is not None:
        if sock.wants_credentials:
            sock.kernel.names.autobind(sock)
        other = sock.kernel.names.find(caller, address, SOCK_DGRAM)
        if not may_send(sock, other):
            raise SyscallError(Errno.EPERM)
    _set_peer(sock, other)


def _set_peer(sock: Socket, other: Socket | None) -> None:
    old = sock.peer
    if other is not None:
        sock.state = other.state = ESTABLISHED
        other.connectors[sock] = None
    sock.peer = other
    kernel = sock.kernel
    kernel.changed[sock] = None
    if other is not None and other.peer is sock:
        # It has room now however full this queue is, and Linux wakes nobody for that (unix_dgram_poll).
        kernel.changed[other] = None
    if old is None:
        return
    if other is None:
        sock.state = CLOSED
    kernel.wakeups.wake(sock.writers)
    if other is not old:
        old.connectors.pop(sock, None)
        _disconnected(sock, old)
        if old.peer is None:
            old.state = CLOSED


def _disconnected(sock: Socket, old: Socket) -> None:
    """Throw away what came from the old peer, who learns of it if it still points back (unix_dgram_disconnected)."""
    if not sock.queue:
        return
    kernel = sock.kernel
    while sock.queue:
        kernel.free(sock.queue.popleft())
    kernel.changed[sock] = None
    made_room(sock)
    if not old.dead and old.peer is sock:
        old.error = Errno.ECONNRESET
        kernel.changed[old] = None
        kernel.wakeups.wake(old.readers)
        kernel.wakeups.wake(old.writers)


def made_room(sock: Socket) -> None:
    """The queue got shorter: senders that waited for it may go on, connected ones poll writable again (POLL-2)."""
    kernel = sock.kernel
    kernel.wakeups.wake(sock.waiting_peers)
    for connector in sock.connectors:
        kernel.changed[connector] = None
        kernel.wakeups.wake(connector.writers)


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
    """Queue one message whole at the address or the default peer.

    On success the files belong to the queue; on any other outcome they stay the caller's. EOPNOTSUPP: MSG_OOB.
    EMSGSIZE: longer than SO_SNDBUF - 32 (DGRAM-6). ENOTCONN: no address and no peer, looked at only when there is
    space. ETOOMANYREFS: see Kernel.check_flight. EPERM: the target is connected elsewhere, or refuses descriptors
    (SCM-8). ECONNREFUSED: the target died; the default peer is dropped with it (DGRAM-5). EPIPE: it shut reading.
    """
    block = reserve(sock, len(data), flags)
    if block is not None:
        return block
    if files:
        sock.kernel.check_flight(caller)
    other = sock.peer if address is None else sock.kernel.names.find(caller, address, sock.type)
    if other is None:
        raise SyscallError(Errno.ENOTCONN)
    return send_to(sock, caller, data, other, files, creds)


def reserve(sock: Socket, size: int, flags: int, address: bytes | None = None) -> WouldBlock | None:
    """What comes before the data are looked at: flags, size, and room in the own send buffer. Errors as for `send`."""
    if flags & MSG_OOB:
        raise SyscallError(Errno.EOPNOTSUPP)
    if sock.wants_credentials and sock.address is None:
        sock.kernel.names.autobind(sock)
    if size > sock.sndbuf - OVERHEAD:
        raise SyscallError(Errno.EMSGSIZE)
    # sock_alloc_send_pskb looks for a pending error and at SHUT_WR before it looks for space.
    sock.take_error()
    if sock.shut & SEND_SHUTDOWN:
        raise BrokenPipe(signal=False)
    return sock.wait_writable if sock.wmem >= sock.sndbuf else None


def send_to(
    sock: Socket, caller: Caller, data: bytes, other: Socket, files: Sequence[File], creds: Ucred | None
) -> Sent | WouldBlock:
    """`send` to a socket that was found already, with room in the send buffer. Errors as there."""
    kernel = sock.kernel
    if not may_send(sock, other):
        raise SyscallError(Errno.EPERM)
    if other.dead:
        if sock.type == SOCK_SEQPACKET:
            raise BrokenPipe(signal=False)
        _set_peer(sock, None)
        raise SyscallError(Errno.ECONNREFUSED)
    if other.shut & RCV_SHUTDOWN:
        raise BrokenPipe(signal=False)
    if files and not other.passrights:
        raise SyscallError(Errno.EPERM)
    if other is not sock and other.peer is not sock and other.full:
        return other.wait_space
    message = Message(data, truesize(len(data)), sock, files, creds)
    if files:
        kernel.attach(message, caller)
    if creds is None and (sock.wants_credentials or other.wants_credentials or not other.grafted):
        message.creds = caller.credentials.real
    if other.timestamp:
        message.timestamp = caller.realtime()
    sock.wmem += message.truesize
    other.queue.append(message)
    changed = kernel.changed
    changed[other] = None
    if (sock.wmem + 1) << 2 > sock.sndbuf:
        changed[sock] = None
    if other.connectors and other.full:
        for connector in other.connectors:
            changed[connector] = None
    if other.readers:
        kernel.wakeups.pending[other.readers] = None
    return Sent(other, len(data), [message])


def send_record(
    sock: Socket,
    caller: Caller,
    data: bytes,
    flags: int = 0,
    files: Sequence[File] = (),
    creds: Ucred | None = None,
    address: bytes | None = None,
    start: int = 0,
) -> Sent | WouldBlock:
    """SEQPACKET's send: an address is ignored (DATA-1). See `check_record`."""
    check_record(sock)
    return send(sock, caller, data, flags & ~MSG_NOSIGNAL, files, creds)


def check_record(sock: Socket) -> None:
    """What SEQPACKET's send begins with, before control messages and data: the pending error (DATA-5), ENOTCONN."""
    sock.take_error()
    if sock.state != ESTABLISHED:
        raise SyscallError(Errno.ENOTCONN)


def reserve_record(sock: Socket, size: int, flags: int, address: bytes | None = None) -> WouldBlock | None:
    """`reserve` of SEQPACKET."""
    check_record(sock)
    return reserve(sock, size, flags)


def receive(sock: Socket, size: int, flags: int = 0) -> Received | WouldBlock:
    """Take one message; what does not fit in `size` bytes is lost and MSG_TRUNC set (DGRAM-7).

    EOPNOTSUPP: MSG_OOB. A pending error comes before the messages. Length 0 with `name` None: reading was shut.
    """
    if flags & MSG_OOB:
        raise SyscallError(Errno.EOPNOTSUPP)
    sock.take_error()
    queue = sock.queue
    peek = flags & MSG_PEEK
    index = skip = 0
    if peek and sock.peek_off >= 0:
        # Peeking with an offset walks over the queue as over one stretch of bytes (__skb_try_recv_from_queue).
        skip = sock.peek_off
        while index < len(queue) and skip >= len(queue[index].data) and (skip or queue[index].peeked):
            skip -= len(queue[index].data)
            index += 1
    if index >= len(queue):
        return _nothing(sock)
    message = queue[index]
    kernel = sock.kernel
    if not peek:
        queue.popleft()
    elif not message.data:
        message.peeked = True
    data = bytes(message.data)
    length = len(data) - skip
    if length > size:
        received = Received(sock, data[skip : skip + size], length if flags & MSG_TRUNC else size)
        received.flags = MSG_TRUNC
    else:
        received = Received(sock, data[skip:] if skip else data, length)
    received.name = message.owner.address or b""
    received.creds = message.creds
    received.timestamp = message.timestamp
    received.files = message.files
    if sock.peek_off >= 0:
        received.peek_off = sock.peek_off
        if peek:
            sock.peek_off += len(received.data)
        else:
            sock.peek_off = max(0, sock.peek_off - len(data))
    if peek:
        return received
    received.popped = (message,)
    if message.files:
        kernel.detach(message)
    kernel.uncharge(message)
    kernel.changed[sock] = None
    if sock.waiting_peers or sock.connectors:
        made_room(sock)
    return received


def _nothing(sock: Socket) -> Received | WouldBlock:
    """Nothing queued: SEQPACKET says end of file at once, DGRAM only to a call that would block (DGRAM-7, DATA-8)."""
    if sock.shut & RCV_SHUTDOWN and sock.type == SOCK_SEQPACKET:
        return Received(sock, b"", 0)
    return sock.wait_readable


def receive_record(sock: Socket, size: int, flags: int = 0) -> Received | WouldBlock:
    """SEQPACKET's receive. ENOTCONN: not connected (DATA-2)."""
    if sock.state != ESTABLISHED:
        raise SyscallError(Errno.ENOTCONN)
    return receive(sock, size, flags)
