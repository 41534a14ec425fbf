"""Random programs: which steps there are, with what arguments, and how often.

An *author* draws one step after the other from a source of chance: a seeded generator for long runs, or Hypothesis. It
knows which handles a program has made, not whether the calls succeeded; so programs are the same data every time,
whatever a kernel answers. Programs have *themes*, because wholly random ones get nowhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol, TypeVar

from afunix.abi import constants as c
from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)
from afunix.abi.structs import INT, LINGER, TIMEVAL
from afunix.conformance.differ_host import PROCESSES, USERS
from afunix.conformance.differ_steps import BASE, CONTROL, HEADER, IOVECS, LENGTH, PATTERN, Name, Spoil, Step
from afunix.conformance.machine import ARENA_SIZE, BAD

__all__ = ["THEMES", "Author", "Chance", "program"]

T = TypeVar("T")


class Chance(Protocol):
    """Where an author draws from; `random.Random` fits."""

    def randrange(self, stop: int, /) -> int:
        """A number below."""

    def choice(self, seq: Sequence[Any], /) -> Any:
        """One of a sequence."""


MOST: Final = 8
"""How many of a process's descriptors are used: the latest."""
KINDS: Final = (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET)
SIZES: Final = (1, 1, 2, 3, 5, 0, 10, 100, 100, 1000, 3000, 4096, 5000, 40_000)
LARGE_SIZES: Final = (32_768, 65_536, 100_000, 212_960, 212_961, 213_000, 300_000)
ROOMS: Final = (1, 2, 3, 10, 100, 1000, 4000, 4000, 5000, 0)
LARGE_ROOMS: Final = (40_000, 70_000, 300_000)
SEND_FLAGS: Final = (
    0, 0, 0, 0, 0, MSG_OOB, MSG_NOSIGNAL, MSG_DONTWAIT, MSG_EOR, MSG_MORE, MSG_OOB | MSG_NOSIGNAL, MSG_OOB,
)  # fmt: skip
RECEIVE_FLAGS: Final = (
    0, 0, 0, 0, MSG_PEEK, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_PEEK | MSG_TRUNC, MSG_OOB, MSG_OOB | MSG_PEEK,
    MSG_DONTWAIT, MSG_CMSG_CLOEXEC, MSG_WAITALL | MSG_PEEK, MSG_ERRQUEUE, MSG_CTRUNC,
)  # fmt: skip
CONTROL_ROOMS: Final = (256, 256, 256, 256, -1, 0, 8, 16, 17, 20, 24, 28, 32, 40, 56, 64, 80)
NAME_ROOMS: Final = (128, 128, -1, 0, 1, 2, 3, 8, 20, 110)
ADDRESS_ROOMS: Final = (110, 110, 128, 0, 1, 2, 5, 20, -1)
BACKLOGS: Final = (0, 1, 2, 3, 5, -1, 10_000)
PATHS: Final = (b"a", b"b", b"c", b"a/b", b"./a", b"p" * 107, b"p" * 108)
ABSTRACT: Final = (b"1", b"2", b"3", b"1\0", b"")
EVENTS: Final = (0x1, 0x4, 0x7, 0x2000, 0x3FF, 0)
LEVELS: Final = (SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, 0, 6, 41, 270)
INQUIRIES: Final = (c.SIOCINQ, c.SIOCOUTQ, c.SIOCATMARK, 0x5401, 0)
REAL_USERS: Final = (-1, *range(1, USERS + 1))
"""Root is never the real user: what is in flight is counted for that one, and root has other programs."""
IDS: Final = (-1, 0, *range(1, USERS + 1))

