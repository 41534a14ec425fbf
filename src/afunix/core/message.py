"""What sits in a receive queue, and what a receive operation hands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from afunix.core.credentials import Ucred

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.socket import Socket

__all__ = ["Message", "Received", "Sent"]


class Message:
    """One buffer of a receive queue (`struct sk_buff`): payload, sender, descriptors, credentials.

    consumed: bytes that stream reads took from the front. owner: the socket whose send buffer pays truesize, whose
    address is the message's source. files: the descriptors in flight, owned by the message. creds: None where
    neither side had asked for credentials (SCM-5). embryo: on a listener's queue, the connection not yet accepted.
    """

    __slots__ = ("consumed", "creds", "data", "embryo", "files", "owner", "timestamp", "truesize", "user")

    def __init__(
        self,
        data: bytes,
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
        "before", "creds", "data", "ended", "files", "flags", "length", "name", "oob", "partial", "peek_off",
        "popped", "sock", "timestamp",
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
        self.partial: Message | None = None
        self.before = 0
        self.oob: Message | None = None
        self.peek_off: int | None = None

    def extend(self, more: Received) -> None:
        """Append what a further read took: MSG_WAITALL and SO_RCVLOWAT gather until they have enough."""
        self.data += more.data
        self.length += more.length
        self.flags |= more.flags
        self.files = more.files
        self.ended = more.ended or more.name is None
        self.popped = [*self.popped, *more.popped]
        self.partial = more.partial

    def done(self) -> None:
        """The answer arrived: drop the queue's references to the descriptors (installing them made others)."""
        if self.files:
            if self.popped or self.partial is not None:
                for file in self.files:
                    file.release()
            self.files = ()

    def undo(self) -> int:
        """Put back what was taken, as if the call had never been made: the answer did not reach the program.

        Returns 0: nothing of it stays.
        """
        sock = self.sock
        if self.peek_off is not None:
            sock.peek_off = self.peek_off
        popped = self.popped
        partial = self.partial
        if not popped and partial is None:
            return 0
        if partial is not None:
            partial.consumed = self.before if not popped else 0
            if self.files:
                partial.files = self.files
                sock.kernel.reattach(partial)
        elif self.files:
            popped[-1].files = self.files
        for message in popped:
            message.consumed = 0
            sock.kernel.charge(message)
        if popped:
            popped[0].consumed = self.before
            sock.queue.extendleft(reversed(popped))
        sock.oob = self.oob
        self.files = ()
        kernel = sock.kernel
        kernel.changed[sock] = None
        kernel.wakeups.wake(sock.readable)
        return 0


class Sent:
    """What a send operation queued, and how to take it back."""

    __slots__ = ("length", "messages", "peer")

    def __init__(self, peer: Socket, length: int, messages: list[Message]) -> None:
        self.peer = peer
        self.length = length
        self.messages = messages

    def extend(self, more: Sent) -> None:
        """Add what a further part of the same call queued."""
        self.length += more.length
        self.messages += more.messages

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
                peer.oob = None
            kernel.free(message)
        kernel.changed[peer] = None
        return left
