"""One side of a comparison: the host's own sockets, or ours through the same API."""

from __future__ import annotations

import os
from pathlib import Path
from socket import socket as Socket
from types import ModuleType, SimpleNamespace
from typing import Any


class Side(SimpleNamespace):
    """socket, select: the modules. directory: for names, which need not be there on our side."""

    socket: ModuleType
    select: ModuleType
    directory: Path

    def pair(self, *arguments: Any) -> tuple[Socket, Socket]:
        one, two = self.socket.socketpair(*arguments)
        return one, two


def me() -> tuple[int, int, int]:
    """What credentials say of this process; the ids are 0 where the host has none."""
    ids = (os.getuid(), os.getgid()) if hasattr(os, "getuid") else (0, 0)
    return os.getpid(), *ids
