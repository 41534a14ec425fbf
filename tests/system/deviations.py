"""The cases that may end differently under `afunix run` than natively, each with the decision that says why.

All depend on a race between the program and the supervisor that the program mostly wins or loses as natively; so they
run, and what they find is reported as an expected failure, never left out in silence.
"""

from __future__ import annotations

CLOSE = "docs/decisions/0004-close-is-not-trapped.md"
INTERRUPTED = "docs/decisions/0005-interrupted-calls.md"

LOST = "docs/decisions/0008-answers-that-the-host-drops.md"

HIT = (
    "stream_writer_hit", "stream_writer_hit_restarting", "stream_reader_hit", "stream_reader_hit_restarting",
    "stream_both_hit", "stream_both_hit_restarting", "seqpacket_hit", "seqpacket_hit_restarting",
    "dgram_hit", "dgram_hit_restarting", "rights_receiver_hit", "rights_receiver_hit_restarting",
    "connections_hit_by_signals", "connections_hit_restarting",
)  # fmt: skip

DEVIATIONS = {
    **{("signals.c", case): LOST for case in HIT},
    ("readiness.c", "close_seen_at_once"): CLOSE,
    ("signals.c", "calls_that_do_not_wait"): INTERRUPTED,
    ("signals.c", "files_are_not_interrupted"): INTERRUPTED,
    ("signals.c", "input_signal"): INTERRUPTED,
}


def of(source: str) -> list[str]:
    """The names of a program's cases that may deviate."""
    return [case for program, case in DEVIATIONS if program == source]
