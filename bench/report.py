"""The measured cells as a text table, as Markdown, and as JSON."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.measures import Measure
from bench.runner import Cell
from bench.systems import System

__all__ = ["LEGEND", "as_json", "environment", "markdown", "text"]

LEGEND = (
    "median of the runs, ± half their range in % of it, and how many times slower than native in the same"
    " table (for a rate: how many times fewer)"
)


def number(value: float) -> str:
    """Three significant digits, or all before the point."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f}"


def factor(cell: Cell, native: Cell | None) -> float | None:
    """Time of an iteration over native's; None where one of them has none."""
    if native is None or not native.samples or not cell.samples:
        return None
    return median(cell.samples) / median(native.samples)


def spread(cell: Cell) -> float:
    """Half the range of the samples, in percent of their median."""
    return (max(cell.samples) - min(cell.samples)) / median(cell.samples) * 50


def native_of(cell: Cell, cells: Sequence[Cell]) -> Cell | None:
    """The native cell of the same measure and pinning."""
    for other in cells:
        if other.system.name == "native" and other.measure is cell.measure and other.pinned == cell.pinned:
            return other
    return None


class Grid:
    """The cells of one pinning as rows of strings, and the footnotes that their failures need."""

    def __init__(self, cells: Sequence[Cell], pinned: bool) -> None:
        chosen = [cell for cell in cells if cell.pinned == pinned]
        self.measures: list[Measure] = list(dict.fromkeys(cell.measure for cell in chosen))
        self.systems: list[System] = list(dict.fromkeys(cell.system for cell in chosen))
        self.notes: list[str] = []
        by_place = {(cell.measure, cell.system): cell for cell in chosen}
        self.header = ["measure", "unit", *(system.name for system in self.systems)]
        self.rows = [
            [
                measure.title,
                measure.unit.label,
                *(self.entry(by_place[measure, system], chosen) for system in self.systems),
            ]
            for measure in self.measures
        ]

    def entry(self, cell: Cell, cells: Sequence[Cell]) -> str:
        """What the table shows of a cell."""
        if cell.failure:
            short, _, reason = cell.failure.partition(": ")
            if not reason:
                return short
            note = f"{cell.system.name}: {reason}"
            if note not in self.notes:
                self.notes.append(note)
            return f"{short} [{self.notes.index(note) + 1}]"
        shown = f"{number(cell.measure.unit.of(median(cell.samples)))} ±{spread(cell):.0f}%"
        times = factor(cell, native_of(cell, cells))
        if times is None or cell.system.name == "native":
            return shown
        return f"{shown} {number(times)}x"


def text(cells: Sequence[Cell], pinned: bool, caption: str) -> str:
    """One table in columns, with its caption and footnotes."""
    grid = Grid(cells, pinned)
    lines = [grid.header, *grid.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(grid.header))]
    out = [caption]
    for index, line in enumerate(lines):
        entries = [
            entry.ljust(width) if column < 2 else entry.rjust(width)
            for column, (entry, width) in enumerate(zip(line, widths, strict=True))
        ]
        out.append("  ".join(entries).rstrip())
        if index == 0:
            out.append("  ".join("-" * width for width in widths))
    out += [f"[{index}] {note}" for index, note in enumerate(grid.notes, 1)]
    return "\n".join(out)


def markdown(cells: Sequence[Cell], pinned: bool, caption: str) -> str:
    """The same table in GitHub's Markdown."""
    grid = Grid(cells, pinned)
    out = [f"**{caption}**", "", "| " + " | ".join(grid.header) + " |"]
    out.append("|" + "|".join("---" if column < 2 else "---:" for column in range(len(grid.header))) + "|")
    out += ["| " + " | ".join(entry.replace("|", "\\|") for entry in row) + " |" for row in grid.rows]
    if grid.notes:
        out += ["", *(f"[{index}] {note}  " for index, note in enumerate(grid.notes, 1))]
    return "\n".join(out)


def version(system: System) -> str:
    """The first line of what the system says of its version; empty if it is not there."""
    if not system.version or shutil.which(system.version[0]) is None:
        return ""
    done = subprocess.run(system.version, capture_output=True, text=True, check=False, timeout=30)
    return (done.stdout.splitlines() or [""])[0].strip()


def processor() -> str:
    """The processor's name as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def environment(systems: Sequence[System]) -> dict[str, Any]:
    """Where and when this was measured, and with which versions."""
    return {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {system.name: found for system in systems if (found := version(system))},
    }


def as_json(cells: Sequence[Cell], about: dict[str, Any]) -> dict[str, Any]:
    """Everything measured: each sample in nanoseconds an iteration, medians and factors as in the tables."""
    return {
        "environment": about,
        "results": [
            {
                "measure": cell.measure.name,
                "system": cell.system.name,
                "pinned": cell.pinned,
                "iterations": cell.iterations,
                "nanoseconds": cell.samples,
                "unit": cell.measure.unit.label,
                "median": cell.measure.unit.of(median(cell.samples)) if cell.samples else None,
                "times_native": factor(cell, native_of(cell, cells)),
                "failure": cell.failure or None,
            }
            for cell in cells
        ],
    }
