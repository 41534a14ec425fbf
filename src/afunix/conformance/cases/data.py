"""Stream and seqpacket data."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

NOW = MSG_DONTWAIT
QUIET = MSG_NOSIGNAL
ONE_BYTE_MESSAGES = 278


@case("DATA-1a")
def stream_send_with_an_address(p: Process) -> None:
    """Streams have no use for one."""
    p.listener(STREAM, p.abstract(b"n"))
    one, _ = p.socketpair(STREAM)
    assert p.sendto(one, b"x", p.abstract(b"n")) == EISCONN
    assert p.sendto(p.socket(STREAM), b"x", p.abstract(b"n")) == EOPNOTSUPP


@case("DATA-1b")
def seqpacket_send_with_an_address(p: Process) -> None:
    """It goes to the peer."""
    one, two = p.socketpair(SEQPACKET)
    assert p.sendto(one, b"x", p.abstract(b"nobody")) == 1
    assert p.recv(two) == b"x"
    assert p.sendto(p.socket(SEQPACKET), b"x", p.abstract(b"nobody")) == ENOTCONN


@case("DATA-2a", types=CONNECTED)
def recv_without_a_peer(p: Process, kind: int) -> None:
    """The types differ."""
    expected = EINVAL if kind == STREAM else ENOTCONN
    assert p.recv(p.socket(kind)) == expected
    assert p.recv(p.listener(kind, p.abstract(b"n"))) == expected


@case("DATA-2b", types=CONNECTED)
def send_without_a_peer(p: Process, kind: int) -> None:
    """No peer, no send, and no signal."""
    assert p.send(p.socket(kind), b"x") == ENOTCONN
    assert p.write(p.socket(kind), b"x") == ENOTCONN
    assert p.signals() == []


@case("DATA-3a")
def stream_reads_data_then_error_then_end(p: Process) -> None:
    """The error is told once."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"unread")
    p.send(two, b"queued")
    p.close(two)
    assert p.recv(one) == b"queued"
    assert p.recv(one) == ECONNRESET
    assert p.recv(one) == b""
    assert p.recv(one) == b""


@case("DATA-3b")
def seqpacket_reads_the_error_first(p: Process) -> None:
    """Then the records."""
    one, two = p.socketpair(SEQPACKET)
    p.send(one, b"unread")
    p.send(two, b"queued")
    p.close(two)
    assert p.recv(one) == ECONNRESET
    assert p.recv(one) == b"queued"
    assert p.recv(one) == b""


@case("DATA-3c", types=CONNECTED)
def so_error_takes_the_error(p: Process, kind: int) -> None:
    """Nobody else hears of it."""
    one, two = p.socketpair(kind)
    p.send(one, b"unread")
    p.close(two)
    assert p.poll(one) & POLLERR
    assert p.option(one, SO_ERROR) == 104
    assert p.option(one, SO_ERROR) == 0
    assert not p.poll(one) & POLLERR
    assert p.recv(one) == b""


@case("DATA-4a", types=CONNECTED)
def close_with_unread_data(p: Process, kind: int) -> None:
    """The peer is reset."""
    one, two = p.socketpair(kind)
    p.send(one, b"unread")
    p.close(two)
    assert p.recv(one) == ECONNRESET


@case("DATA-4b", types=CONNECTED)
def close_with_all_read(p: Process, kind: int) -> None:
    """The peer reads the end."""
    one, two = p.socketpair(kind)
    p.send(one, b"x")
    p.recv(two)
    p.close(two)
    assert p.recv(one) == b""
    assert p.option(one, SO_ERROR) == 0


@case("DATA-5a", types=CONNECTED)
def send_after_a_reset(p: Process, kind: int) -> None:
    """Whether the error or the broken pipe is told."""
    one, two = p.socketpair(kind)
    p.send(one, b"unread")
    p.close(two)
    if kind == SEQPACKET:
        assert p.send(one, b"x", QUIET) == ECONNRESET
    assert p.send(one, b"x", QUIET) == EPIPE
    assert p.option(one, SO_ERROR) == (0 if kind == SEQPACKET else 104)


