"""The host calls that placeholders and path names cost: compiled (_endcalls.c) where that could be built.

As with trapcalls, which of the two it is makes no difference but speed, and AFUNIX_PURE has it never the compiled one.
Here an object of the socket module and a call from Python for each host call would cost several times what they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afunix.compiled import choose

__all__ = ["COMPILED", "drain", "fetch", "fill", "find", "join", "loose", "pair", "push", "take"]

if TYPE_CHECKING:
    from afunix.supervisor.endcalls_python import drain, fetch, fill, find, join, loose, pair, push, take

    COMPILED: bool
else:
    _calls, COMPILED = choose("afunix.supervisor", "endcalls")
    globals().update({name: getattr(_calls, name) for name in __all__ if hasattr(_calls, name)})
