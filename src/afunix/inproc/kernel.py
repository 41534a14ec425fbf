"""A private AF_UNIX kernel, with a filesystem and processes of its own, for the threads of this Python process."""

from __future__ import annotations

import operator
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from afunix.abi.errno import SyscallError
from afunix.core.filesystem import Filesystem, Namespace
from afunix.core.kernel import Kernel as CoreKernel
from afunix.core.kernel import Limits
from afunix.core.pathwalk import PATH_MAX
from afunix.core.process import Process as CoreProcess
from afunix.core.process import ProcessTable
from afunix.core.socket import Socket
from afunix.inproc import interrupts
from afunix.inproc.host import os_error
from afunix.inproc.hostnames import HostFilesystem
from afunix.inproc.mirror import MirroredFilesystem
from afunix.inproc.parking import make_way
from afunix.inproc.process import Process

__all__ = ["Kernel", "current", "default_kernel", "running_as"]

PID_MAX: Final = 1 << 22
"""Linux's PID_MAX_LIMIT: so that this Python process can have its own number in it."""
NR_OPEN: Final = 1 << 20

FILESYSTEMS: Final[dict[str, Callable[[], Namespace]]] = {
    "private": MirroredFilesystem,
    "empty": Filesystem,
    "host": HostFilesystem,
}


class Kernel:
    """One AF_UNIX kernel.

    filesystem: where the names of sockets are. "private", a tree in memory that grows in the host's directories, which
    stay as they are; or "empty", a tree without them; both always have /tmp and /run. "host": real inodes on the host's
    own filesystem, see `hostnames`. path_max: bytes of a name at most, its NUL included; the room in Linux's
    sockaddr_un is 108. limits: the sysctl values. seed: makes autobound names repeatable.

    All operations on its sockets are done under `lock`; it is held for as long as an operation takes and never while
    a call waits.
    """

    def __init__(
        self,
        *,
        filesystem: str = "private",
        path_max: int = PATH_MAX,
        limits: Limits | None = None,
        seed: object = None,
    ) -> None:
        if filesystem not in FILESYSTEMS:
            raise ValueError(f"no such kind of filesystem: {filesystem!r}")
        self.path_max = path_max
        self.core = CoreKernel(random.Random() if seed is None else random.Random(repr(seed)), limits)
        # The core's, for who goes by them with each operation.
        self.changed = self.core.changed
        self.wakeups = self.core.wakeups
        self.pending = self.core.wakeups.pending
        self.lock = threading.RLock()
        self.namespace: Namespace = FILESYSTEMS[filesystem]()
        self.table = ProcessTable(self.namespace, time.time, pid_max=PID_MAX)
        # A sleeping thread was woken, and should run now rather than find this one in its way.
        self.roused = False
        # A signal handler waits for the end of the operation.
        self.signalled = False
        self._main: Process | None = None
        self.processes: dict[CoreProcess, Process] = {}
        # Descriptors of objects that were collected as garbage while this thread was in the middle of an operation.
        self.abandoned: deque[Callable[[], None]] = deque()
        if isinstance(self.namespace, Filesystem):
            self._begin(self.namespace)
        interrupts.watch(self)
        _kernels.add(self)

    def _begin(self, tree: Filesystem) -> None:
        root = self.table.spawn(cwd=tree.root, root=tree.root, umask=0)
        for path, mode in ((b"/tmp", 0o1777), (b"/run", 0o755)):
            try:
                tree.directory(root, path)
            except SyscallError:
                tree.mkdir(root, path, mode)
        root.exit()

    def __repr__(self) -> str:
        return f"<afunix.Kernel of {len(self.table)} processes>"

    @property
    def filesystem(self) -> Filesystem:
        """The tree in memory, with the calls on paths. AttributeError: names are on the host's filesystem."""
        if isinstance(self.namespace, Filesystem):
            return self.namespace
        raise AttributeError("the names of this kernel are on the host's filesystem: use os")

    def process(
        self,
        *,
        uid: int = 0,
        gid: int = 0,
        groups: tuple[int, ...] = (),
        capabilities: int | None = None,
        umask: int = 0o022,
        nofile: int = NR_OPEN,
        net: Hashable = None,
        pid: int | None = None,
    ) -> Process:
        """A new process with an empty descriptor table, in the root directory.

        capabilities: a bit mask; unless given all of them for uid 0 and none for others. nofile: RLIMIT_NOFILE.
        net: which network namespace, that is, which abstract names (NAME-12). OSError EAGAIN: no free pid. ValueError:
        this pid is not free.
        """
        uid, gid = operator.index(uid), operator.index(gid)
        root = getattr(self.namespace, "root", None)
        with self.lock:
            if pid is not None and (pid in self.table.processes or not 0 < pid < PID_MAX):
                raise ValueError(f"no free process number: {pid}")
            try:
                core = self.table.spawn(
                    cwd=root,
                    root=root,
                    uid=uid,
                    gid=gid,
                    groups=groups,
                    capabilities=capabilities,
                    umask=umask,
                    nofile=min(nofile, NR_OPEN),
                    net=net,
                    pid=pid,
                )
            except SyscallError as error:
                raise os_error(error) from None
            return Process(self, core)

    @property
    def main(self) -> Process:
        """The process that stands for this Python process: its pid, ids and working directory."""
        main = self._main
        if main is not None and main.core.alive:
            return main
        with self.lock:
            if self._main is None or not self._main.alive:
                uid, gid = (os.getuid(), os.getgid()) if hasattr(os, "getuid") else (0, 0)
                groups = tuple(os.getgroups()) if hasattr(os, "getgroups") else ()
                pid = os.getpid()
                free = 0 < pid < PID_MAX and pid not in self.table.processes
                self._main = self.process(uid=uid, gid=gid, groups=groups, pid=pid if free else None)
                self._main.follows_cwd = True
            return self._main

    def settle(self) -> None:
        """After an operation, under the lock: wake who waits for what it changed."""
        self.changed.clear()
        if self.pending:
            self.wakeups.apply()
        while self.abandoned:
            self.abandoned.popleft()()

    def forget_takers(self) -> None:
        """In a forked child, under the lock: data are queued and not given to reads of threads that are not here."""
        for process in self.table:
            for file in process.descriptors.files.values():
                for sock in (file, getattr(file, "peer", None)):
                    if isinstance(sock, Socket):
                        sock.taker = None

    def leave(self) -> None:
        """After an operation: `settle`, and give the lock back, which was acquired for it."""
        try:
            self.changed.clear()
            if self.pending or self.abandoned:
                self.settle()
        finally:
            self.lock.release()

    def make_way(self) -> None:
        """After an operation that woke a sleeping thread, without the lock: let it run.

        Two threads that take turns are three times faster so: else the woken one finds the interpreter taken, goes to
        sleep again and has to be woken once more.
        """
        self.roused = self.signalled = False
        make_way()


