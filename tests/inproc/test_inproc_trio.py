"""trio and anyio under the patch: both wait with what `select` offers for what fileno() says, so all of it works."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.abc
import pytest
import trio

import afunix

BACKENDS = ["asyncio", "trio"]


def test_trio(afunix_patch: afunix.Kernel) -> None:
    """Streams, datagrams and descriptors; a subprocess, a thread and TCP in the same loop."""
    seen: list[object] = []

    async def serve(listener: trio.SocketListener) -> None:
        async with await listener.accept() as stream:
            async for chunk in stream:
                await stream.send_all(chunk.upper())

    async def main() -> None:
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind("/run/afunix-trio")
        sock.listen()
        async with trio.SocketListener(sock) as listener, trio.open_nursery() as nursery:
            nursery.start_soon(serve, listener)
            async with await trio.open_unix_socket("/run/afunix-trio") as stream:
                await stream.send_all(b"stream")
                seen.append(await stream.receive_some())
                await stream.send_eof()
                assert await stream.receive_some() == b""
        os.unlink("/run/afunix-trio")
        one, two = trio.socket.socketpair(type=trio.socket.SOCK_DGRAM)
        assert one.fileno() >= 1 << 30
        with one, two:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.send, b"datagram")
                seen.append(await two.recvfrom(100))
            await one.sendmsg([b"x"])
            assert (await two.recvmsg(1))[0] == b"x"
            with trio.move_on_after(0.05) as scope:
                await two.recv(1)
            assert scope.cancelled_caught
        seen.append((await trio.run_process(["cat"], stdin=b"process", capture_stdout=True)).stdout)
        seen.append(await trio.to_thread.run_sync(lambda: "thread"))
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, listeners[0])
            async with await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]) as tcp:
                await tcp.send_all(b"tcp")
                seen.append(await tcp.receive_some())
        await listeners[0].aclose()

    trio.run(main)
    assert seen == [b"STREAM", (b"datagram", None), b"process", "thread", b"TCP"]


@pytest.mark.parametrize("imported", ["before", "under the patch"])
def test_trio_has_its_own_methods_back(imported: str, tmp_path: Path) -> None:
    """Whenever it was imported: works under the patch, and with the host's sockets afterwards."""
    talk = """
async def talk():
    one, two = trio.socket.socketpair()
    with one, two:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send, b"x")
            assert await two.recv(1) == b"x"
        return one.fileno() >= 1 << 30
"""
    first, then = ("import trio", "") if imported == "before" else ("", "import trio")
    program = f"""
import afunix, sys
from socket import socket as before
sys.path.insert(0, {str(tmp_path)!r})
{first}
with afunix.patch():
    {then or "pass"}
    exec({talk!r})
    assert trio.run(talk)
    import copies
    assert copies.socket is not before
assert not trio.run(talk)
assert copies.socket is before, "what a module took meanwhile is put back, too"
"""
    (tmp_path / "copies.py").write_text("from socket import socket")
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize("backend", BACKENDS)
def test_anyio(backend: str, afunix_patch: afunix.Kernel, tmp_path: Path) -> None:
    """Unix listeners, streams with descriptors, and datagrams, on both of its backends."""
    path = tmp_path / "s"
    letter = tmp_path / "letter"
    letter.write_text("letter")

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            assert isinstance(stream, anyio.abc.UNIXSocketStream)
            assert stream.extra(anyio.abc.SocketAttribute.family) == socket.AF_UNIX
            message, fds = await stream.receive_fds(10, 1)
            with open(fds[0], encoding="utf-8") as file:
                await stream.send(message + b" " + file.read().encode())

    async def main() -> None:
        async with await anyio.create_unix_listener(path, mode=0o600) as listener, anyio.create_task_group() as group:
            assert os.stat(path).st_mode & 0o777 == 0o600
            group.start_soon(listener.serve, serve)
            async with await anyio.connect_unix(path) as stream:
                with letter.open("rb") as file:
                    await stream.send_fds(b"read", [file])
                assert await stream.receive() == b"read letter"
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
            group.cancel_scope.cancel()
        os.unlink(path)
        async with (
            await anyio.create_unix_datagram_socket(local_path=path) as one,
            await anyio.create_connected_unix_datagram_socket(path, local_path=tmp_path / "t") as two,
        ):
            await two.send(b"ping")
            data, sender = await one.receive()
            assert (data, sender) == (b"ping", str(tmp_path / "t"))
            await one.sendto(b"pong", sender)
            assert await two.receive() == b"pong"
        for name in ("s", "t"):
            os.unlink(tmp_path / name)
        assert afunix_patch.core.sockets_made

    anyio.run(main, backend=backend)
