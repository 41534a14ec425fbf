"""Sockets that connect and listen in an event loop, of any connected type."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket as standard
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from afunix.abi.constants import AF_UNIX
from afunix.inproc import files
from afunix.inproc.messages import pass_credentials

__all__ = ["Server", "connected", "listening", "opened"]

PATIENCE = 1.0
"""Seconds that a server without free descriptors waits until it accepts again."""


def opened(path: Any, sock: standard.socket | None, kind: int, credentials: bool) -> standard.socket:
    """The given socket, or without one a new one of the `socket` module in force; non-blocking. ValueError."""
    if (path is None) == (sock is None):
        raise ValueError("either a path or a socket, and not both, is needed")
    if sock is None:
        sock = standard.socket(AF_UNIX, kind)
    elif int(sock.family) != AF_UNIX:
        raise ValueError(f"not an AF_UNIX socket: {sock!r}")
    elif int(sock.type) != kind:
        raise ValueError(f"a socket of another type: {sock!r}")
    sock.setblocking(False)
    if credentials:
        pass_credentials(sock)
    return sock


async def connected(path: Any, sock: standard.socket | None, kind: int, credentials: bool) -> standard.socket:
    """A socket that is connected to the path; or the given one, which is."""
    sock = opened(path, sock, kind, credentials)
    if path is not None:
        try:
            await connect(sock, path)
        except BaseException:
            sock.close()
            raise
    return sock


async def connect(sock: standard.socket, path: Any) -> None:
    """Connect, also to a listener whose backlog is full: then no event comes, so it is tried again."""
    wait = 0.001
    while True:
        try:
            return sock.connect(os.fspath(path))
        except BlockingIOError:
            await asyncio.sleep(wait)
            wait = min(2 * wait, 0.05)


def listening(path: Any, sock: standard.socket | None, kind: int, credentials: bool, backlog: int) -> standard.socket:
    """A socket that listens at the path; or the given one, which is bound."""
    given = sock
    sock = opened(path, sock, kind, credentials)
    try:
        if path is not None:
            sock.bind(os.fspath(path))
        sock.listen(backlog)
    except BaseException:
        if given is None:
            sock.close()
        raise
    return sock


class Server:
    """Accepts connections until it is closed; an asynchronous context manager. The name that it bound goes with it."""

    def __init__(self, sock: standard.socket, serve: Callable[[standard.socket], Awaitable[None]]) -> None:
        self._sock = sock
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Future[None]] = set()
        self._closed = self._loop.create_future()
        self._inode = self._identity()
        self._loop.add_reader(sock.fileno(), self._acceptable)

    def __repr__(self) -> str:
        return f"<afunix Server of {self._sock!r}>"

    @property
    def sockets(self) -> tuple[standard.socket, ...]:
        """The listening socket; none once it is closed."""
        return () if self._closed.done() else (self._sock,)

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return not self._closed.done()

    def _acceptable(self) -> None:
        try:
            accepted, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self._loop.call_exception_handler({"message": "afunix: no room for a connection", "exception": error})
            self._loop.remove_reader(self._sock.fileno())
            self._loop.call_later(PATIENCE, self._resume)
            return
        accepted.setblocking(False)
        task = asyncio.ensure_future(self._serve(accepted))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _resume(self) -> None:
        if not self._closed.done():
            self._loop.add_reader(self._sock.fileno(), self._acceptable)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "Unhandled exception in a connection's handler", "exception": error, "task": task}
            )

    def _identity(self) -> tuple[int, int] | None:
        """What its name leads to, if it has one in a filesystem."""
        path = self._sock.getsockname()
        if not path or not isinstance(path, str):
            return None
        with contextlib.suppress(OSError):
            status = files.REPLACED["stat"](path)
            return status.st_dev, status.st_ino
        return None

    def close(self) -> None:
        """Accept no more; connections that there are stay. A path that still leads to the socket is unlinked."""
        if self._closed.done():
            return
        self._closed.set_result(None)
        self._loop.remove_reader(self._sock.fileno())
        if self._inode is not None and self._identity() == self._inode:
            with contextlib.suppress(OSError):
                files.REPLACED["unlink"](self._sock.getsockname())
        self._sock.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed and the handlers of all connections have ended."""
        await asyncio.shield(self._closed)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def serve_forever(self) -> None:
        """Serve until the task that awaits this is cancelled, or the server closed."""
        try:
            await asyncio.shield(self._closed)
        finally:
            self.close()

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()
