"""What must hold of a core between any two calls: its sockets' own rules, and who owns which descriptor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from afunix.abi.constants import SOCK_DGRAM
from afunix.core.epoll import Epoll
from afunix.core.file import File
from afunix.core.kernel import Kernel
from afunix.core.process import Process
from afunix.core.socket import CLOSED, ESTABLISHED, LISTEN, SHUTDOWN_MASK, Socket

__all__ = ["Lifetimes", "check_invariants", "check_ownership"]


def check_invariants(sockets: Sequence[Socket]) -> None:
    """What `afunix.core.socket` promises of all sockets of a kernel; embryos are found through their listeners."""
    owned = dict.fromkeys(sockets, 0)
    for sock in sockets:
        owned |= {message.embryo: 0 for message in sock.queue if message.embryo is not None}
    for sock in owned:
        for message in sock.queue:
            if message.owner in owned:
                owned[message.owner] += message.truesize
        assert sock.oob is None or sock.oob in sock.queue
        if sock.dead:
            _check_dead(sock)
        elif sock.type == SOCK_DGRAM:
            assert sock.peer is None or sock in sock.peer.connectors
        else:
            _check_connected(sock)
        for connector in sock.connectors:
            assert connector.peer is sock
    for sock, size in owned.items():
        assert sock.wmem == size, f"{sock} has paid {sock.wmem} and owns {size} bytes"


def _check_dead(sock: Socket) -> None:
    assert not sock.queue
    assert sock.shut == SHUTDOWN_MASK
    assert sock.inode is None
    assert sock not in sock.kernel.names.abstract.values()
    assert sock not in sock.kernel.names.inodes.values()


def _check_connected(sock: Socket) -> None:
    assert (sock.peer is not None) == (sock.state == ESTABLISHED)
    assert sock.state in (CLOSED, ESTABLISHED, LISTEN)
    if sock.state == LISTEN:
        assert sock.address is not None
        assert all(message.embryo is not None for message in sock.queue)
    if sock.peer is not None and not sock.peer.dead:
        assert sock.peer.peer is sock


class Lifetimes:
    """How many sockets of a kernel are alive, and that none is closed twice.

    files: those that were reachable when `check_ownership` looked last.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.closed: set[int] = set()
        self.files: set[File] = set()
        kernel.on_close = self._on_close

    def _on_close(self, sock: Socket) -> None:
        assert sock.number not in self.closed, f"{sock} is closed twice"
        self.closed.add(sock.number)

    @property
    def alive(self) -> int:
        """Sockets that were made and not closed."""
        return self.kernel.sockets_made - len(self.closed)

    def check_nothing_left(self) -> None:
        """All descriptors are closed: no socket, no name, nothing in flight.

        Cycles in flight are looked for when a socket closes, so one is closed first.
        """
        Socket(self.kernel, SOCK_DGRAM, None).close()
        assert not self.alive, f"{self.alive} sockets are left over"
        for file in self.files:
            assert not file.references, f"{file} has {file.references} references though all is closed"
        assert not self.kernel.names.abstract
        assert not self.kernel.names.inodes
        assert not self.kernel.inflight
        assert not self.kernel.flight.sockets


def check_ownership(lifetimes: Lifetimes, processes: Iterable[Process]) -> None:
    """Sockets alive are exactly those reachable, and every file has as many references as there are to it.

    Reachable is what a descriptor refers to, what a message of a reachable socket holds, and what waits to be
    accepted; and, until the next socket is closed, what only keeps itself alive in flight. Files that no longer are
    have been closed, and no epoll watches one of them.
    """
    held: Counter[File] = Counter()
    for process in processes:
        held.update(process.descriptors.files.values())
    reached: dict[Socket, None] = {}
    waiting = [file for file in held if isinstance(file, Socket)]
    waiting += lifetimes.kernel.flight.sockets
    while waiting:
        sock = waiting.pop()
        if sock in reached:
            continue
        reached[sock] = None
        for message in sock.queue:
            if message.embryo is not None:
                waiting.append(message.embryo)
            for file in message.files:
                held[file] += 1
                if isinstance(file, Socket):
                    waiting.append(file)
    assert len(reached) == lifetimes.alive, f"{lifetimes.alive} sockets are alive, {len(reached)} reachable"
    for sock in reached:
        assert not sock.dead, f"{sock} is reachable and dead"
        assert sock.references == held[sock], f"{sock} has {sock.references} references, {held[sock]} are there"
    for file, count in held.items():
        assert file.references == count, f"{file} has {file.references} references, {count} are there"
        if isinstance(file, Epoll):
            assert all(item.file.references for item in file.items.values()), f"{file} watches what is closed"
    for file in lifetimes.files.difference(held):
        assert not file.references, f"{file} has {file.references} references, none is there"
    lifetimes.files = set(held)
    check_invariants(list(reached))
