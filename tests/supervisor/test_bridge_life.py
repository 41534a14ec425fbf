"""Names, refusals, many connections and sudden ends between programs inside and outside."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from outside import CLIENT, CONNECTED, SERVER, TYPES, Inside, accept, native, outside, receive_all, server
from supervised import PATIENCE, wait_until


@pytest.mark.parametrize("kind", TYPES)
def test_refusals(kind: str, directory: Path, opened: contextlib.ExitStack) -> None:
    """The same errors as natively, told by the same calls."""
    stale = server(opened, kind, f"{directory}/stale")
    stale.close()
    (directory / "file").write_text("")
    other = "dgram" if kind == "stream" else "stream"
    server(opened, other, f"{directory}/other")
    names = [f"{directory}/{name}" for name in ("stale", "file", "other", "missing")] + [f"@{directory}/nobody"]
    source = f"say(*(failing(sock.connect, name.replace('@', chr(0))) for name in {names}))\n"
    sock = outside(opened, kind)
    expected = []
    for name in names:
        with pytest.raises(OSError) as caught:  # noqa: PT011 -- which one is the question
            sock.connect(native(name))
        assert caught.value.errno is not None
        expected.append(errno.errorcode[caught.value.errno])
    assert expected == ["ECONNREFUSED", "ECONNREFUSED", "EPROTOTYPE", "ENOENT", "ECONNREFUSED"]
    with Inside(source, kind, "unused") as inside:
        assert inside.hear() == " ".join(expected)
        inside.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="root may do everything, others have nobody to be refused by: needs root")
@pytest.mark.parametrize("kind", TYPES)
def test_permission_denied(kind: str, directory: Path, opened: contextlib.ExitStack) -> None:
    name = f"{directory}/s"
    receiver = server(opened, kind, name)
    os.chmod(directory, 0o755)
    os.chmod(name, 0o755)
    source = "os.setresuid(1000, 1000, 1000)\nsay(failing(sock.connect, name))\n"
    with Inside(source, kind, name) as inside:
        assert inside.hear() == "EACCES"
        inside.end()
    receiver.setblocking(False)
    if kind != "dgram":
        with pytest.raises(BlockingIOError):
            receiver.accept()


@pytest.mark.parametrize("kind", CONNECTED)
def test_full_backlog_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name, backlog=0)
    blocker = outside(opened, kind)
    blocker.connect(native(name))
    source = """
sock.setblocking(False)
say(failing(sock.connect, name))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 50000))
sock.setblocking(True)
say(failing(sock.connect, name))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
say("waiting")
sock.connect(name)
say("connected")
hear()
"""
    with Inside(source, kind, name) as inside:
        assert [inside.hear() for _ in range(3)] == ["EAGAIN", "EAGAIN", "waiting"]
        time.sleep(0.2)
        assert inside.process.stdout is not None
        assert not select.select([inside.process.stdout], [], [], 0)[0]
        accept(opened, listener)
        assert inside.hear() == "connected"
        inside.end()


def test_full_backlog_inside(name: str, opened: contextlib.ExitStack) -> None:
    source = """
sock.bind(name)
sock.listen(1)
say("ready")
hear()
for _ in range(20):
    sock.accept()[0].send(b"x")
"""
    with Inside(source, "stream", name) as inside:
        assert inside.hear() == "ready"
        waiting = []
        refused = 0
        for _ in range(20):
            sock = outside(opened, "stream")
            sock.setblocking(False)
            time.sleep(0.01)
            try:
                sock.connect(native(name))
            except BlockingIOError:
                refused += 1
            waiting.append(sock)
        assert 10 < refused < 20
        inside.say()
        for sock in waiting:
            sock.settimeout(PATIENCE)
            with contextlib.suppress(OSError):
                sock.connect(native(name))
            assert sock.recv(1) == b"x"
        inside.end()


def test_connect_of_a_connected_socket(name: str, opened: contextlib.ExitStack) -> None:
    """The failed call leaves nothing behind outside."""
    listener = server(opened, "stream", name)
    with Inside(CLIENT + "say(failing(sock.connect, name))\nhear()\n", "stream", name) as inside:
        first = accept(opened, listener)
        assert inside.hear() == "EISCONN"
        second = accept(opened, listener)
        assert second.recv(1) == b""
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1)
        inside.end()


def test_nonblocking_connect(name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, "stream", name)
    source = "sock.setblocking(False)\nsay(sock.connect_ex(name))\nsay(select.select([], [sock], [], 5)[1] == [sock])\n"
    with Inside(source, "stream", name) as inside:
        accept(opened, listener)
        assert inside.hear() == "0"
        assert inside.hear() == "True"
        inside.end()


def test_many_connections_leave_no_descriptors(name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, "stream", name, backlog=64)

    def serve() -> None:
        for _ in range(220):
            sock, _ = listener.accept()
            with sock:
                sock.send(sock.recv(10))

    thread = threading.Thread(target=serve)
    thread.start()
    source = """
