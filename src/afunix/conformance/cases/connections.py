"""Listen, connect, accept."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT


@case("CONN-1a", types=CONNECTED)
def listen_without_a_name(p: Process, kind: int) -> None:
    """A listener must be bound."""
    assert p.listen(p.socket(kind)) == EINVAL


@case("CONN-1b")
def listen_of_a_datagram_socket(p: Process) -> None:
    """Datagram sockets have no connections."""
    assert p.listen(p.bound(DGRAM, p.abstract(b"n"))) == EOPNOTSUPP


@case("CONN-1c", types=CONNECTED)
def listen_of_a_connected_socket(p: Process, kind: int) -> None:
    """Whoever is connected can't listen, bound or not."""
    p.listener(kind, p.abstract(b"n"))
    s = p.bound(kind, p.abstract(b"m"))
    p.connect(s, p.abstract(b"n"))
    assert p.listen(s) == EINVAL


@case("CONN-1d", types=CONNECTED)
def listen_again(p: Process, kind: int) -> None:
    """The backlog can be changed."""
    listener = p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.socket(kind | SOCK_NONBLOCK)
    assert p.connect(late, p.abstract(b"n")) == EAGAIN
    assert p.listen(listener, 1) == 0
    assert p.connect(late, p.abstract(b"n")) == 0


@case("CONN-1e", types=CONNECTED)
def a_negative_backlog(p: Process, kind: int) -> None:
    """It is a long one."""
    p.listener(kind, p.abstract(b"n"), -1)
    for _ in range(50):
        p.client(kind | SOCK_NONBLOCK, p.abstract(b"n"))


@case("CONN-1f", types=CONNECTED)
def a_larger_backlog_lets_a_waiting_connect_in(p: Process, kind: int) -> None:
    """listen wakes it."""
    listener = p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.begin(p.connect, p.socket(kind), p.abstract(b"n"))
    assert late.blocks
    p.listen(listener, 1)
    assert late.result == 0


@case("CONN-2a", types=CONNECTED, each=[0, 1, 3])
def how_many_a_backlog_admits(p: Process, kind: int, backlog: int) -> None:
    """One more than it says."""
    p.listener(kind, p.abstract(b"n"), backlog)
    for _ in range(backlog + 1):
        p.client(kind | SOCK_NONBLOCK, p.abstract(b"n"))
    assert p.connect(p.socket(kind | SOCK_NONBLOCK), p.abstract(b"n")) == EAGAIN


@case("CONN-3a", types=CONNECTED)
def connect_to_a_full_listener_without_waiting(p: Process, kind: int) -> None:
    """It is EAGAIN, never EINPROGRESS, and works once there is room."""
    listener = p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.socket(kind | SOCK_NONBLOCK)
    assert p.connect(late, p.abstract(b"n")) == EAGAIN
    assert p.accept(listener) >= 0
    assert p.connect(late, p.abstract(b"n")) == 0


@case("CONN-3b", types=CONNECTED)
def connect_to_a_full_listener_waits(p: Process, kind: int) -> None:
    """An accept lets it in."""
    listener = p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.begin(p.connect, p.socket(kind), p.abstract(b"n"))
    assert late.blocks
    assert p.accept(listener) >= 0
    assert late.result == 0


@case("CONN-3c", types=CONNECTED)
def connect_times_out(p: Process, kind: int) -> None:
    """SO_SNDTIMEO is the limit."""
    p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.socket(kind)
    p.set_timeout(late, SO_SNDTIMEO, 0.02)
    assert p.connect(late, p.abstract(b"n")) == EAGAIN


@case("CONN-3d", types=CONNECTED)
def connect_is_interrupted(p: Process, kind: int) -> None:
    """A signal ends the wait."""
    p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.begin(p.connect, p.socket(kind), p.abstract(b"n"))
    assert late.blocks
    late.interrupt()
    assert late.result == EINTR


@case("CONN-4a", types=CONNECTED)
def connect_twice(p: Process, kind: int) -> None:
    """Whether there is room is looked at first."""
    listener = p.listener(kind, p.abstract(b"n"), 0)
    client = p.client(kind | SOCK_NONBLOCK, p.abstract(b"n"))
    assert p.connect(client, p.abstract(b"n")) == EAGAIN
    p.accept(listener)
    assert p.connect(client, p.abstract(b"n")) == EISCONN


