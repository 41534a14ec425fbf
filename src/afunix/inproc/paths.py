"""The functions of `os` on names, for those that are ours: names of sockets in a kernel's tree in memory.

All other names are the host's, directories too, and so is what has no meaning for a socket's name, such as extended
attributes. A directory that the host moves or removes takes the private names in it along; a name that the host gives
to something else, by rename, is no longer ours. Names on the host's own filesystem need none of this.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from afunix.abi.constants import O_ACCMODE, O_CREAT, O_EXCL
from afunix.abi.errno import Errno, SyscallError
from afunix.core.errors import Unmodelled
from afunix.core.filesystem import Filesystem
from afunix.core.inode import Directory, Inode, SocketInode, permitted
from afunix.inproc import host, numbers
from afunix.inproc.entries import Entry, Scan
from afunix.inproc.host import os_error
from afunix.inproc.kernel import current
from afunix.inproc.mirror import MirroredFilesystem
from afunix.inproc.process import Process

__all__ = ["DEVICE", "FUNCTIONS", "status"]

DEVICE: Final = 0x75
"""st_dev of private names: a number that no filesystem of the host is likely to have."""

O_PATH: Final[int] = getattr(os, "O_PATH", 0)


class Found(NamedTuple):
    """A name: in whose tree it is, the path, and what it leads to."""

    process: Process
    tree: Filesystem
    path: bytes
    inode: Inode

    def do(self, operation: Callable[..., Any], *arguments: Any, names: tuple[Any, ...]) -> Any:
        """A call of the tree, whose OSError has the files' names."""
        with self.process.kernel.lock:
            try:
                result = operation(self.process.core, *arguments)
            except SyscallError as error:
                raise os_error(error, *names) from None
            if isinstance(self.tree, MirroredFilesystem):
                self.tree.changed(self.inode)
            return result


def _tree(process: Process) -> Filesystem | None:
    """The tree in memory, if there may be names in it."""
    tree = process.kernel.namespace
    if isinstance(tree, MirroredFilesystem):
        return tree if tree.used else None
    return tree if isinstance(tree, Filesystem) else None


def _path(process: Process, tree: Filesystem, path: Any, dir_fd: int | None) -> bytes | None:
    """The path as the tree knows it; None where it can't lead to a name of ours."""
    raw = process.path(os.fsencode(path))
    if dir_fd is None or raw.startswith(b"/"):
        return raw
    directory = tree.copy_at(dir_fd) if isinstance(tree, MirroredFilesystem) else None
    return None if directory is None else host.to_unix(tree.host_path(directory)) + b"/" + raw  # type: ignore[attr-defined]


def _found(path: Any, dir_fd: int | None = None, follow: bool = False, names: tuple[Any, ...] = ()) -> Found | None:
    """What a path leads to in the tree of the current process, where it is in the tree.

    OSError ENOTDIR, with these names or the path's own: it leads through the name of a socket.
    """
    if isinstance(path, int):
        return None
    process = current()
    tree = _tree(process)
    if tree is None:
        return None
    with process.kernel.lock:
        try:
            raw = _path(process, tree, path, dir_fd)
            if raw is None:
                return None
            return Found(process, tree, raw, tree.stat(process.core, raw, follow=follow))
        except SyscallError as error:
            if error.errno is Errno.ENOTDIR:
                raise os_error(error, *(names or (path,))) from None
            return None
        except (TypeError, ValueError, OSError):
            return None


def _ours(path: Any, dir_fd: int | None = None, follow: bool = False, names: tuple[Any, ...] = ()) -> Found | None:
    found = _found(path, dir_fd, follow, names)
    return found if found is not None and isinstance(found.inode, SocketInode) else None


def _copy(
    path: Any, dir_fd: int | None = None, follow: bool = False
) -> tuple[Found, MirroredFilesystem, Directory] | None:
    """The copy of a directory of the host."""
    found = _found(path, dir_fd, follow)
    if found is None or not isinstance(found.inode, Directory) or not isinstance(found.tree, MirroredFilesystem):
        return None
    return found, found.tree, found.inode


