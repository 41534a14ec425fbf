"""Taking back what a call did: the state is exactly what it was, whatever was queued and read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socket_world import Counted, World

from afunix.abi.constants import MSG_OOB, MSG_PEEK, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import SyscallError
from afunix.conformance.differ_invariants import check_invariants
from afunix.core import connection, names, readiness
from afunix.core.message import Received, Sent
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock

SENDS = st.lists(
    st.tuples(st.integers(0, 9000), st.sampled_from((0, 0, MSG_OOB)), st.sampled_from((0, 0, 1, 3))), max_size=8
)
READS = st.lists(st.tuples(st.integers(0, 20000), st.sampled_from((0, 0, MSG_OOB, MSG_PEEK))), max_size=4)
KIND = st.sampled_from((SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET))


def state(*sockets: Socket) -> list[Any]:
    """All that a call on these sockets can change."""
    shown: list[Any] = [dict(sockets[0].kernel.inflight)]
    for sock in sockets:
        messages = [(message, message.consumed, list(message.files), message.truesize) for message in sock.queue]
        files = [file.references for message in sock.queue for file in message.files]
        shown.append(
            (messages, files, sock.oob, sock.wmem, sock.peek_off, sock.shut, sock.state, sock.peer, sock.error,
             sock.address, sock.peer_cred, readiness.mask(sock), sock.has_space)
        )  # fmt: skip
    return shown


def filled(kind: int, sends: list[tuple[int, int, int]]) -> tuple[World, Socket, Socket]:
    world = World()
    one, two = world.pair(kind)
    for size, flags, number in sends:
        files = [Counted() for _ in range(number)]
        for file in files:
            file.acquire()
        try:
            assert not isinstance(world.try_send(one, b"x" * size, flags, files), WouldBlock)
        except SyscallError:
            for file in files:
                file.release()
    return world, one, two


def attempt(world: World, sock: Socket, size: int, flags: int) -> Received | None:
    try:
        received = world.try_receive(sock, size, flags)
    except SyscallError:
        return None
    return received if isinstance(received, Received) else None


@given(KIND, SENDS, READS, st.integers(0, 30000), st.sampled_from((0, MSG_OOB, MSG_PEEK)), st.booleans(), st.booleans())
@settings(max_examples=600, deadline=None, derandomize=True)
def test_received(
    kind: int,
    sends: list[tuple[int, int, int]],
    reads: list[tuple[int, int]],
    size: int,
    flags: int,
    inline: bool,
    offset: bool,
) -> None:
    """A receive that is undone leaves messages, marks, descriptors and accounts as they were; again it is the same."""
    world, one, two = filled(kind, sends)
    two.oobinline = inline
    for length, more in reads:
        received = attempt(world, two, length, more)
        if received is not None:
            received.done()
    two.peek_off = 2 if offset else -1
    before = state(one, two)
    received = attempt(world, two, size, flags)
    if received is None:
        return
    data, files = received.data, list(received.files)
    two.kernel.changed.clear()
    taken = state(one, two) != before
    assert received.undo() == 0
    assert state(one, two) == before
    assert not taken or flags & MSG_PEEK or two in two.kernel.changed
    check_invariants([one, two])
    again = attempt(world, two, size, flags)
    assert again is not None
    assert (again.data, list(again.files)) == (data, files)


@given(KIND, SENDS, st.integers(0, 9000), st.sampled_from((0, MSG_OOB)), st.integers(0, 3))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_sent(kind: int, sends: list[tuple[int, int, int]], size: int, flags: int, number: int) -> None:
    """A send that is undone has queued nothing, and the files in it are closed."""
    world, one, two = filled(kind, sends)
    before = state(one, two)
    files = [Counted() for _ in range(number)]
    for file in files:
        file.acquire()
    try:
        sent = world.try_send(one, b"y" * size, flags, files)
    except SyscallError:
        assert state(one, two) == before
        return
    assert isinstance(sent, Sent)
    assert sent.undo() == 0
    assert state(one, two) == before
    assert all(file.closed == 1 for file in files)


def test_sent_and_read_in_part() -> None:
    """What was read stays sent, and is what the call made again answers; the rest is taken back."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    sent = world.send(one, b"x" * 100000)
    assert len(sent.messages) == 3
    first = sent.messages[0].data
    assert world.data(two, len(first)) == first
    assert sent.undo() == len(first)
    assert not two.queue
    assert one.wmem == 0

    sent = world.send(one, b"abcd")
    assert world.data(two, 2) == b"ab"
    assert sent.undo() == 4
    assert world.data(two) == b"cd"


