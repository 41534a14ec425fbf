"""What `os.scandir` gives of a directory of the host in which there are private names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

__all__ = ["Entry", "Scan"]


class Entry:
    """An `os.DirEntry` of a private name."""

    def __init__(self, name: Any, path: Any, number: int) -> None:
        self.name = name
        self.path = path
        self._number = number

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"

    def inode(self) -> int:
        """The inode number."""
        return self._number

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """No."""
        return False

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """No: it is no regular file."""
        return False

    def is_symlink(self) -> bool:
        """No."""
        return False

    def is_junction(self) -> bool:
        """No."""
        return False

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """As os.stat: OSError ENOENT once it is gone."""
        return os.stat(self.path, follow_symlinks=follow_symlinks)


class Scan:
    """What os.scandir gives: the host's entries, then ours."""

    def __init__(self, entries: Any, private: list[Entry]) -> None:
        self._entries = entries
        self._all = self._both(private)

    def _both(self, private: list[Entry]) -> Iterator[Any]:
        yield from self._entries
        yield from private

    def __iter__(self) -> Scan:
        return self

    def __next__(self) -> Any:
        return next(self._all)

    def close(self) -> None:
        """Free it."""
        self._entries.close()
        self._all.close()  # type: ignore[attr-defined]

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
