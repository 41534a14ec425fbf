"""The host calls that nearly every trapped call costs: compiled (_trapcalls.c) where that could be built.

They are the same functions with less around them: ctypes and small buffers cost three times what these host calls
themselves do. Which of the two it is makes no difference but speed; `COMPILED` says it, and with the environment
variable AFUNIX_PURE set it is never the compiled one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from afunix.compiled import choose

__all__ = [
    "COMPILED",
    "ENDED",
    "NO_SOCKETS",
    "OTHERS",
    "OTHER_FILES",
    "TELLING",
    "Notification",
    "answer",
    "inode",
    "receive",
    "turn",
    "vm_read",
    "vm_readv",
    "vm_write",
    "vm_writev",
]

Notification = tuple[int, int, int, tuple[int, ...], Any]
"""id, thread, call number, six arguments; what `turn` found out of the first of them.

The machine is not in it: the filter refuses calls of another one.
"""

OTHERS: Final = 1
"""In what `turn` says: the other descriptor is ready."""
ENDED: Final = 2
"""In what `turn` says: no thread is left that could be trapped."""

OTHER_FILES: Final = 1
"""What `turn` lets pass natively: calls on anything but the sockets given."""
NO_SOCKETS: Final = 2
"""What `turn` lets pass natively: calls on what is no socket at all."""

if TYPE_CHECKING:
    from afunix.supervisor.trapcalls_python import (
        TELLING,
        answer,
        inode,
        receive,
        turn,
        vm_read,
        vm_readv,
        vm_write,
        vm_writev,
    )

    COMPILED: bool
else:
    _calls, COMPILED = choose("afunix.supervisor", "trapcalls")
    globals().update({name: getattr(_calls, name) for name in __all__ if hasattr(_calls, name)})
