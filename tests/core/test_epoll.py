"""epoll of the core: level- and edge-triggered, one shot, exclusive, nested; against the host's where it can be."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Iterator

import pytest
from socket_world import World, refused

from afunix.abi.constants import (
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    EPOLLRDHUP,
    SOCK_STREAM,
)
from afunix.abi.errno import Errno
from afunix.core.epoll import EP_MAX_NESTS, Epoll, wait
from afunix.core.eventfd import EventCounter
from afunix.core.memfile import MemoryFile
from afunix.core.pipe import make_pipe
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock


@pytest.fixture
def world() -> World:
    return World()


def pair(world: World) -> tuple[Socket, Socket]:
    one, two = world.pair(SOCK_STREAM)
    one.acquire()
    two.acquire()
    return one, two


def ready(world: World, epoll: Epoll, maxevents: int = 10) -> list[tuple[int, object]]:
    world.kernel.wakeups.apply()
    found = epoll.wait_nowait(maxevents)
    return [] if isinstance(found, WouldBlock) else found


def test_level_triggered(world: World) -> None:
    """It is reported as long as it is ready."""
    one, two = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    epoll.add(3, two, EPOLLIN, "two")
    assert ready(world, epoll) == []
    world.send(one, b"ab")
    assert ready(world, epoll) == [(EPOLLIN, "two")]
    world.receive(two, 1)
    assert ready(world, epoll) == [(EPOLLIN, "two")]
    world.receive(two, 1)
    assert ready(world, epoll) == []


def test_edge_triggered(world: World) -> None:
    """Each message is an edge, and reading a part is none (POLL-3)."""
    one, two = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    epoll.add(3, two, EPOLLIN | EPOLLET, "two")
    world.send(one, b"ab")
    assert ready(world, epoll) == [(EPOLLIN, "two")]
    assert ready(world, epoll) == []
    world.receive(two, 1)
    assert ready(world, epoll) == []
    world.send(one, b"c")
    assert ready(world, epoll) == [(EPOLLIN, "two")]


def test_one_shot(world: World) -> None:
    """It is reported once, and armed again by modify."""
    one, two = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    epoll.add(3, two, EPOLLIN | EPOLLONESHOT, "two")
    world.send(one, b"a")
    assert ready(world, epoll) == [(EPOLLIN, "two")]
    world.send(one, b"b")
    assert ready(world, epoll) == []
    epoll.modify(3, two, EPOLLIN | EPOLLONESHOT, "again")
    assert ready(world, epoll) == [(EPOLLIN, "again")]


def test_exclusive(world: World) -> None:
    """Of the epolls that somebody waits on, one gets the wake-up; without the flag all do."""
    for flag, expected in ((EPOLLEXCLUSIVE, 1), (0, 3)):
        one, two = pair(world)
        epolls = [Epoll(world.kernel.wakeups) for _ in range(3)]
        woken: list[int] = []
        for number, epoll in enumerate(epolls):
            epoll.add(3, two, EPOLLIN | flag, None)
            epoll.readable.add(lambda number=number, woken=woken: woken.append(number))  # type: ignore[misc]
        world.send(one, b"a")
        world.kernel.wakeups.apply()
        assert len(woken) == expected
    with refused(Errno.EINVAL):
        epolls[0].modify(3, two, EPOLLIN | EPOLLEXCLUSIVE, None)
    with refused(Errno.EINVAL):
        Epoll(world.kernel.wakeups).add(3, two, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, None)


def test_it_waits_for_what_is_wanted_only(world: World) -> None:
    """Room in the send buffer is no news to who wants to read; the end is, to who wants nothing else."""
    one, two = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    epoll.add(3, one, EPOLLIN, None)
    assert (len(one.readable), len(one.writable)) == (1, 0)
    epoll.modify(3, one, EPOLLIN | EPOLLOUT, None)
    assert (len(one.readable), len(one.writable)) == (1, 1)
    epoll.modify(3, one, EPOLLOUT | EPOLLONESHOT, None)
    assert (len(one.readable), len(one.writable)) == (0, 1)
    assert ready(world, epoll) == [(EPOLLOUT, None)]
    for events in (0, EPOLLRDHUP):
        epoll.modify(3, one, events, None)
        assert (len(one.readable), len(one.writable)) == (1, 0)
    assert ready(world, epoll) == []
    two.shutdown(1)
    assert ready(world, epoll) == [(EPOLLRDHUP, None)]
    epoll.remove(3, one)
    assert (len(one.readable), len(one.writable)) == (0, 0)


def test_closed_files_are_gone(world: World) -> None:
    """Whoever holds the last reference, nothing is left of the file in the epoll, nor of the epoll at the file."""
    one, two = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    reader, writer = make_pipe(world.kernel.wakeups)
    counter = EventCounter(world.kernel.wakeups)
    for fd, file in enumerate([two, reader, writer, counter]):
        if file is not two:
            file.acquire()
        epoll.add(fd, file, EPOLLIN | EPOLLOUT, fd)
    for file in (two, reader, writer, counter):
        file.release()
    assert not epoll.items
    assert not epoll.ready
    assert ready(world, epoll) == []
    assert not two.readable
    epoll.add(3, one, EPOLLIN | EPOLLRDHUP, "gone")
    assert ready(world, epoll) == [(EPOLLIN | EPOLLRDHUP | EPOLLHUP, "gone")]
    epoll.close()
    assert not one.readable
    assert not one.watchers


def test_errors(world: World) -> None:
    """As ep_insert, ep_modify and ep_remove."""
    one, _ = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    with refused(Errno.EPERM):
        epoll.add(3, MemoryFile.anonymous(), EPOLLIN, None)
    with refused(Errno.EINVAL):
        epoll.add(3, epoll, EPOLLIN, None)
    for operation in (epoll.remove, lambda fd, file: epoll.modify(fd, file, EPOLLIN, None)):
        with refused(Errno.ENOENT):
            operation(3, one)
    epoll.add(3, one, EPOLLIN, None)
    with refused(Errno.EEXIST):
        epoll.add(3, one, EPOLLIN, None)
    epoll.add(4, one, EPOLLIN, None)
    with refused(Errno.EINVAL):
        epoll.wait_nowait(0)


def test_nested(world: World) -> None:
    """An epoll is readable while something is ready in it; circles and long rows are refused."""
    one, two = pair(world)
    inner, outer = Epoll(world.kernel.wakeups), Epoll(world.kernel.wakeups)
    inner.add(3, two, EPOLLIN, "two")
    outer.add(4, inner, EPOLLIN, "inner")
    assert ready(world, outer) == []
    world.send(one, b"a")
    assert ready(world, outer) == [(EPOLLIN, "inner")]
    world.receive(two, 1)
    assert ready(world, outer) == []
    with refused(Errno.ELOOP):
        inner.add(5, outer, EPOLLIN, None)
    last = outer
    for _ in range(EP_MAX_NESTS - 2):
        last, below = Epoll(world.kernel.wakeups), last
        last.add(3, below, EPOLLIN, None)
    with refused(Errno.ELOOP):
        Epoll(world.kernel.wakeups).add(3, last, EPOLLIN, None)


def test_wait_body(world: World) -> None:
    """It waits for the ready list, until its deadline."""
    one, two = pair(world)
    epoll = Epoll(world.kernel.wakeups)
    epoll.add(3, two, EPOLLIN, "two")
    body = wait(epoll, 1, 100.0, 5.0)
    block = next(body)
    assert block.queues == (epoll.readable,)
    assert block.deadline == 105.0
    world.send(one, b"a")
    world.kernel.wakeups.apply()
    with pytest.raises(StopIteration) as stop:
        next(body)
    assert stop.value.value == [(EPOLLIN, "two")]


class Host:
    """The same on the host."""

    def __init__(self) -> None:
        self.socks = socket.socketpair()
        for sock in self.socks:
            sock.setblocking(False)
        self.epoll = select.epoll()

    def add(self, index: int, events: int) -> None:
        self.epoll.register(self.socks[index], events)

    def modify(self, index: int, events: int) -> None:
        self.epoll.modify(self.socks[index], events)

    def remove(self, index: int) -> None:
        self.epoll.unregister(self.socks[index])

    def send(self, index: int) -> None:
        self.socks[index].send(b"abc")

    def receive(self, index: int, size: int) -> None:
        self.socks[index].recv(size)

    def shutdown(self, index: int) -> None:
        self.socks[index].shutdown(socket.SHUT_WR)

    def ready(self) -> list[tuple[int, int]]:
        fds = [sock.fileno() for sock in self.socks]
        return [(fds.index(fd), events) for fd, events in self.epoll.poll(0)]

    def close(self) -> None:
        self.epoll.close()
        for sock in self.socks:
            sock.close()


class Core:
    """The same on the core."""

    def __init__(self) -> None:
        self.world = World()
        self.socks = pair(self.world)
        self.epoll = Epoll(self.world.kernel.wakeups)

    def add(self, index: int, events: int) -> None:
        self.epoll.add(index, self.socks[index], events, index)

    def modify(self, index: int, events: int) -> None:
        self.epoll.modify(index, self.socks[index], events, index)

    def remove(self, index: int) -> None:
        self.epoll.remove(index, self.socks[index])

    def send(self, index: int) -> None:
        self.world.send(self.socks[index], b"abc")

    def receive(self, index: int, size: int) -> None:
        self.world.receive(self.socks[index], size)

    def shutdown(self, index: int) -> None:
        self.socks[index].shutdown(1)

    def ready(self) -> list[tuple[int, int]]:
        return [(index, events) for events, index in ready(self.world, self.epoll)]  # type: ignore[misc]


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(60))
def test_as_the_host(seed: int, host: Host) -> None:
    """Random steps on both report the same events in the same order."""
    rng = random.Random(seed)
    core = Core()
    queued = [0, 0]
    watched = [False, False]
    shut = [False, False]
    steps: list[object] = []
    for _ in range(60):
        index = rng.randrange(2)
        kind = rng.choice(
            ["add", "modify", "remove", "send", "send", "receive", "receive", "shutdown", "ready", "ready"]
        )
        events = rng.choice([EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT, EPOLLIN | EPOLLRDHUP])
        events |= rng.choice([0, EPOLLET, EPOLLET, EPOLLONESHOT])
        arguments: tuple[int, ...] = (index,)
        if kind == "add":
            if watched[index]:
                continue
            watched[index] = True
            arguments = (index, events)
        elif kind == "modify":
            if not watched[index]:
                continue
            arguments = (index, events)
        elif kind == "remove":
            if not watched[index]:
                continue
            watched[index] = False
        elif kind == "send":
            if shut[index]:
                continue
            queued[1 - index] += 3
        elif kind == "receive":
            if not queued[index]:
                continue
            size = rng.randint(1, queued[index])
            queued[index] -= size
            arguments = (index, size)
        elif kind == "shutdown":
            if rng.random() < 0.7:
                continue
            shut[index] = True
        else:
            arguments = ()
        steps.append((kind, *arguments))
        core.world.kernel.wakeups.apply()
        ours, theirs = getattr(core, kind)(*arguments), getattr(host, kind)(*arguments)
        assert ours == theirs, "\n".join(map(str, steps))
