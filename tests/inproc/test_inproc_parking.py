"""How threads take turns: what is compiled and what is in Python do the same."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import weakref
from types import ModuleType

import pytest

from afunix.inproc import _parking, parking_python

both = pytest.mark.parametrize("calls", [_parking, parking_python], ids=["compiled", "python"])


@both
def test_a_token(calls: ModuleType) -> None:
    """It waits for who comes later; there is never more than one."""
    parker = calls.Parker()
    assert parker.unpark()
    assert not parker.unpark()
    assert parker.park()
    assert not parker.park(0)
    assert parker.unpark()
    assert parker.park(0)
    assert not parker.park(-1)
    assert not parker.park(float("nan"))


@both
def test_a_timeout(calls: ModuleType) -> None:
    """It sleeps until then and not for less, and leaves nothing."""
    parker = calls.Parker()
    for timeout in (1e-9, 1e-5, 0.001, 0.1):
        begin = time.monotonic()
        assert parker.park(timeout) is False
        assert time.monotonic() - begin >= timeout
    assert parker.unpark()
    assert parker.park(1e300)


@both
def test_woken_from_sleep(calls: ModuleType) -> None:
    """A thread that sleeps, for ever or until a time, is woken."""
    for timeout in (None, 30, 1e12):
        parker = calls.Parker()
        timer = threading.Timer(0.1, parker.unpark)
        timer.start()
        assert parker.park(timeout) is True
        assert not parker.park(0)
        timer.join()


@both
def test_no_token_is_lost(calls: ModuleType) -> None:
    """Two threads that wake each other, some turns so slow that the other one sleeps, and some waits in vain."""
    one, two = calls.Parker(), calls.Parker()
    turns = 3000
    vain = 0

    def other() -> None:
        for _ in range(turns):
            two.park()
            one.unpark()

    thread = threading.Thread(target=other)
    thread.start()
    for turn in range(turns):
        if turn % 100 == 0:
            time.sleep(0.001)
        two.unpark()
        if turn % 3 == 0:
            calls.make_way()
        while not one.park(0.00002 if turn % 2 else None):
            vain += 1
    thread.join(20)
    assert not thread.is_alive()
    assert not one.park(0)
    assert not two.park(0)


@both
def test_many_threads(calls: ModuleType) -> None:
    """They pass a token round in a ring."""
    ring = [calls.Parker() for _ in range(20)]

    def pass_on(at: int) -> None:
        for _ in range(100):
            ring[at].park()
            ring[(at + 1) % len(ring)].unpark()
            calls.make_way()

    threads = [threading.Thread(target=pass_on, args=(at,)) for at in range(len(ring))]
    for thread in threads:
        thread.start()
    ring[0].unpark()
    for thread in threads:
        thread.join(30)
    assert ring[0].park(0)


@both
def test_one_thread_only(calls: ModuleType) -> None:
    """Two at once are told."""
    parker = calls.Parker()
    thread = threading.Thread(target=parker.park)
    thread.start()
    time.sleep(0.05)
    with pytest.raises(RuntimeError):
        parker.park()
    assert not parker.park(0)
    parker.unpark()
    thread.join(10)
    assert not thread.is_alive()


@both
def test_wrong_arguments(calls: ModuleType) -> None:
    with pytest.raises(TypeError):
        calls.Parker().park("long")
    with pytest.raises(TypeError):
        calls.Parker().park(1, 2)
    with pytest.raises(TypeError):
        calls.Parker().park(timeout=0)
    with pytest.raises(TypeError):
        calls.Parker(1)
    with pytest.raises(TypeError):
        calls.Parker(timeout=1)


@both
def test_it_is_freed(calls: ModuleType) -> None:
    """Also with a token, and while nobody but the thread in it knows it; and it is no leak of its type."""
    before = sys.getrefcount(calls.Parker)
    parkers = [calls.Parker() for _ in range(100)]
    for parker in parkers[::2]:
        parker.unpark()
    del parker, parkers
    gc.collect()
    assert sys.getrefcount(calls.Parker) - before < 50
    assert calls.Parker().park(0.01) is False
    assert weakref.ref(calls.Parker)() is calls.Parker


class Stop(Exception):
    """Of a handler."""


@both
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.usefixtures("alarm")
def test_a_handler_runs(calls: ModuleType, timeout: float | None) -> None:
    """What it raises ends the wait; it may give the token itself; and if it does neither, the wait goes on."""
    parker = calls.Parker()

    def stop(*_: object) -> None:
        raise Stop

    signal.signal(signal.SIGALRM, stop)
    for delay in (0.05, 0.000001):
        with pytest.raises(Stop):  # noqa: PT012 - the other one may come before
            signal.setitimer(signal.ITIMER_REAL, delay)
            parker.park(timeout)
    assert not parker.park(0)

    signal.signal(signal.SIGALRM, lambda *_: parker.unpark())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    assert parker.park(timeout) is True

    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    begin = time.monotonic()
    assert parker.park(0.1) is False
    assert time.monotonic() - begin >= 0.1
    assert len(seen) == 1


@pytest.mark.usefixtures("alarm")
def test_a_signal_at_any_moment() -> None:
    """No signal is left waiting until something else wakes the thread, as happens with the standard library's locks."""

    def stop(*_: object) -> None:
        raise Stop

    signal.signal(signal.SIGALRM, stop)
    parker = _parking.Parker()
    for turn in range(300):
        with pytest.raises(Stop):  # noqa: PT012 - it may come at any of these
            begin = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.000001 + turn * 0.0000002)
            parker.park(20)
        assert time.monotonic() - begin < 20, "a signal was only seen at the end"


@pytest.mark.usefixtures("alarm")
def test_a_signal_right_after_another() -> None:
    """Nor one that comes when the handler of another is done and the thread is about to sleep again."""
    seen = 0
    pause = 0.0

    def twice(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            raise Stop
        signal.setitimer(signal.ITIMER_REAL, pause)

    signal.signal(signal.SIGALRM, twice)
    parker = _parking.Parker()
    for turn in range(600):
        seen, pause = 0, 0.000001 * (1 + turn % 40)
        with pytest.raises(Stop):  # noqa: PT012 - it may come at any of these
            begin = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            parker.park(20)
        assert time.monotonic() - begin < 20, "a signal was only seen at the end"
