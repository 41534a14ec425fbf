"""Virtual descriptor numbers: which process and which entry of its table a number means.

A number is 2**30 | slot << 20 | descriptor: slot says which live process, descriptor is the small number that
`process.syscalls` knows. It fits a C int and is what `fileno()` gives.

* No host has a descriptor from 2**30 on: Linux's fs.nr_open is 2**20 by default and at most 2**30 - 8 where systemd
  raises it. So a virtual number that reaches the host's calls by accident is EBADF there, never somebody's file.
* A host descriptor that reaches us is below, so which of the two a number means is one comparison.
* A number keeps nothing alive: who has only the number of a descriptor in a process that nobody else knows has nothing.
  The kernel knows its processes, and whoever uses a kernel that one.
"""

from __future__ import annotations

import gc
import threading
import weakref
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

_processes: list[weakref.ref[Process] | None] = []
_free: list[int] = []
_lock = threading.RLock()  # garbage may be collected, and a process end, in the middle of it


def is_virtual(number: object) -> TypeGuard[int]:
    """Whether it is a number of ours, in use or not."""
    return isinstance(number, int) and FIRST <= number < END


def place(process: Process) -> int:
    """Give a process a slot, until it ends or is garbage: its first number is the result."""
    with _lock:
        if not _free and len(_processes) == SLOTS:
            gc.collect()  # of kernels that nobody uses any more
        if _free:
            slot = _free.pop()
        elif len(_processes) < SLOTS:
            slot = len(_processes)
            _processes.append(None)
        else:
            raise OSError(f"more than {SLOTS} live processes")
    base = FIRST | slot << FD_BITS
    _processes[slot] = reference = weakref.ref(process)
    weakref.finalize(process, _forget, slot, reference).atexit = False
    return base


def forget(base: int) -> None:
    """The process with this first number is gone."""
    slot = base - FIRST >> FD_BITS
    _forget(slot, _processes[slot])


def _forget(slot: int, reference: weakref.ref[Process] | None) -> None:
    if reference is not None and _processes[slot] is reference:
        _processes[slot] = None
        _free.append(slot)


def process_of(number: int) -> Process:
    """The process that a virtual number belongs to: EBADF as OSError."""
    slot = number - FIRST >> FD_BITS
    reference = _processes[slot] if 0 <= slot < len(_processes) else None
    process = None if reference is None else reference()
    if process is None:
        raise bad_descriptor()
    return process


def find(number: int) -> tuple[Process, int, File]:
    """Process, descriptor and open file of a virtual number: EBADF as OSError."""
    process = process_of(number)
    fd = number & FD_MASK
    file = process.core.descriptors.files.get(fd)
    if file is None:
        raise bad_descriptor()
    return process, fd, file
