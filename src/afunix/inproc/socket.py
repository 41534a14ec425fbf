"""The class `socket`: Python's own for every family but AF_UNIX, which is on our kernel.

It derives from the standard library's class, whose descriptor stays -1 for a virtual socket. So libraries that ask
isinstance get what they want, all that is written in Python there (makefile, context manager, closing with files
open) is used as it is, and what a closed socket is asked falls through to the base class, which says EBADF as ever.
Where the host has no AF_UNIX nothing else is needed of it either.
"""

from __future__ import annotations

import array
import operator
import socket as standard
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from afunix.abi.constants import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SO_ERROR,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
    SOL_SOCKET,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT
from afunix.core import connection, datagram, names, options
from afunix.core.errors import Unmodelled
from afunix.core.socket import Socket
from afunix.core.stream import put, take
from afunix.inproc import host, numbers, passing, transfer
from afunix.inproc.addresses import from_python, to_python
from afunix.inproc.host import MONOTONIC, bad_descriptor, os_error, to_host_flags, to_linux_flags
from afunix.inproc.kernel import current
from afunix.inproc.waiting import await_data

if TYPE_CHECKING:
    from afunix.core.message import Received
    from afunix.inproc.process import Process

__all__ = ["fromfd", "recv_fds", "send_fds", "socket", "socketpair"]

_Base = host.SOCKET
_LEVELS = host.to_linux("SOL_")
_OPTIONS = host.to_linux("SO_")


def _nothing_to_take(sock: Socket, size: int) -> None:
    """Stands in for `take` where recv has to look closer."""


def _nothing_to_put(sock: Socket, data: bytes) -> int:
    """Stands in for `put` where send has to look closer."""
    return 0


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