@case("DATA-6a", types=CONNECTED)
def a_broken_pipe_signals(p: Process, kind: int) -> None:
    """Streams only."""
    one, two = p.socketpair(kind)
    p.close(two)
    assert p.send(one, b"x") == EPIPE
    assert p.signals() == ([SIGPIPE] if kind == STREAM else [])
    assert p.write(one, b"x") == EPIPE
    assert p.signals() == ([SIGPIPE] if kind == STREAM else [])


@case("DATA-6b")
def a_broken_pipe_without_a_signal(p: Process) -> None:
    """MSG_NOSIGNAL."""
    one, two = p.socketpair(STREAM)
    p.close(two)
    assert p.send(one, b"x", QUIET) == EPIPE
    assert p.sendmsg(one, b"x", flags=QUIET) == EPIPE
    assert p.signals() == []


@case("DATA-7a", types=ALL)
def shutdown_without_a_peer(p: Process, kind: int) -> None:
    """It is allowed; a bad how is not."""
    s = p.socket(kind)
    for how in (3, -1, 1000):
        assert p.shutdown(s, how) == EINVAL
    for how in (SHUT_RD, SHUT_WR, SHUT_RDWR):
        assert p.shutdown(s, how) == 0


@case("DATA-7b", types=CONNECTED)
def reading_is_shut(p: Process, kind: int) -> None:
    """What came before can be read."""
    one, two = p.socketpair(kind)
    p.send(two, b"before")
    p.shutdown(one, SHUT_RD)
    assert p.send(two, b"x", QUIET) == EPIPE
    assert p.recv(one) == b"before"
    assert p.recv(one) == b""
    assert p.send(one, b"x") == 1


@case("DATA-7c", types=CONNECTED)
def writing_is_shut(p: Process, kind: int) -> None:
    """The peer reads to the end, and can answer."""
    one, two = p.socketpair(kind)
    p.send(one, b"last")
    p.shutdown(one, SHUT_WR)
    assert p.send(one, b"x", QUIET) == EPIPE
    assert p.recv(two) == b"last"
    assert p.recv(two) == b""
    assert p.send(two, b"answer") == 6
    assert p.recv(one) == b"answer"


@case("DATA-7d", types=CONNECTED, each=["own", "peer's", "close"])
def the_end_wakes_a_reader(p: Process, kind: int, whose: str) -> None:
    """Whoever made it."""
    one, two = p.socketpair(kind)
    waiting = p.begin(p.recv, one)
    assert waiting.blocks
    if whose == "own":
        p.shutdown(one, SHUT_RD)
    elif whose == "close":
        p.close(two)
    else:
        p.shutdown(two, SHUT_WR)
    assert waiting.result == b""


@case("DATA-8a")
def records_keep_their_borders(p: Process) -> None:
    """A short buffer loses the rest."""
    one, two = p.socketpair(SEQPACKET)
    p.send(one, b"first")
    p.send(one, b"second")
    got = p.recvmsg(two, 3)
    assert (got.data, got.flags, got.length) == (b"fir", MSG_TRUNC, 3)
    got = p.recvmsg(two)
    assert (got.data, got.flags) == (b"second", 0)


@case("DATA-8b", types=CONNECTED)
def end_of_record(p: Process, kind: int) -> None:
    """It is not told to the receiver."""
    one, two = p.socketpair(kind)
    assert p.send(one, b"x", MSG_EOR) == 1
    assert p.recvmsg(two).flags == 0


@case("DATA-8c")
def the_end_of_records(p: Process) -> None:
    """It is no EAGAIN."""
    one, two = p.socketpair(SEQPACKET)
    p.close(one)
    assert p.recv(two, flags=NOW) == b""


