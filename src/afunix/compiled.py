"""Which of two modules with the same functions is used: the compiled one, or its twin in Python."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

__all__ = ["choose"]


def choose(package: str, name: str) -> tuple[ModuleType, bool]:
    """`_name` of the package where it could be built and AFUNIX_PURE is not set, else `name_python`.

    And whether it is the compiled one.
    """
    if not os.environ.get("AFUNIX_PURE"):
        try:
            return import_module(f"{package}._{name}"), True
        except ImportError:
            pass
    return import_module(f"{package}.{name}_python"), False
