"""What crosses between programs inside and outside besides bytes: datagrams, records, credentials, descriptors."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest
from outside import CLIENT, CONNECTED, SERVER, TYPES, UCRED, Inside, accept, native, outside, server
from supervised import PATIENCE, wait_until


def test_datagrams_to_outside_and_replies(name: str, opened: contextlib.ExitStack) -> None:
    receiver = server(opened, "dgram", name)
    source = """
sock.bind(name + ".client")
sock.sendto(b"one", name)
sock.connect(name)
sock.send(b"")
sock.send(b"three")
data, sender = sock.recvfrom(100)
say(data.decode(), (sender if isinstance(sender, str) else sender.decode()) == name, sock.getpeername() == sender)
"""
    with Inside(source, "dgram", name) as inside:
        got = [receiver.recvfrom(100) for _ in range(3)]
        assert [data for data, _ in got] == [b"one", b"", b"three"]
        assert {os.fsencode(sender) for _, sender in got} == {os.fsencode(native(name) + ".client")}
        stranger = outside(opened, "dgram")
        stranger.sendto(b"not from the peer", got[0][1])
        receiver.sendto(b"reply", got[0][1])
        assert inside.hear() == "reply True True"
        inside.end()


def test_datagrams_to_inside_and_replies(name: str, opened: contextlib.ExitStack) -> None:
    source = (
        SERVER
        + """
for _ in range(3):
    data, sender = sock.recvfrom(100)
    if sender:
        sock.sendto(data[::-1], sender)
    say(data.decode() or "empty")
"""
    )
    with Inside(source, "dgram", name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, "dgram")
        sock.sendto(b"unnamed", native(name))
        assert inside.hear() == "unnamed"
        sock.bind(native(name) + ".client")
        sock.connect(native(name))
        sock.send(b"question")
        sock.send(b"")
        assert [inside.hear() for _ in range(2)] == ["question", "empty"]
        assert sock.recvfrom(100) == (b"noitseuq", native(name) if name[0] == "/" else native(name).encode())
        assert sock.recv(100) == b""
        inside.end()


def test_log_socket(directory: Path, opened: contextlib.ExitStack) -> None:
    """A client of a log daemon learns at once, as natively, that the daemon is gone, and finds the next one."""
    name = f"{directory}/log"
    daemon = server(opened, "dgram", name)
    source = """
sock.connect(name)
for line in sys.stdin:
    say(failing(sock.send, line.encode()))
    if line == "again\\n":
        sock.connect(name)
    elif line == "elsewhere\\n":
        say(failing(sock.sendto, b"x", name))
"""
    with Inside(source, "dgram", name) as inside:
        inside.say("first")
        assert inside.hear() == "no error"
        assert daemon.recv(100) == b"first\n"
        daemon.close()
        inside.say("lost")
        assert inside.hear() == "ECONNREFUSED"
        inside.say("elsewhere")
        assert inside.hear() == "ENOTCONN"
        assert inside.hear() == "ECONNREFUSED"
        os.unlink(name)
        daemon = server(opened, "dgram", name)
        inside.say("again")
        assert inside.hear() == "ENOTCONN"
        inside.say("found")
        assert inside.hear() == "no error"
        assert daemon.recv(100) == b"found\n"
        inside.end()


with open("/proc/sys/net/unix/max_dgram_qlen") as limit:
    MANY = 3 * int(limit.read()) + 200
"""More datagrams than all the queues on the way take."""


def test_datagrams_wait_for_a_slow_receiver_outside(name: str, opened: contextlib.ExitStack) -> None:
    receiver = server(opened, "dgram", name)
    source = """
for number in range(TOTAL):
    sock.sendto(b"%d" % number, name)
