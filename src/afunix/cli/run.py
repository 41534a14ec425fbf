"""`afunix run`: an unmodified program, and all its children, on our kernel."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from afunix.supervisor.tracing import Tracing

__all__ = ["add_parser", "run"]

FAILED = 125


def add_parser(commands: Any) -> None:
    """Add the command's options to the parser."""
    parser = commands.add_parser(
        "run",
        help="run a program on our AF_UNIX kernel",
        usage="afunix run [--trace] [--trace-to FILE] [--private] -- PROGRAM [ARG…]",
        description="Run PROGRAM and all its children with their Unix-domain sockets on our kernel. "
        "The exit status is PROGRAM's, 128+N if signal N ended it, 127 if it was not found, 126 if it can't be run.",
    )
    parser.add_argument("--trace", action="store_true", help="print each socket call to standard error, as strace does")
    parser.add_argument("--trace-to", metavar="FILE", help="print each socket call to FILE")
    parser.add_argument(
        "--private", action="store_true", help="cut the programs from the host's own Unix sockets, both ways"
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM [ARG…]")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the program; returns the exit status."""
    argv = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not argv:
        options.parser.error("no PROGRAM given")
    if not sys.platform.startswith("linux"):
        return _complain("afunix run needs Linux")
    # Until the program is started, Ctrl-C ends this command as it ends env(1).
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Imported late: the supervisor exists on Linux only.
    from afunix.supervisor.hostcalls import Unsupported  # noqa: PLC0415
    from afunix.supervisor.launch import CannotExecute  # noqa: PLC0415
    from afunix.supervisor.session import serve  # noqa: PLC0415

    stream: TextIO | None = None
    try:
        if options.trace_to:
            stream = open(options.trace_to, "w", encoding="utf-8")  # noqa: SIM115 - closed below
        elif options.trace:
            # A descriptor of its own: the program may close standard error, and ours must stay.
            stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        return _complain(f"{options.trace_to}: {error.strerror}")
    try:
        return serve(argv, private=options.private, tracing=_tracing(stream))
    except Unsupported as reason:
        return _complain(str(reason))
    except CannotExecute as reason:
        print(reason, file=sys.stderr)
        return reason.status
    finally:
        if stream is not None:
            stream.close()


def _tracing(stream: TextIO | None) -> Tracing | None:
    if stream is None:
        return None
    from afunix.observe.strace import TraceWriter  # noqa: PLC0415
    from afunix.supervisor.tracing import Tracing  # noqa: PLC0415

    return Tracing(TraceWriter(stream))


def _complain(message: str) -> int:
    print(f"afunix: {message}", file=sys.stderr)
    return FAILED