USUAL_OPTIONS: Final[tuple[tuple[int, tuple[bytes, ...]], ...]] = (
    (c.SO_PASSCRED, (INT.pack(1), INT.pack(0))),
    (c.SO_PASSCRED, (INT.pack(1), INT.pack(1))),
    (c.SO_PASSPIDFD, (INT.pack(1), INT.pack(0))),
    (c.SO_PASSRIGHTS, (INT.pack(0), INT.pack(1), INT.pack(1))),
    (c.SO_PASSSEC, (INT.pack(1), INT.pack(0))),
    (c.SO_INQ, (INT.pack(1), INT.pack(0), INT.pack(2))),
    (c.SO_OOBINLINE, (INT.pack(1), INT.pack(0))),
    (c.SO_PEEK_OFF, tuple(map(INT.pack, (0, -1, 3, 1000, -5)))),
    (c.SO_SNDBUF, tuple(map(INT.pack, (4096, 1, 20_000, 0, -1, 1 << 30, 106_496)))),
    (c.SO_SNDBUFFORCE, tuple(map(INT.pack, (4096, 1 << 22, -1)))),
    (c.SO_RCVBUF, tuple(map(INT.pack, (4096, 1, -1)))),
    (c.SO_RCVLOWAT, tuple(map(INT.pack, (10, 1, 0, -1, 100_000)))),
    (c.SO_SELECT_ERR_QUEUE, (INT.pack(1), INT.pack(0))),
    (c.SO_RCVTIMEO, (TIMEVAL.pack(0, 0), TIMEVAL.pack(1, 5), TIMEVAL.pack(-1, 0), TIMEVAL.pack(0, 1_000_000))),
    (c.SO_SNDTIMEO, (TIMEVAL.pack(0, 0), TIMEVAL.pack(1, 5))),
    (c.SO_LINGER, (LINGER.pack(1, 1), LINGER.pack(0, 0))),
)  # fmt: skip
UNSTEADY: Final = frozenset(
    {
        # What they tell or do is chance, time or another machine's: cookies, timestamps, CPU numbers, socket filters.
        c.SO_COOKIE, c.SO_NETNS_COOKIE, c.SO_TIMESTAMP_OLD, c.SO_TIMESTAMP_NEW, c.SO_TIMESTAMPNS_OLD,
        c.SO_TIMESTAMPNS_NEW, c.SO_TIMESTAMPING_OLD, c.SO_TIMESTAMPING_NEW, c.SO_INCOMING_CPU, c.SO_ATTACH_FILTER,
        c.SO_ATTACH_BPF, c.SO_ATTACH_REUSEPORT_CBPF, c.SO_ATTACH_REUSEPORT_EBPF, c.SO_LOCK_FILTER,
        c.SO_DEVMEM_LINEAR, c.SO_DEVMEM_DMABUF, c.SO_DEVMEM_DONTNEED,
    }
)  # fmt: skip
ALL_OPTIONS: Final = tuple(number for number in range(90) if number not in UNSTEADY)
OPTION_VALUES: Final = (bytes(4), INT.pack(1), INT.pack(-1), INT.pack(7), bytes(16), INT.pack(1) * 4, b"lo\0\0")
OPTION_LENGTHS: Final = (4, 4, 4, 4, 0, 1, 2, 3, 5, 8, 16, -1, 20, 128)

