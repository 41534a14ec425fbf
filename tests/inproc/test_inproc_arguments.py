"""Arguments of every kind that Python takes or refuses: the same answer on the host's sockets and on ours."""

from __future__ import annotations

import array
import select
import socket
from typing import Any

import pytest

from afunix import select as our_select
from afunix import socket as our_socket

KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)


class Whole:
    """An integer that is no int, as numpy's are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Odd:
    """Has a fileno, and is no socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.fileno = sock.fileno


def answer(code: str, **names: Any) -> Any:
    """What an expression comes to; of an error its class and number."""
    try:
        return eval(code, {"array": array.array, "Whole": Whole, "socket": socket, **names})
    except OSError as error:
        return type(error), error.errno
    except (TypeError, ValueError, OverflowError, KeyError, BufferError) as error:
        return type(error)


SIZES = ("0", "2", "9", "-1", "True", "Whole(3)", "Whole(0)", "Whole(-1)", "1.5", "None", "'5'")
FLAGS = ("Whole(2)", "None", "1.0", "1 << 31", "-1 << 40", "True", "socket.MSG_WAITALL")
BUFFERS = (
    "bytearray()", "bytearray(2)", "bytearray(20)", "b'fixed'", "'text'", "3", "None", "array('i', [1, 2])",
    "array('i')", "memoryview(bytearray(10))[::2]", "memoryview(bytearray(10))[5:5:2]",
    "memoryview(bytearray(12)).cast('i')[1:]", "memoryview(bytearray(12)).cast('B', [3, 4])",
)  # fmt: skip
RECEIVED = (
    *(f"sock.{how}({size})" for how in ("recv", "recvfrom", "recvmsg") for size in SIZES),
    *(f"sock.{how}(5, {flags})" for how in ("recv", "recvfrom") for flags in FLAGS),
    *(f"sock.recvmsg(5, {size})" for size in (*SIZES, "1 << 31")),
    *(f"sock.recvmsg(5, 0, {flags})" for flags in FLAGS),
    *(f"sock.{how}({buffer})" for how in ("recv_into", "recvfrom_into") for buffer in BUFFERS),
    *(f"sock.{how}(bytearray(5), {size})" for how in ("recv_into", "recvfrom_into") for size in SIZES),
    *(f"sock.{how}(bytearray(2), 0, socket.MSG_TRUNC)" for how in ("recv_into", "recvfrom_into")),
    *(f"len(sock.recv({size}, socket.MSG_TRUNC | socket.MSG_PEEK))" for size in (0, 1, 5)),
    *(f"len(sock.recvfrom({size}, socket.MSG_TRUNC | socket.MSG_PEEK)[0])" for size in (0, 1, 5)),
    *(f"sock.recvmsg_into([bytearray(1), {buffer}])" for buffer in BUFFERS),
    *(f"sock.recvmsg_into([bytearray(5)], {size})" for size in SIZES),
    "sock.recvmsg_into([])",
    "sock.recvmsg_into(3)",
    "sock.recvmsg_into([bytearray(1)] * 1025)",
)
SENT = (
    *(f"sock.{how}({buffer})" for how in ("send", "sendall") for buffer in BUFFERS),
    *(f"sock.{how}(b'data', {flags})" for how in ("send", "sendall", "sendmsg") for flags in FLAGS[:5]),
    *(f"sock.sendto(b'data', {flags}, '/nobody')" for flags in FLAGS[:5]),
    *(f"sock.sendmsg([{buffer}, b'.'])" for buffer in BUFFERS),
    *(f"sock.sendmsg([b'data'], {items})" for items in ("()", "[]", "{}", "iter(())", "None", "3", "[1]", "[(1, 2)]")),
    "sock.sendmsg([b'data'], [], None)",
    "sock.sendmsg([b'data'], [], 0, None)",
    "sock.sendmsg([b'data'], [], 0, 3)",
    "sock.sendmsg([b'.'] * 1025)",
    "sock.sendmsg([b''] * 1025)",
    "sock.sendmsg([])",
    "sock.sendto(b'data')",
    "sock.sendto(b'data', 3)",
    "sock.sendto(b'data', None)",
    "sock.sendto(b'', '/nobody')",
)
TIMEOUTS = (
    "1 / 3", "1e-9", "1e-10", "-1e-12", "-0.0", "True", "Whole(4)", "1e8 + 1 / 3", "1e10", "1 << 70", "'x'", "-1",
    "float('nan')", "float('inf')", "-float('inf')",
)  # fmt: skip


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_data(kind: socket.SocketKind, timeout: float | None) -> None:
    """The answer, and what is there to read after it at both ends."""
    for code in RECEIVED + SENT:
        answers = []
        for module in (socket, our_socket):
            sock, other = module.socketpair(socket.AF_UNIX, kind)
            with sock, other:
                other.send(b"what is sent")
                sock.settimeout(timeout)
                said = answer(code, sock=sock)
                sock.setblocking(False)
                left = [answer("end.recv(100, socket.MSG_DONTWAIT)", end=end) for end in (sock, other)]
                answers.append((said, left))
        assert answers[0] == answers[1], code


