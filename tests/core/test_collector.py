"""The collector: named shapes, and random graphs against plain reachability."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afunix.core.collector import collect


class Node:
    """A socket as the collector sees it: open descriptors, a queue, and for a listener queues of embryos."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = 0
        self.queue: list[Node] = []
        self.embryos: list[list[Node]] = []
        self.closed = False

    def __repr__(self) -> str:
        return self.name

    def holds(self) -> Iterator[Node]:
        yield from self.queue
        for queue in self.embryos:
            yield from queue


class World:
    """Sockets by name; a `Graph` of all that is in flight, and what purging and closing do to it."""

    def __init__(self, *names: str) -> None:
        self.nodes = {name: Node(name) for name in names}
        self.calls = 0

    def send(self, sock: str, to: str, embryo: int | None = None) -> World:
        receiver = self.nodes[to]
        if embryo is None:
            receiver.queue.append(self.nodes[sock])
        else:
            while len(receiver.embryos) <= embryo:
                receiver.embryos.append([])
            receiver.embryos[embryo].append(self.nodes[sock])
        return self

    def hold(self, *names: str) -> World:
        for name in names:
            self.nodes[name].open += 1
        return self

    def inflight(self, sock: Node) -> int:
        self.calls += 1
        return sum(held is sock for node in self.nodes.values() for held in node.holds())

    def references(self, sock: Node) -> int:
        return sock.open + self.inflight(sock)

    def passed(self, sock: Node) -> Iterable[Node]:
        self.calls += 1
        return sock.holds()

    def candidates(self) -> list[Node]:
        return [node for node in self.nodes.values() if self.inflight(node)]

    def collect(self) -> set[str]:
        found = collect(self.candidates(), self)
        assert len(found) == len(set(found))
        return {node.name for node in found}

    def close_unreferenced(self) -> None:
        """What releasing the last reference does, to the end: a closed socket's queue is thrown away."""
        pending = True
        while pending:
            pending = False
            for node in self.nodes.values():
                if not node.closed and not self.references(node):
                    node.closed = pending = True
                    node.queue.clear()
                    node.embryos.clear()

    def purge(self, names: set[str]) -> None:
        for name in names:
            self.nodes[name].queue.clear()
            self.nodes[name].embryos.clear()

    def reachable(self) -> set[str]:
        """The oracle: everything that some program can get by receiving again and again."""
        found = {node for node in self.nodes.values() if node.open}
        rest = list(found)
        while rest:
            for node in rest.pop().holds():
                if node not in found:
                    found.add(node)
                    rest.append(node)
        return {node.name for node in found}

    def on_cycle(self, start: Node) -> bool:
        seen: set[Node] = set()
        rest = list(start.holds())
        while rest:
            node = rest.pop()
            if node is start:
                return True
            if node not in seen:
                seen.add(node)
                rest += node.holds()
        return False


def test_nothing_in_flight() -> None:
    """No message holds a socket: nothing is garbage."""
    assert World("a", "b").hold("a", "b").collect() == set()


def test_chain_that_somebody_holds() -> None:
    """a can be received from b, b from c, and c is open."""
    assert World("a", "b", "c").send("a", "b").send("b", "c").hold("c").collect() == set()


def test_self_cycle() -> None:
    """A socket in its own queue keeps only itself alive."""
    assert World("a").send("a", "a").collect() == {"a"}


def test_self_cycle_that_is_open() -> None:
    """The same with a descriptor left can still be received."""
    assert World("a").send("a", "a").hold("a").collect() == set()


def test_pair_sent_to_each_other() -> None:
    """The classic leak: both ends of a pair passed over the pair and closed."""
    assert World("a", "b").send("a", "b").send("b", "a").collect() == {"a", "b"}
    assert World("a", "b").send("a", "b").send("b", "a").hold("b").collect() == set()


def test_two_cycles_joined() -> None:
    """A cycle that only another garbage cycle holds is garbage too, in the same run."""
    world = World("a", "b", "c", "d").send("a", "b").send("b", "a").send("c", "d").send("d", "c").send("c", "a")
    assert world.collect() == {"a", "b", "c", "d"}


def test_two_cycles_joined_and_one_is_held() -> None:
    """Holding the receiving cycle keeps both; holding the one that is passed keeps only that."""

    def world() -> World:
        joined = World("a", "b", "c", "d").send("a", "b").send("b", "a").send("c", "d").send("d", "c")
        return joined.send("c", "a")

    assert world().hold("a").collect() == set()
    assert world().hold("d").collect() == {"a", "b"}


def test_cycle_kept_by_an_outside_reference() -> None:
    """One more message, in the queue of a socket that is not in flight, keeps the whole cycle."""
    world = World("a", "b", "outside").send("a", "b").send("b", "a").send("a", "outside").hold("outside")
    assert world.collect() == set()


def test_listener_with_embryos() -> None:
    """A listener passed over a connection that it has not accepted keeps only itself alive."""
    assert World("listener").send("listener", "listener", embryo=0).collect() == {"listener"}
    world = World("listener", "a").send("listener", "listener", embryo=1).send("a", "listener", embryo=0)
    assert world.collect() == {"listener"}
    assert world.hold("listener").collect() == set()


