"""Python's `selectors` module over virtual and host descriptors together: `from afunix import selectors`."""

from __future__ import annotations

import selectors as _standard
from typing import Any as _Any

from afunix.inproc.selectors import DefaultSelector, EpollSelector, PollSelector, SelectSelector

__all__ = ["DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector"]

for _name, _value in vars(_standard).items():
    if not _name.startswith("_") and _name not in globals():
        globals()[_name] = _value

__all__ += [name for name in globals() if not name.startswith("_") and name not in __all__ and name != "annotations"]


def __getattr__(name: str) -> _Any:
    return getattr(_standard, name)
