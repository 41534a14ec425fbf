"""Channels: connections and datagram sockets on which whole messages are awaited, for SEQPACKET and DGRAM."""

from __future__ import annotations

import asyncio
import os
import socket as standard
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET
from afunix.inproc.messages import Credentials, Message
from afunix.inproc.servers import Server, connect, listening, opened
from afunix.inproc.transport import SIZE, MessageProtocol, UnixTransport, create_transport

__all__ = ["Channel", "open_channel", "start_channel_server"]

MOST: Final = 16
"""Messages that are taken out of the socket before anybody asks for them."""


class _Protocol(MessageProtocol):
    transport: UnixTransport

    def __init__(self) -> None:
        self.messages: deque[Message | OSError] = deque()
        self.ended = False
        self.lost: BaseException | None = None
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.news = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, UnixTransport)
        self.transport = transport

    def message_received(self, message: Message) -> None:
        self._put(message)

    def error_received(self, error: OSError) -> None:
        self._put(error)

    def _put(self, item: Message | OSError) -> None:
        self.messages.append(item)
        self.news.set()
        if len(self.messages) >= MOST:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.ended = True
        self.news.set()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = error
        self.ended = True
        self.news.set()
        self.room.set()
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()


class Channel:
    """Sends and receives whole messages. An asynchronous context manager; iterate over it for messages to the end."""

    def __init__(self, sock: standard.socket, size: int = SIZE) -> None:
        self._transport, self._protocol = create_transport(_Protocol, sock, size=size)
        self._closed = False

    def __repr__(self) -> str:
        return f"<afunix Channel of {self._transport!r}>"

    @property
    def transport(self) -> UnixTransport:
        """Its transport."""
        return self._transport

    @property
    def peer(self) -> Credentials | None:
        """Who is at the other end of a connection (SO_PEERCRED)."""
        credentials: Credentials | None = self._transport.get_extra_info("peercred")
        return credentials

    async def send(
        self, data: Any, fds: Sequence[int] = (), *, credentials: Credentials | None = None, address: Any = None
    ) -> None:
        """Send a message; waits while many are waiting to be sent. The caller may close its descriptors afterwards.

        OSError: as sendmsg. ConnectionError: the connection is lost.
        """
        await self._protocol.room.wait()
        if self._protocol.lost is not None:
            raise self._protocol.lost
        if self._transport.is_closing():
            raise BrokenPipeError("the channel is closed")
        self._transport.send(data, fds, credentials, None if address is None else os.fspath(address))
        await self._protocol.room.wait()

    async def send_fds(self, data: Any, fds: Sequence[int], *, address: Any = None) -> None:
        """Send a message with descriptors."""
        await self.send(data, fds, address=address)

    async def recv(self) -> Message:
        """The next message; EOFError at the end. OSError: an error that a datagram sent before has met."""
        protocol = self._protocol
        while not protocol.messages:
            if protocol.lost is not None:
                raise protocol.lost
            if protocol.ended:
                raise EOFError("the channel is closed" if self._closed else "the peer has closed the connection")
            protocol.news.clear()
            await protocol.news.wait()
        message = protocol.messages.popleft()
        if len(protocol.messages) < MOST // 2:
            self._transport.resume_reading()
        if isinstance(message, OSError):
            raise message
        return message

    async def recv_fds(self, maxfds: int) -> tuple[bytes, list[int], int, Any]:
        """The next message in the form of `socket.recv_fds`: data, at most maxfds descriptors, flags, address."""
        return (await self.recv()).as_received(maxfds)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                message = await self.recv()
            except EOFError:
                return
            yield message

    def close(self) -> None:
        """Close once all is sent; messages that nobody received are thrown away, their descriptors closed."""
        self._closed = True
        self._transport.close()
        for message in self._protocol.messages:
            if isinstance(message, Message):
                message.close()
        self._protocol.messages.clear()
        self._protocol.ended = True
        self._protocol.news.set()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await asyncio.shield(self._protocol.closed)

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()


async def open_channel(
    path: Any = None,
    *,
    type: int = SOCK_SEQPACKET,
    local: Any = None,
    sock: standard.socket | None = None,
    credentials: bool = False,
    size: int = SIZE,
) -> Channel:
    """Connect to a path, or take a socket; for SOCK_DGRAM, bind to `local` and leave out the path to have no peer.

    credentials: messages are to bring their sender's. size: longer messages are cut off. ValueError.
    """
    kind = int(sock.type) if sock is not None else type
    if local is not None and (sock is not None or kind != SOCK_DGRAM):
        raise ValueError("only a new datagram socket is bound to a local name")
    made = opened(local if path is None else path, sock, kind, credentials)
    try:
        if local is not None:
            made.bind(os.fspath(local))
        if path is not None:
            await connect(made, path)
        return Channel(made, size)
    except BaseException:
        if sock is None:
            made.close()
        raise


async def start_channel_server(
    handler: Callable[[Channel], Awaitable[None]],
    path: Any = None,
    *,
    sock: standard.socket | None = None,
    credentials: bool = False,
    size: int = SIZE,
    backlog: int = 100,
) -> Server:
    """Serve SOCK_SEQPACKET connections at a path, or on a bound socket.

    For each there is a task with the handler, which is to close it. credentials: messages are to bring their
    sender's. size: longer messages are cut off.
    """

    async def serve(accepted: standard.socket) -> None:
        channel = Channel(accepted, size)
        try:
            await handler(channel)
        except BaseException:
            channel.close()
            raise

    return Server(listening(path, sock, SOCK_SEQPACKET, credentials, backlog), serve)
