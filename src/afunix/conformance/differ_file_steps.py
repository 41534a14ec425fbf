"""The steps of random programs that are not about sockets alone: descriptors, names, epoll, and who a process is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from afunix.abi import arch
from afunix.abi.constants import (
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_NOFOLLOW,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_SETFL,
    O_CREAT,
    O_NONBLOCK,
    O_RDWR,
)
from afunix.abi.structs import SOCKLEN
from afunix.conformance.core_paths import RLIMIT
from afunix.conformance.differ_raw import BASE, CONTROL, NAME, SECOND_NAME, VALUE, Raw, Resolved, plain
from afunix.conformance.differ_worker import LIMIT

__all__ = ["EVENT_SIZE", "FILE_OPERATIONS", "STATX_SIZE"]

RLIMIT_NOFILE: Final = 7
STATX_SIZE: Final = 256
STATX_OWNER: Final = 20
"""Where user, group and mode begin in struct statx."""
EVENT: Final = arch.current().epoll_event
EVENT_SIZE: Final = EVENT.size
MOST_EVENTS: Final = 16


# Descriptors.


def close(at: Resolved, handle: int) -> Raw:
    """close(2)."""
    return plain("close", at.fd(handle))


def close_range(at: Resolved, handle: int, more: int, flags: int) -> Raw:
    """close_range(2) of a descriptor and some behind it."""
    first = at.fd(handle) & 0xFFFFFFFF
    return plain("close_range", first, first + more & 0xFFFFFFFF, flags)


def dup(at: Resolved, handle: int) -> Raw:
    """dup(2)."""
    return plain("dup", at.fd(handle))


def dup3(at: Resolved, handle: int, over: int) -> Raw:
    """dup3(2) over another descriptor."""
    return plain("dup3", at.fd(handle), at.fd(over), 0)


def dup_from(at: Resolved, handle: int, lowest: int, cloexec: bool) -> Raw:
    """fcntl(2) with F_DUPFD or F_DUPFD_CLOEXEC."""
    return plain("fcntl", at.fd(handle), F_DUPFD_CLOEXEC if cloexec else F_DUPFD, lowest)


def fcntl(at: Resolved, handle: int, command: int, argument: int) -> Raw:
    """fcntl(2), after which a socket still does not block."""
    return plain("fcntl", at.fd(handle), command, argument | O_NONBLOCK if command == F_SETFL else argument)


def limit(at: Resolved, soft: int) -> Raw:
    """prlimit64(2): how many descriptors the process may have."""
    return Raw([(VALUE, RLIMIT.pack(soft, LIMIT))], 0, [("prlimit64", (0, RLIMIT_NOFILE, BASE + VALUE, 0))], [])


# epoll.


def epoll_create(at: Resolved) -> Raw:
    """epoll_create1(2)."""
    return plain("epoll_create1", 0)


def epoll_ctl(at: Resolved, epoll: int, operation: int, handle: int, events: int) -> Raw:
    """epoll_ctl(2); an event tells the descriptor's handle."""
    event = EVENT.pack(events, handle & 0xFFFFFFFF)
    args = (at.epoll(epoll), operation, at.fd(handle), BASE + VALUE)
    return Raw([(VALUE, event)], 0, [("epoll_ctl", args)], [])


def epoll_wait(at: Resolved, epoll: int, most: int) -> Raw:
    """epoll_pwait(2) that does not wait."""
    size = EVENT_SIZE * MOST_EVENTS
    args = (at.epoll(epoll), BASE + CONTROL, min(most, MOST_EVENTS), 0, 0, 8)
    return Raw([(CONTROL, b"\xa5" * size)], 0, [("epoll_pwait", args)], [(CONTROL, size)])


def epoll_close(at: Resolved, epoll: int) -> Raw:
    """close(2) of an epoll."""
    return plain("close", at.epoll(epoll))


# Names in the filesystem.


def _with_path(call: str, path: bytes, *args: int) -> Raw:
    return Raw([(NAME, path + b"\0")], 0, [(call, (AT_FDCWD, BASE + NAME, *args))], [])


