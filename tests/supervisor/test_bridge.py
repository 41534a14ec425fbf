"""Connections between programs under `afunix run` and this process, which is the outside: bytes, and the end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import socket
import time
from pathlib import Path

import pytest
from outside import CLIENT, CONNECTED, SERVER, Inside, accept, native, outside, receive_all, server
from supervised import PATIENCE


@pytest.mark.parametrize("kind", CONNECTED)
def test_client_inside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = CLIENT + 'sock.send(b"question")\nsay(sock.recv(100).decode(), sock.recv(100).decode() == "")\n'
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        assert sock.recv(100) == b"question"
        sock.send(b"answer")
        sock.close()
        assert inside.hear() == "answer True"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_server_inside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    source = (
        SERVER
        + """
peer, _ = sock.accept()
peer.send(peer.recv(100)[::-1])
say(peer.recv(100) == b"")
"""
    )
    with Inside(source, kind, name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, kind)
        sock.connect(native(name))
        sock.send(b"question")
        assert sock.recv(100) == b"noitseuq"
        sock.close()
        assert inside.hear() == "True"
        inside.end()


SIZE = 5 << 20
PAYLOAD = bytes(range(251)) * (SIZE // 251 + 1)


@pytest.mark.parametrize("kind", CONNECTED)
def test_megabytes_to_a_slow_reader_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = (
        CLIENT
        + f"""
data = (bytes(range(251)) * {SIZE // 251 + 1})[:{SIZE}]
for at in range(0, len(data), 50000):
    sock.sendall(data[at : at + 50000])
say("sent")
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        time.sleep(0.5)
        assert inside.process.stdout is not None
        assert not select.select([inside.process.stdout], [], [], 0)[0], "nothing holds the writer back"
        got = receive_all(sock)
        assert hashlib.sha256(got).digest() == hashlib.sha256(PAYLOAD[:SIZE]).digest()
        assert inside.hear() == "sent"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_megabytes_to_a_slow_reader_inside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    source = (
        SERVER
        + """
peer, _ = sock.accept()
hear()
digest = hashlib.sha256()
while data := peer.recv(65536):
    digest.update(data)
say(digest.hexdigest())
"""
    )
    with Inside(source, kind, name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, kind)
        sock.connect(native(name))
        sock.setblocking(False)
        sent = 0
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                sent += sock.send(PAYLOAD[sent : sent + 50000])
        assert sent < SIZE // 2, "nothing holds the writer back"
        before = cpu_time(inside.supervisor)
        time.sleep(0.3)
        assert cpu_time(inside.supervisor) - before < 0.1, "the supervisor is busy with waiting"
        inside.say()
        sock.settimeout(PATIENCE)
        while sent < SIZE:
            sent += sock.send(PAYLOAD[sent : min(sent + 50000, SIZE)])
        sock.close()
        assert inside.hear() == hashlib.sha256(PAYLOAD[:SIZE]).hexdigest()
        inside.end()


def cpu_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_outside_closes_while_the_reader_inside_sleeps(name: str, opened: contextlib.ExitStack) -> None:
    """What was sent before the end is read in full, and a hang-up that waits costs nothing."""
    source = SERVER + 'peer, _ = sock.accept()\nhear()\nsay(sum(map(len, iter(lambda: peer.recv(65536), b""))))\n'
    with Inside(source, "stream", name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, "stream")
        sock.connect(native(name))
        sock.setblocking(False)
        sent = 0
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                sent += sock.send(PAYLOAD[:50000])
        sock.close()
        before = cpu_time(inside.supervisor)
        time.sleep(0.4)
        assert cpu_time(inside.supervisor) - before < 0.1, "the supervisor is busy with waiting"
        inside.say()
        assert int(inside.hear()) == sent
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_half_close(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = (
        CLIENT
        + """
sock.send(b"all")
sock.shutdown(socket.SHUT_WR)
say(sock.recv(100).decode())
hear()
say(failing(sock.send, b"more"), sock.recv(100) == b"")
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        assert receive_all(sock) == b"all"
        sock.send(b"still open")
        assert inside.hear() == "still open"
        sock.shutdown(socket.SHUT_WR)
        inside.say()
        assert inside.hear() == "EPIPE True"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_half_close_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    source = (
        SERVER
        + """
peer, _ = sock.accept()
say(peer.recv(100).decode(), peer.recv(100) == b"")
peer.send(b"still open")
"""
    )
    with Inside(source, kind, name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, kind)
        sock.connect(native(name))
        sock.send(b"all")
        sock.shutdown(socket.SHUT_WR)
        assert inside.hear() == "all True"
        assert sock.recv(100) == b"still open"
        assert sock.recv(100) == b""
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_shut_reading(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = (
        CLIENT
        + """
sock.shutdown(socket.SHUT_RD)
say("shut")
hear()
say(failing(sock.send, b"to nobody"))
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        assert inside.hear() == "shut"
        with pytest.raises(BrokenPipeError):
            sock.send(b"to nobody")
        sock.shutdown(socket.SHUT_RD)
        inside.say()
        assert inside.hear() == "EPIPE"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_reset(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """The outside closes with unread data: ECONNRESET inside, once, after what it had sent before."""
    listener = server(opened, kind, name)
    source = (
        CLIENT
        + """
sock.send(b"unread")
hear()
if kind == socket.SOCK_STREAM:
    say(sock.recv(100).decode(), failing(sock.recv, 100), sock.recv(100) == b"")
else:
    say(failing(sock.recv, 100), sock.recv(100).decode(), sock.recv(100) == b"")
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        sock.send(b"last")
        assert select.select([sock], [], [], PATIENCE)[0]
        sock.close()
        time.sleep(0.1)
        inside.say()
        assert inside.hear() == ("last ECONNRESET True" if kind == "stream" else "ECONNRESET last True")
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_hang_up_is_polled(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = (
        CLIENT
        + """
poll = select.poll()
poll.register(sock, select.POLLIN | select.POLLRDHUP)
say("open", poll.poll(0))
for events in (select.POLLIN | select.POLLRDHUP, 0):
    poll.register(sock, events)
    say(*(event for _, event in poll.poll()))
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        assert inside.hear() == "open []"
        sock.shutdown(socket.SHUT_WR)
        assert int(inside.hear()) == select.POLLIN | select.POLLRDHUP
        sock.close()
        assert int(inside.hear()) & select.POLLHUP
        inside.end()
