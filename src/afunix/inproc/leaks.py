"""What a test leaves behind on a kernel: sockets, names and descriptors in flight, and the lines that made them.

Only while a `LeakCheck` is on are lines recorded: it then stands in for the few functions through which everything
is made. Otherwise nothing here costs anything.
"""

from __future__ import annotations

import functools
import gc
import linecache
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple

from afunix.core.descriptors import DescriptorTable
from afunix.core.file import File
from afunix.core.filesystem import Filesystem, Namespace
from afunix.core.inode import Directory, SocketInode
from afunix.core.kernel import Kernel as CoreKernel
from afunix.core.message import Message
from afunix.core.socket import Socket
from afunix.inproc.hostnames import HostFilesystem
from afunix.inproc.kernel import Kernel
from afunix.inproc.passing import HostFile
from afunix.inproc.process import Process

__all__ = ["KINDS", "Leak", "LeakCheck"]

KINDS: Final = ("sockets", "names", "in-flight")
"""What can be left behind. "sockets" are all descriptors of simulated processes, also those of pipes and the like."""

PACKAGE: Final = str(Path(__file__).resolve().parents[1])
LIBRARIES: Final = tuple(
    dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
)
TYPES: Final = {1: "stream", 2: "datagram", 5: "seqpacket"}


class Leak(NamedTuple):
    """One thing that was left behind. kind: of `KINDS`. what: in words. made: source lines, innermost first."""

    kind: str
    what: str
    made: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"    {line}" for line in self.made)])


class LeakCheck:
    """Records who makes what on any kernel while it is entered; `leaks` says what is left on one.

    Checks nest, and several threads may have one each: every one sees all that is made.
    """

    def __init__(self) -> None:
        # By what was made, which is kept alive so that its identity stays its own.
        self._made: dict[int, tuple[object, tuple[str, ...]]] = {}
        self._abandoned: list[tuple[Process, Leak]] = []

    def __enter__(self) -> LeakCheck:
        with _lock:
            if not _checks:
                _install()
            _checks.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _lock:
            _checks.remove(self)
            if not _checks:
                _restore()

    def record(self, thing: object, lines: tuple[str, ...]) -> None:
        """Remember where something was made."""
        self._made[id(thing)] = thing, lines

    def knows(self, thing: object) -> bool:
        """Whether that is known."""
        return id(thing) in self._made

    def abandoned(self, process: Process, fd: int, file: File) -> None:
        """The object of a descriptor that nobody closed was collected as garbage."""
        what = f"{_described(file)} (descriptor {fd} of process {process.pid}) was never closed, only garbage collected"
        self._abandoned.append((process, Leak("sockets", what, self._lines(file))))

    def leaks(self, kernel: Kernel) -> list[Leak]:
        """What is left on the kernel; what was left to the garbage collector counts."""
        gc.collect()
        with kernel.lock:
            found = [leak for process, leak in self._abandoned if process.kernel is kernel]
            found += self._sockets(kernel)
            found += self._in_flight(kernel)
            found += [
                Leak("names", f"the name {path.decode(errors='replace')}", self._lines(inode))
                for path, inode in _names(kernel.namespace)
            ]
        return found

    def _lines(self, thing: object) -> tuple[str, ...]:
        return self._made.get(id(thing), (None, ()))[1] or ("made before the check was on",)

    def _sockets(self, kernel: Kernel) -> Iterator[Leak]:
        for process in kernel.table.processes.values():
            for fd, file in sorted(process.descriptors.files.items()):
                what = f"{_described(file)}, descriptor {fd} of process {process.pid} (uid {process.credentials.uid})"
                yield Leak("sockets", what, self._lines(file))

    def _in_flight(self, kernel: Kernel) -> Iterator[Leak]:
        """Descriptors in messages that nobody has read, also in those that are in flight themselves."""
        files = [file for process in kernel.table.processes.values() for file in process.descriptors.files.values()]
        seen: set[int] = set()
        while files:
            file = files.pop()
            if not isinstance(file, Socket) or id(file) in seen:
                continue
            seen.add(id(file))
            for message in file.queue:
                if message.embryo is not None:
                    files.append(message.embryo)
                for passed in message.files:
                    files.append(passed)
                    what = f"{_described(passed)} in flight, in an unread message to {_described(file)}"
                    yield Leak("in-flight", what, self._lines(message))


