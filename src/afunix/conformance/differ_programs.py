"""Random programs: which steps there are, with what arguments, and how often.

An *author* draws one step after the other from a source of chance: a seeded generator for long runs, or Hypothesis. It
knows which handles a program has made, not whether the calls succeeded; so programs are the same data every time,
whatever a kernel answers. Programs have *themes*, because wholly random ones get nowhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.conformance.differ_author import Author, Chance
from afunix.conformance.differ_host import PROCESSES
from afunix.conformance.differ_raw import Step
from afunix.conformance.differ_values import KINDS
from afunix.conformance.differ_writers import WRITERS

__all__ = ["ORDER", "THEMES", "Author", "begin", "program", "write_step"]


class Theme:
    """What programs of one kind are about.

    begins: the first steps. paths: whether most names are in the filesystem. weights: how often each writer is drawn.
    """

    def __init__(self, kinds: Sequence[int], begins: Sequence[str], paths: bool = False, /, **weights: int) -> None:
        self.kinds = kinds
        self.begins = begins
        self.paths = paths
        self.writers = list(weights)
        self.limits = list(accumulate(weights.values()))
        self.table = [writer for writer, weight in weights.items() for _ in range(weight)]

    def draw(self, chance: Chance) -> str:
        """The next writer."""
        return self.table[chance.randrange(len(self.table))]


EVERYWHERE: Final = {
    "setsockopt": 5, "getsockopt": 3, "names": 1, "ioctl": 1, "poll": 1, "close": 2, "dup": 2, "shutdown": 2,
    "epoll": 2,
}  # fmt: skip
TRAFFIC: Final = {
    "send": 12, "write": 3, "writev": 3, "sendmsg": 10, "sendmmsg": 2, "recv": 12, "read": 4, "readv": 3,
    "recvmsg": 14, "recvmmsg": 2,
}  # fmt: skip
STREAMS: Final = (SOCK_STREAM,)
CONNECTED: Final = (SOCK_STREAM, SOCK_SEQPACKET)

THEMES: Final = {
    "data": Theme(CONNECTED, ("socketpair",), **TRAFFIC, **EVERYWHERE, socketpair=1),
    "stream": Theme(STREAMS, ("socketpair",), **TRAFFIC, **EVERYWHERE, urgent=9),
    "datagrams": Theme(
        (SOCK_DGRAM,), ("socket", "socket", "socket", "bind", "bind"),
        **TRAFFIC, **EVERYWHERE, bind=8, connect=9, socket=3, socketpair=1, unlink=1, burst=2,
    ),
    "connections": Theme(
        CONNECTED, ("service",),
        **{**TRAFFIC, **EVERYWHERE, "close": 6}, service=2, socket=6, bind=6, listen=6, connect=10, accept=10,
        unlink=1, fork=1,
    ),
    "passing": Theme(
        KINDS, ("socketpair", "socketpair"),
        **{**EVERYWHERE, "close": 10}, sendmsg=30, recvmsg=26, recv=3, socketpair=4, service=1, accept=2, send=4,
        fork=1, exit=1,
    ),
    "processes": Theme(
        KINDS, ("socketpair", "fork"),
        **TRAFFIC, **EVERYWHERE, service=2, accept=3, connect=3, fork=2, exit=1, identity=3, socketpair=2, unlink=1,
        flood=1, limit=1,
    ),
    "options": Theme(
        KINDS, ("socketpair", "socket"), setsockopt=30, getsockopt=30, send=5, recv=5, bind=2, connect=2, service=1,
        socket=2, socketpair=2,
    ),
    "names": Theme(
        KINDS, ("socket", "bind"), True, socket=12, bind=24, connect=20, listen=12, accept=8, unlink=8, file=50,
        names=4, close=6, send=8, recv=5, fork=4, exit=1, identity=8, sendmsg=3, recvmsg=3,
    ),
    "readiness": Theme(
        KINDS, ("socketpair", "epoll"),
        **{**TRAFFIC, **EVERYWHERE, "epoll": 60, "close": 5}, socketpair=3, service=2, connect=4, accept=4,
        fork=1, exit=1, burst=1,
    ),
    "limits": Theme(
        KINDS, ("socketpair", "limit"),
        **TRAFFIC, **EVERYWHERE, limit=8, close_range=3, socket=4, socketpair=3, service=2, accept=4, fork=1,
    ),
    "anything": Theme(
        KINDS, ("socket",),
        **TRAFFIC, **EVERYWHERE, service=1, socket=6, socketpair=4, bind=6, listen=4, connect=6, accept=4, unlink=1,
        fork=1, exit=1, file=1, close_range=1,
    ),
}  # fmt: skip
ORDER: Final = (
    "data", "datagrams", "connections", "stream", "passing", "anything", "processes", "data", "connections",
    "datagrams", "passing", "options", "names", "readiness", "limits",
)  # fmt: skip
LENGTHS: Final = (20, 60, 60, 120)


def program(seed: int, number: int, *, privileged: bool = False, processes: int = PROCESSES) -> list[Step]:
    """The program of this number in the run of a seed. privileged: processes may change their user ids."""
    chance = random.Random(f"{seed}.{number}")
    author = Author(chance, privileged=privileged, processes=processes)
    theme = THEMES[ORDER[number % len(ORDER)]]
    begin(author, theme)
    if not chance.randrange(8):
        author.kinds = KINDS
    length = chance.choice(LENGTHS)
    while len(author.steps) < length:
        write_step(author, theme)
    return author.steps


def begin(author: Author, theme: Theme) -> None:
    """The first steps of a program of this theme."""
    author.kinds, author.paths = theme.kinds, theme.paths
    for writer in theme.begins:
        WRITERS[writer](author)


def write_step(author: Author, theme: Theme) -> None:
    """One more step, by one of the processes."""
    author.turn()
    WRITERS[theme.draw(author.chance)](author)
