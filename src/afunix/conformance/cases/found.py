"""Where random programs once found a difference between the core and Linux."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.abi.message import build_control
from afunix.conformance.kit import *

INT_SIZE = 4
MSG_CMSG_COMPAT_FLAG = 0x80000000


def number_at(p: Process, address: int) -> int:
    """An int in memory."""
    return int.from_bytes(p.peek(address, INT_SIZE), "little", signed=True)


@case("OOB-1l")
def passed_over_and_still_counted(p: Process) -> None:
    """SIOCINQ and SCM_INQ tell one byte more than there is."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"!", MSG_OOB)
    p.send(one, b"abc")
    assert p.recv(two, 1) == b"a"
    assert p.ioctl(two, SIOCINQ) == 3


@case("OOB-1m")
def a_peer_that_only_lived_in_an_urgent_byte(p: Process) -> None:
    """The read that drops it still sees it alive; the next one does not."""
    one, two = p.socketpair(STREAM)
    p.sendmsg(two, b"!", [rights(two)], MSG_OOB)
    p.close(two)
    assert p.recv(one, 1, MSG_DONTWAIT) == EAGAIN
    assert p.wait_for(one, POLLIN, 2.0) & POLLHUP
    assert p.recv(one, 1, MSG_DONTWAIT) == EOF


@case("CONN-9f", each=[11, 15])
def no_such_type(p: Process, kind: int) -> None:
    """Also with a protocol that would be refused."""
    assert p.socket(kind) == EINVAL
    assert p.socket(kind, 77) == EINVAL
    assert p.socketpair(kind) == (EINVAL, EINVAL)


@case("CONN-9g", types=ALL)
def where_to_put_a_pair_comes_first(p: Process, kind: int) -> None:
    """The numbers of the descriptors are written before any socket is made."""
    assert p.call("socketpair", AF_UNIX, kind, 77, BAD) == EFAULT


@case("NAME-10h", types=ALL)
def a_length_without_a_name(p: Process, kind: int) -> None:
    """Of getsockname and accept."""
    s = p.socket(kind)
    length = p.put((20).to_bytes(INT_SIZE, "little"))
    assert p.call("getsockname", s, BAD, length) == EFAULT
    assert number_at(p, length) == 2


@case("SCM-3h")
def padding_is_not_written(p: Process) -> None:
    """Behind one descriptor are four bytes that nobody touches."""
    one, two = p.socketpair(STREAM)
    p.sendmsg(one, b"x", [rights(one)])
    control = p.put(b"\xa5" * 40)
    buffer = p.put(b"?")
    iovec = p.put(buffer.to_bytes(8, "little") + (1).to_bytes(8, "little"))
    words = (0, 0, iovec, 1, control, 40, 0)
    header = p.put(b"".join(word.to_bytes(8, "little") for word in words))
    assert p.call("recvmsg", two, header, 0) == 1
    assert p.peek(control + 20, 20) == b"\xa5" * 20


@case("SCM-3i", types=ALL)
def a_message_taken_without_its_sender(p: Process, kind: int) -> None:
    """The descriptor that came with it is closed: the pipe ends."""
    r, w = p.pipe()
    one, two = p.socketpair(kind)
    p.sendmsg(one, b"x", [rights(w)])
    p.close(w)
    buffer, length = p.room(8), p.put((0xFFFFFFFF).to_bytes(INT_SIZE, "little"))
    assert p.call("recvfrom", two, buffer, 8, 0, buffer, length) == EINVAL
    assert p.wait_for(r, POLLIN, 2.0) & POLLHUP
    assert p.recv(two, 1, MSG_DONTWAIT) == EAGAIN


@case("SCM-9d")
def a_record_nobody_can_get(p: Process) -> None:
    """The malformed control message is not looked at."""
    assert p.sendmsg(p.socket(SEQPACKET), b"x", bytes(16)) == ENOTCONN
    one, two = p.socketpair(SEQPACKET)
    p.send(one, b"x")
    p.close(two)
    assert p.sendmsg(one, b"x", bytes(16)) == ECONNRESET


