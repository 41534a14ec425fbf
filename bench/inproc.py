"""The in-process front end against the host's own AF_UNIX, through the standard module's API and in the same Python.

    python -m bench.inproc [--turns N] [--seconds S] [--cpu] [--json FILE] [name ...]

Each measure is made of both in short turns, one after the other, and each turn gives a ratio: the median of them is
told, and the range of the middle half, beside the median rates. So what else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import os
import select
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import afunix
from afunix.cli.ending import tidy_ending

TURNS = 9

Clock = Callable[[], float]
Batch = Callable[[], int]
"""Does some operations, and tells how many."""


class Place(NamedTuple):
    """The modules to use, and a directory for names."""

    socket: ModuleType
    select: ModuleType
    directory: str


Measure = Callable[[Place], contextlib.AbstractContextManager[Batch]]


@contextlib.contextmanager
def send_recv(place: Place) -> Iterator[Batch]:
    """One byte sent and received in one thread."""
    one, two = place.socket.socketpair()
    with one, two:

        def batch() -> int:
            for _ in range(1000):
                one.send(b"x")
                two.recv(1)
            return 1000

        yield batch


@contextlib.contextmanager
def datagrams(place: Place) -> Iterator[Batch]:
    """One byte sent to a name and received with the sender's, in one thread."""
    path = os.path.join(place.directory, "datagrams")
    with place.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(path)
        with place.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two:

            def batch() -> int:
                for _ in range(500):
                    two.sendto(b"x", path)
                    one.recvfrom(1)
                return 500

            yield batch


def round_trip(timeout: float | None) -> Measure:
    """One byte to another thread and back, both with this time-out."""
    return functools.partial(_round_trip, timeout)


@contextlib.contextmanager
def _round_trip(timeout: float | None, place: Place) -> Iterator[Batch]:
    one, two = place.socket.socketpair()
    one.settimeout(timeout)
    two.settimeout(timeout)

    def echo() -> None:
        while data := two.recv(100):
            two.send(data)

    thread = threading.Thread(target=echo)
    thread.start()
    with two:
        with one:

            def batch() -> int:
                for _ in range(200):
                    one.send(b"x")
                    one.recv(1)
                return 200

            yield batch
        thread.join()


def transfer(size: int, together: int = 1) -> Measure:
    """So many bytes sent by one thread with sendall and received by another, which tells after `together` of them.

    It tells by releasing a lock, which is the least that one thread can do for another.
    """

    @contextlib.contextmanager
    def measure(place: Place) -> Iterator[Batch]:
        one, two = place.socket.socketpair()
        data = bytes(size)
        got = threading.Lock()
        got.acquire()

        def read() -> None:
            left = size * together
            while part := two.recv(1 << 20):
                left -= len(part)
                if not left:
                    left = size * together
                    got.release()

        thread = threading.Thread(target=read)
        thread.start()
        with two:
            with one:

                def batch() -> int:
                    for _ in range(10):
                        for _ in range(together):
                            one.sendall(data)
                        got.acquire()
                    return 10 * together

                yield batch
            thread.join()

    return measure


@contextlib.contextmanager
def one_thread_64k(place: Place) -> Iterator[Batch]:
    """64 KiB sent and received in one thread."""
    one, two = place.socket.socketpair()
    data = bytes(65536)
    with one, two:

        def batch() -> int:
            for _ in range(100):
                one.send(data)
                left = 65536
                while left:
                    left -= len(two.recv(left))
            return 100

        yield batch


