"""Differential testing: random programs on the host and on the core in lockstep; every answer must be the same.

Compared after each step: the value of every call, all memory that it may have written, signals, and of each socket of
the process poll bits, SIOCINQ, SIOCOUTQ and SIOCATMARK. The core runs ahead within one process's consecutive steps,
the host follows, and the two are compared before another process takes its turn.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Sequence
from typing import Final

from afunix.abi.constants import AF_UNIX, SOCK_DGRAM
from afunix.conformance.differ_compare import Record, comparable, compare, made_by, not_compared
from afunix.conformance.differ_core import DifferCore
from afunix.conformance.differ_host import PROCESSES, DifferHost, Found
from afunix.conformance.differ_raw import Call, Raw, Resolved, Step
from afunix.conformance.differ_steps import encode_step
from afunix.conformance.machine import Hang
from afunix.core.epoll import Epoll
from afunix.core.errors import Unmodelled
from afunix.core.socket import Socket

__all__ = ["Difference", "Lockstep"]

AUTOMATIC_LENGTH: Final = 8
AUTOMATIC: Final = re.compile(rb"\x01\0\0[0-9a-f]{1,5}")
"""A name that autobind chose, or what there was room for."""


class Difference(Exception):  # noqa: N818 (it is what was found)
    """The two sides disagree, or the core broke a rule of its own. The last record is where."""

    def __init__(self, reason: str, records: Sequence[Record]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.records = list(records)


class Lockstep:
    """One program on both sides.

    prefix: of abstract names. careful: look at the core's invariants after each step and not only at the end, and
    have somebody wait for every change.
    """

    def __init__(self, host: DifferHost, prefix: bytes, *, careful: bool) -> None:
        self.host = host
        self.careful = careful
        self.core = DifferCore(host, watched=careful)
        self.prefix = prefix
        self.fds: list[dict[int, int]] = [{}]
        self.epolls: list[dict[int, int]] = [{}]
        self.records: list[Record] = []
        self._pending: list[Record] = []
        self._turn = 0
        self._names: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})
        self._processes: dict[int, int] = {0: 0}
        """Of the program's processes, by the numbers in its steps, those that are alive."""

    def run(self, steps: Iterable[Step]) -> None:
        """The whole program. Difference."""
        for step in steps:
            self.step(step)
        self.finish()

    def step(self, step: Step) -> None:
        """One step, on the core now, on the host soon. One of a process that is not there is left out."""
        number = self._processes.get(step.process)
        if number is None:
            return
        if step.operation == "fork":
            self._fork(int(str(step.args[0])))
        elif step.operation == "exit":
            self._exit(step.process, number)
        else:
            if number != self._turn:
                self.flush()
                self._turn = number
            resolved = Resolved(self.fds[number], self.host.pids, self.prefix, self.host.users, self.epolls[number])
            record = Record(step, encode_step(step, resolved), ())
            self._on_core(number, record)
            if writes := not_compared(record):
                self._on_core(number, Record(Step(step.process, "clean", ()), Raw(writes, 0, [], []), ()))

    def _on_core(self, number: int, record: Record) -> None:
        self.records.append(record)
        try:
            record.core = self.core.run(number, record.raw)
            if self.core.kernel.flight.sockets:
                self._nudge(number, record)
            if self.careful:
                self.core.check()
        except (AssertionError, Hang) as error:
            raise Difference(f"the core breaks a rule: {error}", self.records) from error
        except Unmodelled as error:
            raise Difference(f"not modelled: {error}", self.records) from error
        except Exception as error:
            raise Difference(f"the core fails:\n{traceback.format_exc()}", self.records) from error
        record.descriptors = tuple(self.core.sockets(number))
        self._learn(number, record)
        self._pending.append(record)
        if self.core.collecting.collected:
            self.core.collecting.collected = False
            record.collected = True
            self.flush()

    def _nudge(self, number: int, record: Record) -> None:
        """Close a socket after a step while others are in flight: the collector runs when a socket is closed.

        So there is no garbage from one step to the next, which the host, where it runs in a moment of its own, might
        collect earlier than the core.
        """
        assert record.core is not None
        values, windows, signals, _ = record.core
        make: Call = ("socket", (AF_UNIX, SOCK_DGRAM, 0))
        (fd,), _, _, state = self.core.run(number, Raw([], 0, [make], []))
        record.raw.calls.append(make)
        values = (*values, fd)
        if fd >= 0:
            close: Call = ("close", (fd,))
            (value,), _, _, state = self.core.run(number, Raw([], 0, [close], []))
            record.raw.calls.append(close)
            values = (*values, value)
        record.core = values, windows, signals, state

    def _learn(self, number: int, record: Record) -> None:
        """Which handles are which descriptors now."""
        fds = self.fds[number]
        files = self.core.task(number).process.descriptors.files
        made = made_by(record)
        if made:
            kind, known = (Epoll, self.epolls[number]) if record.step.operation == "epoll_create" else (Socket, fds)
            made = [fd for fd in made if isinstance(files.get(fd), kind)]
            for handle, fd in zip(record.step.makes, made, strict=False):
                known[handle] = fd
        if len(files) - 3 < len(fds) or not made:
            for handle in [handle for handle, fd in fds.items() if fd not in files]:
                del fds[handle]
            epolls = self.epolls[number]
            for handle in [handle for handle, fd in epolls.items() if not isinstance(files.get(fd), Epoll)]:
                del epolls[handle]

    def _fork(self, name: int) -> None:
        self.flush()
        if len(self.fds) == PROCESSES or name in self._processes:
            return
        self.core.fork(self.host.fork())
        self._processes[name] = len(self.fds)
        self.fds.append(dict(self.fds[0]))
        self.epolls.append(dict(self.epolls[0]))

    def _exit(self, name: int, number: int) -> None:
        if not number:
            return
        self.flush()
        self.host.kill(number)
        self.core.kill(number)
        del self._processes[name]
        self._look(0)

    def flush(self) -> None:
        """Have the host make the steps that the core has made, and compare. Difference."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        try:
            found = self.host.run(self._turn, [(record.raw, record.descriptors) for record in pending])
            if pending[-1].collected:
                # The host collects in a moment of its own.
                self.host.collect(self._turn)
                [(_, _, _, state)] = self.host.run(self._turn, [(Raw([], 0, [], []), pending[-1].descriptors)])
                found[-1] = (*found[-1][:3], state)
        except Hang as error:
            raise Difference(f"the host hangs: {error}", self.records) from error
        for record, host in zip(pending, found, strict=True):
            record.host = host
            if host != record.core and (reason := self._judge(record)):
                at = self.records.index(record)
                raise Difference(reason, self.records[: at + 1])

    def _judge(self, record: Record) -> str:
        """What is different besides names that autobind chose, and what is not compared."""
        assert record.core is not None
        assert record.host is not None
        core, host = (comparable(record, found) for found in (record.core, record.host))
        return compare(self._named(core, 0), self._named(host, 1))

    def _named(self, found: Found, side: int) -> Found:
        """With automatic names replaced by their order of appearance."""
        known = self._names[side]

        def rename(match: re.Match[bytes]) -> bytes:
            if len(match[0]) < AUTOMATIC_LENGTH:
                return b"\1\0\0" + b"=" * (len(match[0]) - 3)
            return known.setdefault(match[0], b"\1\0\0=%04d" % len(known))

        values, windows, signals, state = found
        renamed = [AUTOMATIC.sub(rename, piece) if isinstance(piece, bytes) else piece for piece in windows]
        return values, renamed, signals, state

    def _look(self, name: int) -> None:
        """Compare the state of a process's descriptors without a call."""
        number = self._processes[name]
        self.flush()
        self._turn = number
        self._on_core(number, Record(Step(name, "look", ()), Raw([], 0, [], []), ()))

    def finish(self) -> None:
        """The end of the program: the state of all processes is compared, and the core must be clean."""
        for name in self._processes:
            self._look(name)
        self.flush()
        try:
            self.core.finish()
        except AssertionError as error:
            raise Difference(f"the core breaks a rule at the end: {error}", self.records) from error
