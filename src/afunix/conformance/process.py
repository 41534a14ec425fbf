"""The comfortable layer over raw calls, written once for all machines: what a case speaks to.

Every method of the modules `*_calls` makes exactly one system call. A result is a value, or an `Error` (minus the
errno), never an exception, so that cases compare plainly. What was called with what result is kept, and printed when a
case fails.
"""

from __future__ import annotations

from afunix.abi.constants import MSG_DONTWAIT
from afunix.conformance.data_calls import DataCalls
from afunix.conformance.file_calls import FileCalls
from afunix.conformance.machine import Machine, Task
from afunix.conformance.raw_calls import Transcript

__all__ = ["Case", "Process"]


class Case:
    """A case being run: its machine, its processes, and what they did."""

    def __init__(self, machine: Machine, prefix: bytes) -> None:
        self.machine = machine
        self.prefix = prefix
        self.transcript = Transcript()

    def process(self) -> Process:
        """A new process."""
        return Process(self, self.machine.spawn())


class Process(DataCalls, FileCalls):
    """One process of a case."""

    def __init__(self, case: Case, task: Task) -> None:
        super().__init__(case.transcript, task)
        self._case = case

    def abstract(self, tail: bytes) -> bytes:
        """An abstract name that no other case has."""
        return b"\0" + self._case.prefix + tail

    def process(self) -> Process:
        """A process without a relation to this one."""
        return self._case.process()

    def fork(self) -> Process:
        """A child: another process of the case."""
        child = Process(self._case, self.task.fork())
        self.note("fork()", f"process {child.number}")
        return child

    def die(self) -> None:
        """SIGKILL; its descriptors are closed when this returns."""
        self.note("dies", "")
        self.task.kill()

    def signals(self) -> list[int]:
        """The signals that came since this was last asked."""
        found = self.task.signals()
        self.note("signals()", found)
        return found

    # What many cases begin with. These make several calls, which must all succeed.

    def listener(self, kind: int, name: bytes, backlog: int = 5) -> int:
        """A listening socket bound to a name."""
        fd = self.socket(kind)
        require(self.bind(fd, name) == 0 and self.listen(fd, backlog) == 0, "no listener")
        return fd

    def client(self, kind: int, name: bytes) -> int:
        """A socket connected to a name."""
        fd = self.socket(kind)
        require(self.connect(fd, name) == 0, "no connection")
        return fd

    def bound(self, kind: int, name: bytes) -> int:
        """A socket bound to a name."""
        fd = self.socket(kind)
        require(self.bind(fd, name) == 0, "not bound")
        return fd

    def connection(self, kind: int, name: bytes) -> tuple[int, int, int]:
        """A listener, a client, and the accepted socket."""
        listener = self.listener(kind, name)
        client = self.client(kind, name)
        accepted = self.accept(listener)
        require(accepted >= 0, "not accepted")
        return listener, client, accepted

    def fill(self, fd: int, message: bytes = b"x", flags: int = MSG_DONTWAIT) -> int:
        """Send without waiting until the first send that fails: how many were sent."""
        count = 0
        while self.send(fd, message, flags) >= 0:
            count += 1
        return count


def require(condition: bool, what: str) -> None:
    """A step that the rest of a case stands on."""
    if not condition:
        raise AssertionError(what)
