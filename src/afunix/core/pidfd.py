"""Descriptors of processes (fs/pidfs.c): what SO_PEERPIDFD and SCM_PIDFD give, and pidfd_open(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afunix.abi.constants import EPOLLHUP, EPOLLIN, EPOLLRDNORM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.file import File
from afunix.core.wait import WaitQueue

if TYPE_CHECKING:
    from afunix.core.process import Process
    from afunix.core.wait import Wakeups

__all__ = ["Pidfd"]


class Pidfd(File):
    """The open file description of a pidfd. process: None for one that was gone already.

    It stands for that process, whoever gets the number after it. As there are no zombies here, a process that exited is
    one that was waited for.
    """

    __slots__ = ("_wakeups", "process", "readable")

    def __init__(self, wakeups: Wakeups, process: Process | None) -> None:
        super().__init__()
        self.process = process
        self.readable = WaitQueue()
        self._wakeups = wakeups
        if process is not None:
            process.pidfds[self] = None

    def exited(self) -> None:
        """The process ended (do_notify_pidfd)."""
        self._wakeups.wake(self.readable)

    def poll(self) -> int:
        """Readable and hung up once the process is gone (pidfd_poll)."""
        alive = self.process is not None and self.process.alive
        return 0 if alive else EPOLLIN | EPOLLRDNORM | EPOLLHUP

    def target(self) -> Process:
        """Who gets a signal that is sent to it: ESRCH once the process is gone."""
        process = self.process
        if process is None or not process.alive:
            raise SyscallError(Errno.ESRCH)
        return process

    def close(self) -> None:
        """Nobody asks any more."""
        if self.process is not None:
            self.process.pidfds.pop(self, None)
