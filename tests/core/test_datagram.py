"""SOCK_DGRAM and SOCK_SEQPACKET: limits, filters, and what happens when a peer goes away."""

from __future__ import annotations

import pytest
from socket_world import Counted, World, refused

from afunix.abi.constants import MSG_OOB, MSG_PEEK, MSG_TRUNC, SOCK_DGRAM, SOCK_SEQPACKET
from afunix.abi.errno import Errno
from afunix.core import datagram
from afunix.core.errors import BrokenPipe
from afunix.core.message import Sent
from afunix.core.names import bind
from afunix.core.socket import Socket


def named(world: World, name: bytes) -> Socket:
    sock = world.socket(SOCK_DGRAM)
    bind(sock, world.program, name)
    return sock


def test_limit_of_the_queue() -> None:
    """Eleven datagrams fit; the sender's own queue, and a peer that points back, have no such limit (DGRAM-3, 4)."""
    world = World()
    receiver, sender = named(world, b"\0r"), named(world, b"\0s")
    for _ in range(11):
        world.send(sender, b"x", address=b"\0r")
    assert world.try_send(sender, b"x", address=b"\0r") is receiver.wait_space
    assert world.try_send(sender, b"x", address=b"\0s") is not sender.wait_space
    one, _ = world.pair(SOCK_DGRAM)
    number = 0
    while isinstance(world.try_send(one, b"x"), Sent):
        number += 1
    assert number == 278
    assert world.try_send(one, b"x") is one.wait_writable


def test_space_wakes_senders() -> None:
    """One read of a full queue tells those who wait for it and those connected to it (POLL-2)."""
    world = World()
    receiver, sender = named(world, b"\0r"), world.socket(SOCK_DGRAM)
    datagram.connect(sender, world.program, b"\0r")
    for _ in range(10):
        world.send(sender, b"x")
    world.kernel.changed.clear()
    world.send(world.socket(SOCK_DGRAM), b"x", address=b"\0r")
    assert sender in world.kernel.changed, "somebody else filled the queue"
    told: list[str] = []
    receiver.peer_space.add(lambda: told.append("waits"))
    sender.writable.add(lambda: told.append("polls"))
    world.kernel.changed.clear()
    world.receive(receiver)
    world.kernel.wakeups.apply()
    assert sorted(told) == ["polls", "waits"]
    assert sender in world.kernel.changed


def test_filter() -> None:
    """Who is not the peer gets EPERM, on connect and on sendto (DGRAM-1)."""
    world = World()
    receiver, chosen, other = named(world, b"\0r"), named(world, b"\0c"), world.socket(SOCK_DGRAM)
    world.send(other, b"before", address=b"\0r")
    datagram.connect(receiver, world.program, b"\0c")
    assert world.data(receiver) == b"before", "a first connect keeps what is queued (DGRAM-2)"
    world.send(chosen, b"x", address=b"\0r")
    with refused(Errno.EPERM):
        world.send(other, b"x", address=b"\0r")
    with refused(Errno.EPERM):
        datagram.connect(other, world.program, b"\0r")


def test_reconnect_purges() -> None:
    """The caller's queue goes; the old peer that pointed back learns of it (DGRAM-2)."""
    world = World()
    one, two = world.pair(SOCK_DGRAM)
    file = Counted()
    file.acquire()
    world.send(two, b"x", 0, [file])
    datagram.connect(one, world.program, None)
    assert file.closed == 1
    assert two.wmem == 0
    assert one.peer is None
    with refused(Errno.ECONNRESET):
        world.receive(two)
    one, two = world.pair(SOCK_DGRAM)
    datagram.connect(one, world.program, None)
    assert two.error is None, "nothing was lost"


def test_dead_peer() -> None:
    """ECONNREFUSED once, then ENOTCONN (DGRAM-5); a pair's SEQPACKET has EPIPE."""
    world = World()
    one, two = world.pair(SOCK_DGRAM)
    two.close()
    with refused(Errno.ECONNREFUSED):
        world.send(one, b"x")
    with refused(Errno.ENOTCONN):
        world.send(one, b"x")
    record, other = world.pair(SOCK_SEQPACKET)
    world.send(record, b"unread")
    other.close()
    with refused(Errno.ECONNRESET):
        world.send(record, b"x")
    with pytest.raises(BrokenPipe) as error:
        world.send(record, b"x")
    assert not error.value.signal


def test_length() -> None:
    """EMSGSIZE above SO_SNDBUF - 32, before ENOTCONN (DGRAM-6)."""
    world = World()
    one, two = world.pair(SOCK_DGRAM)
    lonely = world.socket(SOCK_DGRAM)
    assert world.send(one, bytes(212960)).length == 212960
    assert len(world.data(two, 1 << 20)) == 212960
    for sock in (one, lonely):
        with refused(Errno.EMSGSIZE):
            world.send(sock, bytes(212961))
    with refused(Errno.ENOTCONN):
        world.send(lonely, b"x")
    for operation in (world.receive, lambda sock, size, flags: world.send(sock, b"x", flags)):
        with refused(Errno.EOPNOTSUPP):
            operation(one, 1, MSG_OOB)


@pytest.mark.parametrize("kind", [SOCK_DGRAM, SOCK_SEQPACKET])
def test_truncation(kind: int) -> None:
    """What doesn't fit is lost and MSG_TRUNC set; asked for, the real length is told; nothing merges (DATA-8)."""
    world = World()
    one, two = world.pair(kind)
    for data in (b"first", b"second", b"", b"third"):
        world.send(one, data)
    received = world.receive(two, 2)
    assert (received.data, received.length, received.flags) == (b"fi", 2, MSG_TRUNC)
    received = world.receive(two, 2, MSG_TRUNC | MSG_PEEK)
    assert (received.data, received.length, received.flags) == (b"se", 6, MSG_TRUNC)
    received = world.receive(two, 6)
    assert (received.data, received.flags) == (b"second", 0)
    assert world.receive(two).name == b"", "an empty message is no end of file"
    assert world.receive(two, 0).flags == MSG_TRUNC
    assert not two.queue


def test_end_of_file() -> None:
    """SEQPACKET says it at once; DGRAM has none for a call that doesn't wait (DGRAM-7, DATA-8)."""
    world = World()
    for kind in (SOCK_DGRAM, SOCK_SEQPACKET):
        one, two = world.pair(kind)
        world.send(one, b"queued")
        two.shutdown(0)
        assert world.data(two) == b"queued"
        result = world.try_receive(two)
        if kind == SOCK_DGRAM:
            assert result is two.wait_readable
        else:
            assert world.receive(two).name is None
        with refused(Errno.EPIPE):
            world.send(one, b"x")


def test_autobind_for_credentials() -> None:
    """With SO_PASSCRED the first send, and a connect, give the socket a name (NAME-11)."""
    world = World()
    named(world, b"\0r")
    for connect in (False, True):
        sock = world.socket(SOCK_DGRAM)
        sock.passcred = True
        if connect:
            datagram.connect(sock, world.program, b"\0r")
        else:
            world.send(sock, b"x", address=b"\0r")
        assert len(sock.name()) == 6


def test_refused_descriptors() -> None:
    """Without SO_PASSRIGHTS a receiver gets none: EPERM, and the sender keeps them (SCM-8)."""
    world = World()
    one, two = world.pair(SOCK_DGRAM)
    two.passrights = False
    file = Counted()
    file.acquire()
    with refused(Errno.EPERM):
        world.send(one, b"x", 0, [file])
    assert file.references == 1
    assert not two.queue
