"""Files that programs pass to each other: any host descriptor, on its way from one program to the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from afunix.core.file import File

if TYPE_CHECKING:
    from afunix.supervisor.placeholder import Placeholder

__all__ = ["HostFile", "bring_back"]


def bring_back(item: HostFile | Placeholder) -> None:
    """Have the supervisor hold its copy of what is parked in a placeholder's queue, if it is."""
    if item.held < 0 and item.parked is not None:
        item.parked.sync()
        if item.held < 0 and item.parked is not None:
            item.parked.unpark_all()


class HostFile(File):
    """A host descriptor in flight.

    `held` is the supervisor's copy, or -1 while the file is parked in the receiving placeholder's queue; then the
    host's kernel closes it with the queue.
    """

    __slots__ = ("held", "parked", "path_only", "subject")

    def __init__(self, held: int, subject: Placeholder | None = None, path_only: bool = False) -> None:
        super().__init__()
        self.subject = subject
        """The placeholder that it is a descriptor of, if it is one."""
        if subject is not None:
            subject.in_flight[self] = None
        self.references = 1
        self.held = held
        self.parked: Placeholder | None = None
        self.path_only = path_only
        """Whether it was opened with O_PATH: only the program itself can take it then (see borrowed)."""

    def fetch(self) -> int:
        """The supervisor's copy, taken out of the queue that it is parked in if need be."""
        bring_back(self)
        return self.held

    def close(self) -> None:
        """The last reference is gone."""
        self.parked = None
        if self.subject is not None:
            self.subject.in_flight.pop(self, None)
        if self.held >= 0:
            os.close(self.held)
            self.held = -1
