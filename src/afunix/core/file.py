"""What a descriptor can refer to: the interface that passed descriptors go by."""

from __future__ import annotations

from typing import Protocol

__all__ = ["File", "Watcher"]


class Watcher(Protocol):
    """What an epoll has at a file that it watches."""

    def closed(self) -> None:
        """The file is closed: let go of it."""


class File:
    """An open file description, as SCM_RIGHTS passes it: a core socket, pipe or memory file, or a host descriptor.

    Ownership is by count: `acquire` for each descriptor or message that refers to the file, `release` when it no
    longer does. The last release closes the file, exactly once. `watchers` are the epolls' items for it, which are no
    references.
    """

    __slots__ = ("references", "watchers")

    def __init__(self) -> None:
        self.references = 0
        self.watchers: tuple[Watcher, ...] = ()

    def acquire(self) -> None:
        """Count one more reference."""
        self.references += 1

    def release(self) -> None:
        """Drop one reference; the last one closes the file."""
        left = self.references - 1
        assert left >= 0, "released more often than acquired"
        self.references = left
        if not left:
            if self.watchers:
                for watcher in self.watchers:
                    watcher.closed()
            self.close()

    def close(self) -> None:
        """Free what the file holds. Called once, by the last release."""
        raise NotImplementedError
