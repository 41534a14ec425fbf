"""What /proc tells of sockets."""

# ruff: noqa: F403, F405
from __future__ import annotations

import re
from typing import NamedTuple

from afunix.conformance.kit import *

HEADER = b"Num       RefCount Protocol Flags    Type St Inode Path\n"
CLONE_NEWNET = 0x40000000
LINE = re.compile(
    rb"^[0-9a-f]+: ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2}) +([0-9]+)(?: (.*))?$",
    re.MULTILINE,
)
"""Names of others may hold line breaks: what comes behind these is no line."""
LISTENS = b"00010000"
UNCONNECTED, CONNECTING, CONNECTED_ALREADY = b"01", b"02", b"03"


class Row(NamedTuple):
    """A line of /proc/net/unix behind the address of the structure."""

    references: int
    protocol: bytes
    flags: bytes
    kind: int
    state: bytes
    inode: int
    name: bytes | None


def text_of(p: Process, path: bytes, size: int = 65536) -> bytes:
    """A file, read to its end."""
    file = p.open(path)
    text = rest_of(p, file, size)
    p.close(file)
    return text


def rest_of(p: Process, file: int, size: int = 65536) -> bytes:
    """What is left of an open file."""
    text = b""
    while part := p.read(file, size):
        assert isinstance(part, bytes)
        text += part
    return text


def rows(p: Process, path: bytes = b"/proc/net/unix") -> list[Row]:
    """The lines of the list."""
    text = text_of(p, path)
    assert text.startswith(HEADER)
    assert text.endswith(b"\n")
    return [
        Row(int(references, 16), protocol, flags, int(kind, 16), state, int(number), name)
        for references, protocol, flags, kind, state, number, name in (row.groups() for row in LINE.finditer(text))
    ]


def row_of(p: Process, fd: int) -> Row:
    """The line of a descriptor's socket, found by its inode number."""
    status = p.fstat(fd)
    assert isinstance(status, Stat)
    (row,) = [row for row in rows(p) if row.inode == status.ino]
    return row


def shown(name: bytes) -> bytes:
    """An address as the list writes it."""
    return name.replace(b"\0", b"@")


@case("OPT-2a", types=ALL, each=["/proc/net/unix", "/proc/self/net/unix", "/proc/thread-self/net/unix"])
def the_list_of_all_sockets(p: Process, kind: int, path: str) -> None:
    """It has type, state and name of each."""
    p.bound(kind, p.abstract(b"bound"))
    if kind != DGRAM:
        p.listener(kind, p.abstract(b"listens"))
    found = {row.name: row for row in rows(p, path.encode())}
    bound = found[shown(p.abstract(b"bound"))]
    assert (bound.protocol, bound.flags, bound.kind, bound.state) == (b"00000000", b"00000000", kind, UNCONNECTED)
    if kind != DGRAM:
        listens = found[shown(p.abstract(b"listens"))]
        assert (listens.flags, listens.kind, listens.state) == (LISTENS, kind, UNCONNECTED)


@case("OPT-2a", types=ALL)
def the_list_seen_from_another_process(p: Process, kind: int) -> None:
    """By the number of one in the same network namespace."""
    p.bound(kind, p.abstract(b"bound"))
    other = p.process()
    assert shown(p.abstract(b"bound")) in [row.name for row in rows(other, b"/proc/%d/net/unix" % p.pid)]


@case("OPT-2a", types=ALL, needs="CAP_SYS_ADMIN")
def the_list_of_another_network_namespace(p: Process, kind: int) -> None:
    """It has the sockets that were made there."""
    p.bound(kind, p.abstract(b"here"))
    child = p.fork()
    assert child.call("unshare", CLONE_NEWNET) == 0
    child.bound(kind, p.abstract(b"there"))
    assert [row.name for row in rows(child)] == [shown(p.abstract(b"there"))]
    assert shown(p.abstract(b"there")) not in [row.name for row in rows(p)]
    assert [row.name for row in rows(p, b"/proc/%d/net/unix" % child.pid)] == [shown(p.abstract(b"there"))]


@case("OPT-2b", types=ALL)
def names_in_the_list(p: Process, kind: int) -> None:
    """A path as it was given, NULs of an abstract name as @, nothing without a name."""
    assert row_of(p, p.socket(kind)).name is None
    assert row_of(p, p.bound(kind, b"./path")).name == b"./path"
    name = p.abstract(b"a\0b\0")
    assert row_of(p, p.bound(kind, name)).name == shown(name)
    long = b"./" + b"x" * 98
    assert row_of(p, p.bound(kind, long)).name == long


