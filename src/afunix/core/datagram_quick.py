"""The short ways of SOCK_DGRAM and SOCK_SEQPACKET: what is common done at half the cost.

Each does what `datagram.send` and `datagram.receive` would, or says that it isn't the common case. As those of
`stream_quick` they leave no note in `Kernel.changed`, and are for front ends that go by wait queues alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afunix.core.datagram import OVERHEAD, made_room
from afunix.core.message import Message
from afunix.core.socket import LISTEN, RCV_SHUTDOWN, SEND_SHUTDOWN, Socket
from afunix.core.truesize import datagram as truesize

if TYPE_CHECKING:
    from afunix.core.caller import Caller

__all__ = ["put", "put_if_writable", "put_to", "take"]


def put(sock: Socket, data: bytes) -> int:
    """`send` to the peer: the bytes sent, or 0 where it is not the common case."""
    peer = sock.peer
    return 0 if peer is None or not _may_begin(sock, len(data)) else _put(sock, peer, data)


def put_if_writable(sock: Socket, data: bytes) -> int:
    """`put` for who polls before, and so waits for more space than the data need (DATA-9)."""
    return put(sock, data) if sock.has_space else 0


def put_to(sock: Socket, caller: Caller, data: bytes, address: bytes) -> int:
    """`send` to an address. Errors as of Names.find."""
    if not _may_begin(sock, len(data)):
        return 0
    return _put(sock, sock.kernel.names.find(caller, address, sock.type), data)


def _may_begin(sock: Socket, size: int) -> bool:
    """Whether nothing is in the way that is looked at before the receiver."""
    return (
        0 < size <= sock.sndbuf - OVERHEAD
        and sock.error is None
        and sock.wmem < sock.sndbuf
        and not (sock.shut & SEND_SHUTDOWN or sock.passcred or sock.passpidfd)
    )


def _put(sock: Socket, peer: Socket, data: bytes) -> int:
    if (
        (peer.peer is not sock and (peer.peer is not None or (peer is not sock and peer.full)))
        or peer.shut & RCV_SHUTDOWN
        or peer.passcred
        or peer.passpidfd
        or peer.timestamp
        or not peer.grafted
    ):
        return 0
    size = len(data)
    cost = truesize(size)
    kernel = sock.kernel
    if kernel.spare:
        message = kernel.spare.pop()
        message.data = data
        message.truesize = cost
        message.owner = sock
    else:
        message = Message(data, cost, sock)
    sock.wmem += cost
    peer.queue.append(message)
    if peer.readers:
        kernel.wakeups.pending[peer.readers] = None
    return size


def take(sock: Socket, size: int) -> bytes | None:
    """`receive` of a message that fits, for who wants its bytes only; None: it is not the common case."""
    queue = sock.queue
    if not queue or sock.error is not None or sock.peek_off >= 0 or sock.state == LISTEN:
        return None
    message = queue[0]
    data = message.data
    if message.files or not 0 < len(data) <= size or type(data) is not bytes:
        return None
    queue.popleft()
    kernel = sock.kernel
    owner = message.owner
    owner.wmem -= message.truesize
    if owner.writers and owner.has_space:
        kernel.wakeups.pending[owner.writers] = None
    if sock.waiting_peers or sock.connectors:
        made_room(sock)
    if not kernel.spare and message.creds is None and not message.timestamp:
        message.data = b""
        kernel.spare.append(message)
    return data