@case("CONN-5a", types=CONNECTED)
def connect_to_who_does_not_listen(p: Process, kind: int) -> None:
    """A name is not enough."""
    p.bound(kind, p.abstract(b"n"))
    assert p.connect(p.socket(kind), p.abstract(b"n")) == ECONNREFUSED


@case("CONN-5b", types=CONNECTED)
def connect_to_a_shut_listener(p: Process, kind: int) -> None:
    """It takes nobody any more."""
    listener = p.listener(kind, p.abstract(b"n"))
    assert p.shutdown(listener, SHUT_RD) == 0
    assert p.connect(p.socket(kind), p.abstract(b"n")) == ECONNREFUSED


@case("CONN-5c", types=CONNECTED)
def connect_of_a_listener(p: Process, kind: int) -> None:
    """Who listens can't connect, to itself neither."""
    listener = p.listener(kind, p.abstract(b"n"))
    p.listener(kind, p.abstract(b"m"))
    assert p.connect(listener, p.abstract(b"m")) == EINVAL
    assert p.connect(listener, p.abstract(b"n")) == EINVAL


@case("CONN-5d", types=CONNECTED)
def connections_can_not_be_dissolved(p: Process, kind: int) -> None:
    """AF_UNSPEC is for datagrams."""
    one, _ = p.socketpair(kind)
    assert p.disconnect(one) == EINVAL
    assert p.disconnect(p.socket(kind)) == EINVAL


@case("CONN-6a", types=CONNECTED)
def data_before_accept(p: Process, kind: int) -> None:
    """The connection is there at once."""
    listener = p.listener(kind, p.abstract(b"n"))
    client = p.client(kind, p.abstract(b"n"))
    assert p.send(client, b"early") == 5
    assert p.recv(p.accept(listener)) == b"early"


@case("CONN-6b", "CONN-6c", types=CONNECTED)
def accept_after_the_client_closed(p: Process, kind: int) -> None:
    """What it sent, and its name, are still there."""
    listener = p.listener(kind, p.abstract(b"n"))
    client = p.bound(kind, p.abstract(b"client"))
    p.connect(client, p.abstract(b"n"))
    p.send(client, b"last")
    p.close(client)
    accepted = p.accept(listener)
    assert p.getpeername(accepted) == p.abstract(b"client")
    assert p.recv(accepted) == b"last"
    assert p.recv(accepted) == b""


@case("CONN-7a", types=CONNECTED)
def accept_of_who_does_not_listen(p: Process, kind: int) -> None:
    """Unbound, bound or connected."""
    assert p.accept(p.socket(kind)) == EINVAL
    assert p.accept(p.bound(kind, p.abstract(b"n"))) == EINVAL
    assert p.accept(p.socketpair(kind)[0]) == EINVAL


@case("CONN-7b")
def accept_of_a_datagram_socket(p: Process) -> None:
    """There is nothing to accept."""
    assert p.accept(p.bound(DGRAM, p.abstract(b"n"))) == EOPNOTSUPP


@case("CONN-7c", types=CONNECTED)
def accept_of_a_shut_listener(p: Process, kind: int) -> None:
    """Who may wait hears that it would be in vain."""
    listener = p.listener(kind, p.abstract(b"n"))
    p.shutdown(listener, SHUT_RD)
    assert p.accept(listener) == EINVAL
    p.set_status_flags(listener, O_NONBLOCK)
    assert p.accept(listener) == EAGAIN


@case("CONN-7d", types=CONNECTED)
def accept_waits(p: Process, kind: int) -> None:
    """For a connection, a time-out or a signal."""
    listener = p.listener(kind, p.abstract(b"n"))
    waiting = p.begin(p.accept, listener)
    assert waiting.blocks
    p.client(kind, p.abstract(b"n"))
    assert waiting.result >= 0
    waiting = p.begin(p.accept, listener)
    assert waiting.blocks
    waiting.interrupt()
    assert waiting.result == EINTR
    p.set_timeout(listener, SO_RCVTIMEO, 0.02)
    assert p.accept(listener) == EAGAIN


