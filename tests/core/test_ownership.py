"""Who owns a passed descriptor: random programs, after each step of which every reference is accounted for.

A file's references are those of the program's descriptors, of the messages in queues, and of receive calls under way;
a file is closed when there are none, and once. What only keeps itself alive goes with the collector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from socket_world import Counted, Program, World

from afunix.abi.constants import MSG_OOB, MSG_PEEK, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import SyscallError
from afunix.conformance.differ_invariants import check_invariants
from afunix.core import connection, datagram, names
from afunix.core.collector import collect
from afunix.core.credentials import Credentials
from afunix.core.file import File
from afunix.core.message import Message, Received, Sent
from afunix.core.socket import Socket

INDEX = st.integers(0, 30)
KIND = st.sampled_from((SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET))
USER = 1000


class Programs(RuleBasedStateMachine):
    """One program with many descriptors, to sockets and to plain files."""

    def __init__(self) -> None:
        super().__init__()
        # A limit on descriptors in flight, so that sends fail with ETOOMANYREFS, too.
        self.world = World(program=Program(Credentials(1, USER, USER, USER, USER), nofile=12))
        self.kernel = self.world.kernel
        self.kernel.on_close = self.closed
        self.gone: Counter[Socket] = Counter()
        self.everybody: list[Socket] = []
        self.files: list[Counted] = []
        self.table: list[File] = []
        self.received: Received | None = None
        self.sent: list[Sent] = []

    def closed(self, sock: Socket) -> None:
        self.gone[sock] += 1

    # The program's descriptors.

    def open(self, file: File) -> None:
        file.acquire()
        self.table.append(file)

    def sockets(self) -> list[Socket]:
        return [file for file in self.table if isinstance(file, Socket)]

    def sock(self, index: int) -> Socket:
        sockets = self.sockets()
        return sockets[index % len(sockets)]

    def made(self, *sockets: Socket) -> None:
        self.everybody += sockets

    @initialize(kind=KIND)
    def start(self, kind: int) -> None:
        self.pair(kind)

    @rule(kind=KIND)
    def pair(self, kind: int) -> None:
        for sock in self.world.pair(kind):
            self.made(sock)
            self.open(sock)

    @rule()
    def file(self) -> None:
        file = Counted()
        self.files.append(file)
        self.open(file)

    @rule(kind=KIND, at=INDEX)
    def bound(self, kind: int, at: int) -> None:
        """A socket with a name: a listener, or one that datagrams go to."""
        sock = self.world.socket(kind)
        self.made(sock)
        self.open(sock)
        try:
            names.bind(sock, self.world.program, b"\0%d" % (at % 3))
            connection.listen(sock, self.world.program, 1)
        except SyscallError:
            pass

    @rule(kind=KIND, at=INDEX)
    def connect(self, kind: int, at: int) -> None:
        sock = self.world.socket(kind)
        self.made(sock)
        self.open(sock)
        try:
            if kind == SOCK_DGRAM:
                datagram.connect(sock, self.world.program, b"\0%d" % (at % 3))
            else:
                embryo = connection.connect(sock, self.world.program, b"\0%d" % (at % 3))
                if isinstance(embryo, Socket):
                    self.made(embryo)
        except SyscallError:
            pass

    @precondition(lambda self: self.sockets())
    @rule(at=INDEX, arrives=st.booleans())
    def accept(self, at: int, arrives: bool) -> None:
        listener = self.sock(at)
        try:
            embryo = connection.accept(listener)
        except SyscallError:
            return
        if isinstance(embryo, Socket):
            if arrives:
                self.open(embryo)
            else:
                connection.return_embryo(listener, embryo)

    @precondition(lambda self: self.sockets())
    @rule(
        at=INDEX,
        size=st.sampled_from((0, 1, 5, 5000, 60000)),
        passed=st.lists(INDEX, max_size=4),
        flags=st.sampled_from((0, 0, 0, MSG_OOB)),
        name=st.sampled_from((None, None, b"\0000", b"\0001", b"\0002")),
    )
    def send(self, at: int, size: int, passed: list[int], flags: int, name: bytes | None) -> None:
        files = [self.table[index % len(self.table)] for index in passed]
        for file in files:
            file.acquire()
        try:
            sent = self.world.try_send(self.sock(at), b"x" * size, flags, files, name)
        except SyscallError:
            sent = None
        if isinstance(sent, Sent):
            self.sent.append(sent)
        else:
            for file in files:
                file.release()

    @precondition(lambda self: self.sent)
    @rule()
    def unsend(self) -> None:
        self.sent.pop().undo()

    @precondition(lambda self: self.sockets())
    @rule(at=INDEX, size=st.sampled_from((65536, 65536, 1, 3, 0)), flags=st.sampled_from((0, 0, MSG_OOB, MSG_PEEK)))
    def receive(self, at: int, size: int, flags: int) -> None:
        """Receive; a call under way before is answered first."""
        self.answer(keep=True)
        try:
            received = self.world.try_receive(self.sock(at), size, flags)
        except SyscallError:
            return
        if not isinstance(received, Received):
            return
        if flags & MSG_PEEK:
            for file in received.files:
                self.open(file)
            received.done()
        else:
            self.received = received

    @rule(keep=st.booleans())
    def answer(self, keep: bool) -> None:
        """The receive under way arrives, and the program keeps what it got or has no room for it."""
        received, self.received = self.received, None
        if received is not None:
            if keep:
                for file in received.files:
                    self.open(file)
            received.done()
            assert not received.files

    @rule()
    def unreceive(self) -> None:
        received, self.received = self.received, None
        if received is not None:
            received.undo()

    @precondition(lambda self: self.sockets())
    @rule(at=INDEX, how=st.integers(0, 2))
    def shutdown(self, at: int, how: int) -> None:
        self.sock(at).shutdown(how)

    @precondition(lambda self: self.sockets())
    @rule(at=INDEX)
    def disconnect(self, at: int) -> None:
        sock = self.sock(at)
        # A receive under way would go back to a queue that this empties.
        self.answer(keep=False)
        if sock.type == SOCK_DGRAM:
            datagram.connect(sock, self.world.program, None)

    @precondition(lambda self: self.table)
    @rule(at=INDEX)
    def close(self, at: int) -> None:
        self.table.pop(at % len(self.table)).release()

    @rule()
    def collect(self) -> None:
        queues = [sock for garbage in collect(self.candidates(), self) for sock in self.receivers(garbage)]
        messages = [message for sock in queues for message in sock.queue if message.embryo is None]
        for sock in queues:
            for message in messages:
                if message in sock.queue:
                    sock.queue.remove(message)
            sock.oob = None
        for message in messages:
            self.kernel.free(message)

    # The collector's graph.

    def candidates(self) -> list[Socket]:
        return list(dict.fromkeys(file for file in self.in_messages() if isinstance(file, Socket)))

    def inflight(self, sock: Socket) -> int:
        return sum(file is sock for file in self.in_messages())

    def references(self, sock: Socket) -> int:
        return sock.references

    def passed(self, sock: Socket) -> Iterator[Socket]:
        for receiver in self.receivers(sock):
            for message in receiver.queue:
                yield from (file for file in message.files if isinstance(file, Socket))

    def receivers(self, sock: Socket) -> list[Socket]:
        """The socket itself, or the embryos of a listener."""
        return [message.embryo for message in sock.queue if message.embryo is not None] or [sock]

    def messages(self) -> Iterator[Message]:
        for sock in self.everybody:
            yield from sock.queue

    def in_messages(self) -> Iterator[File]:
        for message in self.messages():
            yield from message.files

    def under_way(self) -> Iterable[File]:
        if self.received is None:
            return []
        return [*self.received.files, *(file for files in self.received.dropped.values() for file in files)]

    # What always holds.

    @invariant()
    def accounted(self) -> None:
        held = Counter([*self.table, *self.in_messages(), *self.under_way()])
        for file in self.files:
            assert file.references == held[file]
            assert file.closed == int(not held[file])
        embryos = {message.embryo for message in self.messages()}
        for sock in self.everybody:
            assert sock.references == held[sock]
            assert sock.dead == (not held[sock] and sock not in embryos)
            assert self.gone[sock] == int(sock.dead)

    @invariant()
    def counted_for_the_user(self) -> None:
        assert self.kernel.inflight.get(USER, 0) == len(list(self.in_messages()))

    @invariant()
    def consistent(self) -> None:
        check_invariants(list(dict.fromkeys(self.everybody)))

    def teardown(self) -> None:
        """All descriptors closed and the garbage collected, nothing is left."""
        self.answer(keep=False)
        while self.table:
            self.table.pop().release()
        self.accounted()
        while self.candidates():
            before = len(self.candidates())
            self.collect()
            assert len(self.candidates()) < before, "what is left is no garbage"
        self.accounted()
        assert all(sock.dead for sock in self.everybody)
        assert all(file.closed == 1 for file in self.files)
        assert not self.kernel.names.abstract
        assert not self.kernel.inflight


def test_random_programs() -> None:
    """References are exactly those that somebody holds, after each step and at the end."""
    run_state_machine_as_test(
        Programs, settings=settings(max_examples=120, stateful_step_count=40, deadline=None, derandomize=True)
    )


@pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET])
def test_closed_with_the_queue(kind: int) -> None:
    """Descriptors that nobody received are closed with the queue they are in."""
    world = World()
    one, two = world.pair(kind)
    file = Counted()
    file.acquire()
    world.send(one, b"x", 0, [file])
    one.close()
    assert file.references == 1
    two.close()
    assert file.closed == 1


def test_empty_stream_send() -> None:
    """A stream send of no bytes succeeds and closes its descriptors (DATA-11)."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    file = Counted()
    file.acquire()
    assert world.send(one, b"", 0, [file]).length == 0
    assert file.closed == 1
    assert not two.queue