@pytest.mark.parametrize("code", [f"sock.settimeout({timeout}) or sock.gettimeout()" for timeout in TIMEOUTS])
def test_time_outs(code: str) -> None:
    """Python's clock has whole nanoseconds."""
    answers = []
    for module in (socket, our_socket):
        with module.socket(socket.AF_UNIX) as sock:
            answers.append(answer(code, sock=sock))
    assert answers[0] == answers[1]


CLOSED = (
    "sock.recv(0)", "sock.recv(1)", "sock.recv(-1)", "sock.recvfrom(0)", "sock.recvfrom(-1)", "sock.recvmsg(-1)",
    "sock.recvmsg(1, -1)", "sock.recv_into(bytearray())", "sock.recv_into(bytearray(1))",
    "sock.recv_into(bytearray(1), 2)", "sock.recvfrom_into(bytearray())", "sock.recvmsg_into([b''])",
    "sock.recvmsg_into([])", "sock.send(b'')", "sock.sendall(b'')", "sock.sendmsg([])", "sock.sendto(b'', 'x')",
)  # fmt: skip


@pytest.mark.parametrize("code", CLOSED)
def test_closed(code: str) -> None:
    """EBADF, but where Python finds something wrong, or nothing to do, before it makes the call."""
    answers = []
    for module in (socket, our_socket):
        sock = module.socket(socket.AF_UNIX)
        sock.close()
        answers.append(answer(code, sock=sock))
    assert answers[0] == answers[1]


SELECTS = (
    *(f"[one], [], [], {timeout}" for timeout in (*TIMEOUTS, "None", "0", "1j")),
    *(f"[two], [], [], {timeout}" for timeout in ("0", "1e-9", "-1e-12", "float('nan')", "float('inf')", "'x'")),
    *(f"{sources}, [], [], 0" for sources in ("iter([one])", "(one,)", "{one}", "{one: 1}", "one", "None", "[None]")),
    *(f"[one, {source}], [], [], 0" for source in ("one", "one.fileno()", "odd", "closed", "-1", "1.5", "'x'")),
    "[one, two], [two, one], [one], None",
    "[two], [], [closed], 0",
    "[], [], [], 0",
)  # fmt: skip


@pytest.mark.parametrize("code", SELECTS)
def test_select(code: str) -> None:
    """Of two sockets the first can be read."""
    answers = []
    for module, selecting in ((socket, select), (our_socket, our_select)):
        one, two = module.socketpair()
        closed = module.socket()
        closed.close()
        with one, two:
            two.send(b"data")
            names = {"one": one, "two": two, "closed": closed, "odd": Odd(one)}
            called = {value: name for name, value in names.items()} | {one.fileno(): "number"}
            said = answer(f"select({code})", select=selecting.select, **names)
            answers.append([[called[source] for source in found] for found in said] if type(said) is tuple else said)
    assert answers[0] == answers[1]


POLLS = (
    *(f"poll.register(one, {events})" for events in ("-1", "1 << 16", "65535", "1.0", "None", "Whole(1)", "True")),
    *(f"poll.register(one) or poll.modify(one, {events})" for events in ("-1", "1 << 16", "1.0", "4", "0")),
    *(f"poll.register(one) or poll.poll({timeout})" for timeout in (*TIMEOUTS, "None", "1 << 40")),
    "poll.modify(one, 1)",
    "poll.modify(one, -1)",
    "poll.register(-1)",
    "poll.register('x')",
)


@pytest.mark.parametrize("code", POLLS)
def test_poll(code: str) -> None:
    """Also what it says when it is asked after that."""
    answers = []
    for module, selecting in ((socket, select), (our_socket, our_select)):
        one, two = module.socketpair()
        with one, two:
            two.send(b"data")
            poll = selecting.poll()
            answers.append([_masks(answer(code, poll=poll, one=one)), _masks(poll.poll(0))])
    assert answers[0] == answers[1]


def _masks(said: Any) -> Any:
    return [mask for _, mask in said] if isinstance(said, list) else said
