"""What NETLINK_SOCK_DIAG tells of sockets: what `ss -x` shows."""

# ruff: noqa: F403, F405
from __future__ import annotations

from typing import NamedTuple

from afunix.abi import netlink
from afunix.abi.errno import Errno
from afunix.abi.netlink import *
from afunix.conformance.kit import *

SHOW_NAME, SHOW_VFS, SHOW_PEER, SHOW_ICONS, SHOW_RQLEN, SHOW_MEMINFO, SHOW_UID = (1 << bit for bit in range(7))
NAME, VFS, PEER, ICONS, RQLEN, MEMINFO, SHUTDOWN, UID = range(8)
EVERYTHING = 0x7F
ESTABLISHED, CLOSE, LISTEN = 1, 7, 10
ALL_STATES = 0xFFFFFFFF
ANY_COOKIE = (0xFFFFFFFF, 0xFFFFFFFF)
SEQUENCE = 77
CLONE_NEWNET = 0x40000000


class Row(NamedTuple):
    """One socket of an answer."""

    kind: int
    state: int
    inode: int
    cookie: tuple[int, int]
    attributes: dict[int, bytes]


def request(states: int, show: int, inode: int, cookie: tuple[int, int], flags: int, size: int = 24) -> bytes:
    """A request as a netlink message, cut to a size."""
    payload = UNIX_DIAG_REQ.pack(AF_UNIX, 0, 0, states, inode, show, *cookie)[:size]
    return netlink.message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | flags, SEQUENCE, 0, payload)


def ask(p: Process, raw: bytes) -> int:
    """Send a request on a new socket."""
    fd = p.call("socket", AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG)
    assert fd >= 0
    assert p.call("sendto", fd, p.put(raw), len(raw), 0, 0, 0) == len(raw)
    return fd


def answers(p: Process, fd: int) -> list[tuple[int, int, bytes]]:
    """Type, flags and payload of all messages of an answer, which ends with one that is not of several."""
    found: list[tuple[int, int, bytes]] = []
    while not found or (found[-1][1] & NLM_F_MULTI and found[-1][0] != NLMSG_DONE):
        datagram = p.recv(fd, 65536)
        assert isinstance(datagram, bytes)
        for kind, flags, sequence, _, payload in netlink.messages(datagram):
            assert sequence == SEQUENCE
            found.append((kind, flags, payload))
    return found


def decode(payload: bytes) -> Row:
    """A row from its message."""
    family, kind, state, _, inode, low, high = UNIX_DIAG_MSG.unpack_from(payload)
    assert family == AF_UNIX
    return Row(kind, state, inode, (low, high), netlink.attributes(payload[UNIX_DIAG_MSG.size :]))


def dump(p: Process, show: int = EVERYTHING, states: int = ALL_STATES) -> dict[int, Row]:
    """All sockets in these states, by inode number."""
    fd = ask(p, request(states, show, 0, (0, 0), NLM_F_DUMP))
    *rows, done = answers(p, fd)
    p.close(fd)
    assert (done[0], done[2]) == (NLMSG_DONE, bytes(4))
    found = [decode(payload) for kind, _, payload in rows]
    assert all(kind == SOCK_DIAG_BY_FAMILY for kind, _, _ in rows)
    return {row.inode: row for row in found}


def one(p: Process, inode: int, cookie: tuple[int, int] = ANY_COOKIE, show: int = EVERYTHING) -> Row | int:
    """One socket, or the error."""
    fd = ask(p, request(ALL_STATES, show, inode, cookie, 0))
    ((kind, _, payload),) = answers(p, fd)
    p.close(fd)
    return int(netlink.ERROR.unpack_from(payload)[0]) if kind == NLMSG_ERROR else decode(payload)


def inode(p: Process, fd: int) -> int:
    """The inode number of a descriptor."""
    found = p.fstat(fd)
    assert isinstance(found, Stat)
    return found.ino


def words(raw: bytes) -> list[int]:
    """Numbers of 32 bits."""
    return [int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)]


@case("OPT-7a", types=ALL)
def a_socket_asked_for(p: Process, kind: int) -> None:
    """The same by its number and among all."""
    s = p.bound(kind, p.abstract(b"n"))
    row = one(p, inode(p, s))
    assert isinstance(row, Row)
    assert row == dump(p)[row.inode]
    assert (row.kind, row.state, row.inode) == (kind, CLOSE, inode(p, s))
    assert row.attributes[NAME] == p.abstract(b"n")
    assert set(row.attributes) == {NAME, RQLEN, MEMINFO, SHUTDOWN, UID}
    assert p.getsockopt(s, SO_COOKIE) == b"".join(half.to_bytes(4, "little") for half in row.cookie)
    assert isinstance(one(p, row.inode, row.cookie), Row)


