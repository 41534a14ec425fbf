"""Exceptions and reprs: what the standard module says to right and wrong use, ours says too, word for word."""

from __future__ import annotations

import array
import io
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import afunix
from afunix import socket as our_socket

SEQ = "SOCK_SEQPACKET"

CALLS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    # s: the module, a and b: a connected pair, n: a new socket
    "repr": lambda s, a, b, n: [re.sub(r"fd=\d+", "fd=N", repr(x)) for x in (a, n, s.socket, type(a))],
    "repr closed": lambda s, a, b, n: (a.close(), repr(a)),
    "repr detached": lambda s, a, b, n: (s.socket(fileno=a.detach()).close(), repr(a)),
    "str": lambda s, a, b, n: [str(a.family), str(a.type), a.proto, a.timeout, a.fileno() >= 0],
    "pickle": lambda s, a, b, n: pickle.dumps(a),
    "family": lambda s, a, b, n: s.socket(s.AF_UNIX, 99),
    "protocol": lambda s, a, b, n: s.socket(s.AF_UNIX, s.SOCK_STREAM, 99),
    "raw": lambda s, a, b, n: s.socket(s.AF_UNIX, s.SOCK_RAW).close(),
    "type string": lambda s, a, b, n: s.socket(s.AF_UNIX, "x"),
    "family string": lambda s, a, b, n: s.socket("x"),
    "bad fileno": lambda s, a, b, n: s.socket(fileno=-1),
    "bad fileno 2": lambda s, a, b, n: s.socket(s.AF_UNIX, s.SOCK_STREAM, 0, -7),
    "float fileno": lambda s, a, b, n: s.socket(fileno=1.5),
    "pair type": lambda s, a, b, n: s.socketpair(s.AF_UNIX, 77),
    "pair keyword": lambda s, a, b, n: s.socketpair(bogus=1),
    "connect int": lambda s, a, b, n: n.connect(5),
    "connect tuple": lambda s, a, b, n: n.connect(("localhost", 80)),
    "connect none": lambda s, a, b, n: n.connect(None),
    "connect nothing": lambda s, a, b, n: n.connect(),
    "connect two": lambda s, a, b, n: n.connect("a", "b"),
    "connect empty": lambda s, a, b, n: n.connect(""),
    "connect missing": lambda s, a, b, n: n.connect("/nowhere/at/all"),
    "connect abstract": lambda s, a, b, n: n.connect("\0nobody at all"),
    "connect surrogate": lambda s, a, b, n: n.connect("/nowhere/\udcff"),
    "connect bad surrogate": lambda s, a, b, n: n.connect("/nowhere/\ud800"),
    "connect long": lambda s, a, b, n: n.connect("/" + "x" * 200),
    "connect connected": lambda s, a, b, n: a.connect("\0nobody at all"),
    "connect_ex": lambda s, a, b, n: n.connect_ex("/nowhere/at/all"),
    "connect_ex int": lambda s, a, b, n: n.connect_ex(5),
    "connect_ex long": lambda s, a, b, n: n.connect_ex("/" + "x" * 200),
    "bind int": lambda s, a, b, n: n.bind(5),
    "bind array": lambda s, a, b, n: n.bind(array.array("b", b"\0array of bytes")),
    "bind twice": lambda s, a, b, n: (n.bind("\0once or twice"), n.bind("\0once or twice")),
    "bind connected": lambda s, a, b, n: a.bind("\0connected"),
    "autobind": lambda s, a, b, n: (n.bind(""), len(n.getsockname())),
    "listen unbound": lambda s, a, b, n: n.listen(),
    "listen string": lambda s, a, b, n: n.listen("x"),
    "listen huge": lambda s, a, b, n: n.listen(1 << 40),
    "accept unbound": lambda s, a, b, n: n.accept(),
    "accept connected": lambda s, a, b, n: a.accept(),
    "getpeername": lambda s, a, b, n: n.getpeername(),
    "getsockname": lambda s, a, b, n: [n.getsockname(), a.getsockname(), a.getpeername()],
    "shutdown": lambda s, a, b, n: a.shutdown(3),
    "shutdown float": lambda s, a, b, n: a.shutdown(1.0),
    "shutdown unconnected": lambda s, a, b, n: n.shutdown(0),
    "recv negative": lambda s, a, b, n: a.recv(-1),
    "recv float": lambda s, a, b, n: a.recv(1.0),
    "recv nothing": lambda s, a, b, n: a.recv(),
    "recv unconnected": lambda s, a, b, n: n.recv(1),
    "recv zero": lambda s, a, b, n: (b.send(b"x"), a.recv(0)),
    "recv flags": lambda s, a, b, n: a.recv(1, "x"),
    "recv keyword": lambda s, a, b, n: a.recv(bufsize=1),
    "recv nonblocking": lambda s, a, b, n: (a.setblocking(False), a.recv(1)),
    "recv timeout": lambda s, a, b, n: (a.settimeout(0.01), a.recv(1)),
    "recv_into readonly": lambda s, a, b, n: a.recv_into(b"abc"),
    "recv_into short": lambda s, a, b, n: a.recv_into(bytearray(2), 3),
    "recv_into negative": lambda s, a, b, n: a.recv_into(bytearray(2), -1),
    "recv_into int": lambda s, a, b, n: a.recv_into(5),
    "recv_into array": lambda s, a, b, n: (b.send(b"12345678"), (x := array.array("i", [0, 0])), a.recv_into(x), x),
    "recvfrom negative": lambda s, a, b, n: a.recvfrom(-1),
    "recvfrom": lambda s, a, b, n: (b.send(b"x"), a.recvfrom(1)),
    "recvfrom_into short": lambda s, a, b, n: a.recvfrom_into(bytearray(2), 3),
    "recvfrom_into negative": lambda s, a, b, n: a.recvfrom_into(bytearray(2), -3),
    "recvmsg negative": lambda s, a, b, n: a.recvmsg(-1),
    "recvmsg ancillary": lambda s, a, b, n: a.recvmsg(1, -1),
    "recvmsg huge ancillary": lambda s, a, b, n: a.recvmsg(1, 1 << 40),
    "recvmsg some ancillary": lambda s, a, b, n: (b.send(b"x"), a.recvmsg(1, 1 << 20)),
    "recvmsg_into int": lambda s, a, b, n: a.recvmsg_into(5),
    "recvmsg_into ints": lambda s, a, b, n: a.recvmsg_into([5]),
    "recvmsg_into readonly": lambda s, a, b, n: a.recvmsg_into([b"x"]),
    "recvmsg_into empty": lambda s, a, b, n: (b.send(b"x"), a.recvmsg_into([])),
    "send string": lambda s, a, b, n: a.send("x"),
    "send nothing": lambda s, a, b, n: a.send(),
    "send none": lambda s, a, b, n: a.send(None),
    "send flags": lambda s, a, b, n: a.send(b"x", "x"),
    "send empty": lambda s, a, b, n: a.send(b""),
    "send unconnected": lambda s, a, b, n: n.send(b"x"),
    "send broken": lambda s, a, b, n: (b.close(), a.send(b"x")),
    "send array": lambda s, a, b, n: (a.send(array.array("h", [1, 2])), b.recv(10)),
    "send strided": lambda s, a, b, n: a.send(memoryview(b"abcdef")[::2]),
    "send keyword": lambda s, a, b, n: a.send(data=b"x"),
    "sendall string": lambda s, a, b, n: a.sendall("x"),
    "sendall broken": lambda s, a, b, n: (b.close(), a.sendall(b"x")),
    "sendall timeout": lambda s, a, b, n: (a.settimeout(0.01), a.sendall(bytes(10_000_000))),
    "sendall nonblocking": lambda s, a, b, n: (a.setblocking(False), a.sendall(bytes(10_000_000))),
    "sendto one": lambda s, a, b, n: a.sendto(b"x"),
    "sendto four": lambda s, a, b, n: a.sendto(b"x", 0, "a", 1),
    "sendto int": lambda s, a, b, n: a.sendto(b"x", 5),
    "sendto string": lambda s, a, b, n: a.sendto("x", "y"),
    "sendto connected": lambda s, a, b, n: a.sendto(b"x", "/nowhere"),
    "sendto unconnected": lambda s, a, b, n: n.sendto(b"x", "/nowhere"),
    "sendmsg bytes": lambda s, a, b, n: a.sendmsg(b"x"),
    "sendmsg int": lambda s, a, b, n: a.sendmsg(5),
    "sendmsg strings": lambda s, a, b, n: a.sendmsg(["x"]),
    "sendmsg no ancillary": lambda s, a, b, n: a.sendmsg([b"x"], 5),
    "sendmsg short item": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1)]),
    "sendmsg string item": lambda s, a, b, n: a.sendmsg([b"x"], [("x", 1, b"")]),
    "sendmsg string data": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1, "x")]),
    "sendmsg object": lambda s, a, b, n: a.sendmsg([b"x"], [object()]),
    "sendmsg bad fd": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1, array.array("i", [-1]))]),
    "sendmsg closed fd": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1, array.array("i", [99_999]))]),
    "sendmsg cut fd": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1, b"abc")]),
    "sendmsg many fds": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1, array.array("i", [a.fileno()] * 254))]),
    "sendmsg type": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 77, b"")]),
    "sendmsg level": lambda s, a, b, n: a.sendmsg([b"x"], [(7, 1, b"")]),
    "sendmsg huge ancillary": lambda s, a, b, n: a.sendmsg([b"x"], [(1, 1, bytes(1 << 20))]),
    "sendmsg address": lambda s, a, b, n: a.sendmsg([b"x"], [], 0, 5),
    "sendmsg address none": lambda s, a, b, n: (a.sendmsg([b"x"], [], 0, None), b.recv(3)),
    "sendmsg unconnected": lambda s, a, b, n: n.sendmsg([b"x"]),
    "sendmsg nothing": lambda s, a, b, n: a.sendmsg(),
    "sendmsg empty": lambda s, a, b, n: a.sendmsg([]),
    "sendmsg dead address": lambda s, a, b, n: n.sendmsg([b"x"], [], 0, "/nowhere"),
    "send_fds": lambda s, a, b, n: s.send_fds(a, [b"x"], [99_999]),
    "send_fds string": lambda s, a, b, n: s.send_fds(a, [b"x"], ["x"]),
    "send_fds none": lambda s, a, b, n: (s.send_fds(a, [b"x"], []), s.recv_fds(b, 5, 5)),
    "recv_fds": lambda s, a, b, n: s.recv_fds(a, -1, 1),
    "settimeout negative": lambda s, a, b, n: a.settimeout(-1),
    "settimeout string": lambda s, a, b, n: a.settimeout("x"),
    "settimeout none": lambda s, a, b, n: (a.settimeout(None), a.gettimeout(), a.getblocking()),
    "settimeout int": lambda s, a, b, n: (a.settimeout(3), a.gettimeout(), a.timeout),
    "settimeout huge": lambda s, a, b, n: a.settimeout(1e20),
    "settimeout nan": lambda s, a, b, n: a.settimeout(float("nan")),
    "setblocking": lambda s, a, b, n: (a.setblocking(0), a.gettimeout(), a.setblocking(2), a.gettimeout()),
    "getsockopt": lambda s, a, b, n: a.getsockopt(s.SOL_SOCKET, 9999),
    "getsockopt level": lambda s, a, b, n: a.getsockopt(99, 1),
    "getsockopt negative": lambda s, a, b, n: a.getsockopt(s.SOL_SOCKET, s.SO_TYPE, -1),
    "getsockopt big": lambda s, a, b, n: a.getsockopt(s.SOL_SOCKET, s.SO_TYPE, 1025),
    "getsockopt bytes": lambda s, a, b, n: a.getsockopt(s.SOL_SOCKET, s.SO_TYPE, 100),
    "getsockopt short": lambda s, a, b, n: a.getsockopt(s.SOL_SOCKET, s.SO_TYPE, 1),
    "getsockopt string": lambda s, a, b, n: a.getsockopt("x", 1),
    "getsockopt few": lambda s, a, b, n: a.getsockopt(1),
    "setsockopt": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, 9999, 1),
    "setsockopt string": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, "x"),
    "setsockopt none": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, None),
    "setsockopt none and length": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, None, 4),
    "setsockopt length": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, 1, 4),
    "setsockopt short": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, b"x"),
    "setsockopt float": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, 1.5),
    "setsockopt big": lambda s, a, b, n: a.setsockopt(s.SOL_SOCKET, s.SO_PASSCRED, 1 << 40),
    "setsockopt few": lambda s, a, b, n: a.setsockopt(1, 2),
    "makefile mode": lambda s, a, b, n: a.makefile("x"),
    "makefile unbuffered": lambda s, a, b, n: a.makefile("r", 0),
    "makefile": lambda s, a, b, n: [type(a.makefile(mode)).__name__ for mode in ("r", "rb", "wb", "rwb")],
    "makefile closed": lambda s, a, b, n: ((f := a.makefile("rb")), f.close(), f.read()),
    "makefile timeout": lambda s, a, b, n: (a.settimeout(0.01), (f := a.makefile("rb")), told(f.read), told(f.read)),
    "makefile nonblocking": lambda s, a, b, n: (a.setblocking(False), a.makefile("rb").read(1)),
    "makefile and close": lambda s, a, b, n: ((f := a.makefile("rb")), a.close(), b.send(b"x"), f.read(1), repr(a)),
    "close twice": lambda s, a, b, n: (a.close(), a.close(), a.fileno()),
    "detach twice": lambda s, a, b, n: (s.socket(fileno=a.detach()).close(), a.detach()),
    "context": lambda s, a, b, n: (a.__enter__() is a, a.__exit__(None, None, None), a.fileno()),
    "dup closed": lambda s, a, b, n: (a.close(), a.dup()),
    "sendfile": lambda s, a, b, n: a.sendfile(5),
    "sendfile negative": lambda s, a, b, n: a.sendfile(io.BytesIO(b"x"), 0, -1),
    "sendfile text": lambda s, a, b, n: a.sendfile(io.StringIO("x")),
    "share": lambda s, a, b, n: a.share(1),
    "attribute": lambda s, a, b, n: setattr(a, "bogus", 1),
    "weakref": lambda s, a, b, n: __import__("weakref").ref(a)() is a,
    "hash": lambda s, a, b, n: (hash(a) == hash(a), a == b),
    "fromfd": lambda s, a, b, n: s.fromfd(-1, s.AF_UNIX, s.SOCK_STREAM),
    "fromfd of a pair": lambda s, a, b, n: (x := s.fromfd(a.fileno(), s.AF_UNIX, s.SOCK_STREAM), x.close())[1],
    "close fd": lambda s, a, b, n: s.close(-1),
    "gc": lambda s, a, b, n: n.ioctl(1, 1),
    "set_inheritable": lambda s, a, b, n: (a.set_inheritable(True), a.get_inheritable()),
    "inheritable closed": lambda s, a, b, n: (a.close(), a.get_inheritable()),
    "create_connection": lambda s, a, b, n: s.create_connection(("127.0.0.1", 1), 0.1),
    "has_dualstack": lambda s, a, b, n: isinstance(s.has_dualstack_ipv6(), bool),
}