def status(inode: Inode, times: tuple[int, int, int] = (0, 0, 0)) -> os.stat_result:
    """What os.stat tells; times in nanoseconds."""
    whole = tuple(time // 1_000_000_000 for time in times)
    names = ("st_atime", "st_mtime", "st_ctime")
    exact: dict[str, Any] = {name: time / 1e9 for name, time in zip(names, times, strict=True)}
    exact |= {f"{name}_ns": time for name, time in zip(names, times, strict=True)}
    return os.stat_result(
        (inode.mode, inode.number, DEVICE, inode.nlink, inode.uid, inode.gid, inode.size, *whole), exact
    )


def _status(found: Found) -> os.stat_result:
    tree = found.tree
    times = tree.times.get(found.inode) if isinstance(tree, MirroredFilesystem) else None
    return status(found.inode, times or (0, 0, 0))


def _refused(errno: Errno, *names: Any) -> OSError:
    return os_error(SyscallError(errno), *names)


def _two(src: Any, dst: Any) -> tuple[Any, ...]:
    """The names that an OSError of a call on two has; between them stands Windows' own number."""
    return src, None, dst


# Looking.


def _stat(real: Any, path: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
    if numbers.is_virtual(path):
        return os.fstat(path)
    found = _ours(path, dir_fd, follow_symlinks)
    return real(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks) if found is None else _status(found)


def _lstat(real: Any, path: Any, *, dir_fd: int | None = None) -> os.stat_result:
    found = _ours(path, dir_fd)
    return real(path, dir_fd=dir_fd) if found is None else _status(found)


def _access(real: Any, path: Any, mode: int, *, follow_symlinks: bool = True, **options: Any) -> bool:
    try:
        found = _ours(path, options.get("dir_fd"), follow_symlinks)
    except NotADirectoryError:
        return False
    if found is None:
        return bool(real(path, mode, follow_symlinks=follow_symlinks, **options))
    return permitted(found.process.core.credentials, found.inode, mode & 7)


def _readlink(real: Any, path: Any, *, dir_fd: int | None = None) -> Any:
    if _ours(path, dir_fd) is not None:
        raise _refused(Errno.EINVAL, path)
    return real(path, dir_fd=dir_fd)


def _private(path: Any) -> list[tuple[bytes, SocketInode]]:
    """The names of sockets in a directory, which may be given by descriptor."""
    process = current()
    tree = _tree(process)
    if tree is None:
        return []
    if not isinstance(path, int):
        found = _found("." if path is None else path, follow=True)
        directory = None if found is None else found.inode
    else:
        directory = tree.copy_at(path) if isinstance(tree, MirroredFilesystem) else None
    return list(MirroredFilesystem.private(directory)) if isinstance(directory, Directory) else []


def _listed(real: Any, path: Any) -> Any:
    """What the host lists. OSError ENOTDIR: the name of a socket."""
    try:
        return real(path)
    except FileNotFoundError:
        if _ours(path, follow=True) is not None:
            raise _refused(Errno.ENOTDIR, path) from None
        raise


def _listdir(real: Any, path: Any = None) -> list[Any]:
    names: list[Any] = _listed(real, path)
    private = [name for name, _ in _private(path)]
    return names + (private if isinstance(path, bytes) else [os.fsdecode(name) for name in private])


def _scandir(real: Any, path: Any = None) -> Any:
    entries = _listed(real, path)
    private = _private(path)
    if not private:
        return entries
    as_bytes = isinstance(path, bytes)
    made = []
    for raw, inode in private:
        name: Any = raw if as_bytes else os.fsdecode(raw)
        where = name if isinstance(path, int) else os.path.join("." if path is None else os.fspath(path), name)
        made.append(Entry(name, where, inode.number))
    return Scan(entries, made)


# Changing what is ours.


def _unlink(real: Any, path: Any, *, dir_fd: int | None = None) -> None:
    found = _ours(path, dir_fd)
    if found is None:
        real(path, dir_fd=dir_fd)
    else:
        found.do(found.tree.unlink, found.path, names=(path,))


def _chmod(real: Any, path: Any, mode: int, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
    if numbers.is_virtual(path):
        raise Unmodelled("the mode of a socket that has no name")
    found = _ours(path, dir_fd, follow_symlinks)
    if found is None:
        real(path, mode, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        _attributes_changed(path, dir_fd)
    else:
        found.do(found.tree.chmod, found.path, mode, names=(path,))


def _chown(
    real: Any, path: Any, uid: int, gid: int, *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> None:
    found = _ours(path, dir_fd, follow_symlinks)
    if found is None:
        real(path, uid, gid, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        _attributes_changed(path, dir_fd)
    else:
        found.do(found.tree.chown, found.path, uid, gid, names=(path,))


def _lchown(real: Any, path: Any, uid: int, gid: int) -> None:
    found = _ours(path)
    if found is None:
        real(path, uid, gid)
    else:
        found.do(found.tree.chown, found.path, uid, gid, names=(path,))


def _attributes_changed(path: Any, dir_fd: int | None) -> None:
    copy = _copy(path, dir_fd, follow=True)
    if copy is not None:
        _, tree, directory = copy
        tree.attributes_changed(directory)


def _utime(real: Any, path: Any, times: Any = None, **options: Any) -> None:
    found = _ours(path, options.get("dir_fd"), options.get("follow_symlinks", True))
    if found is None or not isinstance(found.tree, MirroredFilesystem):
        real(path, *(() if times is None else (times,)), **options)
        return
    now = host.TIME_NS()
    exact = options.get("ns")
    if exact is None:
        exact = (now, now) if times is None else [int(time * 1_000_000_000) for time in times]
    accessed, modified = exact
    found.tree.times[found.inode] = accessed, modified, now


def _open(real: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    found = _ours(path, dir_fd, follow=not flags & getattr(os, "O_NOFOLLOW", 0))
    if found is None:
        return int(real(path, flags, mode, dir_fd=dir_fd))
    if flags & O_PATH:
        raise Unmodelled("O_PATH descriptors of private names")
    creating = O_CREAT if flags & os.O_CREAT else 0
    only = O_EXCL if flags & os.O_EXCL else 0
    found.do(found.tree.open, found.path, flags & O_ACCMODE | creating | only, names=(path,))
    raise AssertionError("a socket can't be opened")


def _truncate(real: Any, path: Any, length: int) -> None:
    if _ours(path, follow=True) is not None:
        raise _refused(Errno.EINVAL, path)
    real(path, length)


def _rename(real: Any, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    names = _two(src, dst)
    found, replaced = _ours(src, src_dir_fd, names=names), _ours(dst, dst_dir_fd, names=names)
    if found is not None:
        _rename_ours(found, src, dst, dst_dir_fd)
        return
    copy = _copy(src, src_dir_fd)
    if copy is not None and replaced is not None:
        raise _refused(Errno.ENOTDIR, *names)
    real(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    if replaced is not None:
        replaced.do(replaced.tree.unlink, replaced.path, names=names)
    if copy is not None:
        found, tree, directory = copy
        with found.process.kernel.lock:
            target = _path(found.process, tree, dst, dst_dir_fd)
            if target is None:
                tree.removed(directory)
            else:
                tree.moved(directory, found.process.core, target)


def _rename_ours(found: Found, src: Any, dst: Any, dst_dir_fd: int | None) -> None:
    """What the host has under the new name is replaced as well."""
    names = _two(src, dst)
    target = _path(found.process, found.tree, dst, dst_dir_fd)
    if target is None:
        raise Unmodelled("rename of a private name into a directory that is known by descriptor only")
    there = _host_status(dst, dst_dir_fd)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise _refused(Errno.EISDIR, *names)
    found.do(found.tree.rename, found.path, target, names=names)
    if there is not None:
        host.UNLINK(dst, dir_fd=dst_dir_fd)


def _host_status(path: Any, dir_fd: int | None) -> os.stat_result | None:
    try:
        return host.LSTAT(path, dir_fd=dir_fd)
    except OSError:
        return None


def _link(
    real: Any, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None, **options: Any
) -> None:
    names = _two(src, dst)
    if _ours(dst, dst_dir_fd, names=names) is not None:
        raise _refused(Errno.EEXIST, *names)
    found = _ours(src, src_dir_fd, names=names)
    if found is None:
        real(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **options)
        return
    target = _path(found.process, found.tree, dst, dst_dir_fd)
    if target is None:
        raise Unmodelled("link of a private name into a directory that is known by descriptor only")
    if _host_status(dst, dst_dir_fd) is not None:
        raise _refused(Errno.EEXIST, *names)
    found.do(found.tree.link, found.path, target, names=names)


# What is the host's, unless one of our names is in the way.


def _making(real: Any, path: Any, *arguments: Any, dir_fd: int | None = None, **options: Any) -> None:
    if _ours(path, dir_fd) is not None:
        raise _refused(Errno.EEXIST, *((path,) if real.__name__ == "mkdir" else ()))
    real(path, *arguments, dir_fd=dir_fd, **options)


def _symlink(real: Any, src: Any, dst: Any, target_is_directory: bool = False, *, dir_fd: int | None = None) -> None:
    names = _two(src, dst)
    if _ours(dst, dir_fd, names=names) is not None:
        raise _refused(Errno.EEXIST, *names)
    real(src, dst, target_is_directory, dir_fd=dir_fd)


def _rmdir(real: Any, path: Any, *, dir_fd: int | None = None) -> None:
    if _ours(path, dir_fd) is not None:
        raise _refused(Errno.ENOTDIR, path)
    copy = _copy(path, dir_fd)
    if copy is not None and any(MirroredFilesystem.private(copy[2])):
        raise _refused(Errno.ENOTEMPTY, path)
    real(path, dir_fd=dir_fd)
    if copy is not None:
        _, tree, directory = copy
        tree.removed(directory)


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "access": _access,
    "chmod": _chmod,
    "chown": _chown,
    "lchown": _lchown,
    "link": _link,
    "listdir": _listdir,
    "lstat": _lstat,
    "mkdir": _making,
    "mkfifo": _making,
    "mknod": _making,
    "open": _open,
    "readlink": _readlink,
    "remove": _unlink,
    "rename": _rename,
    "replace": _rename,
    "rmdir": _rmdir,
    "scandir": _scandir,
    "stat": _stat,
    "symlink": _symlink,
    "truncate": _truncate,
    "unlink": _unlink,
    "utime": _utime,
}
"""By name in `os`: what stands in for it; its first argument is what stood there."""
