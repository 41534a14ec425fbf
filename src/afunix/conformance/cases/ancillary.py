"""Ancillary data: descriptors, credentials, and what else comes in control messages."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT
NOBODY = (0, 65534, 65534)


@case("SCM-1a", "SCM-11b", types=ALL)
def a_description_is_passed(p: Process, kind: int) -> None:
    """Not a copy: offset and flags are shared."""
    one, two = p.socketpair(kind)
    file = p.memfd()
    p.write(file, b"contents")
    assert p.sendmsg(one, b"x", [rights(file)]) == 1
    got = p.recvmsg(two)
    assert (got.data, len(got.rights), got.flags) == (b"x", 1, 0)
    p.lseek(file, 3)
    assert p.read(got.rights[0], 3) == b"ten"
    assert p.read(file, 3) == b"ts"
    assert p.cloexec(got.rights[0]) == 0


@case("SCM-1a", types=ALL)
def a_socket_is_passed(p: Process, kind: int) -> None:
    """To another process, where it works."""
    one, two = p.socketpair(kind)
    inner, outer = p.socketpair(STREAM)
    child = p.fork()
    child.close(inner)
    p.sendmsg(one, b"x", [rights(inner)])
    p.close(inner)
    (fd,) = child.recvmsg(two).rights
    assert child.send(fd, b"hello") == 5
    assert p.recv(outer) == b"hello"


@case("SCM-1b", types=ALL)
def the_most_descriptors(p: Process, kind: int) -> None:
    """253, however they are divided."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    assert p.sendmsg(one, b"x", [rights(*[r] * 254)]) == EINVAL
    assert p.sendmsg(one, b"x", [rights(*[r] * 200), rights(*[r] * 54)]) == EINVAL
    assert p.sendmsg(one, b"x", [rights(*[r] * 200), rights(*[r] * 53)]) == 1
    got = p.recvmsg(two, control=4096)
    assert (len(got.rights), got.flags) == (253, 0)


@case("SCM-1c", types=ALL)
def descriptors_that_are_not_open(p: Process, kind: int) -> None:
    """Nothing is sent then."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    for bad in (999, -1):
        assert p.sendmsg(one, b"x", [rights(r, bad)]) == EBADF
    assert p.recv(two, flags=NOW) == EAGAIN


@case("SCM-1d", types=ALL)
def path_descriptors(p: Process, kind: int) -> None:
    """They can be passed, though not read."""
    one, two = p.socketpair(kind)
    p.mkdir(b"d")
    fd = p.open(b"d", O_PATH)
    assert p.sendmsg(one, b"x", [rights(fd)]) == 1
    (got,) = p.recvmsg(two).rights
    assert p.fstat(got) == p.stat(b"d")
    assert p.read(got) == EBADF


@case("SCM-1e", types=ALL)
def several_messages_are_one(p: Process, kind: int) -> None:
    """In their order."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(r), rights(w, r)])
    got = p.recvmsg(two)
    assert got.kinds == [SCM_RIGHTS]
    assert len(got.rights) == 3
    assert p.write(got.rights[1], b"y") == 1
    assert p.read(got.rights[2]) == b"y"


@case("SCM-2a", types=ALL, needs="CAP_SETUID")
def too_many_in_flight(p: Process, kind: int) -> None:
    """More than RLIMIT_NOFILE, looked at before those of this call count."""
    uid = 20000 + p.pid % 40000  # descriptors in flight are counted for the whole machine
    p.setresuid(uid, uid, uid)
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    p.set_nofile(10, 10)
    assert p.sendmsg(one, b"x", [rights(*[r] * 10)]) == 1
    assert p.sendmsg(one, b"x", [rights(r)]) == 1
    assert p.sendmsg(one, b"x", [rights(r)]) == ETOOMANYREFS
    p.recv(two, 1)
    assert p.sendmsg(one, b"x", [rights(r)]) == 1


