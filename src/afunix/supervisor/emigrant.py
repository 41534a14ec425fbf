"""Virtual sockets that a program outside holds, because it was passed a descriptor of one."""

from __future__ import annotations

import socket as host
from typing import TYPE_CHECKING

from afunix.abi.errno import Errno
from afunix.supervisor import native as hostside
from afunix.supervisor.link import Link

if TYPE_CHECKING:
    from afunix.supervisor.link import Side
    from afunix.supervisor.placeholder import Placeholder

__all__ = ["Emigrant"]


class Emigrant(Link):
    """Joins a virtual socket to a host socket, whose other end is the virtual socket for a program outside.

    Programs inside may still hold it: then it has its placeholder as well, and whoever reads first gets what comes.
    It is closed when both are gone.
    """

    def __init__(self, bridge: Side, placeholder: Placeholder, native: host.socket) -> None:
        self._placeholder: Placeholder | None = placeholder
        sock = placeholder.sock
        super().__init__(bridge, sock, native, hostside.peer_of(native, sock.net))

    def sync(self) -> None:
        """The socket changed: show it, on both sides."""
        super().sync()
        if self._placeholder is not None and not self.far.dead:
            self._placeholder.sync()

    def left(self) -> None:
        """No program inside has it any more."""
        if self._placeholder is not None:
            self._placeholder.dispose()
            self._placeholder = None
        self._ready()

    def _cannot_send(self, error: OSError) -> None:
        if self._placeholder is not None and error.errno != Errno.EMSGSIZE and hostside.hung_up(self.native):
            self._write_open = False  # what is queued is for those who have it inside
        else:
            super()._cannot_send(error)

    def _over(self) -> None:
        if self._placeholder is None:
            super()._over()
            return
        # Outside it is over. The programs that have it inside go on with it.
        self._read_open = self._write_open = False
        self.far.front = self._placeholder
        self.far.kernel.changed[self.far] = None
        super().dispose()

    def _finish_if_over(self) -> None:
        if self.native.fileno() >= 0:
            super()._finish_if_over()

    def dispose(self) -> None:
        """The socket is gone."""
        super().dispose()
        if self._placeholder is not None:
            self._placeholder.dispose()
