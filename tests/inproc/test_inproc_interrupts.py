"""Signal handlers that come in the midst of operations."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import threading
import time

import pytest

import afunix
from afunix.inproc import interrupts

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the host has no timer signals")


class Stop(BaseException):
    """As KeyboardInterrupt, but pytest does not know it."""


def start() -> None:
    """Another signal, at some moment of the next 100 microseconds; never two at once, as handlers would nest."""
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0001))


def accounts(sock: object) -> tuple[int, int]:
    core = sock._sock  # type: ignore[attr-defined]
    return core.wmem, sum(message.truesize for message in core.peer.queue)


@pytest.mark.usefixtures("alarm")
def test_handler_sends_amid_sends() -> None:
    """What a handler sends on the socket that is being used is neither lost nor does it break the accounts."""
    with afunix.patch():
        one, two = socket.socketpair()
        one.setblocking(False)
        two.setblocking(False)
        sent = counted = got = handled = started = 0

        def handler(*_: object) -> None:
            nonlocal sent, handled
            handled += 1
            with contextlib.suppress(BlockingIOError):
                sent += one.send(b"h")

        signal.signal(signal.SIGALRM, handler)
        assert signal.getsignal(signal.SIGALRM) is handler
        until = time.monotonic() + 1
        while time.monotonic() < until:
            if started == handled:
                started += 1
                start()
            try:
                count = one.send(b"abc")
            except BlockingIOError:
                count = 0
            counted += count
            with contextlib.suppress(BlockingIOError):
                got += len(two.recv(7))
        until = time.monotonic() + 10
        while handled < started and time.monotonic() < until:
            time.sleep(0.001)
        assert handled == started
        charged, queued = accounts(one)
        assert charged == queued
        try:
            while data := two.recv(1000):
                got += len(data)
        except BlockingIOError:
            pass
        assert handled > 2
        assert accounts(one) == (0, 0)
        assert got == sent + counted
        one.close()
        two.close()


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("lost", [0, 0.2], ids=["", "some lost"])
def test_exceptions_amid_operations(lost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of a handler comes before or after an operation, never inside: nothing is half done.

    And it does come, also where a signal that was sent again is lost.
    """
    send = interrupts._SEND
    monkeypatch.setattr(interrupts, "_SEND", lambda number: random.random() >= lost and send(number))
    with afunix.patch() as kernel:
        one, two = socket.socketpair()
        one.setblocking(False)
        two.setblocking(False)
        raised = 0
        came = threading.Event()

        def handler(*_: object) -> None:
            came.set()
            raise Stop

        signal.signal(signal.SIGALRM, handler)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            came.clear()
            try:
                start()
                while not came.is_set():  # which it is without the exception if garbage was just being collected
                    assert time.monotonic() < until + 20, "a signal is lost"
                    with contextlib.suppress(BlockingIOError):
                        one.send(bytes(50_000))
                    with contextlib.suppress(BlockingIOError):
                        two.recv(20_000)
                        two.recv(30_000)
            except Stop:
                raised += 1
            charged, queued = accounts(one)
            assert charged == queued
            assert not kernel.lock._is_owned()  # type: ignore[attr-defined]
        assert raised > 2
        one.close()
        two.close()


def test_restored() -> None:
    """After a patch the handlers are themselves again."""
    before = signal.signal, signal.getsignal(signal.SIGINT)
    with afunix.patch():
        assert signal.getsignal(signal.SIGINT) is before[1]
    assert (signal.signal, signal.getsignal(signal.SIGINT)) == before
