"""The short ways of SOCK_STREAM: what is common done at a third of the cost, what waits handed over at once.

Each does what `stream.send` and `stream.receive` would, or says that it isn't the common case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afunix.abi.constants import SOCK_STREAM
from afunix.core.message import Message
from afunix.core.socket import ESTABLISHED, Socket
from afunix.core.truesize import STREAM_CHUNK
from afunix.core.truesize import stream as truesize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from afunix.core.caller import Caller
    from afunix.core.file import File

__all__ = [
    "HandedOver",
    "hand_back",
    "hand_over",
    "only_takes",
    "only_waits",
    "plain",
    "put",
    "put_files",
    "put_if_writable",
    "split",
    "take",
    "take_files",
]

SMALL = 192
SMALL_TRUESIZE = 768
"""A message of up to so many bytes costs so much."""
STREAM_CHUNK_TRUESIZE = truesize(STREAM_CHUNK)
LEAST_SNDBUF = (STREAM_CHUNK + 64) * 2
"""From here on a send is cut into buffers of STREAM_CHUNK."""
LIMITLESS = 1 << 62


def plain(sock: Socket, peer: Socket) -> bool:
    """Whether bytes from one to the other need nothing but to arrive."""
    return not (
        sock.shut or peer.shut or sock.passcred or sock.passpidfd or peer.passcred or peer.passpidfd or not peer.grafted
    )


def only_takes(sock: Socket) -> bool:
    """Whether a read of a stream that has something queued takes some of it, and no more is to be thought of."""
    return (
        sock.state == ESTABLISHED
        and sock.type == SOCK_STREAM
        and sock.error is None
        and sock.oob is None
        and sock.peek_off < 0
        and sock.rcvlowat <= 1
    )


def only_waits(sock: Socket) -> bool:
    """Whether a read that may wait has nothing else to do: it may then become the socket's `taker`."""
    return (
        not sock.queue
        and sock.state == ESTABLISHED
        and sock.type == SOCK_STREAM
        and not sock.shut
        and sock.error is None
        and sock.rcvtimeo is None
        and sock.rcvlowat <= 1
        and sock.peek_off < 0
        and sock.taker is None
    )


def hand_over(sock: Socket, data: bytes) -> bool:
    """Give data to the read that waits on this socket (`Socket.taker`) without a queue between, if it takes them all.

    To everybody else it is as if the reader had been very quick. Not where others would have seen the data, too:
    where something is queued already, or somebody else waits; nor where the sender is to hear of each read.
    """
    taker = sock.taker
    readers = sock.readers
    sender = sock.peer
    if taker is None or readers is None or len(readers) != 1 or sock.queue or len(data) > taker.size:
        return False
    if sender is None or sender.space_edges or sock.peek_off >= 0:
        return False
    sock.taker = None
    readers.clear()
    taker.data = data
    taker()
    return True


def hand_back(sock: Socket, data: bytes) -> None:
    """Put data that were handed over in front of the queue: the read ended without them."""
    owner = sock.peer
    if owner is None:
        return
    message = Message(data, _cost(len(data), 0, LIMITLESS), owner)
    if len(data) > STREAM_CHUNK:
        message.whole = data
    owner.wmem += message.truesize
    sock.queue.appendleft(message)
    kernel = sock.kernel
    kernel.changed[sock] = None
    kernel.wakeups.wake(sock.readers)


class HandedOver:
    """What a read was given by `hand_over`, and how it gives it back."""

    __slots__ = ("_data", "_sock")

    def __init__(self, sock: Socket, data: bytes) -> None:
        self._sock = sock
        self._data = data

    def done(self) -> None:
        """The answer arrived."""

    def undo(self) -> int:
        """The answer did not reach the program: the bytes are for the next reader."""
        hand_back(self._sock, self._data)
        return 0


def put(sock: Socket, data: bytes) -> int:
    """The common case of `send` for who never takes it back: the bytes sent, or 0 where it is not the common case.

    That is data that fit whole, without anything special on the way. It costs a third of `send`, and leaves no note in
    `Kernel.changed`: it is for front ends that go by wait queues alone.
    """
    peer = sock.peer
    size = len(data)
    wmem = sock.wmem
    if (
        peer is None
        or not size
        or sock.shut
        or peer.shut
        or wmem >= sock.sndbuf
        or sock.passcred
        or sock.passpidfd
        or peer.passcred
        or peer.passpidfd
        or not peer.grafted
    ):
        return 0
    if peer.taker is not None and hand_over(peer, data):
        return size
    cost = SMALL_TRUESIZE if size <= SMALL else _cost(size, wmem, sock.sndbuf)
    if not cost:
        return 0
    spare = sock.kernel.spare
    if spare:
        message = spare.pop()
        message.data = data
        message.truesize = cost
        message.owner = sock
    else:
        message = Message(data, cost, sock)
    if size > STREAM_CHUNK:
        message.whole = data
    sock.wmem = wmem + cost
    peer.queue.append(message)
    readers = peer.readers
    if readers:
        sock.kernel.wakeups.pending[readers] = None
    return size


def put_if_writable(sock: Socket, data: bytes) -> int:
    """`put` for who polls before, and so waits for more space than the data need (DATA-9)."""
    return put(sock, data) if sock.has_space else 0


