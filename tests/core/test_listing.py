"""Which sockets a kernel knows of."""

from __future__ import annotations

import gc

from socket_world import Program

from afunix.abi.constants import SOCK_DGRAM, SOCK_STREAM
from afunix.core import connection, listing
from afunix.core.kernel import Kernel
from afunix.core.socket import Socket


class Zero:
    """A generator of nothing but zeros."""

    def getrandbits(self, k: int, /) -> int:
        return 0


def test_closed_sockets_are_forgotten() -> None:
    kernel = Kernel(Zero())
    program = Program()
    one, two = connection.pair(kernel, program, SOCK_STREAM)
    three = connection.create(kernel, program, SOCK_DGRAM)
    assert listing.sockets_in(kernel, "here") == [one, two, three]
    two.close()
    assert listing.sockets_in(kernel, "here") == [one, three]
    assert listing.sockets_in(kernel, "there") == []
    one.close()
    three.close()
    assert listing.sockets_in(kernel, "here") == []
    del one, two, three
    kernel.changed.clear()
    assert not kernel.sockets


def test_a_socket_that_nobody_closes_is_not_kept() -> None:
    """As a bridge makes one for the sender of each datagram."""
    kernel = Kernel(Zero())
    sock = Socket(kernel, SOCK_DGRAM, "here")
    assert listing.sockets_in(kernel, "here") == [sock]
    del sock
    kernel.changed.clear()
    assert listing.sockets_in(kernel, "here") == []


def test_sockets_may_be_collected_meanwhile() -> None:
    """Garbage may be looked for at any allocation, and those that nobody closed leave the set then."""
    kernel = Kernel(Zero())
    before, enabled = gc.get_threshold(), gc.isenabled()
    kept = [Socket(kernel, SOCK_STREAM, None) for _ in range(20)]
    try:
        for allocations in range(48):
            gc.disable()
            one, other = Socket(kernel, SOCK_STREAM, None), Socket(kernel, SOCK_STREAM, None)
            one.peer, other.peer = other, one
            del one, other
            gc.set_threshold(gc.get_count()[0] + allocations % 12, *before[1:])
            gc.enable()
            assert [sock for sock in listing.sockets_in(kernel, None) if sock.peer is None] == kept
    finally:
        gc.set_threshold(*before)
        if not enabled:
            gc.disable()