def _with_paths(call: str, one: bytes, two: bytes, *args: int) -> Raw:
    where = (AT_FDCWD, BASE + NAME, AT_FDCWD, BASE + SECOND_NAME, *args)
    return Raw([(NAME, one + b"\0"), (SECOND_NAME, two + b"\0")], 0, [(call, where)], [])


def unlink(at: Resolved, path: bytes) -> Raw:
    """unlinkat(2)."""
    return _with_path("unlinkat", path, 0)


def rmdir(at: Resolved, path: bytes) -> Raw:
    """unlinkat(2) of a directory."""
    return _with_path("unlinkat", path, AT_REMOVEDIR)


def mkdir(at: Resolved, path: bytes, mode: int) -> Raw:
    """mkdirat(2)."""
    return _with_path("mkdirat", path, mode)


def create(at: Resolved, path: bytes, mode: int) -> Raw:
    """openat(2) of a file, which is made if it is not there."""
    return _with_path("openat", path, O_CREAT | O_RDWR, mode)


def chmod(at: Resolved, path: bytes, mode: int) -> Raw:
    """fchmodat(2)."""
    return _with_path("fchmodat", path, mode)


def chown(at: Resolved, path: bytes, uid: int, gid: int, flags: int) -> Raw:
    """fchownat(2)."""
    return _with_path("fchownat", path, at.user(uid) & 0xFFFFFFFF, at.user(gid) & 0xFFFFFFFF, flags)


def stat(at: Resolved, path: bytes, follow: bool) -> Raw:
    """statx(2): owner and mode."""
    raw = _with_path("statx", path, 0 if follow else AT_SYMLINK_NOFOLLOW, 0x7FF, BASE + VALUE)
    raw.writes.append((VALUE, bytes(STATX_SIZE)))
    raw.windows.append((VALUE + STATX_OWNER, 10))
    return raw


def rename(at: Resolved, old: bytes, new: bytes) -> Raw:
    """renameat2(2) without flags."""
    return _with_paths("renameat2", old, new, 0)


def link(at: Resolved, old: bytes, new: bytes, flags: int) -> Raw:
    """linkat(2)."""
    return _with_paths("linkat", old, new, flags)


def symlink(at: Resolved, target: bytes, path: bytes) -> Raw:
    """symlinkat(2)."""
    writes = [(NAME, target + b"\0"), (SECOND_NAME, path + b"\0")]
    return Raw(writes, 0, [("symlinkat", (BASE + NAME, AT_FDCWD, BASE + SECOND_NAME))], [])


def umask(at: Resolved, mask: int) -> Raw:
    """umask(2)."""
    return plain("umask", mask)


def fchmod(at: Resolved, handle: int, mode: int) -> Raw:
    """fchmod(2) of a socket."""
    return plain("fchmod", at.fd(handle), mode)


# Who the process is.


def setresuid(at: Resolved, real: int, effective: int, saved: int) -> Raw:
    """setresuid(2)."""
    return plain("setresuid", *(at.user(number) & 0xFFFFFFFF for number in (real, effective, saved)))


def setresgid(at: Resolved, real: int, effective: int, saved: int) -> Raw:
    """setresgid(2)."""
    return plain("setresgid", *(at.user(number) & 0xFFFFFFFF for number in (real, effective, saved)))


def setgroups(at: Resolved, groups: tuple[int, ...]) -> Raw:
    """setgroups(2)."""
    raw = b"".join([SOCKLEN.pack(at.user(number) & 0xFFFFFFFF) for number in groups])
    return Raw([(VALUE, raw)], 0, [("setgroups", (len(groups), BASE + VALUE))], [])


FILE_OPERATIONS: Final[dict[str, Callable[..., Raw]]] = {
    function.__name__: function
    for function in (
        close, close_range, dup, dup3, dup_from, fcntl, limit, epoll_create, epoll_ctl, epoll_wait, epoll_close,
        unlink, rmdir, mkdir, create, chmod, chown, stat, rename, link, symlink, umask, fchmod, setresuid, setresgid,
        setgroups,
    )
}  # fmt: skip