@case("OPT-7b", types=ALL)
def only_what_is_asked_for(p: Process, kind: int) -> None:
    """The shut directions are always told."""
    s, _ = p.socketpair(kind)
    for show, expected in ((0, set()), (SHOW_PEER, {PEER}), (SHOW_NAME | SHOW_RQLEN, {RQLEN}), (SHOW_UID, {UID})):
        row = one(p, inode(p, s), show=show)
        assert isinstance(row, Row)
        assert set(row.attributes) == expected | {SHUTDOWN}


@case("OPT-7c", types=ALL)
def the_name_of_a_path(p: Process, kind: int) -> None:
    """With its NUL, and the inode that it made."""
    s = p.bound(kind, b"path")
    row = one(p, inode(p, s))
    assert isinstance(row, Row)
    assert row.attributes[NAME] == b"path\0"
    found = p.stat(b"path")
    assert isinstance(found, Stat)
    assert words(row.attributes[VFS])[0] == found.ino & 0xFFFFFFFF
    other = p.bound(kind, b"other")
    again = one(p, inode(p, other))
    assert isinstance(again, Row)
    assert words(again.attributes[VFS])[1] == words(row.attributes[VFS])[1]


@case("OPT-7d", types=ALL)
def the_peer(p: Process, kind: int) -> None:
    """Its inode number; 0 for a closed one."""
    left, right = p.socketpair(kind)
    row = one(p, inode(p, left))
    assert isinstance(row, Row)
    assert (row.state, words(row.attributes[PEER])) == (ESTABLISHED, [inode(p, right)])
    p.close(right)
    row = one(p, inode(p, left))
    assert isinstance(row, Row)
    assert row.state == ESTABLISHED
    assert words(row.attributes[PEER]) == [0]
    assert row.attributes[SHUTDOWN] == (b"\0" if kind == DGRAM else b"\3")


@case("OPT-7e", types=CONNECTED)
def connections_that_wait(p: Process, kind: int) -> None:
    """At the listener; they themselves are not told of."""
    name = p.abstract(b"n")
    listener = p.listener(kind, name, 7)
    clients = [p.client(kind, name) for _ in range(3)]
    found = dump(p)
    row = found[inode(p, listener)]
    assert row.state == LISTEN
    assert words(row.attributes[ICONS]) == [inode(p, client) for client in clients]
    assert words(row.attributes[RQLEN]) == [3, 7]
    assert sum(row.attributes.get(NAME) == name for row in found.values()) == 1
    waiting = found[inode(p, clients[0])]
    assert (waiting.state, words(waiting.attributes[PEER])) == (ESTABLISHED, [0])
    accepted = p.accept(listener)
    found = dump(p)
    assert words(found[inode(p, clients[0])].attributes[PEER]) == [inode(p, accepted)]
    assert words(found[inode(p, listener)].attributes[ICONS]) == [inode(p, client) for client in clients[1:]]
    assert ICONS not in found[inode(p, accepted)].attributes


@case("OPT-7c", types=CONNECTED)
def the_path_of_an_accepted_socket(p: Process, kind: int) -> None:
    """It is the listener's."""
    listener = p.listener(kind, b"path")
    client = p.client(kind, b"path")
    accepted = p.accept(listener)
    found = dump(p, SHOW_NAME | SHOW_VFS)
    rows = [found[inode(p, fd)].attributes for fd in (listener, accepted, client)]
    assert rows[0][VFS] == rows[1][VFS]
    assert rows[0][NAME] == rows[1][NAME] == b"path\0"
    assert VFS not in rows[2]
    p.close(listener)
    assert dump(p)[inode(p, accepted)].attributes[VFS] == rows[0][VFS]


@case("OPT-7f", types=ALL)
def queues_and_memory(p: Process, kind: int) -> None:
    """What can be read, and the truesize of what was sent."""
    left, right = p.socketpair(kind)
    p.send(left, b"abc")
    p.send(left, b"x" * 5000)
    found = dump(p)
    sent = p.ioctl(left, SIOCOUTQ)
    assert words(found[inode(p, left)].attributes[RQLEN]) == [0, sent]
    assert words(found[inode(p, right)].attributes[RQLEN]) == [3 if kind == DGRAM else 5003, 0]
    assert found[inode(p, left)].attributes[MEMINFO] == p.getsockopt(left, SO_MEMINFO)
    assert words(found[inode(p, left)].attributes[MEMINFO])[2] == sent


