"""The bodies that wait: what they wait for, until when, and what a time-out or a signal leaves of them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import pytest
from socket_world import Counted, World, refused

from afunix.abi.constants import MSG_PEEK, MSG_WAITALL, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core import blocking, connection
from afunix.core.message import Received
from afunix.core.names import bind
from afunix.core.socket import Socket
from afunix.core.wait import WaitQueue, Wakeups, WouldBlock

T = TypeVar("T")


def finish(body: Generator[WouldBlock, None, T]) -> T:
    """The value of a body that has nothing left to wait for."""
    value: T = stopped(lambda: next(body))
    return value


def interrupted(body: Generator[WouldBlock, None, T], errno: Errno) -> T:
    """The value that a body makes of a signal or a time-out."""
    value: T = stopped(lambda: body.throw(SyscallError(errno)))
    return value


def stopped(step: Any) -> Any:
    with pytest.raises(StopIteration) as stop:
        step()
    return stop.value.value


def test_receive_waits() -> None:
    """For data, until the deadline of SO_RCVTIMEO."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    two.rcvtimeo = 5.0
    body = blocking.receive(two, 10, 0, 100.0)
    block = next(body)
    assert block.queues == (two.readable,)
    assert block.deadline == 105.0
    assert next(body).queues == (two.readable,), "woken for nothing, it waits again"
    world.send(one, b"data")
    assert finish(body).data == b"data"


def test_receive_that_fails() -> None:
    """EINTR and EAGAIN come out when nothing was received; otherwise the part is the answer (DATA-13)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    body = blocking.receive(two, 10, 0, 0.0)
    next(body)
    with refused(Errno.EINTR):
        body.throw(SyscallError(Errno.EINTR))
    world.send(one, b"abc")
    body = blocking.receive(two, 10, MSG_WAITALL, 0.0)
    next(body)
    assert interrupted(body, Errno.EAGAIN).data == b"abc"


def test_gathering() -> None:
    """MSG_WAITALL and SO_RCVLOWAT wait for more, not behind descriptors, nor when peeking (DATA-10, DATA-13)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    two.rcvlowat = 5
    body = blocking.receive(two, 100, 0, 0.0)
    next(body)
    world.send(one, b"ab")
    next(body)
    world.send(one, b"cdefg")
    assert finish(body).data == b"abcdefg"
    two.rcvlowat = 1

    file = Counted()
    file.acquire()
    world.send(one, b"ab", 0, [file])
    received = finish(blocking.receive(two, 100, MSG_WAITALL, 0.0))
    assert (received.data, received.files) == (b"ab", [file])

    world.send(one, b"ab")
    assert finish(blocking.receive(two, 100, MSG_WAITALL | MSG_PEEK, 0.0)).data == b"ab"
    body = blocking.receive(two, 100, MSG_WAITALL, 0.0)
    next(body)
    one.close()
    received = finish(body)
    assert (received.data, received.length) == (b"ab", 2)


def test_options_are_those_of_the_beginning() -> None:
    """What SO_RCVTIMEO and SO_RCVLOWAT are set to while a call waits is for other calls."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    two.rcvlowat = 3
    body = blocking.receive(two, 10, 0, 100.0)
    assert next(body).deadline is None
    two.rcvtimeo, two.rcvlowat = 5.0, 1
    world.send(one, b"ab")
    assert next(body).deadline is None
    world.send(one, b"c")
    assert finish(body).data == b"abc"
    body = blocking.receive(two, 10, 0, 100.0)
    assert next(body).deadline == 105.0
    two.rcvtimeo, two.rcvlowat = None, 3
    assert next(body).deadline == 105.0
    world.send(one, b"a")
    assert finish(body).data == b"a"


def test_continued_attempt() -> None:
    """What the caller's own attempt took, or came to, is where the body goes on."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    block = world.try_receive(two)
    assert isinstance(block, WouldBlock)
    body = blocking.receive(two, 4, MSG_WAITALL, 0.0, None, block)
    assert next(body) is block
    world.send(one, b"abcd")
    assert finish(body).data == b"abcd"
    world.send(one, b"ab")
    first = world.receive(two)
    assert blocking.unfinished(two, first, 4, MSG_WAITALL)
    body = blocking.receive(two, 4, MSG_WAITALL, 0.0, first)
    next(body)
    world.send(one, b"cdef")
    assert finish(body).data == b"abcd"