@case("DATA-17b")
def a_broken_pipe_comes_before_bad_data(p: Process) -> None:
    """As does what else a send is refused for."""
    one, two = p.socketpair(STREAM)
    p.close(two)
    assert p.call("write", one, BAD, 1) == EPIPE
    assert p.signals() == [SIGPIPE]
    assert p.call("write", p.socket(STREAM), BAD, 1) == ENOTCONN
    three, _ = p.socketpair(DGRAM)
    assert p.call("write", three, BAD, 300_000) == EMSGSIZE
    assert p.call("sendto", three, BAD, 1, MSG_OOB, 0, 0) == EOPNOTSUPP
    assert p.call("write", p.socket(DGRAM), BAD, 1) == EFAULT


@case("DATA-17c")
def as_much_as_can_be_read(p: Process) -> None:
    """An urgent byte is a buffer of its own."""
    one, two = p.socketpair(STREAM)
    last = p.task.base + (1 << 22) - 1
    p.task.write(last, b"z")
    assert p.call("sendto", one, last, 2, MSG_OOB, 0, 0) == 1
    assert p.recv(two) == b"z"
    p.send(one, b"abc")
    p.send(one, b"def")
    assert p.call("recvfrom", two, last - 2, 6, MSG_PEEK, 0, 0) == 3
    assert p.call("read", two, last - 2, 6) == 3
    assert p.recv(two) == b"def"


@case("DATA-17d")
def an_urgent_byte_lost_to_a_bad_buffer(p: Process) -> None:
    """The data behind it stay."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"!", MSG_OOB)
    p.send(one, b"a")
    assert p.call("read", two, BAD, 1) == EFAULT
    assert p.recv(two, 1, MSG_OOB) == EINVAL
    assert p.recv(two) == b"a"


@case("DATA-14c")
def more_than_a_thousand_ends_of_file(p: Process) -> None:
    """recvmmsg has no such limit as sendmmsg; readv takes its number as an int."""
    one, two = p.socketpair(STREAM)
    p.close(two)
    assert p.call("recvmmsg", one, p.put(bytes(64 * 1100)), 1100, 0, 0) == 1100
    assert p.call("readv", one, p.put(bytes(16)), 1 << 32) == 0


@case("DATA-14c", each=["sendmsg", "recvmsg"])
def flags_of_a_program_of_32_bits(p: Process, call: str) -> None:
    """They are EINVAL."""
    one, _ = p.socketpair(DGRAM)
    assert p.call(call, one, BAD, MSG_CMSG_COMPAT_FLAG) == EINVAL
    assert p.call(call[:4] + "mmsg", one, BAD, 0, MSG_CMSG_COMPAT_FLAG, 0) == EINVAL


@case("SCM-6g", since=(6, 5))
def no_room_for_a_pidfd(p: Process) -> None:
    """A pointer that is bad installs none."""
    one, _ = p.socketpair(STREAM)
    length = p.put((4).to_bytes(INT_SIZE, "little"))
    assert p.call("getsockopt", one, SOL_SOCKET, SO_PEERPIDFD, BAD, length) == EFAULT
    assert p.socket(STREAM) == 5


@case("OPT-1l")
def a_level_that_is_not_ours(p: Process) -> None:
    """Before the bad pointers."""
    assert p.call("getsockopt", p.socket(STREAM), 6, 1, BAD, BAD) == EOPNOTSUPP


@case("DATA-14d", each=["address", "iovecs"])
def what_of_a_header_is_looked_at_first(p: Process, what: str) -> None:
    """The address before the number of iovecs."""
    one, _ = p.socketpair(DGRAM)
    words = (BAD if what == "address" else 0, 16, BAD, 1025, 0, 0, 0)
    header = p.put(b"".join(word.to_bytes(8, "little") for word in words))
    assert p.call("sendmsg", one, header, 0) == (EFAULT if what == "address" else EMSGSIZE)


@case("DATA-12d", types=RECORDS)
def an_empty_message_peeked_at(p: Process, kind: int) -> None:
    """Twice: the second peek sees nothing, or what is behind."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PEEK_OFF, 0)
    p.send(one, b"")
    assert p.recv_length(two, 5, MSG_PEEK | MSG_DONTWAIT) == 0
    assert p.recv(two, 5, MSG_PEEK | MSG_DONTWAIT) == EAGAIN
    p.send(one, b"abc")
    assert p.recv(two, 5, MSG_PEEK) == b"abc"
    assert p.recv_length(two, 5) == 0


