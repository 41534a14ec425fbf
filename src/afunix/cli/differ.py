"""`afunix differ`: random programs on the host's kernel and on ours, until they disagree."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import TYPE_CHECKING, Any

from afunix.cli.ending import tidy_ending

if TYPE_CHECKING:
    from afunix.conformance.differ_run import Summary

__all__ = ["add_parser", "differ"]

MOST_PROCESSES = 4


def add_parser(commands: Any) -> None:
    """Add the command's options to the parser."""
    parser = commands.add_parser(
        "differ",
        help="compare random programs on this kernel and on ours",
        description="Run random programs of socket calls on this machine's kernel and on our core, and compare every "
        "answer. The exit status is 0 if all were the same, 1 if not: then a Python script that shows the difference "
        "is printed.",
    )
    parser.add_argument("--steps", type=int, default=200_000, metavar="N", help="how many steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="S", help="which programs (default: any, and it is printed)")
    parser.add_argument(
        "--processes",
        type=int,
        choices=range(1, MOST_PROCESSES + 1),
        default=MOST_PROCESSES,
        metavar="P",
        help="how many processes a program may have, 1 to 4 (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="how many programs to compare at a time (default: %(default)s)"
    )
    parser.set_defaults(run=differ, parser=parser)


def differ(options: argparse.Namespace) -> int:
    """Compare; returns the exit status."""
    if not sys.platform.startswith("linux"):
        options.parser.error("needs Linux to compare with")
    if not __debug__:
        options.parser.error("the core's rules are assertions: run Python without -O")
    # Imported late: it exists on Linux only.
    from afunix.conformance.differ_run import compare_programs  # noqa: PLC0415
    from afunix.conformance.differ_show import script  # noqa: PLC0415

    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    print(f"seed {seed}", file=sys.stderr, flush=True)
    with tidy_ending():
        summary = compare_programs(
            options.steps, seed, processes=options.processes, jobs=max(1, options.jobs), progress=_tell
        )
    _tell(summary)
    for number, reason in summary.unsteady:
        print(f"program {number} showed a difference that was not there again: {reason}", file=sys.stderr)
    if summary.finding is None:
        return 0
    found = summary.finding
    print(f"program {found.number} shows a difference: {found.reason}", file=sys.stderr)
    print(script(found.steps, found.reason), end="")
    return 1


def _tell(summary: Summary) -> None:
    rate = summary.steps / summary.seconds if summary.seconds else 0
    again = f", {len(summary.unsteady)} not seen again" if summary.unsteady else ""
    differences = 1 if summary.finding else 0
    print(
        f"{summary.steps} steps in {summary.programs} programs, {differences} differences{again}, "
        f"{summary.seconds:.0f} s, {rate:.0f} steps/s",
        file=sys.stderr,
        flush=True,
    )