class socket(standard.socket, metaclass=_SocketType):  # noqa: N801 - its name in the standard library
    """A socket, as the standard library's `socket.socket`; of AF_UNIX on the kernel in force (see `afunix.patch`)."""

    __slots__ = (
        "_fd",
        "_kind",
        "_lock",
        "_pending",
        "_process",
        "_proto",
        "_put",
        "_sock",
        "_take",
        "_timeout",
        "_waits",
        "_wakeups",
    )

    __module__ = "socket"  # for repr

    _sock: Socket | None
    _process: Process

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        self._sock = None
        self._kind = 0
        self._take: Callable[[Socket, int], bytes | None] = _nothing_to_take
        self._put: Callable[[Socket, bytes], int] = _nothing_to_put
        if fileno is None and family != AF_UNIX:
            super().__init__(family, type, proto)
            return
        _opened(self)
        if fileno is None:
            process = current()
            kernel = process.kernel
            kind = SOCK_STREAM if type == -1 else int(type)
            with kernel.lock:
                try:
                    sock = connection.create(kernel.core, process.core, kind & SOCK_TYPE_MASK, max(proto, 0))
                    fd = process.core.descriptors.install(sock, cloexec=True)
                except SyscallError as error:
                    raise os_error(error) from None
            sock.nonblock = bool(kind & SOCK_NONBLOCK)
            self._begin(process, fd, sock)
        elif not numbers.is_virtual(fileno):
            super().__init__(family, type, proto, fileno)
        else:
            process, fd, file = numbers.find(fileno)
            if not isinstance(file, Socket):
                raise os_error(SyscallError(Errno.ENOTSOCK))
            self._begin(process, fd, file)

    def _begin(self, process: Process, fd: int, sock: Socket) -> None:
        """Be the virtual socket that this descriptor of the process refers to."""
        kernel = process.kernel
        self._process = process
        self._fd = fd
        self._kind = sock.type
        self._proto = 0
        self._lock = kernel.lock
        self._wakeups = kernel.core.wakeups
        self._pending = kernel.core.wakeups.pending
        self._timeout: float | None = 0.0 if sock.nonblock else None
        self._waits = not sock.nonblock
        self._sock = sock
        default = standard.getdefaulttimeout()
        if default is not None and not sock.nonblock:
            self.settimeout(default)
        elif sock.type == SOCK_STREAM:
            self._take = take
            self._put = put

    # What it is.

    @property
    def family(self) -> Any:
        """AF_UNIX, or what the host says."""
        return getattr(standard, "AF_UNIX", AF_UNIX) if self._kind else super().family

    @property
    def type(self) -> Any:
        """The type, without flags."""
        return standard.SocketKind(self._kind) if self._kind else super().type

    @property
    def proto(self) -> int:
        """The protocol."""
        return self._proto if self._kind else super().proto

    @property
    def timeout(self) -> float | None:
        """As gettimeout."""
        return self._timeout if self._kind else super().timeout

    def fileno(self) -> int:
        """The descriptor, -1 when closed. Of a virtual socket see `afunix.inproc.numbers`."""
        if self._sock is None:
            return super().fileno()
        return self._process.base | self._fd

    # Life.

    def _real_close(self, *args: Any) -> None:
        sock = self._sock
        if sock is None:
            super()._real_close(*args)  # type: ignore[misc]
            return
        self._forget()
        process = self._process
        process.call(process._close, self._fd, sock)

    def _forget(self) -> None:
        self._sock = None
        self._take = _nothing_to_take
        self._put = _nothing_to_put

    def __del__(self) -> None:
        sock: Socket | None = getattr(self, "_sock", None)
        if sock is None:
            if not getattr(self, "_kind", 0):
                super().__del__()  # type: ignore[misc]
            return
        if sock.references and self._process.core.descriptors.files.get(self._fd) is sock:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        self._forget()
        self._process.abandon(self._fd, sock)

    def detach(self) -> int:
        """Close the object without closing the descriptor, which is returned."""
        number = self.fileno()
        if self._sock is None:
            return super().detach()
        _opened(self, closed=True)
        self._forget()
        return number

    def dup(self) -> socket:
        """A new object with a new descriptor for the same open file description."""
        if self._sock is None:
            return super().dup()
        process = self._process
        fd = process.call(_duplicate, process, self._fd)
        twin = self.__class__(fileno=process.base | fd)
        twin.settimeout(self._timeout)
        return twin

    def get_inheritable(self) -> bool:
        """Whether exec keeps the descriptor."""
        if self._sock is None:
            return super().get_inheritable()
        return not self._process.call(self._process.core.descriptors.get_cloexec, self._fd)

    def set_inheritable(self, inheritable: bool) -> None:
        """Say whether exec keeps the descriptor."""
        if self._sock is None:
            super().set_inheritable(inheritable)
        else:
            self._process.call(self._process.core.descriptors.set_cloexec, self._fd, not inheritable)

    # Time-outs.

    def settimeout(self, value: float | None) -> None:
        """None: wait for ever. 0: never wait. Else seconds to wait, as a float."""
        if self._sock is None:
            super().settimeout(value)
            return
        if value is not None:
            value = float(value)
            if value < 0:
                raise ValueError("Timeout value out of range")
        self._timeout = value
        self._waits = value is None
        self._sock.nonblock = value is not None
        if self._kind == SOCK_STREAM:
            self._take = take
            self._put = _nothing_to_put if value else put

    def gettimeout(self) -> float | None:
        """Seconds to wait, or None."""
        return super().gettimeout() if self._sock is None else self._timeout

    def setblocking(self, flag: bool) -> None:
        """settimeout(None) or settimeout(0)."""
        if self._sock is None:
            super().setblocking(flag)
        else:
            self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether calls wait."""
        return super().getblocking() if self._sock is None else self._timeout != 0.0

    # Names and connections.

    def bind(self, address: Any, /) -> None:
        """Bind to a path, an abstract name (bytes that begin with NUL), or with '' to a name that the kernel picks."""
        sock = self._sock
        if sock is None:
            super().bind(address)
            return
        raw = from_python(address)
        process = self._process
        process.call(names.bind, self._open(sock), process.core, raw if raw is None else process.path(raw))

    def listen(self, backlog: int = 128, /) -> None:
        """Accept connections."""
        sock = self._sock
        if sock is None:
            super().listen(backlog)
        else:
            self._process.call(connection.listen, self._open(sock), self._process.core, max(backlog, 0))

    def connect(self, address: Any, /) -> None:
        """Connect to an address; for datagrams, set the default peer."""
        sock = self._sock
        if sock is None:
            super().connect(address)
            return
        raw = from_python(address)
        process = self._process
        if raw is None:
            raise os_error(SyscallError(Errno.EINVAL))
        raw = process.path(raw)
        if sock.type == SOCK_DGRAM:
            process.call(datagram.connect, self._open(sock), process.core, raw)
        else:
            process.call(transfer.connect, process.kernel, process.core, self._open(sock), raw, self._timeout is None)

    def connect_ex(self, address: Any, /) -> int:
        """As connect, but returns the errno."""
        if self._sock is None:
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
            return super().accept()  # type: ignore[return-value]
        process = self._process
        kernel = process.kernel
        with kernel.lock:
            try:
                if self._timeout:
                    embryo = transfer.until_ready(
                        kernel,
                        self._open(sock),
                        lambda: transfer.accept(kernel, sock, False),
                        MONOTONIC() + self._timeout,
                        False,
                    )
                else:
                    embryo = transfer.accept(kernel, self._open(sock), self._timeout is None)
                peer = embryo.peer
                try:
                    fd = process.core.descriptors.install(embryo, cloexec=True)
                except SyscallError:
                    connection.return_embryo(sock, embryo)
                    raise
            except SyscallError as error:
                raise os_error(error) from None
            finally:
                kernel.settle()
        accepted = socket.__new__(socket)
        _opened(accepted)
        accepted._begin(process, fd, embryo)
        return accepted, to_python((peer.address if peer is not None else None) or b"")

    def getsockname(self) -> Any:
        """The address it is bound to."""
        if self._sock is None:
            return super().getsockname()
        return to_python(self._process.call(self._open(self._sock).name))

    def getpeername(self) -> Any:
        """The address that its peer is bound to."""
        if self._sock is None:
            return super().getpeername()
        return to_python(self._process.call(self._open(self._sock).name, True))

    def shutdown(self, how: int, /) -> None:
        """Shut one or both directions."""
        if self._sock is None:
            super().shutdown(how)
        else:
            self._process.call(self._open(self._sock).shutdown, int(how))

    def getsockopt(self, level: int, option: int, buflen: int = 0, /) -> Any:
        """An option as an int, or with buflen as bytes."""
        sock = self._sock
        if sock is None:
            return super().getsockopt(level, option, buflen) if buflen else super().getsockopt(level, option)
        if not 0 <= buflen <= 1024:
            raise OSError("getsockopt buflen out of range")
        level, option = _LEVELS.get(int(level), int(level)), _OPTIONS.get(int(option), int(option))
        process = self._process
        value = process.call(options.get, self._open(sock), process.core, level, option, buflen or INT.size)
        if isinstance(value, options.PidfdOf):
            raise Unmodelled("a pidfd of a simulated process")
        if buflen:
            return value
        number = INT.unpack(value[: INT.size].ljust(INT.size, b"\0"))[0]
        if option == SO_ERROR and number:
            return os_error(SyscallError(Errno(number))).errno
        return number

    def setsockopt(self, level: int, option: int, value: Any, optlen: int | None = None, /) -> None:
        """Set an option to an int or a buffer; None with a length stands for that many NULs."""
        sock = self._sock
        if sock is None:
            super().setsockopt(level, option, value, *(() if optlen is None else (optlen,)))
            return
        if value is None:
            if optlen is None:
                raise TypeError("setsockopt() with None needs a length")
            raw = bytes(optlen)
        elif isinstance(value, int):
            raw = INT.pack(value)
        else:
            raw = bytes(memoryview(value))
        level, option = _LEVELS.get(int(level), int(level)), _OPTIONS.get(int(option), int(option))
        self._process.call(options.set, self._open(sock), self._process.core, level, option, raw)

    # Sending.

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send, and return how many bytes went."""
        if not flags and type(data) is bytes and self._put is not _nothing_to_put:
            with self._lock:
                sent = self._put(self._sock, data)  # type: ignore[arg-type]
                if sent:
                    if not self._pending:
                        return sent
                    self._wakeups.apply()
            if sent:
                if self._process.kernel.roused:
                    self._process.kernel.make_way()
                return sent
        if self._sock is None:
            return super().send(data, flags)
        return self._send(_whole(data, self._most()), flags)

    def _most(self) -> int | None:
        """How many bytes it is of use to take out of a caller's buffer; None for all."""
        sock = self._sock
        return 2 * sock.sndbuf if sock is not None and sock.type == SOCK_STREAM and self._timeout is not None else None

    def _send(self, data: bytes, flags: int, files: Any = (), creds: Any = None, address: bytes | None = None) -> int:
        sock = self._sock
        process = self._process
        kernel = process.kernel
        flags = to_linux_flags(int(flags))
        with kernel.lock:
            try:
                sock = self._open(sock)
                if not self._timeout:
                    wait = self._timeout is None
                    sent = transfer.send(kernel, process.core, sock, data, flags, files, creds, address, wait)
                else:
                    sent = transfer.until_ready(
                        kernel,
                        sock,
                        lambda: transfer.send(kernel, process.core, sock, data, flags, files, creds, address, False),
                        MONOTONIC() + self._timeout,
                        True,
                    )
            except BaseException as error:
                passing.release(files)
                if isinstance(error, SyscallError):
                    raise os_error(error) from None
                raise
            finally:
                kernel.settle()
        if kernel.roused:
            kernel.make_way()
        return sent

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of it. After an error nobody knows how much went."""
        sock = self._sock
        if sock is None:
            super().sendall(data, flags)
            return
        if not flags and type(data) is bytes:
            with self._lock:
                sent = self._put(sock, data)
                if sent:
                    if not self._pending:
                        return
                    self._wakeups.apply()
            if sent:
                if self._process.kernel.roused:
                    self._process.kernel.make_way()
                return
        data = _whole(data)
        if self._timeout is None:
            sent = self._send(data, flags)
            if sent == len(data):
                return
        else:
            sent = 0
        timeout = self._timeout
        until = MONOTONIC() + timeout if timeout else 0.0
        left = memoryview(data)[sent:]
        while True:
            part = left[: self._most()]
            if timeout:
                self._timeout = until - MONOTONIC()
                if self._timeout <= 0:
                    self._timeout = timeout
                    raise TimeoutError("timed out")
            try:
                left = left[self._send(bytes(part), flags) :]
            finally:
                self._timeout = timeout
            if not left:
                return

    def sendto(self, data: Any, *arguments: Any) -> int:
        """sendto(data[, flags], address)."""
        if self._sock is None:
            return super().sendto(data, *arguments)
        if not 1 <= len(arguments) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        data = _whole(data)
        return self._send(data, arguments[0] if len(arguments) == 2 else 0, address=self._destination(arguments[-1]))

    def _destination(self, address: Any) -> bytes:
        raw = from_python(address)
        if raw is None:
            if self._kind == SOCK_DGRAM:
                raise os_error(SyscallError(Errno.EINVAL))
            return b"\0"
        return self._process.path(raw)

    def sendmsg(
        self,
        buffers: Iterable[Any],
        ancdata: Iterable[tuple[int, int, Any]] = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        """Send the buffers as one message, with control messages (level, type, data)."""
        sock = self._sock
        if sock is None:
            return super().sendmsg(buffers, ancdata, flags, *(() if address is None else (address,)))
        data = b"".join([_whole(buffer) for buffer in buffers])
        items: list[tuple[int, int, bytes]] = []
        for item in ancdata:
            try:
                level, kind, content = item
            except ValueError:
                raise TypeError("[sendmsg() argument 2] must be a sequence of (int, int, bytes-like)") from None
            level, kind = operator.index(level), operator.index(kind)
            items.append((_LEVELS.get(level, level), kind, bytes(memoryview(content))))
        raw = None if address is None else self._destination(address)
        files: Any = ()
        creds = None
        if items:
            files, creds = self._process.call(passing.outgoing, self._process, self._open(sock), items)
        return self._send(data, flags, files, creds, raw)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file until its end; the file's position follows."""
        if self._sock is None:
            return super().sendfile(file, offset, count)
        return self._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return, attr-defined]

    # Receiving.

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive at most bufsize bytes; b"" at the end."""
        if not flags and self._take is not _nothing_to_take:
            with self._lock:
                sock: Any = self._sock
                data = self._take(sock, bufsize)
                if data is None and self._waits and bufsize > 0 and transfer.may_await(sock):
                    await_data(self._process.kernel, sock)
                    data = self._take(sock, bufsize)
                if data is not None:
                    if self._pending:
                        self._wakeups.apply()
                    return data
        if self._sock is None:
            return super().recv(bufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if not bufsize:
            return b""
        return self._receive(bufsize, flags, None)[0].data

    def _receive(self, size: int, flags: int, room: int | None) -> tuple[Received, list[tuple[int, int, bytes]], int]:
        """What came, its control messages in so many bytes of room, and bits for msg_flags; None: without any."""
        sock = self._sock
        process = self._process
        kernel = process.kernel
        flags = to_linux_flags(int(flags))
        plain = flags & ~MSG_CMSG_CLOEXEC
        with kernel.lock:
            try:
                sock = self._open(sock)
                if self._timeout:
                    received = transfer.until_ready(
                        kernel,
                        sock,
                        lambda: transfer.receive(kernel, sock, size, plain, False),
                        MONOTONIC() + self._timeout,
                        False,
                    )
                else:
                    received = transfer.receive(kernel, sock, size, plain, self._timeout is None)
                if room is None:
                    items: list[tuple[int, int, bytes]] = []
                    extra = 0
                else:
                    items, extra = passing.control(process, received, sock, room, flags)
                received.done()
                return received, items, extra
            except SyscallError as error:
                raise os_error(error) from None
            finally:
                kernel.settle()

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Data, and the sender's address or None."""
        if self._sock is None:
            return super().recvfrom(bufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        received = self._receive(bufsize, flags, None)[0]
        return received.data, _sender(received)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer; the number of bytes."""
        if self._sock is None:
            return super().recv_into(buffer, nbytes, flags)
        view = _room(buffer, nbytes, "recv_into")
        data = self.recv(len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As recv_into, with the sender's address."""
        if self._sock is None:
            return super().recvfrom_into(buffer, nbytes, flags)
        view = _room(buffer, nbytes, "recvfrom_into")
        data, address = self.recvfrom(len(view), flags)
        view[: len(data)] = data
        return len(data), address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """Data, control messages (level, type, data), msg_flags, the sender's address or None."""
        if self._sock is None:
            return super().recvmsg(bufsize, ancbufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        if ancbufsize < 0:
            raise ValueError("invalid ancillary data buffer length")
        received, items, extra = self._receive(bufsize, flags, ancbufsize)
        return received.data, _shown(items), to_host_flags(received.flags | extra), _sender(received)

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """As recvmsg, into buffers; their number of bytes in place of the data."""
        if self._sock is None:
            return super().recvmsg_into(buffers, ancbufsize, flags)
        if ancbufsize < 0:
            raise ValueError("invalid ancillary data buffer length")
        views = [_room(buffer, 0, "recvmsg_into") for buffer in buffers]
        received, items, extra = self._receive(sum(map(len, views)), flags, ancbufsize)
        data = received.data
        position = 0
        for view in views:
            part = data[position : position + len(view)]
            view[: len(part)] = part
            position += len(part)
        return received.length, _shown(items), to_host_flags(received.flags | extra), _sender(received)

    # Within.

    def _open(self, sock: Socket | None) -> Socket:
        """The core's socket, if the descriptor still refers to it: EBADF, as for one that was closed by its number."""
        if sock is None or self._process.core.descriptors.files.get(self._fd) is not sock:
            raise bad_descriptor()
        return sock


def _opened(sock: Any, closed: bool = False) -> None:
    """Set what the base class's own methods look at."""
    sock._io_refs = 0
    sock._closed = closed


def _duplicate(process: Process, fd: int) -> int:
    descriptors = process.core.descriptors
    return descriptors.install(descriptors.get(fd), cloexec=True)


def _whole(data: Any, most: int | None = None) -> bytes:
    """A caller's buffer as bytes that nobody changes; not more than `most` of it."""
    if type(data) is bytes:
        return data
    view = memoryview(data)
    if most is not None and view.nbytes > most:
        view = view.cast("B")[:most]
    return bytes(view)


def _room(buffer: Any, nbytes: int, name: str) -> memoryview:
    view = memoryview(buffer)
    if view.readonly:
        raise TypeError(f"{name}() argument 1 must be read-write bytes-like object, not {type(buffer).__name__}")
    view = view.cast("B") if view.nbytes else view
    if nbytes < 0:
        raise ValueError(f"negative buffersize in {name}")
    if nbytes > len(view):
        raise ValueError(
            "buffer too small for requested bytes"
            if name == "recv_into"
            else "nbytes is greater than the length of the buffer"
        )
    return view[:nbytes] if nbytes else view


def _sender(received: Received) -> Any:
    return to_python(received.name) if received.name else None


def _shown(items: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    if not _LEVELS:
        return items
    here = int(standard.SOL_SOCKET)
    return [(here if level == SOL_SOCKET else level, kind, data) for level, kind, data in items]


def socketpair(family: int | None = None, type: int = SOCK_STREAM, proto: int = 0) -> tuple[socket, socket]:
    """Two connected sockets, of AF_UNIX unless told otherwise."""
    if family is not None and family != AF_UNIX:
        one, two = host.SOCKETPAIR(family, type, proto)
        return socket(fileno=one.detach()), socket(fileno=two.detach())
    process = current()
    kernel = process.kernel
    kind = int(type)
    descriptors = process.core.descriptors
    with kernel.lock:
        try:
            cores = connection.pair(kernel.core, process.core, kind & SOCK_TYPE_MASK, proto)
            fds = [descriptors.install(core, cloexec=True) for core in cores]
        except SyscallError as error:
            raise os_error(error) from None
        finally:
            kernel.settle()
    pair = []
    for fd, core in zip(fds, cores, strict=True):
        core.nonblock = bool(kind & SOCK_NONBLOCK)
        end = socket.__new__(socket)
        _opened(end)
        end._begin(process, fd, core)
        pair.append(end)
    return pair[0], pair[1]


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """A socket object with a duplicate of a descriptor."""
    if fd < numbers.FIRST:
        return socket(family, type, proto, fileno=host.DUP(fd))
    process, entry, _ = numbers.find(fd)
    return socket(fileno=process.base | process.call(_duplicate, process, entry))


def send_fds(sock: Any, buffers: Iterable[Any], fds: Iterable[int], flags: int = 0, address: Any = None) -> int:
    """Send descriptors, of virtual sockets and of the host, over an AF_UNIX socket."""
    sent: int = sock.sendmsg(
        buffers,
        [(standard.SOL_SOCKET, SCM_RIGHTS, array.array("i", fds))],
        flags,
        *(() if address is None else (address,)),
    )
    return sent


def recv_fds(sock: Any, bufsize: int, maxfds: int, flags: int = 0) -> tuple[bytes, list[int], int, Any]:
    """Data, at most maxfds descriptors, msg_flags, the sender's address."""
    fds = array.array("i")
    room = (16 + maxfds * fds.itemsize + 7) & ~7
    data, ancdata, flags, address = sock.recvmsg(bufsize, room, flags)
    for level, kind, item in ancdata:
        if level == standard.SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(item[: len(item) - len(item) % fds.itemsize])
    return data, list(fds), flags, address
