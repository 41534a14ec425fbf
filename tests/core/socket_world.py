"""The world that the tests of the core's sockets share: a caller, a kernel, and calls that never wait."""

from __future__ import annotations

import os
import random
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from afunix.abi.errno import Errno, SyscallError
from afunix.core import connection, names
from afunix.core.caller import BoundInode
from afunix.core.credentials import Credentials
from afunix.core.file import File
from afunix.core.kernel import Kernel, Limits
from afunix.core.message import Received, Sent
from afunix.core.operations import OPERATIONS
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock


class Inode:
    """A socket inode of `Program`'s one directory."""

    def __init__(self, program: Program, path: bytes, key: int) -> None:
        self.program = program
        self.path = path
        self.key = key
        self.closed = 0

    def remove(self) -> None:
        if self.program.paths.get(self.path) == self.key:
            del self.program.paths[self.path]

    def share(self) -> Inode:
        self.closed -= 1
        return self

    def close(self) -> None:
        self.closed += 1


class Program:
    """A caller; its tree is a dictionary from path to inode number."""

    def __init__(self, credentials: Credentials | None = None, net: Hashable = "here", nofile: int = 1024) -> None:
        self.credentials = credentials or Credentials(os.getpid(), *((os.getuid(), os.getgid()) * 2))
        self.net = net
        self.nofile = nofile
        self.clock = 0.0
        self.paths: dict[bytes, int] = {}
        self.made: list[Inode] = []

    def realtime(self) -> float:
        self.clock += 1
        return self.clock

    numbers = None

    def find_pid(self, number: int) -> int:
        return number

    def lookup(self, path: bytes) -> Hashable:
        if path not in self.paths:
            raise SyscallError(Errno.ENOENT)
        return self.paths[path]

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        if path in self.paths:
            raise SyscallError(Errno.EADDRINUSE)
        inode = Inode(self, path, len(self.made))
        self.made.append(inode)
        self.paths[path] = inode.key
        return inode


class Counted(File):
    """A file that knows how often it was closed."""

    __slots__ = ("closed",)

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed += 1


class World:
    """A kernel and a caller, with the operations under their short names."""

    def __init__(self, limits: Limits | None = None, program: Program | None = None) -> None:
        self.kernel = Kernel(random.Random(1), limits)
        self.program = program or Program()

    def socket(self, kind: int) -> Socket:
        return connection.create(self.kernel, self.program, kind)

    def pair(self, kind: int) -> tuple[Socket, Socket]:
        return connection.pair(self.kernel, self.program, kind)

    def try_send(
        self, sock: Socket, data: bytes, flags: int = 0, files: Sequence[File] = (), address: bytes | None = None
    ) -> Sent | WouldBlock:
        return OPERATIONS[sock.type].send(sock, self.program, data, flags, files, None, address)

    def send(
        self, sock: Socket, data: bytes, flags: int = 0, files: Sequence[File] = (), address: bytes | None = None
    ) -> Sent:
        """A send that has space."""
        sent = self.try_send(sock, data, flags, files, address)
        assert isinstance(sent, Sent)
        return sent

    def try_receive(self, sock: Socket, size: int = 65536, flags: int = 0) -> Received | WouldBlock:
        return OPERATIONS[sock.type].receive(sock, size, flags)

    def receive(self, sock: Socket, size: int = 65536, flags: int = 0) -> Received:
        """A receive that finds something."""
        received = self.try_receive(sock, size, flags)
        assert isinstance(received, Received)
        return received

    def data(self, sock: Socket, size: int = 65536, flags: int = 0) -> bytes:
        return self.receive(sock, size, flags).data

    def connected(self, kind: int, name: bytes = b"\0listener", backlog: int = 5) -> tuple[Socket, Socket, Socket]:
        """A listener, a client, and what accept gave."""
        listener, client = self.socket(kind), self.socket(kind)
        names.bind(listener, self.program, name)
        connection.listen(listener, self.program, backlog)
        assert isinstance(connection.connect(client, self.program, name), Socket)
        accepted = connection.accept(listener)
        assert isinstance(accepted, Socket)
        return listener, client, accepted


@contextmanager
def refused(errno: Errno) -> Iterator[None]:
    """What happens inside fails with this errno."""
    with pytest.raises(SyscallError) as error:
        yield
    assert error.value.errno is errno
