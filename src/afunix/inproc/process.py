"""Simulated processes: each with credentials and a descriptor table, and the sockets that are made in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from afunix.abi.constants import SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.process import SIGKILL
from afunix.inproc import host, numbers
from afunix.inproc.host import os_error
from afunix.inproc.hostnames import HostFilesystem
from afunix.inproc.mirror import MirroredFilesystem

if TYPE_CHECKING:
    from types import TracebackType

    from afunix.core.credentials import Credentials
    from afunix.core.file import File
    from afunix.core.process import Process as CoreProcess
    from afunix.inproc.calls import Calls
    from afunix.inproc.kernel import Kernel
    from afunix.inproc.socket import socket as Socket  # noqa: N812 - a method has its name

__all__ = ["Process"]

T = TypeVar("T")

SLASH: Final = 0x2F


class Process:
    """One process of a `Kernel`. As a context manager it exits at the end, and so closes all that it has open.

    core: the core's own record of it, with the calls that change identity, umask, limits. base: the virtual number of
    descriptor 0.
    """

    def __init__(self, kernel: Kernel, core: CoreProcess) -> None:
        self.kernel = kernel
        self.core = core
        self.follows_cwd = False
        self.base = numbers.place(self)
        kernel.processes[core] = self

    def __repr__(self) -> str:
        return f"<afunix.Process {self.pid} uid={self.uid}{'' if self.alive else ' exited'}>"

    @property
    def pid(self) -> int:
        """Its number, which SCM_CREDENTIALS and SO_PEERCRED show."""
        return self.core.pid

    @property
    def uid(self) -> int:
        """The real user id."""
        return self.core.credentials.uid

    @property
    def gid(self) -> int:
        """The real group id."""
        return self.core.credentials.gid

    @property
    def credentials(self) -> Credentials:
        """All ids, groups and capabilities."""
        return self.core.credentials

    @property
    def alive(self) -> bool:
        """Whether it has neither exited nor been killed."""
        return self.core.alive

    # Life.

    def fork(self) -> Process:
        """A child with the same descriptors, which share the open files, and copies of all else. EAGAIN, ESRCH."""
        self.check_alive()
        return Process(self.kernel, self.call(self.core.fork))

    def exec(self) -> None:
        """Close what is marked close-on-exec, and set ids and capabilities as execve does."""
        self.call(self.core.exec)

    def exit(self) -> None:
        """End: every descriptor is closed. A second time does nothing."""
        with self.kernel.lock:
            if self.core.alive:
                self.call(self.core.exit)
                del self.kernel.processes[self.core]
                numbers.forget(self.base)

    def kill(self, sender: Process | None = None, signal: int = SIGKILL) -> None:
        """End it by SIGKILL; the sender, if one is given, must be allowed to. OSError EPERM, ESRCH."""
        if sender is not None:
            self.call(self.core.table.kill, sender.core, self.pid, 0)
        if signal == SIGKILL:
            self.exit()
        elif signal:
            self.call(self.core.table.kill, self.core, self.pid, signal)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.exit()

    def running(self) -> AbstractContextManager[Process]:
        """Within `with process.running():`, `afunix.socket` makes this process's sockets in this thread or task."""
        from afunix.inproc.kernel import running_as  # noqa: PLC0415 - the kernel makes processes

        return running_as(self)

    # Sockets.

    def socket(self, family: int = 1, type: int = SOCK_STREAM, proto: int = 0, fileno: int | None = None) -> Socket:
        """A socket object, as `socket.socket`; AF_UNIX unless told otherwise. fileno: a descriptor it already has."""
        from afunix.inproc.socket import socket  # noqa: PLC0415 - sockets are made for processes

        if fileno is not None and fileno < numbers.FIRST:
            fileno |= self.base
        with self.running():
            return socket(family, type, proto, fileno)

    def socketpair(self, type: int = SOCK_STREAM, proto: int = 0) -> tuple[Socket, Socket]:
        """Two connected socket objects."""
        from afunix.inproc.socket import socketpair  # noqa: PLC0415

        with self.running():
            return socketpair(None, type, proto)

    @property
    def syscalls(self) -> Calls:
        """The raw calls, with integer descriptors of this process's table."""
        from afunix.inproc.calls import Calls  # noqa: PLC0415 - calls are made by processes

        return Calls(self)

    # For the rest of the front end.

    def call(self, operation: Callable[..., T], *arguments: Any) -> T:
        """Do an operation of the core under the lock; its refusal is an OSError."""
        kernel = self.kernel
        with kernel.lock:
            try:
                result = operation(*arguments)
            except SyscallError as error:
                raise os_error(error) from None
            finally:
                kernel.settle()
        if kernel.roused:
            kernel.make_way()
        return result

    def check_alive(self) -> None:
        """OSError ESRCH: it has exited, and makes nothing any more."""
        if not self.core.alive:
            raise os_error(SyscallError(Errno.ESRCH))

    def path(self, path: bytes) -> bytes:
        """A path that is about to be walked, in Unix's form. The working directory follows the host's, if it should."""
        if not path or not path[0]:
            return path
        if host.DRIVES:
            path = host.to_unix(path)
        if path[0] != SLASH and self.follows_cwd:
            namespace = self.kernel.namespace
            with self.kernel.lock:
                if isinstance(namespace, MirroredFilesystem):
                    self.core.cwd = namespace.host_directory(host.GETCWD())
                elif isinstance(namespace, HostFilesystem):
                    self.core.cwd = os.fsencode(host.GETCWD())
        return path

    def abandon(self, fd: int, file: File) -> None:
        """Close the descriptor of an object that is garbage, now or as soon as the lock is not this thread's."""
        kernel = self.kernel
        if kernel.lock._is_owned():  # type: ignore[attr-defined]
            kernel.abandoned.append(lambda: self.core.descriptors.discard(fd, file))
        else:
            self.close(fd, file)

    def close(self, fd: int, file: File) -> None:
        """Close a descriptor, if it still refers to this file."""
        kernel = self.kernel
        kernel.lock.acquire()
        try:
            self.core.descriptors.discard(fd, file)
        finally:
            kernel.leave()
        if kernel.roused:
            kernel.make_way()
