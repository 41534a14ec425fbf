"""Placeholders by themselves: what is left of them."""

from __future__ import annotations

import gc
import os
import random
import weakref
from collections.abc import Iterator

import pytest

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.core.kernel import Kernel
from afunix.core.socket import Socket
from afunix.supervisor.host import host_limits
from afunix.supervisor.placeholder import Placeholder
from afunix.supervisor.watch import Watch


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM])
@pytest.mark.usefixtures("without_collector")
def test_nothing_is_left_of_a_closed_socket(kind: int) -> None:
    """No descriptor, and no cycle either: who connects all the time does not keep the collector busy."""

    def closed(sock: Socket) -> None:
        assert isinstance(sock.front, Placeholder)
        sock.front.dispose()

    kernel = Kernel(random.Random(), host_limits())
    kernel.on_close = closed
    watch = Watch()
    before = os.listdir("/proc/self/fd")
    sock = Socket(kernel, kind, None)
    front = Placeholder(sock, watch)
    assert len(os.listdir("/proc/self/fd")) > len(before)
    gone = weakref.ref(sock)
    sock.close()
    assert os.listdir("/proc/self/fd") == before
    assert list(watch.poll()) == []
    assert not watch.by_inode
    del sock, front
    assert gone() is None
    watch.close()
