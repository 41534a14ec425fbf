"""A supervisor as a process of its own, for tests that kill it: `python supervise_program.py PROGRAM ARGUMENTS...`."""

from __future__ import annotations

import sys

from supervised import Session

if __name__ == "__main__":
    with Session(*sys.argv[1:]) as session:
        sys.exit(session.finish(patience=60))
