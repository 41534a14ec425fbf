"""select, poll, epoll and selectors: virtual and host descriptors together, and wake-ups from other threads."""

from __future__ import annotations

import os
import selectors as standard_selectors
import socket as host_socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sides import Side

import afunix
from afunix import select, selectors
from afunix.core import readiness

Ready = Callable[[list[int], float | None], set[int]]


def by_select(fds: list[int], timeout: float | None) -> set[int]:
    return set(select.select(fds, [], [], timeout)[0])


def by_poll(fds: list[int], timeout: float | None) -> set[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)}


def by_epoll(fds: list[int], timeout: float | None) -> set[int]:
    with select.epoll() as epoll:
        for fd in fds:
            epoll.register(fd, select.EPOLLIN)
        return {fd for fd, _ in epoll.poll(timeout)}


def by_selector(kind: Any) -> Ready:
    def ready(fds: list[int], timeout: float | None) -> set[int]:
        with kind() as selector:
            for fd in fds:
                selector.register(fd, selectors.EVENT_READ)
            return {key.fd for key, _ in selector.select(timeout)}

    return ready


WAYS = {
    "select": by_select,
    "poll": by_poll,
    "epoll": by_epoll,
    "DefaultSelector": by_selector(selectors.DefaultSelector),
    "PollSelector": by_selector(selectors.PollSelector),
    "SelectSelector": by_selector(selectors.SelectSelector),
}


@pytest.mark.parametrize("ready", WAYS.values(), ids=WAYS)
def test_both_kinds_together(kernel: afunix.Kernel, ready: Ready) -> None:
    """What is ready of either kind is found at once, and from another thread while it sleeps."""
    with kernel.process() as process:
        one, two = process.socketpair()
        reading, writing = os.pipe()
        both = [two.fileno(), reading]
        assert ready(both, 0) == set()
        assert ready(both, 0.02) == set()
        assert ready([two.fileno()], 0.02) == set()
        for fds in (both, [two.fileno()]):
            threading.Timer(0.05, one.send, (b"x",)).start()
            start = time.monotonic()
            assert ready(fds, 20) == {two.fileno()}
            assert time.monotonic() - start < 10
            two.recv(1)
        threading.Timer(0.05, os.write, (writing, b"x")).start()
        assert ready(both, 20) == {reading}
        one.send(b"x")
        assert ready(both, None) == set(both)
        assert ready([reading], 0) == {reading}
        os.close(reading)
        os.close(writing)
        one.close()
        two.close()
        assert not two._process.kernel.core.wakeups.pending


def masks(side: Side) -> list[tuple[str, int]]:
    """The whole mask of sockets in several states, by poll."""
    found = []

    def look(name: str, sock: Any) -> None:
        poll = side.select.poll()
        poll.register(sock.fileno(), 0xFFFF & ~side.select.POLLNVAL)
        events = poll.poll(0)
        found.append((name, events[0][1] if events else 0))

    socket_module = side.socket
    unused = socket_module.socket(socket_module.AF_UNIX)
    look("unused", unused)
    one, two = side.pair()
    look("pair", one)
    two.send(b"x")
    look("readable", one)
    two.shutdown(socket_module.SHUT_WR)
    look("half shut", one)
    two.close()
    look("peer closed", one)
    unused.bind("")
    unused.listen()
    look("listening", unused)
    unused.close()
    one.close()
    return found


def test_masks(side: Side) -> None:
    """They are those of the host."""
    assert masks(side) == masks(Side(socket=host_socket, select=__import__("select"), directory=side.directory))


def test_closed_descriptors(kernel: afunix.Kernel) -> None:
    """select and epoll say EBADF, poll POLLNVAL, and a closed one is gone from an epoll."""
    with kernel.process() as process, select.epoll() as epoll:
        one, two = process.socketpair()
        number = one.fileno()
        epoll.register(one, select.EPOLLIN)
        with pytest.raises(FileExistsError):
            epoll.register(one, select.EPOLLIN)
        one.close()
        two.close()
        assert epoll.poll(0) == []
        for operation in (lambda: select.select([number], [], [], 0), lambda: epoll.unregister(number)):
            with pytest.raises(OSError, match="Bad file descriptor"):
                operation()
        poll = select.poll()
        poll.register(number)
        assert poll.poll(None) == [(number, select.POLLNVAL)]
    with pytest.raises(ValueError, match="closed epoll"):
        epoll.poll(0)


def test_edge_triggered(side: Side) -> None:
    """Each message is an edge; reading a part is none (POLL-3)."""
    one, two = side.pair()
    with one, two, side.select.epoll() as epoll:
        epoll.register(two.fileno(), side.select.EPOLLIN | side.select.EPOLLET)
        one.send(b"ab")
        assert len(epoll.poll(1)) == 1
        two.recv(1)
        assert epoll.poll(0) == []
        one.send(b"c")
        assert len(epoll.poll(1)) == 1
        epoll.modify(two.fileno(), side.select.EPOLLIN | side.select.EPOLLONESHOT)
        assert len(epoll.poll(1)) == 1
        assert epoll.poll(0) == []


def test_cost_of_idle_sockets(kernel: afunix.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll asks those that were woken for their mask, however many are registered."""
    asked = 0
    mask = readiness.mask

    def counted(sock: Any) -> int:
        nonlocal asked
        asked += 1
        return mask(sock)

    monkeypatch.setattr(readiness, "mask", counted)
    with kernel.process() as process, select.epoll() as epoll:
        pairs = [process.socketpair() for _ in range(500)]
        for pair in pairs:
            for sock in pair:
                epoll.register(sock, select.EPOLLIN)
        assert asked == 1000
        asked = 0  # each was asked when it was registered
        pairs[250][0].send(b"x")
        assert epoll.poll(1) == [(pairs[250][1].fileno(), select.EPOLLIN)]
        assert asked == 1
        for pair in pairs:
            for sock in pair:
                sock.close()


def test_host_descriptor_added_while_asleep(kernel: afunix.Kernel) -> None:
    """A thread that sleeps on virtual descriptors only learns of a host's that comes later."""
    with kernel.process() as process, select.epoll() as epoll:
        one, two = process.socketpair()
        epoll.register(two, select.EPOLLIN)
        reading, writing = os.pipe()
        os.write(writing, b"x")
        threading.Timer(0.05, epoll.register, (reading, select.EPOLLIN)).start()
        assert epoll.poll(20) == [(reading, select.EPOLLIN)]
        os.close(reading)
        os.close(writing)
        one.close()
        two.close()


def test_keys_of_selectors(kernel: afunix.Kernel) -> None:
    """A selector has the standard library's interface."""
    with kernel.process() as process, selectors.DefaultSelector() as selector:
        one, two = process.socketpair()
        key = selector.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE, "data")
        assert isinstance(selector, standard_selectors.BaseSelector)
        assert selector.select(1) == [(key, selectors.EVENT_WRITE)]
        selector.modify(one, selectors.EVENT_READ, "other")
        assert selector.select(0) == []
        two.send(b"x")
        ((key, events),) = selector.select(1)
        assert (key.fileobj, key.data, events) == (one, "other", selectors.EVENT_READ)
        selector.unregister(one)
        assert selector.select(0) == []
        one.close()
        two.close()
