"""AF_UNIX in user space: a Linux-faithful Unix-domain socket kernel, and the ways to stand programs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afunix.inproc.kernel import Kernel
    from afunix.inproc.patching import patch
    from afunix.inproc.process import Process

__all__ = ["Kernel", "Process", "__version__", "patch"]

__version__ = "0.1.0"

_LAZY = {
    "Kernel": "afunix.inproc.kernel",
    "Process": "afunix.inproc.process",
    "patch": "afunix.inproc.patching",
}


def __getattr__(name: str) -> Any:
    """What the in-process front end offers is imported when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_LAZY[name]), name)
