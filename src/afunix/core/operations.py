"""The operations that differ by socket type, one row a type (`struct proto_ops` in Linux)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.core import datagram, stream
from afunix.core.message import Received, Sent
from afunix.core.socket import Socket
from afunix.core.truesize import datagram as datagram_truesize
from afunix.core.truesize import stream as stream_truesize
from afunix.core.wait import WouldBlock

__all__ = ["OPERATIONS", "Operations"]


class Operations(NamedTuple):
    """send and receive as in `stream` and `datagram`; whether the type listens, keeps records, merges on read.

    reserve: what send looks at before the data, for sends whose data can't be read. early: what is looked at before
    the control messages too.
    """

    send: Callable[..., Sent | WouldBlock]
    receive: Callable[..., Received | WouldBlock]
    truesize: Callable[[int], int]
    connection_oriented: bool
    keeps_records: bool
    reserve: Callable[[Socket, int, int, bytes | None], WouldBlock | None]
    early: Callable[[Socket], None] | None = None


OPERATIONS: Final[dict[int, Operations]] = {
    SOCK_STREAM: Operations(stream.send, stream.receive, stream_truesize, True, False, stream.reserve),
    SOCK_DGRAM: Operations(datagram.send, datagram.receive, datagram_truesize, False, True, datagram.reserve),
    SOCK_SEQPACKET: Operations(
        datagram.send_record,
        datagram.receive_record,
        datagram_truesize,
        True,
        True,
        datagram.reserve_record,
        datagram.check_record,
    ),
}
"""Every difference between the types that is not written here is in `connection`, which refuses DGRAM."""
