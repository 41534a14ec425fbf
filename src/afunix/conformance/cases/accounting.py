"""What messages cost of the send buffer, to the byte: the numbers are those of Linux with pages of 4 KiB."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT

COSTS = {
    1: (768, 768),
    192: (768, 768),
    193: (1280, 1280),
    448: (1280, 1280),
    449: (1280, 1280),
    704: (1280, 1280),
    705: (2304, 2304),
    960: (2304, 2304),
    961: (2304, 2304),
    1728: (2304, 2304),
    1729: (4352, 4352),
    1984: (4352, 4352),
    1985: (4352, 4352),
    4032: (4864, 8448),
    4033: (4864, 8448),
    8000: (8960, 16640),
    16000: (16640, 16640),
    32000: (33024, 33024),
    33000: (34048, 37120),
    70000: (71168, 73984),
}
"""Truesize of a message of so many bytes: of a stream's, and of a record or datagram."""

FITTING = {10: (53, 40704), 100: (53, 40704), 500: (32, 40960), 1000: (18, 41472), 3000: (10, 43520)}
"""How many messages of a size go into a buffer of 40,000 bytes, and what they cost together."""

SIZES = {
    "small": (192, 193, 448, 449, 960, 961),
    "pages": (1, 449, 4033),
    "uneven": (100, 1000, 10000, 1),
    "large": (30000, 1, 1, 1),
}
"""Messages that are sent over and over, in this order."""

MIXES = {
    ("small", 20000): (
        [(27, 13645, 40192), (14, 7815, 41728), (12, 6406, 40448), (13, 7367, 41472)],
        [(27, 13645, 40192), (1, 449, 40704), (1, 960, 41728), (0, 0, 40448)],
    ),
    ("small", 106496): (
        [(140, 74054, 214016), (13, 6854, 213248), (13, 6855, 213248), (13, 7366, 214272)],
        [(140, 74054, 214016), (0, 0, 213248), (1, 448, 213248), (1, 449, 213248)],
    ),
    ("pages", 20000): (
        [(18, 26898, 41472), (4, 4484, 40192), (6, 8966, 40192), (3, 4483, 40192)],
        [(12, 17932, 41984), (0, 0, 41216), (1, 1, 40704), (2, 4482, 41984)],
    ),
    ("pages", 106496): (
        [(93, 138973, 214272), (4, 4484, 212992), (6, 8966, 212992), (3, 4483, 212992)],
        [(63, 94143, 220416), (0, 0, 219648), (0, 0, 218368), (3, 4483, 220416)],
    ),
    ("uneven", 20000): (
        [(11, 33302, 48384), (0, 0, 45312), (4, 11101, 45312), (0, 0, 45312)],
        [(7, 22201, 40192), (1, 1, 40192), (2, 1100, 40960), (1, 10000, 40960)],
    ),
    ("uneven", 106496): (
        [(52, 144313, 212992), (2, 1100, 212992), (4, 11101, 212992), (0, 0, 212992)],
        [(43, 122110, 224512), (0, 0, 223744), (0, 0, 221440), (4, 11101, 225280)],
    ),
    ("large", 20000): (
        [(5, 49939, 56320), (0, 0, 56320), (0, 0, 56320), (4, 19939, 58624)],
        [(5, 60003, 68352), (4, 30003, 70656), (0, 0, 69888), (0, 0, 69120)],
    ),
    ("large", 106496): (
        [(25, 210018, 230656), (0, 0, 230656), (0, 0, 230656), (0, 0, 230656)],
        [(25, 210018, 244992), (2, 2, 213504), (1, 1, 213504), (1, 30000, 245760)],
    ),
}
"""By sizes and SO_SNDBUF, for a stream and for records: four times how many messages went in, how many bytes were
taken, and the sum of truesize. In between one record is read, or 7000 bytes."""


@case("DATA-9a", types=ALL, each=list(COSTS))
def what_messages_of_many_sizes_cost(p: Process, kind: int, size: int) -> None:
    """The sum is that of the parts, and gone when all is read."""
    one, two = p.socketpair(kind)
    cost = COSTS[size][kind != STREAM]
    p.send(one, bytes(size))
    assert p.ioctl(one, SIOCOUTQ) == cost
    p.send(one, bytes(size))
    assert p.ioctl(one, SIOCOUTQ) == 2 * cost
    p.recv(two, 1 << 18)
    p.recv(two, 1 << 18, NOW)
    assert p.ioctl(one, SIOCOUTQ) == 0


@case("DATA-9b", types=ALL, each=list(FITTING))
def how_many_messages_of_a_size_fit(p: Process, kind: int, size: int) -> None:
    """As many as begin below the limit."""
    one, _ = p.socketpair(kind)
    p.setsockopt(one, SO_SNDBUF, 20000)
    assert (p.fill(one, bytes(size)), p.ioctl(one, SIOCOUTQ)) == FITTING[size]


@case("DATA-9b", "DATA-9f", types=ALL, each=[f"{name} {size}" for name, size in MIXES])
def mixes_of_sizes(p: Process, kind: int, mix: str) -> None:
    """Until nothing more goes in, and again after some was read. A stream takes a part of the last message."""
    name, size = mix.split()
    one, two = p.socketpair(kind)
    p.setsockopt(one, SO_SNDBUF, int(size))
    sizes = SIZES[name]
    count = 0
    found = []
    for _ in range(4):
        before, taken = count, 0
        while (sent := p.send(one, bytes(sizes[count % len(sizes)]), NOW)) >= 0:
            taken += sent
            count += 1
        assert sent == EAGAIN
        found.append((count - before, taken, p.ioctl(one, SIOCOUTQ)))
        p.recv(two, 7000 if kind == STREAM else 1 << 18)
    assert found == MIXES[name, int(size)][kind != STREAM]
