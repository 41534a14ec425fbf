"""How the listener gets from the program, which must load the filter itself, to the supervisor.

Once the filter is loaded, read, write and sendmsg trap, and nobody answers yet. So the program, before its execve:

1. writes the number that its listener will have to the pipe `ready`,
2. loads the filter,
3. closes `ready`, which tells the supervisor to take the listener with pidfd_getfd,
4. waits with poll until the supervisor writes to the pipe `go`. An end of file instead means that it died.

An errno travels in a page of shared memory, also that of an execve which fails long after.
"""

from __future__ import annotations

import gc
import mmap
import os
import select
import signal
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final, NoReturn

from afunix.abi.errno import Errno, SyscallError
from afunix.abi.seccomp import (
    SECCOMP_FILTER_FLAG_NEW_LISTENER,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
)
from afunix.supervisor import hostcalls

__all__ = ["FILTER_FLAGS", "STEP_EXECUTE", "STEP_FILTER", "Handover"]

FAILURE: Final = Struct("<II")
"""What the shared page starts with: the step that failed, or 0, and the errno."""
STEP_FILTER: Final = 1
STEP_EXECUTE: Final = 2

FILTER_FLAGS: Final = (
    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
)
"""SPEC_ALLOW: a filter that is no sandbox has no reason to slow the program down with speculation mitigations.
WAIT_KILLABLE_RECV: no signal takes a thread out of a call that we have received, so no answer is lost."""

CHANGED_BY_PYTHON: Final = tuple(
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ") if hasattr(signal, name)
)
"""Signals that the interpreter ignores from its start."""


class Handover:
    """The pipes and the page, made before the fork; each side calls its own methods after."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._ready, self._ready_end = os.pipe()
        self._go_end, self._go = os.pipe()
        self._ours: list[int] = []

    # -- the program's side

    def become_program(
        self, filter: bytes, mask: Iterable[int], others: Iterable[int], execute: Callable[[], object]
    ) -> NoReturn:
        """Load the filter, hand over the listener, set the signal mask, execute. Closes `others` first.

        After the filter is loaded nothing may be done that could trap: no import, no output, no garbage collection.
        """
        step = STEP_FILTER
        try:
            gc.disable()
            for fd in (*others, self._ready, self._go):
                os.close(fd)
            _default_signals()
            poll = select.poll()
            poll.register(self._go_end, select.POLLIN)
            number = os.dup(self._go_end)  # the lowest free one, which the listener gets next
            os.close(number)
            os.write(self._ready_end, b"%d" % number)
            if _load(filter) != number:
                raise SyscallError(Errno.EBADF)
            os.close(self._ready_end)
            if poll.poll()[0][1] & select.POLLIN:
                step = STEP_EXECUTE
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                execute()
        except (OSError, SyscallError) as error:
            FAILURE.pack_into(self._page, 0, step, error.errno)
        finally:
            os._exit(127)

    # -- the supervisor's side

    def in_supervisor(self) -> None:
        """Close the program's ends, whose end of file matters."""
        os.close(self._ready_end)
        os.close(self._go_end)
        self._ours = [self._ready, self._go]

    def listener_number(self) -> int | None:
        """Wait until the filter is loaded: the number of the listener in the program. None: failed, or killed."""
        number = os.read(self._ready, 16)
        os.read(self._ready, 1)
        return int(number) if number and not self.failure()[0] else None

    def let_go(self) -> None:
        """The supervisor has the listener: the program may run."""
        os.write(self._go, b"\n")
        self.close_pipes()

    def close_pipes(self) -> None:
        """Close the supervisor's ends."""
        for fd in self._ours:
            os.close(fd)
        self._ours = []

    def failure(self) -> tuple[int, int]:
        """The step that failed (0: none has) and its errno."""
        step, errno = FAILURE.unpack_from(self._page)
        return step, errno

    def close(self) -> None:
        """Close all that the supervisor holds of it."""
        self.close_pipes()
        self._page.close()


def _load(filter: bytes) -> int:
    """Without no_new_privs where the kernel allows that, so that set-user-ID programs work as usual for root."""
    try:
        return hostcalls.install_filter(filter, FILTER_FLAGS)
    except SyscallError as error:
        if error.errno is not Errno.EACCES:
            raise
    hostcalls.set_no_new_privs()
    return hostcalls.install_filter(filter, FILTER_FLAGS)


def _default_signals() -> None:
    """Undo what Python did at its start, and don't let its handlers take a signal that comes before execve."""
    for number in signal.valid_signals():
        if number in CHANGED_BY_PYTHON or callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