@case("SCM-2b", types=ALL, needs="CAP_SYS_ADMIN")
def privilege_has_no_limit_in_flight(p: Process, kind: int) -> None:
    """RLIMIT_NOFILE does not count."""
    one, _ = p.socketpair(kind)
    r, _ = p.pipe()
    p.set_nofile(10, 4096)
    for _ in range(3):
        assert p.sendmsg(one, b"x", [rights(*[r] * 10)]) == 1


@case("SCM-3a", types=ALL, each=[(15, 0), (16, 0), (19, 0), (20, 1), (24, 2), (28, 3), (32, 3)])
def as_many_as_fit(p: Process, kind: int, room: tuple[int, int]) -> None:
    """What does not is closed."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(w, w, w)])
    p.close(w)
    got = p.recvmsg(two, control=room[0])
    assert len(got.rights) == room[1]
    assert got.flags == (0 if room[1] == 3 else MSG_CTRUNC)
    for fd in got.rights:
        p.close(fd)
    assert p.read(r) == b""


@case("SCM-3b", types=ALL)
def padding_has_room_for_one_more(p: Process, kind: int) -> None:
    """CMSG_SPACE of one descriptor takes two."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(r, w)])
    got = p.recvmsg(two, control=cmsg_space(4))
    assert (len(got.rights), got.flags) == (2, 0)


@case("SCM-3c", types=ALL)
def without_room_for_control_messages(p: Process, kind: int) -> None:
    """All are closed."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(w)])
    p.close(w)
    assert p.recvmsg(two, control=None).flags == MSG_CTRUNC
    assert p.read(r) == b""


@case("SCM-3d", types=ALL)
def without_free_descriptors(p: Process, kind: int) -> None:
    """As many as the limit allows."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(r, r, r)])
    p.set_nofile(w + 3, 4096)
    got = p.recvmsg(two)
    assert got.rights == [w + 1, w + 2]
    assert got.flags == MSG_CTRUNC


@case("SCM-3e", types=ALL)
def close_on_exec_on_receipt(p: Process, kind: int) -> None:
    """As the receiver asks."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    p.sendmsg(one, b"x", [rights(r)])
    got = p.recvmsg(two, flags=MSG_CMSG_CLOEXEC)
    assert got.flags == MSG_CMSG_CLOEXEC
    assert p.cloexec(got.rights[0]) == FD_CLOEXEC


@case("SCM-3f", types=ALL)
def each_peek_has_its_own(p: Process, kind: int) -> None:
    """New descriptors each time."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(r)])
    peeked = [p.recvmsg(two, flags=MSG_PEEK).rights[0] for _ in range(2)]
    read = p.recvmsg(two).rights[0]
    assert len({*peeked, read}) == 3
    p.write(w, b"abc")
    assert [p.read(fd, 1) for fd in (*peeked, read)] == [b"a", b"b", b"c"]


@case("SCM-3g", types=ALL, each=["read", "recv"])
def calls_without_control_messages(p: Process, kind: int, how: str) -> None:
    """They close what comes along."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(w)])
    p.close(w)
    assert (p.read(two) if how == "read" else p.recv(two)) == b"x"
    assert p.read(r) == b""


@case("SCM-4a", types=ALL, needs=("CAP_SETUID", "CAP_SETGID"))
def own_credentials(p: Process, kind: int) -> None:
    """Any of the own ids may be shown."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PASSCRED, 1)
    p.setresgid(1004, 1005, 1006)
    p.setresuid(1001, 1002, 1003)
    for uid in (1001, 1002, 1003):
        for gid in (1004, 1005, 1006):
            assert p.sendmsg(one, b"x", [creds(p.pid, uid, gid)]) == 1
            assert p.recvmsg(two).creds == (p.pid, uid, gid)


