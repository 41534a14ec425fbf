"""`afunix.asyncio`: descriptors, credentials and records, the same on the host's sockets and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from sides import me

import afunix
from afunix import asyncio as unix
from afunix import selectors as our_selectors
from afunix import socket as our_socket

SEQPACKET, DGRAM, STREAM = 5, 2, 1


@pytest.fixture(params=["ours", "host"])
def kernel(request: pytest.FixtureRequest) -> Iterator[afunix.Kernel | None]:
    """With ours in force, and without; either way nothing is left open."""
    gc.collect()
    before = os.listdir("/proc/self/fd")
    if request.param == "host":
        yield None
    else:
        with afunix.patch() as kernel:
            yield kernel
            gc.collect()
            assert not kernel.main.core.descriptors.files
            assert not kernel.core.inflight
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


def runs(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, in a loop of its own that was made with what is in force."""

    @functools.wraps(test)
    @pytest.mark.usefixtures("kernel")
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 30))

    return run


@contextlib.contextmanager
def letter(text: bytes = b"letter") -> Iterator[int]:
    """A descriptor of a file of the host."""
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        yield file.fileno()


def read_and_close(fds: Any) -> list[bytes]:
    found = []
    for fd in fds:
        assert not os.get_inheritable(fd)
        found.append(os.read(fd, 100))
        os.close(fd)
    return found


@contextlib.asynccontextmanager
async def channels(kind: int = SEQPACKET, **options: Any) -> AsyncIterator[tuple[unix.Channel, unix.Channel]]:
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    async with await unix.open_channel(sock=one, **options) as left, await unix.open_channel(sock=two) as right:
        yield left, right


@runs
async def test_streams(path: str) -> None:
    """Lines as ever; descriptors with their bytes; credentials of who sends and of who connected."""
    mine = unix.Credentials(*me())
    ended = asyncio.Event()

    async def serve(reader: unix.StreamReader, writer: unix.StreamWriter) -> None:
        assert writer.peer == mine
        assert await reader.readline() == b"hello\n"
        assert reader.take_fds() == ()
        with letter() as fd:
            writer.send_fds(b"take this", [fd, fd])
        message = await reader.recv()
        assert message == unix.Message(b"thanks", credentials=mine)
        writer.write(message.data.upper())
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await unix.start_unix_server(serve, path, credentials=True) as server:
        assert server.sockets[0].getsockname() == path
        reader, writer = await unix.open_unix_connection(path)
        writer.write(b"hello\n")
        data, fds, flags, _ = await reader.recv_fds(4, 1)
        assert (data, len(fds), flags & socket.MSG_CTRUNC) == (b"take", 1, socket.MSG_CTRUNC)
        assert read_and_close(fds) == [b"letter"]
        assert await reader.readexactly(5) == b" this"
        assert reader.take_fds() == ()
        writer.write(b"thanks")
        assert await reader.read() == b"THANKS"
        assert (await reader.recv()).data == b""
        writer.close()
        await writer.wait_closed()
        await ended.wait()
    assert not os.path.exists(path), "the server unlinks its name"
    with pytest.raises(FileNotFoundError):
        await unix.open_unix_connection(path)


@runs
async def test_descriptors_come_with_their_bytes() -> None:
    """Not later than these, and apart from those of other messages; other methods leave them for take_fds."""
    one, two = socket.socketpair()
    reader, writer = await unix.open_unix_connection(sock=one)
    _, sender = await unix.open_unix_connection(sock=two)
    names = [b"a", b"b", b"c"]

    def send() -> None:
        for name in names:
            with letter(name) as fd:
                sender.send(name * 3, [fd])
            sender.write(b"-")

    send()
    data, letters = b"", []
    while len(data) < 12:
        message = await reader.recv(min(2, 12 - len(data)))
        await asyncio.sleep(0.01)  # so that more has come than is asked for
        data += message.data
        assert len(message.fds) <= 1
        letters += read_and_close(message.fds)
        assert set(data.decode()) - {"-"} <= set(b"".join(letters).decode())
    assert data == b"aaa-bbb-ccc-"
    assert letters == names
    send()
    assert await reader.readexactly(3) == b"aaa"
    assert read_and_close(reader.take_fds()) == [b"a"]
    assert await reader.readuntil(b"c") == b"-bbb-c"
    assert read_and_close(reader.take_fds()) == [b"b", b"c"]
    with letter() as fd:
        sender.send(b"x", [fd])
        await asyncio.sleep(0.01)  # never taken: closed with the reader
    with pytest.raises(ValueError, match="with data only"):
        sender.send(b"", [0])
    for end in (writer, sender):
        end.close()
        await end.wait_closed()


