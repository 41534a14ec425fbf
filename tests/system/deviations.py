"""The cases that may end differently under `afunix run` than natively, each with the decision that says why.

All depend on a race between the program and the supervisor that the program mostly wins or loses as natively; so they
run, and what they find is reported as an expected failure, never left out in silence.
"""

from __future__ import annotations

CLOSE = "docs/decisions/0004-close-is-not-trapped.md"
INTERRUPTED = "docs/decisions/0005-interrupted-calls.md"

DEVIATIONS = {
    ("readiness.c", "close_seen_at_once"): CLOSE,
    ("signals.c", "calls_that_do_not_wait"): INTERRUPTED,
    ("signals.c", "files_are_not_interrupted"): INTERRUPTED,
}


def of(source: str) -> list[str]:
    """The names of a program's cases that may deviate."""
    return [case for program, case in DEVIATIONS if program == source]
