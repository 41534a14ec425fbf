"""The collector of sockets that only keep each other alive in unread messages (SCM-10, net/unix/garbage.c of 6.10+).

A socket in flight is one that a message holds. Its edges lead to the sockets that can receive it: one for each
reference in a queue. Sockets that can receive each other form a strongly connected component. A component is garbage
if nobody else can ever receive one of its members:

* no member has a reference that no message of a socket in flight holds, such as a descriptor, or a message in the
  queue of a socket that is not in flight itself;
* every edge that leaves the component leads to one that is garbage too.

Linux asks for no leaving edge at all and runs again after each purge. Tarjan's algorithm finishes a component only
after all that it has edges to, so the second rule gets all garbage in one run, in time linear in sockets and
references.

A component of one socket without an edge to itself is never collected: it is let go by the queue it sits in, and its
own queue when it is closed. That matters, as closing with unread data resets the peer and purging does not (DATA-4).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["Graph", "collect"]

S = TypeVar("S", bound=Hashable)


class Graph(Protocol[S]):
    """What the collector asks about sockets, which it knows by identity or any other hash."""

    def inflight(self, sock: S) -> int:
        """References to it that sit in messages, whoever's queue these are in."""

    def references(self, sock: S) -> int:
        """All references to it: those in messages, and any descriptor or operation under way."""

    def passed(self, sock: S) -> Iterable[S]:
        """Sockets in the unread messages of its queue, once for each reference.

        For a listener those in the queues of its embryos, the connections that wait to be accepted.
        """


def collect(inflight: Iterable[S], graph: Graph[S]) -> list[S]:
    """Find the sockets whose queues are garbage: the caller throws away the messages there, and only those.

    inflight: every socket that a message holds, once each. Of a garbage listener the queues of its embryos are to
    be purged, not its own (unix_collect_skb). Releasing what the messages held then closes the sockets. Nothing is
    changed here, and nothing may change before the purge.
    """
    sockets = list(inflight)
    edges: dict[S, list[S]] = {sock: [] for sock in sockets}
    if all(graph.references(sock) > graph.inflight(sock) for sock in sockets):
        return []  # all in flight are open besides: the usual case
    for receiver in sockets:
        for passed in graph.passed(receiver):
            edges[passed].append(receiver)
    dead: set[S] = set()
    garbage: list[S] = []
    for component in _components(edges):
        members = set(component)
        if all(
            graph.references(sock) == len(edges[sock])
            and all(receiver in members or receiver in dead for receiver in edges[sock])
            for sock in component
        ):
            dead |= members
            if len(component) > 1 or component[0] in edges[component[0]]:
                garbage += component
    return garbage


def _components(edges: dict[S, list[S]]) -> Iterator[list[S]]:
    """Strongly connected components, each after all that it has edges to (__unix_walk_scc).

    Tarjan's algorithm with a stack of its own, so a chain may be as long as memory is.
    """
    indices: dict[S, int] = {}
    lowest: dict[S, int] = {}  # of those on the stack: the smallest index that is known to be in the component
    stack: list[S] = []
    for start, receivers in edges.items():
        if start in indices:
            continue
        path = [(start, iter(receivers))]
        indices[start] = lowest[start] = len(indices)
        stack.append(start)
        while path:
            sock, rest = path[-1]
            for successor in rest:
                if successor not in indices:
                    indices[successor] = lowest[successor] = len(indices)
                    stack.append(successor)
                    path.append((successor, iter(edges[successor])))
                    break
                if successor in lowest:
                    lowest[sock] = min(lowest[sock], indices[successor])
            else:
                path.pop()
                if path:
                    parent = path[-1][0]
                    lowest[parent] = min(lowest[parent], lowest[sock])
                if lowest[sock] == indices[sock]:
                    component: list[S] = []
                    while sock in lowest:
                        component.append(stack.pop())
                        del lowest[component[-1]]
                    yield component
