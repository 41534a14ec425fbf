"""`patch`: puts the drop-in under every library of this interpreter, and takes it away again."""

from __future__ import annotations

import functools
import inspect
import os
import select as standard_select
import selectors as standard_selectors
import signal
import socket as standard_socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from afunix.abi.constants import SOCK_STREAM
from afunix.abi.message import cmsg_len, cmsg_space
from afunix.inproc import files, host, interrupts, numbers
from afunix.inproc.epoll import epoll
from afunix.inproc.kernel import Kernel, _inner, _patched
from afunix.inproc.select import poll, select
from afunix.inproc.selectors import EpollSelector, PollSelector, SelectSelector
from afunix.inproc.socket import fromfd, recv_fds, send_fds, socket, socketpair

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["patch"]

F = TypeVar("F", bound=Callable[..., Any])

HOST_PAIRS: Final = frozenset(
    {"asyncio.proactor_events", "asyncio.selector_events", "asyncio.unix_events", "trio._core._wakeup_socketpair"}
)
"""Modules whose socket pairs stay the host's: signal.set_wakeup_fd writes to one, a child process is given one."""


def _socketpair(family: int | None = None, type: int = SOCK_STREAM, proto: int = 0) -> tuple[Any, Any]:
    if sys._getframe(1).f_globals.get("__name__") in HOST_PAIRS:
        return host.SOCKETPAIR(family, type, proto)
    return socketpair(family, type, proto)


def _dup(fd: int) -> int:
    return int(files.REPLACED["dup"](fd))


def _close(fd: int) -> None:
    if fd < numbers.FIRST:
        _ORIGINAL_CLOSE(fd)
    else:
        files.REPLACED["close"](fd)


_ORIGINAL_CLOSE: Final[Any] = getattr(standard_socket, "close", os.close)

PASSING: Final = {"CMSG_LEN": cmsg_len, "CMSG_SPACE": cmsg_space, "recv_fds": recv_fds, "send_fds": send_fds}
"""What not every host's `socket` has; where it does, it works on any socket."""

REPLACED: Final[list[tuple[ModuleType, dict[str, Any]]]] = [
    (
        standard_socket,
        {
            **host.LACKING,
            **{name: made for name, made in PASSING.items() if not hasattr(standard_socket, name)},
            "close": _close,
            "dup": _dup,
            "fromfd": fromfd,
            "recv_fds": recv_fds,
            "send_fds": send_fds,
            "socket": socket,
            "socketpair": _socketpair,
        },
    ),
    (standard_select, {"epoll": epoll, "poll": poll, "select": select}),
    (
        standard_selectors,
        {
            "DefaultSelector": EpollSelector,
            "EpollSelector": EpollSelector,
            "PollSelector": PollSelector,
            "SelectSelector": SelectSelector,
        },
    ),
    (os, files.REPLACED),
    (signal, files.SIGNAL),
    *([(host.FCNTL, files.FCNTL)] if host.FCNTL else []),
]
"""What stands where while a patch is in force."""

ABILITIES: Final = ("supports_dir_fd", "supports_effective_ids", "supports_fd", "supports_follow_symlinks")
"""Sets of functions in `os`: who looks up there what a function can do finds the same of what stands in for it."""

DEFAULTS: Final = (
    ("multiprocessing.connection", "Connection", "_recv", "read"),
    ("multiprocessing.connection", "Connection", "_send", "write"),
    ("multiprocessing.connection", "Connection", "_close", "close"),
)
"""Methods of the standard library whose default argument is a function of `os`, taken when they were defined."""

STATIC: Final = (("glob", "_StringGlobber"),)
"""Classes of the standard library that have functions of `os` as static methods (Python 3.13's pathlib)."""

WRAPPED: Final = (
    (
        "trio._socket",
        "_SocketType",
        ("_accept", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "send"),
    ),
)
"""Methods of libraries that have a method of the class `socket` in their closure, taken when they were defined."""

_MISSING: Final = object()

_lock = threading.RLock()
_undo: list[tuple[Any, str, Any]] = []
_originals: dict[int, Any] = {}


