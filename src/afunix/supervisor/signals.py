"""Signals for threads whose calls wait here.

A thread whose call we have received hears of nothing but SIGKILL until it is answered
(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV): only so no answer can be lost. A call that waits must yet end when a signal
comes, and nobody tells us. So we look: the longer a call has been waiting, the more rarely.

kill(2) is not trapped to know better: it would then fail with EINTR when a signal comes back at once to a handler
without SA_RESTART (docs/decisions/0005), and no program reckons with that.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor import hostcalls
from afunix.supervisor.hostcalls import Gone, Inaccessible

if TYPE_CHECKING:
    from afunix.supervisor.parked import Parked

__all__ = ["SOONEST", "Signals", "nudged"]

SOONEST: Final = 0.001
"""Seconds; the first look at a call that waits comes after once or twice this time."""
LATEST: Final = 0.05
"""The most seconds between two looks at one thread."""
SHARE: Final = 0.125
"""In between: the part of the time that the call has been waiting."""

_WALL: Final = 0x40000000
"""__WALL of wait(2): threads, too."""


class Signals:
    """When to look for signals of the threads with parked calls, and which of these are to be interrupted."""

    __slots__ = ("_parked", "fresh", "next")

    def __init__(self, parked: dict[int, Parked]) -> None:
        self._parked = parked
        self.next = math.inf
        """The time (time.monotonic) of the next look."""
        self.fresh = False
        """Whether calls were parked for which no look is planned yet."""

    def due(self, now: float) -> bool:
        """Whether it is time to look; plans the first look at calls that were parked of late."""
        if self.fresh:
            self.fresh = False
            self.next = min(self.next, now + SOONEST)
        return self.next <= now

    def look(self, now: float) -> Iterator[tuple[Parked, bool]]:
        """The calls to interrupt, and whether the signal is surely theirs: another thread might take it as well."""
        stopped: dict[int, bool] = {}
        taken: set[int] = set()
        for parked in list(self._parked.values()):
            if not parked.since:
                parked.since = parked.due = now
            if parked.due > now or parked.done:
                continue
            parked.due = now + min(max((now - parked.since) * SHARE, SOONEST), LATEST)
            task = parked.call.task
            try:
                own, shared, threads = task.waiting_signals()
                if own or (shared and threads == 1):
                    yield parked, True
                elif threads > 1:
                    if shared and task.tgid not in taken:
                        taken.add(task.tgid)
                        yield parked, False
                    else:
                        if task.tgid not in stopped:
                            stopped[task.tgid] = task.has_stopped_threads(self._parked)
                        if stopped[task.tgid]:
                            yield parked, False
            except (Gone, Inaccessible):
                continue
        self.next = min((parked.due for parked in self._parked.values()), default=math.inf)


class nudged:  # noqa: N801 -- used like a function
    """Have a thread that is answered meanwhile look for signals on its way out, whether or not one was meant for it.

    Answered with ERESTARTSYS it makes its call again if there is none, and never sees that number. `able` is false
    where another debugger has the thread already.
    """

    def __init__(self, tid: int) -> None:
        self._tid = tid
        self.able = False

    def __enter__(self) -> nudged:
        try:
            hostcalls.ptrace(hostcalls.PTRACE_SEIZE, self._tid)
        except SyscallError:
            return self
        try:
            hostcalls.ptrace(hostcalls.PTRACE_INTERRUPT, self._tid)
            self.able = True
        except SyscallError:
            self._let_go()
        return self

    def __exit__(self, *_: object) -> None:
        if self.able:
            try:
                os.waitpid(self._tid, _WALL)
            except ChildProcessError:
                return
            self._let_go()

    def _let_go(self) -> None:
        try:
            hostcalls.ptrace(hostcalls.PTRACE_DETACH, self._tid)
        except SyscallError as error:
            if error.errno is not Errno.ESRCH:
                raise
