"""One side of a comparison: the host's own sockets, or ours through the same API."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
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


def each_byte_is_read_once(one: Socket, two: Socket, readers: int, count: int, end: Callable[[], object]) -> None:
    """So many threads read from `two` what `one` sends byte by byte, until `end` is called."""
    got: list[bytes] = []

    def read() -> None:
        while data := two.recv(1):
            got.append(data)

    threads = [threading.Thread(target=read) for _ in range(readers)]
    for thread in threads:
        thread.start()
    data = os.urandom(count)
    for byte in data:
        one.send(bytes([byte]))
    end()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert sorted(got) == sorted(bytes([byte]) for byte in data)
