"""What poll says of a socket, as a pure function of its state (unix_poll and unix_dgram_poll, POLL-1, POLL-2)."""

from __future__ import annotations

from typing import Final

from afunix.abi.constants import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    EPOLLRDNORM,
    EPOLLWRBAND,
    EPOLLWRNORM,
    SO_SELECT_ERR_QUEUE,
    SOCK_DGRAM,
    SOCK_STREAM,
)
from afunix.core.socket import CLOSED, ESTABLISHED, LISTEN, RCV_SHUTDOWN, SHUTDOWN_MASK, Socket

__all__ = ["mask", "writable"]

READABLE: Final = EPOLLIN | EPOLLRDNORM
WRITABLE: Final = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND


def mask(sock: Socket) -> int:
    """All poll bits that are set now."""
    stream = sock.type == SOCK_STREAM
    if stream and not sock.shut and sock.state == ESTABLISHED and sock.error is None and sock.oob is None:
        bits = READABLE if sock.queue else 0
        return bits | WRITABLE if (sock.wmem + 1) << 2 <= sock.sndbuf else bits
    bits = 0
    if sock.error is not None:
        bits |= EPOLLERR
        if not stream and any(sock.options.get(SO_SELECT_ERR_QUEUE, b"")):
            bits |= EPOLLPRI
    shut = sock.shut
    if shut & RCV_SHUTDOWN:
        bits |= EPOLLRDHUP | READABLE
    if shut == SHUTDOWN_MASK or (sock.state == CLOSED and sock.type != SOCK_DGRAM):
        bits |= EPOLLHUP
    if sock.queue:
        bits |= READABLE
    if sock.oob is not None and stream:
        bits |= EPOLLPRI
    if writable(sock):
        bits |= WRITABLE
    return bits


def writable(sock: Socket) -> bool:
    """Whether poll says that a send would not block."""
    if (sock.wmem + 1) << 2 > sock.sndbuf or sock.state == LISTEN:
        return False
    peer = sock.peer
    if sock.type == SOCK_STREAM or peer is None or peer.peer is sock or peer.dead:
        return True
    return not peer.full
