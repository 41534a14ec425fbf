"""uvicorn on a Unix socket (--uds) and httpx as its client, over the drop-in."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import afunix

Channel = Callable[..., Awaitable[Any]]


async def application(scope: dict[str, Any], receive: Channel, send: Channel) -> None:
    """Sends the body back in upper case."""
    assert scope["type"] == "http"
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"path", scope["path"].encode())]})
    await send({"type": "http.response.body", "body": body.upper()})


@pytest.fixture
def path(afunix_patch: afunix.Kernel, tmp_path: Path) -> Iterator[str]:
    """A server in a thread of its own, on stock asyncio."""
    path = str(tmp_path / "uvicorn")
    server = uvicorn.Server(
        uvicorn.Config(application, uds=path, loop="asyncio", http="h11", lifespan="off", log_config=None)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    yield path
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    if os.path.exists(path):
        os.unlink(path)


def test_httpx(path: str) -> None:
    """Several requests on connections that are kept; a body larger than any buffer."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://uvicorn") as client:
        for number in range(5):
            response = client.post(f"/{number}", content=b"hello")
            assert (response.status_code, response.content) == (200, b"HELLO")
            assert response.headers["path"] == f"/{number}"
        assert client.post("/", content=b"x" * 3_000_000).content == b"X" * 3_000_000


def test_httpx_with_asyncio(path: str) -> None:
    """Twenty requests at once from another event loop."""

    async def ask() -> list[bytes]:
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(transport=transport, base_url="http://uvicorn") as client:
            answers = await asyncio.gather(*[client.post("/", content=b"n%d" % number) for number in range(20)])
            return [answer.content for answer in answers]

    assert asyncio.run(ask()) == [b"N%d" % number for number in range(20)]


def test_nothing_is_on_the_host(path: str) -> None:
    """The name exists under the patch only."""
    from afunix.inproc import host

    assert os.path.exists(path)
    with pytest.raises(FileNotFoundError):
        host.LSTAT(path)
