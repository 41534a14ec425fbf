"""A trace of system calls in the form of strace(1), for the calls that sockets take part in.

`format_call` works as strace does: from the raw argument registers and the result, reading the memory of the
stopped program after the call's results were written there. Where it says more than strace 6.1: socket time-outs
as `{tv_sec=1, tv_usec=0}`, options and control messages of later Linux by name, SIOCINQ, SIOCOUTQ and
SIOCUNIXFILE by their names on sockets, what passed descriptors are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TextIO

from afunix.abi import constants
from afunix.abi.errno import ERESTARTSYS, Errno
from afunix.observe.calls import CALLS, ENTRY, Entry
from afunix.observe.decode import Decoder, Memory, signed
from afunix.observe.openflags import open_flags

__all__ = ["TraceWriter", "entry_values", "format_call"]

RESULT_COLUMN: Final = 40
"""Where the result stands in a line whose call is short enough, as strace's `-a` has it."""


def format_call(
    name: str,
    args: Sequence[int],
    result: int | None,
    memory: Memory,
    describe_fd: Callable[[int], str | None],
    *,
    note: str = "",
    limit: int = 32,
    entry: Entry = None,
) -> str:
    """One line of a trace, without the newline: `write(3, "hello", 5)                   = 5`.

    args are the six argument registers, unsigned. result is the value, -errno, or None for a call that a signal
    interrupted (ERESTARTSYS). memory is asked after the call has written its results. describe_fd says what a
    passed descriptor is, or None. note follows the result. Of each buffer `limit` bytes are shown, of each
    array so many elements.

    Some arguments are overwritten by their result, as the address length of accept. What they were before is
    shown too if `entry` gives what `entry_values` returned before the call: `[110 => 2]`; else only the result.

    Never raises for anything that a program did: bad pointers are shown as hexadecimal.
    """
    registers = [*args, 0, 0, 0, 0, 0, 0][:6]
    done = result if result is not None and result >= 0 else None
    show = CALLS.get(name)
    if show is None:
        shown = ", ".join(f"{register:#x}" for register in args)
    else:
        shown = show(Decoder(memory, describe_fd, limit), registers, done, entry)
    line = f"{name}({shown}) ".ljust(RESULT_COLUMN)
    line += "= " + (_result(result) if done is None else _value(name, registers, done, memory))
    return f"{line} {note}" if note else line


def entry_values(name: str, args: Sequence[int], memory: Memory) -> tuple[int, ...]:
    """The arguments that the call will overwrite with its results, as they are before it: for `format_call`.

    Empty for a call that has none and for pointers that can't be read.
    """
    find = ENTRY.get(name)
    if find is None:
        return ()
    return find(Decoder(memory, _nothing, 0), [*args, 0, 0, 0, 0, 0, 0][:6])


class TraceWriter:
    """Writes trace lines to a text stream, each at once and flushed, so that lines of several writers stay whole.

    limit is how many bytes of each buffer the caller should have `format_call` show.
    """

    def __init__(self, stream: TextIO, limit: int = 32) -> None:
        self.stream = stream
        self.limit = limit

    def call(self, program: str, pid: int, line: str) -> None:
        """Write `program[pid] line`. OSError if the stream refuses it."""
        text = f"{program}[{pid}] {line}"
        if not text.isprintable():
            # A program chooses its own name; strace's form itself has no control characters.
            text = "".join(char if char.isprintable() else f"\\{ord(char):o}" for char in text)
        text += "\n"
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            self.stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        self.stream.flush()


def _result(result: int | None) -> str:
    """How a call ended that did not succeed."""
    if result is None or result == -ERESTARTSYS:
        return "? ERESTARTSYS (To be restarted if SA_RESTART is set)"
    try:
        errno = Errno(-result)
    except ValueError:
        return f"-1 (errno {-result})"
    return f"-1 {errno.name} ({errno.message})"


def _value(name: str, args: Sequence[int], value: int, memory: Memory) -> str:
    """The value of a call that succeeded, with what strace adds to it."""
    if name == "recvmmsg":
        if not value:
            return "0 (Timeout)"
        if args[4]:
            return f"{value} (left {Decoder(memory, _nothing, 0).time(args[4], 'nsec')})"
    elif name == "fcntl" and signed(args[1]) == constants.F_GETFL:
        return f"{value:#x} (flags {open_flags(value)})"
    return f"{value}"


def _nothing(fd: int) -> None:
    return None
