"""`afunix conform`: hold a kernel against what Linux does, case by case."""

from __future__ import annotations

import argparse
from typing import Any

from afunix.cli.ending import tidy_ending
from afunix.conformance import __main__ as kit

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add the command's options to the parser."""
    parser = commands.add_parser(
        "conform",
        help="run the conformance cases",
        description="Run the conformance cases on this machine's kernel (under afunix run: on ours) or on our core. "
        "The exit status is 0 if all that apply pass, 1 if one fails, 2 if there is none.",
    )
    kit.add_arguments(parser)
    parser.set_defaults(run=conform, parser=parser)


def conform(options: argparse.Namespace) -> int:
    """Run them; returns the exit status."""
    with tidy_ending():
        return kit.conform(options)