_kernels: weakref.WeakSet[Kernel] = weakref.WeakSet()
_forking: dict[int, list[list[Kernel]]] = {}
"""By thread: the kernels whose locks it took for each fork that it is in, one within another where a handler forks."""


def _before_fork() -> None:
    """A child has the threads of nobody else: no operation of theirs may be half done in its copy of a kernel."""
    held: list[Kernel] = []
    _forking.setdefault(threading.get_ident(), []).append(held)
    for kernel in sorted(_kernels, key=id):  # in the same order whoever does it
        kernel.lock.acquire()
        held.append(kernel)


def _after_fork() -> None:
    thread = threading.get_ident()
    forks = _forking[thread]
    for kernel in reversed(forks.pop()):
        kernel.lock.release()
    if not forks:
        del _forking[thread]


def _after_fork_in_child() -> None:
    for kernel in _forking[threading.get_ident()][-1]:
        kernel.forget_takers()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)

_running: ContextVar[Process | None] = ContextVar("afunix_process", default=None)
_patched: list[Kernel] = []
"""The kernels of all patches in force, of every thread."""
_inner: ContextVar[tuple[Kernel, ...]] = ContextVar("afunix_patches", default=())
"""Those that this thread or task put in force itself."""
_default: Kernel | None = None
_default_lock = threading.Lock()


def default_kernel() -> Kernel:
    """The kernel of `afunix.socket` where no other is in force; made when it is first asked for."""
    global _default
    if _default is None:
        with _default_lock:
            if _default is None:
                _default = Kernel()
    return _default


def current() -> Process:
    """The process whose sockets `socket.socket` makes: of `running_as`, else the main one of the patched kernel.

    That is the kernel of the innermost patch of this thread or task, else of the one that any thread made last.
    """
    process = _running.get()
    if process is not None:
        return process
    for kernel in reversed(_inner.get()):
        if kernel in _patched:
            break
    else:
        kernel = _patched[-1] if _patched else default_kernel()
    main = kernel._main
    return main if main is not None and main.core.alive else kernel.main


@contextmanager
def running_as(process: Process) -> Iterator[Process]:
    """Within it, this thread (or asyncio task) is that process: `afunix.socket` makes its sockets."""
    token = _running.set(process)
    try:
        yield process
    finally:
        _running.reset(token)