def _described(file: File) -> str:
    if isinstance(file, HostFile):
        return "a descriptor of the host"
    if not isinstance(file, Socket):
        return f"a {type(file).__name__}"
    name = f" {file.address.decode(errors='replace')!r}" if file.address else ""
    return f"a {TYPES.get(file.type, '')} socket{name}"


def _names(namespace: Namespace) -> Iterator[tuple[bytes, object]]:
    if isinstance(namespace, HostFilesystem):
        return ((inode.path, inode) for inode in namespace.left())
    assert isinstance(namespace, Filesystem)
    return _names_in(namespace.root)


def _names_in(directory: Directory, path: bytes = b"") -> Iterator[tuple[bytes, SocketInode]]:
    for name, entry in directory.entries.items():
        if isinstance(entry, Directory):
            yield from _names_in(entry, path + b"/" + name)
        elif isinstance(entry, SocketInode):
            yield path + b"/" + name, entry


# The lines.


def _where() -> tuple[str, ...]:
    """The line outside this package that is at work, and if that is a library's, the line that called libraries."""
    lines: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((PACKAGE, "<")):
            library = file.startswith(LIBRARIES) or "site-packages" in file
            if not library or not lines:
                source = linecache.getline(file, frame.f_lineno).strip()
                lines.append(f"{file}:{frame.f_lineno}: in {frame.f_code.co_name}: {source}")
            if not library:
                break
        frame = frame.f_back
    return tuple(lines)


_lock = threading.RLock()
_checks: list[LeakCheck] = []
_undo: list[tuple[type, str, Any]] = []


def _record(thing: object, again: bool = False) -> None:
    ignorant = [check for check in _checks if again or not check.knows(thing)]
    lines = _where() if ignorant else ()
    for check in ignorant:
        check.record(thing, lines)


def _installing(real: Callable[..., int], table: DescriptorTable, file: File, *arguments: Any, **options: Any) -> int:
    fd = real(table, file, *arguments, **options)
    _record(file)
    return fd


def _creating(real: Callable[..., object], filesystem: Namespace, *arguments: Any) -> object:
    inode = real(filesystem, *arguments)
    _record(inode)
    return inode


def _attaching(real: Callable[..., None], kernel: CoreKernel, message: Message, *arguments: Any) -> None:
    real(kernel, message, *arguments)
    _record(message, again=True)  # message objects are used again


def _abandoning(real: Callable[..., None], process: Process, fd: int, file: File) -> None:
    if process.core.descriptors.files.get(fd) is file:
        for check in list(_checks):
            check.abandoned(process, fd, file)
    real(process, fd, file)


_STAND_INS: Final[tuple[tuple[type, str, Callable[..., Any]], ...]] = (
    (DescriptorTable, "install", _installing),
    (Filesystem, "create", _creating),
    (HostFilesystem, "create", _creating),
    (CoreKernel, "attach", _attaching),
    (Process, "abandon", _abandoning),
)


def _install() -> None:
    for owner, name, function in _STAND_INS:
        real = getattr(owner, name)
        _undo.append((owner, name, real))
        setattr(owner, name, functools.wraps(real)(_bound(function, real)))


def _bound(function: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    def stand_in(*arguments: Any, **options: Any) -> Any:
        return function(real, *arguments, **options)

    return stand_in


def _restore() -> None:
    while _undo:
        owner, name, real = _undo.pop()
        setattr(owner, name, real)
