"""The operations that differ by socket type, one row a type (`struct proto_ops` in Linux)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.core import datagram, stream
from afunix.core.message import Received, Sent
from afunix.core.truesize import datagram as datagram_truesize
from afunix.core.truesize import stream as stream_truesize
from afunix.core.wait import WouldBlock

__all__ = ["OPERATIONS", "Operations"]


class Operations(NamedTuple):
    """send and receive as in `stream` and `datagram`; whether the type listens, keeps records, merges on read."""

    send: Callable[..., Sent | WouldBlock]
    receive: Callable[..., Received | WouldBlock]
    truesize: Callable[[int], int]
    connection_oriented: bool
    keeps_records: bool


OPERATIONS: Final[dict[int, Operations]] = {
    SOCK_STREAM: Operations(stream.send, stream.receive, stream_truesize, True, False),
    SOCK_DGRAM: Operations(datagram.send, datagram.receive, datagram_truesize, False, True),
    SOCK_SEQPACKET: Operations(datagram.send_record, datagram.receive_record, datagram_truesize, True, True),
}
"""Every difference between the types that is not written here is in `connection`, which refuses DGRAM."""
