"""One trapped system call, as the handlers in afunix.syscalls see it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from afunix.abi.errno import Errno, SyscallError
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.socket import Socket
from afunix.supervisor import hostcalls
from afunix.supervisor.borrowed import Borrowed, Traced
from afunix.supervisor.caller import HostInode
from afunix.supervisor.hostcalls import Gone
from afunix.supervisor.native import may_leave
from afunix.supervisor.passed import HostFile
from afunix.supervisor.placeholder import Placeholder

if TYPE_CHECKING:
    from afunix.core.kernel import Kernel
    from afunix.supervisor.caller import TaskCaller
    from afunix.supervisor.memory import Memory
    from afunix.supervisor.supervisor import Supervisor
    from afunix.supervisor.tasks import Task

__all__ = ["NotifiedCall"]


class NotifiedCall:
    """A call whose thread waits for our answer to the notification `id`."""

    __slots__ = ("args", "caller", "entry", "id", "kernel", "memory", "name", "sock", "supervisor", "task", "tid")

    sock: Socket
    entry: tuple[int, ...]
    """With a trace: the arguments that results overwrite, as they were before."""

    def __init__(
        self, supervisor: Supervisor, notification: int, tid: int, task: Task, name: str, args: tuple[int, ...]
    ) -> None:
        self.supervisor = supervisor
        self.id = notification
        self.tid = tid
        self.task = task
        self.name = name
        self.args = args
        self.kernel: Kernel = supervisor.kernel
        self.memory: Memory = task.memory
        self.caller: TaskCaller = task.caller

    now = staticmethod(time.monotonic)

    @property
    def mode(self) -> int:
        """The mode of the placeholder, which fchmod changes natively."""
        fd = self.task.take(self.args[0] & 0xFFFFFFFF)
        try:
            return os.fstat(fd).st_mode & 0o7777
        finally:
            os.close(fd)

    def files(self, descriptors: Sequence[int]) -> list[File]:
        """Copies of the caller's descriptors, on their way to somebody else. EBADF.

        Unmodelled: for a program outside, a virtual socket that isn't connected, or is there already.
        """
        files: list[File] = []
        peer = self.sock.peer
        outside = peer is not None and peer.front is not None and not isinstance(peer.front, Placeholder)
        try:
            for number in descriptors:
                if number < 0:
                    raise SyscallError(Errno.EBADF)
                held = self.supervisor.hold(self.task, number)
                files.append(held)
                if outside and held.subject is not None and not may_leave(held.subject.sock):
                    raise Unmodelled("a virtual socket that isn't connected passed to a program outside")
        except BaseException:
            for file in files:
                file.release()
            raise
        return files

    def ensure_room(self, number: int) -> None:
        """EMFILE unless so many more descriptors fit into the caller's table."""
        limit = min(self.caller.nofile, 1 << 31)
        if all(self.task.is_free(limit - 1 - at) for at in range(number)):
            return
        if limit - self.task.open_below(limit) < number:
            raise SyscallError(Errno.EMFILE)

    def install(self, file: File, cloexec: bool) -> int:
        """Give the caller a descriptor of a passed file, or of a new socket. EMFILE."""
        if isinstance(file, Socket):
            front = self.supervisor.placeholder(file)
            number = self._install(front.held, cloexec)
            front.holder = (self.task, number)
            front.installed()
            return number
        if not isinstance(file, HostFile):
            raise TypeError(f"{type(file).__name__} can't be given to a host process")
        fd = file.fetch()
        if file.path_only:
            return self._borrowed().install(fd, cloexec)
        return self._install(fd, cloexec)

    def _install(self, fd: int, cloexec: bool) -> int:
        if fd < 0:
            raise Gone  # parked in the queue of a placeholder whose last descriptor went away in this moment
        listener = self.supervisor.listener
        if listener.stand_ins and self.id in listener.stand_ins:
            return self._borrowed().install(fd, cloexec)
        return listener.install(self.id, fd, cloexec)

    def _borrowed(self) -> Borrowed:
        """The thread as one that takes any descriptor (see `borrowed`). EMFILE.

        Unmodelled: a debugger has it.
        """
        listener = self.supervisor.listener
        stand_in = listener.stand_ins.get(self.id)
        if stand_in is None:
            self.ensure_room(1)
            try:
                return Borrowed(listener, self.id, self.tid, self.memory)
            except Traced:
                raise Unmodelled("an O_PATH descriptor for a thread that a debugger has") from None
        assert isinstance(stand_in, Borrowed)
        return stand_in

    def install_pidfd(self, pid: int) -> int:
        """Give the caller a pidfd."""
        fd = hostcalls.pidfd_open(pid)
        try:
            return self._install(fd, True)
        finally:
            os.close(fd)

    def install_inode(self, sock: Socket) -> int:
        """Give the caller an O_PATH descriptor of the inode that a socket is bound to. EMFILE."""
        assert isinstance(sock.inode, HostInode)
        return self._borrowed().install(sock.inode.fd, True)

    def touch(self, front: Placeholder, number: int) -> None:
        """This call's thread holds the placeholder under this number."""
        front.holder = (self.task, number)
        if front.user != self.task.tgid:
            front.used_by(self.task.tgid)
        self.sock = front.sock
