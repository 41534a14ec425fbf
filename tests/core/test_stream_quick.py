"""The quick ways of SOCK_STREAM, `put`, `take` and the hand-over, are shorter but no different."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from socket_world import Counted, Program, World, refused

from afunix.abi.constants import MSG_PEEK, SHUT_RD, SOCK_STREAM
from afunix.abi.errno import Errno
from afunix.core.message import Received, Sent
from afunix.core.socket import Socket
from afunix.core.stream_quick import hand_back, put, put_files, take, take_files
from afunix.core.truesize import STREAM_CHUNK

POOL = tuple(bytes([65 + index]) * size for index, size in enumerate((1, 192, 193, 4000, STREAM_CHUNK, 40_000, 65_536)))
"""Few objects, so that the same one is sent several times."""
SIZES = (1, 100, 5_000, STREAM_CHUNK, 40_000, 65_536, 1 << 20)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(POOL)),
        st.tuples(st.just("pass"), st.sampled_from(POOL)),
        st.tuples(st.just("receive"), st.sampled_from(SIZES)),
        st.tuples(st.just("peek"), st.sampled_from(SIZES)),
    ),
    max_size=20,
)


@given(STEPS, st.sampled_from((4_608, 60_000, 212_992)))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_as_the_long_way(steps: list[tuple[str, object]], sndbuf: int) -> None:
    """The same bytes come by the same reads, and the sender is charged the same after every step."""
    world = World()
    (one, two), (quick, end) = world.pair(SOCK_STREAM), world.pair(SOCK_STREAM)
    one.sndbuf = quick.sndbuf = sndbuf
    passed: list[Counted] = []
    for step, argument in steps:
        if step in {"send", "pass"}:
            assert isinstance(argument, bytes)
            mine, theirs = (Counted(), Counted()) if step == "pass" else (None, None)
            count = len(argument)
            files: tuple[tuple[Counted, ...], ...] = ((), ())
            if mine is not None and theirs is not None:
                files = ((mine,), (theirs,))
                mine.acquire()
                theirs.acquire()
            expected = world.try_send(one, argument, files=files[0])
            count = put_files(quick, world.program, argument, files[1]) if theirs else put(quick, argument)
            result = None if count else world.try_send(quick, argument, files=files[1])
            if isinstance(result, Sent):
                count = result.length
            assert count == (expected.length if isinstance(expected, Sent) else 0)
            if count:
                passed += files[0] + files[1]
        else:
            assert isinstance(argument, int)
            flags = MSG_PEEK if step == "peek" else 0
            data = None if flags else take(end, argument)
            came = 0
            if data is None:
                taken = None if flags else take_files(end, argument)
                if taken is not None:
                    data, got, _ = taken
                    came = len(got)
                    for file in got:
                        file.release()
                else:
                    found = world.try_receive(end, argument, flags)
                    if isinstance(found, Received):
                        data, came = found.data, len(found.files)
                        found.done()
            found = world.try_receive(two, argument, flags)
            assert data == (found.data if isinstance(found, Received) else None)
            if isinstance(found, Received):
                assert came == len(found.files)
                found.done()
        assert quick.wmem == one.wmem
        assert sum(map(len, end.queue)) == sum(map(len, two.queue))
    for sock in (one, two, quick, end):
        sock.close()
    assert [file.closed for file in passed] == [1] * len(passed)
    assert not world.kernel.inflight


def test_descriptors_without_the_short_way() -> None:
    """A receiver may not want any, there may be too many, and what comes with them may be more than they."""
    world = World(program=Program(nofile=0))
    one, two = world.pair(SOCK_STREAM)
    file = Counted()
    file.acquire()
    two.passrights = False
    assert put_files(one, world.program, b"x", [file]) == 0
    two.passrights = True
    two.passcred = True
    assert put_files(one, world.program, b"x", [file]) == 0
    two.passcred = False
    assert put_files(one, world.program, b"", [file]) == 0
    assert put_files(one, world.program, b"x", [file]) == 1
    with refused(Errno.ETOOMANYREFS):
        put_files(one, world.program, b"y", [file])
    assert one.wmem == 768
    assert file.references == 1
    assert take(two, 1) is None
    assert take_files(two, 1) == (b"x", [file], None)
    assert take_files(two, 1) is None
    assert one.wmem == 0
    file.release()


def test_the_same_bytes_twice() -> None:
    """Two sends of one object are two sends, also where both lie in several buffers."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    data = bytes(65_536)
    assert put(one, data) == put(one, data) == 65_536
    assert world.data(two, 10) == data[:10]  # which takes the first one apart
    got = 10
    while (part := take(two, 1 << 20) or world.data(two, 1 << 20)) and (got := got + len(part)) < 131_072:
        pass
    assert got == 131_072
    assert one.wmem == 0


def test_uncopied() -> None:
    """A read of a whole send gets the sender's own bytes."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    for data in POOL[1:]:
        assert put(one, data)
        assert take(two, len(data)) is data


class Reader:
    """A read that waits."""

    def __init__(self, sock: Socket, size: int) -> None:
        self.size = size
        self.data: bytes | None = None
        self.called = 0
        sock.readable.add(self)
        sock.taker = self

    def __call__(self) -> None:
        self.called += 1


def test_hand_over() -> None:
    """What fits a read that waits alone never sees the queue; the read is over then."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    data = bytes(1 << 20)
    sends: tuple[Callable[[], int], ...] = (lambda: put(one, data), lambda: world.send(one, data).length)
    for send in sends:
        reader = Reader(two, len(data))
        assert send() == len(data)
        assert reader.data is data
        assert reader.called == 1
        assert (two.taker, len(two.readable), len(two.queue), one.wmem) == (None, 0, 0, 0)


def test_no_hand_over() -> None:
    """Not of more than the read asked for, not past what is queued, not past others who wait, not what needs more."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    reader = Reader(two, 3)
    assert put(one, b"four") == 4
    assert put(one, b"x") == 1
    assert reader.data is None
    assert world.data(two, 10) == b"fourx"
    other = object.__new__(Reader)
    other.called = 0
    two.readable.add(other)
    assert put(one, b"x") == 1
    assert reader.data is None
    two.readable.discard(other)
    assert world.data(two, 10) == b"x"
    two.passcred = True
    world.send(one, b"x")
    assert reader.data is None
    assert world.data(two, 10) == b"x"
    two.passcred = False
    two.shutdown(SHUT_RD)
    assert put(one, b"x") == 0


def test_hand_back() -> None:
    """A read that ended without them puts the data in front again, paid for by the sender."""
    world = World()
    one, two = world.pair(SOCK_STREAM)
    assert put(one, b"second")
    hand_back(two, POOL[-1])
    assert one.wmem > 65_536
    assert world.data(two, 1 << 20) == POOL[-1] + b"second"
    assert one.wmem == 0
