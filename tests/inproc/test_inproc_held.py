"""A call in progress holds the open file description: who closes the descriptor meanwhile does not end it."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sides import Side, each_byte_is_read_once

import afunix


class Running:
    """A call that another thread makes, and which is asleep in it once this is made."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        asleep = 0
        while asleep < 5:
            time.sleep(0.01)
            state = Path(f"/proc/self/task/{self._thread.native_id}/stat").read_text().rpartition(")")[2].split()[0]
            asleep = asleep + 1 if state == "S" else 0

    def _run(self) -> None:
        try:
            self._outcome.append(self._call())
        except Exception as error:
            self._outcome.append(error)

    @property
    def going_on(self) -> bool:
        self._thread.join(0.05)
        return self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive(), "the call does not end"
        if isinstance(self._outcome[0], Exception):
            raise self._outcome[0]
        return self._outcome[0]


def unread(sock: Any) -> bool:
    """Whether a read would wait."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return True
    finally:
        sock.setblocking(True)
    return False


RECEIVE: dict[str, Callable[[Any], bytes]] = {
    "recv": lambda sock: bytes(sock.recv(100)),
    "recv_into": lambda sock: b"data"[: sock.recv_into(bytearray(100))],
    "recvmsg": lambda sock: bytes(sock.recvmsg(100, 100)[0]),
    "recvfrom": lambda sock: bytes(sock.recvfrom(100)[0]),
}


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_SEQPACKET", "SOCK_DGRAM"])
@pytest.mark.parametrize("how", ["recv", "recv_into", "recvmsg", "recvfrom"])
def test_receiving(side: Side, how: str, kind: str) -> None:
    """Data that come after the close are received; only then does the peer see the end."""
    one, two = side.pair(side.socket.AF_UNIX, getattr(side.socket, kind))
    call = Running(lambda: RECEIVE[how](one))
    one.close()
    assert call.going_on
    if kind != "SOCK_DGRAM":
        assert unread(two)
    assert two.send(b"data") == 4
    assert call.result() == b"data"
    if kind == "SOCK_STREAM":
        assert two.recv(1) == b""
    with pytest.raises(ConnectionError):
        two.send(b"x")
    two.close()


def test_end_of_file(side: Side) -> None:
    """The peer's close ends it, too."""
    one, two = side.pair()
    call = Running(lambda: one.recv(100))
    one.close()
    assert call.going_on
    two.close()
    assert call.result() == b""


def test_received_in_parts(side: Side) -> None:
    """MSG_WAITALL goes on to the last byte."""
    one, two = side.pair()
    call = Running(lambda: one.recv(6, side.socket.MSG_WAITALL))
    one.close()
    two.send(b"abc")
    assert call.going_on
    two.send(b"def")
    assert call.result() == b"abcdef"
    assert two.recv(1) == b""
    two.close()


def test_number_used_again(side: Side) -> None:
    """A new socket under the same number is none of its business."""
    one, two = side.pair()
    number = one.fileno()
    call = Running(lambda: one.recv(100))
    one.close()
    new = side.socket.socket(side.socket.AF_UNIX)
    assert new.fileno() == number
    two.send(b"data")
    assert call.result() == b"data"
    new.close()
    two.close()


def test_several_readers(side: Side) -> None:
    """The last one to return is the end of it."""
    one, two = side.pair()
    calls = [Running(lambda: one.recv(100)) for _ in range(3)]
    one.close()
    for _ in range(2):
        two.send(b"data")
        deadline = time.monotonic() + 30
        while all(call.going_on for call in calls):
            assert time.monotonic() < deadline
        calls.remove(next(call for call in calls if not call.going_on))
        assert unread(two)
    two.send(b"data")
    assert calls[0].result() == b"data"
    assert two.recv(1) == b""
    two.close()


def test_accepting(side: Side) -> None:
    """One more connection is accepted; after that nobody listens."""
    listener = side.socket.socket(side.socket.AF_UNIX)
    path = str(side.directory / "s")
    listener.bind(path)
    listener.listen()
    call = Running(listener.accept)
    listener.close()
    assert call.going_on
    client, refused = (side.socket.socket(side.socket.AF_UNIX) for _ in range(2))
    client.connect(path)
    accepted, _ = call.result()
    with pytest.raises(ConnectionRefusedError):
        refused.connect(path)
    client.send(b"x")
    assert accepted.recv(1) == b"x"
    for sock in (client, refused, accepted):
        sock.close()


