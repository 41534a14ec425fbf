"""Selectors over our `select`, `poll` and `epoll`."""

from __future__ import annotations

import contextlib
import math
import selectors as standard
from typing import Any

from afunix.abi.constants import EPOLLIN, EPOLLOUT, POLLIN, POLLOUT
from afunix.inproc.epoll import Events, epoll
from afunix.inproc.select import poll, select

__all__ = ["DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector"]

EVENT_READ = standard.EVENT_READ
EVENT_WRITE = standard.EVENT_WRITE

Ready = list[tuple[standard.SelectorKey, int]]
_Implementation: Any = standard._BaseSelectorImpl


class SelectSelector(standard.SelectSelector):
    """As the standard library's."""

    def _select(self, r: Any, w: Any, x: Any, timeout: float | None = None) -> Any:
        return select(r, w, x, timeout)


class _PollLike(_Implementation):  # type: ignore[misc]
    """What PollSelector and EpollSelector share; the standard library has its own only where the host polls."""

    _IN = POLLIN
    _OUT = POLLOUT
    _selector_cls: Any = staticmethod(poll)

    def __init__(self) -> None:
        super().__init__()
        self._poller = self._selector_cls()

    def _bits(self, events: int) -> int:
        return (self._IN if events & EVENT_READ else 0) | (self._OUT if events & EVENT_WRITE else 0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> standard.SelectorKey:
        """Watch a file object."""
        key: standard.SelectorKey = super().register(fileobj, events, data)
        try:
            self._poller.register(key.fd, self._bits(events))
        except BaseException:
            super().unregister(fileobj)
            raise
        return key

    def unregister(self, fileobj: Any) -> standard.SelectorKey:
        """Watch it no longer."""
        key: standard.SelectorKey = super().unregister(fileobj)
        with contextlib.suppress(OSError):  # it may have been closed since
            self._poller.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> standard.SelectorKey:
        """Change events or data."""
        try:
            key: standard.SelectorKey = self._fd_to_key[self._fileobj_lookup(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        if events != key.events:
            if not events or events & ~(EVENT_READ | EVENT_WRITE):
                raise ValueError(f"Invalid events: {events!r}")
            try:
                self._poller.modify(key.fd, self._bits(events))
            except BaseException:
                super().unregister(fileobj)
                raise
        if events != key.events or data != key.data:
            key = key._replace(events=events, data=data)
            self._fd_to_key[key.fd] = key
        return key

    def _found(self, ready: Events) -> Ready:
        keys = self._fd_to_key
        not_read, not_write = ~self._OUT, ~self._IN
        found: Ready = []
        for bits, fd in ready:
            key = keys.get(fd)
            if key is not None:
                events = (EVENT_WRITE if bits & not_write else 0) | (EVENT_READ if bits & not_read else 0)
                found.append((key, events & key.events))
        return found


class PollSelector(_PollLike):
    """As the standard library's."""

    def select(self, timeout: float | None = None) -> Ready:
        """Keys that are ready, with their events; timeout in seconds."""
        try:
            ready = self._poller.poll(None if timeout is None else max(math.ceil(timeout * 1000), 0))
        except InterruptedError:
            return []
        return self._found([(bits, fd) for fd, bits in ready])


class EpollSelector(_PollLike):
    """As the standard library's, on any host."""

    _IN = EPOLLIN
    _OUT = EPOLLOUT
    _selector_cls = epoll

    def fileno(self) -> int:
        """See `epoll.fileno`."""
        return int(self._poller.fileno())

    def select(self, timeout: float | None = None) -> Ready:
        """Keys that are ready, with their events; timeout in seconds."""
        if timeout:
            # Rounded up, so that a deadline has passed when it returns.
            timeout = math.ceil(timeout * 1000) / 1000 if timeout > 0 else 0
        try:
            ready = self._poller.events(timeout, len(self._fd_to_key) or 1)
        except InterruptedError:
            return []
        return self._found(ready) if ready else []

    def close(self) -> None:
        """Free it."""
        self._poller.close()
        super().close()


DefaultSelector = EpollSelector
