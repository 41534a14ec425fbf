"""Long runs of random programs: by steps and seed, with what is found confirmed and made small."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from afunix.conformance.differ import Difference, Lockstep
from afunix.conformance.differ_host import PROCESSES, DifferHost
from afunix.conformance.differ_programs import program
from afunix.conformance.differ_shrink import shrink
from afunix.conformance.differ_steps import Step

__all__ = ["Comparison", "Finding", "Summary", "compare_programs"]

CAREFUL: Final = 8
"""Of so many programs one is looked at after each step, and not only at the end."""
SECOND_THOUGHTS: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a program that showed a difference is run again, each time it is.

What others do for a while counts on the host too: the descriptors that an unprivileged user's other programs have in
flight (ETOOMANYREFS), say.
"""
TELL_EVERY: Final = 10
"""Seconds."""
SIGNALS_SEEN_EVERY: Final = 0.5
"""Seconds."""


class Comparison:
    """Runs programs on both sides, one after the other."""

    def __init__(self, host: DifferHost) -> None:
        self.host = host
        self._prefixes = count()

    def run(self, steps: Sequence[Step], *, careful: bool = True) -> Difference | None:
        """What a program shows. careful: see `Lockstep`."""
        prefix = b"~%d.%d." % (self.host.pids[0], next(self._prefixes))
        try:
            lockstep = Lockstep(self.host, prefix, careful=careful)
            lockstep.run(steps)
            self.host.reset()
        except Difference as difference:
            self.host.restart()
            return difference
        return None

    def smallest(self, steps: Sequence[Step], difference: Difference) -> list[Step]:
        """A program as small as can be that shows a difference of the same kind."""

        def fails(candidate: Sequence[Step]) -> bool:
            found = self.run(candidate)
            return found is not None and kind_of(found) == kind_of(difference)

        return shrink(steps, fails)


def kind_of(difference: Difference) -> str:
    """What a difference is about, roughly: its first word."""
    return difference.reason.partition(" ")[0].rstrip(",:")


@dataclass(frozen=True, slots=True)
class Finding:
    """A program that shows a difference, as small as could be."""

    number: int
    reason: str
    steps: list[Step]


@dataclass(slots=True)
class Summary:
    """How a run went. unsteady: programs that showed a difference which was not there again, and which one."""

    programs: int = 0
    steps: int = 0
    seconds: float = 0.0
    unsteady: list[tuple[int, str]] = field(default_factory=list)
    finding: Finding | None = None


class Run:
    """Programs of a seed, one after the other, until so many steps are made or one shows a difference.

    Threads compare them, each with processes of its own on the host, so that one goes on while another waits for those.
    """

    def __init__(self, steps: int, seed: int, processes: int, progress: Callable[[Summary], None] | None) -> None:
        self.steps = steps
        self.seed = seed
        self.processes = processes
        self.progress = progress
        self.summary = Summary()
        self.lock = threading.Lock()
        self.started = self.told = time.monotonic()
        self.numbers = count()
        self.planned = 0
        self.stopped = False

    def work(self) -> None:
        """What each thread does."""
        try:
            with DifferHost() as host:
                comparison = Comparison(host)
                while (following := self.following(host.privileged)) is not None:
                    self.compare(comparison, *following)
        finally:
            self.stopped = True

    def following(self, privileged: bool) -> tuple[int, list[Step]] | None:
        """The next program and its number; None if it is enough."""
        with self.lock:
            if self.stopped or self.planned >= self.steps:
                return None
            number = next(self.numbers)
            written = program(self.seed, number, privileged=privileged, processes=self.processes)
            self.planned += len(written)
            return number, written

    def compare(self, comparison: Comparison, number: int, written: list[Step]) -> None:
        """One program. A difference counts if the program shows it again, and again."""
        difference = comparison.run(written, careful=number % CAREFUL == 0)
        if difference is not None and (confirmed := self.confirm(comparison, written)) is not None:
            self.stopped = True
            smallest = comparison.smallest(written, confirmed)
            with self.lock:
                self.summary.finding = Finding(number, confirmed.reason, smallest)
            return
        with self.lock:
            summary = self.summary
            if difference is not None:
                summary.unsteady.append((number, difference.reason))
            summary.programs += 1
            summary.steps += len(written)
            now = time.monotonic()
            summary.seconds = now - self.started
            if self.progress is not None and now - self.told > TELL_EVERY:
                self.told = now
                self.progress(summary)

    @staticmethod
    def confirm(comparison: Comparison, written: list[Step]) -> Difference | None:
        """The difference as it is after several second thoughts; None if it is not there each time."""
        confirmed: Difference | None = None
        for pause in SECOND_THOUGHTS:
            time.sleep(pause)
            confirmed = comparison.run(written)
            if confirmed is None:
                break
        return confirmed


def compare_programs(
    steps: int,
    seed: int,
    *,
    processes: int = PROCESSES,
    jobs: int = 1,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Run programs of a seed until so many steps are made or one shows a difference, some at a time (see `Run`)."""
    run = Run(steps, seed, processes, progress)
    with ThreadPoolExecutor(jobs) as threads:
        try:
            for worker in [threads.submit(run.work) for _ in range(jobs)]:
                # A signal may be taken by any thread; the main one, whose it is to act on it, must wake to see it.
                while not wait((worker,), SIGNALS_SEEN_EVERY).done:
                    pass
                worker.result()
        finally:
            run.stopped = True
    run.summary.seconds = time.monotonic() - run.started
    return run.summary
