"""What calls leave behind whose answer did not reach the program, until the program makes them again.

A signal takes a thread out of its call without our knowledge. The host then tells it EINTR, or makes the call again
(SA_RESTART); either way what could not be taken back must not be lost or done twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from afunix.supervisor.hostcalls import Gone, Inaccessible

if TYPE_CHECKING:
    from afunix.supervisor.call import NotifiedCall
    from afunix.supervisor.tasks import Task

__all__ = ["AT_ONCE", "Leftovers"]

AT_ONCE = 0
"""Remembered in place of a value: the call made again takes what is there, and does not wait for more."""

MOST = 1024


class Leftovers:
    """Values that calls made again are answered with, and descriptors that programs got but were not told of."""

    __slots__ = ("_descriptors", "_values")

    def __init__(self) -> None:
        self._values: dict[int, tuple[object, str, tuple[int, ...], int]] = {}
        self._descriptors: dict[int, list[tuple[int, tuple[int, int] | None]]] = {}

    def remember(self, call: NotifiedCall, value: int) -> None:
        """What the call is answered with when its thread makes it again: a value, -errno, or AT_ONCE."""
        if len(self._values) >= MOST:
            self._values.clear()
        self._values[call.tid] = (call.sock, call.name, call.args, value)

    def recall(self, call: NotifiedCall) -> int | None:
        """What this call, if it is one made again, is to be answered with. It is forgotten with that."""
        if not self._values:
            return None
        left = self._values.pop(call.tid, None)
        if left is None or left[:3] != (call.sock, call.name, call.args):
            return None
        return left[3]

    def orphan(self, call: NotifiedCall) -> None:
        """The descriptors that the call has installed are the next ones to be used in its process."""
        with contextlib.suppress(Gone, Inaccessible):
            for number in call.installed:
                self._descriptors.setdefault(call.task.tgid, []).append((number, call.task.identity(number)))

    def reusable(self, task: Task) -> int | None:
        """A descriptor number that an unanswered call left in the program, if there is one."""
        if not self._descriptors:
            return None
        left = self._descriptors.get(task.tgid)
        while left:
            number, identity = left.pop(0)
            if identity is not None and task.identity(number) == identity:
                return number
        self._descriptors.pop(task.tgid, None)
        return None