@case("DATA-14e")
def a_bad_length_before_the_end_of_memory(p: Process) -> None:
    """The second iovec lies on a page that is not there."""
    last = p.task.base + (1 << 22) - 16
    p.task.write(last, p.task.base.to_bytes(8, "little") + (1 << 63).to_bytes(8, "little"))
    assert p.call("readv", p.socketpair(STREAM)[0], last, 2) == EINVAL
    p.task.write(last, p.task.base.to_bytes(8, "little") + (1).to_bytes(8, "little"))
    assert p.call("readv", 3, last, 2) == EFAULT


@case("SCM-8d", since=(6, 5), each=[EAGAIN, ECONNRESET, EOF])
def a_peek_of_no_bytes(p: Process, then: Error | bytes) -> None:
    """In front of an urgent byte: a peek goes past that one, then looks for more."""
    one, two = p.socketpair(STREAM)
    p.setsockopt(two, SO_PASSPIDFD, 1)
    p.send(one, b"a")
    p.send(one, b"!", MSG_OOB)
    if then == ECONNRESET:
        p.send(two, b"unread")
    if then != EAGAIN:
        p.close(one)
    lowest = p.dup(two)
    p.close(lowest)
    got = p.recvmsg(two, 0, flags=MSG_PEEK | MSG_DONTWAIT)
    assert got == then if isinstance(then, Error) else got.length == 0
    assert p.cloexec(lowest) == FD_CLOEXEC


@case("DATA-12f", types=RECORDS)
def the_offset_after_a_bad_buffer(p: Process, kind: int) -> None:
    """It counts bytes that are gone."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PEEK_OFF, 2)
    p.send(one, b"abc")
    p.send(one, b"de")
    assert p.call("recvfrom", two, BAD, 3, MSG_PEEK, 0, 0) == EFAULT
    assert p.option(two, SO_PEEK_OFF) == 2
    assert p.call("recvfrom", two, BAD, 3, 0, 0, 0) == EFAULT
    assert p.option(two, SO_PEEK_OFF) == 2
    assert p.recv(two, 3, MSG_PEEK | MSG_DONTWAIT) == EAGAIN


@case("DATA-17e")
def the_error_after_a_bad_buffer(p: Process) -> None:
    """It is told by the next call."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"ab")
    p.send(two, b"unread")
    p.close(one)
    last = p.task.base + (1 << 22) - 1
    assert p.call("recvfrom", two, last, 3, MSG_WAITALL, 0, 0) == EFAULT
    assert p.poll(two) & POLLERR
    assert p.recv(two, 3) == b"ab"
    assert p.recv(two, 3) == ECONNRESET


@case("SCM-8e", types=ALL, since=(6, 5))
def a_pidfd_for_a_bad_pointer(p: Process, kind: int) -> None:
    """It is no loss that is told."""
    one, two = p.socketpair(kind)
    p.setsockopt(two, SO_PASSPIDFD, 1)
    p.send(one, b"x")
    words = (0, 0, p.put(p.room(8).to_bytes(8, "little") + (8).to_bytes(8, "little")), 1, BAD, 40, 0)
    header = p.put(b"".join(word.to_bytes(8, "little") for word in words))
    lowest = p.dup(two)
    p.close(lowest)
    assert p.call("recvmsg", two, header, 0) == 1
    assert number_at(p, header + 48) == 0
    assert p.cloexec(lowest) == EBADF


@case("DATA-14f")
def what_is_looked_at_before_the_descriptor(p: Process) -> None:
    """The time-out of recvmmsg, the offset of preadv2 and pwritev2."""
    for call in ("preadv2", "pwritev2"):
        assert p.call(call, -1, BAD, 1, -2, 0, 0) == EINVAL
        assert p.call(call, p.socket(DGRAM), BAD, 1, -2, 0, 0) == EINVAL
    assert p.call("recvmmsg", -1, BAD, 1, 0, p.put((-1).to_bytes(8, "little", signed=True) + bytes(8))) == EINVAL
    assert p.call("recvmmsg", -1, BAD, 1, 0, BAD) == EFAULT


