"""A traced thread as the core's `Caller`: its identity, its network namespace, its paths."""

from __future__ import annotations

import os
import resource
import socket as host
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING

from afunix.core.caller import BoundInode
from afunix.core.credentials import Credentials
from afunix.supervisor import paths
from afunix.supervisor.namespaces import Numbers, find_pid

if TYPE_CHECKING:
    from afunix.supervisor.tasks import Task

__all__ = ["HostInode", "TaskCaller"]


class HostInode:
    """A socket inode on the host, pinned by a descriptor so that its number is not given to another file."""

    __slots__ = ("_holders", "_inode", "_path", "_task", "native")

    def __init__(self, task: Task, path: bytes, inode: paths.Inode, native: host.socket | None = None) -> None:
        # The host socket bound to it, where programs outside may connect.
        self.native = native
        self._task = task
        self._path = path
        self._inode = inode
        self._holders = 1

    @property
    def key(self) -> Hashable:
        """Device and inode number."""
        return self._inode.key

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode number."""
        return self._inode.key

    @property
    def fd(self) -> int:
        """The pinning O_PATH descriptor."""
        return self._inode.fd

    def remove(self) -> None:
        """Unlink the name again, if it still is this inode."""
        paths.remove(self._task, self._path, self._inode)

    def share(self) -> HostInode:
        """Hold it once more."""
        self._holders += 1
        return self

    def close(self) -> None:
        """Let go of the inode."""
        self._holders -= 1
        if not self._holders:
            self._inode.close()


class TaskCaller:
    """The `Caller` of one thread."""

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task = task

    @property
    def credentials(self) -> Credentials:
        """The thread's ids, groups and capabilities now."""
        return self.task.credentials()

    @property
    def net(self) -> Hashable:
        """The inode number of the network namespace."""
        return self.task.net_namespace()

    @property
    def nofile(self) -> int:
        """The process's RLIMIT_NOFILE."""
        return self.task.rlimit(resource.RLIMIT_NOFILE)[0]

    def realtime(self) -> float:
        """The time of day."""
        return time.time()

    @property
    def numbers(self) -> Numbers | None:
        """How the thread's namespaces number processes and users; None: as ours do."""
        return self.task.numbers()

    def find_pid(self, number: int) -> int:
        """The process or thread with this number in the thread's pid namespace; 0: none."""
        numbers = self.task.numbers()
        return find_pid(number, None) if numbers is None else numbers.find_pid(number)

    def lookup(self, path: bytes) -> Hashable:
        """The key of the socket inode at a path as the program sees it."""
        inode = paths.lookup(self.task, path)
        try:
            return inode.key
        finally:
            inode.close()

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        """Make a socket inode at a path as the program sees it."""
        if not self.task.bridged:
            return HostInode(self.task, path, paths.create(self.task, path, mode))
        native = host.socket(host.AF_UNIX, kind)
        try:
            os.fchmod(native.fileno(), mode)
            return HostInode(self.task, path, paths.bind_host(self.task, path, native), native)
        except BaseException:
            native.close()
            raise