@case("CONN-7e", types=CONNECTED)
def accept4_with_unknown_flags(p: Process, kind: int) -> None:
    """They are refused before anything else."""
    listener = p.listener(kind, p.abstract(b"n"))
    p.client(kind, p.abstract(b"n"))
    assert p.accept(listener, 1) == EINVAL
    assert p.accept(listener) >= 0


@case("CONN-7f", types=CONNECTED)
def accept_without_a_free_descriptor(p: Process, kind: int) -> None:
    """The connection waits on."""
    listener = p.listener(kind, p.abstract(b"n"))
    client = p.client(kind, p.abstract(b"n"))
    p.set_nofile(client + 1, 4096)
    assert p.accept(listener) == EMFILE
    p.set_nofile(64, 4096)
    assert p.accept(listener) >= 0


@case("CONN-7g", types=CONNECTED)
def shutdown_wakes_accept(p: Process, kind: int) -> None:
    """Waiting is over then."""
    listener = p.listener(kind, p.abstract(b"n"))
    waiting = p.begin(p.accept, listener)
    assert waiting.blocks
    p.shutdown(listener, SHUT_RD)
    assert waiting.result == EINVAL


@case("CONN-8a", types=CONNECTED)
def names_of_an_accepted_socket(p: Process, kind: int) -> None:
    """Its own is the listener's."""
    listener = p.listener(kind, b"s")
    client = p.bound(kind, b"c")
    p.connect(client, b"s")
    accepted, address = p.accept_from(listener)
    assert address == b"c"
    assert p.getsockname(accepted) == b"s"
    assert p.getpeername(accepted) == b"c"
    assert p.getpeername(client) == b"s"


@case("CONN-8a", types=CONNECTED)
def accept_of_a_nameless_client(p: Process, kind: int) -> None:
    """accept tells a family alone."""
    listener = p.listener(kind, p.abstract(b"n"))
    p.client(kind, p.abstract(b"n"))
    accepted, address = p.accept_from(listener)
    assert address == b""
    assert p.getpeername(accepted) == b""


@case("CONN-8b", types=CONNECTED, since=(6, 16))
def an_accepted_socket_inherits_passcred(p: Process, kind: int) -> None:
    """As it was when the client connected."""
    listener = p.listener(kind, p.abstract(b"n"))
    p.client(kind, p.abstract(b"n"))
    p.setsockopt(listener, SO_PASSCRED, 1)
    p.client(kind, p.abstract(b"n"))
    before, after = p.accept(listener), p.accept(listener)
    assert p.option(before, SO_PASSCRED) == 0
    assert p.option(after, SO_PASSCRED) == 1


@case("CONN-8b", types=CONNECTED, each=["pidfd", "security", "rights"], since=(6, 16))
def an_accepted_socket_inherits_what_may_pass(p: Process, kind: int, what: str) -> None:
    """As it was when the client connected."""
    option, before = {
        "pidfd": (SO_PASSPIDFD, 0),
        "security": (SO_PASSSEC, 0),
        "rights": (SO_PASSRIGHTS, 1),
    }[what]
    listener = p.listener(kind, p.abstract(b"n"))
    p.client(kind, p.abstract(b"n"))
    p.setsockopt(listener, option, 1 - before)
    p.client(kind, p.abstract(b"n"))
    first, second = p.accept(listener), p.accept(listener)
    assert p.option(first, option) == before
    assert p.option(second, option) == 1 - before
    p.setsockopt(listener, option, before)
    assert p.option(second, option) == 1 - before


@case("CONN-8c", types=CONNECTED)
def what_an_accepted_socket_does_not_inherit(p: Process, kind: int) -> None:
    """Buffers, time-outs and O_NONBLOCK are new."""
    listener = p.listener(kind | SOCK_NONBLOCK, p.abstract(b"n"))
    default = p.option(listener, SO_SNDBUF)
    p.setsockopt(listener, SO_SNDBUF, 20000)
    p.set_timeout(listener, SO_RCVTIMEO, 5)
    p.client(kind, p.abstract(b"n"))
    accepted = p.accept(listener)
    assert p.option(accepted, SO_SNDBUF) == default
    assert p.getsockopt(accepted, SO_RCVTIMEO) == bytes(16)
    assert p.status_flags(accepted) == O_RDWR