@case("DATA-14g", types=ALL, each=["preadv2", "pwritev2"])
def flags_of_a_positioned_call(p: Process, kind: int, call: str) -> None:
    """Unknown ones; to append and not to."""
    one, _ = p.socketpair(kind)
    none, some = (p.put(BAD.to_bytes(8, "little") + size.to_bytes(8, "little")) for size in (0, 1))
    for flags, errno in ((-1, EOPNOTSUPP), (0x30, EINVAL)):
        assert p.call(call, one, none, 1, -1, 0, flags) == 0
        assert p.call(call, one, some, 1, -1, 0, flags) == errno
        assert p.call(call, one, some, 1, 0, 0, flags) == ESPIPE
        assert p.call(call, one, BAD, 1, -1, 0, flags) == EFAULT


@case("DATA-14h", since=(6, 18))
def a_broken_pipe_without_a_signal(p: Process) -> None:
    """By a flag of pwritev2."""
    one, two = p.socketpair(STREAM)
    p.close(two)
    iovec = p.put(p.room(8).to_bytes(8, "little") + (1).to_bytes(8, "little"))
    assert p.call("pwritev2", one, iovec, 1, -1, 0, 0x100) == EPIPE
    assert p.signals() == []
    assert p.call("pwritev2", one, iovec, 1, -1, 0, 0) == EPIPE
    assert p.signals() == [SIGPIPE]


@case("OPT-4a", types=CONNECTED, needs="CAP_NET_ADMIN")
def the_inode_of_an_accepted_socket(p: Process, kind: int) -> None:
    """The listener's; a client has none."""
    listener, client, accepted = p.connection(kind, b"s")
    p.close(listener)
    assert p.ioctl_plain(client, SIOCUNIXFILE) == ENOENT
    assert p.fstat(p.ioctl_plain(accepted, SIOCUNIXFILE)) == p.stat(b"s")


@case("SCM-2c", types=ALL, needs="CAP_SETUID")
def too_many_in_flight_first(p: Process, kind: int) -> None:
    """Before the data are read, before a datagram's name is looked up, before the receiver is asked."""
    uid = 20000 + p.pid % 40000
    p.setresuid(uid, uid, uid)
    one, two = p.socketpair(kind)
    p.set_nofile(10, 10)
    assert p.sendmsg(one, b"x", [rights(*[two] * 11)]) == 1
    p.setsockopt(two, SO_PASSRIGHTS, 0)
    assert p.sendmsg(one, b"x", [rights(two)]) == ETOOMANYREFS
    if kind == DGRAM:
        assert p.sendmsg(one, b"x", [rights(two)], name=p.abstract(b"nobody")) == ETOOMANYREFS
    control = build_control([rights(two)])
    iovec = p.put(BAD.to_bytes(8, "little") + (1).to_bytes(8, "little"))
    words = (0, 0, iovec, 1, p.put(control), len(control), 0)
    header = p.put(b"".join(word.to_bytes(8, "little") for word in words))
    assert p.call("sendmsg", one, header, 0) == ETOOMANYREFS


@case("DATA-17c", "SCM-11a")
def buffers_in_front_with_descriptors(p: Process) -> None:
    """Several, of which the first has the descriptors; when it is not even one, they are closed."""
    r, w = p.pipe()
    one, two = p.socketpair(STREAM)
    good = p.put(b"x" * 75_000)
    control = build_control([rights(w)])

    def send(*parts: tuple[int, int]) -> int:
        iovecs = p.put(b"".join(number.to_bytes(8, "little") for part in parts for number in part))
        words = (0, 0, iovecs, len(parts), p.put(control), len(control), 0)
        return p.call("sendmsg", one, p.put(b"".join(word.to_bytes(8, "little") for word in words)), 0)

    assert send((good, 75_000), (BAD, 4)) == 73_088
    assert p.ioctl(one, SIOCOUTQ) == 74_240
    got = p.recvmsg(two, 80_000)
    assert (got.length, len(got.rights)) == (36_544, 1)
    assert p.recv_length(two, 80_000) == 36_544
    p.close(got.rights[0])
    assert send((good, 30_000), (BAD, 4)) == EFAULT
    p.close(w)
    assert p.read(r) == b""


