"""`process.syscalls`: the raw calls with integer descriptors, for threads.

Arguments and results are Linux's, in Python's types: flags and options are ints by Linux's numbers, addresses are
bytes as in `abi.sockaddr` (b"" unnamed, b"\\0name" abstract, else a path), buffers are bytes. Errors are OSError. A
call waits as Linux's does; `nowait` has the same calls, which raise BlockingIOError instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    MSG_CMSG_CLOEXEC,
    O_ACCMODE,
    O_APPEND,
    O_CLOEXEC,
    O_NONBLOCK,
    O_RDWR,
    PF_UNIX,
    POLLNVAL,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core import blocking, connection, datagram, names, options, polling
from afunix.core.epoll import Epoll
from afunix.core.epoll import wait as epoll_wait_body
from afunix.core.errors import Unmodelled
from afunix.core.eventfd import EventCounter
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import PipeReader, PipeWriter, make_pipe
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.inproc import passing, transfer
from afunix.inproc.host import MONOTONIC
from afunix.inproc.waiting import park, run

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.message import Received
    from afunix.inproc.process import Process

__all__ = ["Calls"]

T = TypeVar("T")


class Calls:
    """The calls of one process. Any thread may make them."""

    __slots__ = ("_process", "_wait")

    def __init__(self, process: Process, wait: bool = True) -> None:
        self._process = process
        self._wait = wait

    @property
    def nowait(self) -> Calls:
        """The same calls, never waiting: BlockingIOError."""
        return Calls(self._process, False)

    def _call(self, operation: Callable[..., T], *arguments: Any) -> T:
        return self._process.call(operation, *arguments)

    def _file(self, fd: int) -> File:
        return self._process.core.descriptors.get(fd)

    def _socket(self, fd: int) -> Socket:
        file = self._file(fd)
        if not isinstance(file, Socket):
            raise SyscallError(Errno.ENOTSOCK)
        return file

    def _install(self, file: File, cloexec: bool = False) -> int:
        return self._process.core.descriptors.install(file, cloexec=cloexec)

    # Sockets.

    def socket(self, domain: int = PF_UNIX, type: int = SOCK_STREAM, protocol: int = 0) -> int:
        """socket(2): a descriptor. EAFNOSUPPORT: another domain than AF_UNIX."""

        def make() -> int:
            kind = self._domain(domain, type)
            sock = connection.create(self._process.kernel.core, self._process.core, kind, protocol)
            sock.nonblock = bool(type & SOCK_NONBLOCK)
            return self._install(sock, bool(type & SOCK_CLOEXEC))

        return self._call(make)

    @staticmethod
    def _domain(domain: int, type: int) -> int:
        if domain != PF_UNIX:
            raise SyscallError(Errno.EAFNOSUPPORT)
        if type & ~(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK):
            raise SyscallError(Errno.EINVAL)
        return type & SOCK_TYPE_MASK

    def socketpair(self, domain: int = PF_UNIX, type: int = SOCK_STREAM, protocol: int = 0) -> tuple[int, int]:
        """socketpair(2): two descriptors."""

        def make() -> tuple[int, int]:
            process = self._process
            kind = self._domain(domain, type)
            one, two = connection.pair(process.kernel.core, process.core, kind, protocol)
            one.nonblock = two.nonblock = bool(type & SOCK_NONBLOCK)
            cloexec = bool(type & SOCK_CLOEXEC)
            return self._both(one, two, cloexec)

        return self._call(make)

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

    def bind(self, fd: int, address: bytes | None) -> None:
        """bind(2); None asks for a name (autobind)."""
        if address:
            self._process.path(address)
        self._call(lambda: names.bind(self._socket(fd), self._process.core, address))

    def listen(self, fd: int, backlog: int = 128) -> None:
        """listen(2)."""
        self._call(lambda: connection.listen(self._socket(fd), self._process.core, backlog))

    def connect(self, fd: int, address: bytes | None) -> None:
        """connect(2); None is AF_UNSPEC, which dissolves a datagram socket's association (DGRAM-2)."""
        process = self._process
        if address:
            process.path(address)

        def connect() -> None:
            sock = self._socket(fd)
            if sock.type == SOCK_DGRAM:
                datagram.connect(sock, process.core, address)
            elif not address:
                raise SyscallError(Errno.EINVAL)
            else:
                transfer.connect(process.kernel, process.core, sock, address, self._wait)

        self._call(connect)

    def accept(self, fd: int, flags: int = 0) -> tuple[int, bytes]:
        """accept4(2): a descriptor, and the address of who connected."""

        def accept() -> tuple[int, bytes]:
            if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
                raise SyscallError(Errno.EINVAL)
            sock = self._socket(fd)
            embryo = transfer.accept(self._process.kernel, sock, self._wait)
            embryo.nonblock = bool(flags & SOCK_NONBLOCK)
            peer = embryo.peer
            try:
                number = self._install(embryo, bool(flags & SOCK_CLOEXEC))
            except SyscallError:
                connection.return_embryo(sock, embryo)
                raise
            return number, (peer.address if peer is not None else None) or b""

        return self._call(accept)

    def shutdown(self, fd: int, how: int) -> None:
        """shutdown(2)."""
        self._call(lambda: self._socket(fd).shutdown(how))

    def getsockname(self, fd: int) -> bytes:
        """getsockname(2)."""
        return self._call(lambda: self._socket(fd).name())

    def getpeername(self, fd: int) -> bytes:
        """getpeername(2)."""
        return self._call(lambda: self._socket(fd).name(peer=True))

    def getsockopt(self, fd: int, level: int, option: int, length: int = 4) -> bytes:
        """getsockopt(2): the value, at most so many bytes. A pidfd is `Unmodelled`."""
        value = self._call(lambda: options.get(self._socket(fd), self._process.core, level, option, length))
        if isinstance(value, options.PidfdOf):
            raise Unmodelled("a pidfd of a simulated process")
        return value

    def setsockopt(self, fd: int, level: int, option: int, value: bytes) -> None:
        """setsockopt(2)."""
        self._call(lambda: options.set(self._socket(fd), self._process.core, level, option, value))

    # Messages.

    def sendto(self, fd: int, data: bytes, flags: int = 0, address: bytes | None = None) -> int:
        """sendto(2), and send(2): bytes sent."""
        return self.sendmsg(fd, [data], (), flags, address)

    def sendmsg(
        self,
        fd: int,
        buffers: Iterable[bytes],
        control: Iterable[tuple[int, int, bytes]] = (),
        flags: int = 0,
        address: bytes | None = None,
    ) -> int:
        """sendmsg(2), with control messages (level, type, data): bytes sent."""
        data = b"".join(buffers)

        def send() -> int:
            process = self._process
            sock = self._socket(fd)
            files: Sequence[File] = ()
            creds = None
            if control:
                files, creds = passing.outgoing(process, sock, control, self._reference)
            try:
                return transfer.send(process.kernel, process.core, sock, data, flags, files, creds, address, self._wait)
            except BaseException:
                passing.release(files)
                raise

        return self._call(send)

    def _reference(self, fd: int) -> File:
        file = self._file(fd)
        file.acquire()
        return file

    def recvfrom(self, fd: int, size: int, flags: int = 0) -> tuple[bytes, bytes | None]:
        """recvfrom(2), and recv(2): data, and the sender's address; None where nothing was read."""
        received, _, _ = self._receive(fd, size, flags, None)
        return received.data, received.name

    def recvmsg(
        self, fd: int, size: int, room: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, bytes | None]:
        """recvmsg(2): data, control messages in so many bytes of room, msg_flags, the sender's address."""
        received, control, extra = self._receive(fd, size, flags, room)
        return received.data, control, received.flags | extra, received.name

    def _receive(
        self, fd: int, size: int, flags: int, room: int | None
    ) -> tuple[Received, list[tuple[int, int, bytes]], int]:
        def receive() -> tuple[Received, list[tuple[int, int, bytes]], int]:
            process = self._process
            sock = self._socket(fd)
            received = transfer.receive(process.kernel, sock, size, flags & ~MSG_CMSG_CLOEXEC, self._wait)
            control: list[tuple[int, int, bytes]] = []
            extra = 0
            if room is not None:
                control, extra = passing.control(
                    process, received, sock, room, flags, lambda _, file, cloexec: self._install(file, cloexec)
                )
            received.done()
            return received, control, extra

        return self._call(receive)

    # Any file.

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
            park(self._process.kernel, result.queues, None)
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
                file = table.get(fd)
                bits = POLLNVAL if file is None else polling.mask(file) & (events | EPOLLERR | EPOLLHUP)
                if bits:
                    found.append((fd, bits))
            return found

        def wait() -> list[tuple[int, int]]:
            files = [table[fd] for fd, _ in fds if fd in table]
            queues = [queue for file in files for queue, _ in polling.queues(file)]
            until = blocking.deadline(MONOTONIC(), timeout if self._wait else 0.0)
            while not (found := once()) and park(self._process.kernel, queues, until):
                pass
            return found

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
            return run(self._process.kernel, epoll_wait_body(epoll, maxevents, MONOTONIC(), limit))

        return self._call(wait)
