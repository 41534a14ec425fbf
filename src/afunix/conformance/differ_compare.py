"""What of a step is compared, what is not, and which descriptors it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from afunix.abi.constants import (
    MSG_PEEK,
    SCM_RIGHTS,
    SCM_TIMESTAMP_NEW,
    SCM_TIMESTAMP_OLD,
    SCM_TIMESTAMPING_NEW,
    SCM_TIMESTAMPING_OLD,
    SCM_TIMESTAMPNS_NEW,
    SCM_TIMESTAMPNS_OLD,
    SOL_SOCKET,
)
from afunix.abi.errno import Errno
from afunix.abi.message import CMSGHDR, MMSGHDR_SIZE, MSG_CONTROLLEN_OFFSET, cmsg_align
from afunix.abi.structs import INT, SIZE
from afunix.conformance.differ_file_steps import EVENT_SIZE, STATX_SIZE
from afunix.conformance.differ_host import Found
from afunix.conformance.differ_raw import BUFFER, CONTROL, END, END_ROOM, HEADER, NAME, VALUE, Raw, Step
from afunix.conformance.differ_steps import CONTROL_STEP

__all__ = ["Record", "comparable", "compare", "made_by", "not_compared"]

TIMES: Final = frozenset(
    {
        SCM_TIMESTAMP_OLD, SCM_TIMESTAMP_NEW, SCM_TIMESTAMPNS_OLD, SCM_TIMESTAMPNS_NEW, SCM_TIMESTAMPING_OLD,
        SCM_TIMESTAMPING_NEW,
    }
)  # fmt: skip
CONTROL_POINTER: Final = ("mem", HEADER + MSG_CONTROLLEN_OFFSET - SIZE.size)
PARTS: Final = ("value", "memory", "signals", "state of the descriptors")


@dataclass(slots=True)
class Record:
    """One step as it went."""

    step: Step
    raw: Raw
    descriptors: tuple[int, ...]
    core: Found | None = None
    host: Found | None = None
    collected: bool = False


def compare(core: Found, host: Found) -> str:
    """Which parts of what a step came to are different, and how as far as it is short; empty if none is."""
    different = []
    for part, ours, theirs in zip(PARTS, core, host, strict=True):
        if ours != theirs:
            different.append(part if part == "memory" else f"{part} (host {theirs}, core {ours})")
    return ", ".join(different)


def comparable(record: Record, found: Found) -> Found:
    """What a step came to, but for what no program can rely on."""
    values, windows, signals, state = found
    if not record.raw.calls:
        return found
    value, operation, spoil = values[record.raw.main], record.step.operation, record.step.spoil
    if operation == "socketpair" and value < 0:
        # Linux has written the numbers of the descriptors by then that there would have been.
        windows = []
    elif operation == "recvmsg":
        header, name, control, *others = windows
        # Control messages of a receive that fails are in memory, but their length is not told.
        windows = [header, *others] if value < 0 else [header, name, without_times(control), *others]
    elif operation == "recvmmsg":
        headers, data, control, *others = windows
        assert isinstance(control, bytes)
        known = () if spoil else range(max(value, 0))
        pieces = [without_times(control[CONTROL_STEP * at : CONTROL_STEP * (at + 1)]) for at in known]
        windows = [headers, data, *pieces, *others]
    if operation in ("recvmsg", "recvmmsg") and any(wrong[:2] == CONTROL_POINTER for wrong in spoil):
        # A control message for a bad pointer is written as far as whole words go.
        del windows[-1]
    elif operation == "epoll_wait":
        (events,) = windows
        assert isinstance(events, bytes)
        windows = [*sorted(events[at : at + EVENT_SIZE] for at in range(0, len(events), EVENT_SIZE))]
    return values, windows, signals, state


def control_messages(control: bytes) -> list[tuple[int, int, int, int]]:
    """Level, type, and from where to where its data lie, of each control message; the last may be cut."""
    messages = []
    at = 0
    while at + CMSGHDR.size <= len(control):
        length, level, kind = CMSGHDR.unpack_from(control, at)
        if length < CMSGHDR.size:
            break
        messages.append((level, kind, at + CMSGHDR.size, min(at + length, len(control))))
        at += cmsg_align(length)
    return messages


def without_times(control: bytes | int) -> bytes | int:
    """Control messages with all timestamps 0."""
    if not isinstance(control, bytes):
        return control
    for level, kind, start, end in control_messages(control):
        if level == SOL_SOCKET and kind in TIMES:
            control = control[:start] + bytes(end - start) + control[end:]
    return control


def not_compared(record: Record) -> list[tuple[int, bytes]]:
    """What makes memory the same on both sides where a step may have left it different.

    That is what is not compared, and the end of the memory, which wrong pointers lead to: a later step's wrong pointer
    would find it there.
    """
    assert record.core is not None
    operation, value, windows = record.step.operation, record.core[0][record.raw.main], record.core[1]
    writes = []
    if record.step.spoil:
        writes.append((END, bytes(END_ROOM)))
        if operation in ("recvmsg", "recvmmsg"):
            # Told of more room than is looked at.
            writes.append((CONTROL, bytes(BUFFER - CONTROL)))
    if operation == "recvmsg":
        peeks = record.raw.calls[record.raw.main][1][2] & MSG_PEEK
        left = windows[2] != without_times(windows[2]) if value >= 0 else value != -Errno.EAGAIN or bool(peeks)
    else:
        left = operation in ("recvmmsg", "epoll_wait", "stat") or (operation == "socketpair" and value < 0)
    if left:
        writes += [(at, bytes(size)) for at, size in record.raw.windows if at in (VALUE, NAME, CONTROL)]
        if operation == "stat":
            writes.append((VALUE, bytes(STATX_SIZE)))
    return writes


def made_by(record: Record) -> list[int]:
    """The descriptors that a step made."""
    assert record.core is not None
    values, windows, _, _ = record.core
    operation = record.step.operation
    value = values[record.raw.main] if values else -1
    if value < 0 or not record.step.makes:
        return []
    if operation in ("socket", "accept", "dup", "dup_from", "epoll_create"):
        return [value]
    if operation == "socketpair":
        pair = windows[0]
        assert isinstance(pair, bytes)
        return [fd for (fd,) in INT.iter_unpack(pair)]
    if operation == "recvmsg":
        return received_by(windows[0], windows[2])
    headers, _, control, *_ = windows
    assert isinstance(headers, bytes)
    assert isinstance(control, bytes)
    made: list[int] = []
    for at in range(min(value, len(headers) // MMSGHDR_SIZE)):
        made += received_by(headers[MMSGHDR_SIZE * at :], control[CONTROL_STEP * at : CONTROL_STEP * (at + 1)])
    return made


def received_by(header: bytes | int, control: bytes | int) -> list[int]:
    """The descriptors in the control messages of a received message."""
    if not isinstance(header, bytes) or not isinstance(control, bytes):
        return []
    (length,) = SIZE.unpack_from(header, MSG_CONTROLLEN_OFFSET)
    made: list[int] = []
    for level, kind, start, end in control_messages(control[:length]):
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
            made += [fd for (fd,) in INT.iter_unpack(control[start : end - (end - start) % INT.size])]
    return made