@case("DATA-14i")
def a_message_sent_in_part(p: Process) -> None:
    """The empty one behind it would have gone."""
    one, two = p.socketpair(STREAM)
    p.setsockopt(one, SO_SNDBUF, 0)
    p.fcntl(one, F_SETFL, O_NONBLOCK)
    data = p.put(b"x" * 5000)
    iovecs = p.put(b"".join(number.to_bytes(8, "little") for number in (data, 5000, data, 0)))
    headers = b""
    for at in (iovecs, iovecs + 16):
        headers += b"".join(number.to_bytes(8, "little") for number in (0, 0, at, 1, 0, 0, 0, 0))
    entries = p.put(headers)
    assert p.call("sendmmsg", one, entries, 2, 0) == 1
    assert number_at(p, entries + 56) == p.ioctl(two, SIOCINQ) == 4480


@case("DATA-17d")
def an_urgent_byte_behind_the_first_buffer(p: Process) -> None:
    """It was read and leaves the queue, though the data behind it stay there."""
    one, two = p.socketpair(STREAM)
    p.send(one, b"a")
    p.send(one, b"!", MSG_OOB)
    assert p.recv(two, 1, MSG_OOB) == b"!"
    p.send(one, b"bcd")
    p.send(one, b"?", MSG_OOB)
    before = p.ioctl(one, SIOCOUTQ)
    last = p.task.base + (1 << 22) - 2
    assert p.call("read", two, last, 10) == 1
    assert p.ioctl(one, SIOCOUTQ) == before - 2 * 768
    assert p.recv(two, 10) == b"bcd"


@case("POLL-3g", each=[0x2, 0x40, 0x80, 0x100, 0x200, 0x2000, 1 << 30])
def what_exclusive_does_not_go_with(p: Process, event: int) -> None:
    """Also where the file is watched already."""
    epoll, s = p.epoll(), p.socket(STREAM)
    assert p.epoll_ctl(epoll, EPOLL_CTL_ADD, s, EPOLLIN | EPOLLEXCLUSIVE | event) == EINVAL
    assert p.epoll_ctl(epoll, EPOLL_CTL_ADD, s, EPOLLIN | EPOLLOUT | EPOLLEXCLUSIVE) == 0
    assert p.epoll_ctl(epoll, EPOLL_CTL_ADD, s, EPOLLIN | EPOLLEXCLUSIVE | event) == EINVAL
    assert p.epoll_ctl(epoll, EPOLL_CTL_MOD, s, EPOLLIN) == EINVAL


@case("POLL-2c")
def a_full_receiver_that_connects_back(p: Process) -> None:
    """There is always room for a sender that it is connected to."""
    one, two = (p.bound(DGRAM, p.abstract(name)) for name in (b"1", b"2"))
    p.connect(one, p.abstract(b"2"))
    p.fill(one)
    assert not p.poll(one) & POLLOUT
    p.connect(two, p.abstract(b"1"))
    assert p.poll(one) & POLLOUT
    assert p.send(one, b"x", MSG_DONTWAIT) == 1


@case("SCM-3j", each=[True, False], since=(6, 5))
def a_bad_pointer_takes_no_room(p: Process, ended: bool) -> None:
    """There is room for the credentials only, but they can't be written: nothing says that a pidfd did not fit."""
    one, two = p.socketpair(STREAM)
    p.setsockopt(two, SO_PASSCRED, 1)
    p.setsockopt(two, SO_PASSPIDFD, 1)
    p.close(one) if ended else p.send(one, b"x")
    iovec = p.put(p.room(8).to_bytes(8, "little") + (8).to_bytes(8, "little"))
    for room, flags in ((32, 0), (16, MSG_CTRUNC)):
        words = (0, 0, iovec, 1, BAD, room, 0)
        header = p.put(b"".join(word.to_bytes(8, "little") for word in words))
        assert p.call("recvmsg", two, header, MSG_PEEK) == int(not ended)
        assert number_at(p, header + 48) == flags


@case("DATA-17f", types=ALL)
def a_length_past_the_end_of_memory(p: Process, kind: int) -> None:
    """EAGAIN says that the range was fine."""
    _, two = p.socketpair(kind)
    buffer = p.put(b"x")
    assert p.call("recvfrom", two, buffer, 1 << 47, MSG_DONTWAIT, 0, 0) == EAGAIN
    p.ioctl_set(two, FIONBIO, 1)
    assert p.call("recvfrom", two, buffer, 1 << 47, 0, 0, 0) == EAGAIN
    assert p.call("read", two, buffer, 1 << 47) == EFAULT
