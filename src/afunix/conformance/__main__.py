"""`python -m afunix.conformance`: hold a kernel against what Linux does."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from afunix.conformance.case import load
from afunix.conformance.document import markdown
from afunix.conformance.facts import FACTS
from afunix.conformance.runner import MACHINES, Outcome, run_all, summary

__all__ = ["add_arguments", "conform", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, for this module and for `afunix conform`."""
    parser.add_argument(
        "--on", choices=sorted(MACHINES), default="host", help="the kernel to test (default: %(default)s)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cases to run at a time on the host")
    parser.add_argument("-k", metavar="PATTERN", help="only cases whose name or facts contain this")
    parser.add_argument("--list", action="store_true", help="list cases and facts without running them")
    parser.add_argument("--document", action="store_true", help="print docs/linux-behaviour.md")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line for each case")
    parser.add_argument(
        "--linux", type=_version, metavar="X.Y", help="the version of Linux that the host's answers are to be those of"
    )


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def conform(options: argparse.Namespace) -> int:
    """Run the cases that were asked for; the exit status: 0, 1 when one failed, 2 when there was none."""
    if not __debug__:
        print("the cases are made of assertions: run Python without -O", file=sys.stderr)
        return 2
    chosen = [
        definition
        for definition in load()
        if not options.k or options.k in definition.name or any(options.k in fact for fact in definition.facts)
    ]
    if not chosen:
        print("no such case", file=sys.stderr)
        return 2
    if options.document:
        print(markdown(load()), end="")
        return 0
    if options.list:
        for definition in chosen:
            print(f"{definition.name}  {' '.join(definition.facts)}  {FACTS[definition.facts[0]].text}")
        return 0
    reports = []
    for report in run_all(chosen, options.on, options.jobs, options.linux):
        reports.append(report)
        if options.json:
            print(json.dumps(report.as_json()), flush=True)
        elif report.outcome is Outcome.FAILED:
            print(f"FAILED {report.text}\n", flush=True)
        elif report.outcome is not Outcome.PASSED:
            print(f"{report.outcome}: {report.case}: {report.text}", flush=True)
    if not options.json:
        print(summary(reports))
    return int(any(report.outcome is Outcome.FAILED for report in reports))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m afunix.conformance", description=__doc__)
    add_arguments(parser)
    return conform(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