@runs
async def test_records(path: str) -> None:
    """SOCK_SEQPACKET: boundaries and empty records are kept, the end is told apart."""

    async def serve(channel: unix.Channel) -> None:
        async with channel:
            async for message in channel:
                await channel.send(message.data.upper(), message.fds)
                message.close()

    async with await unix.start_channel_server(serve, path), await unix.open_channel(path) as channel:
        assert channel.peer == me()
        for record in (b"one", b"", b"two", b"", b"", b"x" * 100_000):
            await channel.send(record)
        for record in (b"ONE", b"", b"TWO", b"", b"", b"X" * 100_000):
            assert (await channel.recv()).data == record
        with letter() as fd:
            await channel.send_fds(b"file", [fd])
        data, fds, _, _ = await channel.recv_fds(10)
        assert (data, read_and_close(fds)) == (b"FILE", [b"letter"])
        channel.transport.write_eof()
        with pytest.raises(EOFError):
            await channel.recv()


@runs
async def test_long_records_are_cut_off() -> None:
    """At the size that was asked for, and flags say so."""
    async with channels(size=10) as (one, two):
        await two.send(b"0123456789abc")
        await two.send(b"next")
        message = await one.recv()
        assert (message.data, message.flags & socket.MSG_TRUNC) == (b"0123456789", socket.MSG_TRUNC)
        assert await one.recv() == unix.Message(b"next")


@runs
async def test_datagrams(tmp_path: Path) -> None:
    """By address; with credentials; a refusal is raised where it is sent."""
    names = [str(tmp_path / name) for name in "ab"]
    async with (
        await unix.open_channel(type=DGRAM, local=names[0], credentials=True) as one,
        await unix.open_channel(names[0], type=DGRAM, local=tmp_path / "b") as two,
    ):
        with letter() as fd:
            await two.send(b"to the peer", [fd])
        message = await one.recv()
        assert (message.data, message.address, message.flags) == (b"to the peer", names[1], 0)
        assert message.credentials == me()
        assert read_and_close(message.fds) == [b"letter"]
        await one.send(b"back", address=message.address)
        assert await two.recv() == unix.Message(b"back", address=names[0])
        with pytest.raises(FileNotFoundError):
            await one.send(b"x", address=str(tmp_path / "nobody"))
        with pytest.raises(OSError, match="Message too long"):
            await one.send(bytes(1 << 20), address=names[1])
        await one.send(b"still there", address=names[1])
        assert (await two.recv()).data == b"still there"


@runs
async def test_credentials_can_be_said() -> None:
    """As SCM_CREDENTIALS, if the sender may."""
    async with channels(credentials=True) as (one, two):
        mine = me()
        await two.send(b"x", credentials=unix.Credentials(*mine))
        assert (await one.recv()).credentials == mine
        if mine[1] == 0:
            said = unix.Credentials(os.getpid(), 1000, 100)
            await two.send(b"x", credentials=said)
            assert (await one.recv()).credentials == said


