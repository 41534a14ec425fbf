"""The border to the host: its error numbers and flags, which are not Linux's everywhere, and its own modules.

The names of the standard library are taken here once, before anything is patched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
import socket
import time
from typing import Any, Final

try:
    import fcntl
except ModuleNotFoundError:
    fcntl = None  # type: ignore[assignment]

from afunix.abi import constants
from afunix.abi.errno import Errno, SyscallError

__all__ = [
    "LACKING",
    "SOCKET",
    "Pipe",
    "os_error",
    "to_core",
    "to_host_flags",
    "to_linux",
    "to_linux_flags",
    "to_unix",
    "translate",
]

SOCKET: Final = socket.socket
"""The standard library's class."""
SOCKETPAIR: Final = socket.socketpair
SELECT: Final = select.select
POLL: Final[Any] = getattr(select, "poll", None)
EPOLL: Final[Any] = getattr(select, "epoll", None)
SELECTOR: Final = selectors.DefaultSelector
CLOSE: Final = os.close
DUP: Final = os.dup
READ: Final = os.read
WRITE: Final = os.write
SET_INHERITABLE: Final = os.set_inheritable
GETCWD: Final = os.getcwd
STAT: Final = os.stat
LSTAT: Final = os.lstat
FSTAT: Final = os.fstat
UNLINK: Final = os.unlink
OPEN: Final = os.open
CHMOD: Final = os.chmod
CHOWN: Final[Any] = getattr(os, "chown", None)
MKNOD: Final[Any] = getattr(os, "mknod", None)
READLINK: Final[Any] = getattr(os, "readlink", None)
UNIX: Final = int(getattr(socket, "AF_UNIX", 0))
"""AF_UNIX, where there is such a thing."""
FCNTL: Final[Any] = fcntl
MONOTONIC: Final = time.monotonic
TIME_NS: Final = time.time_ns
DRIVES: Final = os.name == "nt"
"""Whether absolute paths begin with a drive."""

_NUMBERS: Final = {code: getattr(errno, code.name, int(code)) for code in Errno}


def to_linux(names: str, host: Any = socket) -> dict[int, int]:
    """The host's numbers of the constants that begin so, and Linux's, where the two differ."""
    found = {}
    for name, value in vars(constants).items():
        if name.startswith(names):
            here = getattr(host, name, None)
            if here is not None and int(here) != value:
                found[int(here)] = value
    return found


_MSG: Final = to_linux("MSG_")
_MSG_BACK: Final = {linux: here for here, linux in _MSG.items()}


LACKING: Final = {
    name: value
    for name, value in vars(constants).items()
    if name.startswith(("AF_UNIX", "SOCK_", "MSG_", "SO_", "SOL_SOCKET", "SCM_", "SHUT_")) and not hasattr(socket, name)
}
"""What the host's module `socket` has no constants for, with Linux's numbers."""


def to_linux_flags(flags: int) -> int:
    """MSG_ flags of the host as Linux's."""
    return translate(flags, _MSG) if _MSG else flags


def to_host_flags(flags: int) -> int:
    """MSG_ flags of Linux as the host's."""
    return translate(flags, _MSG_BACK) if _MSG_BACK else flags


def translate(flags: int, table: dict[int, int]) -> int:
    """Flags with other numbers, by a table as of `to_linux`."""
    result = flags
    for old in table:
        result &= ~old
    for old, new in table.items():
        if flags & old:
            result |= new
    return result


def os_error(error: SyscallError, *names: object) -> OSError:
    """The exception that Python raises for an errno, with the host's number of it; names are those of files."""
    number = _NUMBERS[error.errno]
    return OSError(number, os.strerror(number), *names)


def to_core(error: OSError) -> SyscallError:
    """The core's exception for one of the host's."""
    return SyscallError(Errno[errno.errorcode.get(error.errno or errno.EIO, "EIO")])


def to_unix(path: bytes) -> bytes:
    """A path of the host with Unix's separators, and a slash before the drive."""
    if not DRIVES:
        return path
    path = path.replace(b"\\", b"/")
    return b"/" + path if path[1:2] == b":" else path


def bad_descriptor() -> OSError:
    """EBADF."""
    return OSError(errno.EBADF, os.strerror(errno.EBADF))


class Pipe:
    """A host descriptor that becomes readable when `wake` is called: it gets a thread out of the host's poll.

    A socket pair where there is one for Unix, else as the standard library makes one: Windows polls nothing else.
    """

    __slots__ = ("_in", "_out")

    def __init__(self) -> None:
        self._out, self._in = SOCKETPAIR()
        self._out.setblocking(False)
        self._in.setblocking(False)

    def fileno(self) -> int:
        """What to poll for reading."""
        return self._out.fileno()

    def wake(self) -> None:
        """Make it readable."""
        with contextlib.suppress(BlockingIOError):  # it is readable enough
            SOCKET.send(self._in, b"\0")

    def drain(self) -> None:
        """Make it unreadable."""
        with contextlib.suppress(BlockingIOError):
            while len(SOCKET.recv(self._out, 4096)) == 4096:
                pass

    def close(self) -> None:
        """Close both ends."""
        self._out.close()
        self._in.close()