def test_sent_to_a_full_queue() -> None:
    """Undoing the datagram that filled a queue lets those who waited for space go on."""
    world = World()
    receiver, first, second = (world.socket(SOCK_DGRAM) for _ in range(3))
    names.bind(receiver, world.program, b"\0full")
    from afunix.core import datagram

    for sock in (first, second):
        datagram.connect(sock, world.program, b"\0full")
    for _ in range(10):
        world.send(first, b"x")
    sent = world.send(first, b"last")
    assert world.try_send(second, b"y") is receiver.wait_space
    told: list[str] = []
    receiver.peer_space.add(lambda: told.append("space"))
    second.writable.add(lambda: told.append("writable"))
    world.kernel.changed.clear()
    sent.undo()
    world.kernel.wakeups.apply()
    assert sorted(told) == ["space", "writable"]
    assert second in world.kernel.changed
    assert readiness.mask(second) & 4


def test_gathered_parts() -> None:
    """MSG_WAITALL in two parts goes back as one: the first message to where it stood before."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"abcd")
    assert world.data(two, 1) == b"a"
    gathered = world.receive(two)
    assert gathered.data == b"bcd"
    world.send(one, b"efgh")
    gathered.extend(world.receive(two, 2))
    assert gathered.data == b"bcdef"
    gathered.undo()
    assert world.data(two) == b"bcdefgh"


def test_passed_over_urgent_byte() -> None:
    """A read that passed over an urgent byte gives it back with its descriptor; one that arrived closes it."""
    world = World()
    for undo in (True, False):
        one, two = world.pair(SOCK_STREAM)
        file = Counted()
        file.acquire()
        world.send(one, b"!", MSG_OOB, [file])
        world.send(one, b"behind")
        received = world.receive(two)
        assert received.data == b"behind"
        if undo:
            received.undo()
            assert not file.closed
            assert two.oob is two.queue[0]
            assert two.queue[0].files == [file]
            assert world.data(two, 1, MSG_OOB) == b"!"
        else:
            received.done()
            assert file.closed == 1
        one.close()
        two.close()
    assert not world.kernel.inflight


def test_urgent_byte_that_took_anothers_place() -> None:
    """Undone, the earlier one is urgent again."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"1", MSG_OOB)
    world.send(one, b"2", MSG_OOB).undo()
    assert world.data(two, 1, MSG_OOB) == b"1"


def test_urgent_bytes_in_a_row() -> None:
    """Reading the second takes away what is left of the first; undone, that is there again."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"1", MSG_OOB)
    world.receive(two, 1, MSG_OOB).done()
    world.send(one, b"2", MSG_OOB)
    before = state(one, two)
    received = world.receive(two, 1, MSG_OOB)
    assert len(two.queue) == 1
    received.undo()
    assert state(one, two) == before


def test_urgent_byte_that_came_meanwhile() -> None:
    """An urgent byte sent between a receive and its undo stays urgent."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"data")
    received = world.receive(two)
    world.send(one, b"!", MSG_OOB)
    received.undo()
    assert world.data(two) == b"data"
    assert world.data(two, 1, MSG_OOB) == b"!"


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET])
def test_socket_that_was_closed_meanwhile(kind: int) -> None:
    """Nothing is put into a dead socket's queue, where nobody would ever close the descriptors."""
    world = World()
    one, two = world.pair(kind)
    file = Counted()
    file.acquire()
    world.send(one, b"data", 0, [file])
    received = world.receive(two)
    two.close()
    received.undo()
    assert file.closed == 1
    assert one.wmem == 0
    check_invariants([one, two])


def test_accept_and_connect() -> None:
    """An accept that is undone is the next again; a connect that is undone was never made."""
    world = World()
    listener, client = world.socket(SOCK_STREAM), world.socket(SOCK_STREAM)
    names.bind(listener, world.program, b"\0listener")
    connection.listen(listener, world.program, 5)
    unconnected = state(listener, client)
    embryo = connection.connect(client, world.program, b"\0listener")
    assert isinstance(embryo, Socket)
    waiting = state(client, embryo)
    assert connection.accept(listener) is embryo
    connection.return_embryo(listener, embryo)
    assert state(client, embryo) == waiting
    assert not embryo.grafted
    connection.disconnect(client, embryo)
    assert state(listener, client) == unconnected
    assert embryo.dead


def test_accept_of_a_listener_that_was_closed_meanwhile() -> None:
    """The connection has nowhere to go back to, and is closed."""
    world = World()
    listener, client, accepted = world.connected(SOCK_STREAM)
    listener.close()
    connection.return_embryo(listener, accepted)
    assert accepted.dead
    assert readiness.mask(client) & 0x10


def test_bind() -> None:
    """A bind that is undone leaves the name free, and no inode."""
    world = World()
    for name in (b"\0name", b"/path"):
        sock = world.socket(SOCK_STREAM)
        assert names.bind(sock, world.program, name)
        names.unbind(sock)
        assert sock.name() == b""
        assert names.bind(world.socket(SOCK_STREAM), world.program, name)
    assert world.program.made[0].closed == 1
