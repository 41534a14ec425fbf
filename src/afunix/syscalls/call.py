"""What a system call handler gets, and what it answers: the border between the raw interface and a front end.

A handler decodes registers and memory, runs core operations, writes results to memory and returns an `Answer`. It
never waits: where the core would block it returns a generator (see core.blocking) whose value is the answer, for
the front end to drive. It raises SyscallError for an errno.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from afunix.abi.errno import Errno, SyscallError
from afunix.core.caller import Caller
from afunix.core.file import File
from afunix.core.kernel import Kernel
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock

__all__ = [
    "NATIVE",
    "TASK_SIZE_MAX",
    "Answer",
    "Call",
    "Handler",
    "Install",
    "Memory",
    "Native",
    "Outcome",
    "Undo",
    "Undoable",
    "address_check",
    "signed",
]  # fmt: skip


class Memory(Protocol):
    """The calling program's memory. Every method raises EFAULT for a range that is not all accessible."""

    def read(self, address: int, size: int) -> bytes:
        """Exactly size bytes."""

    def write(self, address: int, data: bytes) -> None:
        """Write all of data."""

    def read_vec(self, iovecs: Sequence[tuple[int, int]]) -> bytes:
        """The bytes of several ranges (address, length), joined."""

    def write_vec(self, iovecs: Sequence[tuple[int, int]], data: bytes) -> None:
        """Spread data over several ranges; it may be shorter than they are together."""


class Undoable(Protocol):
    """A change that can be taken back as long as nobody else has acted on it."""

    def undo(self) -> int:
        """Take it back: the answer did not reach the program.

        Returns the part of the call's value that could not be taken back.
        """

    def done(self) -> None:
        """The answer arrived, so it stays: let go of what only undo needed."""


@final
class Native:
    """The answer that leaves a call to the host's kernel, which does the rest of it."""


NATIVE = Native()


@final
@dataclass(frozen=True, slots=True)
class Install:
    """An answer whose value is a new descriptor for a socket: accept, socket."""

    sock: Socket
    cloexec: bool
    undo: Callable[[], None]


Answer = int | tuple[int, Undoable] | Install | Native
"""The value; or the value and how to undo the change behind it; or a socket to be installed; or the host's."""

Outcome = Answer | Generator[WouldBlock, Any, Answer]
"""What a handler returns: an answer now, or a body to drive."""


class Call(Protocol):
    """One system call of one thread, as the front end sees it."""

    @property
    def args(self) -> Sequence[int]:
        """The six argument registers, unsigned."""

    @property
    def memory(self) -> Memory:
        """The program's memory."""

    @property
    def caller(self) -> Caller:
        """The calling thread."""

    @property
    def kernel(self) -> Kernel:
        """The kernel that the call is made on."""

    @property
    def sock(self) -> Socket:
        """The socket that the call's descriptor argument refers to."""

    @property
    def mode(self) -> int:
        """The mode bits of the socket itself, which bind gives to its inode (NAME-7)."""

    def now(self) -> float:
        """Seconds on the clock of deadlines."""

    def files(self, descriptors: Sequence[int]) -> list[File]:
        """References to the open files of the caller, for SCM_RIGHTS; the handler owns them. EBADF: one isn't open."""

    def ensure_room(self, number: int) -> None:
        """EMFILE unless so many more descriptors fit into the caller's table."""

    def install(self, file: File, cloexec: bool) -> int:
        """A new descriptor of the caller for a file; the reference stays with the handler. EMFILE."""

    def install_pidfd(self, pid: int) -> int:
        """A new pidfd of the caller, close-on-exec. EMFILE, ESRCH."""

    def install_inode(self, sock: Socket) -> int:
        """A new O_PATH descriptor of the caller for the inode a socket is bound to (SIOCUNIXFILE)."""


Handler = Callable[[Any], Outcome]


class Undo:
    """An Undoable from plain functions, called in order; a handler that makes several changes builds one."""

    __slots__ = ("_done", "_undo")

    def __init__(self, undo: Sequence[Callable[[], object]], done: Sequence[Callable[[], None]] = ()) -> None:
        self._undo = undo
        self._done = done

    def undo(self) -> int:
        """Take all of it back."""
        for step in self._undo:
            step()
        return 0

    def done(self) -> None:
        """The answer arrived."""
        for step in self._done:
            step()


def signed(register: int) -> int:
    """The int in the low half of a register: descriptors, flags, lengths of type int."""
    register &= 0xFFFFFFFF
    return register - 0x100000000 if register & 0x80000000 else register


TASK_SIZE_MAX = 0x7FFFFFFFF000
"""End of user memory with 47-bit addresses, which access_ok checks buffers against before anything else."""


def address_check(address: int, size: int) -> None:
    """EFAULT for a range outside user memory (access_ok)."""
    if address + size > TASK_SIZE_MAX:
        raise SyscallError(Errno.EFAULT)
