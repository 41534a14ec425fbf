"""Socket objects: each test holds for the host's own sockets and for ours."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
import struct
import threading
import time
import warnings
from pathlib import Path

import pytest
from sides import Side, me


def test_stream(side: Side) -> None:
    """Bytes merge, parts are left for the next read, and the end is b''."""
    one, two = side.pair()
    with one, two:
        assert one.send(b"hello ") == 6
        one.sendall(memoryview(b"world"))
        assert two.recv(100) == b"hello world"
        one.sendall(bytearray(b"abc"))
        assert two.recv(2) == b"ab"
        buffer = bytearray(4)
        assert two.recv_into(buffer) == 1
        assert buffer == b"c\0\0\0"
        assert two.recv(0) == b""
        one.shutdown(side.socket.SHUT_WR)
        assert two.recv(10) == b""
        with pytest.raises(BrokenPipeError):
            one.send(b"x")


def test_connections_and_names(side: Side) -> None:
    """Paths are str, abstract names bytes, and no name is ''."""
    path = str(side.directory / "s")
    socket = side.socket
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        assert server.getsockname() == ""
        server.bind(path)
        server.listen()
        assert server.getsockname() == path
        client.connect(path)
        accepted, address = server.accept()
        with accepted:
            assert address == ""
            assert accepted.getsockname() == client.getpeername() == path
            client.sendall(b"x")
            assert accepted.recvfrom(10) == (b"x", None)
        with pytest.raises(OSError, match=r"[Tt]ransport") as error:
            server.getpeername()
        assert error.value.errno == errno.ENOTCONN
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two,
    ):
        one.bind("\0afunix-test")
        assert one.getsockname() == b"\0afunix-test"
        two.bind("")
        assert re.fullmatch(rb"\0[0-9a-f]{5}", two.getsockname())
        assert two.sendto(b"data", one.getsockname()) == 4
        assert one.recvfrom(2) == (b"da", two.getsockname())


@pytest.mark.parametrize("flags", [False, True])
def test_never_waiting(side: Side, flags: bool) -> None:
    """A non-blocking socket and MSG_DONTWAIT say BlockingIOError."""
    one, two = side.pair()
    with one, two:
        if not flags:
            one.setblocking(False)
            assert one.gettimeout() == 0.0
        with pytest.raises(BlockingIOError):
            one.recv(1, side.socket.MSG_DONTWAIT if flags else 0)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += one.send(b"x" * 1000, side.socket.MSG_DONTWAIT if flags else 0)
        assert sent == 93000


def test_time_outs(side: Side) -> None:
    """TimeoutError after the time, in receiving, accepting and sending; and not when it was in time."""
    one, two = side.pair()
    path = str(side.directory / "s")
    with one, two, side.socket.socket(side.socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        for sock in (one, two, server):
            sock.settimeout(0.05)
        start = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            one.recv(1)
        assert 0.04 < time.monotonic() - start < 5
        with pytest.raises(TimeoutError):
            server.accept()
        with pytest.raises(TimeoutError):
            one.sendall(bytes(1_000_000))
        threading.Timer(0.02, two.send, (b"now",)).start()
        one.settimeout(30)
        assert one.recv(10) == b"now"


def test_large_transfer_between_threads(side: Side) -> None:
    """sendall waits for the reader, and all arrives in order."""
    one, two = side.pair()
    data = os.urandom(3_000_000)
    with one, two:
        thread = threading.Thread(target=one.sendall, args=(data,))
        thread.start()
        got = b""
        while len(got) < len(data):
            got += two.recv(100_000)
        thread.join()
        assert got == data


@pytest.mark.parametrize("answered", [False, True])
def test_many_small_sends_between_threads(side: Side, answered: bool) -> None:
    """Whether the reader is let run after each or not, all arrive in order; an answer may come by another way."""
    one, two = side.pair()
    expected = b"".join(number.to_bytes(4, "little") for number in range(3000))
    got = bytearray()
    answer = threading.Semaphore(0)

    def read() -> None:
        while data := two.recv(4096):
            got.extend(data)
            answer.release()

    thread = threading.Thread(target=read)
    thread.start()
    with one:
        for start in range(0, len(expected), 4):
            one.sendall(expected[start : start + 4])
            if answered:
                answer.acquire()
    thread.join()
    two.close()
    assert got == expected


def test_close_wakes_and_makefile_keeps_open(side: Side) -> None:
    """A socket is closed with its last file; a reader in another thread then sees the end."""
    one, two = side.pair()
    with two:
        file = one.makefile("rw", encoding="ascii", newline="\n")
        one.close()
        assert one.fileno() != -1
        file.write("line\n")
        file.flush()
        assert two.makefile("rb").readline() == b"line\n"
        result: list[bytes] = []
        thread = threading.Thread(target=lambda: result.append(two.recv(10)))
        thread.start()
        time.sleep(0.05)
        file.close()
        thread.join(10)
        assert result == [b""]
        assert one.fileno() == -1
        with pytest.raises(OSError, match="Bad file descriptor"):
            one.send(b"x")


def test_duplicates_share_the_open_file(side: Side) -> None:
    """dup, fromfd and detach: data and O_NONBLOCK are shared, and the end comes with the last one."""
    one, two = side.pair()
    with two:
        twin = one.dup()
        third = side.socket.fromfd(one.fileno(), side.socket.AF_UNIX, side.socket.SOCK_STREAM)
        fourth = side.socket.socket(fileno=one.detach())
        assert one.fileno() == -1
        assert len({twin.fileno(), third.fileno(), fourth.fileno()}) == 3
        two.send(b"abcd")
        assert [sock.recv(1) for sock in (twin, third, fourth)] == [b"a", b"b", b"c"]
        assert not twin.get_inheritable()
        twin.set_inheritable(True)
        assert twin.get_inheritable()
        assert not third.get_inheritable()
        twin.setblocking(False)
        assert twin.recv(1) == b"d"
        with pytest.raises(BlockingIOError):
            third.recv(1)
        twin.close()
        third.close()
        two.setblocking(False)
        with pytest.raises(BlockingIOError):
            two.recv(1)
        fourth.close()
        assert two.recv(1) == b""


def test_what_it_is(side: Side) -> None:
    """family, type, proto, and the repr."""
    socket = side.socket
    one, two = side.pair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        assert (one.family, one.type, one.proto) == (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0)
        assert isinstance(one, socket.socket)
        assert repr(one) == f"<socket.socket fd={one.fileno()}, family=1, type=5, proto=0>"
        with pytest.raises(TypeError, match="cannot pickle"):
            one.__getstate__()
    assert repr(one) == "<socket.socket [closed] fd=-1, family=1, type=5, proto=0>"
    with socket.socket(socket.AF_INET) as inet:
        assert inet.family == socket.AF_INET
        assert isinstance(inet, socket.socket)


def test_garbage_warns_and_is_closed(side: Side) -> None:
    """A socket that is forgotten says so, and its peer sees the end."""
    one, two = side.pair()
    with two:
        with pytest.warns(ResourceWarning, match=r"unclosed <socket\.socket fd="):  # noqa: PT031 - del is one
            del one
            gc.collect()
        assert two.recv(1) == b""


def test_descriptors_of_the_host_and_of_sockets(side: Side, tmp_path: Path) -> None:
    """A passed file shares its offset, a passed socket its queue; both have new numbers."""
    one, two = side.pair()
    other, far = side.pair()
    name = tmp_path / "file"
    name.write_text("0123456789")
    with one, two, other, far, name.open("rb", buffering=0) as file:
        assert file.read(3) == b"012"
        assert side.socket.send_fds(one, [b"he", b"re"], [file.fileno(), far.fileno()]) == 4
        data, fds, flags, address = side.socket.recv_fds(two, 100, 5)
        assert (data, len(fds), flags & ~side.socket.MSG_CMSG_CLOEXEC, address) == (b"here", 2, 0, None)
        with open(fds[0], "rb", buffering=0) as passed:
            assert passed.fileno() != file.fileno()
            assert passed.read(3) == b"345"
        assert file.read(3) == b"678"
        with side.socket.socket(fileno=fds[1]) as received:
            other.send(b"through")
            assert received.recv(10) == b"through"


def test_descriptors_that_do_not_fit_are_closed(side: Side) -> None:
    """Two fit where there is room for two, the flag says so, and nothing stays open (SCM-3)."""
    one, two = side.pair()
    reading, writing = os.pipe()
    with one, two:
        control = struct.pack("3i", writing, writing, writing)
        one.sendmsg([b"x"], [(side.socket.SOL_SOCKET, side.socket.SCM_RIGHTS, control)])
        os.close(writing)
        _, ((_, _, raw),), flags, _ = two.recvmsg(10, side.socket.CMSG_LEN(8))
        assert flags & side.socket.MSG_CTRUNC
        for fd in struct.unpack("2i", raw):
            os.close(fd)
        assert os.read(reading, 1) == b"", "no copy of the writing end is left"
        os.close(reading)


def test_as_many_descriptors_as_are_asked_for(side: Side) -> None:
    """recv_fds takes so many and closes the rest; a bad number, or too many, send nothing and keep nothing open."""
    socket = side.socket
    one, two = side.pair()
    reading, writing = os.pipe()
    with one, two:
        for wanted in (0, 1, 2, 3):
            assert socket.send_fds(one, [b"x"], [writing] * 2) == 1
            data, fds, flags, _ = socket.recv_fds(two, 10, wanted)
            assert (data, len(fds)) == (b"x", min(wanted, 2))
            assert bool(flags & socket.MSG_CTRUNC) is (wanted < 2)
            for fd in fds:
                os.close(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            socket.send_fds(one, [b"x"], [writing, 99999])
        with pytest.raises(OSError, match="Invalid argument"):
            socket.send_fds(one, [b"x"], [writing] * 254)
        with pytest.raises(TypeError):
            socket.send_fds(one, [b"x"], ["no number"])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="buffer size"):
            socket.recv_fds(two, -1, 1)
        with pytest.raises(OverflowError):
            socket.recv_fds(two, 1, -1)
        two.setblocking(False)
        with pytest.raises(BlockingIOError):
            socket.recv_fds(two, 1, 1)
        assert socket.send_fds(one, [b"al", b"one"], []) == 5
        assert socket.recv_fds(two, 10, 1)[:2] == (b"alone", [])
        os.close(writing)
        assert os.read(reading, 1) == b"", "no copy of the writing end is left"
        os.close(reading)


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_descriptors_among_other_messages(side: Side, timeout: float | None) -> None:
    """A read ends with the descriptors, begins anywhere, and shows none of the credentials beside them."""
    socket = side.socket
    one, two = side.pair()
    with one, two:
        one.settimeout(timeout)
        two.settimeout(timeout)
        one.send(b"before")
        socket.send_fds(one, [b"with"], [0])
        one.send(b"after")
        assert two.recv(3) == b"bef"
        data, fds, _, _ = socket.recv_fds(two, 100, 1)
        assert (data, len(fds)) == (b"orewith", 1)
        os.close(fds[0])
        socket.send_fds(one, [b"again"], [0])
        one.send(b"end")
        data, fds, _, _ = socket.recv_fds(two, 100, 1)
        assert (data, len(fds)) == (b"afteragain", 1)
        os.close(fds[0])
        socket.send_fds(one, [b"again"], [0])
        assert two.recv(4) == b"enda", "which closes the descriptor"
        assert socket.recv_fds(two, 100, 1)[:2] == (b"gain", [])
        two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        socket.send_fds(one, [b"x"], [0])
        data, fds, flags, _ = socket.recv_fds(two, 1, 1)
        assert (data, fds) == (b"x", [])
        assert flags & socket.MSG_CTRUNC, "the credentials took the room"
        two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        socket.send_fds(one, [b"y"], [0])
        assert two.recvmsg(1, 0, socket.MSG_PEEK)[0] == b"y"
        _, fds, _, _ = socket.recv_fds(two, 1, 1)
        os.close(fds[0])


def test_messages(side: Side) -> None:
    """sendmsg gathers, recvmsg_into scatters, records keep their borders and are cut (DATA-8)."""
    socket = side.socket
    one, two = side.pair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        assert one.sendmsg([b"ab", bytearray(b"cd")]) == 4
        buffers = [bytearray(1), bytearray(2)]
        count, control, flags, _ = two.recvmsg_into(buffers)
        assert (count, control, flags & socket.MSG_TRUNC) == (3, [], socket.MSG_TRUNC)
        assert buffers == [b"a", b"bc"]
        with pytest.raises(OSError, match="Bad file descriptor"):
            one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 99999))])
        with pytest.raises(TypeError):
            one.sendmsg([b"x"], [(socket.SOL_SOCKET,)])  # type: ignore[list-item]


def test_options(side: Side) -> None:
    """As ints and as bytes."""
    socket = side.socket
    one, two = side.pair()
    with one, two:
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10000)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 20000
        pid, uid, gid = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert (pid, uid, gid) == me()
        with pytest.raises(OSError, match="Protocol not available"):
            one.getsockopt(socket.SOL_SOCKET, 9999)


@pytest.mark.parametrize(
    ("address", "error"),
    [("x" * 108, "AF_UNIX path too long"), ("\0" + "x" * 108, "too long"), ("/nowhere/at/all", "No such file")],
)
def test_bad_addresses(side: Side, address: str, error: str) -> None:
    """Too long, and not there."""
    with side.socket.socket(side.socket.AF_UNIX) as sock, pytest.raises(OSError, match=error):
        sock.connect(address)


def test_sendfile(side: Side, tmp_path: Path) -> None:
    """A file is sent from an offset on, and its position follows."""
    one, two = side.pair()
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with one, two, path.open("rb") as file:
        assert one.sendfile(file, 2, 5) == 5
        assert two.recv(100) == b"23456"
        assert file.tell() == 7


def test_no_resource_warning_for_the_closed(side: Side) -> None:
    """Closing is enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, two = side.pair()
        one.close()
        two.close()
        del one, two
        gc.collect()


def test_methods_that_others_derive(side: Side) -> None:
    """As in the standard library, none of them goes by way of another one that a class overrides."""

    class Own(side.socket.socket):  # type: ignore[misc, name-defined]
        def send(self, *_: object) -> int:
            raise AssertionError

        recv = recvfrom = sendto = send

    one, two = side.pair()
    with Own(fileno=one.detach()) as mine, two:
        mine.sendall(b"abc")
        mine.sendmsg([b"def"])
        assert two.recv(10) == b"abcdef"
        two.send(b"ghi")
        buffer = bytearray(2)
        assert mine.recv_into(buffer) == 2
        assert mine.recvfrom_into(buffer)[0] == 1
        assert bytes(buffer) == b"ih"