def test_connecting(side: Side) -> None:
    """A connect that waits for room in the queue gets in; the connection ends with the call."""
    listener, first, second = (side.socket.socket(side.socket.AF_UNIX) for _ in range(3))
    path = str(side.directory / "s")
    listener.bind(path)
    listener.listen(0)
    first.connect(path)
    call = Running(lambda: second.connect(path))
    second.close()
    assert call.going_on
    one = listener.accept()[0]
    call.result()
    two = listener.accept()[0]
    assert two.recv(1) == b""
    for sock in (listener, first, one, two):
        sock.close()


def test_sending(side: Side) -> None:
    """All of it arrives."""
    one, two = side.pair()
    data = bytes(5_000_000)
    call = Running(lambda: one.send(data))
    one.close()
    assert call.going_on
    got = 0
    while part := two.recv(1 << 20):
        got += len(part)
    assert call.result() == got == len(data)
    two.close()


@pytest.mark.parametrize("data", [True, False])
def test_with_a_time_out(side: Side, data: bool) -> None:
    """A socket with a time-out polls, and finds after that that its descriptor is gone."""
    one, two = side.pair()
    one.settimeout(0.5)
    call = Running(lambda: one.recv(100))
    one.close()
    if data:
        two.send(b"data")
    with pytest.raises(OSError, match="Bad file descriptor"):
        call.result()
    two.close()


@pytest.mark.parametrize("how", ["recv", "recvmsg", "recvfrom"])
def test_pending_error_with_a_time_out(side: Side, how: str) -> None:
    """It is told once, as it is without."""
    one, two = side.pair()
    two.settimeout(30)
    two.send(b"unread")
    one.close()
    with pytest.raises(ConnectionResetError):
        RECEIVE[how](two)
    assert RECEIVE[how](two) == b""
    two.close()


def test_another_descriptor_has_the_data(side: Side) -> None:
    """What came for a read that found its descriptor gone is there for who has another one, and in its order."""
    one, two = side.pair()
    other = one.dup()
    one.settimeout(30)
    call = Running(lambda: one.recv(100))
    one.close()
    two.send(b"first")
    with pytest.raises(OSError, match="Bad file descriptor"):
        call.result()
    two.send(b", second")
    assert other.recv(100) == b"first, second"
    two.close()
    assert other.recv(100) == b""
    other.close()


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_least_to_receive(side: Side, timeout: float | None) -> None:
    """SO_RCVLOWAT as it is when the read begins; to poll one byte is enough, and so for a socket with a time-out."""
    one, two = side.pair()
    one.settimeout(timeout)
    one.setsockopt(side.socket.SOL_SOCKET, side.socket.SO_RCVLOWAT, 3)
    call = Running(lambda: one.recv(100))
    two.send(b"ab")
    if timeout is None:
        assert call.going_on
        two.send(b"cd")
    assert call.result() == (b"abcd" if timeout is None else b"ab")
    one.close()
    two.close()


def test_many_readers_with_a_time_out(side: Side) -> None:
    """All are woken, and each byte goes to one of them."""
    one, two = side.pair()
    two.settimeout(30)
    each_byte_is_read_once(one, two, 4, 1000, one.close)
    two.close()


def test_by_number(tmp_path: Path) -> None:
    """os.read and os.write by number, natively and under a patch."""

    def play() -> list[Any]:
        one, two = socket.socketpair()
        number = one.fileno()
        call = Running(lambda: os.read(number, 100))
        os.close(one.detach())
        told = [call.going_on, os.write(two.fileno(), b"data"), call.result(), os.read(two.fileno(), 1)]
        two.close()
        return told

    native = play()
    assert native == [True, 4, b"data", b""]
    with afunix.patch():
        assert play() == native


