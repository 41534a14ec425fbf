"""Event counters: random scripts on the host's eventfd and on ours, and the rules by name."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi.constants import POLLERR, POLLIN, POLLOUT
from afunix.abi.errno import Errno, SyscallError
from afunix.core.eventfd import EventCounter, eventfd_mask
from afunix.core.wait import Wakeups, WouldBlock

MAX = (1 << 64) - 1


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        result = call(*arguments)
    except SyscallError as error:
        return error.errno.name
    except OSError as error:
        return Errno(error.errno or 0).name
    return "EAGAIN" if isinstance(result, WouldBlock) else result


values = st.one_of(st.sampled_from([0, 1, 2, MAX, MAX - 1, MAX - 2, 1 << 63]), st.integers(0, MAX))
script_of_steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), values.map(lambda value: struct.pack("=Q", value))),
        st.tuples(st.just("write"), st.sampled_from([b"", b"1234567", bytes(9), bytes(16)])),
        st.tuples(st.just("read"), st.sampled_from([8, 8, 8, 9, 4096, 7, 0])),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(initial=st.integers(0, (1 << 32) - 1), semaphore=st.booleans(), script=script_of_steps)
def test_random_scripts_agree_with_the_host(initial: int, semaphore: bool, script: list[tuple[str, Any]]) -> None:
    """Values, errors, overflow and poll masks are the host's after every step."""
    fd = os.eventfd(initial, os.EFD_NONBLOCK | (os.EFD_SEMAPHORE if semaphore else 0))
    ours = EventCounter(Wakeups(), initial, semaphore=semaphore)
    poll = select.poll()
    poll.register(fd, POLLIN | POLLOUT)
    try:
        for name, argument in script:
            host_call = os.read if name == "read" else os.write
            our_call = ours.read_nowait if name == "read" else ours.write_nowait
            assert outcome(our_call, argument) == outcome(host_call, fd, argument)
            assert ours.poll() == dict(poll.poll(0)).get(fd, 0)
    finally:
        os.close(fd)


def test_mask_of_a_counter_that_overflowed() -> None:
    """2**64 - 1, which only the kernel itself reaches, is ERR; one below it is full."""
    assert eventfd_mask(MAX) == POLLIN | POLLERR
    assert eventfd_mask(MAX - 1) == POLLIN
    assert eventfd_mask(MAX - 2) == POLLIN | POLLOUT
    assert eventfd_mask(0) == POLLOUT


def test_would_block_names_the_queue_that_is_woken() -> None:
    """A reader is told of an addition, a writer that did not fit of a read."""
    wakeups = Wakeups()
    counter = EventCounter(wakeups)
    told: list[str] = []
    blocked = counter.read_nowait(8)
    assert isinstance(blocked, WouldBlock)
    blocked.queues[0].add(lambda: told.append("readable"))
    counter.write_nowait(struct.pack("=Q", MAX - 1))
    wakeups.apply()
    full = counter.write_nowait(struct.pack("=Q", 1))
    assert isinstance(full, WouldBlock)
    full.queues[0].add(lambda: told.append("writable"))
    counter.read_nowait(8)
    wakeups.apply()
    assert told == ["readable", "writable"]


def test_refusals_change_nothing() -> None:
    """After EINVAL or would-block the count is what it was."""
    counter = EventCounter(Wakeups(), 5)
    with pytest.raises(SyscallError, match="EINVAL"):
        counter.write_nowait(struct.pack("=Q", MAX))
    assert isinstance(counter.write_nowait(struct.pack("=Q", MAX - 5)), WouldBlock)
    with pytest.raises(SyscallError, match="EINVAL"):
        counter.read_nowait(7)
    assert counter.count == 5


def test_close_once() -> None:
    """The counter closes with its last reference."""
    counter = EventCounter(Wakeups())
    counter.acquire()
    counter.acquire()
    counter.release()
    counter.release()
    assert counter.references == 0
