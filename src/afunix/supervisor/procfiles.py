"""Files of /proc that tell of sockets: what programs read there is what the kernel here would say.

These are /proc/PID/net/unix (also as /proc/net/unix) and /proc/PID/fdinfo/N of a virtual socket. Opening them does not
trap. Their reads do, as those of all files, and the link that is looked at anyway shows which file it is. The answer is
made of the host's own text; the position is that of the open file, so that duplicates, children and lseek see what they
would natively. pread64, preadv and sendfile pass by: they are not trapped, or not for this.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from afunix.abi.constants import MAX_RW_COUNT, O_ACCMODE, O_PATH, O_WRONLY
from afunix.abi.errno import Errno, SyscallError
from afunix.core import listing
from afunix.core.socket import Socket
from afunix.supervisor import hostcalls
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.placeholder import Placeholder
from afunix.supervisor.watch import SOCKET_ROW
from afunix.syscalls.call import address_check
from afunix.syscalls.transfer import iovecs_at

if TYPE_CHECKING:
    from afunix.supervisor.supervisor import Supervisor
    from afunix.supervisor.tasks import Task

__all__ = ["READING", "ProcFiles", "inode_of"]

READING: Final = frozenset({"read", "readv", "preadv2"})
"""The calls that read such a file."""

PROC_SUPER_MAGIC: Final = 0x9FA0
NOWHERE: Final = (1 << 64) - 1
"""The offset -1 of preadv2: the file's own position."""
KEPT: Final = 64
"""So many texts that are being read in pieces are remembered."""

_LIST: Final = re.compile(rb"/([0-9]+)(?:/task/[0-9]+)?/net/unix$")
_FDINFO: Final = re.compile(rb"/fdinfo/[0-9]+$")
_INODE: Final = re.compile(rb"^ino:\t([0-9]+)$", re.MULTILINE)
_SCM_FDS: Final = re.compile(rb"^scm_fds: [0-9]+$", re.MULTILINE)


def inode_of(sock: Socket) -> int:
    """The inode number that a program sees of a virtual socket: its placeholder's."""
    front = sock.front
    return front.inode if isinstance(front, Placeholder) else 0


class ProcFiles:
    """Answers reads. `private`: the list does not show the host's own sockets."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.private = True
        # Texts that somebody has begun to read, by the file's device and inode number and how far it was read.
        self._begun: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()

    def trap(self, name: str) -> Callable[[int, int, tuple[int, ...], object], None]:
        """The trap of one of READING, for a descriptor whose link looks like such a file's."""

        def trap(ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
            listener = self._supervisor.listener
            task = self._supervisor.tasks.get(tid)
            try:
                file = task.take(args[0] & 0xFFFFFFFF)
            except SyscallError:
                listener.proceed(ident)  # another thread closes it
                return
            try:
                make = self._maker(task, file, args[0] & 0xFFFFFFFF)
                if make is None:
                    listener.proceed(ident)
                    return
                call = NotifiedCall(self._supervisor, ident, tid, task, name, args)
                listener.answer(ident, self._read(call, file, make))
            except SyscallError as error:
                listener.fail(ident, error.errno)
            finally:
                os.close(file)

        return trap

    def _maker(self, task: Task, file: int, number: int) -> Callable[[], bytes] | None:
        """What makes the text of an open file; None: it is the host's business after all."""
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        if flags & O_PATH or flags & O_ACCMODE == O_WRONLY or hostcalls.filesystem_type(file) != PROC_SUPER_MAGIC:
            return None
        link = task.link(number)
        found = _LIST.search(link)
        if found is not None:
            net = self._namespace_of(task, int(found[1]))
            return lambda: self._list(file, net)
        if _FDINFO.search(link):
            native = _whole(file)
            inode = _INODE.search(native)
            front = None if inode is None else self._supervisor.watch.by_inode.get(int(inode[1]))
            if front is not None:
                queued = b"scm_fds: %d" % listing.descriptors_queued(front.sock)
                return lambda: _SCM_FDS.sub(queued, native)
        return None

    def _namespace_of(self, task: Task, number: int) -> int:
        """The network namespace of the process whose directory in /proc it is, or was; its own if that can't be told.

        The number is one in the reader's pid namespace.
        """
        try:
            return os.stat(f"/proc/{task.caller.find_pid(number)}/ns/net").st_ino
        except OSError:
            return task.net_namespace()

    def _read(self, call: NotifiedCall, file: int, make: Callable[[], bytes]) -> int:
        """The bytes from the file's position on, into the program's memory; how many. EFAULT, EINVAL."""
        args = call.args
        if call.name == "read":
            size = min(args[2], MAX_RW_COUNT)
            address_check(args[1], size)
            iovecs = [(args[1], size)]
        else:
            iovecs, size = iovecs_at(call, args[1], args[2] & 0xFFFFFFFF)
        moves = call.name != "preadv2" or args[3] == NOWHERE
        offset = os.lseek(file, 0, os.SEEK_CUR) if moves else args[3]
        if offset >> 63:
            raise SyscallError(Errno.EINVAL)
        if not size:
            return 0
        status = os.fstat(file)
        where = status.st_dev, status.st_ino
        text = (self._begun.get((*where, offset)) if offset else None) or make()
        data = text[offset : offset + size]
        call.memory.write_vec(iovecs, data)
        if moves and data:
            self._begun.pop((*where, offset), None)
            self._begun[*where, offset + len(data)] = text
            if len(self._begun) > KEPT:
                self._begun.popitem(last=False)
            os.lseek(file, offset + len(data), os.SEEK_SET)
        return len(data)

    def _list(self, file: int, net: int) -> bytes:
        """/proc/net/unix: the virtual sockets of a network namespace, and what of the host's is none of ours."""
        self._supervisor.sweep()
        kernel = self._supervisor.kernel
        text = listing.proc_net_unix(filter(is_inside, listing.sockets_in(kernel, net)), inode_of)
        if self.private:
            return text
        by_inode = self._supervisor.watch.by_inode
        own = own_sockets()
        others = [row for inode, row in _rows(_whole(file)) if inode not in by_inode and inode not in own]
        return text + b"".join(reversed(others))


def is_inside(sock: Socket) -> bool:
    """Whether it is a program's socket, or a connection that will be; not one that the bridge has for itself."""
    return isinstance(sock.front, Placeholder) or not (sock.grafted or sock.front is not None)


def own_sockets() -> set[int]:
    """The inode numbers of the supervisor's own sockets."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            link = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the directory's own
        if link.startswith("socket:["):
            found.add(int(link[8:-1]))
    return found


def _whole(file: int) -> bytes:
    """A file's text from its beginning, without moving its position."""
    parts = []
    at = 0
    while part := os.pread(file, 1 << 16, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _rows(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Inode number and whole row of each socket, the last first. A row has the line breaks that are in its name."""
    end = len(text)
    for row in reversed(list(SOCKET_ROW.finditer(text))):
        yield int(row[1]), text[row.start() : end]
        end = row.start()
