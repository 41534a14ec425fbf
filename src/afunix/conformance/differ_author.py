"""Who writes random programs: draws names, sizes and control messages, and makes some calls wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from afunix.abi.message import IOVEC
from afunix.conformance.differ_host import PROCESSES
from afunix.conformance.differ_raw import BASE, CONTROL, HEADER, IOVECS, PATTERN, Name, Spoil, Step
from afunix.conformance.differ_values import (
    ABSTRACT,
    BAD_NAMES,
    BUFFERED,
    FLAGS_AT,
    IDS,
    KINDS,
    LARGE_ROOMS,
    LARGE_SIZES,
    MOST,
    NASTY,
    NO_NAME,
    PATHS,
    ROOMS,
    SCATTERED,
    SIZES,
    SPOILABLE,
    WORDS,
)
from afunix.conformance.machine import ARENA_SIZE

__all__ = ["Author", "Chance"]


class Chance(Protocol):
    """Where an author draws from; `random.Random` fits."""

    def randrange(self, stop: int, /) -> int:
        """A number below."""

    def choice(self, seq: Sequence[Any], /) -> Any:
        """One of a sequence."""


class Author:
    """Writes programs. privileged: see `program`. processes: how many a program has at most."""

    def __init__(self, chance: Chance, *, privileged: bool = False, processes: int = PROCESSES) -> None:
        self.chance = chance
        self.processes = processes
        self.privileged = privileged
        self.paths = False
        self.steps: list[Step] = []
        self.handles: list[list[int]] = [[]]
        self.epolls: list[list[int]] = [[]]
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

    def new(self, number: int) -> tuple[int, ...]:
        """Handles that nothing has yet."""
        made = tuple(range(self.last, self.last + number))
        self.last += number
        return made

    def make(self, number: int) -> tuple[int, ...]:
        """Handles for new sockets."""
        made = self.new(number)
        self.handles[self.at] += made
        del self.handles[self.at][:-MOST]
        return made

    def name(self) -> Name:
        """Some address, most of them good."""
        if self.paths and self.chance.randrange(4):
            return "path", self.chance.choice(PATHS)
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
                    items.append(("copies", (self.chance.choice((1, 252, 253, 254)),), change))
                else:
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

    def add(self, operation: str, *args: object, makes: int | Sequence[int] = 0) -> None:
        """Write a step down, at times with something wrong. makes: how many sockets, or handles of other files."""
        spoil: tuple[Spoil, ...] = ()
        if operation in SPOILABLE and self.one_in(25):
            spoil = self.spoil(operation)
        made = self.make(makes) if isinstance(makes, int) else tuple(makes)
        self.steps.append(Step(self.at, operation, args, made, spoil))

    def spoil(self, operation: str) -> tuple[Spoil, ...]:
        """What is wrong with a call."""
        way = self.chance.randrange(5)
        if way == 0 and operation in FLAGS_AT:
            return (("arg", FLAGS_AT[operation], 1 << self.chance.randrange(32)),)
        if way == 1 and operation in WORDS:
            word = WORDS[operation] + 8 * self.chance.randrange(6 if WORDS[operation] == HEADER else 2)
            return (("mem", word, self.chance.choice(NASTY)),)
        if way == 2 and operation == "sendmsg":
            return (("mem", CONTROL + 8 * self.chance.randrange(2), self.chance.choice(NASTY)),)
        if way >= 3 and operation in SCATTERED | BUFFERED:
            # A buffer that is good at its beginning only.
            end = BASE + ARENA_SIZE - self.chance.choice((1, 2, 3, 5, 10, 100, 1000))
            if operation in BUFFERED:
                return (("arg", 1, end),)
            return (("mem", IOVECS + IOVEC.size * self.chance.choice((0, 0, 1)), end),)
        return (("arg", self.chance.choice(SPOILABLE[operation]), self.chance.choice(NASTY)),)

    def turn(self) -> None:
        """Whose turn it is for the next step."""
        if len(self.handles) > 1 and not self.one_in(3):
            self.at = self.chance.choice([at for at, own in enumerate(self.handles) if own or not at])
