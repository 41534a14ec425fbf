"""Datagrams."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT
ONE_BYTE_MESSAGES = 278
"""How many the default send buffer holds."""


def connected(p: Process) -> tuple[int, int]:
    """Two bound sockets, the first connected to the second."""
    one, two = p.bound(DGRAM, p.abstract(b"1")), p.bound(DGRAM, p.abstract(b"2"))
    p.connect(one, p.abstract(b"2"))
    return one, two


@case("DGRAM-1a")
def a_connected_socket_hears_its_peer_only(p: Process) -> None:
    """Others may not send to it."""
    one, two = connected(p)
    third = p.socket(DGRAM)
    assert p.sendto(third, b"x", p.abstract(b"1")) == EPERM
    assert p.sendto(two, b"x", p.abstract(b"1")) == 1
    assert p.recv(one) == b"x"


@case("DGRAM-1b")
def connect_to_who_is_taken(p: Process) -> None:
    """Its peer may, others not."""
    connected(p)
    assert p.connect(p.socket(DGRAM), p.abstract(b"1")) == EPERM


@case("DGRAM-2a")
def disconnect(p: Process) -> None:
    """There is no peer then."""
    one, _ = connected(p)
    assert p.disconnect(one) == 0
    assert p.send(one, b"x") == ENOTCONN
    assert p.getpeername(one) == ENOTCONN
    assert p.sendto(p.socket(DGRAM), b"x", p.abstract(b"1")) == 1


@case("DGRAM-2b", each=["disconnect", "reconnect"])
def a_new_peer_throws_the_queue_away(p: Process, how: str) -> None:
    """What the old one sent is gone."""
    one, two = connected(p)
    p.bound(DGRAM, p.abstract(b"3"))
    p.sendto(two, b"old", p.abstract(b"1"))
    assert (p.disconnect(one) if how == "disconnect" else p.connect(one, p.abstract(b"3"))) == 0
    assert p.recv(one, flags=NOW) == EAGAIN


@case("DGRAM-2c")
def the_old_peer_is_reset(p: Process) -> None:
    """If it points back and something was unread."""
    one, two = connected(p)
    p.connect(two, p.abstract(b"1"))
    p.send(two, b"unread")
    p.disconnect(one)
    assert p.option(two, SO_ERROR) == 104
    assert p.option(two, SO_ERROR) == 0


@case("DGRAM-2d")
def a_first_connect_keeps_the_queue(p: Process) -> None:
    """Messages of others stay."""
    one, two = p.bound(DGRAM, p.abstract(b"1")), p.bound(DGRAM, p.abstract(b"2"))
    p.sendto(p.socket(DGRAM), b"early", p.abstract(b"1"))
    assert p.connect(one, p.abstract(b"2")) == 0
    assert p.recv(one) == b"early"
    assert two >= 0


@case("DGRAM-3a")
def a_queue_is_limited_to_strangers(p: Process) -> None:
    """It holds one more than net.unix.max_dgram_qlen."""
    one, two = connected(p)
    assert p.fill(one) == 11
    assert p.send(one, b"x", NOW) == EAGAIN
    p.recv(two)
    assert p.send(one, b"x", NOW) == 1


@case("DGRAM-3b")
def a_send_to_a_full_queue_waits(p: Process) -> None:
    """Until the receiver reads."""
    one, two = connected(p)
    p.fill(one)
    waiting = p.begin(p.send, one, b"late")
    assert waiting.blocks
    p.recv(two)
    assert waiting.result == 4


@case("DGRAM-4a")
def friends_are_limited_by_the_send_buffer(p: Process) -> None:
    """Connected to each other."""
    one, two = p.socketpair(DGRAM)
    assert p.fill(one) == ONE_BYTE_MESSAGES
    p.recv(two)
    assert p.send(one, b"x", NOW) == 1


@case("DGRAM-4b")
def messages_to_oneself(p: Process) -> None:
    """They are limited so as well."""
    s = p.bound(DGRAM, p.abstract(b"n"))
    p.connect(s, p.abstract(b"n"))
    assert p.fill(s) == ONE_BYTE_MESSAGES


@case("DGRAM-5a")
def the_peer_died(p: Process) -> None:
    """One refusal, then no peer."""
    one, two = connected(p)
    p.close(two)
    assert p.send(one, b"x") == ECONNREFUSED
    assert p.send(one, b"x") == ENOTCONN


@case("DGRAM-6a", types=RECORDS)
def the_longest_message(p: Process, kind: int) -> None:
    """The send buffer less 32 bytes."""
    one, _ = p.socketpair(kind)
    longest = p.option(one, SO_SNDBUF) - 32
    assert p.send(one, bytes(longest + 1)) == EMSGSIZE
    assert p.send(one, bytes(longest)) == longest


@case("DGRAM-6b", since=(6, 14))
def too_long_and_not_connected(p: Process) -> None:
    """The length is looked at first."""
    s = p.socket(DGRAM)
    assert p.send(s, bytes(300000)) == EMSGSIZE


@case("DGRAM-7a")
def reading_is_shut(p: Process) -> None:
    """Who may wait reads 0."""
    one, _ = p.socketpair(DGRAM)
    p.shutdown(one, SHUT_RD)
    assert p.recv(one) == b""
    assert p.recv(one, flags=NOW) == EAGAIN


@case("DGRAM-7b")
def writing_is_shut(p: Process) -> None:
    """The peer neither reads an end nor polls one."""
    one, two = p.socketpair(DGRAM)
    p.shutdown(one, SHUT_WR)
    assert p.send(one, b"x", MSG_NOSIGNAL) == EPIPE
    assert p.recv(two, flags=NOW) == EAGAIN
    assert p.poll(two) == POLLOUT
    assert p.send(two, b"x") == 1


@case("DGRAM-7c", types=RECORDS)
def a_read_of_nothing_takes_a_message(p: Process, kind: int) -> None:
    """The first one is gone."""
    one, two = p.socketpair(kind)
    p.send(one, b"first")
    p.send(one, b"second")
    assert p.recv(two, 0) == b""
    assert p.recv(two) == b"second"


@case("DGRAM-7d", types=RECORDS)
def the_real_length(p: Process, kind: int) -> None:
    """MSG_TRUNC in both directions."""
    one, two = p.socketpair(kind)
    for _ in range(3):
        p.send(one, b"message")
    assert p.recv_length(two, 3) == 3
    assert p.recv_length(two, 3, MSG_TRUNC) == 7
    got = p.recvmsg(two, 3)
    assert (got.data, got.flags) == (b"mes", MSG_TRUNC)


@case("DGRAM-7e", types=RECORDS)
def empty_messages(p: Process, kind: int) -> None:
    """They are received as such."""
    one, two = p.socketpair(kind)
    assert p.send(one, b"") == 0
    assert p.poll(two) & POLLIN
    assert p.recv(two, flags=NOW) == b""
    assert p.recv(two, flags=NOW) == EAGAIN


@case("DGRAM-8a")
def who_sent_it(p: Process) -> None:
    """Its name, or nothing."""
    r = p.bound(DGRAM, p.abstract(b"r"))
    named = p.bound(DGRAM, b"path")
    p.sendto(named, b"x", p.abstract(b"r"))
    p.sendto(p.socket(DGRAM), b"y", p.abstract(b"r"))
    assert p.recvfrom(r).address == b"path"
    assert p.recvfrom(r).address == b""


@case("DGRAM-9a")
def sendto_without_connect(p: Process) -> None:
    """To others and to oneself."""
    s = p.bound(DGRAM, p.abstract(b"s"))
    assert p.sendto(s, b"me", p.abstract(b"s")) == 2
    assert p.recv(s) == b"me"


@case("DGRAM-9b")
def send_without_a_peer(p: Process) -> None:
    """Nobody to send to."""
    assert p.send(p.socket(DGRAM), b"x") == ENOTCONN
