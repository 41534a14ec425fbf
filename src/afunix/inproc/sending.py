"""Sending: the methods of `socket` that put data and descriptors into our kernel."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from afunix.abi.constants import SCM_MAX_FD, SOCK_DGRAM, SOCK_STREAM, UIO_MAXIOV
from afunix.abi.errno import Errno, SyscallError
from afunix.core import datagram_quick
from afunix.core.stream_quick import put_files
from afunix.inproc import passing, transfer
from afunix.inproc.addresses import from_python
from afunix.inproc.endpoint import LEVELS, Endpoint, call_flags, nothing_to_put
from afunix.inproc.host import MONOTONIC, os_error

if TYPE_CHECKING:
    from afunix.abi.message import ControlMessage
    from afunix.core.file import File
    from afunix.core.socket import Socket

__all__ = ["Sending"]

MOST_PATIENCE: Final = 256
"""At most so many sends in a row, without a receive between them, let the thread that they wake run at once. Who goes
on then may not be waiting for answers: the reader gets the interpreter when it is its turn, and finds more to read."""
WORTH_A_SWITCH: Final = 32768
"""Bytes whose copying costs about as much as going to another thread and back."""


class Sending(Endpoint):
    """A socket that sends."""

    __slots__ = ()

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send, and return how many bytes went."""
        if type(data) is not bytes and self._sock is not None:
            data = _whole(data, self._most())
        if flags == 0 and type(data) is bytes and self._put is not nothing_to_put:
            kernel = self._kernel
            lock = kernel.lock
            lock.acquire()
            try:
                quick = self._put  # another thread may have closed it
                sent = quick(self._sock, data)  # type: ignore[arg-type]
                if sent and kernel.pending:
                    kernel.wakeups.apply()
            finally:
                lock.release()
            if sent:
                if kernel.roused:
                    self._make_way(sent)
                elif self._unanswered > self._patience:
                    self._unanswered = self._patience
                return sent
        if self._sock is None:
            return self._host().send(data, flags)
        return self._send(data, flags)

    def _put_quickly(self, put: Callable[..., int], sock: Socket, *arguments: Any) -> int:
        """Send in one of the short ways: 0 where it is not the common case."""
        kernel = self._kernel
        with kernel.lock:
            try:
                sent = put(sock, *arguments)
            except SyscallError as error:
                raise os_error(error) from None
            if sent and kernel.pending:
                kernel.wakeups.apply()
        if sent:
            if kernel.roused:
                self._make_way(sent)
            elif self._unanswered > self._patience:
                self._unanswered = self._patience
        return sent

    def _most(self) -> int | None:
        """How many bytes it is of use to take out of a caller's buffer; None for all."""
        sock = self._sock
        return 2 * sock.sndbuf if sock is not None and sock.type == SOCK_STREAM and sock.nonblock else None

    def _send(
        self,
        data: bytes,
        flags: int,
        address: bytes | None = None,
        items: Sequence[ControlMessage] = (),
        fds: Sequence[int] = (),
        until: float | None = None,
    ) -> int:
        """With control messages, or in place of them with these descriptors.

        until: when it is over for a socket with a time-out, where that does not begin now.
        """
        sock = self._sock
        process = self._process
        kernel = process.kernel
        flags = call_flags(flags)
        files: Sequence[File] = ()
        creds = None
        with kernel.lock:
            try:
                sock = self._open(sock)
                if fds:
                    files = passing.files_of(fds, partial(passing.file_of, self._kernel))
                    if len(fds) > SCM_MAX_FD:
                        raise SyscallError(Errno.EINVAL)
                elif items:
                    files, creds = passing.outgoing(process, sock, items)
                if not self._timeout:
                    sent = transfer.send(kernel, process.core, sock, data, flags, files, creds, address)
                else:
                    sent = transfer.until_ready(
                        kernel,
                        sock,
                        lambda: transfer.send(kernel, process.core, sock, data, flags, files, creds, address),
                        MONOTONIC() + self._timeout if until is None else until,
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
            self._make_way(sent)
        return sent

    def _make_way(self, sent: int) -> None:
        """A reader was woken: let it run at once, unless this thread sends on and on, each time not much.

        Whether it does shows when the reader is not let run for once: at the next send it is not back yet. If it is,
        this thread has waited meanwhile, for an answer that comes another way; that is tried ever more seldom.
        """
        kernel = self._kernel
        if sent < WORTH_A_SWITCH and not kernel.signalled:
            self._unanswered += 1
            ahead = self._unanswered - self._patience
            if ahead == 1:
                kernel.roused = False
                return
            if ahead > 1:
                self._unanswered = 0
                self._patience = min(2 * self._patience, MOST_PATIENCE)
        kernel.make_way()

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of it. After an error nobody knows how much went."""
        if self._sock is None:
            self._host().sendall(data, flags)
            return
        data = _whole(data)
        until = MONOTONIC() + self._timeout if self._timeout else None
        sent = Sending.send(self, data, flags)  # not what is derived from it
        if sent == len(data):
            return
        left = memoryview(data)[sent:]
        while left:
            if until is not None and until <= MONOTONIC():
                raise TimeoutError("timed out")
            left = left[self._send(bytes(left[: self._most()]), flags, until=until) :]

    def sendto(self, data: Any, *arguments: Any) -> int:
        """sendto(data[, flags], address)."""
        if self._sock is None:
            return self._host().sendto(data, *arguments)
        if not 1 <= len(arguments) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        data = _whole(data)
        address = self._destination(arguments[-1])
        flags = arguments[0] if len(arguments) == 2 else 0
        sock = self._sock
        if flags == 0 and self._kind == SOCK_DGRAM and not self._timeout and sock is not None:
            sent = self._put_quickly(datagram_quick.put_to, sock, self._process.core, data, address)
            if sent:
                return sent
        return self._send(data, flags, address=address)

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
        data = _joined(buffers)
        if ancdata is not None and not ancdata and flags == 0 and address is None:
            return Sending.send(self, data)
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

    def _send_fds(self, buffers: Iterable[Any], fds: Sequence[int], flags: int, address: Any) -> int:
        """What sendmsg does with one SCM_RIGHTS message, without making it; of a virtual socket."""
        data = _joined(buffers)
        if address is not None:
            return self._send(data, flags, self._destination(address), (), fds)
        sent = 0
        if not flags and fds and self._kind == SOCK_STREAM and not self._timeout:
            kernel = self._kernel
            with kernel.lock:
                files = passing.files_of(fds, partial(passing.file_of, kernel))
                sock = self._sock
                try:
                    if sock is not None and len(fds) <= SCM_MAX_FD:
                        sent = put_files(sock, self._process.core, data, files)
                except SyscallError as error:
                    raise os_error(error) from None
                finally:
                    if not sent:
                        passing.release(files)
                if kernel.pending:
                    kernel.wakeups.apply()
            if kernel.roused:
                self._make_way(sent)
        return sent or self._send(data, flags, None, (), fds)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a file until its end; the file's position follows."""
        if self._sock is None:
            return super().sendfile(file, offset, count)
        return self._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return, attr-defined]


def _joined(buffers: Iterable[Any]) -> bytes:
    parts = [_whole(buffer) for buffer in buffers]
    if len(parts) > UIO_MAXIOV:
        raise os_error(SyscallError(Errno.EMSGSIZE))
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
