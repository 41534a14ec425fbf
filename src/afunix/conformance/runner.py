"""Runs cases on a machine and says how each went."""

from __future__ import annotations

import enum
import linecache
import queue
import secrets
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from afunix.conformance.case import Definition
from afunix.conformance.core_machine import CoreMachine
from afunix.conformance.host import Host
from afunix.conformance.machine import Machine, MachineFactory
from afunix.conformance.process import Case

__all__ = ["MACHINES", "Outcome", "Report", "lacks", "run_all", "run_case", "serving", "summary"]


class Outcome(enum.StrEnum):
    """How a case went. The last two say that it says nothing about this machine, and the report's text says why."""

    PASSED = "passed"
    FAILED = "failed"
    OTHER_VERSION = "other version"
    NOT_HERE = "not here"


@dataclass(frozen=True, slots=True)
class Report:
    """One case's result. text: what was expected and what was called, or why it was not run."""

    case: str
    facts: tuple[str, ...]
    outcome: Outcome
    text: str
    seconds: float

    def as_json(self) -> dict[str, object]:
        """For machines to read."""
        return asdict(self)


CAPABILITIES: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
}


def lacks(definition: Definition, machine: Machine) -> tuple[Outcome, str] | None:
    """Why a case does not apply to a machine, if so."""
    shown = "{}.{}".format
    if definition.since is not None and machine.version < definition.since:
        return Outcome.OTHER_VERSION, f"needs Linux {shown(*definition.since)}, this is {shown(*machine.version)}"
    if definition.until is not None and machine.version >= definition.until:
        return Outcome.OTHER_VERSION, f"until Linux {shown(*definition.until)}, this is {shown(*machine.version)}"
    for need in definition.needs:
        if not machine.capabilities >> CAPABILITIES[need] & 1:
            return Outcome.NOT_HERE, f"needs {need}"
    return None


def run_case(definition: Definition, factory: MachineFactory) -> Report:
    """Run one case on a fresh machine."""
    start = time.perf_counter()

    def report(outcome: Outcome, text: str) -> Report:
        return Report(definition.name, definition.facts, outcome, text, time.perf_counter() - start)

    machine = factory()
    try:
        if (reason := lacks(definition, machine)) is not None:
            return report(*reason)
        case = Case(machine, b"c%s." % secrets.token_hex(4).encode())
        try:
            definition.run(case.process())
        except Exception as error:  # also a mistake in the case, and a result of another form than it expects
            return report(Outcome.FAILED, describe(definition, case, error))
        return report(Outcome.PASSED, "")
    finally:
        machine.close()


def describe(definition: Definition, case: Case, error: BaseException) -> str:
    """What a failed case expected, and all that it called."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/conformance/" in frame.filename]
    inside = [frame for frame in frames if "/cases/" in frame.filename]
    where = (inside or frames or traceback.extract_tb(error.__traceback__))[-1]
    line = (where.line or linecache.getline(where.filename, where.lineno or 0)).strip()
    what = str(error)
    kind = type(error).__name__
    reason = (f": {what}" if what else "") if isinstance(error, AssertionError) else f"  ({kind}: {what})"
    head = f"{definition.name} ({', '.join(definition.facts)}): {definition.text}"
    return f"{head}\n{where.filename}:{where.lineno}: {line}{reason}\n{case.transcript.text()}"


@contextmanager
def serving(on: str, version: tuple[int, int] | None = None) -> Iterator[MachineFactory]:
    """Where machines come from: "host" or "core"."""
    with ExitStack() as stack:
        yield MACHINES[on](stack, version)


def _host(stack: ExitStack, version: tuple[int, int] | None) -> MachineFactory:
    return stack.enter_context(Host(version)).machine


def _core(stack: ExitStack, version: tuple[int, int] | None) -> MachineFactory:
    return CoreMachine


MACHINES: Final[dict[str, Callable[[ExitStack, tuple[int, int] | None], MachineFactory]]] = {
    "host": _host,
    "core": _core,
}


def run_all(
    definitions: Sequence[Definition], on: str, jobs: int = 1, version: tuple[int, int] | None = None
) -> Iterable[Report]:
    """Run cases, several at a time on the host, and report them in their order."""
    if jobs == 1 or on == "core":
        with serving(on, version) as factory:
            for definition in definitions:
                yield run_case(definition, factory)
        return
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(definitions)):
        todo.put(index)
    done: dict[int, Report] = {}
    news = threading.Condition()

    def work() -> None:
        with serving(on, version) as factory:
            while True:
                try:
                    index = todo.get_nowait()
                except queue.Empty:
                    return
                report = run_case(definitions[index], factory)
                with news:
                    done[index] = report
                    news.notify()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for index in range(len(definitions)):
        with news:
            while index not in done:
                if not news.wait(1.0) and not any(thread.is_alive() for thread in threads) and index not in done:
                    raise RuntimeError("the threads that run the cases have died")
        yield done[index]
    for thread in threads:
        thread.join()


def summary(reports: Sequence[Report]) -> str:
    """A line for each section of facts and one for all: how many passed, failed, and were not for this machine."""
    sections: dict[str, list[Report]] = {}
    for report in reports:
        sections.setdefault(report.case.partition(".")[0], []).append(report)
    rows = [("", *(str(outcome) for outcome in Outcome), "seconds")]
    for section, members in [*sections.items(), ("all", list(reports))]:
        counts = [sum(report.outcome is outcome for report in members) for outcome in Outcome]
        rows.append((section, *map(str, counts), f"{sum(report.seconds for report in members):.2f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
