"""CPython and PyPy: asyncio, threads, send_fds. Like echo.c; files go by a second socket, ADDRESS-files."""

import asyncio
import multiprocessing.reduction
import os
import platform
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NAME = platform.python_implementation()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


def files(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 1, 1)
            with open(fds[0], "rb") as file:
                connection.sendall(file.read().upper())


async def serve(address: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + "-files")
    listener.listen()
    threading.Thread(target=files, args=(listener,), daemon=True).start()
    server = await asyncio.start_unix_server(echo, address)
    await server.serve_forever()


async def many(address: str) -> int:
    async def one() -> bool:
        reader, writer = await asyncio.open_unix_connection(address)
        writer.write(b"many")
        answer = await reader.readexactly(4)
        writer.close()
        await writer.wait_closed()
        return answer == b"MANY"

    return sum(await asyncio.gather(*(one() for _ in range(50))))


def ask(address: str, words: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        connection.sendall(words)
        return connection.recv(len(words), socket.MSG_WAITALL)


def failure(what: str, where: str) -> None:
    try:
        ask(where, b"")
    except OSError as error:
        print(f"{what}: {type(error).__name__}, {error}")


def call(address: str) -> None:
    print("said:", ask(address, f"hello from {NAME}".encode()).decode())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)

        def fill() -> None:
            connection.sendall(b"x" * 300_000)
            connection.shutdown(socket.SHUT_WR)

        filler = threading.Thread(target=fill)
        filler.start()
        with connection.makefile("rb") as file:
            print("half-closed:", file.read().count(b"X"))
        filler.join()
    print("at once:", asyncio.run(many(address)))
    with ThreadPoolExecutor(50) as pool:
        print("in threads:", list(pool.map(lambda _: ask(address, b"many"), range(50))).count(b"MANY"))
    with socket.socket(socket.AF_UNIX) as connection, open("passed", "rb") as file:
        connection.connect(address + "-files")
        socket.send_fds(connection, [b"f"], [file.fileno()])
        with connection.makefile() as answer:
            print("file:", answer.read().strip())
    ours, theirs = socket.socketpair()
    with open("passed") as file:
        multiprocessing.reduction.send_handle(ours, file.fileno(), os.getpid())
    with os.fdopen(multiprocessing.reduction.recv_handle(theirs)) as file:
        print("pair:", file.read().strip())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, ours, theirs:
        receiver.bind("")
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.sendto(b"a datagram", receiver.getsockname())
        print("datagram:", receiver.recvfrom(100))
        ours.close()
    failure("no such", "absent")
    failure("refused", "passed")


if __name__ == "__main__":
    target = sys.argv[2].replace("@", "\0")
    if sys.argv[1] == "serve":
        asyncio.run(serve(target))
    else:
        call(target)