def test_cycle_through_an_embryo() -> None:
    """a waits in a connection to the listener, and the listener in a's queue."""
    world = World("listener", "a").send("a", "listener", embryo=0).send("listener", "a")
    assert world.collect() == {"listener", "a"}


def test_embryo_of_a_listener_that_is_open() -> None:
    """Whoever accepts can receive what waits in the embryo."""
    world = World("listener", "a").send("a", "listener", embryo=0).send("a", "a").hold("listener")
    assert world.collect() == set()


def test_socket_that_hangs_on_garbage_is_left_to_its_close() -> None:
    """It is let go by the purge and closes with its unread data, so its own queue is not purged (DATA-4)."""
    world = World("a", "hanging", "inner").send("a", "a").send("hanging", "a").send("inner", "hanging")
    assert world.collect() == {"a"}


def test_garbage_behind_what_hangs_on_garbage() -> None:
    """A cycle that a hanging socket holds is found in the same run."""
    world = World("a", "hanging", "b").send("a", "a").send("hanging", "a").send("b", "hanging").send("b", "b")
    assert world.collect() == {"a", "b"}


def test_peeked_socket_is_not_collected() -> None:
    """MSG_PEEK in the middle takes a reference that no message accounts for."""
    world = World("a", "b").send("a", "b").send("b", "a").hold("a")
    assert world.collect() == set()
    world.nodes["a"].open -= 1
    assert world.collect() == {"a", "b"}


def test_several_references_in_one_queue() -> None:
    """Each copy counts."""
    assert World("a", "b").send("a", "b").send("a", "b").send("b", "a").collect() == {"a", "b"}


class Numbers:
    """A graph of numbers, so that long chains cost nothing to count."""

    def __init__(self, successor: dict[int, list[int]], opened: int | None = None) -> None:
        self.successor = successor
        self.counts: dict[int, int] = {}
        for held in successor.values():
            for sock in held:
                self.counts[sock] = self.counts.get(sock, 0) + 1
        self.opened = opened
        self.calls = 0

    def inflight(self, sock: int) -> int:
        self.calls += 1
        return self.counts[sock]

    def references(self, sock: int) -> int:
        self.calls += 1
        return self.counts[sock] + (sock == self.opened)

    def passed(self, sock: int) -> list[int]:
        self.calls += 1
        return self.successor.get(sock, [])


@pytest.mark.parametrize("forwards", [True, False])
def test_ten_thousand_in_a_chain(forwards: bool) -> None:
    """A chain that ends in a self-cycle is no problem in either order, nor is one that is held at its head."""
    length = 10_000
    order = range(length) if forwards else range(length - 1, -1, -1)
    chain = {number: [number + 1] for number in range(length - 1)}
    graph = Numbers({**chain, 0: [0, 1]})
    assert collect(order, graph) == [0]
    assert graph.calls <= 4 * length
    assert collect(order, Numbers({**chain, 0: [0, 1]}, opened=0)) == []


def test_ten_thousand_in_a_ring() -> None:
    """A ring is one component; one open descriptor anywhere keeps it all."""
    length = 10_000
    ring = {number: [(number + 1) % length] for number in range(length)}
    graph = Numbers(ring)
    assert sorted(collect(range(length), graph)) == list(range(length))
    assert graph.calls <= 4 * length
    assert collect(range(length), Numbers(ring, opened=777)) == []


def test_ten_thousand_cycles_in_a_chain() -> None:
    """Garbage that only garbage holds, ten thousand deep, is found in one run that asks once for each edge."""
    length = 10_000
    graph = Numbers({number: [number, number + 1] for number in range(length - 1)} | {length - 1: [length - 1]})
    assert sorted(collect(range(length), graph)) == list(range(length))
    assert graph.calls <= 4 * length


names = st.sampled_from("abcdef")
sends = st.lists(st.tuples(names, names, st.sampled_from([None, None, 0, 1])), max_size=14)


@settings(max_examples=600, deadline=None)
@given(sends=sends, held=st.lists(names, max_size=2))
@example(sends=[("a", "b", None), ("b", "a", None), ("c", "a", 0), ("d", "c", None), ("d", "d", None)], held=[])
def test_against_reachability(sends: list[tuple[str, str, int | None]], held: list[str]) -> None:
    """Garbage is exactly what no program can receive; purging it closes exactly that, and nothing else."""
    world = World(*"abcdef").hold(*held)
    for sock, receiver, embryo in sends:
        world.send(sock, receiver, embryo)
    world.close_unreferenced()
    reachable = world.reachable()
    alive = {name for name, node in world.nodes.items() if not node.closed}
    garbage = alive - reachable
    found = world.collect()
    assert found == {name for name in garbage if world.on_cycle(world.nodes[name])}
    world.purge(found)
    world.close_unreferenced()
    assert {name for name, node in world.nodes.items() if not node.closed} == reachable
    assert world.collect() == set()
