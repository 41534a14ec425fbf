"""The raw calls of a process, in whose memory arguments are placed; and the record of what was called.

Every call goes through `RawCalls.run`, which makes it at once or, inside `begin`, starts it in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from afunix.abi.structs import TIMESPEC
from afunix.conformance.machine import ARENA_SIZE, Started, Task
from afunix.conformance.results import result

__all__ = ["Pending", "RawCalls", "Transcript", "timespec"]

P = ParamSpec("P")
R = TypeVar("R")


class Transcript:
    """What the processes of a case have called, with what result: number of the process, call, arguments, result."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str, Sequence[object] | None, object]] = []
        self.processes = 0

    def text(self) -> str:
        """A line for each call."""
        shown = []
        for number, name, args, found in self.lines:
            prefix = f"  p{number}: " if self.processes > 1 else "  "
            shown.append(prefix + (name if args is None else name + format_args(args)) + f" = {show(found)}")
        return "\n".join(shown)


class Pending(Generic[R]):
    """A call that was begun in a thread of its own."""

    def __init__(self, process: RawCalls, started: Started, decode: Callable[[int], R], shown: str) -> None:
        self._process = process
        self._started = started
        self._decode = decode
        self._shown = shown

    @property
    def blocks(self) -> bool:
        """Whether it waits; False once it has returned. Looks until one of both is certain."""
        blocked = self._started.blocked()
        self._process.note(self._shown, "waits" if blocked else "has returned")
        return blocked

    @property
    def result(self) -> R:
        """What it came to, waiting for it."""
        found = self._decode(self._started.finish())
        self._process.note(self._shown, found)
        return found

    def interrupt(self, restart: bool = False) -> None:
        """Send its thread a signal with a handler; restart: one installed with SA_RESTART."""
        self._process.note(self._shown, "gets a signal")
        self._started.interrupt(restart)


class _Begun(Exception):  # noqa: N818 (it is how `begin` takes over)
    """Carries the call that was started out of the method that prepared it."""

    def __init__(self, started: Started, decode: Callable[[int], Any], shown: str) -> None:
        self.call = (started, decode, shown)


class RawCalls:
    """A process, its memory and its raw calls."""

    def __init__(self, transcript: Transcript, task: Task) -> None:
        self.transcript = transcript
        transcript.processes += 1
        self.number = transcript.processes
        self.task = task
        self._next = self._floor = task.base
        self._beginning = False

    @property
    def pid(self) -> int:
        """Its process number."""
        return self.task.pid

    def note(self, shown: str, found: object) -> None:
        """Add a line to the transcript."""
        self.transcript.lines.append((self.number, shown, None, found))

    # Memory.

    def put(self, data: bytes) -> int:
        """Place bytes in the process's memory; the address. They stay until the next call is done."""
        address = self.room(len(data))
        if data:
            self.task.write(address, data)
        return address

    def room(self, size: int) -> int:
        """Set bytes of it aside, whatever is in them; the address."""
        address = self._next
        if address + size > self.task.base + ARENA_SIZE:
            raise ValueError(f"a process has {ARENA_SIZE} bytes of memory")
        self._next = (address + size + 15) & ~15
        return address

    def peek(self, address: int, size: int) -> bytes:
        """What is in its memory."""
        return self.task.read(address, size)

    # Calls.

    def call(self, name: str, *args: int) -> int:
        """Any system call by its name, with integer arguments (a raw call)."""
        return self.run(name, args, result, args)

    def begin(self, method: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Pending[R]:
        """Start a call that may block, in a thread of its own: `p.begin(p.recv, fd)`."""
        self._beginning = True
        try:
            method(*args, **kwargs)
        except _Begun as begun:
            return Pending(self, *begun.call)
        finally:
            self._beginning = False
        raise TypeError(f"{method.__name__} makes no call")

    def run(self, name: str, args: Sequence[int], decode: Callable[[int], R], shown: Sequence[object]) -> R:
        """Make a call whose arguments are in place: what `decode` makes of its value. `shown` is for the transcript."""
        if self._beginning:
            text = f"[{name}{format_args(shown)}]"
            started = self.task.begin(name, tuple(args))
            self.note(text, "begun")
            self._floor = self._next  # its memory stays in use
            raise _Begun(started, decode, text)
        lines = self.transcript.lines
        lines.append((self.number, name, shown, "…"))
        found = decode(self.task.call(name, tuple(args)))
        lines[-1] = (self.number, name, shown, found)
        self._next = self._floor
        return found

    def scalar(self, name: str, args: Sequence[int], shown: Sequence[object]) -> int:
        """A call whose value says all."""
        return self.run(name, args, result, shown)


def show(value: object) -> str:
    """A value in a transcript: long bytes by their beginning and length."""
    if isinstance(value, bytes) and len(value) > 48:
        return f"{value[:24]!r}…[{len(value)}]"
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        inner = ", ".join(map(show, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    return repr(value)


def format_args(args: Sequence[object]) -> str:
    """The arguments of a call."""
    return f"({', '.join(map(show, args))})"


def timespec(seconds: float) -> bytes:
    """A time-out in seconds as `struct timespec`."""
    return TIMESPEC.pack(int(seconds), int(seconds % 1 * 1_000_000_000))
