"""A call that waits: the thread's notification stays unanswered until the body of the call has come to an end."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer

if TYPE_CHECKING:
    from afunix.supervisor.call import NotifiedCall
    from afunix.supervisor.supervisor import Supervisor

__all__ = ["Parked"]


class Parked:
    """A call that waits: its body, the queues it is in, and its deadline. It may be a core `Taker`."""

    __slots__ = (
        "body", "call", "data", "deadline", "done", "due", "queues", "since", "size", "sock", "supervisor", "tid",
    )  # fmt: skip

    def __init__(self, supervisor: Supervisor, call: NotifiedCall, body: Generator[WouldBlock, Any, Answer]) -> None:
        self.supervisor = supervisor
        self.call = call
        self.tid = call.tid
        self.body = body
        self.sock: Socket | None = getattr(call, "sock", None)
        self.queues: WouldBlock | None = None
        self.deadline: float | None = None
        self.done = False
        # As a taker: how much it takes, and what it was given.
        self.size = 0
        self.data: bytes | None = None
        # When it began to wait, and when to look for signals of its thread (Signals).
        self.since = self.due = 0.0

    def __call__(self) -> None:
        """A queue was woken: try again. The call itself is the waiter, so that there is no cycle to collect.

        With data, the sender's call is still under way: this one goes on after it.
        """
        if self.data is None:
            self.go_on()
        else:
            self.supervisor.handed.append(self)

    def go_on(self) -> None:
        """Take the data, or try again."""
        self.supervisor.resume(self)

    def wait(self, wait: WouldBlock) -> None:
        """Enter the queues of a new wait."""
        self.queues = wait
        for queue in wait.queues:
            queue[self] = None
        if wait.size and self.sock is not None:
            self.size = wait.size
            self.sock.taker = self

    def leave(self) -> None:
        """Leave the queues."""
        if self.queues is not None:
            for queue in self.queues.queues:
                queue.discard(self)
            self.queues = None
            if self.size:
                self.size = 0
                if self.sock is not None and self.sock.taker is self:
                    self.sock.taker = None
