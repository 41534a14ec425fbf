"""The functions of `os`, `fcntl` and `signal` on descriptors, for virtual ones; together with those on names."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any, Final

from afunix.abi.constants import (
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GETFL,
    F_SETFL,
    FIOCLEX,
    FIONBIO,
    FIONCLEX,
    O_NONBLOCK,
    S_IFIFO,
    S_IFSOCK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT
from afunix.core.errors import Unmodelled
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import PipeReader, PipeWriter
from afunix.core.socket import Socket
from afunix.inproc import host, numbers, paths
from afunix.inproc.host import bad_descriptor, os_error

__all__ = ["FCNTL", "REPLACED", "SIGNAL"]


def _close(real: Any, fd: int) -> None:
    if not numbers.is_virtual(fd):
        real(fd)
        return
    process, entry, _ = numbers.find(fd)
    process.call(process.core.descriptors.close, entry)


def _dup(real: Any, fd: int) -> int:
    if not numbers.is_virtual(fd):
        return int(real(fd))
    process, _, file = numbers.find(fd)
    return process.base | process.call(lambda: process.core.descriptors.install(file, cloexec=True))


def _dup2(real: Any, fd: int, fd2: int, inheritable: bool = True) -> int:
    if not numbers.is_virtual(fd) or not numbers.is_virtual(fd2) or fd2 & ~numbers.FD_MASK != fd & ~numbers.FD_MASK:
        return int(real(fd, fd2, inheritable))
    process, entry, _ = numbers.find(fd)
    return process.base | process.syscalls.dup2(entry, fd2 & numbers.FD_MASK)


def _read(real: Any, fd: int, size: int) -> bytes:
    if not numbers.is_virtual(fd):
        return real(fd, size)  # type: ignore[no-any-return]
    process, entry, _ = numbers.find(fd)
    return process.syscalls.read(entry, size)


def _write(real: Any, fd: int, data: Any) -> int:
    if not numbers.is_virtual(fd):
        return int(real(fd, data))
    process, entry, _ = numbers.find(fd)
    return process.syscalls.write(entry, data)


def _readv(real: Any, fd: int, buffers: Iterable[Any], /) -> int:
    if not numbers.is_virtual(fd):
        return int(real(fd, buffers))
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    data = _read(None, fd, sum(map(len, views)))
    position = 0
    for view in views:
        part = data[position : position + len(view)]
        view[: len(part)] = part
        position += len(part)
    return len(data)


def _writev(real: Any, fd: int, buffers: Iterable[Any], /) -> int:
    return int(real(fd, buffers)) if not numbers.is_virtual(fd) else _write(None, fd, b"".join(map(bytes, buffers)))


def _lseek(real: Any, fd: int, position: int, how: int = os.SEEK_SET, /) -> int:
    if not numbers.is_virtual(fd):
        return int(real(fd, position, how))
    process, entry, _ = numbers.find(fd)
    return process.syscalls.lseek(entry, position, how)


def _fstat(real: Any, fd: int) -> os.stat_result:
    if not numbers.is_virtual(fd):
        return real(fd)  # type: ignore[no-any-return]
    process, _, file = numbers.find(fd)
    if isinstance(file, Socket):
        kind, number, size = S_IFSOCK | 0o777, file.number, 0
    elif isinstance(file, MemoryFile):
        return paths.status(file.inode)
    elif isinstance(file, PipeReader | PipeWriter):
        kind, number, size = S_IFIFO | 0o600, id(file.pipe) & 0xFFFFFFFF, 0
    else:
        kind, number, size = 0o600, 1, 0  # an anonymous inode
    return os.stat_result((kind, number, paths.DEVICE, 1, process.uid, process.gid, size, 0, 0, 0))


def _get_blocking(real: Any, fd: int) -> bool:
    if not numbers.is_virtual(fd):
        return bool(real(fd))
    process, entry, _ = numbers.find(fd)
    return not process.syscalls.fcntl(entry, F_GETFL) & O_NONBLOCK


def _set_blocking(real: Any, fd: int, blocking: bool) -> None:
    if not numbers.is_virtual(fd):
        real(fd, blocking)
        return
    process, entry, _ = numbers.find(fd)
    flags = process.syscalls.fcntl(entry, F_GETFL)
    process.syscalls.fcntl(entry, F_SETFL, flags & ~O_NONBLOCK if blocking else flags | O_NONBLOCK)


def _get_inheritable(real: Any, fd: int) -> bool:
    if not numbers.is_virtual(fd):
        return bool(real(fd))
    process, entry, _ = numbers.find(fd)
    return not process.call(process.core.descriptors.get_cloexec, entry)


def _set_inheritable(real: Any, fd: int, inheritable: bool) -> None:
    if not numbers.is_virtual(fd):
        real(fd, inheritable)
        return
    process, entry, _ = numbers.find(fd)
    process.call(process.core.descriptors.set_cloexec, entry, not inheritable)


def _isatty(real: Any, fd: int) -> bool:
    return bool(real(fd)) if not numbers.is_virtual(fd) else False


# The modules fcntl and signal.


_COMMANDS: Final = host.to_linux("F_", host.FCNTL)
_FLAGS: Final = host.to_linux("O_", os)
_FLAGS_BACK: Final = {linux: here for here, linux in _FLAGS.items()}


def _number(source: Any) -> int:
    return source if isinstance(source, int) else int(source.fileno())


def _fcntl(real: Any, fd: Any, cmd: int, arg: Any = 0, /) -> Any:
    number = _number(fd)
    if not numbers.is_virtual(number):
        return real(fd, cmd, arg)
    if not isinstance(arg, int):
        raise Unmodelled(f"fcntl command {cmd} with a buffer")
    process, entry, _ = numbers.find(number)
    command = _COMMANDS.get(cmd, cmd)
    result = process.syscalls.fcntl(entry, command, host.translate(arg, _FLAGS) if command == F_SETFL else arg)
    if command == F_GETFL:
        return host.translate(result, _FLAGS_BACK)
    return process.base | result if command in (F_DUPFD, F_DUPFD_CLOEXEC) else result


def _ioctl(real: Any, fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True, /) -> Any:
    number = _number(fd)
    if not numbers.is_virtual(number):
        return real(fd, request, arg, mutate_flag)
    process, entry, file = numbers.find(number)
    if request in (FIOCLEX, FIONCLEX):
        process.call(process.core.descriptors.set_cloexec, entry, request == FIOCLEX)
        return 0
    if request == FIONBIO:
        file.nonblock = bool(INT.unpack_from(arg)[0])  # type: ignore[attr-defined]
        return 0 if isinstance(arg, bytearray) and mutate_flag else bytes(arg)
    if isinstance(arg, int):
        raise os_error(SyscallError(Errno.EFAULT))
    value = INT.pack(process.syscalls.ioctl(entry, request))
    if mutate_flag and not memoryview(arg).readonly:
        memoryview(arg).cast("B")[: INT.size] = value
        return 0
    return value + bytes(arg)[INT.size :]


def _pidfd_send_signal(real: Any, pidfd: int, sig: int, siginfo: Any = None, flags: int = 0, /) -> None:
    if not numbers.is_virtual(pidfd):
        real(pidfd, sig, siginfo, flags)
        return
    process, entry, _ = numbers.find(pidfd)
    process.syscalls.pidfd_send_signal(entry, int(sig))


_DESCRIPTORS: Final[dict[str, Callable[..., Any]]] = {
    "close": _close,
    "dup": _dup,
    "dup2": _dup2,
    "fstat": _fstat,
    "get_blocking": _get_blocking,
    "get_inheritable": _get_inheritable,
    "isatty": _isatty,
    "lseek": _lseek,
    "read": _read,
    "readv": _readv,
    "set_blocking": _set_blocking,
    "set_inheritable": _set_inheritable,
    "write": _write,
    "writev": _writev,
}


ADDED: Final = ("get_blocking", "set_blocking", "pidfd_send_signal")
"""Functions that are there under `afunix.patch` for virtual descriptors, even if the host has none like them."""


def _lacking(fd: int, *_: Any) -> Any:
    """Stands for such a function: there is no host descriptor that it could be about."""
    raise bad_descriptor()


def _bound(module: Any, functions: dict[str, Callable[..., Any]]) -> dict[str, Any]:
    """By name: what stands in a module under `afunix.patch`."""

    def stand_in(function: Callable[..., Any], real: Any) -> Callable[..., Any]:
        @functools.wraps(real)
        def replacement(*args: Any, **kwargs: Any) -> Any:
            return function(real, *args, **kwargs)

        return replacement

    return {
        name: stand_in(function, getattr(module, name, _lacking))
        for name, function in functions.items()
        if hasattr(module, name) or name in ADDED
    }


REPLACED: Final = _bound(os, {**paths.FUNCTIONS, **_DESCRIPTORS})
FCNTL: Final = _bound(host.FCNTL, {"fcntl": _fcntl, "ioctl": _ioctl})
SIGNAL: Final = _bound(signal, {"pidfd_send_signal": _pidfd_send_signal})
