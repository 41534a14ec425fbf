"""Makes docs/systems.md of results: `python -m tests.systems.report FILE… >docs/systems.md` after --systems-report.

notes.md beside this file, on what the tests can't have and why, is the page's end.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["document"]

INTRODUCTION = """\
# Systems

Programs that Unix-domain sockets are for, unmodified: each row was run natively and under `afunix run`, and both had to
show the same. What a row does, step by step, is in the system's file in `tests/systems`. This page is made by

```sh
.venv/bin/python -m pytest tests/systems -m "long or not long" --systems-report results.json
.venv/bin/python -m tests.systems.report results.json >docs/systems.md
```

as root, with the packages that `python3 tests/systems/packages.py --long` names; without `-m` only what runs in CI.

*private* is all of it under one `afunix run --private`; *shared* under `afunix run`, with the host's sockets in reach;
*server inside* and *client inside* have one half under `afunix run` and the other native. Seconds are those of one run,
with the start of everything and of `afunix` itself, and with the waits that the steps have by nature.

A run counts only if it ends in time, leaves no process behind, and, if private, if none of its processes was seen with
one of the host's own sockets (by unix_diag, while it runs). For each system one more private run is traced, and its
trace must have the socket calls.
"""
NOTES = Path(__file__).with_name("notes.md")

WORLDS = {
    "native": "native",
    "private": "private",
    "shared": "shared",
    "server-inside": "server inside",
    "client-inside": "client inside",
}


def machine() -> str:
    """The machine, in a line."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    with open("/etc/os-release", encoding="utf-8") as file:
        release = dict(line.rstrip().split("=", 1) for line in file if "=" in line)["PRETTY_NAME"].strip('"')
    return f"{release}, Linux {platform.release()}, {model}, {os.cpu_count()} CPUs."


def seconds(entry: Mapping[str, Any], world: str) -> str:
    """A cell: seconds, that it fails, or nothing where it was not to run."""
    if world not in entry["seconds"]:
        return ""
    value = entry["seconds"][world]
    return "**fails**" if value is None else f"{value:.2f}"


def table(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """All scenarios."""
    yield "| system | version | what ran | " + " | ".join(f"{title} s" for title in WORLDS.values()) + " |"
    yield "|---|---|---|" + "---:|" * len(WORLDS)
    for entry in entries:
        what = entry["scenario"] + (f" ({entry['note']})" if entry["note"] else "")
        cells = [entry["system"], entry["version"], what, *(seconds(entry, world) for world in WORLDS)]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float) -> str:
    """Four digits, or all before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def figures(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the scenarios measured of themselves."""
    yield "| system | figure | unit | " + " | ".join(WORLDS.values()) + " |"
    yield "|---|---|---|" + "---:|" * len(WORLDS)
    for entry in entries:
        for name, values in entry["figures"].items():
            unit = next(iter(values.values()))[1]
            cells = [number(values[world][0]) if world in values else "" for world in WORLDS]
            yield "| " + " | ".join([entry["system"], name, unit, *cells]) + " |"


def merged(results: Iterable[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """The entries of several files; of a scenario that is in many, those of the last."""
    return list({(entry["system"], entry["scenario"]): entry for entries in results for entry in entries}.values())


def document(entries: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    ordered = sorted(entries, key=lambda entry: entry["system"].casefold())
    lines = [INTRODUCTION, machine(), "", *table(ordered)]
    if any(entry["figures"] for entry in ordered):
        lines += ["", "## Figures", "", "What systems measure of themselves, each in one run.", "", *figures(ordered)]
    return "\n".join([*lines, "", NOTES.read_text(encoding="utf-8")])


if __name__ == "__main__":
    print(document(merged(json.loads(Path(file).read_text(encoding="utf-8")) for file in sys.argv[1:])), end="")
