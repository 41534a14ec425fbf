"""Python's `select` module over virtual and host descriptors together: `from afunix import select`."""

from __future__ import annotations

import select as _standard
from typing import Any as _Any

from afunix.abi import constants as _constants
from afunix.inproc.epoll import epoll
from afunix.inproc.select import poll, select

__all__ = ["epoll", "poll", "select"]

for _name, _value in vars(_standard).items():
    if not _name.startswith("_") and _name not in globals():
        globals()[_name] = _value

for _name, _value in vars(_constants).items():
    if _name.startswith(("EPOLL", "POLL")) and not hasattr(_standard, _name):
        globals()[_name] = _value

__all__ += [name for name in globals() if not name.startswith("_") and name not in __all__ and name != "annotations"]


def __getattr__(name: str) -> _Any:
    return getattr(_standard, name)