@case("OPT-2c", types=CONNECTED)
def states_in_the_list(p: Process, kind: int) -> None:
    """A connection not yet accepted has no inode."""
    name = p.abstract(b"n")
    listener = p.listener(kind, name)
    assert row_of(p, listener)[1:5] == (b"00000000", LISTENS, kind, UNCONNECTED)
    client = p.client(kind, name)
    assert row_of(p, client)[2:5] == (b"00000000", kind, CONNECTED_ALREADY)
    (embryo,) = [row for row in rows(p) if row.name == shown(name) and row.flags != LISTENS]
    assert (embryo.state, embryo.inode) == (CONNECTING, 0)
    accepted = p.accept(listener)
    row = row_of(p, accepted)
    assert (row.state, row.name) == (CONNECTED_ALREADY, shown(name))
    p.close(client)
    assert row_of(p, accepted).state == CONNECTED_ALREADY


@case("OPT-2c")
def states_of_datagram_sockets_in_the_list(p: Process) -> None:
    """Both ends of a connect, also when nothing points back."""
    name = p.abstract(b"n")
    one, two = p.bound(DGRAM, name), p.socket(DGRAM)
    assert (row_of(p, one).state, row_of(p, two).state) == (UNCONNECTED, UNCONNECTED)
    p.connect(two, name)
    assert (row_of(p, one).state, row_of(p, two).state) == (CONNECTED_ALREADY, CONNECTED_ALREADY)
    p.disconnect(two)
    assert (row_of(p, one).state, row_of(p, two).state) == (UNCONNECTED, UNCONNECTED)
    p.connect(two, name)
    p.close(two)
    assert row_of(p, one).state == CONNECTED_ALREADY
    p.connect(p.socket(DGRAM), name)
    p.connect(one, name)
    p.disconnect(one)
    assert row_of(p, one).state == UNCONNECTED


@case("OPT-2d", types=ALL)
def references_in_the_list(p: Process, kind: int) -> None:
    """The socket's own and the table's, and one for each that has it as its peer."""
    assert row_of(p, p.socket(kind)).references == 2
    one, two = p.socketpair(kind)
    p.dup(one)
    p.send(two, b"x")
    assert (row_of(p, one).references, row_of(p, two).references) == (3, 3)
    p.close(two)
    assert row_of(p, one).references == 2
    name = p.abstract(b"n")
    if kind == DGRAM:
        server = p.bound(kind, name)
        clients = [p.client(kind, name) for _ in range(3)]
        assert row_of(p, server).references == 5
        assert row_of(p, clients[0]).references == 2
        p.connect(server, name)
        assert row_of(p, server).references == 6
        return
    server = p.listener(kind, name)
    client = p.client(kind, name)
    assert row_of(p, server).references == 2
    assert row_of(p, client).references == 3
    (embryo,) = [row for row in rows(p) if row.name == shown(name) and row.flags != LISTENS]
    assert embryo.references == 3
    assert row_of(p, p.accept(server)).references == 3


@case("OPT-2d", types=(STREAM, SEQPACKET, DGRAM))
def references_of_those_who_wait(p: Process, kind: int) -> None:
    """A call that waits for room in a socket's queue holds it."""
    name = p.abstract(b"n")
    if kind == DGRAM:
        server, client = p.bound(kind, name), p.socket(kind)
        while p.sendto(client, b"x", name, MSG_DONTWAIT) == 1:
            pass
        waiting = p.begin(p.sendto, client, b"x", name)
    else:
        server = p.listener(kind, name, 0)
        p.client(kind, name)
        waiting = p.begin(p.connect, p.socket(kind), name)
    assert waiting.blocks
    assert row_of(p, server).references == 3
    if kind == DGRAM:
        p.recv(server)
    else:
        p.accept(server)
    assert waiting.result >= 0


@case("OPT-2e", types=ALL)
def a_closed_socket_is_not_in_the_list(p: Process, kind: int) -> None:
    """Whether it had a name or not."""
    s = p.bound(kind, p.abstract(b"n"))
    assert row_of(p, s).inode
    p.close(s)
    assert shown(p.abstract(b"n")) not in [row.name for row in rows(p)]