@case("SCM-4b", "SCM-4c", types=ALL, needs=("CAP_SETUID", "CAP_SETGID", "CAP_SYS_ADMIN"))
def foreign_credentials(p: Process, kind: int) -> None:
    """They need capabilities."""
    other = p.process()
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PASSCRED, 1)
    for given in ((p.pid, 77, 0), (p.pid, 0, 77), (other.pid, 0, 0)):
        assert p.sendmsg(one, b"x", [creds(*given)]) == 1
        assert p.recvmsg(two).creds == given
    p.setresgid(1000, 1000, 1000)
    p.setresuid(1000, 1000, 1000)
    assert p.sendmsg(one, b"x", [creds(p.pid, 77, 1000)]) == EPERM
    assert p.sendmsg(one, b"x", [creds(p.pid, 1000, 77)]) == EPERM
    assert p.sendmsg(one, b"x", [creds(other.pid, 1000, 1000)]) == EPERM
    assert p.sendmsg(one, b"x", [creds(p.pid, 1000, 1000)]) == 1


@case("SCM-4d", types=ALL)
def no_uid_at_all(p: Process, kind: int) -> None:
    """-1 is none."""
    one, _ = p.socketpair(kind)
    assert p.sendmsg(one, b"x", [creds(p.pid, -1, 0)]) == EINVAL
    assert p.sendmsg(one, b"x", [creds(p.pid, 0, -1)]) == EINVAL


@case("SCM-4e", types=ALL, needs="CAP_SYS_ADMIN")
def a_process_that_is_not(p: Process, kind: int) -> None:
    """Nobody has this number."""
    one, _ = p.socketpair(kind)
    assert p.sendmsg(one, b"x", [creds(0x3FFFFFFF, 0, 0)]) == ESRCH


@case("SCM-5a", types=ALL)
def the_senders_credentials(p: Process, kind: int) -> None:
    """pid and real ids, without its doing."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PASSCRED, 1)
    child = p.fork()
    child.send(one, b"x")
    assert p.recvmsg(two).creds == (child.pid, p.getuid(), p.getgid())


@case("SCM-5b", types=ALL)
def credentials_that_nobody_asked_for(p: Process, kind: int) -> None:
    """They are nobody's."""
    one, two = p.socketpair(kind)
    p.send(one, b"x")
    p.setsockopt(two, SO_PASSCRED, 1)
    assert p.recvmsg(two).creds == NOBODY


@case("SCM-5c")
def messages_of_two_senders(p: Process) -> None:
    """A read stops between them."""
    one, two = p.socketpair(STREAM)
    p.setsockopt(two, SO_PASSCRED, 1)
    child = p.fork()
    p.send(one, b"ab")
    p.send(one, b"cd")
    child.send(one, b"ef")
    got = p.recvmsg(two)
    assert (got.data, got.creds) == (b"abcd", (p.pid, p.getuid(), p.getgid()))
    got = p.recvmsg(two)
    assert (got.data, got.creds) == (b"ef", (child.pid, p.getuid(), p.getgid()))


@case("SCM-6a", types=CONNECTED, needs="CAP_SETUID")
def the_peers_credentials(p: Process, kind: int) -> None:
    """Those of listen and connect, effective, whatever came later."""
    listener = p.listener(kind, p.abstract(b"n"))
    child = p.fork()
    child.setresuid(5, 6, 7)
    client = child.client(kind, p.abstract(b"n"))
    child.setresuid(-1, 7, -1)
    accepted = p.accept(listener)
    assert p.getsockopt(accepted, SO_PEERCRED) == pack_ucred(child.pid, 6, p.getgid())
    assert child.getsockopt(client, SO_PEERCRED) == pack_ucred(p.pid, p.getuid(), p.getgid())


@case("SCM-6a", types=ALL)
def the_peers_credentials_of_a_pair(p: Process, kind: int) -> None:
    """They are those of who made it."""
    one, _ = p.socketpair(kind)
    child = p.fork()
    assert child.getsockopt(one, SO_PEERCRED) == pack_ucred(p.pid, p.getuid(), p.getgid())


@case("SCM-6b", types=ALL)
def credentials_without_a_peer(p: Process, kind: int) -> None:
    """A listener is its own."""
    assert p.getsockopt(p.socket(kind), SO_PEERCRED) == pack_ucred(0, -1, -1)
    if kind != DGRAM:
        listener = p.listener(kind, p.abstract(b"n"))
        assert p.getsockopt(listener, SO_PEERCRED) == pack_ucred(p.pid, p.getuid(), p.getgid())


