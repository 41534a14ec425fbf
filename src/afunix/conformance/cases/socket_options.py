"""Options, ioctl, and what the descriptor layer shows of sockets."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

FLAGS = {
    "reuseaddr": SO_REUSEADDR,
    "keepalive": SO_KEEPALIVE,
    "broadcast": SO_BROADCAST,
    "oobinline": SO_OOBINLINE,
    "dontroute": SO_DONTROUTE,
    "passcred": SO_PASSCRED,
}


@case("OPT-1a", types=ALL)
def what_it_is(p: Process, kind: int) -> None:
    """Type, family and protocol."""
    s = p.socket(kind, PF_UNIX)
    assert p.option(s, SO_TYPE) == kind
    assert p.option(s, SO_DOMAIN) == AF_UNIX
    assert p.option(s, SO_PROTOCOL) == 0


@case("OPT-1b", types=CONNECTED)
def whether_it_listens(p: Process, kind: int) -> None:
    """SO_ACCEPTCONN."""
    s = p.bound(kind, p.abstract(b"n"))
    assert p.option(s, SO_ACCEPTCONN) == 0
    p.listen(s)
    assert p.option(s, SO_ACCEPTCONN) == 1


@case("OPT-1c", types=ALL, each=list(FLAGS))
def flags_are_kept(p: Process, kind: int, name: str) -> None:
    """Any value but 0 is 1."""
    s = p.socket(kind)
    assert p.option(s, FLAGS[name]) == 0
    assert p.setsockopt(s, FLAGS[name], 7) == 0
    assert p.option(s, FLAGS[name]) == 1
    assert p.setsockopt(s, FLAGS[name], 0) == 0
    assert p.option(s, FLAGS[name]) == 0


@case("OPT-1d", types=ALL, since=(6, 13))
def reuse_of_ports(p: Process, kind: int) -> None:
    """There are none."""
    assert p.setsockopt(p.socket(kind), SO_REUSEPORT, 1) == EOPNOTSUPP


@case("OPT-1e", types=ALL)
def unknown_options(p: Process, kind: int) -> None:
    """Neither to set nor to get."""
    s = p.socket(kind)
    assert p.setsockopt(s, 9999, 1) == ENOPROTOOPT
    assert p.getsockopt(s, 9999) == ENOPROTOOPT


@case("OPT-1f", types=ALL, each=[IPPROTO_IP, IPPROTO_TCP, 99])
def options_of_other_levels(p: Process, kind: int, level: int) -> None:
    """Unix sockets have none."""
    s = p.socket(kind)
    assert p.setsockopt(s, 1, 1, level) == EOPNOTSUPP
    assert p.getsockopt(s, 1, level=level) == EOPNOTSUPP


@case("OPT-1g", types=ALL)
def short_values(p: Process, kind: int) -> None:
    """An int has four bytes."""
    s = p.socket(kind)
    assert p.setsockopt(s, SO_REUSEADDR, b"\1\0\0") == EINVAL
    assert p.setsockopt(s, SO_REUSEADDR, b"\1\0\0\0\0\0") == 0


@case("OPT-1h", types=ALL)
def values_cut_short(p: Process, kind: int) -> None:
    """The length told is that of what is there."""
    s = p.socket(kind)
    assert p.getsockopt(s, SO_TYPE, 2) == kind.to_bytes(2, "little")
    assert p.getsockopt(s, SO_TYPE, 64) == kind.to_bytes(4, "little")
    assert p.getsockopt(s, SO_TYPE, 0) == b""


@case("OPT-1i", types=ALL)
def linger_and_timeouts(p: Process, kind: int) -> None:
    """They come back as they were set."""
    s = p.socket(kind)
    assert p.setsockopt(s, SO_LINGER, LINGER.pack(1, 7)) == 0
    assert p.getsockopt(s, SO_LINGER) == LINGER.pack(1, 7)
    for option in (SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVTIMEO_NEW, SO_SNDTIMEO_NEW):
        assert p.setsockopt(s, option, TIMEVAL.pack(3, 500000)) == 0
        assert p.getsockopt(s, option) == TIMEVAL.pack(3, 500000)
        assert p.setsockopt(s, option, TIMEVAL.pack(0, 1000000)) == EDOM


@case("OPT-1j", types=ALL, needs=("CAP_SETUID", "CAP_NET_ADMIN"))
def forced_buffers(p: Process, kind: int) -> None:
    """They need a capability."""
    s = p.socket(kind)
    assert p.setsockopt(s, SO_SNDBUFFORCE, 1 << 24) == 0
    assert p.option(s, SO_SNDBUF) == 1 << 25
    p.setresuid(1000, 1000, 1000)
    assert p.setsockopt(s, SO_SNDBUFFORCE, 1 << 24) == EPERM


@case("OPT-1m", types=ALL, needs=("CAP_SETUID", "CAP_NET_ADMIN"))
def the_receive_buffer(p: Process, kind: int) -> None:
    """It is doubled, from 2304 up, and forced by who may."""
    s = p.socket(kind)
    for given, told in ((0, 2304), (1, 2304), (1152, 2304), (1153, 2306), (50000, 100000)):
        assert p.setsockopt(s, SO_RCVBUF, given) == 0
        assert p.option(s, SO_RCVBUF) == told
    assert p.setsockopt(s, SO_RCVBUFFORCE, 1 << 24) == 0
    assert p.option(s, SO_RCVBUF) == 1 << 25
    p.setresuid(1000, 1000, 1000)
    assert p.setsockopt(s, SO_RCVBUFFORCE, 1 << 24) == EPERM


@case("OPT-1k", types=ALL, each=[SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR, SO_ACCEPTCONN])
def options_to_read_only(p: Process, kind: int, option: int) -> None:
    """They can't be set."""
    assert p.setsockopt(p.socket(kind), option, 1) == ENOPROTOOPT


