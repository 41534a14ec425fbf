"""The class `socket`: Python's own for every family but AF_UNIX, which is on our kernel; and the functions beside it.

See `endpoint` for what a socket object is, `sending` and `receiving` for the data; here are names and connections.
"""

from __future__ import annotations

import array
import operator
import socket as standard
from collections.abc import Iterable
from typing import Any

from afunix.abi.constants import (
    AF_UNIX,
    SCM_RIGHTS,
    SO_ERROR,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import cmsg_len
from afunix.abi.structs import INT
from afunix.core import connection, datagram, names, options
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.inproc import host, numbers, passing, transfer
from afunix.inproc.addresses import from_python, to_python
from afunix.inproc.endpoint import INT_MAX, LEVELS, duplicate, without_flags
from afunix.inproc.host import MONOTONIC, bad_descriptor, os_error
from afunix.inproc.kernel import current
from afunix.inproc.receiving import Receiving
from afunix.inproc.sending import Sending

__all__ = ["fromfd", "recv_fds", "send_fds", "socket", "socketpair"]

_Base = host.SOCKET
_OPTIONS = host.to_linux("SO_")


class _SocketType(type):
    """Makes sockets that the standard library's class made count as sockets, too."""

    def __instancecheck__(cls, instance: object) -> bool:
        return (
            isinstance(instance, _Base if cls is socket else cls)
            if cls is socket
            else super().__instancecheck__(instance)
        )

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Base) if cls is socket else super().__subclasscheck__(subclass)


class socket(Sending, Receiving, metaclass=_SocketType):  # noqa: N801 - its name in the standard library
    """A socket, as the standard library's `socket.socket`; of AF_UNIX on the kernel in force (see `afunix.patch`)."""

    __slots__ = ()

    __module__ = "socket"  # for repr

    def bind(self, address: Any, /) -> None:
        """Bind to a path, an abstract name (bytes that begin with NUL), or with '' to a name that the kernel picks."""
        sock = self._sock
        if sock is None:
            self._host().bind(address)
            return
        process = self._process
        raw = from_python(address, process.kernel.path_max)
        process.call(names.bind, self._open(sock), process.core, raw if raw is None else process.path(raw))

    def listen(self, backlog: int = 128, /) -> None:
        """Accept connections."""
        sock = self._sock
        if sock is None:
            self._host().listen(backlog)
            return
        backlog = operator.index(backlog)
        if not -INT_MAX <= backlog <= INT_MAX:
            raise OverflowError("signed integer is greater than maximum")
        self._process.call(connection.listen, self._open(sock), self._process.core, max(backlog, 0))

    def connect(self, address: Any, /) -> None:
        """Connect to an address; for datagrams, set the default peer."""
        sock = self._sock
        if sock is None:
            self._host().connect(address)
            return
        process = self._process
        kernel = self._kernel
        raw = from_python(address, kernel.path_max)
        if raw is None:
            raise os_error(SyscallError(Errno.EINVAL))
        raw = process.path(raw)
        caller = process.core
        kernel.lock.acquire()
        try:
            if caller.descriptors.files.get(self._fd) is not sock:
                raise bad_descriptor()
            if sock.type == SOCK_DGRAM:
                datagram.connect(sock, caller, raw)
            elif type(connection.connect(sock, caller, raw)) is WouldBlock:
                transfer.connect(kernel, caller, sock, raw)
        except SyscallError as error:
            raise os_error(error) from None
        finally:
            kernel.leave()
        if kernel.roused:
            kernel.make_way()

    def connect_ex(self, address: Any, /) -> int:
        """As connect, but returns the errno."""
        if not self._kind:
            return super().connect_ex(address)
        try:
            self.connect(address)
        except OSError as error:
            if error.errno is None:
                raise
            return error.errno
        return 0

    def accept(self) -> tuple[socket, Any]:
        """A new socket for the first connection that waits, and the address of who connected."""
        sock = self._sock
        if sock is None:
            return self._host().accept()  # type: ignore[return-value]
        process = self._process
        kernel = self._kernel
        kernel.lock.acquire()
        try:
            descriptors = process.core.descriptors
            if descriptors.files.get(self._fd) is not sock:
                raise bad_descriptor()
            if self._timeout:
                embryo = self._accept_in_time(sock)
            else:
                taken = connection.accept(sock)
                embryo = transfer.accept(kernel, sock) if type(taken) is WouldBlock else taken
            peer = embryo.peer
            try:
                fd = descriptors.install(embryo, True)
            except SyscallError:
                connection.return_embryo(sock, embryo)
                raise
        except SyscallError as error:
            raise os_error(error) from None
        finally:
            kernel.leave()
        accepted = socket.__new__(socket)
        accepted._begin(process, fd, embryo)
        address = peer.address if peer is not None else None
        return accepted, to_python(address) if address else ""

    def _accept_in_time(self, sock: Socket) -> Socket:
        """Accept with the time-out that is set. The lock is held."""
        kernel = self._kernel
        return transfer.until_ready(
            kernel,
            sock,
            lambda: transfer.accept(kernel, sock),
            MONOTONIC() + (self._timeout or 0.0),
            lambda: self._open(self._sock),
            False,
        )

    def getsockname(self) -> Any:
        """The address it is bound to."""
        if self._sock is None:
            return self._host().getsockname()
        return to_python(self._process.call(self._open(self._sock).name))

    def getpeername(self) -> Any:
        """The address that its peer is bound to."""
        if self._sock is None:
            return self._host().getpeername()
        return to_python(self._process.call(self._open(self._sock).name, True))

    def shutdown(self, how: int, /) -> None:
        """Shut one or both directions."""
        if self._sock is None:
            self._host().shutdown(how)
        else:
            self._process.call(self._open(self._sock).shutdown, operator.index(how))

    def getsockopt(self, level: int, option: int, buflen: int = 0, /) -> Any:
        """An option as an int, or with buflen as bytes."""
        sock = self._sock
        if sock is None:
            return self._host().getsockopt(level, option, buflen) if buflen else self._host().getsockopt(level, option)
        if not 0 <= buflen <= 1024:
            raise OSError("getsockopt buflen out of range")
        level, option = _numbers(level, option)
        process = self._process
        value = process.call(options.get, self._open(sock), process.core, level, option, buflen or INT.size)
        if isinstance(value, options.PidfdOf):
            pidfd = process.call(passing.install, process, passing.pidfd_of(process, value.pid), True)
            value = INT.pack(pidfd)[: buflen or INT.size]
        if buflen:
            return value
        number = INT.unpack(value[: INT.size].ljust(INT.size, b"\0"))[0]
        if option == SO_ERROR and number:
            return os_error(SyscallError(Errno(number))).errno
        return number

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None, /) -> None:
        """Set an option to an int or a buffer; None with a length stands for a null pointer."""
        sock = self._sock
        if sock is None:
            self._host().setsockopt(level, option, value, *(() if optlen is None else (optlen,)))
            return
        if (value is None) == (optlen is None):
            raise TypeError("setsockopt() takes a length with None, and only with it")
        level, option = _numbers(level, option)
        if value is None:
            self._process.call(_set_from_nothing, self._open(sock), level, option, operator.index(optlen or 0))
            return
        raw = INT.pack(value) if isinstance(value, int) and abs(value) <= INT_MAX else bytes(memoryview(value))
        self._process.call(options.set, self._open(sock), self._process.core, level, option, raw)


