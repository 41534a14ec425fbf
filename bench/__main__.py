"""Measures a program on afunix, natively, in gVisor and under strace, side by side in one run.

From the checkout:

    python -m bench                                       everything, about ten minutes
    python -m bench --quick                               fewer and shorter runs, about a minute
    python -m bench --only roundtrip,bulk --systems native,afunix
    python -m bench --json results.json --markdown results.md
    python -m bench.memory                                the supervisor's memory over a million messages

It needs a C compiler; strace and gVisor (`apt-get install strace runsc`) are measured if they are
installed and reported as not installed if not. Each program of `bench/programs` times its own loop, so
start-up is only in the measure of that name. Every run of a system is followed by one of the next
system, then all again; the tables show the median. Each system is measured twice: pinned, where the
program, all its processes and all of the system itself share one CPU (as under `taskset -c`), and
unpinned, where wake-ups cross CPUs and vary a lot on a virtual machine.

Exit status: 0; 1 if an installed system failed in a measure; 2 for wrong use, or no compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from afunix.cli.ending import tidy_ending
from bench import report
from bench.measures import MEASURES, Measure, selected
from bench.runner import Cell, Failed, Workshop
from bench.systems import SYSTEMS, System, absence

__all__ = ["main"]


def names(value: str) -> list[str]:
    """The parts of a list with commas, each once."""
    return list(dict.fromkeys(part for part in value.split(",") if part))


def systems(value: str) -> list[System]:
    """The systems so named, at least one."""
    if not names(value):
        raise argparse.ArgumentTypeError(f"name some of: {', '.join(SYSTEMS)}")
    for name in names(value):
        if name not in SYSTEMS:
            raise argparse.ArgumentTypeError(f"no system {name!r}; there are: {', '.join(SYSTEMS)}")
    return [SYSTEMS[name] for name in names(value)]


def measures(value: str) -> list[Measure]:
    """The measures so named."""
    try:
        return selected(names(value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(value: str) -> int:
    """A number of runs, at least 1."""
    if int(value) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(value)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m bench",
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"Systems: {', '.join(SYSTEMS)}. Measures: {', '.join(m.name for m in MEASURES)}; a group "
        "(roundtrip, reads) names all of it.",
    )
    result.add_argument("--runs", type=count, help="runs of each measure on each system (7, quick: 3)")
    result.add_argument("--quick", action="store_true", help="runs of 0.05 s instead of 0.5 s")
    result.add_argument("--only", type=measures, default=list(MEASURES), metavar="MEASURE,...")
    result.add_argument("--systems", type=systems, default=list(SYSTEMS.values()), metavar="SYSTEM,...")
    result.add_argument("--pinning", choices=["both", "pinned", "unpinned"], default="both")
    result.add_argument(
        "--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the CPU to pin to (the last one)"
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    result.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    return result


def progress(line: str) -> None:
    """Say how far we are, apart from the tables."""
    print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit status."""
    wants = parser()
    options = wants.parse_args(argv)
    if options.cpu not in os.sched_getaffinity(0):
        wants.error(f"CPU {options.cpu} is not available")
    runs: int = options.runs or (3 if options.quick else 7)
    seconds = 0.05 if options.quick else 0.5
    pinnings = {"both": [True, False], "pinned": [True], "unpinned": [False]}[options.pinning]
    about = report.environment(options.systems) | {
        "runs": runs,
        "seconds": seconds,
        "pinned_cpu": options.cpu,
    }
    cells: list[Cell] = []
    with tidy_ending(), tempfile.TemporaryDirectory(prefix="afunix-bench-") as directory:
        workshop = Workshop(Path(directory), options.cpu)
        try:
            workshop.prepare()
        except Failed as failed:
            progress(str(failed))
            return 2
        missing = {system.name: absence(system, workshop.environment) for system in options.systems}
        for measure in options.only:
            for pinned in pinnings:
                progress(f"{measure.name}, {'pinned' if pinned else 'unpinned'}")
                row = [Cell(measure, system, pinned, failure=missing[system.name]) for system in options.systems]
                workshop.fill(row, runs, seconds, progress)
                cells += row
    about["load_after"] = round(os.getloadavg()[0], 2)
    captions = {
        True: f"pinned: program and system on CPU {options.cpu}",
        False: f"unpinned: {about['cpus']} CPUs",
    }
    head = (
        f"Linux {about['kernel']}, {about['processor']}, {about['cpus']} CPUs, Python {about['python']}, "
        f"{', '.join(about['versions'].values()) or 'no other system'}; load {about['load']} before, "
        f"{about['load_after']} after; {runs} runs of {seconds} s\n{report.LEGEND}"
    )
    print(head)
    for pinned in pinnings:
        print(f"\n{report.text(cells, pinned, captions[pinned])}")
    if options.markdown:
        tables = [report.markdown(cells, pinned, captions[pinned]) for pinned in pinnings]
        options.markdown.write_text("\n\n".join([head.replace("\n", "  \n"), *tables]) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(cells, about), indent=1) + "\n")
    return int(any(cell.failure and cell.failure != "not installed" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