@case("CONN-8d", types=CONNECTED)
def accept4_flags(p: Process, kind: int) -> None:
    """Each has its effect."""
    listener = p.listener(kind, p.abstract(b"n"))
    for _ in range(2):
        p.client(kind, p.abstract(b"n"))
    plain = p.accept(listener)
    assert (p.cloexec(plain), p.status_flags(plain)) == (0, O_RDWR)
    both = p.accept(listener, SOCK_CLOEXEC | SOCK_NONBLOCK)
    assert (p.cloexec(both), p.status_flags(both)) == (FD_CLOEXEC, O_RDWR | O_NONBLOCK)


@case("CONN-9a")
def raw_is_dgram(p: Process) -> None:
    """BSD had such."""
    s = p.socket(SOCK_RAW)
    assert p.option(s, SO_TYPE) == DGRAM
    one, two = p.socketpair(SOCK_RAW)
    assert p.send(one, b"x") == 1
    assert p.recv(two) == b"x"


@case("CONN-9b", each=[SOCK_RDM, SOCK_DCCP, 9])
def unknown_types(p: Process, kind: int) -> None:
    """Neither for socket nor for socketpair."""
    assert p.socket(kind) == ESOCKTNOSUPPORT
    assert p.socketpair(kind)[0] == ESOCKTNOSUPPORT


@case("CONN-9c", types=ALL)
def protocols(p: Process, kind: int) -> None:
    """PF_UNIX is one, and the default."""
    assert p.socket(kind, PF_UNIX) >= 0
    assert p.socket(kind, 6) == EPROTONOSUPPORT
    assert p.socketpair(kind, 6)[0] == EPROTONOSUPPORT


@case("CONN-9d", types=ALL)
def unknown_type_bits(p: Process, kind: int) -> None:
    """Two flags are known."""
    assert p.socket(kind | 0o100) == EINVAL
    s = p.socket(kind | SOCK_NONBLOCK | SOCK_CLOEXEC)
    assert (p.cloexec(s), p.status_flags(s)) == (FD_CLOEXEC, O_RDWR | O_NONBLOCK)


@case("CONN-9e", types=ALL)
def socketpair_into_the_wild(p: Process, kind: int) -> None:
    """A bad pointer leaves nothing open."""
    assert p.call("socketpair", AF_UNIX, kind, 0, BAD) == EFAULT
    assert p.socket(kind) == 3


@case("CONN-10a", types=CONNECTED)
def close_of_a_listener_resets(p: Process, kind: int) -> None:
    """Who was not accepted is reset, whatever it sent."""
    listener = p.listener(kind, p.abstract(b"n"))
    client = p.client(kind, p.abstract(b"n"))
    p.close(listener)
    assert p.poll(client) & (POLLERR | POLLHUP) == POLLERR | POLLHUP
    assert p.recv(client) == ECONNRESET
    assert p.recv(client) == b""


@case("CONN-10b", types=CONNECTED)
def close_of_a_listener_wakes_who_waits(p: Process, kind: int) -> None:
    """A waiting connect is refused."""
    listener = p.listener(kind, p.abstract(b"n"), 0)
    p.client(kind, p.abstract(b"n"))
    late = p.begin(p.connect, p.socket(kind), p.abstract(b"n"))
    assert late.blocks
    p.close(listener)
    assert late.result == ECONNREFUSED


@case("CONN-1g", types=(STREAM,))
def a_backlog_longer_than_any(p: Process, kind: int) -> None:
    """somaxconn is the most, whatever was asked for."""
    p.listener(kind, p.abstract(b"n"), 1 << 30)
    count = 0
    while p.connect(s := p.socket(kind | SOCK_NONBLOCK), p.abstract(b"n")) == 0:
        p.close(s)
        count += 1
        assert count < 100000
    again = p.listener(kind, p.abstract(b"m"), -1)
    assert again >= 0
    for _ in range(count):
        p.close(p.client(kind | SOCK_NONBLOCK, p.abstract(b"m")))
    assert p.connect(s, p.abstract(b"m")) == EAGAIN
