"""A minimal supervisor for tests: every trapped call proceeds but those on the descriptor that is the test's."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from afunix.abi import arch
from afunix.abi.seccomp import build_filter
from afunix.supervisor.launch import Launched, launch
from afunix.supervisor.listener import Listener, Notification
from afunix.supervisor.memory import Memory

NUMBERS = arch.current().numbers
TELL = 1000
PATIENCE = 10.0
"""Seconds after which a test has failed that waits for something."""
PYTHON = next(
    path for path in (sys.executable, shutil.which("python3")) if path and os.access(os.path.realpath(path), os.X_OK)
)
"""An interpreter that this user may run: that of root's virtual environment need not be one."""
TRAPPED = ("read", "write", "writev", "sendmsg", "recvmsg")


def filter_for(names: Sequence[str]) -> bytes:
    return build_filter(arch.current().audit_arch, [(NUMBERS[name], None) for name in names])


class Call:
    """One call that the test is to answer."""

    def __init__(self, notification: Notification) -> None:
        self.id, self.tid, number, args, _ = notification
        self.args = list(args)
        self.name = arch.current().names[number]
        self.memory = Memory(self.tid)

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def number(self) -> int:
        return int.from_bytes(self.data, "little", signed=True)

    @property
    def data(self) -> bytes:
        return self.memory.read(self.args[1], self.args[2])


class Session:
    """A program that runs under the test's hand."""

    def __init__(self, *argv: str, traps: Sequence[str] = TRAPPED, env: dict[str, str] | None = None) -> None:
        self.launched: Launched = launch(argv, filter_for(traps), env=env)
        self.listener = Listener(self.launched.listener_fd)
        self.seen: list[str] = []
        self.poll = select.poll()
        self.poll.register(self.listener.fd, select.POLLIN)
        self.poll.register(self.launched.status_fd, select.POLLIN)
        self.poll.register(self.launched.signal_fd, select.POLLIN)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.launched.close()
        self.listener.close()

    def step(self, timeout: float) -> Call | None:
        """One event; a call if it is the test's."""
        for fd, event in self.poll.poll(timeout * 1000):
            if fd == self.launched.status_fd:
                if self.launched.on_status():
                    self.poll.unregister(fd)
            elif fd == self.launched.signal_fd:
                self.launched.on_signal()
            elif event & select.POLLIN:
                notification = self.listener.receive()
                if notification is None:
                    continue
                call = Call(notification)
                if call.args[0] == TELL and call.name in ("read", "write"):
                    return call
                self.seen.append(call.name)
                self.listener.proceed(call.id)
            else:
                self.poll.unregister(fd)
        return None

    def next(self) -> Call:
        """The next call for the test."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            call = self.step(until - time.monotonic())
            if call is not None:
                return call
            if self.launched.ended:
                raise AssertionError(f"the program ended with status {self.launched.exit_status()}")
        raise AssertionError("no call came")

    def number(self) -> int:
        """The number that the program tells next."""
        call = self.next()
        number = call.number
        assert self.listener.answer(call.id, call.args[2])
        return number

    def text(self) -> str:
        """The text that the program tells next."""
        call = self.next()
        text = call.text
        assert self.listener.answer(call.id, call.args[2])
        return text

    def finish(self, patience: float = PATIENCE) -> int:
        """Let everything go on until all processes are gone; the exit status."""
        until = time.monotonic() + patience
        while not self.launched.ended:
            if time.monotonic() > until:
                raise AssertionError("the program does not end")
            call = self.step(until - time.monotonic())
            if call is not None:
                self.listener.answer(call.id, call.args[2])
        return self.launched.exit_status()


def run(*argv: str, traps: Sequence[str] = TRAPPED, env: dict[str, str] | None = None) -> int:
    """Run a program to its end; the exit status."""
    with Session(*argv, traps=traps, env=env) as session:
        return session.finish()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll a condition with patience."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs: it exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2][:1] not in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
