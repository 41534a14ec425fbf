"""Poll masks by state (the random programs of afunix differ compare all of them with the host)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from socket_world import World

from afunix.abi.constants import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDHUP,
    MSG_OOB,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)  # fmt: skip
from afunix.core import connection, datagram
from afunix.core.names import bind
from afunix.core.readiness import READABLE, WRITABLE, mask, writable
from afunix.core.socket import Socket

IN, OUT, GONE = READABLE, WRITABLE, READABLE | EPOLLRDHUP | EPOLLHUP


def unconnected(world: World) -> Socket:
    return world.socket(SOCK_STREAM)


def listener(world: World) -> Socket:
    sock = world.socket(SOCK_STREAM)
    bind(sock, world.program, b"\0l")
    connection.listen(sock, world.program, 5)
    return sock


def listener_with_a_connection(world: World) -> Socket:
    sock = listener(world)
    connection.connect(world.socket(SOCK_STREAM), world.program, b"\0l")
    return sock


def connected(world: World) -> Socket:
    return world.pair(SOCK_STREAM)[0]


def with_data(world: World) -> Socket:
    one, two = world.pair(SOCK_SEQPACKET)
    world.send(two, b"x")
    return one


def with_an_urgent_byte(world: World) -> Socket:
    one, two = world.pair(SOCK_STREAM)
    world.send(two, b"x", MSG_OOB)
    return one


def shut_for_reading(world: World) -> Socket:
    sock = connected(world)
    sock.shutdown(0)
    return sock


def shut_for_writing(world: World) -> Socket:
    sock = connected(world)
    sock.shutdown(1)
    return sock


def left_by_its_peer(world: World) -> Socket:
    one, two = world.pair(SOCK_STREAM)
    two.close()
    return one


def reset(world: World) -> Socket:
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"x")
    two.close()
    return one


def datagram_left_by_its_peer(world: World) -> Socket:
    one, two = world.pair(SOCK_DGRAM)
    two.close()
    return one


def full(world: World) -> Socket:
    one, _ = world.pair(SOCK_STREAM)
    while not (one.wmem + 1) * 4 > one.sndbuf:
        world.send(one, b"x")
    return one


def connected_to_a_full_one(world: World) -> Socket:
    receiver, sock = world.socket(SOCK_DGRAM), world.socket(SOCK_DGRAM)
    bind(receiver, world.program, b"\0r")
    datagram.connect(sock, world.program, b"\0r")
    for _ in range(11):
        world.send(sock, b"x")
    return sock


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (unconnected, OUT | EPOLLHUP),
        (listener, 0),
        (listener_with_a_connection, IN),
        (connected, OUT),
        (with_data, IN | OUT),
        (with_an_urgent_byte, IN | OUT | EPOLLPRI),
        (shut_for_reading, IN | OUT | EPOLLRDHUP),
        (shut_for_writing, OUT),
        (left_by_its_peer, OUT | GONE),
        (reset, OUT | GONE | EPOLLERR),
        (datagram_left_by_its_peer, OUT),
        (full, 0),
        (connected_to_a_full_one, 0),
    ],
)
def test_mask(state: Callable[[World], Socket], expected: int) -> None:
    """POLL-1 and POLL-2."""
    sock = state(World())
    assert mask(sock) == expected
    assert writable(sock) == bool(expected & OUT)


def test_bits() -> None:
    """The groups hold the bits that programs ask for."""
    assert IN & EPOLLIN
    assert OUT & EPOLLOUT
    assert not IN & OUT