def test_files_other_than_sockets(kernel: afunix.Kernel) -> None:
    """Simulated processes: a pipe's end, also where the whole process ends meanwhile."""
    with kernel.process() as process:
        reading, writing = process.syscalls.pipe()
        child = process.fork()
        call = Running(lambda: child.syscalls.read(reading, 10))
        process.syscalls.close(reading)
        child.exit()
        assert process.syscalls.write(writing, b"data") == 4
        assert call.result() == b"data"
        with pytest.raises(BrokenPipeError):
            process.syscalls.write(writing, b"x")


@pytest.mark.parametrize("events", [True, False])
def test_polling(side: Side, events: bool) -> None:
    """poll sleeps on; woken by the file it finds that the number means nothing any more."""
    one, two = side.pair()
    number = one.fileno()
    poll = side.select.poll()
    poll.register(number, select.POLLIN)
    call = Running(lambda: poll.poll(1000))
    one.close()
    assert call.going_on
    if events:
        two.send(b"x")
    assert call.result() == [(number, select.POLLNVAL)]
    two.close()


def test_selecting(side: Side) -> None:
    """As poll, and what is no longer open counts as ready."""
    one, two = side.pair()
    number = one.fileno()
    call = Running(lambda: side.select.select([number], [], [number], 10))
    one.close()
    assert call.going_on
    two.send(b"x")
    assert call.result() == ([number], [], [number])
    two.close()


def test_epoll_of_a_file_in_use(side: Side) -> None:
    """epoll watches the file, which a reader holds after its number is gone."""
    one, two = side.pair()
    number = one.fileno()
    with side.select.epoll() as epoll:
        epoll.register(number, select.EPOLLOUT)
        call = Running(lambda: one.recv(100))
        one.close()
        assert epoll.poll(30) == [(number, select.EPOLLOUT)]
        two.send(b"data")
        assert call.result() == b"data"
        assert epoll.poll(0) == []
    two.close()


def test_closing_an_epoll(side: Side) -> None:
    """An epoll_wait goes on as well."""
    one, two = side.pair()
    epoll = side.select.epoll()
    epoll.register(one, select.EPOLLIN)
    call = Running(lambda: epoll.poll(30))
    epoll.close()
    assert call.going_on
    two.send(b"x")
    assert call.result() == [(one.fileno(), select.EPOLLIN)]
    with pytest.raises(ValueError, match="closed epoll"):
        epoll.poll(0)
    one.close()
    two.close()


@pytest.mark.parametrize("timeout", [0.0, 30.0])
@pytest.mark.parametrize("how", ["recv all", "send", "accept"])
def test_only_the_open_file_says_whether_to_wait(side: Side, how: str, timeout: float) -> None:
    """O_NONBLOCK is all descriptors': cleared through one, calls wait through the other, whatever its time-out is."""
    if how == "accept":
        one, two = (side.socket.socket(side.socket.AF_UNIX) for _ in range(2))
        one.bind(str(side.directory / "s"))
        one.listen()
    else:
        one, two = side.pair()
    other = one.dup()
    one.settimeout(timeout)
    other.settimeout(None)
    if how == "recv all":
        two.send(b"ab")
        call = Running(lambda: one.recv(4, side.socket.MSG_WAITALL))
        assert call.going_on
        two.send(b"cd")
        assert call.result() == b"abcd"
    elif how == "send":
        call = Running(lambda: one.send(bytearray(1_000_000)))
        assert call.going_on
        assert two.recv(1_000_000, side.socket.MSG_WAITALL) == bytes(1_000_000)
        assert call.result() == 1_000_000
    else:
        accepting = Running(one.accept)
        assert accepting.going_on
        two.connect(str(side.directory / "s"))
        accepting.result()[0].close()
    for sock in (one, two, other):
        sock.close()


def test_polling_in_two_threads(side: Side) -> None:
    """With one object that is refused, and the one that polls goes on."""
    one, two = side.pair()
    poll = side.select.poll()
    poll.register(one, select.POLLIN)
    call = Running(lambda: poll.poll(30_000))
    with pytest.raises(RuntimeError, match="concurrent"):
        poll.poll(0)
    poll.register(two, 0)
    two.send(b"x")
    assert call.result() == [(one.fileno(), select.POLLIN)]
    assert poll.poll(0) == [(one.fileno(), select.POLLIN)]
    one.close()
    two.close()
