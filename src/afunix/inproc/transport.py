"""An asyncio transport for any AF_UNIX socket, with descriptors and credentials: STREAM, SEQPACKET and DGRAM."""

from __future__ import annotations

import asyncio
import socket as standard
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from afunix.abi.constants import POLLRDHUP, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.inproc import numbers
from afunix.inproc.messages import (
    Credentials,
    Message,
    close_all,
    duplicates,
    peer_credentials,
    receive,
    receive_flags,
    send,
)
from afunix.inproc.select import poll

__all__ = ["MessageProtocol", "UnixTransport", "create_transport"]

Receiver = Callable[[Message], None]
P = TypeVar("P", bound=asyncio.BaseProtocol)

SIZE: Final = 256 * 1024
"""Bytes that are received at once: longer records are cut off."""
HIGH: Final = 64 * 1024
RETRY: Final = 0.001
RETRY_MOST: Final = 0.05
"""Seconds until a datagram for a full receiver is tried again; each time twice as long, up to the second."""


class MessageProtocol(asyncio.BaseProtocol):
    """What a `UnixTransport` calls. Descriptors in a message are then the protocol's."""

    def message_received(self, message: Message) -> None:
        """Some bytes of a stream, a record, or a datagram."""

    def eof_received(self) -> bool | None:
        """The peer sends no more; unless this returns true, the transport closes."""

    def error_received(self, error: OSError) -> None:
        """A datagram that waited to be sent could not be, or an error came back."""


@dataclass(slots=True)
class Outgoing:
    """A message that waits to be sent; its descriptors are duplicates of its own."""

    data: memoryview
    fds: tuple[int, ...]
    credentials: Credentials | None
    address: Any


