"""Sending and receiving on a kernel whose lock is held: once, or waiting in this thread until it is done.

Whether a call waits is O_NONBLOCK's to say, which whoever shares the open file may have set or cleared: a socket object
with a time-out only polls before. `wait` is for who never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from afunix.abi.constants import MSG_DONTWAIT, MSG_WAITALL, POLLERR, POLLHUP, POLLIN, POLLOUT
from afunix.abi.errno import Errno, SyscallError
from afunix.core import blocking, connection, readiness
from afunix.core.operations import OPERATIONS
from afunix.core.socket import RCV_SHUTDOWN, Socket
from afunix.core.wait import WouldBlock
from afunix.inproc.host import MONOTONIC
from afunix.inproc.waiting import park, run

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.credentials import Ucred
    from afunix.core.file import File
    from afunix.core.message import Received, Sent
    from afunix.inproc.kernel import Kernel

__all__ = ["accept", "connect", "receive", "send", "until_ready"]

T = TypeVar("T")

SENDABLE = POLLOUT | POLLERR | POLLHUP
RECEIVABLE = POLLIN | POLLERR | POLLHUP


def send(
    kernel: Kernel,
    caller: Caller,
    sock: Socket,
    data: bytes,
    flags: int = 0,
    files: Sequence[File] = (),
    creds: Ucred | None = None,
    address: bytes | None = None,
    wait: bool = True,
) -> int:
    """Bytes sent. The files belong to the queue then; on an error they stay the caller's. EAGAIN if it may not wait."""
    sent: Sent | WouldBlock | None
    sent = OPERATIONS[sock.type].send(sock, caller, data, flags, files, creds, address)
    if not wait or sock.nonblock or flags & MSG_DONTWAIT:
        if isinstance(sent, WouldBlock):
            raise SyscallError(Errno.EAGAIN)
        return sent.length
    if isinstance(sent, WouldBlock):
        sent = None
    elif sent.length >= len(data):
        return sent.length
    else:
        files = ()
    return run(kernel, sock, blocking.send(sock, caller, data, MONOTONIC(), flags, files, creds, address, sent)).length


def receive(kernel: Kernel, sock: Socket, size: int, flags: int = 0, wait: bool = True) -> Received:
    """What was received; whoever gets it says `done` once the descriptors in it are installed."""
    received: Received | WouldBlock | None
    block: WouldBlock | None = None
    received = OPERATIONS[sock.type].receive(sock, size, flags)
    if not wait or sock.nonblock or flags & MSG_DONTWAIT:
        if isinstance(received, WouldBlock):
            raise SyscallError(Errno.EAGAIN)
        return received
    if isinstance(received, WouldBlock):
        received, block = None, received
    elif not (sock.rcvlowat > 1 or flags & MSG_WAITALL) or not blocking.unfinished(sock, received, size, flags):
        return received
    return run(kernel, sock, blocking.receive(sock, size, flags, MONOTONIC(), received, block))


def connect(kernel: Kernel, caller: Caller, sock: Socket, address: bytes, wait: bool = True) -> None:
    """Connect a STREAM or SEQPACKET socket."""
    block = connection.connect(sock, caller, address)
    if isinstance(block, WouldBlock):
        if not wait or sock.nonblock:
            raise SyscallError(Errno.EAGAIN)
        run(kernel, sock, blocking.connect(sock, caller, address, MONOTONIC(), block))


def accept(kernel: Kernel, sock: Socket, wait: bool = True) -> Socket:
    """The first connection that waits."""
    embryo = connection.accept(sock)
    if isinstance(embryo, WouldBlock):
        if not wait or sock.nonblock:
            raise SyscallError(Errno.EAGAIN)
        if sock.shut & RCV_SHUTDOWN:
            raise SyscallError(Errno.EINVAL)
        return run(kernel, sock, blocking.accept(sock, MONOTONIC()))
    return embryo


def until_ready(
    kernel: Kernel,
    sock: Socket,
    attempt: Callable[[], T],
    until: float,
    still_open: Callable[[], object],
    writing: bool,
) -> T:
    """Try whenever poll says that the socket is ready, as Python does it with a time-out: TimeoutError at the deadline.

    So to write waits for more space than it needs (DATA-9). Each sleep is a poll, which holds the file; after it
    still_open raises EBADF where the descriptor is gone.
    """
    queues = (sock.writable,) if writing else (sock.readable,)
    ready = SENDABLE if writing else RECEIVABLE
    while True:
        if readiness.mask(sock) & ready:
            try:
                return attempt()
            except SyscallError as error:
                if error.errno is not Errno.EAGAIN:
                    raise
        peer = sock.peer
        sock.acquire()
        try:
            woken = park(kernel, queues if not writing or peer is None else (*queues, peer.peer_space), until)
        finally:
            sock.release()
        still_open()
        if not woken:
            raise TimeoutError("timed out")
