"""Long runs of random programs: by steps and seed, with what is found confirmed and made small."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
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


class Comparison:
    """Runs programs on both sides, one after the other."""

    def __init__(self, host: DifferHost) -> None:
        self.host = host
        self._prefixes = count()

    def run(self, steps: Sequence[Step], *, careful: bool = True) -> Difference | None:
        """What a program shows. careful: see `Lockstep`."""
        prefix = b"~%d.%d." % (os.getpid(), next(self._prefixes))
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


def compare_programs(
    steps: int,
    seed: int,
    *,
    processes: int = PROCESSES,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Run programs of a seed until so many steps are made or one shows a difference.

    A difference counts if the program shows it again, and again.
    """
    summary = Summary()
    start = told = time.monotonic()
    with DifferHost() as host:
        comparison = Comparison(host)
        for number in count():
            if summary.steps >= steps:
                break
            written = program(seed, number, privileged=host.privileged, processes=processes)
            careful = number % CAREFUL == 0
            difference = comparison.run(written, careful=careful)
            if difference is not None:
                confirmed: Difference | None = difference
                for pause in SECOND_THOUGHTS:
                    time.sleep(pause)
                    confirmed = comparison.run(written)
                    if confirmed is None:
                        break
                if confirmed is not None:
                    smallest = comparison.smallest(written, confirmed)
                    summary.finding = Finding(number, confirmed.reason, smallest)
                    break
                summary.unsteady.append((number, difference.reason))
            summary.programs += 1
            summary.steps += len(written)
            now = time.monotonic()
            summary.seconds = now - start
            if progress is not None and now - told > 10:
                told = now
                progress(summary)
    summary.seconds = time.monotonic() - start
    return summary