@case("SCM-6c", types=ALL)
def groups_without_a_peer(p: Process, kind: int) -> None:
    """There are none."""
    assert p.getsockopt(p.socket(kind), SO_PEERGROUPS) == ENODATA


@case("SCM-6c", types=ALL, since=(6, 5))
def pidfd_without_a_peer(p: Process, kind: int) -> None:
    """There is none."""
    assert p.getsockopt(p.socket(kind), SO_PEERPIDFD) == ENODATA


@case("SCM-6d", types=ALL)
def security_label(p: Process, kind: int) -> None:
    """Without a security module."""
    one, _ = p.socketpair(kind)
    assert p.getsockopt(one, SO_PEERSEC) == ENOPROTOOPT


@case("SCM-7a", types=ALL, since=(6, 17))
def the_order_of_control_messages(p: Process, kind: int) -> None:
    """Credentials, descriptors, pidfd, and what is left."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    p.setsockopt(two, SO_PASSCRED, 1)
    p.setsockopt(two, SO_PASSPIDFD, 1)
    p.setsockopt(two, SO_INQ, 1)
    p.sendmsg(one, b"x", [rights(r)])
    expected = [SCM_CREDENTIALS, SCM_RIGHTS, SCM_PIDFD]
    assert p.recvmsg(two).kinds == expected + ([SCM_INQ] if kind == STREAM else [])


@case("SCM-8a", types=ALL, since=(6, 16))
def a_receiver_without_rights(p: Process, kind: int) -> None:
    """Who sends to it hears so."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    assert p.option(two, SO_PASSRIGHTS) == 1
    assert p.setsockopt(two, SO_PASSRIGHTS, 0) == 0
    assert p.sendmsg(one, b"x", [rights(r)]) == EPERM
    assert p.sendmsg(two, b"x", [rights(r)]) == 1
    assert p.send(one, b"x") == 1


@case("SCM-8b", types=ALL, since=(6, 5))
def a_pidfd_of_the_sender(p: Process, kind: int) -> None:
    """Close-on-exec."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PASSPIDFD, 1)
    p.send(one, b"x")
    got = p.recvmsg(two)
    assert got.kinds == [SCM_PIDFD]
    assert got.pidfd is not None
    assert p.cloexec(got.pidfd) == FD_CLOEXEC


@case("SCM-8c", since=(6, 17))
def what_is_left(p: Process) -> None:
    """On streams only."""
    one, two = p.socketpair(STREAM)
    assert p.setsockopt(two, SO_INQ, 1) == 0
    p.send(one, b"abc")
    p.send(one, b"de")
    assert p.recvmsg(two, 2).inq == 3
    assert p.recvmsg(two).inq == 0
    for kind in RECORDS:
        assert p.setsockopt(p.socket(kind), SO_INQ, 1) == ENOPROTOOPT


@case("SCM-9a", types=ALL, each=[0, 5, 100])
def unknown_control_messages(p: Process, kind: int, number: int) -> None:
    """At SOL_SOCKET they are refused."""
    one, _ = p.socketpair(kind)
    assert p.sendmsg(one, b"x", [(SOL_SOCKET, number, b"data")]) == EINVAL


@case("SCM-9b", types=ALL)
def control_messages_of_other_levels(p: Process, kind: int) -> None:
    """They are for somebody else."""
    one, two = p.socketpair(kind)
    assert p.sendmsg(one, b"x", [(0, 1, b"data"), (99, 1, b"")]) == 1
    assert p.recvmsg(two).control == ()


@case("SCM-9c", types=ALL, each=[0, 15, 21, 1 << 40])
def malformed_control_messages(p: Process, kind: int, length: int) -> None:
    """A length must lie between the header's and the end."""
    one, _ = p.socketpair(kind)
    raw = length.to_bytes(8, "little") + SOL_SOCKET.to_bytes(4, "little") + SCM_RIGHTS.to_bytes(4, "little") + bytes(4)
    assert p.sendmsg(one, b"x", raw) == EINVAL


