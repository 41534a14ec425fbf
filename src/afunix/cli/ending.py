"""How a command ends that leaves something behind if it is just killed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["tidy_ending"]


@contextmanager
def tidy_ending() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, with all that is to be removed; the exit status is 128+N.

    Ctrl-C itself ends the program as it ends others, by the signal, and without a traceback.
    """
    before = {
        number: signal.signal(number, _leave)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    except KeyboardInterrupt:
        sys.excepthook = lambda *_: None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)
