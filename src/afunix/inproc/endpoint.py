"""What a socket object is, whatever it does: its descriptor, its life, its time-out.

It derives from the standard library's class, whose descriptor stays -1 for a virtual socket. So libraries that ask
isinstance get what they want, and all that is written in Python there (makefile, context manager, closing with files
open) is used as it is. Where the host has no AF_UNIX nothing else is needed of it.
"""

from __future__ import annotations

import math
import operator
import socket as standard
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

from afunix.abi.constants import (
    AF_UNIX,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOCK_TYPE_MASK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection, datagram_quick, stream_quick
from afunix.core.socket import Socket
from afunix.inproc import host, numbers
from afunix.inproc.host import bad_descriptor, os_error, to_linux_flags
from afunix.inproc.kernel import current

if TYPE_CHECKING:
    from typing import Self

    from afunix.inproc.process import Process
    from afunix.inproc.waiting import Taker

__all__ = [
    "INT_MAX", "LEVELS", "Endpoint", "call_flags", "duplicate", "nothing_to_put", "nothing_to_take", "seconds",
    "without_flags",
]  # fmt: skip

PATIENCE: Final = 8
"""How many unanswered sends let their readers run, to begin with (`Sending._make_way`)."""

LEVELS: Final = host.to_linux("SOL_")
"""Numbers of option levels that are other on the host than on Linux."""


INT_MAX: Final = (1 << 31) - 1
MAX_TIMEOUT: Final = (1 << 63) / 1e9
"""Seconds that fit the interpreter's clock."""


def nothing_to_take(sock: Socket, size: int) -> None:
    """Stands in for `take` where recv has to look closer."""


def nothing_to_put(sock: Socket, data: bytes) -> int:
    """Stands in for `put` where send has to look closer."""
    return 0


Take = Callable[[Socket, int], bytes | None]
Put = Callable[[Socket, bytes], int]

SHORT: Final[dict[int, tuple[Take, Put, Put]]] = {
    SOCK_STREAM: (stream_quick.take, stream_quick.put, stream_quick.put_if_writable),
    SOCK_DGRAM: (datagram_quick.take, datagram_quick.put, datagram_quick.put_if_writable),
    SOCK_SEQPACKET: (datagram_quick.take, datagram_quick.put, datagram_quick.put_if_writable),
}
"""The short ways of each type: to receive, to send, and to send where a time-out has it poll before."""


class Endpoint(standard.socket):
    """A virtual socket of this process, or a socket of the host where `_sock` is None and `_kind` 0."""

    __slots__ = (
        "_fd",
        "_kernel",
        "_kind",
        "_patience",
        "_process",
        "_proto",
        "_put",
        "_sock",
        "_take",
        "_taker",
        "_timeout",
        "_unanswered",
        "_waits",
    )

    _closed: bool
    _io_refs: int
    _put: Put
    _sock: Socket | None
    _process: Process
    _take: Take

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        if fileno is None and family == AF_UNIX:
            process = current()
            core = process.core
            if not core.alive:
                process.check_alive()
            kernel = process.kernel
            kind = SOCK_STREAM if type == -1 else operator.index(type)
            kernel.lock.acquire()
            try:
                plain = kind if kind == SOCK_STREAM else without_flags(kind)
                sock = connection.create(kernel.core, core, plain, proto if proto > 0 else 0)
                fd = core.descriptors.install(sock, True)
            except SyscallError as error:
                raise os_error(error) from None
            finally:
                kernel.lock.release()
            if kind & SOCK_NONBLOCK:
                sock.nonblock = True
            self._begin(process, fd, sock)
            if proto > 0:
                self._proto = proto
        elif numbers.is_virtual(fileno):
            process, fd, file = numbers.find(fileno)
            if not isinstance(file, Socket):
                raise os_error(SyscallError(Errno.ENOTSOCK))
            self._begin(process, fd, file)
        else:
            self._sock = None
            self._kind = 0
            self._take = nothing_to_take
            self._put = nothing_to_put
            super().__init__(family, type, proto, fileno)

    def _begin(self, process: Process, fd: int, sock: Socket) -> None:
        """Be the virtual socket that this descriptor of the process refers to."""
        kind = sock.type
        self._io_refs = 0
        self._closed = False
        self._process = process
        self._kernel = process.kernel
        self._fd = fd
        self._kind = kind
        self._proto = 0
        self._taker: Taker | None = None
        self._unanswered = 0
        self._patience = PATIENCE
        self._sock = sock
        self._take, self._put, _ = SHORT[kind]
        if sock.nonblock:
            self._timeout: float | None = 0.0
            self._waits = False
            return
        self._timeout = None
        self._waits = True
        default = standard.getdefaulttimeout()
        if default is not None:
            self.settimeout(default)

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

    def _real_close(self) -> None:
        sock = self._sock
        if sock is None:
            super()._real_close()  # type: ignore[misc]
            return
        self._sock = None
        self._take = nothing_to_take
        self._put = nothing_to_put
        kernel = self._kernel
        kernel.lock.acquire()
        try:
            self._process.core.descriptors.discard(self._fd, sock)
        finally:
            kernel.leave()
        if kernel.roused:
            kernel.make_way()

    def _forget(self) -> None:
        self._sock = None
        self._take = nothing_to_take
        self._put = nothing_to_put

    def __del__(
        self, _warn: Callable[..., None] = warnings.warn, _at_the_end: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        try:
            sock = self._sock
            if sock is None and self._kind:
                return
        except AttributeError:  # it was never made
            sock = None
        if _at_the_end():
            return  # modules are empty by now, and nothing is left that could be told
        if sock is None:
            super().__del__()  # type: ignore[misc]
            return
        try:
            if sock.references and self._process.core.descriptors.files.get(self._fd) is sock:
                _warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:  # the warning may be an error
            self._forget()
            self._process.abandon(self._fd, sock)

    def detach(self) -> int:
        """Close the object without closing the descriptor, which is returned."""
        number = self.fileno()
        if self._sock is None:
            return super().detach()
        self._closed = True
        self._forget()
        return number

    def dup(self) -> Self:
        """A new object with a new descriptor for the same open file description."""
        if self._sock is None:
            self._closed_here()
            return super().dup()
        process = self._process
        fd = process.call(duplicate, process, self._fd)
        twin = self.__class__(fileno=process.base | fd)
        twin.settimeout(self._timeout)
        return twin

    def get_inheritable(self) -> bool:
        """Whether exec keeps the descriptor."""
        if self._sock is None:
            return self._host().get_inheritable()
        return not self._process.call(self._process.core.descriptors.get_cloexec, self._fd)

    def set_inheritable(self, inheritable: bool) -> None:
        """Say whether exec keeps the descriptor."""
        if self._sock is None:
            self._host().set_inheritable(inheritable)
        else:
            self._process.call(self._process.core.descriptors.set_cloexec, self._fd, not inheritable)

    # Time-outs.

    def settimeout(self, value: float | None) -> None:
        """None: wait for ever. 0: never wait. Else seconds to wait, as a float."""
        if self._sock is None:
            self._host().settimeout(value)
            return
        if value is not None:
            value = seconds(value)
            if value < 0:
                raise ValueError("Timeout value out of range")
        self._timeout = value
        self._waits = value != 0
        self._sock.nonblock = value is not None
        _, put, put_if_writable = SHORT[self._kind]
        self._put = put_if_writable if value else put

    def gettimeout(self) -> float | None:
        """Seconds to wait, or None."""
        return self._timeout if self._kind else super().gettimeout()

    def setblocking(self, flag: bool) -> None:
        """settimeout(None) or settimeout(0)."""
        if self._sock is None:
            self._host().setblocking(flag)
        else:
            self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Whether calls wait."""
        return self._timeout != 0.0 if self._kind else super().getblocking()

    # For those who derive from it.

    def _host(self) -> standard.socket:
        """The standard library's methods, for a socket of the host: EBADF if it is a virtual one that is closed."""
        self._closed_here()
        methods: Any = super()
        return methods  # type: ignore[no-any-return]

    def _closed_here(self) -> None:
        if self._kind:
            raise bad_descriptor()

    def _open(self, sock: Socket | None) -> Socket:
        """The core's socket, if the descriptor still refers to it: EBADF, as for one that was closed by its number."""
        if sock is None or self._process.core.descriptors.files.get(self._fd) is not sock:
            raise bad_descriptor()
        return sock


def seconds(value: float) -> float:
    """A time-out as Python reads it, in whole nanoseconds, rounded up. TypeError; ValueError: NaN; OverflowError."""
    if type(value) is int and -INT_MAX <= value <= INT_MAX:
        return float(value)
    value = value if isinstance(value, float) else float(operator.index(value))
    if math.isnan(value):
        raise ValueError("Invalid value NaN (not a number)")
    if abs(value) > MAX_TIMEOUT:
        raise OverflowError("timestamp out of range for platform time_t")
    return value if value.is_integer() else math.copysign(math.ceil(abs(value) * 1e9), value) / 1e9


def call_flags(flags: int) -> int:
    """MSG_ flags of the host as Linux's. TypeError, OverflowError: no C int."""
    flags = operator.index(flags)
    if not -INT_MAX <= flags + 1 <= INT_MAX + 1:
        raise OverflowError(f"signed integer is {'greater than maximum' if flags > 0 else 'less than minimum'}")
    return to_linux_flags(flags)


def without_flags(kind: int) -> int:
    """The socket type in an argument that may also have SOCK_NONBLOCK and SOCK_CLOEXEC: EINVAL for other flags."""
    if kind & ~(SOCK_TYPE_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise SyscallError(Errno.EINVAL)
    return kind & SOCK_TYPE_MASK


def duplicate(process: Process, fd: int) -> int:
    """A new descriptor of the process for the same file."""
    descriptors = process.core.descriptors
    return descriptors.install(descriptors.get(fd), cloexec=True)
