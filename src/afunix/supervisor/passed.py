"""Files that programs pass to each other: any host descriptor, on its way from one program to the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from afunix.core.file import File

if TYPE_CHECKING:
    from afunix.supervisor.placeholder import Placeholder

__all__ = ["HostFile"]


class HostFile(File):
    """A host descriptor in flight.

    `held` is the supervisor's copy, or -1 while the file is parked in the receiving placeholder's queue; then the
    host's kernel closes it with the queue.
    """

    __slots__ = ("held", "parked")

    def __init__(self, held: int) -> None:
        super().__init__()
        self.references = 1
        self.held = held
        self.parked: Placeholder | None = None

    def fetch(self) -> int:
        """The supervisor's copy, taken out of the queue that it is parked in if need be."""
        if self.held < 0 and self.parked is not None:
            self.parked.sync()
            if self.held < 0:
                self.parked.unpark_all()
        return self.held

    def close(self) -> None:
        """The last reference is gone."""
        self.parked = None
        if self.held >= 0:
            os.close(self.held)
            self.held = -1
