"""Virtual sockets that are passed to programs outside."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket

import pytest
from outside import CONNECTED, Inside, accept, server
from supervised import PATIENCE, wait_until

PASS = """
sock.connect(name)

def give(*given, data=b"given"):
    rights = array.array("i", [one.fileno() for one in given])
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

one, two = socket.socketpair(socket.AF_UNIX, kind)
"""


def taken(opened: contextlib.ExitStack, sock: socket.socket) -> list[socket.socket]:
    """The sockets that come with the next message."""
    data, control, _, _ = sock.recvmsg(100, socket.CMSG_SPACE(40))
    assert data == b"given"
    fds = array.array("i")
    for _, _, content in control:
        fds.frombytes(content)
    came = [opened.enter_context(socket.socket(fileno=fd)) for fd in fds]
    for each in came:
        assert each.family == socket.AF_UNIX
        each.settimeout(PATIENCE)
    return came


@pytest.mark.parametrize("kind", CONNECTED)
def test_conversation(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """It is passed on and closed inside, as a server does with it; what was queued before goes along."""
    listener = server(opened, kind, name)
    source = (
        PASS
        + """
two.send(b"before")
give(one)
one.close()
say(two.recv(100).decode())
two.send(b"answer")
say(two.recv(100) == b"")
two.close()
"""
    )
    with Inside(source, kind, name) as inside:
        (came,) = taken(opened, accept(opened, listener))
        assert came.type == {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET}[kind]
        assert came.recv(100) == b"before"
        came.send(b"question")
        assert inside.hear() == "question"
        assert came.recv(100) == b"answer"
        came.shutdown(socket.SHUT_WR)
        assert inside.hear() == "True"
        assert came.recv(100) == b""
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_close_outside_is_seen(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = (
        PASS
        + """
give(one)
one.close()
poll = select.poll()
poll.register(two, select.POLLIN | select.POLLRDHUP)
say(poll.poll(10_000)[0][1] & select.POLLHUP != 0)
say(two.recv(100) == b"", failing(two.send, b"x"))
"""
    )
    with Inside(source, kind, name) as inside:
        (came,) = taken(opened, accept(opened, listener))
        came.close()
        assert inside.hear() == "True"
        assert inside.hear() == "True EPIPE"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_both_ends(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """Two programs outside talk through what a program inside made, in large amounts, and with descriptors."""
    listener = server(opened, kind, name)
    with Inside(PASS + "give(one, two)\none.close()\ntwo.close()\nhear()\n", kind, name) as inside:
        one, two = taken(opened, accept(opened, listener))
        reader, writer = os.pipe()
        socket.send_fds(one, [b"a pipe"], [writer])
        os.close(writer)
        data, fds, _, _ = socket.recv_fds(two, 100, 5)
        assert data == b"a pipe"
        os.write(fds[0], b"through it")
        os.close(fds[0])
        assert os.read(reader, 100) == b"through it"
        assert os.read(reader, 100) == b""
        os.close(reader)
        sent = received = 0
        one.setblocking(False)
        while received < 1_000_000:
            with contextlib.suppress(BlockingIOError):
                if sent < 1_000_000:
                    sent += one.send(bytes(1000))
            if select.select([two], [], [], 0)[0]:
                received += len(two.recv(1000))
        one.close()
        assert two.recv(100) == b""
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_still_held_inside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """As with one kernel's socket, both who hold it can send, and it lives until both have closed it."""
    listener = server(opened, kind, name)
    source = (
        PASS
        + """
give(one)
one.send(b"from inside")
say(two.recv(100).decode())
say(two.recv(100).decode())
hear()
two.send(b"back in")
say(one.recv(100).decode())
one.close()
say(two.recv(100) == b"")
"""
    )
    with Inside(source, kind, name) as inside:
        (came,) = taken(opened, accept(opened, listener))
        assert inside.hear() == "from inside"
        came.send(b"from outside")
        assert inside.hear() == "from outside"
        came.close()
        inside.say()
        assert inside.hear() == "back in"
        assert inside.hear() == "True"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_what_was_sent_before_the_close_comes(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """More than all the queues on the way take, while a program inside holds the socket as well, and is sent to."""
    listener = server(opened, kind, name)
    source = (
        PASS
        + """
give(one)
hear()
two.send(b"too late for outside")
total = 0
for _ in range(int(hear())):
    total += len(two.recv(1000, socket.MSG_WAITALL))
say(total)
say(one.recv(100).decode())
"""
    )
    with Inside(source, kind, name) as inside:
        (came,) = taken(opened, accept(opened, listener))
        came.setblocking(False)
        sent = 0
        while select.select([], [came], [], 0.5)[1]:
            with contextlib.suppress(BlockingIOError):
                assert came.send(bytes(1000)) == 1000
                sent += 1
        assert sent > 100
        came.close()
        inside.say()
        inside.say(str(sent))
        assert inside.hear() == str(1000 * sent)
        assert inside.hear() == "too late for outside"
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_connection_to_outside(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    """A connection that itself leads outside, passed to a third program there: what inetd's kin do."""
    listener = server(opened, kind, name)
    source = (
        PASS
        + """
other = socket.socket(socket.AF_UNIX, kind)
other.connect(name)
other.send(b"hello")
give(other)
other.close()
hear()
"""
    )
    with Inside(source, kind, name) as inside:
        first = accept(opened, listener)
        second = accept(opened, listener)
        assert second.recv(100) == b"hello"
        (came,) = taken(opened, first)
        came.send(b"by way of inside")
        assert second.recv(100) == b"by way of inside"
        second.send(b"and back")
        assert came.recv(100) == b"and back"
        second.close()
        assert came.recv(100) == b""
        inside.end()


@pytest.mark.parametrize("kind", CONNECTED)
def test_nothing_is_left(kind: str, name: str, opened: contextlib.ExitStack) -> None:
    listener = server(opened, kind, name)
    source = (
        PASS
        + """
for _ in range(200):
    give(one)
    one.close()
    two.close()
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    hear()
say("done")
hear()
"""
    )
    with Inside(source, kind, name) as inside:
        sock = accept(opened, listener)
        before = 0
        for number in range(200):
            (came,) = taken(opened, sock)
            came.close()
            if number == 10:
                before = inside.descriptors()
            inside.say()
        assert inside.hear() == "done"
        wait_until(lambda: inside.descriptors() <= before + 4, "descriptors are left")
        inside.end()
