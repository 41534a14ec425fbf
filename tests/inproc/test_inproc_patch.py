"""`patch`: what is replaced, by whom it is found, and that all of it is put back."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import signal
import socket
import socketserver
import stat
import threading
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pytest

import afunix

PATCHED = [(module, name) for module in (socket, select, selectors, os) for name in vars(module)]


def state() -> list[object]:
    copies = [socketserver._ServerSelector, connection.Connection._recv.__defaults__]  # type: ignore[attr-defined]
    return [vars(module).get(name) for module, name in PATCHED] + copies


def test_everything_is_restored() -> None:
    """After the last of several patches, in whatever order they end, and after an exception."""
    before = state()
    first, second = afunix.Kernel(), afunix.Kernel()
    one, two = afunix.patch(first), afunix.patch(second)
    one.__enter__()
    assert state() != before
    two.__enter__()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("\0x")
        assert second.core.names.abstract
        assert not first.core.names.abstract
    one.__exit__(None, None, None)
    assert state() != before
    two.__exit__(None, None, None)
    assert state() == before
    with pytest.raises(RuntimeError), afunix.patch():
        raise RuntimeError
    assert state() == before


def test_decorator_and_threads() -> None:
    """It decorates functions and coroutine functions; all threads see it; each use without a kernel has its own."""
    before = state()

    @afunix.patch()
    def names() -> int:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind("\0same")
        sock.close()
        return threading.get_ident()

    @afunix.patch()
    async def fileno() -> int:
        await asyncio.sleep(0)
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.fileno()

    threads = [threading.Thread(target=names) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(fileno()) >= 1 << 30
    assert state() == before


def test_each_thread_has_its_own_patch() -> None:
    """The kernel of a thread's own patch stays in force there, whatever other threads begin and end meanwhile."""
    before = state()
    together = threading.Barrier(8, timeout=30)
    problems: list[object] = []

    def play(kernel: afunix.Kernel | None) -> None:
        try:
            for _ in range(10):
                together.wait()
                with afunix.patch(kernel) as mine, socket.socket(socket.AF_UNIX) as sock:
                    sock.bind("\0same")
                    sock.listen()
                    together.wait()
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect("\0same")
                        assert len(mine.core.names.abstract) == 1
                        with afunix.patch() as inner, socket.socket(socket.AF_UNIX) as other:
                            assert other._process.kernel is inner  # type: ignore[attr-defined]
                        accepted, _ = sock.accept()
                        accepted.close()
        except BaseException as problem:
            problems.append(problem)
            together.abort()

    shared = afunix.patch()
    kernels = [None, afunix.Kernel(), None, afunix.Kernel(), None, None, afunix.Kernel(), None]
    threads = [threading.Thread(target=play, args=(kernel,)) for kernel in kernels]
    for thread in threads:
        thread.start()
    with shared as one, shared as two:
        assert one is not two
    for thread in threads:
        thread.join()
    assert not problems
    assert state() == before


def test_each_task_has_its_own_patch() -> None:
    """So it is with tasks of one loop; a thread without a patch of its own has that of the last one."""

    @afunix.patch()
    async def play(seen: list[afunix.Kernel]) -> None:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind("\0same")
                await asyncio.sleep(0.01)
                seen.append(sock._process.kernel)  # type: ignore[attr-defined]

    async def main() -> None:
        seen: list[list[afunix.Kernel]] = [[] for _ in range(5)]
        await asyncio.gather(*map(play, seen))
        assert len({id(kernel) for kernels in seen for kernel in kernels}) == 5
        assert all(len(set(kernels)) == 1 for kernels in seen)

    before = state()
    asyncio.run(main())
    assert state() == before
    made: list[Any] = []
    with afunix.patch() as kernel:
        thread = threading.Thread(target=lambda: made.append(socket.socket(socket.AF_UNIX)))
        thread.start()
        thread.join()
        assert made[0]._process.kernel is kernel
        made[0].close()


