"""asyncio over Unix sockets: servers, clients, back pressure, signals and subprocesses, all in its own event loop."""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import check


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _ask(name: "str | bytes", text: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(name)  # type: ignore[arg-type]
    writer.write(text)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def case_server_and_client_in_one_loop() -> None:
    async def main() -> None:
        server = await asyncio.start_unix_server(_echo, check.path("server"))
        async with server:
            print(await _ask(check.path("server"), b"hello"))
            answers = await asyncio.gather(*(_ask(check.path("server"), b"number %d" % i) for i in range(50)))
            assert answers == [b"NUMBER %d" % i for i in range(50)]
        print(len(answers), "at once")

    asyncio.run(main())


def case_server_and_client_in_two_processes() -> None:
    reading, writing = os.pipe()

    def serve() -> None:
        async def main() -> None:
            stopped = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
            server = await asyncio.start_unix_server(_echo, check.path("server"))
            os.write(writing, b"!")
            async with server:
                await stopped.wait()

        asyncio.run(main())

    with check.child(serve) as pid:
        os.read(reading, 1)
        for i in range(3):
            print(asyncio.run(_ask(check.path("server"), b"call %d" % i)))
        os.kill(pid, signal.SIGTERM)
    print("server stopped")


def case_abstract_name() -> None:
    async def main() -> None:
        server = await asyncio.start_unix_server(_echo, check.abstract("server"))  # type: ignore[arg-type]
        async with server:
            print(await _ask(check.abstract("server"), b"abstract"))

    asyncio.run(main())


def case_back_pressure() -> None:
    """Five megabytes to a reader that reads by and by: drain() waits, and every byte comes."""

    async def main() -> None:
        payload = bytes(range(251)) * 20000

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            whole = bytearray()
            while data := await reader.read(50000):
                whole += data
                await asyncio.sleep(0)
            assert whole == payload
            writer.write(b"all of it")
            writer.close()

        server = await asyncio.start_unix_server(slow, check.path("server"))
        async with server:
            reader, writer = await asyncio.open_unix_connection(check.path("server"))
            for start in range(0, len(payload), 300000):
                writer.write(payload[start : start + 300000])
                await writer.drain()
            writer.write_eof()
            print(await reader.read())
            writer.close()

    asyncio.run(main())


def case_raw_socket_calls() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        waiting = loop.create_task(loop.sock_recv(theirs, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(ours, b"raw")
        print(await waiting)
        big = loop.create_task(loop.sock_sendall(ours, bytes(3000000)))
        got = 0
        while got < 3000000:
            got += len(await loop.sock_recv(theirs, 100000))
        await big
        ours.close()
        print(await loop.sock_recv(theirs, 1))
        theirs.close()

    asyncio.run(main())


def case_datagrams() -> None:
    class Answering(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: object) -> None:
            self.transport.sendto(data.upper(), address)

    class Asking(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.answers: asyncio.Queue[bytes] = asyncio.Queue()

        def datagram_received(self, data: bytes, address: object) -> None:
            self.answers.put_nowait(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Answering, check.path("server"), family=socket.AF_UNIX)
        client, asking = await loop.create_datagram_endpoint(
            Asking, check.path("client"), check.path("server"), family=socket.AF_UNIX
        )
        for i in range(20):
            client.sendto(b"letter %d" % i)
            assert await asking.answers.get() == b"LETTER %d" % i
        client.close()
        server.close()
        print("20 letters answered")

    asyncio.run(main())


def case_mixed_with_tcp() -> None:
    """A TCP server and a Unix server in one loop, a proxy between them."""

    async def main() -> None:
        tasks = set()  # asyncio itself holds a task only weakly, once its transport has read the end of file

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            writer.write(await _ask(check.path("server"), await reader.read()))
            writer.close()

        inner = await asyncio.start_unix_server(_echo, check.path("server"))
        outer = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = outer.sockets[0].getsockname()[1]
        async with inner, outer:
            for i in range(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"via tcp %d" % i)
                writer.write_eof()
                assert await reader.read() == b"VIA TCP %d" % i
                writer.close()
        print("10 calls through the proxy")

    asyncio.run(main())


def case_subprocess() -> None:
    """The loop gives a child one end of a socket pair as its standard input."""

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(b"through cat " * 20000)
        assert output == b"through cat " * 20000
        assert process.returncode == 0
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; sys.stdin.close()", stdin=asyncio.subprocess.PIPE
        )
        assert await process.wait() == 0
        print("done")

    asyncio.run(main())


def case_thread_wakes_loop() -> None:
    """call_soon_threadsafe writes into the loop's own socket pair."""

    async def main() -> None:
        total = 0
        for i in range(50):
            total += await asyncio.to_thread(int, i)
        print(total)

    asyncio.run(main())


def case_cancelled() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            await asyncio.wait_for(reader.read(10), 0.05)
        except TimeoutError:
            print("timed out")
        theirs.sendall(b"not lost")
        print(await reader.read(10))
        theirs.close()
        print(await reader.read(10))
        writer.close()

    asyncio.run(main())


if __name__ == "__main__":
    check.main(globals())