say("done")
""".replace("TOTAL", str(MANY))
    with Inside(source, "dgram", name) as inside:
        time.sleep(0.3)
        assert inside.process.stdout is not None
        assert not select.select([inside.process.stdout], [], [], 0)[0]
        assert [int(receiver.recv(100)) for _ in range(MANY)] == list(range(MANY))
        assert inside.hear() == "done"
        inside.end()


def test_datagrams_wait_for_a_slow_receiver_inside(name: str, opened: contextlib.ExitStack) -> None:
    source = SERVER + f"hear()\nsay(*(int(sock.recv(100)) for _ in range({MANY})))\n"
    with Inside(source, "dgram", name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, "dgram")
        sock.setblocking(False)
        sent = 0
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                sock.sendto(b"%d" % sent, native(name))
                sent += 1
        assert sent < MANY
        inside.say()
        sock.settimeout(PATIENCE)
        for number in range(sent, MANY):
            sock.sendto(b"%d" % number, native(name))
        assert inside.hear() == " ".join(map(str, range(MANY)))
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_records_and_empty_records(kind: str, directory: Path, opened: contextlib.ExitStack) -> None:
    """Records stay whole, also empty and very large ones; an empty one is no end of file."""
    sizes = [1, 2] if kind == "stream" else [5, 0, 150_000, 1, 0, 7]
    name = f"{directory}/s"
    listener = server(opened, kind, name)
    source = (
        CLIENT
        + f"""
for size in {sizes}:
    sock.send(bytes(size))
    say(len(sock.recv(1 << 20)))
for size in {sizes}:
    sock.send(bytes(size))
say(*(len(sock.recv(1 << 20)) for _ in {sizes}))
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        for size in sizes:
            assert len(sock.recv(1 << 20)) == size
            sock.send(bytes(size))
            assert int(inside.hear()) == size
        if kind == "seqpacket":
            assert [len(sock.recv(1 << 20)) for _ in sizes] == sizes
            for size in sizes:
                sock.send(bytes(size))
            assert inside.hear() == " ".join(map(str, sizes))
            inside.end()


def test_record_larger_than_a_megabyte(directory: Path, opened: contextlib.ExitStack) -> None:
    if os.geteuid():
        pytest.skip("SO_SNDBUFFORCE needs CAP_NET_ADMIN")
    name = f"{directory}/s"
    size = 3_000_000
    listener = server(opened, "seqpacket", name)
    source = (
        CLIENT
        + f"""
sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)
sock.send(bytes({size}))
say(len(sock.recv(8 << 20)))
"""
    )
    with Inside(source, "seqpacket", name) as inside:
        sock = accept(opened, listener)
        data = bytearray(8 << 20)
        assert sock.recv_into(data) == size
        sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)
        sock.send(bytes(size))
        assert int(inside.hear()) == size
        inside.end()


def test_urgent_byte(name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, "stream", name)
    source = (
        CLIENT
        + """
sock.send(b"ab")
sock.send(b"!", socket.MSG_OOB)
sock.send(b"cd")
say(sock.recv(10).decode())
say(sock.recv(1, socket.MSG_OOB).decode(), sock.recv(10).decode())
"""
    )
    with Inside(source, "stream", name) as inside:
        sock = accept(opened, listener)
        wait_until(lambda: len(sock.recv(10, socket.MSG_PEEK)) == 2, "no mark")
        assert sock.recv(10) == b"ab"
        assert sock.recv(1, socket.MSG_OOB) == b"!"
        assert sock.recv(10) == b"cd"
        sock.send(b"ef")
        sock.send(b"?", socket.MSG_OOB)
        sock.send(b"gh")
        assert inside.hear() == "ef"
        assert inside.hear() == "? gh"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_peer_credentials_of_a_server_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """Inside sees who listens outside; outside sees the program's user, and the supervisor's process."""
    listener = server(opened, kind, name)
    source = (
        """
if os.geteuid() == 0:
    os.setresgid(2000, 2000, 2000)
    os.setresuid(1000, 1000, 1000)
"""
        + CLIENT
        + """
say(cred(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
peer = sock.getpeername()
say((peer if isinstance(peer, str) else peer.decode()) == name)
"""
    )
    if name[0] == "/":
        os.chmod(name, 0o777)
        os.chmod(Path(name).parent, 0o755)
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        pid, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        assert pid == inside.supervisor
        assert (uid, gid) == ((1000, 2000) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))
        assert inside.hear() == f"{os.getpid()} {os.geteuid()} {os.getegid()}"
        assert inside.hear() == "True"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_peer_credentials_of_a_client_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    source = (
        SERVER
        + """
peer, address = sock.accept()
say(cred(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
groups = peer.getsockopt(socket.SOL_SOCKET, 59, 1024)
say(*sorted(array.array("I", groups)))
say((address if isinstance(address, str) else address.decode()) == name + ".client")
"""
    )
    with Inside(source, kind, name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, kind)
        sock.bind(native(name) + ".client")
        sock.connect(native(name))
        pid, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        assert (pid, uid, gid) == (inside.supervisor, os.geteuid(), os.getegid())
        assert inside.hear() == f"{os.getpid()} {os.geteuid()} {os.getegid()}"
        assert inside.hear() == " ".join(map(str, sorted(os.getgroups())))
        assert inside.hear() == "True"
        inside.end()


