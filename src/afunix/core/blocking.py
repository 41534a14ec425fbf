"""The calls that wait, written once: generators over the nowait operations.

A body tries, yields `Wait` when the operation would block, and tries again when it is resumed. Whoever drives it
(threads, tasks, a simulator, the supervisor) resumes it after one of the queues was woken; throws `TimedOut` into it
when the deadline passed, `Interrupted` when a signal arrived. The body decides what partial progress returns.
Deadlines are absolute, on the clock that `now` was read from; the core has no clock of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from afunix.abi.constants import MSG_OOB, MSG_PEEK, MSG_WAITALL, SOCK_DGRAM, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection
from afunix.core.credentials import Ucred
from afunix.core.message import Received, Sent
from afunix.core.operations import OPERATIONS
from afunix.core.socket import RCV_SHUTDOWN, Socket
from afunix.core.wait import WaitQueue, WouldBlock

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.file import File

__all__ = ["Interrupted", "TimedOut", "Wait", "accept", "connect", "deadline", "receive", "send", "unfinished"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wait:
    """Resume me when one of these queues is woken, or at the deadline (None: never)."""

    queues: tuple[WaitQueue, ...]
    deadline: float | None


Body = Generator[Wait, None, T]


class TimedOut(Exception):  # noqa: N818 - an event, not an error by itself
    """Thrown into a body whose deadline has passed."""


class Interrupted(Exception):  # noqa: N818
    """Thrown into a body whose caller has a signal to handle."""


def deadline(now: float, timeout: float | None) -> float | None:
    """When a socket's SO_RCVTIMEO or SO_SNDTIMEO in seconds (None: no limit) runs out for a call made now."""
    return None if timeout is None else now + timeout


def _wait(block: WouldBlock, until: float | None) -> Generator[Wait, None, None]:
    """Wait once; EAGAIN at the deadline (CONN-3, DATA-13), EINTR on a signal."""
    try:
        yield Wait(block.queues, until)
    except TimedOut:
        raise SyscallError(Errno.EAGAIN) from None
    except Interrupted:
        raise SyscallError(Errno.EINTR) from None


def connect(sock: Socket, caller: Caller, address: bytes, now: float) -> Body[Socket]:
    """connect of STREAM and SEQPACKET; waits while the listener's queue is full (CONN-3)."""
    until = deadline(now, sock.sndtimeo)
    while isinstance(result := connection.connect(sock, caller, address), WouldBlock):
        yield from _wait(result, until)
    return result


def accept(sock: Socket, now: float) -> Body[Socket]:
    """accept; waits for a connection. EINVAL once reading is shut (CONN-7)."""
    until = deadline(now, sock.rcvtimeo)
    while isinstance(result := connection.accept(sock), WouldBlock):
        if sock.shut & RCV_SHUTDOWN:
            raise SyscallError(Errno.EINVAL)
        yield from _wait(result, until)
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
                yield from _wait(result, until)
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
    if sock.type != SOCK_STREAM or flags & (MSG_PEEK | MSG_OOB) or (sock.rcvlowat <= 1 and not flags & MSG_WAITALL):
        return False
    return (
        received.length < _target(sock, size, flags)
        and received.name is not None
        and not received.files
        and not received.ended
    )


def _target(sock: Socket, size: int, flags: int) -> int:
    return max(1, size if flags & MSG_WAITALL else min(sock.rcvlowat, size))


def receive(sock: Socket, size: int, flags: int, now: float, first: Received | None = None) -> Body[Received]:
    """Receive; waits for something to come, and with MSG_WAITALL or SO_RCVLOWAT for enough of it (DATA-10, DATA-13).

    `first` is what a nowait receive took already. After SHUT_RD a datagram socket says end of file to a call that
    would wait (DGRAM-7).
    """
    until = deadline(now, sock.rcvtimeo)
    operation = OPERATIONS[sock.type].receive
    gathered = first
    while True:
        try:
            result = operation(sock, size if gathered is None else size - gathered.length, flags)
            if isinstance(result, WouldBlock):
                if sock.type == SOCK_DGRAM and sock.shut & RCV_SHUTDOWN:
                    return Received(sock, b"", 0)
                yield from _wait(result, until)
                continue
        except SyscallError:
            if gathered is None:
                raise
            return gathered
        if gathered is not None:
            gathered.extend(result)
            result = gathered
        if not unfinished(sock, result, size, flags):
            return result
        gathered = result