class UnixTransport(asyncio.Transport):
    """A non-blocking AF_UNIX socket in an event loop.

    A protocol with `message_received` gets whole messages. Others get data_received or datagram_received, and the
    descriptors that come along are closed. get_extra_info knows socket, sockname, peername, and peercred.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: standard.socket, protocol: asyncio.BaseProtocol, size: int = SIZE
    ) -> None:
        self._sock = sock
        super().__init__({"socket": sock, "sockname": sock.getsockname(), "peercred": peer_credentials(sock)})
        self._loop = loop
        self._fd = sock.fileno()
        self._type = int(sock.type)
        self._size = size
        self._flags = receive_flags(sock)
        self._queue: deque[Outgoing] = deque()
        self._queued = 0
        self._low, self._high = HIGH // 4, HIGH
        self._writing_paused = False
        self._reading = False
        self._writer = False
        self._closing = False
        self._eof_seen = False
        self._eof = False
        self._retry: asyncio.TimerHandle | None = None
        self._retry_in = RETRY
        self.set_protocol(protocol)
        try:
            self._extra["peername"] = sock.getpeername()  # type: ignore[attr-defined]
        except OSError:
            self._extra["peername"] = None  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<UnixTransport {'closing ' if self._closing else ''}of {self._sock!r}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if self._sock.fileno() != -1:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._sock.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on, call this one."""
        self._protocol: Any = protocol
        receiver: Receiver | None = getattr(protocol, "message_received", None)
        if receiver is None:
            receiver = self._datagram if isinstance(protocol, asyncio.DatagramProtocol) else self._data
        self._receiver = receiver

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def _data(self, message: Message) -> None:
        message.close()
        self._protocol.data_received(message.data)

    def _datagram(self, message: Message) -> None:
        message.close()
        self._protocol.datagram_received(message.data, message.address)

    # Receiving.

    def is_reading(self) -> bool:
        """Whether messages are received."""
        return self._reading

    def pause_reading(self) -> None:
        """Leave messages in the socket."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Receive again."""
        if not self._reading and not self._closing and not self._eof_seen:
            self._loop.add_reader(self._fd, self._readable)
            self._reading = True

    def _readable(self) -> None:
        try:
            message = receive(self._sock, self._size, self._flags)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error)
            return
        if not message.data and not message.fds and self._type != SOCK_DGRAM and self._at_end():
            self.pause_reading()
            self._eof_seen = True
            if not self._protocol.eof_received():
                self.close()
        else:
            self._receiver(message)

    def _at_end(self) -> bool:
        """Whether no bytes mean the end of file and not an empty record, which recvmsg does not tell apart."""
        if self._type != SOCK_SEQPACKET:
            return True
        poller = poll()
        poller.register(self._fd, POLLRDHUP)
        return bool(poller.poll(0))

    # Sending.

    def write(self, data: Any) -> None:
        """Send bytes of a stream, or a record or datagram to the peer. An error comes to the protocol."""
        self.sendto(data)

    def sendto(self, data: Any, address: Any = None) -> None:
        """Send a datagram. An error comes to the protocol."""
        try:
            self.send(data, address=address)
        except OSError as error:
            self._failed(error)

    def send_fds(self, data: Any, fds: Sequence[int]) -> None:
        """Send descriptors along with data, of a stream with its first byte."""
        self.send(data, fds)

    def send(
        self, data: Any, fds: Sequence[int] = (), credentials: Credentials | None = None, address: Any = None
    ) -> None:
        """Send a message now, or once there is room; the caller may close its descriptors at once.

        What sendmsg refuses at once is raised: OSError such as EMSGSIZE, EBADF, EPIPE, of datagrams ECONNREFUSED; then
        the transport stays open. Descriptors need at least a byte on a stream: ValueError.
        """
        if self._eof:
            raise RuntimeError("Cannot send after write_eof()")
        view = memoryview(data).cast("B")
        if self._type == SOCK_STREAM and not view:
            if fds:
                raise ValueError("a stream carries descriptors with data only")
            return
        if self._closing:
            return
        if not self._queue:
            try:
                sent = send(self._sock, data if type(data) is bytes else view, fds, credentials, address)
            except (BlockingIOError, InterruptedError):
                pass
            else:
                if self._type != SOCK_STREAM or sent == len(view):
                    return
                view, fds = view[sent:], ()
        kept = view if type(view.obj) is bytes else memoryview(bytes(view))
        self._queue.append(Outgoing(kept, duplicates(fds), credentials, address))
        self._queued += len(view)
        if len(self._queue) == 1:
            self._await_room()
        if self._queued > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _await_room(self) -> None:
        """Have `_writable` called when the first message may find room; never, if there is none."""
        address = bool(self._queue) and self._queue[0].address is not None
        if self._writer and (address or not self._queue):
            self._loop.remove_writer(self._fd)
            self._writer = False
        if address:
            # An unconnected socket polls writable even if this receiver is full.
            self._retry = self._loop.call_later(self._retry_in, self._writable)
            self._retry_in = min(2 * self._retry_in, RETRY_MOST)
        elif self._queue and not self._writer:
            self._loop.add_writer(self._fd, self._writable)
            self._writer = True

    def _writable(self) -> None:
        while self._queue:
            first = self._queue[0]
            try:
                sent = send(self._sock, first.data, first.fds, first.credentials, first.address)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if self._type != SOCK_DGRAM:
                    self._failed(error)
                    return
                self._protocol.error_received(error)
                sent = len(first.data)
            self._retry_in = RETRY
            self._queued -= sent
            close_all(first.fds)
            first.fds = ()
            if sent == len(first.data) or self._type != SOCK_STREAM:
                self._queue.popleft()
            else:
                first.data = first.data[sent:]
        if self._writing_paused and self._queued <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        self._await_room()
        if self._queue:
            return
        if self._closing:
            self._loop.call_soon(self._lost, None)
        elif self._eof:
            self._sock.shutdown(standard.SHUT_WR)

    def can_write_eof(self) -> bool:
        """Of connections."""
        return self._type != SOCK_DGRAM

    def write_eof(self) -> None:
        """Shut the sending side once all is sent."""
        if not self._eof and not self._closing:
            self._eof = True
            if not self._queue:
                self._sock.shutdown(standard.SHUT_WR)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return self._queued

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Bytes, low and high."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """From how many bytes on pause_writing is called, and down to how many resume_writing."""
        high = (HIGH if low is None else 4 * low) if high is None else high
        low = high // 4 if low is None else low
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high

    # The end.

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Close once all is sent."""
        if not self._closing:
            self.pause_reading()
            self._closing = True
            if not self._queue:
                self._loop.call_soon(self._lost, None)

    def abort(self) -> None:
        """Close now."""
        self._failed(None)

    def _failed(self, error: OSError | None) -> None:
        if self._type == SOCK_DGRAM and error is not None:
            self._protocol.error_received(error)
            return
        if self._closing and not self._queue:
            return
        self.pause_reading()
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
        for message in self._queue:
            close_all(message.fds)
        self._queue.clear()
        self._queued = 0
        self._await_room()
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()


def create_transport(
    protocol_factory: Callable[[], P], sock: standard.socket, *, size: int = SIZE
) -> tuple[UnixTransport, P]:
    """A transport and its protocol for a connected or bound AF_UNIX socket of any type, the host's or ours.

    size: bytes received at once; longer records are cut off. RuntimeError: this loop can't watch a socket of ours.
    """
    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    protocol = protocol_factory()
    transport = UnixTransport(loop, sock, protocol, size)
    try:
        transport.resume_reading()
    except OSError:
        if sock.fileno() < numbers.FIRST:
            raise
        sock.close()
        raise RuntimeError(
            "this event loop watches the host's descriptors only: start it under afunix.patch(), or make it with "
            "asyncio.SelectorEventLoop(afunix.selectors.DefaultSelector())"
        ) from None
    protocol.connection_made(transport)
    return transport, protocol
