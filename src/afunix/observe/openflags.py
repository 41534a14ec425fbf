"""File status flags by name: what fcntl(F_SETFL) sets and fcntl(F_GETFL) tells."""

from __future__ import annotations

import functools
from typing import Final

from afunix.abi import arch, constants

__all__ = ["open_flags"]


@functools.cache
def _open_flag_names() -> tuple[tuple[int, str], ...]:
    """The names of the file status flags, in strace's order. Some are machine dependent."""
    machine = arch.current()
    return (
        (constants.O_CREAT, "O_CREAT"),
        (constants.O_EXCL, "O_EXCL"),
        (constants.O_NOCTTY, "O_NOCTTY"),
        (constants.O_TRUNC, "O_TRUNC"),
        (constants.O_APPEND, "O_APPEND"),
        (constants.O_NONBLOCK, "O_NONBLOCK"),
        (constants.O_SYNC, "O_SYNC"),
        (constants.O_DSYNC, "O_DSYNC"),
        (machine.o_direct, "O_DIRECT"),
        (machine.o_largefile, "O_LARGEFILE"),
        (machine.o_tmpfile, "O_TMPFILE"),
        (machine.o_directory, "O_DIRECTORY"),
        (machine.o_nofollow, "O_NOFOLLOW"),
        (constants.O_NOATIME, "O_NOATIME"),
        (constants.O_CLOEXEC, "O_CLOEXEC"),
        (constants.O_ASYNC, "FASYNC"),
        (constants.O_PATH, "O_PATH"),
        (constants.O_SYNC & ~constants.O_DSYNC, "__O_SYNC"),
        (machine.o_tmpfile & ~machine.o_directory, "__O_TMPFILE"),
    )


_ACCESS_MODES: Final = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")


def open_flags(value: int) -> str:
    """File status flags: `O_RDWR|O_NONBLOCK`."""
    value &= 0xFFFFFFFF
    shown = [_ACCESS_MODES[value & constants.O_ACCMODE]]
    rest = value & ~constants.O_ACCMODE
    for flag, name in _open_flag_names():
        if rest & flag == flag:
            shown.append(name)
            rest &= ~flag
    if rest:
        shown.append(f"{rest:#x}")
    return "|".join(shown)
