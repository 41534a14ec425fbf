"""Faults that other implementations of Unix sockets shipped, by name: none of them here."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *


@case("CONN-3b", types=CONNECTED)
def gvisor_connect_to_a_full_listener_did_not_wait(p: Process, kind: int) -> None:
    """A blocking connect returned EAGAIN."""
    listener = p.listener(kind, b"s", 0)
    p.client(kind, b"s")
    waiting = p.begin(p.connect, p.socket(kind), b"s")
    assert waiting.blocks
    p.accept(listener)
    assert waiting.result == 0


@case("SCM-10a", each=["itself", "two", "listener"])
def gvisor_cycles_leaked(p: Process, shape: str) -> None:
    """Sockets that only hold each other were never freed."""
    r, w = p.pipe()
    if shape == "itself":
        one, two = p.socketpair(DGRAM)
        p.sendmsg(one, b"x", [rights(two, w)])
        held = [one, two]
    elif shape == "two":
        one, two = p.socketpair(STREAM)
        three, four = p.socketpair(STREAM)
        p.sendmsg(one, b"x", [rights(four)])
        p.sendmsg(three, b"x", [rights(two, w)])
        held = [one, two, three, four]
    else:
        listener = p.listener(STREAM, p.abstract(b"n"))
        client = p.client(STREAM, p.abstract(b"n"))
        p.sendmsg(client, b"x", [rights(listener, w)])
        held = [listener, client]
    for fd in (*held, w):
        p.close(fd)
    for _ in range(3):
        p.close(p.socket(STREAM))
    assert p.wait_for(r, POLLIN, 2.0) & POLLHUP


@case("DGRAM-5a", each=["pair", "connect", "sendto"])
def gvisor_datagrams_to_the_dead_were_a_broken_pipe(p: Process, how: str) -> None:
    """EPIPE where ECONNREFUSED is due."""
    if how == "pair":
        one, two = p.socketpair(DGRAM)
        p.close(two)
        assert p.send(one, b"x") == ECONNREFUSED
        return
    two = p.bound(DGRAM, b"s")
    one = p.socket(DGRAM)
    if how == "connect":
        p.connect(one, b"s")
        p.close(two)
        assert p.send(one, b"x") == ECONNREFUSED
    else:
        p.close(two)
        assert p.sendto(one, b"x", b"s") == ECONNREFUSED
    assert p.signals() == []


@case("SCM-8b", types=ALL, since=(6, 5))
def gvisor_passpidfd_did_nothing(p: Process, kind: int) -> None:
    """The option was accepted, and no pidfd ever came."""
    one, two = p.socketpair(kind)
    assert p.setsockopt(two, SO_PASSPIDFD, 1) == 0
    assert p.option(two, SO_PASSPIDFD) == 1
    p.send(one, b"x")
    got = p.recvmsg(two)
    assert got.pidfd is not None
    assert got.pidfd >= 0


@case("SCM-6a", types=CONNECTED)
def kevlar_peercred_showed_the_client_itself(p: Process, kind: int) -> None:
    """A client must see who listens, a server who connected."""
    listener = p.listener(kind, b"s")
    child = p.fork()
    client = child.client(kind, b"s")
    accepted = p.accept(listener)
    seen = child.getsockopt(client, SO_PEERCRED)
    assert isinstance(seen, bytes)
    assert unpack_ucred(seen)[0] == p.pid
    seen = p.getsockopt(accepted, SO_PEERCRED)
    assert isinstance(seen, bytes)
    assert unpack_ucred(seen)[0] == child.pid


@case("NAME-3a", types=ALL)
def kevlar_abstract_names_lost_their_nul(p: Process, kind: int) -> None:
    """What getsockname told was no abstract name, which broke X11's session authentication."""
    s = p.bound(kind, p.abstract(b"n"))
    length, raw = p.sockname_raw(s)
    assert raw[2:3] == b"\0"
    assert length == 2 + len(p.abstract(b"n"))
    if kind == DGRAM:
        assert p.sendto(p.socket(kind), b"x", raw[2:]) == 1
    else:
        p.listen(s)
        client = p.client(kind, raw[2:])
        assert p.getpeername(client) == raw[2:]


@case("DATA-14a", types=ALL)
def kevlar_writev_was_not_atomic(p: Process, kind: int) -> None:
    """A reader saw the first part without the others, which broke D-Bus."""
    one, two = p.socketpair(kind)
    waiting = p.begin(p.recv, two)
    assert waiting.blocks
    assert p.writev(one, [b"header", b"body", b"trailer"]) == 17
    assert waiting.result == b"headerbodytrailer"


@case("DATA-9b")
def kevlar_buffers_were_too_small(p: Process) -> None:
    """With 16 KiB Xorg and its window manager waited for each other."""
    one, two = p.socketpair(STREAM)
    for fd in (one, two):
        assert p.send(fd, bytes(100000), MSG_DONTWAIT) == 100000


@case("SCM-11b", types=ALL)
def kevlar_descriptors_were_opened_again_by_path(p: Process, kind: int) -> None:
    """What arrives is the sender's open file, though its path is gone or another's."""
    one, two = p.socketpair(kind)
    file = p.open(b"f", O_CREAT | O_RDWR)
    p.write(file, b"the file")
    p.unlink(b"f")
    other = p.open(b"f", O_CREAT | O_RDWR)
    p.write(other, b"another")
    p.sendmsg(one, b"x", [rights(file)])
    (fd,) = p.recvmsg(two).rights
    p.lseek(file, 4)
    assert p.read(fd) == b"file"
    assert p.fstat(fd) == p.fstat(file)


@case("NAME-7c", types=ALL)
def asterinas_inodes_had_mode_0600(p: Process, kind: int) -> None:
    """So that nobody else could connect."""
    p.umask(0o027)
    p.bound(kind, b"s")
    found = p.stat(b"s")
    assert isinstance(found, Stat)
    assert found.mode & 0o777 == 0o750


@case("NAME-8c", types=ALL, needs="CAP_SETUID")
def asterinas_connect_wanted_read_permission(p: Process, kind: int) -> None:
    """Writing is enough."""
    s = p.bound(kind, b"s")
    if kind != DGRAM:
        p.listen(s)
    p.chmod(b"s", 0o222)
    p.setresuid(1000, 1000, 1000)
    assert p.connect(p.socket(kind), b"s") == 0