@case("OPT-3a", "OPT-3b", types=ALL)
def times_of_messages(p: Process, kind: int) -> None:
    """Not on streams."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_TIMESTAMP, 1)
    p.send(one, b"x")
    assert p.recvmsg(two).kinds == ([] if kind == STREAM else [SCM_TIMESTAMP])
    p.setsockopt(two, SO_TIMESTAMPNS, 1)
    p.send(one, b"x")
    assert p.recvmsg(two).kinds == ([] if kind == STREAM else [SCM_TIMESTAMPNS])


@case("OPT-4a", types=ALL, needs="CAP_NET_ADMIN")
def the_inode_of_a_socket(p: Process, kind: int) -> None:
    """An O_PATH descriptor for where it is bound."""
    s = p.socket(kind)
    assert p.ioctl_plain(s, SIOCUNIXFILE) == ENOENT
    p.bind(s, b"s")
    fd = p.ioctl_plain(s, SIOCUNIXFILE)
    assert p.fstat(fd) == p.stat(b"s")
    assert p.cloexec(fd) == FD_CLOEXEC


@case("OPT-4e", types=CONNECTED, needs="CAP_NET_ADMIN")
def the_inode_of_an_accepted_socket(p: Process, kind: int) -> None:
    """It is the listener's, also when that is closed and its path gone."""
    listener = p.listener(kind, b"s")
    client = p.client(kind, b"s")
    found = p.stat(b"s")
    assert isinstance(found, Stat)
    accepted = p.accept(listener)
    assert p.ioctl_plain(client, SIOCUNIXFILE) == ENOENT
    p.close(listener)
    fd = p.ioctl_plain(accepted, SIOCUNIXFILE)
    assert p.fstat(fd) == found
    p.unlink(b"s")
    fd = p.ioctl_plain(accepted, SIOCUNIXFILE)
    left = p.fstat(fd)
    assert isinstance(left, Stat)
    assert (left.ino, left.nlink) == (found.ino, 0)


@case("OPT-4a", types=ALL, needs="CAP_SETUID")
def the_inode_of_a_socket_without_privilege(p: Process, kind: int) -> None:
    """EPERM."""
    s = p.socket(kind)
    p.setresuid(1000, 1000, 1000)
    assert p.ioctl_plain(s, SIOCUNIXFILE) == EPERM


@case("OPT-4b", types=ALL)
def what_fstat_shows(p: Process, kind: int) -> None:
    """A socket, everybody's."""
    found = p.fstat(p.socket(kind))
    assert isinstance(found, Stat)
    assert (found.mode, found.nlink, found.size) == (S_IFSOCK | 0o777, 1, 0)


@case("OPT-5a", types=ALL)
def not_to_wait_is_the_descriptions(p: Process, kind: int) -> None:
    """Duplicates share it."""
    one, two = p.socketpair(kind)
    copy = p.dup(two)
    p.ioctl_set(two, FIONBIO, 1)
    assert p.recv(copy) == EAGAIN
    assert p.status_flags(copy) == O_RDWR | O_NONBLOCK
    p.set_status_flags(copy, 0)
    waiting = p.begin(p.recv, two)
    assert waiting.blocks
    p.send(one, b"x")
    assert waiting.result == b"x"
    p.set_status_flags(two, O_NONBLOCK)
    assert p.recv(copy) == EAGAIN


@case("OPT-5b", types=ALL, each=[TCGETS, SIOCPROTOPRIVATE + 1, 0x12345678])
def unknown_ioctls(p: Process, kind: int, command: int) -> None:
    """ENOTTY."""
    assert p.ioctl(p.socket(kind), command) == ENOTTY


@case("OPT-6a")
def calls_on_what_is_no_socket(p: Process) -> None:
    """ENOTSOCK; EBADF where nothing is open."""
    r, _ = p.pipe()
    for fd, expected in ((r, ENOTSOCK), (999, EBADF), (-1, EBADF)):
        assert p.bind(fd, b"s") == expected
        assert p.connect(fd, b"s") == expected
        assert p.listen(fd) == expected
        assert p.accept(fd) == expected
        assert p.send(fd, b"x") == expected
        assert p.recv(fd) == expected
        assert p.sendmsg(fd, b"x") == expected
        assert p.recvmsg(fd) == expected
        assert p.shutdown(fd, SHUT_RD) == expected
        assert p.getsockname(fd) == expected
        assert p.getpeername(fd) == expected
        assert p.option(fd, SO_TYPE) == expected
        assert p.setsockopt(fd, SO_REUSEADDR, 1) == expected