own = socket.socket(socket.AF_UNIX, kind)
own.bind(name + ".inside")
own.listen(8)
sink = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def outward(times):
    for number in range(times):
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.connect(name)
            client.send(b"%d" % number)
            assert client.recv(10) == b"%d" % number
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(name + ".log")
            client.send(b"x")
            sink.sendto(b"y", name + ".log")
def inward(times):
    for _ in range(times):
        peer, _ = own.accept()
        with peer:
            peer.send(peer.recv(10))
outward(20); inward(20)
say("warm"); hear()
outward(200); inward(200)
say("done"); hear()
"""
    log = server(opened, "dgram", name + ".log")

    def read_log() -> None:
        for _ in range(440):
            log.recv(10)

    reader = threading.Thread(target=read_log)
    reader.start()

    def connect(times: int) -> None:
        for _ in range(times):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(native(name) + ".inside")
                sock.send(b"hello")
                assert sock.recv(10) == b"hello"

    with Inside(source, "stream", name) as inside:
        wait_until(lambda: bound(name + ".inside"), "the program does not listen")
        connect(20)
        assert inside.hear() == "warm"
        time.sleep(0.1)
        before = inside.descriptors()
        inside.say()
        connect(200)
        assert inside.hear() == "done"
        wait_until(lambda: inside.descriptors() <= before + 2, f"{before} became {inside.descriptors()}")
        inside.say()
        inside.end()
    thread.join(PATIENCE)
    reader.join(PATIENCE)
    assert not thread.is_alive()
    assert not reader.is_alive()


def bound(name: str) -> bool:
    with open("/proc/net/unix", errors="replace") as table:
        return any(line.rstrip("\n").endswith(f" {name}") and " 00010000 " in line for line in table)


def test_many_connections_at_once(name: str, opened: contextlib.ExitStack) -> None:
    source = """
import asyncio
async def serve(reader, writer):
    data = await reader.read(100)
    writer.write(data[::-1])
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_unix_server(serve, name, backlog=200)
    say("ready")
    await asyncio.get_running_loop().run_in_executor(None, hear)
    server.close()
asyncio.run(main())
"""
    with Inside(source, "stream", name) as inside:
        assert inside.hear() == "ready"
        clients = [outside(opened, "stream") for _ in range(150)]
        for number, sock in enumerate(clients):
            sock.connect(native(name))
            sock.send(b"%03d" % number)
        for number, sock in enumerate(clients):
            assert sock.recv(10) == (b"%03d" % number)[::-1]
            assert sock.recv(10) == b""
        inside.say()
        inside.end()


OUTSIDE_SERVER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1].replace("@", chr(0)))
listener.listen()
print("ready", flush=True)
sock, _ = listener.accept()
while True:
    sock.send(sock.recv(65536))
"""


