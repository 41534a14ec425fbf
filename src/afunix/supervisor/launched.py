"""A program under supervision from its start to the end of its last descendant: signals, stops, exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from struct import Struct
from types import TracebackType
from typing import Final

from afunix.abi.errno import Errno
from afunix.supervisor import hostcalls
from afunix.supervisor.guardian import REPORT, descendants, kill_descendants
from afunix.supervisor.handover import STEP_EXECUTE, Handover

__all__ = ["FORWARDED", "CannotExecute", "Launched"]

FORWARDED: Final = frozenset(
    signal.Signals["SIG" + name]
    for name in ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "WINCH", "TSTP", "TTIN", "TTOU")
)
"""Signals that the supervisor takes for the program: those sent to it are sent on; those from the terminal, which
the program gets as well, are dropped."""
_ENDING: Final = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))
_STOPPING: Final = frozenset((signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))

_SIGINFO: Final = Struct("<IiiII108x")
"""struct signalfd_siginfo: number, errno, code, and the sender's pid and uid."""

_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126


class CannotExecute(Exception):  # noqa: N818 -- the text is what the user sees
    """The program could not be started; `status` is the exit status that env(1) has for this."""

    def __init__(self, name: str, errno: Errno) -> None:
        super().__init__(f"afunix: {name}: {errno.message}")
        self.errno = errno
        self.status = _NOT_FOUND if errno is Errno.ENOENT else _NOT_EXECUTABLE


class Launched:
    """A program under supervision, and the processes that came of it. `launch` makes it.

    Serve `listener_fd` (which belongs to the caller), and poll `signal_fd` and `status_fd` along with it. As a
    context manager it kills what is left at the end.
    """

    def __init__(
        self,
        name: str,
        *,
        guardian_pid: int,
        channel: socket.socket,
        signal_fd: int,
        others: frozenset[int],
        handover: Handover,
    ) -> None:
        self.pid = -1
        """The program's process."""
        self.guardian_pid = guardian_pid
        self.listener_fd = -1
        self.signal_fd = signal_fd
        self.status_fd = channel.fileno()
        self.wait_status: int | None = None
        """How the program ended (wait(2)); None as long as it runs."""
        self.ended = False
        """Whether the program and all its descendants are gone."""
        self.failure: CannotExecute | None = None
        """Why the program never ran, if it ended so: execve's errors come after `launch` has returned."""
        self._name = name
        self._channel = channel
        self._others = others
        self._handover = handover
        self._pidfd = -1
        self._owned: contextlib.ExitStack | None = None

    def __enter__(self) -> Launched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def owns(self, resources: contextlib.ExitStack) -> None:
        """What `close` has to give back."""
        self._owned = resources

    def started(self, pid: int) -> None:
        """The program's process is there. SyscallError (ESRCH) if it was killed."""
        self.pid = pid
        self._pidfd = hostcalls.pidfd_open(pid)

    def forget_program(self) -> None:
        """Close the hold on the program's process."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def take(self, fd: int) -> int:
        """A copy of a descriptor of the program's process. SyscallError, as pidfd_getfd(2)."""
        return hostcalls.pidfd_getfd(self._pidfd, fd)

    def on_signal(self) -> None:
        """signal_fd is readable: send on to the program what others sent to this process.

        When the program has ended before its descendants, they get what would end it, from the terminal as well.
        A signal sent to the whole process group comes to the program twice: nothing tells it from another one.
        """
        for number, _, code, _, _ in _SIGINFO.iter_unpack(_read_all(self.signal_fd)):
            if self.wait_status is not None:
                if number in _ENDING:
                    self._send_all(number)
            elif code <= 0:  # above are the kernel's own: SI_KERNEL of the terminal, SI_TIMER
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, number)

    def _send_all(self, number: int) -> None:
        for pid in descendants(self.guardian_pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def on_status(self) -> bool:
        """status_fd is readable: note how the program ended, stop along with it. True: all processes are gone.

        If the guardian was killed, everything else is killed, too.
        """
        while not self.ended:
            try:
                report = self._channel.recv(REPORT.size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                report = b""
            if not report:
                self._guardian_ended()
                break
            _, status = REPORT.unpack(report)
            if not os.WIFSTOPPED(status):
                self._program_ended(status)
            elif os.WSTOPSIG(status) in _STOPPING and _group(self.pid) == os.getpgrp():
                self._stop_too(os.WSTOPSIG(status))
        return self.ended

    def _stop_too(self, number: int) -> None:
        """The terminal stopped the program; the shell waits for this process, the group's leader, to stop as well."""
        os.kill(os.getpid(), number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        # Whoever woke the group has woken the program, too.
        if _state(self.pid) == "T":
            signal.pidfd_send_signal(self._pidfd, signal.SIGCONT)

    def _guardian_ended(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.guardian_pid, 0)
        # None are left unless the guardian was killed: it leaves when it has no children any more.
        statuses = kill_descendants(self._others)
        if self.wait_status is None:
            self._program_ended(statuses.get(self.pid, signal.SIGKILL))
        self.ended = True

    def _program_ended(self, status: int) -> None:
        self.wait_status = status
        step, errno = self._handover.failure()
        if step == STEP_EXECUTE:
            self.failure = CannotExecute(self._name, Errno(errno))

    def kill_all(self) -> None:
        """Kill the program and everything that came of it, now; returns when all are dead."""
        if not self.on_status():
            os.kill(self.guardian_pid, signal.SIGKILL)
            self._guardian_ended()

    @property
    def termination_signal(self) -> int | None:
        """The signal that killed the program, if one did."""
        status = self.wait_status
        return os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None

    def exit_status(self) -> int:
        """The program's exit status; 128 + N if signal N killed it; 127 or 126 with `failure`.

        RuntimeError if it still runs.
        """
        if self.wait_status is None:
            raise RuntimeError("the program has not ended")
        if self.failure is not None:
            return self.failure.status
        if os.WIFSIGNALED(self.wait_status):
            return 128 + os.WTERMSIG(self.wait_status)
        return os.WEXITSTATUS(self.wait_status)

    def close(self) -> None:
        """Kill what is left, close the descriptors but the listener, and give signals back their way."""
        self.kill_all()
        if self._owned is not None:
            _read_all(self.signal_fd)  # what came for a program that had just ended is not for this process
            self._owned.close()
            self._owned = None


def _read_all(signal_fd: int) -> bytes:
    try:
        return os.read(signal_fd, 64 * _SIGINFO.size)
    except BlockingIOError:
        return b""


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _state(pid: int) -> str:
    """The state letter of a process (proc_pid_stat(5)); empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return chr(file.read().rpartition(b") ")[2][0])
    except OSError:
        return ""
