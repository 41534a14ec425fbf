"""Compiles the programs and runs them: one run, the search for a number of iterations, interleaved runs."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.measures import DATA_FILE, DATA_FILE_SIZE, Measure
from bench.systems import CHECKOUT, System

__all__ = ["Cell", "Failed", "Workshop", "affinity", "end"]

PROGRAMS = Path(__file__).resolve().parent / "programs"
CFLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
TIMEOUT = 60.0


class Failed(Exception):
    """A run gave no number; the message says why."""


@dataclass(slots=True)
class Cell:
    """One measure on one system: nanoseconds an iteration of each run, or why there are none."""

    measure: Measure
    system: System
    pinned: bool
    iterations: int = 0
    samples: list[float] = field(default_factory=list)
    failure: str = ""


@contextmanager
def affinity(cpus: set[int]) -> Iterator[None]:
    """What is started inside inherits these CPUs, with all that it starts itself (as `taskset` has it)."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def end(process: subprocess.Popen[str]) -> None:
    """End a process that leads its own session, and what shares that: asked first, then killed."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Workshop:
    """A directory with the compiled programs and the data file, and the ways to run a measure there."""

    def __init__(self, directory: Path, cpu: int) -> None:
        self.directory = directory
        self.cpu = cpu
        self.environment: Mapping[str, str] = {
            **os.environ,
            "TMPDIR": str(directory),
            "PYTHONPATH": str(CHECKOUT / "src"),
        }

    def prepare(self) -> None:
        """Compile all programs and write the data file; raises Failed for want of a compiler or its error."""
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Failed("no C compiler: install one, or name it in CC")
        for source in sorted(PROGRAMS.glob("*.c")):
            command = [compiler, *CFLAGS, "-o", str(self.directory / source.stem), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Failed(f"{' '.join(command)}:\n{done.stderr}")
        (self.directory / "file").write_bytes(b"x" * DATA_FILE_SIZE)

    def command(self, measure: Measure, system: System, n: int) -> list[str]:
        """The command line; the start-up program stays outside the system, a part of what it starts."""
        program = [str(self.directory / measure.program), str(n)]
        arguments = [str(self.directory / "file") if a == DATA_FILE else a for a in measure.arguments]
        if measure.program == "spawn":
            return [*program, *system.prefix, *arguments]
        return [*system.prefix, *program, *arguments]

    def run(self, cell: Cell, n: int) -> float:
        """Run the program once and return the nanoseconds an iteration; raises Failed with the reason."""
        command = self.command(cell.measure, cell.system, n)
        start = time.monotonic()
        with affinity({self.cpu} if cell.pinned else os.sched_getaffinity(0)):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=self.environment,
                start_new_session=True,
            )
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failed(f"{n} iterations did not end in {TIMEOUT:.0f} s") from None
        finally:
            if process.returncode is None:
                end(process)
        wall = (time.monotonic() - start) * 1e9
        if process.returncode:
            last = err.strip().splitlines()[-1:] or ["no message"]
            raise Failed(f"exit status {process.returncode}: {last[0]}")
        try:
            nanoseconds = float(out.splitlines()[-1])
        except (IndexError, ValueError):
            raise Failed(f"printed no number but {out[-80:]!r}") from None
        # A system under measurement also provides the clock: it cannot have spent more than we saw pass.
        if not 0 < nanoseconds * n <= wall * 1.02:
            raise Failed(f"says {nanoseconds * n / 1e9:.3f} s, but {wall / 1e9:.3f} s passed outside")
        return nanoseconds

    def calibrate(self, cell: Cell, seconds: float) -> None:
        """Find the iterations that take about so many seconds, at most the measure's limit."""
        wanted = seconds * 1e9
        n, limit = cell.measure.first, cell.measure.limit
        while (took := self.run(cell, n) * n) < wanted / 8 and n < limit:
            n = min(limit, math.ceil(n * min(100.0, max(2.0, wanted / took))))
        cell.iterations = min(limit, max(1, round(n * wanted / took)))

    def fill(self, cells: Sequence[Cell], runs: int, seconds: float, progress: Callable[[str], None]) -> None:
        """Measure one row: each cell in turn, then all again, so that a slow spell hits all alike."""
        for cell in cells:
            if not cell.failure:
                self.attempt(cell, lambda cell: self.calibrate(cell, seconds), progress)
        for _ in range(runs):
            for cell in cells:
                if not cell.failure:
                    self.attempt(cell, lambda cell: cell.samples.append(self.run(cell, cell.iterations)), progress)

    def attempt(self, cell: Cell, action: Callable[[Cell], None], progress: Callable[[str], None]) -> None:
        """Do it; a failure is kept in the cell, whose samples then count no more."""
        try:
            action(cell)
        except Failed as failed:
            cell.failure = f"failed: {failed}"
            cell.samples.clear()
            progress(f"{cell.measure.name} on {cell.system.name} {cell.failure}")
