"""redis-py's Unix connections over the drop-in, threaded and asyncio, against a small server that speaks RESP."""

from __future__ import annotations

import asyncio
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import redis
import redis.asyncio

import afunix


class Handler(socketserver.StreamRequestHandler):
    """PING, SET, GET, HELLO as by RESP2, SUBSCRIBE with one message; OK for anything else."""

    data: ClassVar[dict[bytes, bytes]] = {}

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self.word() for _ in range(int(line[1:]))]
            command = words[0].upper()
            if command == b"PING":
                self.wfile.write(b"+PONG\r\n")
            elif command == b"GET":
                value = self.data.get(words[1])
                self.wfile.write(b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value))
            elif command == b"SUBSCRIBE":
                name = b"$%d\r\n%b\r\n" % (len(words[1]), words[1])
                self.wfile.write(b"*3\r\n$9\r\nsubscribe\r\n" + name + b":1\r\n")
                self.wfile.write(b"*3\r\n$7\r\nmessage\r\n" + name + b"$4\r\nnews\r\n")
            elif command == b"HELLO":
                self.wfile.write(b"-ERR unknown command 'HELLO'\r\n")
            else:
                if command == b"SET":
                    self.data[words[1]] = words[2]
                self.wfile.write(b"+OK\r\n")

    def word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:size]


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = False


@pytest.fixture
def path(afunix_patch: afunix.Kernel, tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "redis")
    with Server(path, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()
    os.unlink(path)
    Handler.data.clear()


def test_redis(path: str) -> None:
    """Commands, a pipeline, a value larger than any buffer, a subscription that waits with a time-out."""
    with redis.Redis(unix_socket_path=path, protocol=2, socket_timeout=10) as client:
        assert client.ping()
        assert client.set("key", "value")
        assert client.get("key") == b"value"
        assert client.get("none") is None
        assert client.pipeline(transaction=False).set("a", 1).get("a").execute() == [True, b"1"]
        assert client.set("large", b"x" * 2_000_000)
        assert client.get("large") == b"x" * 2_000_000
        with client.pubsub() as subscription:
            subscription.subscribe("channel")
            received = [subscription.get_message(timeout=5) for _ in range(2)]
            assert [message and message["type"] for message in received] == ["subscribe", "message"]
            assert subscription.get_message(timeout=0.05) is None
        client.connection_pool.disconnect()


def test_redis_asyncio(path: str) -> None:
    """The same library on stock asyncio."""

    async def main() -> None:
        async with redis.asyncio.Redis(unix_socket_path=path, protocol=2) as client:
            assert await client.set("key", "value")
            assert await asyncio.gather(*[client.get("key") for _ in range(10)]) == [b"value"] * 10
            await client.connection_pool.disconnect()

    asyncio.run(main())
