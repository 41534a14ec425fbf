"""Which of two modules with the same functions is used: the compiled one, or its twin in Python."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

__all__ = ["choose"]


def choose(compiled: str, twin: str) -> tuple[ModuleType, bool]:
    """The compiled one where it could be built and AFUNIX_PURE is not set; and whether it is that."""
    if not os.environ.get("AFUNIX_PURE"):
        try:
            return import_module(f"afunix.supervisor.{compiled}"), True
        except ImportError:
            pass
    return import_module(f"afunix.supervisor.{twin}"), False
