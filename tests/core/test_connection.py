"""socket, socketpair, listen, connect, accept, and the end of connections."""

from __future__ import annotations

import pytest
from socket_world import World, refused

from afunix.abi.constants import SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import Errno
from afunix.conformance.differ_invariants import check_invariants
from afunix.core import connection
from afunix.core.credentials import NO_PEER
from afunix.core.names import bind
from afunix.core.socket import Socket

CONNECTED = [SOCK_STREAM, SOCK_SEQPACKET]
NAME = b"\0listener"


def listening(world: World, kind: int, backlog: int) -> Socket:
    sock = world.socket(kind)
    bind(sock, world.program, NAME)
    connection.listen(sock, world.program, backlog)
    return sock


def connect(world: World, sock: Socket) -> Socket:
    embryo = connection.connect(sock, world.program, NAME)
    assert isinstance(embryo, Socket)
    return embryo


def test_creation() -> None:
    """SOCK_RAW is SOCK_DGRAM; unknown types and protocols (CONN-9)."""
    world = World()
    assert world.socket(SOCK_RAW).type == SOCK_DGRAM
    with refused(Errno.ESOCKTNOSUPPORT):
        world.socket(4)
    with refused(Errno.EPROTONOSUPPORT):
        connection.create(world.kernel, world.program, SOCK_STREAM, 6)
    assert connection.create(world.kernel, world.program, SOCK_STREAM, 1).peer_cred == NO_PEER
    one, two = world.pair(SOCK_STREAM)
    assert one.peer_cred == two.peer_cred == world.program.credentials.effective


def test_listen() -> None:
    """Who can't (CONN-1), and how a backlog is read."""
    world = World()
    unbound, (connected, _) = world.socket(SOCK_STREAM), world.pair(SOCK_STREAM)
    for sock, errno in (
        (unbound, Errno.EINVAL),
        (connected, Errno.EINVAL),
        (world.socket(SOCK_DGRAM), Errno.EOPNOTSUPP),
    ):
        with refused(errno):
            connection.listen(sock, world.program, 1)
    sock = listening(world, SOCK_STREAM, 3)
    for backlog, kept in ((3, 3), (0, 0), (-1, 4096), (100000, 4096)):
        connection.listen(sock, world.program, backlog)
        assert sock.backlog == kept


@pytest.mark.parametrize("kind", CONNECTED)
def test_backlog(kind: int) -> None:
    """Backlog 0 admits one; an accept or a longer backlog wakes who waits; full comes before EISCONN (CONN-2, 4)."""
    world = World()
    listener = listening(world, kind, 0)
    first, second = world.socket(kind), world.socket(kind)
    connect(world, first)
    assert connection.connect(second, world.program, NAME) is listener.wait_space
    assert connection.connect(first, world.program, NAME) is listener.wait_space
    told: list[int] = []
    listener.peer_space.add(lambda: told.append(1))
    connection.listen(listener, world.program, 1)
    world.kernel.wakeups.apply()
    assert len(told) == 1
    with refused(Errno.EISCONN):
        connection.connect(first, world.program, NAME)
    with refused(Errno.EINVAL):
        connection.connect(listener, world.program, NAME)
    connection.accept(listener)
    world.kernel.wakeups.apply()
    assert len(told) == 2


def test_nobody_listens() -> None:
    """ECONNREFUSED: not listening, or no longer reading (CONN-5)."""
    world = World()
    sock = world.socket(SOCK_STREAM)
    bind(sock, world.program, NAME)
    client = world.socket(SOCK_STREAM)
    with refused(Errno.ECONNREFUSED):
        connect(world, client)
    connection.listen(sock, world.program, 5)
    sock.shutdown(0)
    with refused(Errno.ECONNREFUSED):
        connect(world, client)
    assert client.peer is None


@pytest.mark.parametrize("kind", CONNECTED)
def test_data_before_accept(kind: int) -> None:
    """What was sent before, and a client that is gone since, are found by accept (CONN-6)."""
    world = World()
    listener = listening(world, kind, 5)
    client = world.socket(kind)
    bind(client, world.program, b"\0client")
    connect(world, client)
    world.send(client, b"early")
    client.close()
    accepted = connection.accept(listener)
    assert isinstance(accepted, Socket)
    assert accepted.name(peer=True) == b"\0client"
    assert accepted.name() == NAME
    assert world.data(accepted) == b"early"
    assert world.receive(accepted).name is None


def test_what_is_inherited() -> None:
    """The flags for control messages as of connect, not sizes, time-outs or O_NONBLOCK (CONN-8)."""
    world = World()
    listener = listening(world, SOCK_STREAM, 5)
    listener.passcred = listener.nonblock = True
    listener.sndbuf, listener.rcvtimeo = 5000, 3.0
    connect(world, world.socket(SOCK_STREAM))
    listener.passcred = False
    accepted = connection.accept(listener)
    assert isinstance(accepted, Socket)
    assert (accepted.passcred, accepted.nonblock, accepted.rcvtimeo) == (True, False, None)
    assert accepted.sndbuf == world.kernel.limits.wmem_default


def test_accept() -> None:
    """First come, first served; EINVAL and EOPNOTSUPP (CONN-7)."""
    world = World()
    listener = listening(world, SOCK_STREAM, 5)
    assert connection.accept(listener) is listener.wait_readable
    embryos = [connect(world, world.socket(SOCK_STREAM)) for _ in range(3)]
    assert [connection.accept(listener) for _ in range(3)] == embryos
    assert all(embryo.grafted and not embryo.wmem for embryo in embryos)
    with refused(Errno.EINVAL):
        connection.accept(embryos[0])
    with refused(Errno.EOPNOTSUPP):
        connection.accept(world.socket(SOCK_DGRAM))


@pytest.mark.parametrize("kind", CONNECTED)
def test_closing_the_listener(kind: int) -> None:
    """Connections not accepted are reset, connectors that wait are woken to be refused (CONN-10)."""
    world = World()
    listener = listening(world, kind, 0)
    client, waiting = world.socket(kind), world.socket(kind)
    embryo = connect(world, client)
    told: list[int] = []
    listener.peer_space.add(lambda: told.append(1))
    listener.close()
    world.kernel.wakeups.apply()
    assert told
    assert embryo.dead
    with refused(Errno.ECONNRESET):
        world.receive(client)
    with refused(Errno.ECONNREFUSED):
        connect(world, waiting)
    check_invariants([listener, client, waiting])


@pytest.mark.parametrize("kind", CONNECTED)
def test_close(kind: int) -> None:
    """A reset only for who left data unread (DATA-4); closing twice is closing once."""
    world = World()
    for unread in (False, True):
        one, two = world.pair(kind)
        if unread:
            world.send(one, b"x")
        closed: list[Socket] = []
        world.kernel.on_close = closed.append
        two.close()
        two.close()
        assert closed == [two]
        assert one.error is (Errno.ECONNRESET if unread else None)
        assert one.shut == 3
        check_invariants([one, two])
