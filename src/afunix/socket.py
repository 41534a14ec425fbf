"""Python's `socket` module with AF_UNIX on our kernel: `from afunix import socket`. Other families are the host's.

AF_UNIX has all that Linux has, wherever this runs; constants that the host lacks have Linux's values here.
"""

from __future__ import annotations

import socket as _standard
from typing import Any as _Any

from afunix.abi.message import cmsg_len, cmsg_space
from afunix.inproc.host import LACKING as _LACKING
from afunix.inproc.socket import fromfd, recv_fds, send_fds, socket, socketpair

__all__ = ["CMSG_LEN", "CMSG_SPACE", "fromfd", "recv_fds", "send_fds", "socket", "socketpair"]

SocketType = socket
CMSG_LEN = cmsg_len
CMSG_SPACE = cmsg_space

for _name, _value in vars(_standard).items():
    if not _name.startswith("_") and _name not in globals():
        globals()[_name] = _value

globals().update(_LACKING)

__all__ += [name for name in globals() if not name.startswith("_") and name not in __all__ and name != "annotations"]


def __getattr__(name: str) -> _Any:
    return getattr(_standard, name)
