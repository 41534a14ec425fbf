"""Out-of-band data."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT


@case("OOB-1a")
def reads_stop_at_the_mark(p: Process) -> None:
    """The last byte of the data is urgent."""
    one, two = p.socketpair(STREAM)
    assert p.send(one, b"abX", MSG_OOB) == 3
    p.send(one, b"cd")
    assert p.recv(two) == b"ab"
    assert p.recv(two, flags=MSG_OOB) == b"X"
    assert p.recv(two) == b"cd"


@case("OOB-1b")
def the_urgent_byte_is_read_once(p: Process) -> None:
    """Then there is none."""
    one, two = p.socketpair(STREAM)
    assert p.recv(two, flags=MSG_OOB) == EINVAL
    p.send(one, b"X", MSG_OOB)
    assert p.recv(two, flags=MSG_OOB | MSG_PEEK) == b"X"
    assert p.recv(two, flags=MSG_OOB) == b"X"
    assert p.recv(two, flags=MSG_OOB) == EINVAL


@case("OOB-1c")
def an_urgent_byte_that_nobody_reads(p: Process) -> None:
    """The next read passes it over."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abX", MSG_OOB)
    p.send(one, b"cd")
    assert p.recv(two) == b"ab"
    assert p.recv(two) == b"cd"
    assert p.recv(two, flags=MSG_OOB) == EINVAL


@case("OOB-1d")
def urgent_data_poll(p: Process) -> None:
    """PRI until it is read."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"X", MSG_OOB)
    assert p.poll(two) & POLLPRI
    p.recv(two, flags=MSG_OOB)
    assert not p.poll(two) & POLLPRI


@case("OOB-1e")
def urgent_data_inline(p: Process) -> None:
    """It is one byte among the others; reads stop before it."""
    one, two = p.socketpair(STREAM)
    p.setsockopt(two, SO_OOBINLINE, 1)
    p.send(one, b"abX", MSG_OOB)
    p.send(one, b"cd")
    assert p.recv(two, flags=MSG_OOB) == EINVAL
    assert p.recv(two) == b"ab"
    assert p.recv(two) == b"Xcd"


@case("OOB-1f")
def at_the_mark(p: Process) -> None:
    """When the urgent byte is next."""
    one, two = p.socketpair(STREAM)
    assert p.ioctl(two, SIOCATMARK) == 0
    p.send(one, b"abX", MSG_OOB)
    assert p.ioctl(two, SIOCATMARK) == 0
    p.recv(two)
    assert p.ioctl(two, SIOCATMARK) == 1


@case("OOB-1g", types=RECORDS)
def records_are_never_urgent(p: Process, kind: int) -> None:
    """Neither to send nor to receive."""
    one, two = p.socketpair(kind)
    assert p.send(one, b"X", MSG_OOB) == EOPNOTSUPP
    assert p.recv(two, flags=MSG_OOB) == EOPNOTSUPP


@case("OOB-1h")
def a_second_urgent_byte(p: Process) -> None:
    """The first is ordinary then."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"aX", MSG_OOB)
    p.send(one, b"bY", MSG_OOB)
    assert p.recv(two, flags=MSG_OOB) == b"Y"
    assert p.recv(two) == b"aXb"


@case("OOB-1k")
def urgent_data_of_nothing(p: Process) -> None:
    """There is no last byte."""
    one, two = p.socketpair(STREAM)
    assert p.send(one, b"", MSG_OOB) == EOPNOTSUPP
    assert p.recv(two, flags=MSG_OOB) == EINVAL
    assert not p.poll(two) & POLLPRI


@case("OOB-1a")
def a_peek_stops_at_the_mark(p: Process) -> None:
    """As a read does."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abX", MSG_OOB)
    p.send(one, b"cd")
    assert p.recv(two, flags=MSG_PEEK) == b"ab"
    assert p.recv(two) == b"ab"
    assert p.recv(two, flags=MSG_PEEK) == b"cd"


@case("OOB-1b")
def the_urgent_byte_at_the_end(p: Process) -> None:
    """The peer closed behind it."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abX", MSG_OOB)
    p.close(one)
    assert p.recv(two) == b"ab"
    assert p.recv(two, flags=MSG_OOB) == b"X"
    assert p.recv(two) == b""


@case("OOB-1c")
def an_unread_urgent_byte_at_the_end(p: Process) -> None:
    """The end comes behind it."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"X", MSG_OOB)
    p.close(one)
    assert p.recv(two) == b""


@case("OOB-1c")
def a_read_with_nothing_but_an_urgent_byte(p: Process) -> None:
    """It has nothing to read."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"X", MSG_OOB)
    assert p.recv(two, flags=MSG_DONTWAIT) == EAGAIN


@case("OOB-1d")
def urgent_data_poll_behind_data(p: Process) -> None:
    """PRI though other bytes stand before it; IN as for any."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abX", MSG_OOB)
    assert p.poll(two) == POLLIN | POLLPRI | POLLOUT
    p.recv(two)
    assert p.poll(two) == POLLIN | POLLPRI | POLLOUT


@case("OOB-1f")
def the_mark_stays_when_the_byte_was_read(p: Process) -> None:
    """Until a read passes it."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abX", MSG_OOB)
    p.send(one, b"cd")
    assert p.recv(two, flags=MSG_OOB) == b"X"
    assert p.ioctl(two, SIOCATMARK) == 0
    assert p.recv(two) == b"ab"
    assert p.ioctl(two, SIOCATMARK) == 1
    assert p.recv(two) == b"cd"
    assert p.ioctl(two, SIOCATMARK) == 0


@case("OOB-1h")
def three_urgent_bytes(p: Process) -> None:
    """Only the last one is."""
    one, two = p.socketpair(STREAM)
    for byte in (b"X", b"Y", b"Z"):
        p.send(one, byte, MSG_OOB)
    assert p.recv(two) == b"XY"
    assert p.recv(two, flags=MSG_OOB) == b"Z"


@case("OOB-1i")
def urgent_data_with_descriptors(p: Process) -> None:
    """They come with the ordinary bytes."""
    one, two = p.socketpair(STREAM)
    _, w = p.pipe()
    assert p.sendmsg(one, b"abX", [rights(w)], MSG_OOB) == 3
    got = p.recvmsg(two)
    assert (got.data, len(got.rights)) == (b"ab", 1)


@case("OOB-1j")
def urgent_data_without_a_peer(p: Process) -> None:
    """As any data."""
    one, two = p.socketpair(STREAM)
    assert p.send(p.socket(STREAM), b"X", MSG_OOB) == ENOTCONN
    p.close(two)
    assert p.send(one, b"X", MSG_OOB) == EPIPE
    assert p.signals() == [SIGPIPE]
