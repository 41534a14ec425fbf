"""One side of a comparison: the host's own sockets, or ours through the same API."""

from __future__ import annotations

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