@case("OPT-2f", types=ALL, each=[1, 7, 100], needs="CAP_SYS_ADMIN")
def the_list_in_small_pieces(p: Process, kind: int, size: int) -> None:
    """All that is read in pieces is what is read at once, where nobody else makes sockets."""
    child = p.fork()
    assert child.call("unshare", CLONE_NEWNET) == 0
    for number in range(3):
        child.bound(kind, p.abstract(b"%d" % number))
    whole = text_of(child, b"/proc/net/unix")
    assert whole.count(b"\n") == 4
    assert text_of(child, b"/proc/net/unix", size) == whole


@case("OPT-2f", types=ALL)
def the_position_in_the_list(p: Process, kind: int) -> None:
    """It is the open file's: duplicates share it, lseek moves it, and from the beginning the list is made anew."""
    p.bound(kind, p.abstract(b"first"))
    file = p.open(b"/proc/net/unix")
    copy = p.dup(file)
    assert p.read(file, 10) == HEADER[:10]
    assert p.read(copy, 10) == HEADER[10:20]
    assert p.lseek(file, 0, 1) == 20
    assert p.lseek(copy, 5) == 5
    assert p.readv(file, [3, 4]) == [HEADER[5:8], HEADER[8:12]]
    p.bound(kind, p.abstract(b"second"))
    p.lseek(file, 0)
    assert b" " + shown(p.abstract(b"second")) + b"\n" in rest_of(p, file)
    assert p.read(copy) == b""
    assert p.call("read", file, BAD, 0) == 0
    p.lseek(file, 0)
    assert p.call("read", file, BAD, 10) == EFAULT


@case("OPT-4c", types=ALL)
def how_many_descriptors_wait(p: Process, kind: int) -> None:
    """fdinfo shows scm_fds."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    for expected in (0, 2, 5):
        assert b"scm_fds: %d\n" % expected in text_of(p, b"/proc/self/fdinfo/%d" % two)
        assert b"scm_fds: 0\n" in text_of(p, b"/proc/self/fdinfo/%d" % one)
        p.sendmsg(one, b"x", [rights(*[r] * (2 if not expected else 3))])
    p.recvmsg(two)
    assert b"scm_fds: 6\n" in text_of(p, b"/proc/self/fdinfo/%d" % two)


@case("OPT-4d", types=CONNECTED)
def descriptors_that_wait_with_a_connection(p: Process, kind: int) -> None:
    """They count at the listener until it is accepted; the connections themselves do not."""
    name = p.abstract(b"n")
    listener = p.listener(kind, name)
    client = p.client(kind, name)
    assert b"scm_fds: 0\n" in text_of(p, b"/proc/self/fdinfo/%d" % listener)
    p.sendmsg(client, b"x", [rights(client)])
    assert b"scm_fds: 1\n" in text_of(p, b"/proc/self/fdinfo/%d" % listener)
    assert b"scm_fds: 0\n" in text_of(p, b"/proc/self/fdinfo/%d" % client)
    accepted = p.accept(listener)
    assert b"scm_fds: 0\n" in text_of(p, b"/proc/self/fdinfo/%d" % listener)
    assert b"scm_fds: 1\n" in text_of(p, b"/proc/self/fdinfo/%d" % accepted)


@case("OPT-4c", types=ALL)
def an_open_fdinfo_follows(p: Process, kind: int) -> None:
    """It is read anew from its beginning."""
    one, two = p.socketpair(kind)
    file = p.open(b"/proc/self/fdinfo/%d" % two)
    assert b"scm_fds: 0\n" in rest_of(p, file)
    p.sendmsg(one, b"x", [rights(one)])
    p.lseek(file, 0)
    assert b"scm_fds: 1\n" in rest_of(p, file)


@case("DGRAM-3a")
def the_limit_of_queues_can_be_read(p: Process) -> None:
    """So many messages and one more go into a queue."""
    limit = int(text_of(p, b"/proc/sys/net/unix/max_dgram_qlen"))
    two = p.bound(DGRAM, p.abstract(b"n"))
    one = p.client(DGRAM, p.abstract(b"n"))
    assert p.fill(one) == min(limit + 1, 278)
    assert p.recv(two) == b"x"
    assert p.fill(one) == (1 if limit < 278 else 0)