def test_names_of_sockets(tmp_path: Path) -> None:
    """os and pathlib see private names, next to the host's, which stay the host's."""
    path = tmp_path / "server"
    other = tmp_path / "file"
    other.write_text("x")
    with afunix.patch():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
        assert path.exists()
        assert path.is_socket()
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
        assert os.path.exists(os.fsencode(path))
        assert sorted(os.listdir(tmp_path)) == ["file", "server"]
        path.chmod(0o600)
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.access(path, os.W_OK)
        moved = path.rename(tmp_path / "moved")
        assert not path.exists()
        os.link(moved, path)
        moved.unlink()
        with pytest.raises(FileNotFoundError, match="moved"):
            os.unlink(moved)
        os.remove(path)
        assert os.listdir(tmp_path) == ["file"]
        assert other.read_text() == "x"
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="Address already in use"):
            sock.bind(str(other))
    assert not path.exists()


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They start at the working directory, also when it changes."""
    with afunix.patch(), socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(tmp_path)
        sock.bind("name")
        assert sock.getsockname() == "name"
        assert os.path.exists("name")
        assert (tmp_path / "name").exists()
        monkeypatch.chdir("/")
        assert not os.path.exists("name")


def test_descriptors_by_number() -> None:
    """os.read and its kin take virtual descriptors."""
    with afunix.patch():
        one, two = socket.socketpair()
        assert os.write(one.fileno(), b"data") == 4
        assert os.read(two.fileno(), 10) == b"data"
        assert stat.S_ISSOCK(os.fstat(one.fileno()).st_mode)
        twin = os.dup(one.fileno())
        assert not os.get_inheritable(twin)
        assert os.get_blocking(twin)
        os.set_blocking(twin, False)
        assert not os.get_blocking(one.fileno())
        os.close(one.detach())
        os.close(twin)
        assert two.recv(1) == b""
        two.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(twin, 1)


async def conversation(path: str) -> list[object]:
    """Streams, loop.sock_*, a subprocess, TCP and a signal in one stock loop."""
    seen: list[object] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    async with await asyncio.start_unix_server(serve, path):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"streams\n")
        seen.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, path)
            await loop.sock_sendall(sock, b"sock\n")
            seen.append(await loop.sock_recv(sock, 100))
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    seen.append((await process.communicate(b"subprocess"))[0])
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"tcp\n")
    seen.append(await reader.read())
    writer.close()
    server.close()
    signalled = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, signalled.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.wait_for(signalled.wait(), 10)
    seen.append(await asyncio.to_thread(lambda: "thread"))
    return seen


@pytest.mark.parametrize("patched", [True, False])
def test_stock_asyncio(patched: bool, tmp_path: Path) -> None:
    """The same with and without the patch."""
    path = str(tmp_path / "s")
    expected = [b"STREAMS\n", b"SOCK\n", b"subprocess", b"TCP\n", "thread"]
    if patched:
        with afunix.patch() as kernel:
            assert asyncio.run(conversation(path)) == expected
            assert not kernel.main.core.descriptors.files
        assert os.listdir(tmp_path) == []
    else:
        assert asyncio.run(conversation(path)) == expected


def test_multiprocessing_listener(tmp_path: Path) -> None:
    """multiprocessing.connection over a private name."""
    with afunix.patch() as kernel:
        with connection.Listener(str(tmp_path / "l"), "AF_UNIX") as listener:
            answers: list[Any] = []

            def client() -> None:
                with connection.Client(str(tmp_path / "l")) as link:
                    link.send({"a": 1})
                    answers.append(link.recv())

            thread = threading.Thread(target=client)
            thread.start()
            with listener.accept() as link:
                assert link.poll(10)
                link.send(link.recv())
            thread.join(10)
        assert answers == [{"a": 1}]
        assert not kernel.main.core.descriptors.files


def test_socketserver(tmp_path: Path) -> None:
    """A threading server, which polls with a selector that it took before the patch."""

    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    path = str(tmp_path / "s")
    with afunix.patch(), socketserver.ThreadingUnixStreamServer(path, Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(b"line\n")
            assert sock.recv(100) == b"line\n"
        server.shutdown()
        thread.join(10)
