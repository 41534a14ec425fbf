"""What sits in a receive queue, and what a receive operation hands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from afunix.abi.errno import Errno
from afunix.core.credentials import Ucred

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.socket import Socket

__all__ = ["Message", "Received", "Sent"]

NOTHING: Mapping[Message, Sequence[File]] = {}


class Message:
    """One buffer of a receive queue (`struct sk_buff`): payload, sender, descriptors, credentials.

    consumed: bytes that stream reads took from the front. owner: the socket whose send buffer pays truesize, whose
    address is the message's source. files: the descriptors in flight, owned by the message. creds: None where
    neither side had asked for credentials (SCM-5). embryo: on a listener's queue, the connection not yet accepted.
    whole, offset: what was sent in several buffers, and where this one begins in it: `data` is a view of it then, so
    that a long send copies nothing, and a read of all of it gets the sender's own bytes. Where `data` is `whole`
    itself the message stands for all those buffers, with their truesize, until one reads a part of it.
    """

    __slots__ = (
        "consumed", "creds", "data", "embryo", "files", "offset", "owner", "peeked", "timestamp", "truesize", "user",
        "whole",
    )  # fmt: skip

    def __init__(
        self,
        data: bytes | memoryview,
        truesize: int,
        owner: Socket,
        files: Sequence[File] = (),
        creds: Ucred | None = None,
        embryo: Socket | None = None,
    ) -> None:
        self.data = data
        self.consumed = 0
        self.truesize = truesize
        self.owner = owner
        self.files = files
        self.creds = creds
        self.embryo = embryo
        self.timestamp = 0.0
        self.user = -1
        self.whole: bytes | None = None
        self.offset = 0
        # A message without data that was peeked at: a peek with an offset goes past it (skb->peeked).
        self.peeked = False

    def __len__(self) -> int:
        return len(self.data) - self.consumed


class Received:
    """What a receive operation took (or, with MSG_PEEK, saw), and how to put it back.

    data: the payload, at most what was asked for. length: what the call returns (more than len(data) with MSG_TRUNC).
    flags: bits for msg_flags. name: the sender's address, b"" when it has none, None when nothing was read.
    files: descriptors, owned by whoever holds this object (with MSG_PEEK the queue owns them, and the holder must
    acquire what it keeps). ended: the read stopped at a border that no further byte may cross (credentials, mark).
    """

    __slots__ = (
        "before", "creds", "data", "dropped", "ended", "error", "files", "flags", "length", "name", "oob", "partial",
        "peek_off", "popped", "sock", "timestamp",
    )  # fmt: skip

    def __init__(self, sock: Socket, data: bytes, length: int) -> None:
        self.sock = sock
        self.data = data
        self.length = length
        self.flags = 0
        self.name: bytes | None = None
        self.files: Sequence[File] = ()
        self.creds: Ucred | None = None
        self.timestamp = 0.0
        self.ended = False
        # What undo needs: whole messages taken, the one read in part, and where the first stood before.
        self.popped: Sequence[Message] = ()
        # Of the messages taken, those that were passed over (urgent bytes), with their descriptors.
        self.dropped: Mapping[Message, Sequence[File]] = NOTHING
        self.partial: Message | None = None
        self.before = 0
        self.oob: Message | None = None
        self.peek_off: int | None = None
        # The pending error that was met behind the data, and so lost.
        self.error: Errno | None = None

    def extend(self, more: Received) -> None:
        """Append what a further read took: MSG_WAITALL and SO_RCVLOWAT gather until they have enough."""
        self.data += more.data
        self.length += more.length
        self.flags |= more.flags
        self.files = more.files
        self.ended = more.ended or more.name is None
        self.popped = [*self.popped, *more.popped]
        if more.dropped:
            self.dropped = {**self.dropped, **more.dropped}
        self.partial = more.partial
        if more.error is not None:
            self.error = more.error

    def drop(self, message: Message) -> None:
        """Note that a message, which has left the queue, is thrown away unread."""
        files = message.files
        kernel = self.sock.kernel
        if len(message):
            self.sock.passed_over += 1
        if files:
            kernel.detach(message)
        kernel.uncharge(message)
        self.dropped = {**self.dropped, message: files}

    def done(self) -> None:
        """The answer arrived: drop the queue's references to the descriptors (installing them made others)."""
        if self.dropped:
            for files in self.dropped.values():
                for file in files:
                    file.release()
            self.dropped = NOTHING
        if self.files:
            if self.popped or self.partial is not None:
                for file in self.files:
                    file.release()
            self.files = ()

    def undo(self) -> int:
        """Put back what was taken, as if the call had never been made: the answer did not reach the program.

        Returns 0: nothing of it stays. If the socket was closed meanwhile, what was taken goes the way of its queue.
        """
        sock = self.sock
        if self.peek_off is not None:
            sock.peek_off = self.peek_off
        popped = self.popped
        partial = self.partial
        dropped = self.dropped
        if not popped and partial is None:
            return 0
        if sock.dead:
            self.done()
            return 0
        if partial is not None:
            partial.consumed = self.before if not popped else 0
            if self.files:
                partial.files = self.files
                sock.kernel.reattach(partial)
        elif self.files:
            popped[-1].files = self.files
        if self.error is not None:
            sock.error = self.error
        kernel = sock.kernel
        first = True
        for message in dropped:
            if len(message):
                sock.passed_over -= 1
        for message in popped:
            if message in dropped:
                message.files = dropped[message]
            else:
                message.consumed = self.before if first else 0
            first = False
            kernel.charge(message)
        sock.queue.extendleft(reversed(popped))
        for message in dropped:
            if message not in popped:
                # An urgent byte read earlier, behind which the one stands that this call took.
                assert partial is not None
                message.files = dropped[message]
                sock.queue.insert(sock.queue.index(partial), message)
                kernel.charge(message)
        if sock.oob is None:  # else another urgent byte came meanwhile
            sock.oob = self.oob
        self.files = ()
        self.dropped = NOTHING
        kernel.changed[sock] = None
        for connector in sock.connectors:
            kernel.changed[connector] = None
        kernel.wakeups.wake(sock.readers)
        return 0


class Sent:
    """What a send operation queued, and how to take it back."""

    __slots__ = ("length", "messages", "peer", "replaced")

    def __init__(self, peer: Socket, length: int, messages: list[Message]) -> None:
        self.peer = peer
        self.length = length
        self.messages = messages
        # The urgent byte that the one among the messages took the place of.
        self.replaced: Message | None = None

    def extend(self, more: Sent) -> None:
        """Add what a further part of the same call queued."""
        self.length += more.length
        self.messages += more.messages
        self.replaced = more.replaced

    def done(self) -> None:
        """The answer arrived: nothing is left to do."""

    def undo(self) -> int:
        """Take back what nobody has read yet: the answer did not reach the program.

        The descriptors go with it; the sender still has its own. Returns the bytes that were read already and so
        stay sent.
        """
        peer = self.peer
        queue = peer.queue
        kernel = peer.kernel
        left = self.length
        for message in reversed(self.messages):
            if not queue or queue[-1] is not message or message.consumed:
                break
            queue.pop()
            left -= len(message.data)
            if peer.oob is message:
                replaced = self.replaced
                peer.oob = replaced if replaced in queue else None
            kernel.free(message)
        kernel.changed[peer] = None
        kernel.wakeups.wake(peer.waiting_peers)
        for connector in peer.connectors:
            kernel.changed[connector] = None
            kernel.wakeups.wake(connector.writers)
        return left
