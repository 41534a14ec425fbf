"""Control messages and iovecs: round trips, and the host kernel as the judge of what is malformed or cut."""

from __future__ import annotations

import os
import socket
import struct

import pytest
import raw_calls
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from afunix.abi import constants, message, structs
from afunix.abi.errno import Errno, SyscallError

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
ITEMS = st.lists(st.tuples(INT32, INT32, st.binary(max_size=40)), max_size=6)

# The kernel ignores control messages of other levels, so only a malformed chain fails.
OTHER_LEVEL = constants.SOL_IPV6


@settings(deadline=None)
@given(ITEMS)
def test_what_is_built_is_walked(items: list[message.ControlMessage]) -> None:
    raw = message.build_control(items)
    assert message.walk_control(raw) == items
    assert len(raw) == sum(message.cmsg_space(len(data)) for _, _, data in items)


@settings(deadline=None)
@given(ITEMS)
def test_put_builds_the_same_bytes(items: list[message.ControlMessage]) -> None:
    """With room for everything, receiving writes what sending would."""
    control = bytearray()
    for level, kind, data in items:
        assert message.put_cmsg(control, 4096, level, kind, data)
    assert control == message.build_control(items)


@st.composite
def chains(draw: st.DrawFn) -> bytes:
    """Control data of the ignored level: good, cut anywhere, with wrong lengths, with a rest at the end."""
    raw = bytearray()
    for data in draw(st.lists(st.binary(max_size=20), max_size=4)):
        wrong = draw(st.sampled_from([0, 0, 0, 0, -16, -9, -8, -1, 1, 7, 8, 9, 100, 1 << 31, 1 << 62]))
        length = max(0, 16 + len(data) + wrong)
        raw += message.CMSGHDR.pack(length, OTHER_LEVEL, 5) + data + bytes(-len(data) & 7)
    raw += draw(st.binary(max_size=17))
    return bytes(raw[: draw(st.integers(0, len(raw)))]) if draw(st.booleans()) else bytes(raw)


@settings(max_examples=400, deadline=None)
@given(chains())
def test_the_kernel_calls_the_same_chains_malformed(raw: bytes) -> None:
    """EINVAL here where the host's sendmsg says EINVAL, and nowhere else (SCM-9)."""
    try:
        # A random rest may happen to be a header of SOL_SOCKET, which the kernel judges by more than its form.
        assume(all(level != constants.SOL_SOCKET for level, _, _ in message.walk_control(raw)))
        ours: int | str = 1
    except SyscallError as error:
        ours = error.errno.name
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        assert raw_calls.sendmsg(left, b"x", raw) == ours


def test_errors_come_in_order() -> None:
    """A good message before a malformed one comes first: its own error would win, as in __scm_send."""
    good = message.build_control([(1, constants.SCM_RIGHTS, structs.INT.pack(-1))])
    bad = message.CMSGHDR.pack(15, 1, 1)
    walk = message.iter_control(good + bad)
    assert next(walk) == (1, constants.SCM_RIGHTS, structs.INT.pack(-1))
    with pytest.raises(SyscallError, match="EINVAL"):
        next(walk)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        assert raw_calls.sendmsg(left, b"x", good + bad) == "EBADF"
        assert raw_calls.sendmsg(left, b"x", bad + good) == "EINVAL"


@pytest.mark.parametrize("size", range(80))
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_receiving_into_any_room(size: int, count: int) -> None:
    """Credentials and descriptors in control buffers of every size: bytes and MSG_CTRUNC as the kernel's."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left, right:
        right.setsockopt(socket.SOL_SOCKET, constants.SO_PASSCRED, 1)
        rights = message.build_control([(1, constants.SCM_RIGHTS, struct.pack(f"<{count}i", *[0] * count))])
        assert raw_calls.sendmsg(left, b"x", rights) == 1
        _, theirs, flags = raw_calls.recvmsg(right, 1, size)

    items = message.walk_control(theirs)
    received = next((data for _, kind, data in items if kind == constants.SCM_RIGHTS), b"")
    descriptors = list(struct.unpack(f"<{len(received) // 4}i", received))
    for descriptor in descriptors:
        os.close(descriptor)

    ours = bytearray()
    ucred = structs.pack_ucred(os.getpid(), os.getuid(), os.getgid())
    whole = message.put_cmsg(ours, size, 1, constants.SCM_CREDENTIALS, ucred)
    fits = min(count, message.rights_room(ours, size))
    assert fits == len(descriptors)
    if fits:
        message.put_cmsg(ours, size, 1, constants.SCM_RIGHTS, received)
    assert bytes(ours) == theirs
    assert bool(flags & constants.MSG_CTRUNC) == (not whole or fits < count)


def test_iovecs() -> None:
    raw = message.IOVEC.pack(0x1000, 5) + message.IOVEC.pack(1 << 47, 0)
    assert message.unpack_iovecs(raw) == [(0x1000, 5), (1 << 47, 0)]
    assert message.unpack_iovecs(b"") == []


def test_iovecs_within_the_limit_are_left_alone() -> None:
    iovecs = [(1, constants.MAX_RW_COUNT - 1), (2, 0), (3, 1)]
    clipped, total = message.clip_iovecs(iovecs)
    assert clipped is iovecs
    assert total == constants.MAX_RW_COUNT
    assert message.clip_iovecs([]) == ([], 0)


def test_iovecs_beyond_the_limit_are_cut() -> None:
    iovecs = [(1, constants.MAX_RW_COUNT - 1), (2, 5), (3, 7)]
    assert message.clip_iovecs(iovecs) == (
        [(1, constants.MAX_RW_COUNT - 1), (2, 1), (3, 0)],
        constants.MAX_RW_COUNT,
    )


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1])
def test_a_negative_iovec_length_is_einval(length: int) -> None:
    """Also behind iovecs that already fill the limit."""
    with pytest.raises(SyscallError) as raised:
        message.clip_iovecs([(1, constants.MAX_RW_COUNT), (2, length)])
    assert raised.value.errno is Errno.EINVAL