def test_server_outside_is_killed(name: str) -> None:
    source = (
        CLIENT
        + """
total = 0
try:
    while True:
        sock.send(bytes(10000))
        data = sock.recv(65536)
        total += len(data)
        if total == len(data):
            say("running")
        if not data:
            break
except (BrokenPipeError, ConnectionResetError):
    pass
say("ended")
"""
    )
    with subprocess.Popen([sys.executable, "-c", OUTSIDE_SERVER, name], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with Inside(source, "stream", name) as inside:
            assert inside.hear() == "running"
            time.sleep(0.1)
            process.kill()
            killed = time.monotonic()
            assert inside.hear() == "ended"
            assert time.monotonic() - killed < 1
            inside.end()


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("kind", CONNECTED)
def test_program_inside_is_killed(kind: str, role: str, name: str, opened: contextlib.ExitStack) -> None:
    loop = "say(os.getpid())\nwhile True:\n    peer.send(bytes(10000))\n"
    if role == "client":
        listener = server(opened, kind, name)
        source = CLIENT + "peer = sock\n" + loop
    else:
        source = SERVER + "peer, _ = sock.accept()\n" + loop
    with Inside(source, kind, name) as inside:
        if role == "client":
            sock = accept(opened, listener)
        else:
            assert inside.hear() == "ready"
            sock = outside(opened, kind)
            sock.connect(native(name))
        pid = int(inside.hear())
        for _ in range(50):
            sock.recv(10000)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(10000):
                pass
        wait_until(lambda: is_broken(sock), "there is still a reader")
        assert time.monotonic() - killed < 1
        assert inside.process.wait(PATIENCE) == 128 + signal.SIGKILL


def test_what_was_sent_survives_the_program(name: str, opened: contextlib.ExitStack) -> None:
    """As natively, what a program wrote before it ended can be read afterwards, however late."""
    listener = server(opened, "stream", name)
    source = (
        CLIENT
        + """
sock.setblocking(False)
total = 0
try:
    while True:
        total += sock.send(bytes(10000))
except BlockingIOError:
    say(total)
"""
    )
    with Inside(source, "stream", name) as inside:
        sock = accept(opened, listener)
        total = int(inside.hear())
        time.sleep(0.3)
        assert len(receive_all(sock)) == total
        inside.end()


@pytest.mark.parametrize("kind", TYPES)
def test_private(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    server(opened, kind, name)
    source = """
say(failing(sock.connect, name), failing(sock.connect, name + ".missing"))
sock.bind(name + ".inside")
if kind != socket.SOCK_DGRAM:
    sock.listen(1)
say("bound")
hear()
"""
    with Inside(source, kind, name, private=True) as inside:
        assert inside.hear() == f"ECONNREFUSED {'ENOENT' if name[0] == '/' else 'ECONNREFUSED'}"
        assert inside.hear() == "bound"
        with pytest.raises(ConnectionRefusedError):
            outside(opened, kind).connect(native(name) + ".inside")
        inside.end()


@pytest.mark.parametrize("kind", TYPES)
def test_closed_socket_inside_refuses(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    with Inside(SERVER + 'hear()\nsock.close()\nsay("closed")\nhear()\n', kind, name) as inside:
        assert inside.hear() == "ready"
        outside(opened, kind).connect(native(name))
        inside.say()
        assert inside.hear() == "closed"
        wait_until(lambda: is_refused(lambda: outside(opened, kind).connect(native(name))), "connect is not refused")
        inside.end()


def is_broken(sock: socket.socket) -> bool:
    try:
        sock.send(b"x")
    except BrokenPipeError:
        return True
    return False


def is_refused(connect: Callable[[], None]) -> bool:
    try:
        connect()
    except ConnectionRefusedError:
        return True
    return False


def test_unlink_and_bind_again(directory: Path, opened: contextlib.ExitStack) -> None:
    name = f"{directory}/s"
    source = (
        SERVER
        + """
hear()
os.unlink(name)
again = socket.socket(socket.AF_UNIX, kind)
again.bind(name)
again.listen(1)
say("again")
again.accept()[0].send(b"second")
sock.accept()[0].send(b"first")
"""
    )
    with Inside(source, "stream", name) as inside:
        assert inside.hear() == "ready"
        first = outside(opened, "stream")
        first.connect(name)
        inside.say()
        assert inside.hear() == "again"
        second = outside(opened, "stream")
        second.connect(name)
        assert second.recv(10) == b"second"
        assert first.recv(10) == b"first"
        inside.end()


def test_names_that_are_taken_outside(name: str, opened: contextlib.ExitStack) -> None:
    server(opened, "stream", name)
    source = """
say(failing(sock.bind, name))
sock.bind("")
own = sock.getsockname()
sock.listen(1)
sys.stdout.buffer.write(own[1:] + b"\\n"); sys.stdout.flush()
sock.accept()[0].send(b"found")
"""
    with Inside(source, "stream", name) as inside:
        assert inside.hear() == "EADDRINUSE"
        sock = outside(opened, "stream")
        sock.connect("\0" + inside.hear())
        assert sock.recv(10) == b"found"
        inside.end()


def test_signal_interrupts_a_waiting_connect(name: str, opened: contextlib.ExitStack) -> None:
    server(opened, "stream", name, backlog=0)
    outside(opened, "stream").connect(native(name))
    source = """
class Alarm(Exception):
    pass
def alarm(*_):
    raise Alarm
signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    sock.connect(name)
except Alarm:
    say("interrupted")
"""
    with Inside(source, "stream", name) as inside:
        assert inside.hear() == "interrupted"
        inside.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGWINCH])
def test_datagrams_wait_for_their_reader(number: signal.Signals, name: str, opened: contextlib.ExitStack) -> None:
    """What the host's queue has no room for when the program ends: `afunix run` stays, unless a signal ends that."""
    receiver = server(opened, "dgram", name)
    source = """
sock.setblocking(False)
total = 0
try:
    while True:
        sock.sendto(b"%d" % total, name)
        total += 1
except BlockingIOError:
    say(total)
"""
    with Inside(source, "dgram", name) as inside:
        total = int(inside.hear())
        time.sleep(0.4)
        assert inside.process.poll() is None
        inside.process.send_signal(number)
        if number == signal.SIGTERM:
            inside.end()
            return
        time.sleep(0.1)
        assert [int(receiver.recv(100)) for _ in range(total)] == list(range(total))
        inside.end()