@case("DATA-9a", types=ALL)
def what_a_message_costs(p: Process, kind: int) -> None:
    """Its truesize, in the sender's buffer."""
    one, two = p.socketpair(kind)
    for count in (1, 2, 3):
        p.send(one, b"x")
        assert p.ioctl(one, SIOCOUTQ) == 768 * count
        assert p.ioctl(two, SIOCOUTQ) == 0


@case("DATA-9b", types=CONNECTED)
def how_many_messages_fit(p: Process, kind: int) -> None:
    """The default buffer takes 278 of one byte."""
    one, two = p.socketpair(kind)
    assert p.fill(one) == ONE_BYTE_MESSAGES
    assert p.ioctl(one, SIOCOUTQ) == ONE_BYTE_MESSAGES * 768
    assert p.fill(two) == ONE_BYTE_MESSAGES


@case("DATA-9c", types=ALL)
def when_it_is_writable(p: Process, kind: int) -> None:
    """A quarter of the buffer."""
    one, _ = p.socketpair(kind)
    p.setsockopt(one, SO_SNDBUF, 4 * 768)
    limit = p.option(one, SO_SNDBUF)
    for count in range(1, limit // 768 + 1):
        p.send(one, b"x")
        assert bool(p.poll(one) & POLLOUT) == (count * 768 * 4 + 4 <= limit)


@case("DATA-9d", types=ALL, each=[0, 1000, 2304, 2305, 100000])
def the_buffer_size_doubles(p: Process, kind: int, size: int) -> None:
    """From 4608 up."""
    s = p.socket(kind)
    assert p.setsockopt(s, SO_SNDBUF, size) == 0
    assert p.option(s, SO_SNDBUF) == max(2 * size, 4608)


@case("DATA-9e", types=ALL)
def the_receive_buffer_limits_nothing(p: Process, kind: int) -> None:
    """As many messages fit as without."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_RCVBUF, 1)
    assert p.fill(one) == ONE_BYTE_MESSAGES


@case("DATA-9f", types=CONNECTED)
def a_read_makes_room(p: Process, kind: int) -> None:
    """One message for one."""
    one, two = p.socketpair(kind)
    p.fill(one)
    p.recv(two, 1)
    assert p.ioctl(one, SIOCOUTQ) == (ONE_BYTE_MESSAGES - 1) * 768
    assert p.send(one, b"x", NOW) == 1
    assert p.send(one, b"x", NOW) == EAGAIN


@case("DATA-9g", types=CONNECTED)
def a_send_waits_for_room(p: Process, kind: int) -> None:
    """The peer's read lets it go on."""
    one, two = p.socketpair(kind)
    count = p.fill(one)
    waiting = p.begin(p.send, one, b"late")
    assert waiting.blocks
    for _ in range(count):
        p.recv(two, 1)
    assert waiting.result == 4
    assert p.recv(two) == b"late"


@case("DATA-9h")
def a_long_send_in_part(p: Process) -> None:
    """It tells how much went."""
    one, two = p.socketpair(STREAM)
    sent = p.send(one, bytes(1 << 20), NOW)
    assert 0 < sent < 1 << 20
    assert p.ioctl(two, SIOCINQ) == sent
    assert p.send(one, b"x", NOW) == EAGAIN


@case("DATA-10a")
def reads_merge_messages(p: Process) -> None:
    """A stream has no borders."""
    one, two = p.socketpair(STREAM)
    for part in (b"a", b"bc", b"def"):
        p.send(one, part)
    assert p.recv(two, 4) == b"abcd"
    assert p.recv(two) == b"ef"


@case("DATA-10b")
def reads_stop_behind_descriptors(p: Process) -> None:
    """What stands before merges with the message that has them."""
    one, two = p.socketpair(STREAM)
    r, _ = p.pipe()
    p.send(one, b"before")
    p.sendmsg(one, b"with", [rights(r)])
    p.send(one, b"after")
    got = p.recvmsg(two)
    assert (got.data, len(got.rights), got.flags) == (b"beforewith", 1, 0)
    got = p.recvmsg(two)
    assert (got.data, got.rights) == (b"after", [])


@case("DATA-10b")
def descriptors_come_with_their_first_byte(p: Process) -> None:
    """Not later."""
    one, two = p.socketpair(STREAM)
    r, _ = p.pipe()
    p.send(one, b"ab")
    p.sendmsg(one, b"cd", [rights(r)])
    assert p.recvmsg(two, 2).rights == []
    assert len(p.recvmsg(two, 1).rights) == 1
    assert p.recvmsg(two, 1).rights == []


@case("DATA-10c")
def waitall_stops_behind_descriptors(p: Process) -> None:
    """All is not waited for then."""
    one, two = p.socketpair(STREAM)
    r, _ = p.pipe()
    p.sendmsg(one, b"with", [rights(r)])
    p.send(one, b"after")
    assert p.recvmsg(two, 9, flags=MSG_WAITALL).data == b"with"


@case("DATA-10d")
def waitall_waits_for_all(p: Process) -> None:
    """Or for the end."""
    one, two = p.socketpair(STREAM)
    waiting = p.begin(p.recv, two, 6, MSG_WAITALL)
    p.send(one, b"abc")
    assert waiting.blocks
    p.send(one, b"def")
    assert waiting.result == b"abcdef"
    waiting = p.begin(p.recv, two, 6, MSG_WAITALL)
    p.send(one, b"gh")
    assert waiting.blocks
    p.close(one)
    assert waiting.result == b"gh"


@case("DATA-11a")
def a_stream_send_of_nothing(p: Process) -> None:
    """Its descriptors are dropped."""
    one, two = p.socketpair(STREAM)
    r, w = p.pipe()
    assert p.sendmsg(one, b"", [rights(w)]) == 0
    p.close(w)
    assert p.read(r) == b""
    assert p.recvmsg(two, flags=NOW) == EAGAIN


@case("DATA-11b", types=RECORDS)
def a_record_of_nothing(p: Process, kind: int) -> None:
    """Its descriptors arrive."""
    one, two = p.socketpair(kind)
    r, _ = p.pipe()
    assert p.sendmsg(one, b"", [rights(r)]) == 0
    got = p.recvmsg(two)
    assert (got.length, len(got.rights)) == (0, 1)


@case("DATA-11c")
def a_stream_read_of_nothing(p: Process) -> None:
    """It waits as any."""
    one, two = p.socketpair(STREAM)
    assert p.recv(two, 0, NOW) == EAGAIN
    p.send(one, b"x")
    assert p.recv(two, 0, NOW) == b""
    assert p.recv(two) == b"x"


@case("DATA-12a", types=ALL)
def a_peek_leaves_data(p: Process, kind: int) -> None:
    """On a stream it spans messages."""
    one, two = p.socketpair(kind)
    p.send(one, b"ab")
    p.send(one, b"cd")
    expected = b"abcd" if kind == STREAM else b"ab"
    assert p.recv(two, flags=MSG_PEEK) == expected
    assert p.recv(two, flags=MSG_PEEK) == expected
    assert p.recv(two) == expected


@case("DATA-12b")
def peek_offset_on_a_stream(p: Process) -> None:
    """Peeks go on where the last one ended; a read takes the offset back."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abcdef")
    assert p.setsockopt(two, SO_PEEK_OFF, 1) == 0
    assert p.recv(two, 2, MSG_PEEK) == b"bc"
    assert p.recv(two, 2, MSG_PEEK) == b"de"
    assert p.option(two, SO_PEEK_OFF) == 5
    assert p.recv(two, 2) == b"ab"
    assert p.option(two, SO_PEEK_OFF) == 3
    assert p.recv(two, 9, MSG_PEEK) == b"f"


@case("DATA-12e", types=RECORDS)
def peek_offset_on_records(p: Process, kind: int) -> None:
    """A peek begins that far into what is queued, and stays in its record."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PEEK_OFF, 0)
    p.send(one, b"abcdef")
    p.send(one, b"ghi")
    assert p.recv(two, 4, MSG_PEEK) == b"abcd"
    assert p.option(two, SO_PEEK_OFF) == 4
    assert p.recv(two, 4, MSG_PEEK) == b"ef"
    assert p.option(two, SO_PEEK_OFF) == 6
    assert p.recv(two, 2, MSG_PEEK) == b"gh"
    assert p.option(two, SO_PEEK_OFF) == 8
    assert p.recv(two, 100) == b"abcdef"
    assert p.option(two, SO_PEEK_OFF) == 2
    assert p.recv(two, 100, MSG_PEEK) == b"i"
    p.setsockopt(two, SO_PEEK_OFF, -1)
    assert p.recv(two, 100, MSG_PEEK) == b"ghi"
    assert p.option(two, SO_PEEK_OFF) == -1


@case("DATA-12c")
def trunc_on_a_stream(p: Process) -> None:
    """It has no meaning there."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"abcdef")
    assert p.recv(two, 4, MSG_TRUNC) == b"abcd"
    assert p.recvmsg(two, 4, flags=MSG_TRUNC).flags == 0


@case("DATA-13a")
def the_low_water_mark(p: Process) -> None:
    """recv waits for it, poll does not."""
    one, two = p.socketpair(STREAM)
    p.setsockopt(two, SO_RCVLOWAT, 4)
    p.send(one, b"ab")
    assert p.poll(two) & POLLIN
    waiting = p.begin(p.recv, two, 10)
    assert waiting.blocks
    p.send(one, b"cd")
    assert waiting.result == b"abcd"


@case("DATA-13e", types=RECORDS)
def the_low_water_mark_of_records(p: Process, kind: int) -> None:
    """It holds nothing back."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_RCVLOWAT, 100)
    p.send(one, b"abc")
    assert p.poll(two) & POLLIN
    assert p.recv(two) == b"abc"


@case("DATA-13b", types=ALL)
def a_read_times_out(p: Process, kind: int) -> None:
    """EAGAIN."""
    _, two = p.socketpair(kind)
    p.set_timeout(two, SO_RCVTIMEO, 0.02)
    assert p.recv(two) == EAGAIN


@case("DATA-13c")
def a_read_times_out_in_part(p: Process) -> None:
    """What was there is returned."""
    one, two = p.socketpair(STREAM)
    p.set_timeout(two, SO_RCVTIMEO, 0.02)
    p.send(one, b"abc")
    assert p.recv(two, 6, MSG_WAITALL) == b"abc"


@case("DATA-13d", types=ALL)
def a_send_times_out(p: Process, kind: int) -> None:
    """EAGAIN."""
    one, _ = p.socketpair(kind)
    p.fill(one)
    p.set_timeout(one, SO_SNDTIMEO, 0.02)
    assert p.send(one, b"x") == EAGAIN


@case("DATA-14a", types=RECORDS)
def one_message_of_many_parts(p: Process, kind: int) -> None:
    """writev and sendmsg."""
    one, two = p.socketpair(kind)
    assert p.writev(one, [b"ab", b"", b"cd"]) == 4
    assert p.recv(two) == b"abcd"
    assert p.sendmsg(one, [b"ab", b"cd"]) == 4
    assert p.readv(two, [1, 3]) == [b"a", b"bcd"]


@case("DATA-14a")
def a_vector_is_one_message_on_a_stream(p: Process) -> None:
    """It costs as one."""
    one, two = p.socketpair(STREAM)
    assert p.writev(one, [b"ab", b"cd"]) == 4
    assert p.ioctl(one, SIOCOUTQ) == 768
    assert p.recv(two) == b"abcd"


@case("DATA-14b", types=RECORDS)
def many_messages_in_a_call(p: Process, kind: int) -> None:
    """Until none is left."""
    one, two = p.socketpair(kind)
    assert p.sendmmsg(one, [b"a", b"bc", b"def"]) == 3
    got = p.recvmmsg(two, 5, flags=NOW)
    assert isinstance(got, list)
    assert [message.data for message in got] == [b"a", b"bc", b"def"]
    assert p.recvmmsg(two, 5, flags=NOW) == EAGAIN


@case("DATA-15a", types=ALL)
def bytes_that_wait(p: Process, kind: int) -> None:
    """The types differ."""
    one, two = p.socketpair(kind)
    assert p.ioctl(two, SIOCINQ) == 0
    p.send(one, b"abc")
    p.send(one, b"de")
    assert p.ioctl(two, SIOCINQ) == (3 if kind == DGRAM else 5)
    p.recv(two, 3)
    assert p.ioctl(two, SIOCINQ) == 2


@case("DATA-15b", types=CONNECTED)
def a_listener_has_no_bytes(p: Process, kind: int) -> None:
    """EINVAL."""
    assert p.ioctl(p.listener(kind, p.abstract(b"n")), SIOCINQ) == EINVAL


@case("DATA-15c", types=RECORDS)
def records_have_no_mark(p: Process, kind: int) -> None:
    """EOPNOTSUPP."""
    assert p.ioctl(p.socket(kind), SIOCATMARK) == EOPNOTSUPP


@case("DATA-16a", types=ALL)
def a_read_is_interrupted(p: Process, kind: int) -> None:
    """With SA_RESTART it waits on."""
    one, two = p.socketpair(kind)
    waiting = p.begin(p.recv, two)
    assert waiting.blocks
    waiting.interrupt()
    assert waiting.result == EINTR
    waiting = p.begin(p.recv, two)
    assert waiting.blocks
    waiting.interrupt(restart=True)
    assert waiting.blocks
    p.send(one, b"x")
    assert waiting.result == b"x"


@case("DATA-17a", types=ALL)
def buffers_in_the_wild(p: Process, kind: int) -> None:
    """A stream keeps its bytes, a record is lost."""
    one, two = p.socketpair(kind)
    assert p.call("write", one, BAD, 5) == EFAULT
    p.send(one, b"abc")
    assert p.call("read", two, BAD, 5) == EFAULT
    assert p.recv(two, flags=NOW) == (b"abc" if kind == STREAM else EAGAIN)


@case("DATA-9i", types=ALL)
def the_largest_buffer(p: Process, kind: int) -> None:
    """wmem_max, doubled."""
    s = p.socket(kind)
    p.setsockopt(s, SO_SNDBUF, 1 << 30)
    most = p.option(s, SO_SNDBUF)
    assert most < 1 << 30
    p.setsockopt(s, SO_SNDBUF, most // 2)
    assert p.option(s, SO_SNDBUF) == most
    p.setsockopt(s, SO_SNDBUF, most // 2 + 1)
    assert p.option(s, SO_SNDBUF) == most


@case("DATA-13d")
def a_long_send_times_out_in_part(p: Process) -> None:
    """It tells how much went."""
    one, two = p.socketpair(STREAM)
    p.set_timeout(one, SO_SNDTIMEO, 0.02)
    sent = p.send(one, bytes(1 << 20))
    assert 0 < sent < 1 << 20
    assert p.ioctl(two, SIOCINQ) == sent


@case("DATA-16b")
def a_long_send_is_interrupted_in_part(p: Process) -> None:
    """It tells how much went, with SA_RESTART as well."""
    for restart in (False, True):
        one, two = p.socketpair(STREAM)
        waiting = p.begin(p.send, one, bytes(1 << 20))
        assert waiting.blocks
        waiting.interrupt(restart)
        assert waiting.result == p.ioctl(two, SIOCINQ) > 0


@case("DATA-16c")
def a_read_for_all_is_interrupted_in_part(p: Process) -> None:
    """What was there is returned."""
    one, two = p.socketpair(STREAM)
    waiting = p.begin(p.recv, two, 10, MSG_WAITALL)
    p.send(one, b"abc")
    assert waiting.blocks
    waiting.interrupt()
    assert waiting.result == b"abc"
