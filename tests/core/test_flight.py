"""Sockets that only keep each other alive are collected; those that somebody can still receive are not (SCM-10)."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from afunix.abi.constants import SOCK_STREAM
from afunix.abi.errno import Errno
from afunix.core import connection, stream
from afunix.core.credentials import Credentials
from afunix.core.kernel import Kernel
from afunix.core.message import Received
from afunix.core.socket import Socket


def world() -> tuple[Kernel, Any]:
    caller = SimpleNamespace(credentials=Credentials(1), net=0, nofile=1024)
    return Kernel(random.Random(1)), caller


def pair(kernel: Kernel, caller: Any) -> tuple[Socket, Socket]:
    one, two = connection.pair(kernel, caller, SOCK_STREAM)
    one.acquire()
    two.acquire()
    return one, two


def send(sock: Socket, caller: Any, passed: Socket) -> None:
    passed.acquire()
    stream.send(sock, caller, b"x", files=[passed])


def test_a_socket_in_its_own_queue_is_collected_and_its_peer_sees_an_end_without_reset() -> None:
    kernel, caller = world()
    one, two = pair(kernel, caller)
    send(one, caller, two)
    two.release()
    assert not two.dead
    other, another = pair(kernel, caller)
    other.release()
    assert two.dead
    assert one.error is None
    ended = stream.receive(one, 10)
    assert isinstance(ended, Received)
    assert (ended.length, ended.name) == (0, None)
    another.release()
    one.release()
    assert kernel.flight.sockets == {}
    assert kernel.inflight == {}


def test_a_cycle_that_somebody_can_receive_stays() -> None:
    kernel, caller = world()
    one, two = pair(kernel, caller)
    three, four = pair(kernel, caller)
    send(one, caller, four)
    send(three, caller, two)
    four.release()
    kernel.collect()
    assert not four.dead
    got = stream.receive(two, 10)
    assert isinstance(got, Received)
    assert list(got.files) == [four]
    got.done()
    assert four.dead
    assert three.error is Errno.ECONNRESET


def test_two_sockets_in_each_others_queues_are_collected() -> None:
    kernel, caller = world()
    one, two = pair(kernel, caller)
    three, four = pair(kernel, caller)
    send(one, caller, four)
    send(three, caller, two)
    two.release()
    four.release()
    assert not two.dead
    kernel.collect()
    assert two.dead
    assert four.dead
    assert one.error is None
    assert kernel.flight.sockets == {}


def test_a_taken_back_message_counts_as_before() -> None:
    kernel, caller = world()
    one, two = pair(kernel, caller)
    three, four = pair(kernel, caller)
    send(one, caller, three)
    got = stream.receive(two, 10)
    assert isinstance(got, Received)
    assert kernel.flight.sockets == {}
    got.undo()
    assert kernel.flight.sockets == {three: 1}
    three.release()
    assert not three.dead
    two.release()
    assert three.dead
    assert four.dead is False