@case("SCM-10a", types=ALL)
def a_cycle_is_collected(p: Process, kind: int) -> None:
    """A socket in its own queue keeps a pipe open no longer than it must."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(two, w)])
    p.sendmsg(two, b"x", [rights(one)])
    for fd in (one, two, w):
        p.close(fd)
    # The collector runs when a socket is closed, on the host in a moment of its own.
    for _ in range(3):
        p.close(p.socket(kind))
    assert p.wait_for(r, POLLIN, 2.0) & POLLHUP


@case("SCM-10b", types=ALL)
def what_can_be_received_is_not_collected(p: Process, kind: int) -> None:
    """A socket in flight to who is alive stays."""
    outer, inbox = p.socketpair(STREAM)
    one, two = p.socketpair(kind)
    p.send(one, b"kept")
    p.sendmsg(outer, b"x", [rights(two)])
    p.close(two)
    for _ in range(3):
        p.close(p.socket(kind))
    (fd,) = p.recvmsg(inbox).rights
    assert p.recv(fd) == b"kept"


@case("SCM-11a", types=ALL, each=["close", "death"])
def a_receiver_that_never_read(p: Process, kind: int, how: str) -> None:
    """What was on the way to it is closed."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    child = p.fork()
    p.close(two)
    child.close(w)
    child.close(one)
    p.sendmsg(one, b"x", [rights(w)])
    p.close(w)
    if how == "close":
        child.close(two)
    else:
        child.die()
    assert p.wait_for(r, POLLIN, 2.0) & POLLHUP


@case("SCM-6e", types=ALL, needs="CAP_SETGID")
def the_peers_groups(p: Process, kind: int) -> None:
    """Those it had; ERANGE tells how much room they need."""
    p.setgroups(30, 10, 20)
    one, _ = p.socketpair(kind)
    p.setgroups()
    expected = b"".join(gid.to_bytes(4, "little") for gid in (10, 20, 30))
    assert p.getsockopt(one, SO_PEERGROUPS) == expected
    assert p.getsockopt(one, SO_PEERGROUPS, 8) == ERANGE


@case("SCM-6f", types=ALL, since=(6, 5))
def the_peers_pidfd(p: Process, kind: int) -> None:
    """A descriptor, close-on-exec."""
    one, _ = p.socketpair(kind)
    assert p.cloexec(p.option(one, SO_PEERPIDFD)) == FD_CLOEXEC


@case("SCM-10c", types=ALL)
def a_peek_keeps_a_cycle_alive(p: Process, kind: int) -> None:
    """What was peeked out of it is used, and collected when that is closed."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    p.sendmsg(one, b"x", [rights(two, w)])
    peeked = p.recvmsg(two, flags=MSG_PEEK).rights
    for fd in (one, two, w, peeked[1]):
        p.close(fd)
    for _ in range(3):
        p.close(p.socket(kind))
    got = p.recvmsg(peeked[0], flags=MSG_PEEK)
    assert (got.data, len(got.rights)) == (b"x", 2)
    for fd in (peeked[0], *got.rights):
        p.close(fd)
    for _ in range(3):
        p.close(p.socket(kind))
    assert p.wait_for(r, POLLIN, 2.0) & POLLHUP


@case("SCM-11a", types=ALL)
def a_reader_dies_while_it_waits(p: Process, kind: int) -> None:
    """What is sent after is its peer's own loss, and closed."""
    one, two = p.socketpair(kind)
    r, w = p.pipe()
    child = p.fork()
    p.close(two)
    child.close(one)
    child.close(w)
    waiting = child.begin(child.recvmsg, two)
    assert waiting.blocks
    p.sendmsg(one, b"x", [rights(w)])
    p.close(w)
    child.die()
    assert p.wait_for(r, POLLIN, 2.0) & POLLHUP
