"""Virtual descriptor numbers: which process and which entry of its table a number means.

A number is 2**30 | slot << 20 | descriptor: slot says which live process, descriptor is the small number that
`process.syscalls` knows. It fits a C int and is what `fileno()` gives.

* No host has a descriptor from 2**30 on: Linux's fs.nr_open is 2**20 by default and at most 2**30 - 8 where systemd
  raises it. So a virtual number that reaches the host's calls by accident is EBADF there, never somebody's file.
* A host descriptor that reaches us is below, so which of the two a number means is one comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeGuard

from afunix.inproc.host import bad_descriptor

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.inproc.process import Process

__all__ = ["FIRST", "find", "forget", "is_virtual", "place", "process_of"]

FIRST: Final = 1 << 30
END: Final = 1 << 31
FD_BITS: Final = 20
FD_MASK: Final = (1 << FD_BITS) - 1
SLOTS: Final = 1 << 30 - FD_BITS
"""Live processes at most, over all kernels of this interpreter."""

_processes: dict[int, Process] = {}
"""By what their numbers have before the descriptor."""
_free: list[int] = []


def is_virtual(number: object) -> TypeGuard[int]:
    """Whether it is a number of ours, in use or not."""
    return isinstance(number, int) and FIRST <= number < END


def place(process: Process) -> int:
    """Give a process a slot: its first number is the result."""
    slot = _free.pop() if _free else len(_processes)
    if slot == SLOTS:
        raise OSError(f"more than {SLOTS} live processes")
    base = FIRST | slot << FD_BITS
    _processes[base >> FD_BITS] = process
    return base


def forget(base: int) -> None:
    """The process with this first number is gone."""
    del _processes[base >> FD_BITS]
    _free.append(base - FIRST >> FD_BITS)


def process_of(number: int) -> Process:
    """The process that a virtual number belongs to: EBADF as OSError."""
    process = _processes.get(number >> FD_BITS)
    if process is None:
        raise bad_descriptor()
    return process


def find(number: int) -> tuple[Process, int, File]:
    """Process, descriptor and open file of a virtual number: EBADF as OSError."""
    process = _processes.get(number >> FD_BITS)
    if process is not None:
        fd = number & FD_MASK
        file = process.core.descriptors.files.get(fd)
        if file is not None:
            return process, fd, file
    raise bad_descriptor()
