"""What a back end must be: processes that make system calls at the raw interface, on memory of their own.

A back end knows nothing of sockets: it takes the name of a call and its integer arguments, and gives the return
register. All that is comfortable is built on that once, in `process`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["ARENA_SIZE", "BAD", "PROCESSES", "Hang", "Machine", "Started", "Task"]

ARENA_SIZE = 1 << 22
"""Bytes of memory that each process has for its calls; the page behind is not mapped."""

BAD = 0x1000
"""An address where nothing is ever mapped (below vm.mmap_min_addr)."""

PROCESSES = 8
"""How many processes a case can have."""


class Hang(Exception):  # noqa: N818 (it is what happened, not a mistake of the caller)
    """A call that should have returned did not; the text says which."""


class Started(Protocol):
    """A call under way in a thread of its own."""

    def blocked(self) -> bool:
        """Whether it waits: False once it has returned. Asked until one of both is certain."""

    def finish(self) -> int:
        """What it returned; waits for it. Hang."""

    def interrupt(self, restart: bool) -> None:
        """Send its thread a signal with a handler, which was installed with SA_RESTART or without."""


class Task(Protocol):
    """One process of the machine."""

    pid: int
    base: int
    """The address of its arena."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes of the arena."""

    def write(self, address: int, data: bytes) -> None:
        """Change the arena."""

    def call(self, name: str, args: tuple[int, ...]) -> int:
        """Make a call: the value, or minus the errno. Hang."""

    def begin(self, name: str, args: tuple[int, ...]) -> Started:
        """Make a call that may block, in a thread of its own."""

    def fork(self) -> Task:
        """A child with the same descriptors and identity, and an arena of its own."""

    def kill(self) -> None:
        """SIGKILL; when this returns, all that the process held is given up."""

    def signals(self) -> list[int]:
        """The signals that came since this was last asked, each once, in order of their numbers."""


class Machine(Protocol):
    """A kernel and what is needed to run one case on it. Its current directory is private and empty."""

    version: tuple[int, int]
    """The Linux version it is, or stands for."""
    capabilities: int
    """What its first process may do, as a bit mask."""

    def spawn(self) -> Task:
        """A process without a relation to the others: descriptors 0 to 2 are open, SIGPIPE and others are caught."""

    def close(self) -> None:
        """End all processes and remove what they left behind."""


MachineFactory = Callable[[], Machine]
