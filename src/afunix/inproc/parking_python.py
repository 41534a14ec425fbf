"""The functions of `parking` with what the standard library has."""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["Parker", "make_way"]

make_way: Final[Callable[[], None]] = getattr(os, "sched_yield", lambda: time.sleep(0))
"""Let other threads have the interpreter and the processor: those first that were just woken."""


class Parker:
    """A place where one thread sleeps until another gives it a token; a token given earlier lets it go on at once."""

    __slots__ = ("_busy", "_lock")

    def __init__(self) -> None:
        self._busy = False
        self._lock = _thread.allocate_lock()
        self._lock.acquire()

    def park(self, timeout: float | None = None, /) -> bool:
        """Take the token, waiting for it for so many seconds: whether there was one. Signal handlers run meanwhile.

        RuntimeError: another thread is parked here, or a handler parks where its own thread is.
        """
        if self._lock.acquire(False):
            return True
        if timeout is not None and not timeout > 0:
            return False
        if self._busy:
            raise RuntimeError("another thread is parked here")
        self._busy = True
        try:
            return self._sleep(timeout)
        finally:
            self._busy = False

    def _sleep(self, timeout: float | None) -> bool:
        if timeout is None or timeout > threading.TIMEOUT_MAX:
            # Whoever is about to wake it does it meanwhile: letting that run is cheaper than to sleep and be woken.
            make_way()
            return self._lock.acquire()
        return self._lock.acquire(timeout=timeout)

    def unpark(self) -> bool:
        """Give it the token; False if it has one."""
        try:
            self._lock.release()
        except RuntimeError:
            return False
        return True