def test_datagram_after_shutdown() -> None:
    """A datagram socket tells the end of file to a call that would wait (DGRAM-7)."""
    world = World()
    _, two = world.pair(SOCK_DGRAM)
    body = blocking.receive(two, 10, 0, 0.0)
    next(body)
    two.shutdown(0)
    received = finish(body)
    assert isinstance(received, Received)
    assert (received.length, received.name) == (0, None)


def test_send_waits() -> None:
    """A stream goes in parts, and each part wakes the reader; the length is the whole."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    one.sndtimeo = 2.0
    data = bytes(range(256)) * 4000
    body = blocking.send(one, world.program, data, 10.0)
    block = next(body)
    assert block.queues == (one.writable,)
    assert block.deadline == 12.0
    arrived = b""
    while len(arrived) + sum(map(len, two.queue)) < len(data) - 100000:
        arrived += world.data(two, 100000)
        assert next(body).queues == (one.writable,)
    while two.queue:
        arrived += world.data(two)
    assert finish(body).length == len(data)
    while two.queue:
        arrived += world.data(two)
    assert arrived == data


def test_send_that_fails() -> None:
    """The part that was sent is the answer, also when the pipe broke then (DATA-6); descriptors go once."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    file = Counted()
    file.acquire()
    body = blocking.send(one, world.program, bytes(1 << 20), 0.0, 0, [file])
    next(body)
    queued = sum(map(len, two.queue))
    assert sum(len(message.files) for message in two.queue) == 1
    two.close()
    assert finish(body).length == queued
    assert file.closed == 1

    one, two = world.pair(SOCK_SEQPACKET)
    one.wmem = one.sndbuf
    body = blocking.send(one, world.program, b"x", 0.0)
    next(body)
    with refused(Errno.EINTR):
        body.throw(SyscallError(Errno.EINTR))


def test_connect_waits() -> None:
    """For room in the listener's queue (CONN-3); refused once the listener is closed (CONN-10)."""
    world = World()
    listener, *clients = (world.socket(SOCK_STREAM) for _ in range(4))
    bind(listener, world.program, b"\0l")
    connection.listen(listener, world.program, 0)
    connection.connect(clients[0], world.program, b"\0l")
    clients[1].sndtimeo = 1.0
    bodies = [blocking.connect(client, world.program, b"\0l", 4.0) for client in clients[1:]]
    blocks = [next(body) for body in bodies]
    assert [block.queues for block in blocks] == [(listener.peer_space,)] * 2
    assert [block.deadline for block in blocks] == [5.0, None]
    connection.accept(listener)
    assert isinstance(finish(bodies[0]), Socket)
    next(bodies[1])
    listener.close()
    with refused(Errno.ECONNREFUSED):
        next(bodies[1])


def test_accept_waits() -> None:
    """For a connection; EINVAL once reading is shut (CONN-7)."""
    world = World()
    listener, client = world.socket(SOCK_STREAM), world.socket(SOCK_STREAM)
    bind(listener, world.program, b"\0l")
    connection.listen(listener, world.program, 0)
    body, other = blocking.accept(listener, 0.0), blocking.accept(listener, 0.0)
    assert next(body).queues == next(other).queues == (listener.readable,)
    connection.connect(client, world.program, b"\0l")
    assert finish(body).peer is client
    listener.shutdown(0)
    with refused(Errno.EINVAL):
        next(other)


def test_wait_queues() -> None:
    """Waiters are told in order, once, and not when they have gone; a waker of nobody costs nothing."""
    queue, wakeups = WaitQueue(), Wakeups()
    told: list[str] = []

    def first() -> None:
        told.append("first")
        queue.discard(second)

    def second() -> None:
        told.append("second")

    def third() -> None:
        told.append("third")

    wakeups.wake(queue)
    assert not wakeups.pending
    for waiter in (first, second, third, first):
        queue.add(waiter)
    wakeups.wake(queue)
    wakeups.wake(queue)
    wakeups.apply()
    assert told == ["first", "third"]
    wakeups.apply()
    assert told == ["first", "third"]
