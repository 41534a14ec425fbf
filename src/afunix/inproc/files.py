"""The functions of `os` for what is ours: names in a private filesystem, and virtual descriptors.

A name is ours if it leads to a socket in the private filesystem; all others, directories too, are the host's. What
can't be done to a socket's name alone, such as a dir_fd, is left to the host.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Final

from afunix.abi.constants import S_IFSOCK
from afunix.abi.errno import SyscallError
from afunix.core.inode import Inode, SocketInode, permitted
from afunix.core.pathwalk import PathWalk
from afunix.core.socket import Socket
from afunix.inproc import numbers
from afunix.inproc.host import bad_descriptor, os_error
from afunix.inproc.kernel import current
from afunix.inproc.process import Process

__all__ = ["REPLACED"]

DEVICE: Final = 0x75
"""st_dev of private names: a number that no filesystem of the host is likely to have."""


def _ours(path: Any, follow: bool = False) -> tuple[Process, bytes, SocketInode] | None:
    """The current process, the path and the inode if it is a socket's of ours."""
    if isinstance(path, int):
        return None
    process = current()
    with process.kernel.lock:
        try:
            raw = process.path(os.fsencode(path))
            inode = PathWalk(process.core).to_end(raw, follow=follow)
        except (SyscallError, TypeError, ValueError, OSError):
            return None
    return (process, raw, inode) if isinstance(inode, SocketInode) else None


def _do(process: Process, name: Any, operation: Callable[..., Any], *arguments: Any) -> Any:
    """An operation on the private filesystem, whose OSError has the file's name."""
    with process.kernel.lock:
        try:
            return operation(process.core, *arguments)
        except SyscallError as error:
            raise os_error(error, name) from None


def _status(inode: Inode) -> os.stat_result:
    return os.stat_result((inode.mode, inode.number, DEVICE, inode.nlink, inode.uid, inode.gid, inode.size, 0, 0, 0))


# Names.


def _unlink(real: Any, path: Any, **options: Any) -> None:
    found = None if options.get("dir_fd") is not None else _ours(path)
    if found is None:
        real(path, **options)
        return
    process, raw, _ = found
    _do(process, path, process.kernel.filesystem.unlink, raw)


def _stat(real: Any, path: Any, **options: Any) -> os.stat_result:
    if numbers.is_virtual(path):
        return _fstat(real, path)
    found = None
    if options.get("dir_fd") is None:
        found = _ours(path, options.get("follow_symlinks", True))
    return real(path, **options) if found is None else _status(found[2])


def _lstat(real: Any, path: Any, **options: Any) -> os.stat_result:
    found = None if options.get("dir_fd") is not None else _ours(path)
    return real(path, **options) if found is None else _status(found[2])


def _chmod(real: Any, path: Any, mode: int, **options: Any) -> None:
    found = None if options.get("dir_fd") is not None else _ours(path, follow=True)
    if found is None:
        real(path, mode, **options)
        return
    process, raw, _ = found
    _do(process, path, process.kernel.filesystem.chmod, raw, mode)


def _chown(real: Any, path: Any, uid: int, gid: int, **options: Any) -> None:
    found = None if options.get("dir_fd") is not None else _ours(path, follow=True)
    if found is None:
        real(path, uid, gid, **options)
        return
    process, raw, _ = found
    _do(process, path, process.kernel.filesystem.chown, raw, uid, gid)


def _rename(real: Any, src: Any, dst: Any, **options: Any) -> None:
    found = None if any(value is not None for value in options.values()) else _ours(src)
    if found is None:
        real(src, dst, **options)
        return
    process, raw, _ = found
    _do(process, src, process.kernel.filesystem.rename, raw, os.fsencode(dst))


def _link(real: Any, src: Any, dst: Any, **options: Any) -> None:
    found = None if options.get("src_dir_fd") is not None or options.get("dst_dir_fd") is not None else _ours(src)
    if found is None:
        real(src, dst, **options)
        return
    process, raw, _ = found
    _do(process, src, process.kernel.filesystem.link, raw, os.fsencode(dst))


def _access(real: Any, path: Any, mode: int, **options: Any) -> bool:
    found = None if options.get("dir_fd") is not None else _ours(path, follow=True)
    if found is None:
        return bool(real(path, mode, **options))
    process, _, inode = found
    return permitted(process.core.credentials, inode, mode & 7)


def _listdir(real: Any, path: Any = None) -> list[Any]:
    names = real() if path is None else real(path)
    if isinstance(path, int):
        return names  # type: ignore[no-any-return]
    process = current()
    with process.kernel.lock:
        try:
            walk = PathWalk(process.core)
            directory = walk.to_end(process.path(os.fsencode(path if path is not None else ".")))
        except (SyscallError, ValueError, OSError):
            return names  # type: ignore[no-any-return]
        entries = getattr(directory, "entries", {})
        ours = [name for name, entry in entries.items() if isinstance(entry, SocketInode)]
    return names + (ours if isinstance(path, bytes) else [os.fsdecode(name) for name in ours])  # type: ignore[no-any-return]


# Descriptors.


def _socket(number: int) -> tuple[Process, int, Socket]:
    process, fd, file = numbers.find(number)
    if not isinstance(file, Socket):
        raise bad_descriptor()
    return process, fd, file


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


def _fstat(real: Any, fd: int) -> os.stat_result:
    if not numbers.is_virtual(fd):
        return real(fd)  # type: ignore[no-any-return]
    process, _, sock = _socket(fd)
    mode = S_IFSOCK | 0o777
    return os.stat_result((mode, sock.number, DEVICE, 1, process.uid, process.gid, 0, 0, 0, 0))


def _get_blocking(real: Any, fd: int) -> bool:
    if not numbers.is_virtual(fd):
        return bool(real(fd))
    return not _socket(fd)[2].nonblock


def _set_blocking(real: Any, fd: int, blocking: bool) -> None:
    if not numbers.is_virtual(fd):
        real(fd, blocking)
        return
    _socket(fd)[2].nonblock = not blocking


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


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "access": _access,
    "chmod": _chmod,
    "chown": _chown,
    "close": _close,
    "dup": _dup,
    "dup2": _dup2,
    "fstat": _fstat,
    "get_blocking": _get_blocking,
    "get_inheritable": _get_inheritable,
    "isatty": _isatty,
    "link": _link,
    "listdir": _listdir,
    "lstat": _lstat,
    "read": _read,
    "remove": _unlink,
    "rename": _rename,
    "replace": _rename,
    "set_blocking": _set_blocking,
    "set_inheritable": _set_inheritable,
    "stat": _stat,
    "unlink": _unlink,
    "write": _write,
}


def _bound(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    real = getattr(os, name)

    @functools.wraps(real)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return function(real, *args, **kwargs)

    return replacement


REPLACED: Final = {name: _bound(name, function) for name, function in _FUNCTIONS.items() if hasattr(os, name)}
"""By name in `os`: what stands there under `afunix.patch`."""