@pytest.mark.parametrize("kind", [STREAM, SEQPACKET, DGRAM])
@runs
async def test_a_sender_waits_for_the_receiver(kind: int) -> None:
    """What does not fit waits, in order, with descriptors that the caller has closed; send waits with it."""
    count = 300
    async with channels(kind) as (one, two):

        async def send() -> None:
            for number in range(count):
                with letter(b"%d" % number) as fd:
                    await one.send(b"%06d" % number + bytes(10_000), [fd])

        sender = asyncio.ensure_future(send())
        await asyncio.sleep(0.05)
        assert not sender.done(), "it waits"
        data, fds = b"", []
        while len(data) < count * 10_006:
            message = await two.recv()
            data += message.data
            fds += read_and_close(message.fds)
        await sender
        assert fds == [b"%d" % number for number in range(count)]
        assert data == b"".join(b"%06d" % number + bytes(10_000) for number in range(count))


@runs
async def test_a_datagram_for_a_full_receiver(tmp_path: Path) -> None:
    """It waits without a loop that spins: such a socket polls writable."""
    name = str(tmp_path / "r")
    async with (
        await unix.open_channel(type=DGRAM, local=name) as receiver,
        await unix.open_channel(type=DGRAM, local=tmp_path / "s") as sender,
    ):
        receiver.transport.pause_reading()
        sender.transport.set_write_buffer_limits(high=1000)
        sent = 0
        while not sender.transport.get_write_buffer_size():
            sender.transport.send(b"%d" % sent, address=name)
            sent += 1
        writable = sender.transport._writable
        called = 0

        def count() -> None:
            nonlocal called
            called += 1
            writable()

        sender.transport._writable = count  # type: ignore[method-assign]
        await asyncio.sleep(0.2)
        assert called < 20
        receiver.transport.resume_reading()
        assert [(await receiver.recv()).data for _ in range(sent)] == [b"%d" % number for number in range(sent)]


@runs
async def test_the_peer_goes() -> None:
    """What it sent can still be read; a send says EPIPE, a receive the end, a reset is ECONNRESET."""
    async with channels() as (one, two):
        await two.send(b"last words")
        two.close()
        await two.wait_closed()
        with pytest.raises(BrokenPipeError):
            await one.send(b"x")
        assert (await one.recv()).data == b"last words"
        with pytest.raises(EOFError):
            await one.recv()
        with pytest.raises(BrokenPipeError):
            await two.send(b"x")
    async with channels() as (one, two):
        two.transport.pause_reading()
        await one.send(b"unread")
        two.close()
        with pytest.raises(ConnectionResetError):
            await one.recv()
        with pytest.raises(ConnectionResetError):
            await one.send(b"x")


@runs
async def test_receiving_is_bounded() -> None:
    """A channel whose messages nobody takes leaves most of them in the socket; those it took are closed with it."""
    async with channels() as (one, two):
        with letter() as fd:
            for _ in range(100):
                one.transport.send(b"x", [fd])
        await asyncio.sleep(0.05)
        assert not two.transport.is_reading()
        assert len(two._protocol.messages) == 16
        (await two.recv()).close()


