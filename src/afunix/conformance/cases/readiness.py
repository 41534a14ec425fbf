"""Readiness: poll and epoll."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT
ALL_EVENTS = POLLIN | POLLPRI | POLLOUT | POLLRDHUP


@case("POLL-1a", types=CONNECTED)
def an_unconnected_socket(p: Process, kind: int) -> None:
    """It is at its end."""
    assert p.poll(p.socket(kind)) == POLLOUT | POLLHUP
    assert p.poll(p.bound(kind, p.abstract(b"n"))) == POLLOUT | POLLHUP


@case("POLL-1a")
def an_unconnected_datagram_socket(p: Process) -> None:
    """It can send."""
    assert p.poll(p.socket(DGRAM)) == POLLOUT


@case("POLL-1b", types=CONNECTED)
def a_listener(p: Process, kind: int) -> None:
    """Readable when somebody waits."""
    listener = p.listener(kind, p.abstract(b"n"))
    assert p.poll(listener) == 0
    p.client(kind, p.abstract(b"n"))
    assert p.poll(listener) == POLLIN
    p.accept(listener)
    assert p.poll(listener) == 0


@case("POLL-1c", types=CONNECTED)
def the_end_of_a_connection(p: Process, kind: int) -> None:
    """One direction, then the other."""
    one, two = p.socketpair(kind)
    p.shutdown(two, SHUT_WR)
    assert p.poll(one) == POLLIN | POLLOUT | POLLRDHUP
    assert p.poll(two) == POLLOUT
    p.shutdown(one, SHUT_WR)
    assert p.poll(one) == POLLIN | POLLOUT | POLLRDHUP | POLLHUP
    assert p.poll(two) == POLLIN | POLLOUT | POLLRDHUP | POLLHUP


@case("POLL-1c", types=CONNECTED)
def the_peer_is_gone(p: Process, kind: int) -> None:
    """Both directions at once."""
    one, two = p.socketpair(kind)
    p.close(two)
    assert p.poll(one) == POLLIN | POLLOUT | POLLRDHUP | POLLHUP


@case("POLL-1d")
def a_datagram_peer_is_gone(p: Process) -> None:
    """Nothing shows it."""
    one, two = p.socketpair(DGRAM)
    p.close(two)
    assert p.poll(one) == POLLOUT


@case("POLL-1e", types=CONNECTED)
def an_error_is_pending(p: Process, kind: int) -> None:
    """ERR is always told."""
    one, two = p.socketpair(kind)
    p.send(one, b"unread")
    p.close(two)
    assert p.poll(one, 0) == POLLERR | POLLHUP


@case("POLL-2a")
def a_full_datagram_peer(p: Process) -> None:
    """Not writable until it reads."""
    one, two = p.socket(DGRAM), p.bound(DGRAM, p.abstract(b"n"))
    p.connect(one, p.abstract(b"n"))
    p.fill(one)
    assert p.poll(one) == 0
    waiting = p.begin(p.wait_for, one, POLLOUT)
    assert waiting.blocks
    p.recv(two)
    assert waiting.result == POLLOUT


@case("POLL-2b", types=ALL)
def poll_waits(p: Process, kind: int) -> None:
    """For data, or the time-out."""
    one, two = p.socketpair(kind)
    assert p.wait_for(two, POLLIN, 0.02) == 0
    waiting = p.begin(p.wait_for, two, POLLIN)
    assert waiting.blocks
    p.send(one, b"x")
    assert waiting.result == POLLIN


@case("POLL-2b", types=CONNECTED)
def poll_waits_for_room(p: Process, kind: int) -> None:
    """And for the end."""
    one, two = p.socketpair(kind)
    p.fill(one)
    waiting = p.begin(p.wait_for, one, POLLOUT)
    assert waiting.blocks
    while p.recv(two, 1, NOW) == b"x":
        pass
    assert waiting.result == POLLOUT
    waiting = p.begin(p.wait_for, one, POLLRDHUP)
    assert waiting.blocks
    p.close(two)
    assert waiting.result == POLLRDHUP | POLLHUP


@case("POLL-3a", types=ALL)
def level_triggered(p: Process, kind: int) -> None:
    """As long as something is there."""
    one, two = p.socketpair(kind)
    ep = p.epoll()
    assert p.watch(ep, two, EPOLLIN) == 0
    assert p.epoll_wait(ep) == []
    p.send(one, b"x")
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]
    p.recv(two)
    assert p.epoll_wait(ep) == []


@case("POLL-3b", types=ALL)
def edge_triggered(p: Process, kind: int) -> None:
    """Once for each message."""
    one, two = p.socketpair(kind)
    ep = p.epoll()
    p.watch(ep, two, EPOLLIN | EPOLLET)
    p.send(one, b"x")
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]
    assert p.epoll_wait(ep) == []
    p.send(one, b"y")
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]
    p.recv(two, 1)
    assert p.epoll_wait(ep) == []


@case("POLL-3b", types=CONNECTED)
def edge_of_the_end(p: Process, kind: int) -> None:
    """The end of a connection is an edge."""
    one, two = p.socketpair(kind)
    ep = p.epoll()
    p.watch(ep, two, EPOLLIN | EPOLLRDHUP | EPOLLET)
    p.close(one)
    assert p.epoll_wait(ep) == [(EPOLLIN | EPOLLRDHUP | EPOLLHUP, two)]
    assert p.epoll_wait(ep) == []


@case("POLL-3c", types=ALL)
def one_shot(p: Process, kind: int) -> None:
    """Once, until it is armed again."""
    one, two = p.socketpair(kind)
    ep = p.epoll()
    p.watch(ep, two, EPOLLIN | EPOLLONESHOT)
    p.send(one, b"x")
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]
    p.send(one, b"y")
    assert p.epoll_wait(ep) == []
    assert p.epoll_ctl(ep, EPOLL_CTL_MOD, two, EPOLLIN | EPOLLONESHOT) == 0
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]


@case("POLL-3d", types=CONNECTED)
def exclusive(p: Process, kind: int) -> None:
    """Two wait, one is woken."""
    listener = p.listener(kind, p.abstract(b"n"))
    waiting = []
    for _ in range(2):
        ep = p.epoll()
        p.watch(ep, listener, EPOLLIN | EPOLLEXCLUSIVE | EPOLLET)
        waiting.append(p.begin(p.epoll_wait, ep, 16, -1))
        assert waiting[-1].blocks
    p.client(kind, p.abstract(b"n"))
    assert sorted(pending.blocks for pending in waiting) == [False, True]


@case("POLL-3e", types=ALL)
def epoll_waits(p: Process, kind: int) -> None:
    """For data, or the time-out."""
    one, two = p.socketpair(kind)
    ep = p.epoll()
    p.watch(ep, two, EPOLLIN)
    assert p.epoll_wait(ep, timeout=20) == []
    waiting = p.begin(p.epoll_wait, ep, 16, -1)
    assert waiting.blocks
    p.send(one, b"x")
    assert waiting.result == [(EPOLLIN, two)]


@case("POLL-3f", types=ALL)
def a_closed_socket_is_watched_no_longer(p: Process, kind: int) -> None:
    """With its last descriptor."""
    one, two = p.socketpair(kind)
    ep = p.epoll()
    p.watch(ep, two, EPOLLIN)
    copy = p.dup(two)
    p.send(one, b"x")
    p.close(two)
    assert p.epoll_wait(ep) == [(EPOLLIN, two)]
    p.close(copy)
    assert p.epoll_wait(ep) == []
