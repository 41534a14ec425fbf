"""Which sockets are in flight in messages: what the collector needs to know of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from afunix.core import collector
from afunix.core.file import File
from afunix.core.socket import Socket

__all__ = ["Flight"]


class Flight:
    """Counts, for each socket that some message holds, in how many places (a `collector.Graph`)."""

    __slots__ = ("sockets",)

    def __init__(self) -> None:
        self.sockets: dict[Socket, int] = {}

    def count(self, files: Sequence[File], change: int) -> None:
        """Descriptors went into a message (+1) or out of it (-1)."""
        sockets = self.sockets
        for file in files:
            if isinstance(file, Socket):
                left = sockets.get(file, 0) + change
                if left:
                    sockets[file] = left
                else:
                    sockets.pop(file, None)

    def garbage(self) -> list[Socket]:
        """The sockets whose queues are to be thrown away; of a listener, those of its connections not yet accepted."""
        found: list[Socket] = []
        for sock in collector.collect(self.sockets, self):
            embryos = [message.embryo for message in sock.queue if message.embryo is not None]
            found += embryos or [sock]
        return found

    def inflight(self, sock: Socket) -> int:
        """References to it in messages."""
        return self.sockets[sock]

    def references(self, sock: Socket) -> int:
        """All references to it."""
        return sock.references

    def passed(self, sock: Socket) -> Iterable[Socket]:
        """Sockets in the unread messages of its queue, and of its connections not yet accepted."""
        for message in sock.queue:
            if message.embryo is None:
                yield from _sockets(message.files)
            else:
                for early in message.embryo.queue:
                    yield from _sockets(early.files)


def _sockets(files: Sequence[File]) -> Iterator[Socket]:
    return (file for file in files if isinstance(file, Socket))
