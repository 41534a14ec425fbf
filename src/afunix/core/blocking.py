"""The calls that wait, written once: generators over the nowait operations.

A body tries, yields what it would block on, and tries again when it is resumed. Whoever drives it (threads, tasks, a
simulator, the supervisor) resumes it after one of the queues was woken; throws SyscallError(EAGAIN) into it when the
deadline has passed, SyscallError(EINTR) when a signal arrived. The body decides what partial progress returns.
Deadlines are absolute, on the clock that `now` was read from; the core has no clock of its own.

`block` is what a nowait attempt that the caller made itself came to; the body then begins by waiting.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, TypeVar

from afunix.abi.constants import MSG_OOB, MSG_PEEK, MSG_WAITALL, SOCK_DGRAM, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection
from afunix.core.credentials import Ucred
from afunix.core.message import Received, Sent
from afunix.core.operations import OPERATIONS
from afunix.core.socket import RCV_SHUTDOWN, Socket
from afunix.core.wait import WouldBlock

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.file import File

__all__ = ["Body", "accept", "connect", "deadline", "receive", "receive_until", "send", "unfinished"]

T = TypeVar("T")


Body = Generator[WouldBlock, None, T]


def deadline(now: float, timeout: float | None) -> float | None:
    """When a socket's SO_RCVTIMEO or SO_SNDTIMEO in seconds (None: no limit) runs out for a call made now."""
    return None if timeout is None else now + timeout


def connect(sock: Socket, caller: Caller, address: bytes, now: float, block: WouldBlock | None = None) -> Body[Socket]:
    """connect of STREAM and SEQPACKET; waits while the listener's queue is full (CONN-3)."""
    until = deadline(now, sock.sndtimeo)
    if block is not None:
        yield block.until(until)
    while isinstance(result := connection.connect(sock, caller, address), WouldBlock):
        yield result.until(until)
    return result


def accept(sock: Socket, now: float) -> Body[Socket]:
    """accept; waits for a connection. EINVAL once reading is shut (CONN-7)."""
    until = deadline(now, sock.rcvtimeo)
    while isinstance(result := connection.accept(sock), WouldBlock):
        if sock.shut & RCV_SHUTDOWN:
            raise SyscallError(Errno.EINVAL)
        yield result.until(until)
    return result


def send(
    sock: Socket,
    caller: Caller,
    data: bytes,
    now: float,
    flags: int = 0,
    files: Sequence[File] = (),
    creds: Ucred | None = None,
    address: bytes | None = None,
    first: Sent | None = None,
) -> Body[Sent]:
    """Send all of data, waiting for space; what was sent before an error or a signal is what it returns.

    `first` is what a nowait send of the same data queued already; `Sent.length` counts from the beginning. Datagrams
    and records go whole or not at all.
    """
    until = deadline(now, sock.sndtimeo)
    operation = OPERATIONS[sock.type].send
    sent = first
    while True:
        try:
            result = operation(sock, caller, data, flags, files, creds, address, 0 if sent is None else sent.length)
            if isinstance(result, WouldBlock):
                yield result.until(until)
                continue
        except SyscallError:
            if sent is None:
                raise
            # What was sent before is told first; a pipe that broke then raises no signal (DATA-6).
            return sent
        files = ()
        if sent is None:
            sent = result
        else:
            sent.extend(result)
        if sent.length >= len(data):
            return sent


def unfinished(sock: Socket, received: Received, size: int, flags: int) -> bool:
    """Whether a call that may wait must wait for more than it received (sock_rcvlowat, MSG_WAITALL)."""
    return _lacks(received, _target(sock, size, flags))


def _target(sock: Socket, size: int, flags: int) -> int:
    """How much a call waits for (sock_rcvlowat); 0 where any message will do."""
    if sock.type != SOCK_STREAM or flags & (MSG_PEEK | MSG_OOB):
        return 0
    return max(1, size if flags & MSG_WAITALL else min(sock.rcvlowat, size))


def _lacks(received: Received, target: int) -> bool:
    return (
        target > 1
        and received.length < target
        and received.name is not None
        and not received.files
        and not received.ended
    )


def receive(
    sock: Socket,
    size: int,
    flags: int,
    now: float,
    first: Received | None = None,
    block: WouldBlock | None = None,
) -> Body[Received]:
    """Receive; waits for something to come, and with MSG_WAITALL or SO_RCVLOWAT for enough of it (DATA-10, DATA-13).

    How long it waits, and for how much, is what the options say now: what is set while it waits is for other calls
    (unix_stream_read_generic). `first` is what a nowait receive took already. After SHUT_RD a datagram socket says end
    of file to a call that would wait (DGRAM-7).
    """
    return receive_until(sock, size, flags, deadline(now, sock.rcvtimeo), _target(sock, size, flags), first, block)


def receive_until(
    sock: Socket,
    size: int,
    flags: int,
    until: float | None,
    target: int,
    first: Received | None = None,
    block: WouldBlock | None = None,
) -> Body[Received]:
    """`receive` with a deadline and for so much, whatever the socket's options are by now."""
    operation = OPERATIONS[sock.type].receive
    gathered = first
    result: Received | WouldBlock
    while True:
        try:
            if block is None:
                result = operation(sock, size if gathered is None else size - gathered.length, flags)
            else:
                result, block = block, None
            if isinstance(result, WouldBlock):
                if sock.shut & RCV_SHUTDOWN and sock.type == SOCK_DGRAM:
                    return Received(sock, b"", 0)
                yield result if until is None else result.until(until)
                continue
        except SyscallError:
            if gathered is None:
                raise
            return gathered
        if gathered is not None:
            gathered.extend(result)
            result = gathered
        if target <= 1 or not _lacks(result, target):
            return result
        gathered = result
