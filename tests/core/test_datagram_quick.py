"""The quick ways of SOCK_DGRAM and SOCK_SEQPACKET are shorter but no different."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from socket_world import Counted, World

from afunix.abi.constants import MSG_PEEK, SOCK_DGRAM, SOCK_SEQPACKET
from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection, datagram, datagram_quick, names
from afunix.core.kernel import Limits
from afunix.core.message import Message, Received, Sent
from afunix.core.socket import Socket
from afunix.core.wait import WaitQueue

DATAGRAMS = 4
"""Sockets 0 to 3 have names; 0 and 1 of the pairs are the two after them, and those of SEQPACKET the last two."""
DATA = (b"", b"a", b"a", b"again", b"b" * 192, b"c" * 193, b"d" * 4576, b"e" * 4577, b"f" * 70_000)
STEPS: dict[str, tuple[int, Callable[[Random], Any]]] = {
    "send": (30, lambda random: random.choice(DATA)),
    "sendto": (20, lambda random: (random.choice((0, 0, 1, 2, 3, 4)), random.choice(DATA))),
    "receive": (30, lambda random: random.choice((1, 192, 70_000, 70_000))),
    "peek": (4, lambda random: 100),
    "pass": (4, lambda random: b"file"),
    "connect": (4, lambda random: random.choice((-1, 0, 0, 1, 2, 4))),
    "shutdown": (1, lambda random: random.randrange(3)),
    "set": (6, lambda random: (random.choice(("passcred", "passpidfd", "timestamp")), random.randrange(2))),
    "peek_off": (1, lambda random: random.choice((-1, 0))),
    "close": (1, lambda random: None),
}
"""By name: how often it is done, and with what."""


def name(index: int) -> bytes:
    return b"\0" + bytes([65 + index])


class Sockets(World):
    """Eight sockets, and who waits for anything of them."""

    def __init__(self, sndbuf: int, quick: bool) -> None:
        super().__init__(Limits(max_dgram_qlen=3))
        self.quick = quick
        self.short = 0
        self.woken: Counter[tuple[int, str]] = Counter()
        named = [self.socket(SOCK_DGRAM) for _ in range(DATAGRAMS)]
        for index, sock in enumerate(named):
            names.bind(sock, self.program, name(index))
        self.sockets: list[Socket] = [*named, *self.pair(SOCK_DGRAM), *self.pair(SOCK_SEQPACKET)]
        for index, sock in enumerate(self.sockets):
            sock.sndbuf = sndbuf
            sock.acquire()
            for queue in ("readable", "writable", "peer_space"):
                self.watch(getattr(sock, queue), (index, queue))

    def watch(self, queue: WaitQueue, key: tuple[int, str]) -> None:
        queue.add(lambda: self.woken.update([key]))

    def send(self, sock: Socket, data: bytes, address: bytes | None) -> Any:  # type: ignore[override]
        if self.quick:
            if address is None:
                count = datagram_quick.put(sock, data)
            else:
                count = datagram_quick.put_to(sock, self.program, data, address)
            if count:
                self.short += 1
                return count
        sent = self.try_send(sock, data, address=address)
        return sent.length if isinstance(sent, Sent) else sent.queues == sock.wait_writable.queues

    def receive_one(self, sock: Socket, size: int, flags: int) -> Any:
        if self.quick and not flags:
            data = datagram_quick.take(sock, size)
            if data is not None:
                self.short += 1
                return data
        received = self.try_receive(sock, size, flags)
        if not isinstance(received, Received):
            return "would block"
        if not flags:
            received.done()
        return received.data

    def do(self, step: str, index: int, argument: Any) -> Any:
        """What a step comes to: its result, the errno, or what it would wait for."""
        sock = self.sockets[index]
        try:
            match step:
                case "send":
                    return self.send(sock, argument, None)
                case "sendto":
                    return self.send(sock, argument[1], name(argument[0]))
                case "receive" | "peek":
                    return self.receive_one(sock, argument, MSG_PEEK if step == "peek" else 0)
                case "pass":
                    file = Counted()
                    file.acquire()
                    return type(self.try_send(sock, argument, files=[file])).__name__
                case "connect":
                    datagram.connect(sock, self.program, None if argument < 0 else name(argument))
                case "shutdown":
                    sock.shutdown(argument)
                case "set":
                    setattr(sock, *argument)
                case "peek_off":
                    sock.peek_off = argument
                case "close":
                    sock.close()
            return None
        except SyscallError as error:
            return error.errno
        finally:
            self.kernel.wakeups.apply()

    def looks(self, message: Message) -> tuple[object, ...]:
        return (
            *(bytes(message.data), message.truesize, self.sockets.index(message.owner), message.creds),
            *(message.timestamp, message.peeked, message.consumed, len(message.files)),
        )

    def state(self) -> list[object]:
        return [
            (
                *(sock.wmem, sock.state, sock.shut, sock.error, sock.peek_off, sock.dead),
                sock.peer and self.sockets.index(sock.peer),
                [self.looks(message) for message in sock.queue],
            )
            for sock in self.sockets
        ]


@pytest.mark.parametrize("sndbuf", [4_608, 212_992])
@pytest.mark.parametrize("chunk", range(4))
def test_as_the_long_way(sndbuf: int, chunk: int) -> None:
    """The same results, the same state, and the same waiters are woken as often, in random programs."""
    short = 0
    for seed in range(100):
        random = Random(f"{chunk} {seed}")
        long, quick = Sockets(sndbuf, False), Sockets(sndbuf, True)
        steps = random.choices(list(STEPS), [often for often, _ in STEPS.values()], k=150)
        few = random.randrange(1, DATAGRAMS + 1)  # so that queues become full
        for number, step in enumerate(steps):
            index = random.randrange(8) if random.random() < 0.5 else random.randrange(few)
            if index >= 6 and step in {"sendto", "connect"}:
                continue
            argument = STEPS[step][1](random)
            at = (chunk, seed, number, step, index)
            assert (at, long.do(step, index, argument)) == (at, quick.do(step, index, argument))
            assert (at, long.state()) == (at, quick.state())
            assert (at, long.woken) == (at, quick.woken)
        short += quick.short
    assert short > 1000


def test_it_is_the_short_way() -> None:
    """In the common cases, and a message is used again."""
    world = Sockets(212_992, True)
    for index, data in ((4, b"x" * 5000), (6, b"y")):
        assert world.do("send", index, data) == len(data)
        assert world.do("receive", index + 1, 5000) == data
    assert world.do("sendto", 0, (1, b"z")) == 1
    assert world.do("receive", 1, 10) == b"z"
    assert world.short == 6
    assert len(world.kernel.spare) == 1


def test_refused_names() -> None:
    """An address that leads nowhere is told, and a longer message sooner."""
    world = Sockets(4_608, True)
    assert world.do("sendto", 0, (9, b"x")) == Errno.ECONNREFUSED
    assert world.do("sendto", 0, (9, bytes(5000))) == Errno.EMSGSIZE
    listener = world.socket(SOCK_SEQPACKET)
    names.bind(listener, world.program, b"\0listener")
    connection.listen(listener, world.program, 1)
    client = world.socket(SOCK_SEQPACKET)
    connection.connect(client, world.program, b"\0listener")
    assert datagram_quick.take(listener, 10) is None  # a connection is no message
    assert datagram_quick.put(client, b"early") == 0
    assert world.try_send(client, b"early")
