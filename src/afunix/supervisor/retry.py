"""Trying again soon: for what the host has no event for."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from afunix.supervisor import hostcalls

if TYPE_CHECKING:
    from afunix.supervisor.watch import Watch

__all__ = ["Retry"]

INTERVAL: Final = 0.005
"""Seconds. A connect waits so much longer than natively while a listener outside is full."""


class Retry:
    """Callbacks that run once, a moment later."""

    def __init__(self, watch: Watch) -> None:
        self._fd = hostcalls.timerfd_create()
        self._callbacks: dict[Callable[[], None], None] = {}
        watch.register(self._fd, select.EPOLLIN, lambda _: self._expired())

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back after the interval; asking again before that changes nothing."""
        if not self._callbacks:
            hostcalls.timerfd_settime(self._fd, INTERVAL)
        self._callbacks[callback] = None

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks:
            callback()