def _numbers(level: Any, option: Any) -> tuple[int, int]:
    """Linux's numbers for the host's."""
    level, option = operator.index(level), operator.index(option)
    return LEVELS.get(level, level), _OPTIONS.get(option, option)


def _set_from_nothing(sock: Socket, level: int, option: int, length: int) -> None:
    """What setsockopt says to a null pointer: EFAULT, if nothing else is wrong."""
    if options.value_length(sock, level, option, length):
        raise SyscallError(Errno.EFAULT)


def socketpair(family: int | None = None, type: int = SOCK_STREAM, proto: int = 0) -> tuple[socket, socket]:
    """Two connected sockets, of AF_UNIX unless told otherwise."""
    if family is not None and family != AF_UNIX:
        one, two = host.SOCKETPAIR(family, type, proto)
        return socket(fileno=one.detach()), socket(fileno=two.detach())
    process = current()
    process.check_alive()
    kernel = process.kernel
    kind = operator.index(type)
    descriptors = process.core.descriptors
    with kernel.lock:
        try:
            cores = connection.pair(kernel.core, process.core, without_flags(kind), proto)
            fds = [descriptors.install(core, True) for core in cores]
        except SyscallError as error:
            raise os_error(error) from None
        finally:
            kernel.settle()
    pair = []
    for fd, core in zip(fds, cores, strict=True):
        core.nonblock = bool(kind & SOCK_NONBLOCK)
        end = socket.__new__(socket)
        end._begin(process, fd, core)
        pair.append(end)
    return pair[0], pair[1]


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """A socket object with a duplicate of a descriptor."""
    if fd < numbers.FIRST:
        return socket(family, type, proto, fileno=host.DUP(fd))
    process, entry, _ = numbers.find(fd)
    return socket(fileno=process.base | process.call(duplicate, process, entry))


def send_fds(sock: Any, buffers: Iterable[Any], fds: Iterable[int], flags: int = 0, address: Any = None) -> int:
    """Send descriptors, of virtual sockets and of the host, over an AF_UNIX socket."""
    numbers_ = array.array("i", fds)
    if type(sock) is socket and sock._sock is not None:  # others may have a sendmsg of their own
        return sock._send_fds(buffers, numbers_, flags, address)
    items = [(standard.SOL_SOCKET, SCM_RIGHTS, numbers_)]
    sent: int = sock.sendmsg(buffers, items, flags, *(() if address is None else (address,)))
    return sent


def recv_fds(sock: Any, bufsize: int, maxfds: int, flags: int = 0) -> tuple[bytes, list[int], int, Any]:
    """Data, at most maxfds descriptors, msg_flags, the sender's address."""
    if maxfds < 0:
        raise OverflowError("CMSG_LEN() argument out of range")
    room = cmsg_len(maxfds * INT.size)
    if type(sock) is socket and sock._sock is not None:
        return sock._recv_fds(bufsize, room, flags)
    fds = array.array("i")
    data, ancdata, flags, address = sock.recvmsg(bufsize, room, flags)
    for level, kind, item in ancdata:
        if level == standard.SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(item[: len(item) - len(item) % fds.itemsize])
    return data, list(fds), flags, address
