"""What of /proc tells of sockets, for processes of the bare core."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from afunix.abi.constants import O_NONBLOCK, O_RDONLY, O_RDWR
from afunix.abi.errno import Errno, SyscallError
from afunix.core import listing
from afunix.core.errors import Unmodelled
from afunix.core.inode import RegularFile
from afunix.core.memfile import MemoryFile
from afunix.core.process import Process
from afunix.core.socket import Socket

if TYPE_CHECKING:
    from afunix.conformance.core_machine import CoreTask

__all__ = ["ROOT", "ProcFile", "open", "socket_inode"]

ROOT: Final = b"/proc/"

_OF_A_PROCESS: Final = re.compile(rb"(?:self|thread-self|(\d+))/(?:net/(unix)|(fd|fdinfo)/(\d+))")


class ProcFile(MemoryFile):
    """A file whose text is made when it is read from its beginning (`struct seq_file`)."""

    def __init__(self, show: Callable[[], bytes]) -> None:
        super().__init__(RegularFile(0, 0o444, 0, 0), O_RDONLY)
        self._show = show

    def pread(self, size: int, offset: int) -> bytes:
        """See `MemoryFile`."""
        if not offset:
            self.inode.data[:] = self._show()
        return super().pread(size, offset)


def socket_inode(sock: Socket) -> int:
    """The inode number of a socket, which is no file of the in-memory filesystem."""
    return 1 << 20 | sock.number


def open(task: CoreTask, path: bytes) -> ProcFile:
    """Open a file below ROOT to read. ENOENT; ENXIO: a descriptor of a socket."""
    rest = path.removeprefix(ROOT)
    if rest == b"sys/net/unix/max_dgram_qlen":
        return ProcFile(lambda: b"%d\n" % task.machine.kernel.limits.max_dgram_qlen)
    if rest == b"net/unix":
        rest = b"self/net/unix"
    found = _OF_A_PROCESS.fullmatch(rest)
    if found is None:
        raise SyscallError(Errno.ENOENT)
    pid, net, directory, number = found.groups()
    process = task.process if pid is None else _find(task, int(pid))
    if net:
        return ProcFile(lambda: _listing(task, process))
    file = process.descriptors.files.get(int(number))
    if file is None:
        raise SyscallError(Errno.ENOENT)
    if not isinstance(file, Socket):
        raise Unmodelled(f"{path.decode()} of what is no socket")
    if directory == b"fd":
        raise SyscallError(Errno.ENXIO)
    return ProcFile(lambda: _fdinfo(file))


def _find(task: CoreTask, pid: int) -> Process:
    for other in task.machine.tasks:
        if other.pid == pid and other.process.alive:
            return other.process
    raise SyscallError(Errno.ENOENT)


def _listing(task: CoreTask, process: Process) -> bytes:
    return listing.proc_net_unix(listing.sockets_in(task.machine.kernel, process.net), socket_inode)


def _fdinfo(sock: Socket) -> bytes:
    """seq_show in fs/proc/fd.c, then unix_show_fdinfo."""
    flags = O_RDWR | (O_NONBLOCK if sock.nonblock else 0)
    queued = listing.descriptors_queued(sock)
    return b"pos:\t0\nflags:\t0%o\nmnt_id:\t1\nino:\t%d\nscm_fds: %d\n" % (flags, socket_inode(sock), queued)
