"""The raw calls on any file: reading, writing, descriptors, readiness; and those that make pipes and other files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from afunix.abi.constants import (
    EPOLLERR,
    EPOLLHUP,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFD,
    F_GETFL,
    F_SETFD,
    F_SETFL,
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_NONBLOCK,
    O_RDWR,
    POLLNVAL,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core import blocking, polling
from afunix.core.epoll import Epoll
from afunix.core.epoll import wait as epoll_wait_body
from afunix.core.errors import Unmodelled
from afunix.core.eventfd import EventCounter
from afunix.core.ioctl import query
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import PipeReader, PipeWriter, make_pipe
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.inproc import passing, transfer
from afunix.inproc.host import MONOTONIC
from afunix.inproc.waiting import park, run

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.inproc.process import Process

__all__ = ["FileCalls"]

T = TypeVar("T")


class FileCalls:
    """The calls of one process that any file has, and those that make files other than sockets."""

    __slots__ = ("_process", "_wait")

    def __init__(self, process: Process, wait: bool = True) -> None:
        self._process = process
        self._wait = wait

    def _call(self, operation: Callable[..., T], *arguments: Any) -> T:
        return self._process.call(operation, *arguments)

    def _file(self, fd: int) -> File:
        return self._process.core.descriptors.get(fd)

    def _install(self, file: File, cloexec: bool = False) -> int:
        self._process.check_alive()
        return self._process.core.descriptors.install(file, cloexec=cloexec)

    def _both(self, one: File, two: File, cloexec: bool) -> tuple[int, int]:
        """Descriptors for two new files, or none: EMFILE."""
        try:
            first = self._install(one, cloexec)
        except SyscallError:
            one.close()
            two.close()
            raise
        try:
            return first, self._install(two, cloexec)
        except SyscallError:
            self._process.core.descriptors.close(first)
            two.close()
            raise

    def read(self, fd: int, size: int) -> bytes:
        """read(2)."""

        def read() -> bytes:
            file = self._file(fd)
            if isinstance(file, Socket):
                received = transfer.receive(self._process.kernel, file, size, 0, self._wait) if size else None
                if received is None:
                    return b""
                received.done()
                return received.data
            data: bytes = self._attempt(file, lambda: self._method(file, "read_nowait")(size))
            return data

        return self._call(read)

    def write(self, fd: int, data: bytes) -> int:
        """write(2): bytes written."""

        def write() -> int:
            process = self._process
            file = self._file(fd)
            if isinstance(file, Socket):
                return transfer.send(process.kernel, process.core, file, bytes(data), wait=self._wait)
            done: int = 0
            while True:
                part = data[done:]
                try:
                    done += self._attempt(file, lambda part=part: self._method(file, "write_nowait")(part))  # type: ignore[misc]
                except SyscallError:
                    if not done:
                        raise
                    return done
                if done >= len(data) or not self._wait or getattr(file, "nonblock", False):
                    return done

        return self._call(write)

    @staticmethod
    def _method(file: File, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] | None = getattr(file, name, None)
        if method is None:
            raise SyscallError(Errno.EINVAL)
        return method

    def _attempt(self, file: File, operation: Callable[[], Any]) -> Any:
        """Do a nowait operation until it does not block."""
        while isinstance(result := operation(), WouldBlock):
            if not self._wait or getattr(file, "nonblock", False):
                raise SyscallError(Errno.EAGAIN)
            file.acquire()
            try:
                park(self._process.kernel, result.queues, None)
            finally:
                file.release()
        return result

    def close(self, fd: int) -> None:
        """close(2)."""
        self._call(self._process.core.descriptors.close, fd)

    def dup(self, fd: int) -> int:
        """dup(2)."""
        return self._call(self._process.core.descriptors.dup, fd)

    def dup2(self, fd: int, new: int) -> int:
        """dup2(2)."""
        return self._call(self._process.core.descriptors.dup2, fd, new)

    def fcntl(self, fd: int, command: int, argument: int = 0) -> int:
        """fcntl(2): F_DUPFD, F_GETFD, F_SETFD, F_GETFL and F_SETFL; others are `Unmodelled`."""
        table = self._process.core.descriptors

        def fcntl() -> int:
            file = table.get(fd)
            if command in (F_DUPFD, F_DUPFD_CLOEXEC):
                return table.dup_from(fd, argument, cloexec=command == F_DUPFD_CLOEXEC)
            if command == F_GETFD:
                return int(table.get_cloexec(fd))
            if command == F_SETFD:
                table.set_cloexec(fd, bool(argument & 1))
                return 0
            if command == F_GETFL:
                if isinstance(file, MemoryFile):
                    return file.flags
                access = 0 if isinstance(file, PipeReader) else 1 if isinstance(file, PipeWriter) else O_RDWR
                return access | (O_NONBLOCK if getattr(file, "nonblock", False) else 0)
            if command == F_SETFL:
                if isinstance(file, MemoryFile):
                    file.flags = file.flags & O_ACCMODE | argument & (O_APPEND | O_NONBLOCK)
                elif hasattr(file, "nonblock"):
                    file.nonblock = bool(argument & O_NONBLOCK)
                return 0
            raise Unmodelled(f"fcntl command {command}")

        return self._call(fcntl)

    def ioctl(self, fd: int, command: int) -> int:
        """ioctl(2), those that give an int: SIOCINQ (FIONREAD), SIOCOUTQ, SIOCATMARK. ENOTTY: no socket, or others."""

        def ask() -> int:
            file = self._file(fd)
            if not isinstance(file, Socket):
                raise SyscallError(Errno.ENOTTY)
            return query(file, command)

        return self._call(ask)

    def pipe(self, flags: int = 0) -> tuple[int, int]:
        """pipe2(2): the reading and the writing end."""

        def make() -> tuple[int, int]:
            ends = make_pipe(self._process.kernel.core.wakeups, nonblock=bool(flags & O_NONBLOCK))
            return self._both(*ends, bool(flags & O_CLOEXEC))

        return self._call(make)

    def eventfd(self, initial: int = 0, flags: int = 0) -> int:
        """eventfd2(2); EFD_SEMAPHORE is 1."""

        def make() -> int:
            nonblock = bool(flags & O_NONBLOCK)
            wakeups = self._process.kernel.core.wakeups
            counter = EventCounter(wakeups, initial, semaphore=bool(flags & 1), nonblock=nonblock)
            return self._install(counter, bool(flags & O_CLOEXEC))

        return self._call(make)

    def memfd_create(self) -> int:
        """memfd_create(2): a regular file without a name."""
        return self._call(lambda: self._install(MemoryFile.anonymous()))

    def lseek(self, fd: int, offset: int, whence: int = 0) -> int:
        """lseek(2): the new offset. ESPIPE: no regular file."""

        def seek() -> int:
            file = self._file(fd)
            if not isinstance(file, MemoryFile):
                raise SyscallError(Errno.ESPIPE)
            return file.lseek(offset, whence)

        return self._call(seek)

    # Readiness.

    def poll(self, fds: Sequence[tuple[int, int]], timeout: float | None = None) -> list[tuple[int, int]]:
        """poll(2): pairs of descriptor and revents of those that have any; timeout in seconds, None for no limit."""

        def once() -> list[tuple[int, int]]:
            found = []
            for fd, events in fds:
                if fd < 0:
                    continue
                file = table.get(fd)
                bits = POLLNVAL if file is None else polling.mask(file) & (events | EPOLLERR | EPOLLHUP)
                if bits:
                    found.append((fd, bits))
            return found

        def wait() -> list[tuple[int, int]]:
            files = [table[fd] for fd, _ in fds if fd in table]
            queues = [queue for file in files for queue, _ in polling.queues(file)]
            until = blocking.deadline(MONOTONIC(), timeout if self._wait else 0.0)
            for file in files:
                file.acquire()
            try:
                woken = True
                while not (found := once()) and woken:
                    woken = park(self._process.kernel, queues, until)
                return found
            finally:
                passing.release(files)

        table = self._process.core.descriptors.files
        return self._call(wait)

    def epoll_create(self, flags: int = 0) -> int:
        """epoll_create1(2)."""
        return self._call(lambda: self._install(Epoll(self._process.kernel.core.wakeups), bool(flags & O_CLOEXEC)))

    def epoll_ctl(self, epfd: int, operation: int, fd: int, events: int = 0, data: object = None) -> None:
        """epoll_ctl(2): EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD; data is handed out with the events."""

        def control() -> None:
            epoll, file = self._file(epfd), self._file(fd)
            if not isinstance(epoll, Epoll):
                raise SyscallError(Errno.EINVAL)
            if operation == 1:
                epoll.add(fd, file, events, data)
            elif operation == 2:
                epoll.remove(fd, file)
            elif operation == 3:
                epoll.modify(fd, file, events, data)
            else:
                raise SyscallError(Errno.EINVAL)

        self._call(control)

    def epoll_wait(self, epfd: int, maxevents: int, timeout: float | None = None) -> list[tuple[int, object]]:
        """epoll_wait(2): pairs of events and data; timeout in seconds, None for no limit."""

        def wait() -> list[tuple[int, object]]:
            epoll = self._file(epfd)
            if not isinstance(epoll, Epoll):
                raise SyscallError(Errno.EINVAL)
            limit = timeout if self._wait else 0.0
            return run(self._process.kernel, epoll, epoll_wait_body(epoll, maxevents, MONOTONIC(), limit))

        return self._call(wait)
