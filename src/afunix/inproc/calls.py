"""`process.syscalls`: the raw calls with integer descriptors, for threads.

Arguments and results are Linux's, in Python's types: flags and options are ints by Linux's numbers, addresses are
bytes as in `abi.sockaddr` (b"" unnamed, b"\\0name" abstract, else a path), buffers are bytes. Errors are OSError. A
call waits as Linux's does; `nowait` has the same calls, which raise BlockingIOError instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    PF_UNIX,
    PIDFD_NONBLOCK,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    UNIX_PATH_MAX,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT
from afunix.core import connection, datagram, names, options
from afunix.core.pidfd import Pidfd
from afunix.core.process import SIGKILL
from afunix.core.socket import Socket
from afunix.inproc import passing, transfer
from afunix.inproc.endpoint import without_flags
from afunix.inproc.filecalls import FileCalls

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.message import Received

__all__ = ["Calls"]

T = TypeVar("T")


class Calls(FileCalls):
    """The calls of one process. Any thread may make them."""

    __slots__ = ()

    @property
    def nowait(self) -> Calls:
        """The same calls, never waiting: BlockingIOError."""
        return Calls(self._process, False)

    def _socket(self, fd: int) -> Socket:
        file = self._file(fd)
        if not isinstance(file, Socket):
            raise SyscallError(Errno.ENOTSOCK)
        return file

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
        return without_flags(type)

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

    def bind(self, fd: int, address: bytes | None) -> None:
        """bind(2); None asks for a name (autobind)."""
        self._call(lambda: names.bind(self._socket(fd), self._process.core, self._address(address)))

    def _address(self, address: bytes | None) -> bytes | None:
        """An address for the core: EINVAL for one that is too long."""
        if not address:
            return address
        if len(address) > (self._process.kernel.path_max - 1 if address[0] else UNIX_PATH_MAX):
            raise SyscallError(Errno.EINVAL)
        return self._process.path(address.partition(b"\0")[0]) if address[0] else address

    def listen(self, fd: int, backlog: int = 128) -> None:
        """listen(2)."""
        self._call(lambda: connection.listen(self._socket(fd), self._process.core, backlog))

    def connect(self, fd: int, address: bytes | None) -> None:
        """connect(2); None is AF_UNSPEC, which dissolves a datagram socket's association (DGRAM-2)."""
        process = self._process

        def connect() -> None:
            sock = self._socket(fd)
            where = self._address(address)
            if sock.type == SOCK_DGRAM:
                datagram.connect(sock, process.core, where)
            elif not where:
                raise SyscallError(Errno.EINVAL)
            else:
                transfer.connect(process.kernel, process.core, sock, where, self._wait)

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
        """getsockopt(2): the value, at most so many bytes."""

        def get() -> bytes:
            value = options.get(self._socket(fd), self._process.core, level, option, length)
            if isinstance(value, options.PidfdOf):
                pidfd = self._install(passing.pidfd_of(self._process, value.pid), True)
                return INT.pack(pidfd)[:length]
            return value

        return self._call(get)

    def setsockopt(self, fd: int, level: int, option: int, value: bytes) -> None:
        """setsockopt(2)."""
        self._call(lambda: options.set(self._socket(fd), self._process.core, level, option, value))

    # Processes.

    def pidfd_open(self, pid: int, flags: int = 0) -> int:
        """pidfd_open(2): a descriptor of the process with this number. ESRCH; EINVAL: another flag than O_NONBLOCK."""

        def make() -> int:
            if flags & ~PIDFD_NONBLOCK or pid <= 0:
                raise SyscallError(Errno.EINVAL)
            self._process.core.table.get(pid)
            return self._install(passing.pidfd_of(self._process, pid), True)

        return self._call(make)

    def pidfd_send_signal(self, pidfd: int, signal: int) -> None:
        """pidfd_send_signal(2), as `kill`. EBADF: no pidfd; ESRCH: the process is gone; EPERM."""

        def send() -> None:
            file = self._file(pidfd)
            if not isinstance(file, Pidfd):
                raise SyscallError(Errno.EBADF)
            self.kill(file.target().pid, signal)

        self._call(send)

    def kill(self, pid: int, signal: int = SIGKILL) -> None:
        """kill(2) of one process: 0 only checks, SIGKILL ends it, others are `Unmodelled`. ESRCH, EPERM, EINVAL."""

        def kill() -> None:
            core = self._process.core
            core.table.kill(core, pid, 0)
            if signal:
                self._process.kernel.processes[core.table.get(pid)].kill(signal=signal)

        self._call(kill)

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
            where = self._address(address)
            files: Sequence[File] = ()
            creds = None
            if control:
                files, creds = passing.outgoing(process, sock, control, self._reference)
            try:
                return transfer.send(process.kernel, process.core, sock, data, flags, files, creds, where, self._wait)
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
