"""Signal handlers under `patch` wait until their thread is out of an operation, as Linux delivers signals on the way
out of a system call.

Python runs a handler between any two steps of the main thread, so also in the midst of a send. There it would find,
and with an exception such as KeyboardInterrupt leave behind, half a change. An operation takes microseconds: when a
handler comes at such a moment, a thread waits for the end of the operation and sends the signal once more, and no
other operation begins until then. A call that sleeps is in no operation: handlers run at once, and may use sockets
and raise.
"""

from __future__ import annotations

import _thread
import signal
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from afunix.inproc.kernel import Kernel

__all__ = ["install", "restore", "watch"]

_SIGNAL: Final = signal.signal
_GETSIGNAL: Final = signal.getsignal

PATIENCE: Final = 0.05
"""Seconds for which operations wait at most until the handler begins."""
MOST_REST: Final = 1.0
"""Seconds at most from one such time to the next."""

_kernels: list[weakref.ref[Kernel]] = []


def watch(kernel: Kernel) -> None:
    """Have handlers wait for operations of this kernel, too."""
    _kernels[:] = [found for found in _kernels if found() is not None] + [weakref.ref(kernel)]


def _held() -> Kernel | None:
    """The kernel in the midst of whose operation this thread is, which is the main one."""
    for found in tuple(_kernels):
        kernel = found()
        if kernel is not None and kernel.lock._is_owned():  # type: ignore[attr-defined]
            return kernel
    return None


class _Postponed:
    """A handler that is called as soon as the main thread is out of an operation. As ever, many signals may be one."""

    __slots__ = ("_begun", "handler")

    def __init__(self, handler: Callable[..., Any]) -> None:
        self.handler = handler
        self._begun: Any = None

    def __call__(self, number: int, frame: Any) -> Any:
        kernel = _held()
        if kernel is None:
            begun, self._begun = self._begun, None
            if begun is not None:
                begun.release()
            return self.handler(number, frame)
        if self._begun is None:
            self._begun = _thread.allocate_lock()
            self._begun.acquire()
            _thread.start_new_thread(self._again, (kernel.lock, self._begun, number))
        kernel.roused = kernel.signalled = True  # the thread that waits for the lock should get it
        return None

    def _again(self, lock: Any, begun: Any, number: int) -> None:
        """Send the signal between two operations, until the handler has begun.

        That may take more than once: the main thread may be slow, and then meets it amid an operation; and a signal
        was seen to get lost, as if the interpreter forgot to look for it.
        """
        rest = PATIENCE
        while True:
            with lock:
                if begun.acquire(False):
                    return
                _SEND(number)
                if begun.acquire(timeout=PATIENCE):
                    return
            if begun.acquire(timeout=rest):
                return
            rest = min(2 * rest, MOST_REST)


def _kill(number: int) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)


_SEND: Final[Any] = _kill if hasattr(signal, "pthread_kill") else _thread.interrupt_main


def _wrapped(handler: Any) -> Any:
    # asyncio's does nothing; but it counts signals by what is written to its wake-up descriptor, so none comes twice.
    if not callable(handler) or isinstance(handler, _Postponed | signal.Handlers):
        return handler
    return handler if getattr(handler, "__name__", "") == "_sighandler_noop" else _Postponed(handler)


def _unwrapped(handler: Any) -> Any:
    return handler.handler if isinstance(handler, _Postponed) else handler


def _signal(signalnum: Any, handler: Any) -> Any:
    return _unwrapped(_SIGNAL(signalnum, _wrapped(handler)))


def _getsignal(signalnum: Any) -> Any:
    return _unwrapped(_GETSIGNAL(signalnum))


_signal.__doc__ = signal.signal.__doc__
_getsignal.__doc__ = signal.getsignal.__doc__


def _exchange(change: Callable[[Any], Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may; handlers set from now on are wrapped all the same
    for number in signal.valid_signals():
        handler = _GETSIGNAL(number)
        changed = change(handler)
        if changed is not handler:
            _SIGNAL(number, changed)


def install() -> None:
    """Have all handlers, those that are set and those to come, wait."""
    signal.signal = _signal
    signal.getsignal = _getsignal
    _exchange(_wrapped)


def restore() -> None:
    """As before."""
    signal.signal = _SIGNAL
    signal.getsignal = _GETSIGNAL
    _exchange(_unwrapped)
