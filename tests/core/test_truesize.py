"""What messages cost their sender, against the host's SIOCOUTQ."""

from __future__ import annotations

import array
import fcntl
import random
import socket

import pytest
from socket_world import World

from afunix.abi.constants import SIOCOUTQ, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.core import truesize

EDGES = (0, 1, 192, 193, 448, 704, 960, 1728, 1729, 3775, 3776, 3777, 4096, 7872, 12288, 16063, 16064, 16065, 20160,
         32768, 36543, 36544, 36545, 40000, 69632, 85696, 85697, 100000, 212960)  # fmt: skip


def sizes() -> list[int]:
    rng = random.Random(1)
    return sorted({*EDGES, *(rng.randrange(1, 1 << rng.randrange(1, 18)) for _ in range(1500))})


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET])
def test_against_the_host(kind: int) -> None:
    """One send of each size, longer streams in several buffers."""
    world = World()
    one, two = world.pair(kind)
    host, receiver = socket.socketpair(socket.AF_UNIX, kind)
    number = array.array("i", [0])
    with host, receiver:
        host.setblocking(False)
        for size in sizes():
            data = bytes(size)
            length = host.send(data)
            fcntl.ioctl(host, SIOCOUTQ, number)
            assert world.send(one, data).length == length
            assert one.wmem == number[0], size
            if size or kind != SOCK_STREAM:
                left = length
                while True:
                    left -= len(receiver.recv(1 << 20))
                    world.data(two, 1 << 20)
                    if left <= 0:
                        break
            assert one.wmem == 0


def test_one_message_costs_more_than_its_payload() -> None:
    """DATA-9: 768 bytes for one; 278 of them fill the default send buffer (DGRAM-4)."""
    assert truesize.stream(1) == truesize.datagram(1) == 768
    assert -(-212992 // 768) == 278
