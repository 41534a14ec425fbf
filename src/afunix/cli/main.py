"""The command line: `afunix run …`, `afunix conform …`, `afunix differ …`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import afunix
from afunix.cli import conform, differ, run

__all__ = ["main"]

USAGE_ERROR = 125
"""Exit status of afunix's own failures, as with env(1); a program's own statuses pass through."""


class Parser(argparse.ArgumentParser):
    """argparse with our exit status for wrong use."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print usage and the message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = Parser(prog="afunix", description="AF_UNIX in user space.")
    parser.add_argument("--version", action="version", version=f"afunix {afunix.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    run.add_parser(commands)
    conform.add_parser(commands)
    differ.add_parser(commands)
    options = parser.parse_args(argv)
    result: int = options.run(options)
    return result
