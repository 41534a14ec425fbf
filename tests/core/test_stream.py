"""SOCK_STREAM: buffers, borders that reads keep, and the orders in which errors come."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socket_world import Counted, Program, World, refused

from afunix.abi.constants import MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, SOCK_STREAM
from afunix.abi.errno import Errno
from afunix.core.credentials import Credentials
from afunix.core.errors import BrokenPipe
from afunix.core.message import Sent
from afunix.core.truesize import STREAM_CHUNK

PIECES = st.lists(st.binary(max_size=9000), max_size=6)


@given(PIECES, st.integers(1, 10000), st.sampled_from((3000, 212992)))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_bytes_arrive_in_order(pieces: list[bytes], size: int, sndbuf: int) -> None:
    """Whatever the sizes of sends, reads and the buffer, the bytes are the same, and the account ends at zero."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    one.sndbuf = sndbuf
    arrived = b""
    for piece in pieces:
        start = 0
        while start < len(piece):
            sent = world.try_send(one, piece[start:])
            if isinstance(sent, Sent):
                assert sent.length > 0
                start += sent.length
            else:
                peeked = world.data(two, size, MSG_PEEK)
                taken = world.data(two, size)
                assert peeked == taken
                arrived += taken
    while two.queue:
        arrived += world.data(two, size)
    assert arrived == b"".join(pieces)
    assert one.wmem == 0


def test_long_send() -> None:
    """A long send is several buffers, as many as the send buffer admits (unix_stream_sendmsg)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    sent = world.send(one, bytes(1 << 20))
    assert [len(message) for message in two.queue] == [STREAM_CHUNK] * len(two.queue)
    assert sent.length == STREAM_CHUNK * len(two.queue)
    assert one.wmem >= one.sndbuf
    assert world.try_send(one, b"x") is one.wait_writable


def test_borders_of_descriptors() -> None:
    """A read merges what is in front of a message with descriptors, and ends behind it (DATA-10)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    file = Counted()
    file.acquire()
    world.send(one, b"ab")
    world.send(one, b"cd", 0, [file])
    world.send(one, b"ef")
    received = world.receive(two)
    assert (received.data, received.files) == (b"abcd", [file])
    assert world.data(two) == b"ef"


def test_descriptors_come_with_the_first_byte() -> None:
    """The rest of the message is without them."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    file = Counted()
    file.acquire()
    world.send(one, b"abc", 0, [file])
    assert world.receive(two, 1).files == [file]
    assert world.receive(two, 1).files == ()


def test_borders_of_credentials() -> None:
    """With SO_PASSCRED, messages of differing senders don't merge, and the read knows that it ended (SCM-5)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    two.passcred = True
    world.send(one, b"ab")
    world.send(one, b"cd")
    world.program = Program(Credentials(99))
    world.send(one, b"ef")
    received = world.receive(two)
    assert received.data == b"abcd"
    assert received.ended
    assert world.receive(two).creds == Credentials(99).real


def test_errors_of_send() -> None:
    """DATA-1, DATA-2, DATA-6, and MSG_OOB without a byte."""
    world = World()
    lonely = world.socket(SOCK_STREAM)
    one, two = world.pair(SOCK_STREAM)
    with refused(Errno.ENOTCONN):
        world.send(lonely, b"x")
    with refused(Errno.EOPNOTSUPP):
        world.send(lonely, b"x", address=b"\0name")
    with refused(Errno.EISCONN):
        world.send(one, b"x", address=b"\0name")
    with refused(Errno.EOPNOTSUPP):
        world.send(one, b"", MSG_OOB)
    two.close()
    for flags, signal in ((0, True), (MSG_NOSIGNAL, False)):
        with pytest.raises(BrokenPipe) as error:
            world.send(one, b"x", flags)
        assert error.value.signal is signal
    with refused(Errno.EPIPE):
        world.send(one, b"")


def test_order_of_reading() -> None:
    """Data, the error once, the end of file (DATA-3, DATA-4)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"unread")
    world.send(two, b"last")
    two.close()
    assert world.data(one) == b"last"
    with refused(Errno.ECONNRESET):
        world.receive(one)
    end = world.receive(one)
    assert (end.length, end.name) == (0, None)


def test_full_queue_wakes_its_writer() -> None:
    """The writer is told once a quarter of the send buffer is left in use, not before (sock_wfree)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    while isinstance(world.try_send(one, bytes(1000)), Sent):
        pass
    told: list[int] = []
    one.writable.add(lambda: told.append(one.wmem))
    while not told:
        world.receive(two, 1000)
        world.kernel.wakeups.apply()
    assert (told[0] + 1) * 4 <= one.sndbuf < (told[0] + 1 + 2304) * 4


def test_peeking_with_an_offset() -> None:
    """SO_PEEK_OFF goes forward with a peek and back with a read (DATA-12)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    world.send(one, b"abc")
    world.send(one, b"def")
    two.peek_off = 0
    assert world.data(two, 2, MSG_PEEK) == b"ab"
    assert world.data(two, 2, MSG_PEEK) == b"cd"
    assert world.data(two, 3) == b"abc"
    assert two.peek_off == 1
    assert world.data(two, 9, MSG_PEEK) == b"ef"
    assert world.try_receive(two, 9, MSG_PEEK) is two.wait_readable


def test_urgent_byte() -> None:
    """OOB-1: reads stop in front of it, and pass over it unless it is inline."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    for inline in (False, True):
        two.oobinline = inline
        world.send(one, b"ab!", MSG_OOB)
        world.send(one, b"cd")
        assert world.data(two) == b"ab"
        assert world.data(two) == (b"!cd" if inline else b"cd")
        with refused(Errno.EINVAL):
            world.receive(two, 1, MSG_OOB)
    assert one.wmem == 0
