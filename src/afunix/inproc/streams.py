"""asyncio's streams with descriptors and credentials."""

from __future__ import annotations

import asyncio
import socket as standard
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from afunix.abi.constants import SOCK_STREAM
from afunix.inproc.messages import Credentials, Message, close_all
from afunix.inproc.servers import Server, connected, listening
from afunix.inproc.transport import UnixTransport, create_transport

__all__ = ["StreamReader", "StreamWriter", "open_unix_connection", "start_unix_server"]

LIMIT: Final = 64 * 1024


class StreamReader(asyncio.StreamReader):
    """As asyncio's, with what comes along with the bytes.

    `recv` and `recv_fds` give bytes together with their descriptors. The other methods give bytes only; then `take_fds`
    has the descriptors that came with what was read.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__(limit, asyncio.get_running_loop())
        self._fed = 0
        # What came along, by the position in the stream of the byte that it came with.
        self._along: deque[tuple[int, tuple[int, ...], Credentials | None]] = deque()
        self._newest: Credentials | None = None
        self._sender: Credentials | None = None

    def __del__(self) -> None:
        for _, fds, _ in self._along:
            close_all(fds)

    def feed_message(self, message: Message) -> None:
        """Take what a transport received."""
        if message.fds or message.credentials != self._newest:
            self._newest = message.credentials
            self._along.append((self._fed, message.fds, message.credentials))
        self._fed += len(message.data)
        self.feed_data(message.data)

    def _position(self) -> int:
        buffer: bytearray = self._buffer  # type: ignore[attr-defined]
        return self._fed - len(buffer)

    def _passed(self, position: int) -> tuple[int, ...]:
        """Descriptors that came with bytes before a position."""
        found: tuple[int, ...] = ()
        while self._along and self._along[0][0] < position:
            _, fds, self._sender = self._along.popleft()
            found += fds
        return found

    def take_fds(self) -> tuple[int, ...]:
        """The descriptors that came with what was read so far, and were not taken yet: they are the caller's now."""
        return self._passed(self._position())

    async def recv(self, n: int = LIMIT) -> Message:
        """At most n bytes with the descriptors and the credentials that came along; b"" at the end.

        As recvmsg, it keeps apart what has descriptors of different messages, or different senders. Descriptors come
        with the byte that they were sent with, or with one before it.
        """
        if n <= 0:
            raise ValueError("n must be positive")
        before = self._position()
        if before == self._fed and not self.at_eof():
            await self._wait_for_data("recv")  # type: ignore[attr-defined]
        fds = self._passed(before + 1)
        if self._along:
            n = min(n, self._along[0][0] - before)
        data = await self.read(n)
        return Message(data, fds, self._sender if data else None)

    async def recv_fds(self, bufsize: int, maxfds: int) -> tuple[bytes, list[int], int, Any]:
        """As `socket.recv_fds`: data, at most maxfds descriptors, flags and address."""
        return (await self.recv(bufsize)).as_received(maxfds)


class StreamWriter(asyncio.StreamWriter):
    """As asyncio's; `drain` after sending, as after writing."""

    @property
    def transport(self) -> UnixTransport:
        """The transport."""
        transport = super().transport
        assert isinstance(transport, UnixTransport)
        return transport

    @property
    def peer(self) -> Credentials | None:
        """Who is at the other end (SO_PEERCRED)."""
        credentials: Credentials | None = self.get_extra_info("peercred")
        return credentials

    def send(self, data: Any, fds: Sequence[int] = (), credentials: Credentials | None = None) -> None:
        """Send data with descriptors, which the caller may close at once, and credentials."""
        self.transport.send(data, fds, credentials)

    def send_fds(self, data: Any, fds: Sequence[int]) -> None:
        """Send descriptors along with the first byte of data."""
        self.transport.send(data, fds)


class _Protocol(asyncio.StreamReaderProtocol):
    def __init__(self, reader: StreamReader) -> None:
        super().__init__(reader, loop=asyncio.get_running_loop())
        self._reader = reader

    def message_received(self, message: Message) -> None:
        self._reader.feed_message(message)


def _streams(sock: standard.socket, limit: int) -> tuple[StreamReader, StreamWriter]:
    reader = StreamReader(limit)
    transport, protocol = create_transport(lambda: _Protocol(reader), sock)
    return reader, StreamWriter(transport, protocol, reader, asyncio.get_running_loop())


async def open_unix_connection(
    path: Any = None, *, sock: standard.socket | None = None, credentials: bool = False, limit: int = LIMIT
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a path, or take a connected socket.

    credentials: messages are to bring their sender's.
    """
    return _streams(await connected(path, sock, SOCK_STREAM, credentials), limit)


async def start_unix_server(
    handler: Callable[[StreamReader, StreamWriter], Awaitable[None]],
    path: Any = None,
    *,
    sock: standard.socket | None = None,
    credentials: bool = False,
    limit: int = LIMIT,
    backlog: int = 100,
) -> Server:
    """Serve at a path, or on a bound socket: a task with the handler for each connection, which is to close it.

    credentials: messages are to bring their sender's.
    """

    async def serve(accepted: standard.socket) -> None:
        reader, writer = _streams(accepted, limit)
        try:
            await handler(reader, writer)
        except BaseException:
            writer.close()
            raise

    return Server(listening(path, sock, SOCK_STREAM, credentials, backlog), serve)
