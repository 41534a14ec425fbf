"""What poll, select and epoll ask of an open file: its mask now, and the wait queues that tell of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.constants import (
    EPOLLIN,
    EPOLLOUT,
    EPOLLPRI,
    EPOLLRDBAND,
    EPOLLRDNORM,
    EPOLLWRBAND,
    EPOLLWRNORM,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core import readiness
from afunix.core.eventfd import EventCounter
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import PipeReader, PipeWriter
from afunix.core.socket import Socket

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.wait import WaitQueue

__all__ = ["READING", "WRITING", "mask", "poller", "queues"]

_BOTH_WAYS: Final = (Socket, EventCounter)
READING: Final = EPOLLIN | EPOLLPRI | EPOLLRDNORM | EPOLLRDBAND
WRITING: Final = EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND
"""What a wake-up of the reading or the writing queue is about (the keys of sk_data_ready and sk_write_space).

A change of state, which may bring ERR, HUP or RDHUP, wakes both, as sk_state_change wakes whatever is waited for.
"""


def mask(file: File) -> int:
    """All poll bits that are set now (vfs_poll). EPERM: a file that can't be polled."""
    if isinstance(file, Socket):
        return readiness.mask(file)
    if isinstance(file, PipeReader | PipeWriter | EventCounter | MemoryFile):
        return file.poll()
    poll = getattr(file, "poll", None)
    if poll is None:
        raise SyscallError(Errno.EPERM)
    bits: int = poll()
    return bits


def poller(file: File) -> Callable[[Any], int]:
    """`mask` for this kind of file, for who asks often."""
    return readiness.mask if isinstance(file, Socket) else mask


def queues(file: File) -> tuple[tuple[WaitQueue, int], ...]:
    """The queues that are woken when the mask may have changed, each with the bits it is about (poll_wait).

    A file without any, such as a regular file, is always ready, and epoll refuses it.
    """
    if isinstance(file, _BOTH_WAYS):
        return (file.readable, READING), (file.writable, WRITING)
    if isinstance(file, PipeReader):
        return ((file.pipe.readable, READING),)
    if isinstance(file, PipeWriter):
        return ((file.pipe.writable, WRITING),)
    readable = getattr(file, "readable", None)
    return () if readable is None else ((readable, READING),)
