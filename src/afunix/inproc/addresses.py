"""Unix addresses between Python's form (str, bytes) and the core's (bytes)."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from afunix.abi.constants import UNIX_PATH_MAX

__all__ = ["from_python", "to_python"]

_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
"""What os.fsencode uses."""


def from_python(address: Any, path_max: int) -> bytes | None:
    """The address that Python's socket module would pass; None asks bind for a name, as "" does.

    TypeError; OSError "AF_UNIX path too long": a path from path_max bytes on, an abstract name of more than 108.
    """
    raw = address.encode(_ENCODING, _ERRORS) if isinstance(address, str) else bytes(memoryview(address))
    if not raw:
        return None
    if raw[0]:
        if len(raw) >= path_max:
            raise OSError("AF_UNIX path too long")
        return raw.partition(b"\0")[0] if 0 in raw else raw
    if len(raw) > UNIX_PATH_MAX:
        raise OSError("AF_UNIX path too long")
    return raw


def to_python(address: bytes) -> str | bytes:
    """A path as str, an abstract name as bytes, '' for none."""
    if not address:
        return ""
    return address if not address[0] else os.fsdecode(address)
