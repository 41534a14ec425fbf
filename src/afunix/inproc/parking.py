"""How one thread hands the interpreter over to another: compiled (_parking.c) where that could be built.

Two threads that take turns cost little but the way in which their turns change. A lock of the interpreter's wakes the
other thread while this one still has the interpreter, so that it finds it taken, sleeps again and has to be woken once
more; and each time it is a sleeping processor that wakes. The compiled ones let a thread that waits look out for its
turn for some microseconds before it sleeps, and have it come back when the other is out of the interpreter.

Which of the two it is makes no difference but speed; `COMPILED` says it, and with the environment variable AFUNIX_PURE
set it is never the compiled one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from afunix.compiled import choose

__all__ = ["COMPILED", "Parker", "make_way"]

if TYPE_CHECKING:
    from afunix.inproc.parking_python import Parker, make_way

    COMPILED: bool
else:
    _calls, COMPILED = choose("afunix.inproc", "parking")
    Parker = _calls.Parker
    make_way = _calls.make_way