@case("OPT-7g", types=ALL, each=[0, 1, 2])
def shut_directions(p: Process, kind: int, how: int) -> None:
    """As bits, at both ends."""
    left, right = p.socketpair(kind)
    p.shutdown(left, how)
    found = dump(p)
    assert found[inode(p, left)].attributes[SHUTDOWN] == bytes([how + 1])
    mirrored = 0 if kind == DGRAM else ((how + 1) & 1) << 1 | (how + 1) >> 1
    assert found[inode(p, right)].attributes[SHUTDOWN] == bytes([mirrored])


@case("OPT-7h", types=ALL)
def only_some_states(p: Process, kind: int) -> None:
    """Those whose bits are set."""
    unconnected = p.socket(kind)
    connected, _ = p.socketpair(kind)
    listening = p.listener(kind, p.abstract(b"n")) if kind != DGRAM else -1
    for states, expected in ((ESTABLISHED, connected), (CLOSE, unconnected), (LISTEN, listening)):
        found = dump(p, states=1 << states)
        assert all(row.state == states for row in found.values())
        for fd in (unconnected, connected, listening):
            if fd >= 0:
                assert (inode(p, fd) in found) == (fd == expected)


@case("OPT-7i")
def sockets_that_are_not_there(p: Process) -> None:
    """And requests that ask for nothing."""
    s = p.socket(STREAM)
    number = inode(p, s)
    assert one(p, 0) == EINVAL
    assert one(p, number, (12345, 678)) == -Errno.ESTALE
    p.close(s)
    assert one(p, number) == ENOENT
    for flags in (0, NLM_F_DUMP):
        fd = ask(p, request(ALL_STATES, 0, number, (0, 0), flags, 8))
        ((kind, _, payload),) = answers(p, fd)
        assert (kind, netlink.ERROR.unpack_from(payload)[0]) == (NLMSG_ERROR, EINVAL)
        p.close(fd)


@case("OPT-7j", types=ALL, needs="CAP_SETUID")
def whose_it_is(p: Process, kind: int) -> None:
    """Who made it, also when others use it; an accepted one, who accepted it."""
    mine = p.socket(kind)
    listener = p.listener(kind, p.abstract(b"n")) if kind != DGRAM else -1
    p.setresuid(1234, 1234, 1234)
    theirs = p.socket(kind)
    fds = [(mine, 0), (theirs, 1234)]
    if kind != DGRAM:
        p.client(kind, p.abstract(b"n"))
        fds.append((p.accept(listener), 1234))
    for fd, uid in fds:
        row = one(p, inode(p, fd), show=SHOW_UID)
        assert isinstance(row, Row)
        assert words(row.attributes[UID]) == [uid]


@case("OPT-7k", types=ALL)
def answers_looked_at_first(p: Process, kind: int) -> None:
    """As ss does: for their length, without room. Nothing is left when all is read."""
    for _ in range(60):
        p.socket(kind)
    fd = ask(p, request(ALL_STATES, EVERYTHING, 0, (0, 0), NLM_F_DUMP))
    count = 0
    done = False
    while not done:
        assert p.poll(fd, POLLIN) == POLLIN
        length = p.recv_length(fd, 0, MSG_PEEK | MSG_TRUNC)
        assert isinstance(length, int)
        assert length > 0
        datagram = p.recv(fd, 65536)
        assert isinstance(datagram, bytes)
        assert len(datagram) == length
        kinds = [kind for kind, *_ in netlink.messages(datagram)]
        count += kinds.count(SOCK_DIAG_BY_FAMILY)
        done = NLMSG_DONE in kinds
    assert count >= 60
    assert p.poll(fd, POLLIN) == 0
    assert p.recv(fd, 100, MSG_DONTWAIT) == EAGAIN


@case("OPT-7l", types=ALL, needs="CAP_SYS_ADMIN")
def sockets_of_another_network_namespace(p: Process, kind: int) -> None:
    """Each has its own."""
    here = p.socket(kind)
    child = p.fork()
    assert child.call("unshare", CLONE_NEWNET) == 0
    there = child.socket(kind)
    assert list(dump(child)) == [inode(child, there)]
    assert inode(child, there) not in dump(p)
    assert inode(p, here) in dump(p)
    assert one(child, inode(p, here)) == ENOENT
