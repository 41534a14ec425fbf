"""Sending: the methods of `socket` that put data and descriptors into our kernel."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from afunix.abi.constants import SOCK_DGRAM, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.inproc import passing, transfer
from afunix.inproc.addresses import from_python
from afunix.inproc.endpoint import LEVELS, Endpoint, nothing_to_put
from afunix.inproc.host import MONOTONIC, os_error, to_linux_flags

if TYPE_CHECKING:
    from afunix.abi.message import ControlMessage
    from afunix.core.file import File

__all__ = ["Sending"]


class Sending(Endpoint):
    """A socket that sends."""

    __slots__ = ()

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send, and return how many bytes went."""
        if not flags and type(data) is bytes and self._put is not nothing_to_put:
            with self._lock:
                sent = self._put(self._sock, data)  # type: ignore[arg-type]
                if sent and self._pending:
                    self._wakeups.apply()
            if sent:
                if self._kernel.roused:
                    self._kernel.make_way()
                return sent
        if self._sock is None:
            return self._host().send(data, flags)
        return self._send(_whole(data, self._most()), flags)

    def _most(self) -> int | None:
        """How many bytes it is of use to take out of a caller's buffer; None for all."""
        sock = self._sock
        return 2 * sock.sndbuf if sock is not None and sock.type == SOCK_STREAM and self._timeout is not None else None

    def _send(self, data: bytes, flags: int, address: bytes | None = None, items: Sequence[ControlMessage] = ()) -> int:
        sock = self._sock
        process = self._process
        kernel = process.kernel
        flags = to_linux_flags(operator.index(flags))
        files: Sequence[File] = ()
        creds = None
        with kernel.lock:
            try:
                sock = self._open(sock)
                if items:
                    files, creds = passing.outgoing(process, sock, items)
                if not self._timeout:
                    wait = self._timeout is None
                    sent = transfer.send(kernel, process.core, sock, data, flags, files, creds, address, wait)
                else:
                    sent = transfer.until_ready(
                        kernel,
                        sock,
                        lambda: transfer.send(kernel, process.core, sock, data, flags, files, creds, address, False),
                        MONOTONIC() + self._timeout,
                        lambda: self._open(self._sock),
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
            self._host().sendall(data, flags)
            return
        if not flags and type(data) is bytes:
            with self._lock:
                sent = self._put(sock, data)
                if sent and self._pending:
                    self._wakeups.apply()
            if sent:
                if self._kernel.roused:
                    self._kernel.make_way()
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
            return self._host().sendto(data, *arguments)
        if not 1 <= len(arguments) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        data = _whole(data)
        return self._send(data, arguments[0] if len(arguments) == 2 else 0, address=self._destination(arguments[-1]))

    def _destination(self, address: Any) -> bytes:
        raw = from_python(address, self._process.kernel.path_max)
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
            return self._host().sendmsg(buffers, ancdata, flags, *(() if address is None else (address,)))
        data = b"".join([_whole(buffer) for buffer in buffers])
        items: list[tuple[int, int, bytes]] = []
        for item in ancdata:
            try:
                level, kind, content = item
            except ValueError:
                raise TypeError("[sendmsg() argument 2] must be a sequence of (int, int, bytes-like)") from None
            level, kind = operator.index(level), operator.index(kind)
            items.append((LEVELS.get(level, level), kind, bytes(memoryview(content))))
        raw = None if address is None else self._destination(address)
        return self._send(data, flags, raw, items)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file until its end; the file's position follows."""
        if self._sock is None:
            return super().sendfile(file, offset, count)
        return self._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return, attr-defined]


def _whole(data: Any, most: int | None = None) -> bytes:
    """A caller's buffer as bytes that nobody changes; not more than `most` of it."""
    if type(data) is bytes:
        return data
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    if most is not None and view.nbytes > most:
        view = view.cast("B")[:most]
    return bytes(view)