@runs
async def test_protocols_of_asyncio() -> None:
    """A Protocol and a DatagramProtocol work on the transport, records with the first."""
    seen: list[Any] = []

    class Stream(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            seen.append(type(transport))

        def data_received(self, data: bytes) -> None:
            seen.append(data)

        def eof_received(self) -> bool | None:
            seen.append("eof")
            return None

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(exc)
            ended.set()

    class Datagram(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            seen.append((data, addr))

    ended = asyncio.Event()
    one, two = socket.socketpair(socket.AF_UNIX, SEQPACKET)
    left, protocol = unix.create_transport(Stream, one)
    assert left.get_protocol() is protocol
    two.send(b"record")
    with letter() as fd:
        socket.send_fds(two, [b"with a file"], [fd])
    two.close()
    await ended.wait()
    assert seen == [unix.UnixTransport, b"record", b"with a file", "eof", None]
    seen.clear()
    one, two = socket.socketpair(socket.AF_UNIX, DGRAM)
    left, _ = unix.create_transport(Datagram, one)
    two.send(b"datagram")
    two.send(b"")
    await asyncio.sleep(0.05)
    assert seen == [(b"datagram", None), (b"", None)]
    two.close()
    left.close()
    await asyncio.sleep(0)


@runs
async def test_wrong_use(path: str) -> None:
    """Each mistake is an error of its own, and leaves nothing open."""
    with pytest.raises(ValueError, match="either a path or a socket"):
        await unix.open_unix_connection()
    with socket.socket() as tcp, pytest.raises(ValueError, match="AF_UNIX"):
        await unix.open_unix_connection(sock=tcp)
    with socket.socket(socket.AF_UNIX, DGRAM) as sock, pytest.raises(ValueError, match="another type"):
        await unix.open_unix_connection(sock=sock)
    with pytest.raises(ValueError, match="local name"):
        await unix.open_channel(path, local=path)
    with pytest.raises(FileNotFoundError):
        await unix.open_channel(path)
    async with channels() as (one, _):
        with pytest.raises(OSError, match="Bad file descriptor"):
            await one.send(b"x", [99999])
        one.transport.write_eof()
        with pytest.raises(RuntimeError):
            await one.send(b"x")


@runs
async def test_a_handler_that_fails(path: str) -> None:
    """Its exception is told to the loop, its connection closed; the server goes on."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def serve(reader: unix.StreamReader, writer: unix.StreamWriter) -> None:
        await reader.readline()
        raise LookupError("it fails")

    async with await unix.start_unix_server(serve, path):
        for _ in range(2):
            reader, writer = await unix.open_unix_connection(path)
            writer.write(b"\n")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
    assert [str(context["exception"]) for context in told] == ["it fails"] * 2


@runs
async def test_more_clients_than_the_backlog(path: str) -> None:
    """connect says EAGAIN then, and no event comes: it is tried again."""

    async def serve(channel: unix.Channel) -> None:
        async with channel:
            await channel.send((await channel.recv()).data)

    async def client(number: int) -> bytes:
        async with await unix.open_channel(path) as channel:
            await channel.send(b"%d" % number)
            return (await channel.recv()).data

    async with await unix.start_channel_server(serve, path, backlog=1):
        answers: list[Awaitable[bytes]] = [client(number) for number in range(50)]
        assert await asyncio.gather(*answers) == [b"%d" % number for number in range(50)]


def test_a_loop_of_ours_without_the_patch() -> None:
    """A loop with our selector has both kinds; a stock loop says what to do."""

    async def talk() -> bytes:
        one, two = our_socket.socketpair(type=our_socket.SOCK_SEQPACKET)
        host, other = socket.socketpair(socket.AF_UNIX, SEQPACKET)
        async with (
            await unix.open_channel(sock=one) as left,
            await unix.open_channel(sock=two) as right,
            await unix.open_channel(sock=host) as third,
            await unix.open_channel(sock=other) as fourth,
        ):
            await left.send(b"over ours, ")
            await third.send(b"over the host's")
            return (await right.recv()).data + (await fourth.recv()).data

    loop = asyncio.SelectorEventLoop(our_selectors.DefaultSelector())
    try:
        assert loop.run_until_complete(talk()) == b"over ours, over the host's"
    finally:
        loop.close()

    async def stock() -> None:
        one, two = our_socket.socketpair()
        with two, pytest.raises(RuntimeError, match=r"afunix\.patch"):
            await unix.open_unix_connection(sock=one)

    if sys.platform == "linux":
        asyncio.run(stock())


def test_simulated_processes() -> None:
    """Server and client are processes with ids of their own."""

    async def talk(kernel: afunix.Kernel) -> None:
        with kernel.process() as server, kernel.process(uid=1000, gid=100) as client:

            async def serve(channel: unix.Channel) -> None:
                async with channel:
                    message = await channel.recv()
                    assert channel.peer == message.credentials == (client.pid, 1000, 100)
                    await channel.send(b"welcome")

            with server.running():
                listening = await unix.start_channel_server(serve, b"\0name", credentials=True)
            with client.running():
                channel = await unix.open_channel(b"\0name")
            async with listening, channel:
                await channel.send(b"hello")
                assert (await channel.recv()).data == b"welcome"

    with afunix.patch() as kernel:
        asyncio.run(talk(kernel))
