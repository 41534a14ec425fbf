"""Trace lines of the calls that were run on our kernel, in strace's form."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from afunix.core.socket import Socket
from afunix.observe.strace import TraceWriter, entry_values, format_call
from afunix.supervisor.placeholder import Placeholder

if TYPE_CHECKING:
    from afunix.supervisor.call import NotifiedCall

__all__ = ["Tracing"]

SENDING = frozenset({"write", "writev", "pwritev2", "sendto", "sendmsg", "sendmmsg", "sendfile", "splice", "connect"})


class Tracing:
    """Writes a line for each call, after its results are in memory and before the program goes on."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer

    def enter(self, call: NotifiedCall) -> None:
        """A call begins: what its results will overwrite is kept."""
        call.entry = entry_values(call.name, call.args, call.memory)

    def call(self, call: NotifiedCall, value: int) -> None:
        """A call is about to be answered with a value, or with -errno."""
        self._write(call, value)

    def interrupted(self, call: NotifiedCall) -> None:
        """A call got no answer: a signal ended it."""
        self._write(call, None)

    def _write(self, call: NotifiedCall, value: int | None) -> None:
        task = call.task
        note = ""
        if call.name in SENDING and value is not None and value >= 0:
            note = _reader(getattr(call, "sock", None))
        line = format_call(
            call.name,
            call.args,
            value,
            call.memory,
            lambda fd: _describe(task.tid, fd),
            note=note,
            limit=32,
            entry=call.entry,
        )
        self._writer.call(task.name, task.tgid, line)


def _reader(sock: Socket | None) -> str:
    """Who will read what this socket sends: descriptor, program and process, as far as the supervisor knows."""
    if sock is None or sock.peer is None:
        return ""
    front = sock.peer.front
    if not isinstance(front, Placeholder) or front.holder is None:
        return ""
    task, number = front.holder
    return f"→ {number} {task.name}[{task.tgid}]"


def _describe(tid: int, fd: int) -> str | None:
    try:
        return os.readlink(f"/proc/{tid}/fd/{fd}")
    except OSError:
        return None
