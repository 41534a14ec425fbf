"""bind, autobind and the tables of names."""

from __future__ import annotations

import re

from socket_world import Program, World, refused

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import Errno
from afunix.core import connection, names
from afunix.core.caller import Caller
from afunix.core.kernel import Kernel
from afunix.core.names import bind
from afunix.core.socket import Socket


def test_key_of_the_abstract_table() -> None:
    """A name is taken for one type in one network namespace (NAME-4, NAME-12)."""
    world = World()
    for kind in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
        bind(world.socket(kind), world.program, b"\0name")
        with refused(Errno.EADDRINUSE):
            bind(world.socket(kind), world.program, b"\0name")
    elsewhere = Program(net="elsewhere")
    with refused(Errno.ECONNREFUSED):
        world.kernel.names.find(elsewhere, b"\0name", SOCK_STREAM)
    bind(connection.create(world.kernel, elsewhere, SOCK_STREAM), elsewhere, b"\0name")
    with refused(Errno.ECONNREFUSED):
        world.kernel.names.find(world.program, b"\0name\0", SOCK_STREAM)


def test_path_of_another_type() -> None:
    """A path bound by another type is EPROTOTYPE; one that nobody holds any longer ECONNREFUSED (NAME-4, NAME-8)."""
    world = World()
    sock = world.socket(SOCK_STREAM)
    bind(sock, world.program, b"/path")
    find = world.kernel.names.find
    assert find(world.program, b"/path", SOCK_STREAM) is sock
    with refused(Errno.EPROTOTYPE):
        find(world.program, b"/path", SOCK_DGRAM)
    sock.close()
    assert b"/path" in world.program.paths, "close leaves the inode"
    assert world.program.made[0].closed == 1
    with refused(Errno.ECONNREFUSED):
        find(world.program, b"/path", SOCK_STREAM)
    with refused(Errno.ENOENT):
        find(world.program, b"/other", SOCK_STREAM)


def test_inode_under_another_name() -> None:
    """The link is between socket and inode: it follows a rename, and the address stays as it was (NAME-10)."""
    world = World()
    sock = world.socket(SOCK_STREAM)
    bind(sock, world.program, b"/old")
    world.program.paths[b"/new"] = world.program.paths.pop(b"/old")
    assert world.kernel.names.find(world.program, b"/new", SOCK_STREAM) is sock
    assert sock.name() == b"/old"


def test_second_bind() -> None:
    """EINVAL; a path's inode was made by then, and is removed again (NAME-7). EADDRINUSE comes first."""
    world = World()
    sock = world.socket(SOCK_STREAM)
    bind(sock, world.program, b"\0name")
    with refused(Errno.EINVAL):
        bind(sock, world.program, b"\0other")
    with refused(Errno.EINVAL):
        bind(sock, world.program, b"/path")
    assert not world.program.paths
    assert world.program.made[0].closed == 1
    bind(world.socket(SOCK_STREAM), world.program, b"/path")
    with refused(Errno.EADDRINUSE):
        bind(sock, world.program, b"/path")


def test_autobind() -> None:
    """A name of five digits; on a bound socket nothing happens (NAME-1)."""
    world = World()
    made = [world.socket(SOCK_STREAM) for _ in range(200)]
    assert all(bind(sock, world.program, None) for sock in made)
    assert len({sock.name() for sock in made}) == 200
    assert all(re.fullmatch(rb"\0[0-9a-f]{5}", sock.name()) for sock in made)
    name = made[0].name()
    assert not bind(made[0], world.program, None)
    assert made[0].name() == name


class Fixed:
    """The same start for every search."""

    def getrandbits(self, k: int) -> int:
        return 0xFFFFF


def test_autobind_passes_over_what_is_taken() -> None:
    """The search goes round the whole range, and ends with ENOSPC (unix_autobind)."""
    world = World()
    kernel = world.kernel = Kernel(Fixed())
    first, second, third = (world.socket(SOCK_STREAM) for _ in range(3))
    bind(first, world.program, None)
    bind(second, world.program, None)
    assert (first.name(), second.name()) == (b"\x0000000", b"\x0000001")
    table = kernel.names.abstract
    for number in range(2, 1 << 20):
        table["here", b"\0%05x" % number, SOCK_STREAM] = first
    with refused(Errno.ENOSPC):
        bind(third, world.program, None)


def test_names_asked_for_outside() -> None:
    """Who nobody here is may be somebody elsewhere; who is here is not asked for."""
    world = World()
    here, there = world.socket(SOCK_STREAM), world.socket(SOCK_STREAM)
    bind(here, world.program, b"\0here")
    asked: list[bytes] = []

    def outside(caller: Caller, address: bytes, kind: int) -> Socket | None:
        asked.append(address)
        return there

    world.kernel.names.outside = outside
    assert world.kernel.names.find(world.program, b"\0here", SOCK_STREAM) is here
    assert not asked
    assert world.kernel.names.find(world.program, b"\0there", SOCK_STREAM) is there
    assert asked == [b"\0there"]


def test_forgotten_name_is_not_anothers() -> None:
    """A closed socket takes only its own name with it."""
    world = World()
    old = world.socket(SOCK_STREAM)
    bind(old, world.program, b"\0name")
    names.unbind(old)
    new = world.socket(SOCK_STREAM)
    bind(new, world.program, b"\0name")
    old.close()
    assert world.kernel.names.find(world.program, b"\0name", SOCK_STREAM) is new