CLOSED = {
    name: lambda s, a, b, n, name=name, arguments=arguments: (n.close(), getattr(n, name)(*arguments))
    for name, arguments in {
        "accept": (), "bind": ("\0x",), "connect": ("\0x",), "connect_ex": ("\0x",), "getpeername": (),
        "getsockname": (), "getsockopt": (1, 3), "listen": (), "recv": (1,), "recv_into": (bytearray(1),),
        "recvfrom": (1,), "recvfrom_into": (bytearray(1),), "recvmsg": (1,), "recvmsg_into": ([bytearray(1)],),
        "send": (b"x",), "sendall": (b"x",), "sendmsg": ([b"x"],), "sendto": (b"x", "\0x"), "setblocking": (True,),
        "setsockopt": (1, 16, 1), "settimeout": (1,), "shutdown": (0,), "makefile": (), "gettimeout": (), "dup": (),
        "fileno": (), "detach": (), "getblocking": (), "get_inheritable": (), "set_inheritable": (True,),
    }.items()
}  # fmt: skip


def told(operation: Callable[..., Any], *arguments: Any) -> Any:
    """The result, or the exception: its class, arguments and words."""
    try:
        return operation(*arguments)
    except TypeError:
        return "TypeError"  # in words that change from version to version
    except Exception as error:
        return type(error).__qualname__, str(error), getattr(error, "errno", None)


def outcome(socket: Any, kind: str, call: Callable[..., Any]) -> Any:
    one, two = socket.socketpair(socket.AF_UNIX, getattr(socket, kind))
    new = socket.socket(socket.AF_UNIX, getattr(socket, kind))
    with one, two, new:
        if kind == "SOCK_DGRAM":
            new.settimeout(0.05)
        result = told(call, socket, one, two, new)
    return re.sub(r"0x[0-9a-f]+|fd=\d+|name=\d+|\b\d{9,}\b", "N", repr(result))


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET"])
@pytest.mark.parametrize("name", [*CALLS, *(f"{name} closed" for name in CLOSED)])
def test_same_words(name: str, kind: str) -> None:
    """Host and ours, by each type."""
    import socket

    call = CALLS[name] if name in CALLS else CLOSED[name.removesuffix(" closed")]
    kernel = afunix.Kernel(path_max=108)
    theirs = outcome(socket, kind, call)
    with kernel.main.running():
        assert outcome(our_socket, kind, call) == theirs
