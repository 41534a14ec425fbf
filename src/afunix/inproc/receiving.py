"""Receiving: the methods of `socket` that take data and descriptors out of our kernel."""

from __future__ import annotations

import operator
import socket as standard
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.constants import MSG_CMSG_CLOEXEC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, UIO_MAXIOV
from afunix.abi.errno import Errno, SyscallError
from afunix.core import ancillary
from afunix.core.socket import ESTABLISHED
from afunix.core.stream_quick import hand_back, take_files
from afunix.inproc import passing, transfer
from afunix.inproc.addresses import to_python
from afunix.inproc.endpoint import LEVELS, Endpoint, call_flags, nothing_to_take
from afunix.inproc.host import MONOTONIC, os_error, to_host_flags
from afunix.inproc.waiting import Taker

if TYPE_CHECKING:
    from afunix.core.message import Received
    from afunix.inproc.kernel import Kernel

__all__ = ["Receiving"]

SOCKLEN_MAX: Final = (1 << 31) - 1


class Receiving(Endpoint):
    """A socket that receives."""

    __slots__ = ()

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive at most bufsize bytes; b"" at the end."""
        self._unanswered = 0
        if flags == 0 and type(bufsize) is int and self._take is not nothing_to_take:
            kernel = self._kernel
            lock = kernel.lock
            lock.acquire()
            try:
                quick = self._take  # another thread may have closed it
                data = quick(self._sock, bufsize)  # type: ignore[arg-type]
                if data is not None:
                    if kernel.pending:
                        kernel.wakeups.apply()
                    return data
                taker = self._enter(bufsize) if self._waits else None
            finally:
                lock.release()
            if taker is not None:
                return self._await(taker, kernel, bufsize)
        bufsize = operator.index(bufsize)
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if not bufsize:
            return b""
        if self._sock is None:
            return self._host().recv(bufsize, flags)
        return _as_long(self._receive(bufsize, flags, None)[0])

    def _enter(self, size: int) -> Taker | None:
        """Begin to wait for data, where that is all there is to do. The lock is held."""
        sock = self._sock
        if sock is None or size <= 0 or (sock.state != ESTABLISHED and sock.type != SOCK_DGRAM):
            return None
        if self._timeout is None and (sock.nonblock or sock.rcvtimeo is not None):
            return None
        taker, self._taker = self._taker or Taker(self._kernel), None
        if taker.enter(sock, size):
            return taker
        self._taker = taker
        return None

    def _await(self, taker: Taker, kernel: Kernel, size: int) -> bytes:
        """What is received in the end."""
        timeout = self._timeout
        if timeout is not None:
            return self._await_until(taker, kernel, size, MONOTONIC() + timeout)
        sock = taker.sock
        data = taker.wait(sock, None)
        if data is None:
            try:
                data = self._take(sock, size)
                if data is None:
                    received = transfer.receive(kernel, sock, size)
                    received.done()
                    data = received.data
            except SyscallError as error:
                raise os_error(error) from None
            finally:
                sock.release()
                kernel.settle()
                kernel.lock.release()
        self._taker = taker
        return data

    def _await_until(self, taker: Taker, kernel: Kernel, size: int, until: float) -> bytes:
        """The same with a time-out, which is a poll and then a read of what the descriptor refers to by then."""
        sock = taker.sock
        data = taker.wait(sock, until - MONOTONIC())
        if data is None:
            sock.release()
            kernel.leave()
        elif self._process.core.descriptors.files.get(self._fd) is not sock:
            with kernel.lock:
                if sock.references:
                    hand_back(sock, data)
                kernel.settle()
            data = None
        self._taker = taker
        return self._receive(size, 0, None, until=until)[0].data if data is None else data

    def _receive(
        self,
        size: int,
        flags: int,
        room: int | None,
        control: Callable[..., tuple[list[Any], int]] = passing.control,
        until: float | None = None,
    ) -> tuple[Received, list[Any], int]:
        """What came, its control messages in so many bytes of room, and bits for msg_flags; None: without any.

        until: when it is over for a socket with a time-out, where that does not begin now.
        """
        sock = self._sock
        process = self._process
        kernel = process.kernel
        self._unanswered = 0
        flags = call_flags(flags)
        plain = flags & ~MSG_CMSG_CLOEXEC
        with kernel.lock:
            try:
                sock = self._open(sock)
                if self._timeout:
                    received = transfer.until_ready(
                        kernel,
                        sock,
                        lambda: transfer.receive(kernel, sock, size, plain),
                        MONOTONIC() + self._timeout if until is None else until,
                        lambda: self._open(self._sock),
                        False,
                    )
                else:
                    received = transfer.receive(kernel, sock, size, plain)
                items: list[Any] = []
                extra = 0
                if room is not None:
                    items, extra = control(process, received, sock, room, flags)
                received.done()
                return received, items, extra
            except SyscallError as error:
                raise os_error(error) from None
            finally:
                kernel.settle()

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Data, and the sender's address or None."""
        bufsize = operator.index(bufsize)
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        if self._sock is None:
            return self._host().recvfrom(bufsize, flags)
        if flags == 0:
            quick = self._take_quickly(bufsize)
            if quick is not None:
                return quick
        received = self._receive(bufsize, flags, None)[0]
        return _as_long(received), _sender(received)

    def _take_quickly(self, size: int, plain: bool = False) -> tuple[bytes, Any] | None:
        """Data that are there, and the sender's address; None where that is not the common case.

        plain: nor is it where control messages come with them.
        """
        self._unanswered = 0
        kernel = self._kernel
        with kernel.lock:
            sock = self._sock
            if sock is None or not sock.queue or (plain and not ancillary.only_rights(sock)):
                return None
            name = sock.queue[0].owner.address
            data = self._take(sock, size)
            if kernel.pending:
                kernel.wakeups.apply()
        return None if data is None else (data, to_python(name) if name else None)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer; the number of bytes."""
        if not self._kind:
            return self._host().recv_into(buffer, nbytes, flags)
        view = _room(buffer, nbytes, "recv_into")
        return _fill(view, Receiving.recv(self, len(view), flags))

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As recv_into, with the sender's address."""
        if not self._kind:
            return self._host().recvfrom_into(buffer, nbytes, flags)
        view = _room(buffer, nbytes, "recvfrom_into")
        data, address = Receiving.recvfrom(self, len(view), flags)
        return _fill(view, data), address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """Data, control messages (level, type, data), msg_flags, the sender's address or None."""
        bufsize, ancbufsize = operator.index(bufsize), operator.index(ancbufsize)
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        if not 0 <= ancbufsize <= SOCKLEN_MAX:
            raise ValueError("invalid ancillary data buffer length")
        if self._sock is None:
            return self._host().recvmsg(bufsize, ancbufsize, flags)
        if flags == 0:
            quick = self._take_quickly(bufsize, plain=True)
            if quick is not None:
                return quick[0], [], 0, quick[1]
        received, items, extra = self._receive(bufsize, flags, ancbufsize)
        return received.data, _shown(items), to_host_flags(received.flags | extra), _sender(received)

    def _recv_fds(self, bufsize: int, room: int, flags: int) -> tuple[bytes, list[int], int, Any]:
        """What recvmsg does, but of control messages only the descriptors are told; of a virtual socket."""
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        if not flags and type(bufsize) is int and self._kind == SOCK_STREAM:
            kernel = self._kernel
            with kernel.lock:
                sock = self._sock
                taken = take_files(sock, bufsize) if sock is not None and ancillary.only_rights(sock) else None
                if taken is not None:
                    data, files, address = taken
                    fds, extra = ancillary.deliver_rights(files, room, flags, partial(passing.install, self._process))
                    passing.release(files)
                    if kernel.pending:
                        kernel.wakeups.apply()
                    return data, fds, to_host_flags(extra), to_python(address) if address else None
        received, fds, extra = self._receive(bufsize, flags, room, passing.descriptors)
        return received.data, fds, to_host_flags(received.flags | extra), _sender(received)

    def recvmsg_into(
        self, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """As recvmsg, into buffers; their number of bytes in place of the data."""
        if not self._kind:
            return self._host().recvmsg_into(buffers, ancbufsize, flags)
        ancbufsize = operator.index(ancbufsize)
        if not 0 <= ancbufsize <= SOCKLEN_MAX:
            raise ValueError("invalid ancillary data buffer length")
        views = [_room(buffer, 0, "recvmsg_into") for buffer in buffers]
        if len(views) > UIO_MAXIOV:
            raise os_error(SyscallError(Errno.EMSGSIZE))
        received, items, extra = self._receive(sum(map(len, views)), flags, ancbufsize)
        data = received.data
        position = 0
        for view in views:
            part = data[position : position + len(view)]
            view[: len(part)] = part
            position += len(part)
        return received.length, _shown(items), to_host_flags(received.flags | extra), _sender(received)


def _room(buffer: Any, nbytes: int, name: str) -> memoryview:
    view = memoryview(buffer)
    if view.readonly or not view.c_contiguous:
        raise TypeError(f"{name}() argument 1 must be read-write bytes-like object, not {type(buffer).__name__}")
    view = view.cast("B") if view.nbytes else memoryview(bytearray())  # nothing has no other form
    nbytes = operator.index(nbytes)
    if nbytes < 0:
        raise ValueError(f"negative buffersize in {name}")
    if nbytes > len(view):
        raise ValueError(
            "buffer too small for requested bytes"
            if name == "recv_into"
            else "nbytes is greater than the length of the buffer"
        )
    return view[:nbytes] if nbytes else view


def _fill(view: memoryview, data: bytes) -> int:
    """Copy the data into a buffer; how many bytes there are, of which with MSG_TRUNC not all need fit."""
    size = len(data)
    view[:size] = data if size <= len(view) else data[: len(view)]
    return size


def _as_long(received: Received) -> bytes:
    """The data, and zeros in place of those that MSG_TRUNC only counts: Python returns so many bytes."""
    return received.data.ljust(received.length, b"\0")


def _sender(received: Received) -> Any:
    return to_python(received.name) if received.name else None


def _shown(items: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    if not LEVELS:
        return items
    here = int(standard.SOL_SOCKET)
    return [(here if level == SOL_SOCKET else level, kind, data) for level, kind, data in items]