def put_files(sock: Socket, caller: Caller, data: bytes, files: Sequence[File]) -> int:
    """`put` of a small message with descriptors, which belong to the queue then; 0: it is not the common case.

    ETOOMANYREFS: see Kernel.check_flight. Unless it was sent, the files stay the caller's.
    """
    peer = sock.peer
    size = len(data)
    if (
        peer is None
        or not 0 < size <= SMALL
        or sock.wmem >= sock.sndbuf
        or not plain(sock, peer)
        or not peer.passrights
    ):
        return 0
    kernel = sock.kernel
    kernel.check_flight(caller)
    message = Message(data, SMALL_TRUESIZE, sock, files)
    kernel.attach(message, caller)
    sock.wmem += SMALL_TRUESIZE
    peer.queue.append(message)
    if peer.readers:
        kernel.wakeups.pending[peer.readers] = None
    return size


def _cost(size: int, wmem: int, sndbuf: int) -> int:
    """The truesize of so many bytes sent at once, in however many buffers; 0 if they don't fit whole."""
    if size <= STREAM_CHUNK:
        return truesize(size) if size <= (sndbuf >> 1) - 64 else 0
    if sndbuf < LEAST_SNDBUF:
        return 0
    full, rest = divmod(size - 1, STREAM_CHUNK)
    before_last = full * STREAM_CHUNK_TRUESIZE
    return before_last + truesize(rest + 1) if wmem + before_last < sndbuf else 0


def split(sock: Socket, message: Message, index: int = 0) -> Message:
    """Put the buffers of which a message stands for several in its place in the queue; the first of them."""
    whole = message.whole
    assert whole is not None
    view = memoryview(whole)
    size = len(whole)
    buffers = []
    for start in range(0, size, STREAM_CHUNK):
        end = start + STREAM_CHUNK
        cost = STREAM_CHUNK_TRUESIZE if end <= size else truesize(size - start)
        buffer = Message(view[start:end], cost, message.owner, creds=message.creds)
        buffer.whole = whole
        buffer.offset = start
        buffers.append(buffer)
    queue = sock.queue
    del queue[index]
    for buffer in reversed(buffers):
        queue.insert(index, buffer)
    return buffers[0]


def take(sock: Socket, size: int) -> bytes | None:
    """The common case of `receive` for who wants bytes only and never puts them back; None where it isn't that.

    That is all or the beginning of one send. As `put` it leaves no note in `Kernel.changed`.
    """
    queue = sock.queue
    if not queue or sock.oob is not None or sock.error is not None or sock.peek_off >= 0 or sock.state != ESTABLISHED:
        return None
    message = queue[0]
    if message.files:
        return None
    data = message.data
    consumed = message.consumed
    left = len(data) - consumed
    if left > size:
        if size <= 0:
            return None
        if message.whole is data:
            message = split(sock, message)
            data = message.data
            if len(data) <= size:
                return None
        message.consumed = consumed + size
        part = data[consumed : message.consumed]
        return part if type(part) is bytes else bytes(part)
    if not left or (left < size and (len(queue) > 1 or sock.rcvlowat > 1)):
        if message.whole is None or message.whole is data:
            return _take_many(sock, size)
        return _take_long(sock, message, size) or _take_many(sock, size)
    queue.popleft()
    owner = message.owner
    owner.wmem -= message.truesize
    kernel = sock.kernel
    writers = owner.writers
    if writers and owner.has_space:
        kernel.wakeups.pending[writers] = None
    if type(data) is not bytes:
        return bytes(data[consumed:])
    spare = kernel.spare
    if not spare and message.creds is None:
        # The next `put` takes this one, which saves making and freeing one.
        message.consumed = 0
        message.data = b""
        message.whole = None
        spare.append(message)
    return data[consumed:] if consumed else data


def take_files(sock: Socket, size: int) -> tuple[bytes, Sequence[File], bytes | None] | None:
    """`take` of a whole message with descriptors, which are the caller's then; and the sender's address.

    None: it is not the common case.
    """
    queue = sock.queue
    if not queue or sock.oob is not None or sock.error is not None or sock.peek_off >= 0 or sock.state != ESTABLISHED:
        return None
    message = queue[0]
    files = message.files
    data = message.data
    if not files or message.consumed or not 0 < len(data) <= size or type(data) is not bytes:
        return None
    queue.popleft()
    kernel = sock.kernel
    kernel.detach(message)
    owner = message.owner
    owner.wmem -= message.truesize
    if owner.writers and owner.has_space:
        kernel.wakeups.pending[owner.writers] = None
    return data, files, owner.address


def _take_long(sock: Socket, first: Message, size: int) -> bytes | None:
    """All of one send that lies in several buffers, if nothing lies behind it: its own bytes, uncopied."""
    whole = first.whole
    queue = sock.queue
    if whole is None or first.offset or first.consumed or size < len(whole) or sock.rcvlowat > 1 or sock.passcred:
        return None
    end = 0
    for message in queue:
        if message.whole is not whole or message.offset != end or message.files:
            return None  # the same bytes may have been sent twice
        end += len(message.data)
    if end != len(whole):
        return None
    owner = first.owner
    for message in queue:
        owner.wmem -= message.truesize
    queue.clear()
    writers = owner.writers
    if writers and owner.has_space:
        sock.kernel.wakeups.pending[writers] = None
    return whole


def _take_many(sock: Socket, size: int) -> bytes | None:
    """All of several sends, if they fit."""
    queue = sock.queue
    if sock.rcvlowat > 1 or sock.passcred or sock.passpidfd:
        return None
    parts = []
    for message in queue:
        data = message.data
        if message.consumed:
            data = data[message.consumed :]
        size -= len(data)
        if size < 0 or not data or message.files:
            return None
        parts.append(data)
    for message in queue:
        message.owner.wmem -= message.truesize
    owner = queue[0].owner
    queue.clear()
    if owner.writers and owner.has_space:
        sock.kernel.wakeups.pending[owner.writers] = None
    return b"".join(parts)
