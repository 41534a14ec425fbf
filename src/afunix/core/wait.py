"""Wait queues: where a call that would block says what it waits for, and who is told when that happens.

The core never waits. A nowait operation that can't finish returns `WouldBlock`, which names the queues; a front
end registers a waiter there. Operations that change state mark the queues they touched with `wake`, and the
driver that ran the operation applies them after it (`Wakeups.apply`), so that no waiter sees half a change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, final

__all__ = ["Taker", "WaitQueue", "Wakeups", "WouldBlock"]

Waiter = Callable[[], object]


class Taker(Protocol):
    """A waiter that stands for a read of up to `size` bytes: who has them may set `data` and call it.

    It is out of the wait queue then, and the read is done.
    """

    size: int
    data: bytes | None

    def __call__(self) -> object:
        """Go on."""


class WaitQueue(dict[Waiter, bool | None]):
    """Waiters in the order in which they came, and whether each is exclusive (`wait_queue_head` in Linux).

    One queue equals no other, whoever waits in it.
    """

    __slots__ = ()

    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]

    def add(self, waiter: Waiter, exclusive: bool = False) -> None:
        """Put a waiter at the end; one that is there already keeps its place.

        Of the exclusive waiters only the first that takes the wake-up, which is to return something true, is called.
        """
        self.setdefault(waiter, exclusive)

    def discard(self, waiter: Waiter) -> None:
        """Take a waiter out, whether or not it is there."""
        self.pop(waiter, None)


class Wakeups:
    """The wake-ups that operations caused and that the driver has not applied yet."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: dict[WaitQueue, None] = {}

    def wake(self, queue: WaitQueue | None) -> None:
        """Note that something changed which waiters of this queue may be waiting for; free where nobody waits."""
        if queue:
            self.pending[queue] = None

    def apply(self) -> None:
        """Call each waiter of the noted queues once, until nothing is left to tell.

        Queues and waiters are served in the order in which they came.
        """
        pending = self.pending
        while pending:
            queue = next(iter(pending))
            del pending[queue]
            if len(queue) == 1:
                (only,) = queue
                only()
                continue
            taken = False
            for waiter, exclusive in list(queue.items()):
                if waiter in queue and not (exclusive and taken) and waiter() and exclusive:
                    taken = True


@final
class WouldBlock:
    """What a nowait operation answers when it can't finish now: try again once one of these queues is woken.

    Yielded by a body of core.blocking it means: resume me then, or at the deadline (None: never).

    With a `size` it is the wait of a read that has nothing to do but to wait for up to so many bytes. Who knows of
    `Taker` may enter one, and send the bytes that it is given into the body.
    """

    __slots__ = ("deadline", "queues", "size")

    def __init__(self, queues: tuple[WaitQueue, ...], deadline: float | None = None, size: int = 0) -> None:
        self.queues = queues
        self.deadline = deadline
        self.size = size

    def until(self, deadline: float | None) -> WouldBlock:
        """The same with a deadline, if there is one."""
        return self if deadline is None else WouldBlock(self.queues, deadline)
