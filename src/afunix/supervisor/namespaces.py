"""Numbers of processes, users and groups in the namespaces of programs.

The core has the numbers of the supervisor's own namespaces. A program in a pid or user namespace of its own reads and
writes others: `Numbers` translates. A `Pid` keeps what inner namespaces call a process, as the kernel's struct pid
does, since the process may be gone when a message that it sent is read.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Sequence
from errno import ENOTTY, ESRCH
from typing import Final

from afunix.core.credentials import OVERFLOW_ID, Ucred

__all__ = ["IdMap", "Numbers", "Pid", "PidNamespace", "find_pid", "id_map", "pid_of"]

NS_GET_PARENT: Final = 0xB702
NS_GET_PID_FROM_PIDNS: Final = 0x8004B706  # Linux 6.11


class PidNamespace:
    """A pid namespace below the supervisor's: one object for each, which keeps its inode number from another."""

    __slots__ = ("__weakref__", "fd", "key")

    _known: Final[weakref.WeakValueDictionary[tuple[int, int], PidNamespace]] = weakref.WeakValueDictionary()

    def __init__(self, fd: int, key: tuple[int, int]) -> None:
        self.fd = fd
        self.key = key

    @classmethod
    def of(cls, fd: int) -> PidNamespace:
        """The namespace that a descriptor refers to, which becomes the object's."""
        status = os.fstat(fd)
        key = status.st_dev, status.st_ino
        known = cls._known.get(key)
        if known is None:
            known = cls._known[key] = cls(fd, key)
        else:
            os.close(fd)
        return known

    def parent(self) -> PidNamespace:
        """The namespace around this one. OSError: EPERM above our own."""
        return self.of(fcntl.ioctl(self.fd, NS_GET_PARENT))

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Not by the module's name: at the end of the interpreter it is gone before its objects.
        close(self.fd)


class Pid(int):
    """A process number in the supervisor's namespace, and those in the namespaces below it, innermost first."""

    inner: tuple[tuple[PidNamespace, int], ...]

    def number_in(self, namespace: PidNamespace) -> int:
        """The process's number there; 0 if it has none (pid_nr_ns)."""
        return next((number for inner, number in self.inner if inner is namespace), 0)


def pid_of(number: int, directory: str | int, levels: Sequence[bytes]) -> int:
    """A process number with what its inner namespaces make of it.

    directory: its own in /proc, by path or descriptor; levels: the numbers in its line NSpid or NStgid, outermost
    first. OSError if it is gone, or may not be looked at.
    """
    if len(levels) < 2:
        return number
    if isinstance(directory, str):
        fd = os.open(f"{directory}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    else:
        fd = os.open("ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    namespace = PidNamespace.of(fd)
    inner = [(namespace, int(levels[-1]))]
    for level in reversed(levels[1:-1]):
        namespace = namespace.parent()
        inner.append((namespace, int(level)))
    pid = Pid(number)
    pid.inner = tuple(inner)
    return pid


def find_pid(number: int, namespace: PidNamespace | None) -> int:
    """The process or thread with this number in a namespace, None for our own; 0 if there is none (find_get_pid)."""
    if namespace is not None:
        try:
            number = fcntl.ioctl(namespace.fd, NS_GET_PID_FROM_PIDNS, number)
        except OSError as error:
            if error.errno != ENOTTY:
                if error.errno == ESRCH:
                    return 0
                raise
            return _search(number, namespace)
    try:
        return pid_of(number, f"/proc/{number}", _levels(number))
    except PermissionError:
        return number
    except OSError:
        return 0


def _search(number: int, namespace: PidNamespace) -> int:
    """The same where the kernel has no question for it: look at all processes."""
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                levels = _levels(int(entry))
                if len(levels) > 1 and any(int(level) == number for level in levels[1:]):
                    pid = pid_of(int(entry), f"/proc/{entry}", levels)
                    if isinstance(pid, Pid) and pid.number_in(namespace) == number:
                        return pid
            except OSError:
                continue
    return 0


def _levels(number: int) -> list[bytes]:
    """The line NSpid of a thread, outermost namespace first; empty where the kernel has no pid namespaces."""
    with open(f"/proc/{number}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return line.split()[1:]
    return []


IdMap = tuple[tuple[int, int, int], ...]
"""Ranges of ids: the first one inside, the first one outside, how many."""


def id_map(text: bytes) -> IdMap:
    """A file uid_map or gid_map (user_namespaces(7))."""
    return tuple(
        (int(inside), int(outside), int(count)) for inside, outside, count in map(bytes.split, text.splitlines())
    )


def _inside(ids: IdMap | None, outside: int) -> int:
    """from_kuid_munged, from_kgid_munged; -1 is nobody's and stays."""
    if ids is None or outside == -1:
        return outside
    return next((low + outside - high for low, high, count in ids if high <= outside < high + count), OVERFLOW_ID)


def _outside(ids: IdMap | None, inside: int) -> int:
    """make_kuid, make_kgid: -1 if the id means nobody."""
    if ids is None:
        return inside
    return next((high + inside - low for low, high, count in ids if low <= inside < low + count), -1)


class Numbers:
    """The `Numbers` of a program's namespaces: its pid namespace, and the maps of its user namespace; None: as ours."""

    __slots__ = ("_gids", "_pids", "_uids")

    def __init__(self, pids: PidNamespace | None, uids: IdMap | None, gids: IdMap | None) -> None:
        self._pids = pids
        self._uids = uids
        self._gids = gids

    def shown(self, who: Ucred) -> Ucred:
        """An identity as the program reads it; the process is 0 if it is in no namespace of the program's."""
        pid = who.pid
        if self._pids is not None:
            pid = pid.number_in(self._pids) if isinstance(pid, Pid) else 0
        return Ucred(pid, _inside(self._uids, who.uid), _inside(self._gids, who.gid))

    def shown_groups(self, groups: Sequence[int]) -> Sequence[int]:
        """Groups as the program reads them."""
        return groups if self._gids is None else [_inside(self._gids, group) for group in groups]

    def uid(self, number: int) -> int:
        """Whom the program means by a user id; -1: nobody."""
        return _outside(self._uids, number)

    def gid(self, number: int) -> int:
        """Whom the program means by a group id; -1: nobody."""
        return _outside(self._gids, number)

    def find_pid(self, number: int) -> int:
        """The process that the program means by a number; 0: none."""
        return find_pid(number, self._pids)
