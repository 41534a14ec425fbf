"""Random programs of one thread on the host's sockets and on ours, through Python's API: every answer is the same."""

from __future__ import annotations

import errno
import itertools
import select
import socket
import tempfile
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType, TracebackType
from typing import Any

import pytest

import afunix
from afunix import select as our_select
from afunix import socket as our_socket

KINDS = (socket.SOCK_STREAM, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
SIZES = (0, 1, 1, 1, 5, 192, 193, 3776, 5000, 40_000, 65_536, 200_000)
ROOMS = (1, 1, 5, 192, 5000, 65_536, 1 << 20)
FLAGS = (0,) * 12 + (socket.MSG_PEEK, socket.MSG_PEEK, socket.MSG_OOB, socket.MSG_DONTWAIT)
NAMES = ("a", "b", "c", "nobody")
SEND_FLAGS = (0,) * 12 + (socket.MSG_OOB, socket.MSG_DONTWAIT)
OPTIONS = (
    *((socket.SO_PASSCRED, value) for value in (0, 1)),
    *((socket.SO_RCVLOWAT, value) for value in (1, 1, 3)),
    *((socket.SO_SNDBUF, value) for value in (2304, 20_000, 212_992)),
    *((42, value) for value in (-1, 0, 3)),  # SO_PEEK_OFF
)


class Program:
    """Sockets of one side, by a number that is the same on both."""

    def __init__(self, socket: ModuleType, select: ModuleType, directory: Path) -> None:
        self.socket = socket
        self.select = select
        self.directory = directory
        self.sockets: dict[int, socket.socket] = {}
        self.numbers = itertools.count()
        self.letters = itertools.cycle(b"abcdefghijklmnopqrstuvwxyz")

    def keep(self, *socks: socket.socket) -> list[int]:
        numbers = [next(self.numbers) for _ in socks]
        self.sockets.update(zip(numbers, socks, strict=True))
        for sock in socks:
            sock.settimeout(0)
        return numbers

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for sock in self.sockets.values():
            sock.close()

    def known(self, said: Any) -> Any:
        """An answer without what may differ between two kernels: directory and descriptor numbers."""
        if isinstance(said, str) and str(self.directory) in said:
            return Path(said).name
        if isinstance(said, tuple | list):
            return type(said)(self.known(part) for part in said)
        if isinstance(said, bytes) and len(said) == 6 and not said[0]:
            return "autobound"
        if isinstance(said, bytes | bytearray) and len(said) > 30:
            return len(said), bytes(said[:2]), bytes(said[-2:]), zlib.crc32(said)
        return said

    def opened(self, level: int, kind: int, data: bytes) -> Any:
        """A control message, with socket objects for its descriptors."""
        if kind != socket.SCM_RIGHTS:
            return level, kind, data
        return [self.keep(self.socket.socket(fileno=fd)) for fd in array("i", data)]

    # Steps: each says what it answers.

    def pair(self, kind: int) -> Any:
        return self.keep(*self.socket.socketpair(socket.AF_UNIX, kind))

    def make(self, kind: int, name: str | None) -> Any:
        sock = self.socket.socket(socket.AF_UNIX, kind)
        (number,) = self.keep(sock)
        if name is not None:
            sock.bind(str(self.directory / name))
            if kind != socket.SOCK_DGRAM:
                sock.listen(2)
        return number

    def connect(self, number: int, name: str) -> Any:
        sock = self.sockets[number]
        return sock.connect_ex(str(self.directory / name))

    def accept(self, number: int) -> Any:
        sock = self.sockets[number]
        made, address = sock.accept()
        return self.keep(made), address

    def send(self, number: int, how: str, size: int, flags: int, name: str) -> Any:
        sock = self.sockets[number]
        data = bytes([next(self.letters)]) * size
        match how:
            case "send":
                return sock.send(data, flags)
            case "bytearray":
                return sock.send(bytearray(data), flags)
            case "sendall":
                return sock.sendall(data, flags)
            case "sendmsg":
                return sock.sendmsg([data[:3], data[3:]], [], flags)
            case "sendto":
                return sock.sendto(data, flags, str(self.directory / name))
            case "to":
                return sock.sendto(data, str(self.directory / name))
        raise AssertionError(how)

    def receive(self, number: int, how: str, room: int, flags: int) -> Any:
        sock = self.sockets[number]
        match how:
            case "recv":
                return sock.recv(room, flags)
            case "recv_into":
                buffer = bytearray(room)
                return buffer[: sock.recv_into(buffer, 0, flags)]
            case "recvfrom":
                return sock.recvfrom(room, flags)
            case "recvmsg":
                data, items, shown, address = sock.recvmsg(room, 100, flags)
                return data, [self.opened(*item) for item in items], shown, address
            case "recvmsg without":
                return sock.recvmsg(room, 0, flags)
        raise AssertionError(how)

    def pass_on(self, number: int) -> Any:
        """A new socket, so that none waits in a queue that only itself keeps: collectors have moments of their own."""
        one, two = self.socket.socketpair()
        with one, two:
            two.send(b"read this")
            return self.socket.send_fds(self.sockets[number], [b"a descriptor"], [one.fileno()])

    def take_up(self, number: int, room: int) -> Any:
        sock = self.sockets[number]
        data, fds, flags, address = self.socket.recv_fds(sock, 100, room)
        numbers = [self.keep(self.socket.socket(fileno=fd)) for fd in fds]
        return data, numbers, flags, address

    def look(self, how: str, numbers: list[int]) -> Any:
        """By places in the list, as descriptors differ."""
        socks = [self.sockets[number] for number in numbers]
        if how == "select":
            found = self.select.select(socks, socks, socks, 0)
            return [[socks.index(sock) for sock in ready] for ready in found]
        polled = self.select.poll() if how == "poll" else self.select.epoll()
        for sock in socks:
            polled.register(sock.fileno(), select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
        fds = [sock.fileno() for sock in socks]
        said = sorted((fds.index(fd), mask) for fd, mask in polled.poll(0))
        if how == "epoll":
            polled.close()
        return said

    def set(self, number: int, option: int, value: int) -> Any:
        sock = self.sockets[number]
        sock.setsockopt(socket.SOL_SOCKET, option, value)
        return sock.getsockopt(socket.SOL_SOCKET, option)

    def wait_for(self, number: int, timeout: float) -> Any:
        """Time-outs that are over before they begin, and none."""
        sock = self.sockets[number]
        sock.settimeout(timeout)

    def dup(self, number: int) -> Any:
        sock = self.sockets[number]
        return self.keep(sock.dup())

    def shutdown(self, number: int, how: int) -> Any:
        sock = self.sockets[number]
        sock.shutdown(how)

    def close(self, number: int) -> Any:
        self.sockets.pop(number).close()

    def names(self, number: int) -> Any:
        sock = self.sockets[number]
        return sock.getsockname(), sock.getpeername()

    def do(self, step: str, *arguments: Any) -> Any:
        """The answer, or the error."""
        try:
            return self.known(getattr(self, step)(*arguments))
        except TimeoutError as error:
            return str(error)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        except (ValueError, TypeError) as error:
            return type(error).__name__


def next_step(random: Random, numbers: list[int]) -> tuple[Any, ...]:
    """Its name and arguments."""
    step = random.choices(*zip(*OFTEN.items(), strict=True))[0]
    if not numbers or step == "pair":
        return "pair", random.choice(KINDS)
    number = random.choice(numbers)
    rest: dict[str, Callable[[], tuple[Any, ...]]] = {
        "make": lambda: (random.choice(KINDS), random.choice((None, *NAMES[:3]))),
        "send": lambda: (
            number,
            random.choice(("send", "send", "sendall", "sendmsg", "bytearray", "sendto", "to")),
            *(random.choice(SIZES), random.choice(SEND_FLAGS), random.choice(NAMES)),
        ),
        "receive": lambda: (
            number,
            random.choice(("recv", "recv", "recv_into", "recvfrom", "recvmsg", "recvmsg without")),
            *(random.choice(ROOMS), random.choice(FLAGS)),
        ),
        "connect": lambda: (number, random.choice(NAMES)),
        "take_up": lambda: (number, random.randrange(3)),
        "look": lambda: (random.choice(("select", "poll", "epoll")), random.sample(numbers, min(len(numbers), 3))),
        "set": lambda: (number, *random.choice(OPTIONS)),
        "wait_for": lambda: (number, random.choice((0, 0, 1e-6))),
        "shutdown": lambda: (number, random.randrange(3)),
    }
    return step, *rest.get(step, lambda: (number,))()


OFTEN = {
    "pair": 3, "make": 3, "connect": 4, "accept": 3, "send": 30, "receive": 40, "pass_on": 3, "take_up": 3, "look": 8,
    "set": 3, "wait_for": 3, "dup": 1, "shutdown": 1, "close": 3, "names": 1,
}  # fmt: skip


@pytest.mark.parametrize("programs", [100, pytest.param(5000, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_the_same_answers(programs: int) -> None:
    """Programs of 200 steps."""
    for seed in range(programs):
        with (
            tempfile.TemporaryDirectory() as one,
            tempfile.TemporaryDirectory() as two,
            afunix.Kernel(path_max=108).main.running(),
            Program(socket, select, Path(one)) as native,
            Program(our_socket, our_select, Path(two)) as ours,
        ):
            random = Random(seed)
            done = []
            for _ in range(200):
                step = next_step(random, list(native.sockets))
                said = native.do(*step)
                done.append((*step, said))
                assert ours.do(*step) == said, "\n".join(map(str, (seed, *done)))