NASTY: Final = (
    0, 1, 2, 16, 55, 1024, 1025, BAD, BASE - 4096, BASE + ARENA_SIZE - 4, BASE + ARENA_SIZE - 1, BASE + ARENA_SIZE,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 0x7FFFFFFFF000, 0x7FFFFFFFEFFF, 0x800000000000, 0xFFFF800000000000,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
"""Addresses, lengths and flags that are at some border or behind it."""
BAD_NAMES: Final = (
    b"", b"\1", b"\1\0", b"\1\0\0", b"\2\0abc", b"\0\0abc", b"\0\0", b"\1\0" + b"x" * 108, b"\1\0" + b"x" * 109,
    b"\1\0" + b"\0" * 108, b"\1\0" + b"\0" * 109, b"\1\0a\0b", b"\1\0" + b"y" * 126, b"\1\0" + b"y" * 127, b"\1\1a",
)  # fmt: skip
DEV_NULL: Final = -2
"""The handle of descriptor 0."""
NO_NAME: Final[Name] = ("none", None)

SPOILABLE: Final = {
    "socket": (2,), "socketpair": (2, 3), "bind": (1, 2), "listen": (1,), "connect": (1, 2), "accept": (1, 2),
    "getsockname": (1, 2), "getpeername": (1, 2), "write": (1, 2), "send": (1, 2, 3, 4, 5), "writev": (1, 2),
    "sendmsg": (1, 2), "sendmmsg": (1, 2, 3), "read": (1, 2), "recv": (1, 2, 3, 4, 5), "readv": (1, 2),
    "recvmsg": (1, 2), "recvmmsg": (1, 2), "shutdown": (1,), "setsockopt": (1, 2, 3, 4), "getsockopt": (1, 2, 3, 4),
}  # fmt: skip
"""Calls with which something can be wrong, and their arguments that can be: none that would make a socket block, or
ask for another family."""
FLAGS_AT: Final = {"send": 3, "recv": 3, "sendmsg": 2, "recvmsg": 2, "sendmmsg": 3}
WORDS: Final = {
    "sendmsg": HEADER, "recvmsg": HEADER, "sendmmsg": HEADER, "recvmmsg": HEADER, "writev": IOVECS, "readv": IOVECS,
    "accept": LENGTH, "getsockname": LENGTH, "recv": LENGTH, "getsockopt": LENGTH,
}  # fmt: skip
"""Where the memory begins that can be spoilt."""


class Author:
    """Writes programs. privileged: see `program`. processes: how many a program has at most."""

    def __init__(self, chance: Chance, *, privileged: bool = False, processes: int = PROCESSES) -> None:
        self.chance = chance
        self.processes = processes
        self.privileged = privileged
        self.steps: list[Step] = []
        self.handles: list[list[int]] = [[]]
        self.last = 0
        self.at = 0
        self.kinds: Sequence[int] = KINDS

    # Drawing.

    def one_in(self, number: int) -> bool:
        """Whether a rare thing happens."""
        return not self.chance.randrange(number)

    def handle(self) -> int:
        """One of the descriptors of the process that makes the step."""
        own = self.handles[self.at]
        if not own or self.one_in(400):
            return int(self.chance.choice((-1, -700, 1000)))
        return int(self.chance.choice(own))

    def make(self, number: int) -> tuple[int, ...]:
        """New handles."""
        made = tuple(range(self.last, self.last + number))
        self.last += number
        self.handles[self.at] += made
        del self.handles[self.at][:-MOST]
        return made

    def name(self) -> Name:
        """Some address, most of them good."""
        rare = self.chance.randrange(40)
        if rare == 0:
            return "raw", self.chance.choice(BAD_NAMES)
        if rare < 6:
            return "path", self.chance.choice(PATHS)
        if rare < 10:
            return "path", self.chance.choice(PATHS[:2])
        if rare == 10:
            return "abstract", self.chance.choice(ABSTRACT)
        if rare == 11:
            return "auto", None
        return "abstract", self.chance.choice(ABSTRACT[:3])

    def destination(self) -> Name:
        """Where to send, if anywhere."""
        return NO_NAME if self.chance.randrange(3) else self.name()

    def size(self) -> int:
        """How much to send."""
        return int(self.chance.choice(LARGE_SIZES if self.one_in(30) else SIZES))

    def room(self) -> int:
        """How much to receive."""
        return int(self.chance.choice(LARGE_ROOMS if self.one_in(30) else ROOMS))

    def start(self, size: int) -> int:
        """From where in the pattern."""
        return self.chance.randrange(max(1, min(10_000, len(PATTERN) - size)))

    def sizes(self) -> tuple[int, ...]:
        """How much in each of several parts."""
        return tuple(self.chance.choice(SIZES[:-1]) for _ in range(self.chance.randrange(4)))

    def rooms(self) -> tuple[int, ...]:
        """Room in each of several parts; most often in one."""
        return tuple(self.room() for _ in range(self.chance.choice((1, 1, 1, 1, 2, 3, 0))))

    def control(self) -> tuple[Any, ...]:
        """Control messages of a send."""
        items: list[Any] = []
        for _ in range(self.chance.choice((0, 0, 1, 1, 1, 1, 2, 3))):
            change = self.chance.choice((-17, -3, -1, 1, 8, 100, 1 << 62)) if self.one_in(40) else 0
            form = self.chance.randrange(10)
            if form < 6:
                number = self.chance.choice((1, 1, 1, 2, 3, 0))
                handles: tuple[int, ...] = tuple(self.handle() for _ in range(number))
                if self.one_in(60):
                    handles = (DEV_NULL,) * self.chance.choice((252, 253, 254))
                items.append(("rights", handles, change))
            elif form < 9:
                process = self.at if self.chance.randrange(4) else self.chance.choice((0, 1, 2, -1, 99))
                items.append(("creds", (process, *self.identity()), change))
            else:
                level, kind = self.chance.choice(((1, 3), (1, 4), (1, 0), (1, 99), (0, 1), (41, 50), (1, 2), (1, 1)))
                items.append(("other", (level, kind, self.chance.choice((0, 4, 12, 13))), change))
        return tuple(items)

    def identity(self) -> tuple[int, int]:
        """User and group of credentials."""
        if self.chance.randrange(3):
            return (0, 0)
        return self.chance.choice(IDS), self.chance.choice(IDS)

    # Steps.

    def add(self, operation: str, *args: object, makes: int = 0) -> None:
        """Write a step down, once in a while with something wrong."""
        spoil: tuple[Spoil, ...] = ()
        if operation in SPOILABLE and self.one_in(25):
            spoil = self.spoil(operation)
        self.steps.append(Step(self.at, operation, args, self.make(makes) if makes else (), spoil))

    def spoil(self, operation: str) -> tuple[Spoil, ...]:
        """What is wrong with a call."""
        way = self.chance.randrange(4)
        if way == 0 and operation in FLAGS_AT:
            return (("arg", FLAGS_AT[operation], 1 << self.chance.randrange(32)),)
        if way == 1 and operation in WORDS:
            word = WORDS[operation] + 8 * self.chance.randrange(6 if WORDS[operation] == HEADER else 2)
            return (("mem", word, self.chance.choice(NASTY)),)
        if way == 2 and operation == "sendmsg":
            return (("mem", CONTROL + 8 * self.chance.randrange(2), self.chance.choice(NASTY)),)
        if way == 3 and operation in ("recvmsg", "sendmsg"):
            # A buffer that is good at its beginning only.
            return (("mem", IOVECS, BASE + ARENA_SIZE - self.chance.choice((1, 10, 1000))),)
        return (("arg", self.chance.choice(SPOILABLE[operation]), self.chance.choice(NASTY)),)

    def step(self, theme: Theme) -> None:
        """One more step, by one of the processes."""
        if len(self.handles) > 1 and not self.one_in(3):
            self.at = self.chance.choice([at for at, own in enumerate(self.handles) if own or not at])
        WRITERS[theme.draw(self.chance)](self)


def _socket(author: Author) -> None:
    kind = author.chance.choice(author.kinds)
    rare = author.chance.randrange(60)
    protocol = author.chance.choice((1, 2, -1)) if rare == 0 else 0
    if rare == 1:
        kind = author.chance.choice((SOCK_RAW, 0, 4, 6, 10, 11, 0x100, kind | SOCK_CLOEXEC))
    # Other families are not ours to answer for.
    author.add("socket", kind, protocol, c.AF_UNIX, makes=1)


def _socketpair(author: Author) -> None:
    kind = author.chance.choice(author.kinds)
    if author.one_in(60):
        kind = author.chance.choice((SOCK_RAW, 0, 4, kind | SOCK_CLOEXEC))
    author.add("socketpair", kind, author.chance.choice((0, 0, 0, 1, 2)), makes=2)


def _bind(author: Author) -> None:
    author.add("bind", author.handle(), ("auto", None) if author.one_in(8) else author.name())


def _connect(author: Author) -> None:
    if author.one_in(10):
        length = 8 if author.chance.randrange(4) else author.chance.choice((2, 5, 110))
        author.add("connect_to", author.handle(), author.handle(), length)
    elif author.one_in(12):
        author.add("connect", author.handle(), ("raw", bytes(16)))
    else:
        author.add("connect", author.handle(), author.name())


def _listen(author: Author) -> None:
    author.add("listen", author.handle(), author.chance.choice(BACKLOGS))


def _accept(author: Author) -> None:
    flags = author.chance.choice((0, 0, 0, SOCK_CLOEXEC))
    author.add("accept", author.handle(), flags, author.chance.choice(ADDRESS_ROOMS), makes=1)


def _service(author: Author) -> None:
    """A whole connection: listener, client, accepted socket."""
    name = author.name()
    kind = author.chance.choice(author.kinds)
    author.add("socket", kind, 0, c.AF_UNIX, makes=1)
    listener = author.last - 1
    author.add("bind", listener, name)
    author.add("listen", listener, author.chance.choice(BACKLOGS))
    author.add("socket", kind, 0, c.AF_UNIX, makes=1)
    author.add("connect", author.last - 1, name)
    if author.chance.randrange(3):
        author.add("accept", listener, 0, 110, makes=1)


def _send(author: Author) -> None:
    size = author.size()
    flags = author.chance.choice(SEND_FLAGS)
    author.add("send", author.handle(), author.start(size), size, flags, author.destination())


def _write(author: Author) -> None:
    size = author.size()
    author.add("write", author.handle(), author.start(size), size)


def _writev(author: Author) -> None:
    sizes = author.sizes()
    author.add("writev", author.handle(), author.start(sum(sizes)), sizes)


def _sendmsg(author: Author) -> None:
    sizes = author.sizes() or (author.size(),)
    flags = author.chance.choice(SEND_FLAGS)
    cut = author.chance.choice((1, 4, 8, -8, 13)) if author.one_in(40) else 0
    author.add(
        "sendmsg", author.handle(), author.start(sum(sizes)), sizes, flags, author.destination(), author.control(), cut
    )


def _sendmmsg(author: Author) -> None:
    sizes = author.sizes()
    author.add("sendmmsg", author.handle(), author.start(sum(sizes)), sizes, author.chance.choice(SEND_FLAGS))


def _recv(author: Author) -> None:
    flags = author.chance.choice(RECEIVE_FLAGS)
    author.add("recv", author.handle(), author.room(), flags, author.chance.choice(ADDRESS_ROOMS))


def _read(author: Author) -> None:
    author.add("read", author.handle(), author.room())


def _readv(author: Author) -> None:
    author.add("readv", author.handle(), author.rooms())


def _recvmsg(author: Author) -> None:
    flags = author.chance.choice(RECEIVE_FLAGS)
    control, name = author.chance.choice(CONTROL_ROOMS), author.chance.choice(NAME_ROOMS)
    author.add("recvmsg", author.handle(), author.rooms(), flags, control, name, makes=2)


def _recvmmsg(author: Author) -> None:
    rooms = author.rooms()
    author.add("recvmmsg", author.handle(), rooms, author.chance.choice((0, 0, MSG_PEEK, c.MSG_WAITFORONE)))


def _shutdown(author: Author) -> None:
    how = author.chance.choice((3, -1, 1 << 31)) if author.one_in(20) else author.chance.randrange(3)
    author.add("shutdown", author.handle(), how)


def _close(author: Author) -> None:
    handle = author.handle()
    author.add("close", handle)
    if handle in author.handles[author.at]:
        author.handles[author.at].remove(handle)


def _dup(author: Author) -> None:
    if author.one_in(4):
        author.add("dup3", author.handle(), author.handle())
    else:
        author.add("dup", author.handle(), makes=1)


def _setsockopt(author: Author) -> None:
    chance = author.chance
    if chance.randrange(4):
        name, values = chance.choice(USUAL_OPTIONS)
        value = chance.choice(values)
        author.add("setsockopt", author.handle(), SOL_SOCKET, name, value, len(value))
        return
    level, name = chance.choice(LEVELS), chance.choice(ALL_OPTIONS)
    author.add("setsockopt", author.handle(), level, name, chance.choice(OPTION_VALUES), chance.choice(OPTION_LENGTHS))


def _getsockopt(author: Author) -> None:
    name = author.chance.choice(ALL_OPTIONS) if author.chance.randrange(3) else c.SO_ERROR
    author.add("getsockopt", author.handle(), author.chance.choice(LEVELS), name, author.chance.choice(OPTION_LENGTHS))


def _names(author: Author) -> None:
    call = author.chance.choice(("getsockname", "getpeername"))
    author.add(call, author.handle(), author.chance.choice(ADDRESS_ROOMS))


def _ioctl(author: Author) -> None:
    author.add("ioctl", author.handle(), author.chance.choice(INQUIRIES))


def _poll(author: Author) -> None:
    handles = tuple(author.handle() for _ in range(author.chance.randrange(4)))
    author.add("poll", handles, author.chance.choice(EVENTS))


def _unlink(author: Author) -> None:
    author.add("unlink", author.chance.choice(PATHS))


def _fork(author: Author) -> None:
    if len(author.handles) >= author.processes:
        _recvmsg(author)
        return
    author.steps.append(Step(0, "fork", (len(author.handles),)))
    author.handles.append(list(author.handles[0]))


def _exit(author: Author) -> None:
    if author.at:
        author.steps.append(Step(author.at, "exit", ()))
        author.handles[author.at] = []
        author.at = 0


def _identity(author: Author) -> None:
    """Another user or group; not for the first process, which serves the next program too."""
    choice = author.chance.choice
    if not (author.at and author.privileged):
        _getsockopt(author)
    elif author.chance.randrange(3):
        author.add("setresuid", choice(REAL_USERS), choice(IDS), choice(IDS))
    elif author.one_in(2):
        author.add("setresgid", choice(IDS), choice(IDS), choice(IDS))
    else:
        author.add("setgroups", tuple(choice(IDS[1:]) for _ in range(author.chance.randrange(4))))


WRITERS: Final[dict[str, Callable[[Author], None]]] = {
    "socket": _socket, "socketpair": _socketpair, "bind": _bind, "connect": _connect, "listen": _listen,
    "accept": _accept, "service": _service, "send": _send, "write": _write, "writev": _writev, "sendmsg": _sendmsg,
    "sendmmsg": _sendmmsg, "recv": _recv, "read": _read, "readv": _readv, "recvmsg": _recvmsg, "recvmmsg": _recvmmsg,
    "shutdown": _shutdown, "close": _close, "dup": _dup, "setsockopt": _setsockopt, "getsockopt": _getsockopt,
    "names": _names, "ioctl": _ioctl, "poll": _poll, "unlink": _unlink, "fork": _fork, "exit": _exit,
    "identity": _identity,
}  # fmt: skip


class Theme:
    """What programs of one kind are about. begins: the first steps; weights: how often each writer is drawn."""

    def __init__(self, kinds: Sequence[int], begins: Sequence[str], **weights: int) -> None:
        self.kinds = kinds
        self.begins = begins
        self.writers = list(weights)
        self.limits = list(accumulate(weights.values()))
        self.table = [writer for writer, weight in weights.items() for _ in range(weight)]

    def draw(self, chance: Chance) -> str:
        """The next writer."""
        return self.table[chance.randrange(len(self.table))]


EVERYWHERE: Final = {
    "setsockopt": 5, "getsockopt": 3, "names": 1, "ioctl": 1, "poll": 1, "close": 2, "dup": 2, "shutdown": 2,
}  # fmt: skip
TRAFFIC: Final = {
    "send": 12, "write": 3, "writev": 3, "sendmsg": 10, "sendmmsg": 2, "recv": 12, "read": 4, "readv": 3,
    "recvmsg": 14, "recvmmsg": 2,
}  # fmt: skip
STREAMS: Final = (SOCK_STREAM,)
CONNECTED: Final = (SOCK_STREAM, SOCK_SEQPACKET)

THEMES: Final = {
    "data": Theme(CONNECTED, ("socketpair",), **TRAFFIC, **EVERYWHERE, socketpair=1),
    "stream": Theme(STREAMS, ("socketpair",), **TRAFFIC, **EVERYWHERE),
    "datagrams": Theme(
        (SOCK_DGRAM,), ("socket", "socket", "socket", "bind", "bind"),
        **TRAFFIC, **EVERYWHERE, bind=8, connect=9, socket=3, socketpair=1, unlink=1,
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
    ),
    "options": Theme(
        KINDS, ("socketpair", "socket"), setsockopt=30, getsockopt=30, send=5, recv=5, bind=2, connect=2, service=1,
        socket=2, socketpair=2,
    ),
    "anything": Theme(
        KINDS, ("socket",),
        **TRAFFIC, **EVERYWHERE, service=1, socket=6, socketpair=4, bind=6, listen=4, connect=6, accept=4, unlink=1,
        fork=1, exit=1,
    ),
}  # fmt: skip
ORDER: Final = (
    "data", "datagrams", "connections", "stream", "passing", "anything", "processes", "data", "connections",
    "datagrams", "passing", "options",
)  # fmt: skip
LENGTHS: Final = (20, 60, 60, 120)


def program(seed: int, number: int, *, privileged: bool = False, processes: int = PROCESSES) -> list[Step]:
    """The program of this number in the run of a seed. privileged: processes may change their user ids."""
    chance = random.Random(f"{seed}.{number}")
    author = Author(chance, privileged=privileged, processes=processes)
    theme = THEMES[ORDER[number % len(ORDER)]]
    author.kinds = theme.kinds if chance.randrange(8) else KINDS
    for writer in theme.begins:
        WRITERS[writer](author)
    length = chance.choice(LENGTHS)
    while len(author.steps) < length:
        author.step(theme)
    return author.steps