class patch:  # noqa: N801 - it is used as a function
    """Within `with afunix.patch(kernel):`, or a function decorated so, AF_UNIX is on that kernel for all libraries.

    It replaces `socket`, `select` and `selectors` and what `os` does to names and descriptors of ours, also where a
    module that is loaded has a copy of one of them. It holds for all threads. Patches nest: the innermost kernel is in
    force, and everything is restored when the last one ends. A thread or task that is within a patch of its own keeps
    that kernel, whatever others do meanwhile; one that is not gets that of the patch made last. Without a kernel a new
    one is made each time.
    """

    def __init__(self, kernel: Kernel | None = None) -> None:
        self.kernel = kernel
        self._entered: list[Kernel] = []

    def __enter__(self) -> Kernel:
        kernel = self.kernel or Kernel()
        with _lock:
            if not _patched:
                _install()
                interrupts.install()
            _patched.append(kernel)
            self._entered.append(kernel)
        _inner.set((*_inner.get(), kernel))
        return kernel

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _lock:
            # Threads and tasks may leave in another order than they came.
            mine = [kernel for kernel in _inner.get() if kernel in self._entered]
            kernel = mine[-1] if mine else self._entered[-1]
            self._entered.remove(kernel)
            _patched.remove(kernel)
            _inner.set(tuple(_without(kernel, _inner.get())))
            if not _patched:
                interrupts.restore()
                _restore()

    def __call__(self, function: F) -> F:
        """Decorate a function or coroutine function."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def patched(*args: Any, **kwargs: Any) -> Any:
                with patch(self.kernel):
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def patched(*args: Any, **kwargs: Any) -> Any:
                with patch(self.kernel):
                    return function(*args, **kwargs)

        return patched  # type: ignore[return-value]


def _without(kernel: Kernel, kernels: tuple[Kernel, ...]) -> Iterator[Kernel]:
    """All but the last one that is this kernel."""
    last = max((index for index, found in enumerate(kernels) if found is kernel), default=-1)
    return (found for index, found in enumerate(kernels) if index != last)


def _install() -> None:
    replacements: dict[int, Any] = {}
    for module, names in REPLACED:
        for name, replacement in names.items():
            original = getattr(module, name, _MISSING)
            if original is not _MISSING and original is not replacement:
                replacements[id(original)] = replacement
                _originals[id(replacement)] = original
            _set(module, name, replacement)
    for name in ABILITIES:
        able = getattr(os, name)
        stand_ins = {replacements[id(function)] for function in able if id(function) in replacements}
        _set(os, name, able | stand_ins)
    for module, name, replacement in list(_copies(replacements)):
        _set(module, name, replacement)
    for module_name, class_name, method_name, function in DEFAULTS:
        method = getattr(getattr(sys.modules.get(module_name), class_name, None), method_name, None)
        if method is not None:
            _undo.append((method, "__defaults__", method.__defaults__))
            method.__defaults__ = (files.REPLACED[function],)
    for cell, name in _cells(host.SOCKET):
        _undo.append((cell, "cell_contents", cell.cell_contents))
        cell.cell_contents = _by_object(name)


def _copies(exchange: dict[int, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Where loaded modules have one of these objects, given by id, and what is to be there in its place."""
    for module_name, class_name in STATIC:
        owner = getattr(sys.modules.get(module_name), class_name, None)
        for attribute, value in list(vars(owner).items()) if owner is not None else ():
            other = exchange.get(id(getattr(value, "__func__", None)))
            if other is not None:
                yield owner, attribute, staticmethod(other)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "afunix" or not str(getattr(module, "__file__", "")).endswith(".py"):
            continue
        for attribute, value in list(vars(module).items()):
            other = exchange.get(id(value))
            if other is not None and other is not value:
                yield module, attribute, other


def _cells(kind: Any) -> Iterator[tuple[Any, str]]:
    """Closures that have a method of this class, and its name."""
    for module_name, class_name, names in WRAPPED:
        wrapper = getattr(sys.modules.get(module_name), class_name, None)
        for name in names:
            for cell in getattr(getattr(wrapper, name, None), "__closure__", None) or ():
                method = name.lstrip("_")
                if cell.cell_contents is getattr(kind, method, _MISSING):
                    yield cell, method


def _by_object(name: str) -> Callable[..., Any]:
    def call(sock: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(sock, name)(*args, **kwargs)

    call.__name__ = name
    return call


def _set(owner: Any, name: str, value: Any) -> None:
    _undo.append((owner, name, vars(owner).get(name, _MISSING)))
    setattr(owner, name, value)


def _restore() -> None:
    while _undo:
        owner, name, value = _undo.pop()
        if value is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
    # What was imported meanwhile has copies of ours.
    for module, name, original in list(_copies(_originals)):
        setattr(module, name, original)
    for cell, name in _cells(socket):
        cell.cell_contents = getattr(host.SOCKET, name)
