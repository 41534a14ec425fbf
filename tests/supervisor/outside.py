"""A program under `afunix run`, and sockets of this process, which is the outside for it."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

from supervised import PATIENCE

UCRED = struct.Struct("iII")
TYPES = {"stream": socket.SOCK_STREAM, "seqpacket": socket.SOCK_SEQPACKET, "dgram": socket.SOCK_DGRAM}
CONNECTED = ["stream", "seqpacket"]

PREAMBLE = """
import array, errno, hashlib, os, select, signal, socket, struct, sys, time

def say(*words):
    print(*words, flush=True)

def hear():
    return sys.stdin.readline().rstrip("\\n")

def failing(function, *args):
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no error"

def cred(data):
    return " ".join(map(str, struct.unpack("iII", data)))

kind = getattr(socket, "SOCK_" + sys.argv[1].upper())
name = sys.argv[2].replace("@", "\\0")
sock = socket.socket(socket.AF_UNIX, kind)
"""


class Inside:
    """A Python program under `afunix run`, spoken to by lines on its standard input and output."""

    def __init__(self, source: str, kind: str, name: str, *, private: bool = False) -> None:
        command = [sys.executable, "-m", "afunix", "run", *(["--private"] if private else []), "--"]
        command += [sys.executable, "-c", PREAMBLE + source, kind, name]
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by __exit__
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, bufsize=0
        )

    @property
    def supervisor(self) -> int:
        return self.process.pid

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.supervisor}/fd"))

    def say(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = b""
        until = time.monotonic() + PATIENCE
        while not line.endswith(b"\n"):
            ready = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))[0]
            assert ready, f"the program says nothing; {self.errors()}"
            more = os.read(self.process.stdout.fileno(), 1)
            assert more, f"the program has ended; {self.errors()}"
            line += more
        return line[:-1].decode()

    def errors(self) -> str:
        self.stderr.seek(0)
        return self.stderr.read().decode()

    def end(self, status: int = 0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE) == status, self.errors()
        assert self.errors() == ""

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.stderr):
            if file is not None:
                file.close()


def native(name: str) -> str:
    return name.replace("@", "\0")


def outside(opened: contextlib.ExitStack, kind: str) -> socket.socket:
    sock = opened.enter_context(socket.socket(socket.AF_UNIX, TYPES[kind]))
    sock.settimeout(PATIENCE)
    return sock


def server(opened: contextlib.ExitStack, kind: str, name: str, backlog: int = 8) -> socket.socket:
    sock = outside(opened, kind)
    sock.bind(native(name))
    if kind != "dgram":
        sock.listen(backlog)
    return sock


def accept(opened: contextlib.ExitStack, listener: socket.socket) -> socket.socket:
    sock, _ = listener.accept()
    opened.enter_context(sock)
    sock.settimeout(PATIENCE)
    return sock


def receive_all(sock: socket.socket, size: int = 65536) -> bytes:
    parts = []
    while part := sock.recv(size):
        parts.append(part)
    return b"".join(parts)


CLIENT = "sock.connect(name)\n"
SERVER = """
sock.bind(name)
if kind != socket.SOCK_DGRAM:
    sock.listen(8)
say("ready")
"""