@contextlib.contextmanager
def connect_accept(place: Place) -> Iterator[Batch]:
    """socket, connect, accept and both closed."""
    path = os.path.join(place.directory, "server")
    with place.socket.socket(place.socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def batch() -> int:
            for _ in range(100):
                client = place.socket.socket(place.socket.AF_UNIX)
                client.connect(path)
                server.accept()[0].close()
                client.close()
            return 100

        yield batch


@contextlib.contextmanager
def pass_descriptor(place: Place) -> Iterator[Batch]:
    """A socket passed to the other end, made an object there and closed."""
    one, two = place.socket.socketpair()
    passed, other = place.socket.socketpair()
    with one, two, passed, other:

        def batch() -> int:
            for _ in range(100):
                place.socket.send_fds(one, [b"x"], [passed.fileno()])
                _, fds, _, _ = place.socket.recv_fds(two, 1, 1)
                place.socket.socket(fileno=fds[0]).close()
            return 100

        yield batch


@contextlib.contextmanager
def idle(place: Place) -> Iterator[Batch]:
    """epoll with 10,000 sockets of which one is active."""
    with contextlib.ExitStack() as stack:
        epoll = stack.enter_context(place.select.epoll())
        pairs = [place.socket.socketpair() for _ in range(5000)]
        for pair in pairs:
            for sock in pair:
                stack.enter_context(sock)
                epoll.register(sock.fileno(), place.select.EPOLLIN)
        one, two = pairs[2500]

        def batch() -> int:
            for _ in range(500):
                one.send(b"x")
                ((fd, _),) = epoll.poll()
                assert fd == two.fileno()
                two.recv(1)
            return 500

        yield batch


def echo_server(clients: int) -> Measure:
    """Asyncio streams: every client sends a line and waits for it to come back."""

    @contextlib.contextmanager
    def measure(place: Place) -> Iterator[Batch]:
        path = os.path.join(place.directory, "echo")
        loop = asyncio.new_event_loop()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line)
            writer.close()

        async def start() -> tuple[asyncio.AbstractServer, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
            server = await asyncio.start_unix_server(serve, path, backlog=2000)
            return server, [await asyncio.open_unix_connection(path) for _ in range(clients)]

        rounds = max(1, 200 // clients)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(rounds):
                writer.write(b"hello\n")
                await reader.readline()

        server, connections = loop.run_until_complete(start())

        async def everybody() -> None:
            await asyncio.gather(*(talk(*connection) for connection in connections))

        def batch() -> int:
            loop.run_until_complete(everybody())
            return rounds * clients

        async def stop() -> None:
            for _, writer in connections:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            server.close()
            await asyncio.sleep(0.05)

        try:
            yield batch
        finally:
            loop.run_until_complete(stop())
            loop.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    return measure


MEASURES: dict[str, tuple[Measure, float]] = {
    "1 byte send+recv, one thread": (send_recv, 1.5),
    "1 byte to a name, one thread": (datagrams, 1.0),
    "1 byte round trip, two threads": (round_trip(None), 1.0),
    "1 byte, time-outs, two threads": (round_trip(60), 1.0),
    "1 byte one way, two threads": (transfer(1, 1000), 1.0),
    "64 KiB send+recv, one thread": (one_thread_64k, 5.0),
    "64 KiB, two threads": (transfer(65536), 5.0),
    "64 KiB one way, two threads": (transfer(65536, 100), 5.0),
    "1 MiB, two threads": (transfer(1 << 20), 5.0),
    "connect+accept": (connect_accept, 2.0),
    "passing a descriptor": (pass_descriptor, 1.0),
    "asyncio echo, 1 client": (echo_server(1), 1.0),
    "asyncio echo, 100 clients": (echo_server(100), 1.0),
    "asyncio echo, 1000 clients": (echo_server(1000), 1.0),
    "10,000 idle sockets, one active": (idle, 1.0),
}
"""By name: the measure, and the ratio to the host that it is to reach."""


def rate(batch: Batch, seconds: float, clock: Clock) -> float:
    """Operations a second."""
    batch()
    gc.collect()
    start = clock()
    done = 0
    while (spent := clock() - start) < seconds:
        done += batch()
    return done / spent


class Result(NamedTuple):
    """Operations a second: the medians over the turns; and of the turns' ratios the quartiles."""

    ours: float
    host: float
    low: float
    ratio: float
    high: float


def compare(measure: Measure, turns: int, seconds: float, clock: Clock) -> Result:
    """Ours against the host's, turn by turn."""
    ours = []
    host = []
    for _ in range(turns):
        directory = tempfile.mkdtemp(prefix="afunix-bench-")
        try:
            with afunix.patch(), measure(Place(socket, select, directory)) as batch:
                ours.append(rate(batch, seconds, clock))
            with measure(Place(socket, select, directory)) as batch:
                host.append(rate(batch, seconds, clock))
        finally:
            shutil.rmtree(directory)
    low, ratio, high = statistics.quantiles([one / other for one, other in zip(ours, host, strict=True)], n=4)
    return Result(statistics.median(ours), statistics.median(host), low, ratio, high)


def raise_limit() -> None:
    """10,000 host sockets need as many descriptors."""
    import resource  # noqa: PLC0415 - only the host's side needs it

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.inproc", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help="only measures that have this in their name")
    parser.add_argument("--turns", type=int, default=TURNS, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=0.2, help="how long a turn lasts")
    parser.add_argument(
        "--cpu", action="store_true", help="by the processor time of this process, not the time gone by"
    )
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()
    raise_limit()
    results = {}
    clock = time.process_time if arguments.cpu else time.perf_counter
    print(f"{'':34}{'ours/s':>12}{'host/s':>12}{'ratio':>8}{'target':>8}  middle half")
    for name, (measure, target) in MEASURES.items():
        if arguments.names and not any(part in name for part in arguments.names):
            continue
        result = compare(measure, arguments.turns, arguments.seconds, clock)
        results[name] = result._asdict() | {"target": target}
        print(
            f"{name:34}{result.ours:12,.0f}{result.host:12,.0f}{result.ratio:8.2f}{target:8.1f}"
            f"  {result.low:.2f}-{result.high:.2f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    with tidy_ending():
        main()
