"""Both sides of a comparison: the host's own sockets, and ours through the same API."""

from __future__ import annotations

import gc
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from sides import Side

import afunix
from afunix import select as our_select
from afunix import socket as our_socket


@pytest.fixture(params=["ours", "host"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    """What is true of the one must be true of the other."""
    if request.param == "host":
        yield Side(socket=socket, select=select, directory=tmp_path)
        return
    kernel = afunix.Kernel(path_max=108)
    with kernel.main.running():
        yield Side(socket=our_socket, select=our_select, directory=tmp_path)
    gc.collect()
    assert not kernel.main.core.descriptors.files, "the test left sockets open"
    assert not kernel.core.flight.sockets
    assert not kernel.core.inflight


@pytest.fixture
def kernel() -> afunix.Kernel:
    return afunix.Kernel()


@pytest.fixture
def alarm() -> Iterator[None]:
    """SIGALRM and its timer are the test's, and are as before after it."""
    old = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