@pytest.mark.parametrize("kind", TYPES)
def test_message_credentials(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """SCM_CREDENTIALS: the real sender's, both ways."""
    source = (
        """
sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
"""
        + SERVER
        + """
peer = sock
if kind != socket.SOCK_DGRAM:
    peer, _ = sock.accept()
_, control, _, sender = peer.recvmsg(100, 100)
say(*(cred(data) for _, what, data in control if what == 2))
say(os.getpid(), os.getuid(), os.getgid())
if kind == socket.SOCK_DGRAM:
    peer.sendto(b"reply", sender)
else:
    peer.send(b"reply")
hear()
"""
    )
    with Inside(source, kind, name) as inside:
        assert inside.hear() == "ready"
        sock = outside(opened, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.connect(native(name))
        sock.send(b"question")
        assert inside.hear() == f"{os.getpid()} {os.getuid()} {os.getgid()}"
        _, control, _, _ = sock.recvmsg(100, 100)
        assert [what for _, what, _ in control] == [2]
        who = " ".join(map(str, UCRED.unpack(control[0][2])))
        theirs = inside.hear()
        expected = theirs if os.geteuid() == 0 else f"{inside.supervisor} {os.getuid()} {os.getgid()}"
        assert who == expected
        inside.end()


@pytest.mark.parametrize("kind", TYPES)
def test_descriptors_to_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    receiver = server(opened, kind, name)
    source = (
        CLIENT
        + """
file = os.open("/proc/self/status", os.O_RDONLY)
r, w = os.pipe()
socket.send_fds(sock, [b"take"], [file, w])
os.close(w)
sock.send(b"more")
say(os.getpid())
say(os.read(r, 100).decode(), os.read(r, 100) == b"")
"""
    )
    with Inside(source, kind, name) as inside:
        sock = receiver if kind == "dgram" else accept(opened, receiver)
        data, fds, _, _ = socket.recv_fds(sock, 4, 8)
        assert (data, len(fds)) == (b"take", 2)
        assert sock.recv(100) == b"more"
        assert f"Pid:\t{inside.hear()}\n" in os.read(fds[0], 4096).decode()
        os.write(fds[1], b"through the pipe")
        for fd in fds:
            os.close(fd)
        assert inside.hear() == "through the pipe True"
        inside.end()


def test_descriptors_come_with_their_own_message(name: str, opened: contextlib.ExitStack) -> None:
    """What outside processes sent before reaches the program without the descriptors of a later message."""
    listener = server(opened, "stream", name)
    source = """
sock.connect(name)
say("connected")
for size in map(int, iter(hear, "")):
    data, control, flags, _ = sock.recvmsg(size, 100)
    say(data.decode(), len(b"".join(content for _, _, content in control)) // 4)
"""
    with Inside(source, "stream", name) as inside, open(os.devnull, "rb") as null:
        assert inside.hear() == "connected"
        sock = accept(opened, listener)
        pid = inside.supervisor
        os.kill(pid, signal.SIGSTOP)  # so that all of it is there when the supervisor looks
        sock.send(b"first")
        sock.send(b"other")
        socket.send_fds(sock, [b"files" * 100], [null.fileno(), null.fileno()])
        sock.send(b"last")
        socket.send_fds(sock, [b"!"], [null.fileno()])
        os.kill(pid, signal.SIGCONT)
        answers = []
        for size in (5, 5, 5, 495, 3, 100):
            inside.say(str(size))
            answers.append(inside.hear())
        assert answers == ["first 0", "other 0", "files 2", "files" * 99 + " 0", "las 0", "t! 1"]
        inside.end()


@pytest.mark.parametrize("kind", TYPES)
def test_descriptors_to_inside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    source = (
        SERVER
        + """
peer = sock
if kind != socket.SOCK_DGRAM:
    peer, _ = sock.accept()
data, fds, flags, _ = socket.recv_fds(peer, 4, 8)
say(data.decode(), len(fds), os.read(fds[0], 100).decode())
os.write(fds[1], b"through the pipe")
for fd in fds:
    os.close(fd)
say(peer.recv(100).decode())
"""
    )
    with Inside(source, kind, name) as inside, tempfile.TemporaryFile() as file:
        assert inside.hear() == "ready"
        file.write(b"in the file")
        file.seek(0)
        r, w = os.pipe()
        sock = outside(opened, kind)
        sock.connect(native(name))
        socket.send_fds(sock, [b"take"], [file.fileno(), w])
        os.close(w)
        sock.send(b"more")
        assert inside.hear() == "take 2 in the file"
        assert os.read(r, 100) == b"through the pipe"
        assert os.read(r, 100) == b""
        os.close(r)
        assert inside.hear() == "more"
        inside.end()


def test_host_socket_passed_to_inside(name: str, opened: contextlib.ExitStack) -> None:
    """A socket of the host stays what it is; and passed back it is the same again."""
    listener = server(opened, "stream", name)
    source = (
        CLIENT
        + """
_, fds, _, _ = socket.recv_fds(sock, 10, 1)
with socket.socket(fileno=fds[0]) as passed:
    passed.send(b"from inside")
    say(passed.recv(100).decode())
    socket.send_fds(sock, [b"back"], [passed.fileno()])
"""
    )
    with Inside(source, "stream", name) as inside:
        sock = accept(opened, listener)
        mine, theirs = socket.socketpair()
        with mine, theirs:
            socket.send_fds(sock, [b"x"], [theirs.fileno()])
            assert mine.recv(100) == b"from inside"
            mine.send(b"from outside")
            assert inside.hear() == "from outside"
            _, fds, _, _ = socket.recv_fds(sock, 10, 1)
            assert os.path.sameopenfile(fds[0], theirs.fileno())
            os.close(fds[0])
        inside.end()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("connected", [True, False])
def test_unconnected_socket_passed_outside_is_refused(
    kind: str, connected: bool, name: str, opened: contextlib.ExitStack
) -> None:
    if not connected and kind != "dgram":
        return
    receiver = server(opened, kind, name)
    source = (
        ("sock.connect(name)\n" if connected else "")
        + f"""
listener = socket.socket(socket.AF_UNIX)
listener.bind("")
listener.listen()
for each in listener, *socket.socketpair(type=socket.SOCK_DGRAM):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [each.fileno()]))]
    say(failing(sock.sendmsg, [b"x"], control, 0, *(() if {connected} else (name,))))
if not {connected}:
    sock.connect(name)
sock.send(b"goes on")
"""
    )
    with Inside(source, kind, name) as inside:
        sock = receiver if kind == "dgram" else accept(opened, receiver)
        assert [inside.hear() for _ in range(3)] == ["ENOSYS"] * 3
        assert sock.recv(100) == b"goes on"
        assert inside.process.wait(PATIENCE) == 0
        assert set(inside.errors().splitlines()) == {
            "afunix: not modelled: a virtual socket that isn't connected passed to a program outside"
        }
