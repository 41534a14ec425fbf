"""Socket options that have to do with time: time-outs, lingering, timestamps, times of sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from afunix.abi import constants as c
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import LINGER, SO_TIMESTAMPING, SOCK_TXTIME, TIMEVAL
from afunix.core.credentials import CAP_NET_ADMIN
from afunix.core.option import INT_MAX, ONE, UINT_MAX, ZERO, Option, capable, number_of, require, stored
from afunix.core.option_network import LOOPBACK_INDEX, bound_index
from afunix.core.socket import Socket

if TYPE_CHECKING:
    from afunix.core.caller import Caller

__all__ = [
    "OPTIONS",
    "SOF_TIMESTAMPING_OPT_RX_FILTER",
    "SOF_TIMESTAMPING_RX_SOFTWARE",
    "SOF_TIMESTAMPING_SOFTWARE",
    "timestamp_form",
    "timestamping_flags",
]

MAX_SCHEDULE_TIMEOUT: Final = (1 << 63) - 1
"""LONG_MAX jiffies: a time-out that never comes."""
USEC_PER_SEC: Final = 1_000_000

SOF_TXTIME_FLAGS_MASK: Final = 3
CLOCK_MONOTONIC: Final = 1
TXTIME_CLOCKS: Final = frozenset({0, CLOCK_MONOTONIC, 11})
"""CLOCK_REALTIME, CLOCK_MONOTONIC and CLOCK_TAI (sockopt_validate_clockid)."""

SOF_TIMESTAMPING_RX_SOFTWARE: Final = 1 << 3
SOF_TIMESTAMPING_SOFTWARE: Final = 1 << 4
SOF_TIMESTAMPING_OPT_ID: Final = 1 << 7
SOF_TIMESTAMPING_OPT_TSONLY: Final = 1 << 11
SOF_TIMESTAMPING_OPT_STATS: Final = 1 << 12
SOF_TIMESTAMPING_BIND_PHC: Final = 1 << 15
SOF_TIMESTAMPING_OPT_ID_TCP: Final = 1 << 16
SOF_TIMESTAMPING_OPT_RX_FILTER: Final = 1 << 17
SOF_TIMESTAMPING_MASK: Final = (1 << 19) - 1


def _timeout(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return stored(sock, caller, _TIMEOUT[name][0], length)


def _set_timeout(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """sock_set_timeout: rounded up to whole jiffies, by which it reads back. 0 is no limit, negative never waits."""
    if len(value) < TIMEVAL.size:
        raise SyscallError(Errno.EINVAL)
    seconds, microseconds = TIMEVAL.unpack_from(value)
    require(0 <= microseconds < USEC_PER_SEC, Errno.EDOM)
    hz = sock.kernel.limits.hz
    tick = USEC_PER_SEC // hz
    jiffies = MAX_SCHEDULE_TIMEOUT
    if seconds < 0:
        jiffies = 0
    elif (seconds or microseconds) and seconds < MAX_SCHEDULE_TIMEOUT // hz - 1:
        jiffies = seconds * hz + (microseconds + tick - 1) // tick
    stored, field = _TIMEOUT[name]
    never = jiffies == MAX_SCHEDULE_TIMEOUT
    setattr(sock, field, None if never else jiffies / hz)
    shown = (0, 0) if never else (jiffies // hz, jiffies % hz * USEC_PER_SEC // hz)
    sock.options[stored] = TIMEVAL.pack(*shown)


_TIMEOUT: Final = {
    c.SO_RCVTIMEO_OLD: (c.SO_RCVTIMEO_OLD, "rcvtimeo"),
    c.SO_RCVTIMEO_NEW: (c.SO_RCVTIMEO_OLD, "rcvtimeo"),
    c.SO_SNDTIMEO_OLD: (c.SO_SNDTIMEO_OLD, "sndtimeo"),
    c.SO_SNDTIMEO_NEW: (c.SO_SNDTIMEO_OLD, "sndtimeo"),
}


def _set_linger(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """Without any effect on close. The time stays when lingering is switched off; a negative one is the longest."""
    if len(value) < LINGER.size:
        raise SyscallError(Errno.EINVAL)
    on, seconds = LINGER.unpack_from(value)
    if not on:
        seconds = LINGER.unpack(stored(sock, caller, name, 0))[1]
    elif seconds < 0:
        longest = MAX_SCHEDULE_TIMEOUT // sock.kernel.limits.hz & UINT_MAX
        seconds = longest if longest <= INT_MAX else longest - (1 << 32)
    sock.options[name] = LINGER.pack(bool(on), seconds)


# `Socket.timestamp` is the option of the form asked for, by its old number; in `Socket.options`, SO_TIMESTAMP_NEW is
# there if control messages have the new number (SOCK_TSTAMP_NEW), SO_TIMESTAMPING_OLD are the flags of either.

_TIMESTAMP_FORM: Final = {
    c.SO_TIMESTAMP_OLD: (c.SO_TIMESTAMP_OLD, False),
    c.SO_TIMESTAMP_NEW: (c.SO_TIMESTAMP_OLD, True),
    c.SO_TIMESTAMPNS_OLD: (c.SO_TIMESTAMPNS_OLD, False),
    c.SO_TIMESTAMPNS_NEW: (c.SO_TIMESTAMPNS_OLD, True),
}


def _mark_new(sock: Socket, new: bool) -> None:
    if new:
        sock.options[c.SO_TIMESTAMP_NEW] = ONE
    else:
        sock.options.pop(c.SO_TIMESTAMP_NEW, None)


def timestamp_form(sock: Socket) -> tuple[int, bool]:
    """Which timestamps received messages get: SO_TIMESTAMP_OLD, SO_TIMESTAMPNS_OLD or 0, and whether numbered anew."""
    return sock.timestamp, c.SO_TIMESTAMP_NEW in sock.options


def timestamping_flags(sock: Socket) -> int:
    """The SOF_TIMESTAMPING_* flags in force."""
    return number_of(sock.options.get(c.SO_TIMESTAMPING_OLD, ZERO))


def _timestamp(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    form, new = timestamp_form(sock)
    if name == c.SO_TIMESTAMP_NEW:
        # Linux tells it of either form.
        return ONE if form and new else ZERO
    return ONE if _TIMESTAMP_FORM[name] == (form, new) else ZERO


def _set_timestamp(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """sock_set_timestamp: the last one set holds, and any of them set to 0 ends it."""
    if number_of(value):
        sock.timestamp, new = _TIMESTAMP_FORM[name]
        _mark_new(sock, new)
    else:
        sock.timestamp = 0


def _timestamping(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    if name == c.SO_TIMESTAMPING_NEW and c.SO_TIMESTAMP_NEW not in sock.options:
        return bytes(SO_TIMESTAMPING.size)
    return sock.options.get(c.SO_TIMESTAMPING_OLD) or bytes(SO_TIMESTAMPING.size)


def _set_timestamping(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """sock_set_timestamping. Without a clock device, SOF_TIMESTAMPING_BIND_PHC always fails."""
    flags = number_of(value)
    require(not flags & ~SOF_TIMESTAMPING_MASK, Errno.EINVAL)
    require(not flags & SOF_TIMESTAMPING_OPT_ID_TCP or bool(flags & SOF_TIMESTAMPING_OPT_ID), Errno.EINVAL)
    require(not flags & SOF_TIMESTAMPING_OPT_STATS or bool(flags & SOF_TIMESTAMPING_OPT_TSONLY), Errno.EINVAL)
    if flags & SOF_TIMESTAMPING_BIND_PHC:
        raise SyscallError(Errno.EINVAL if bound_index(sock) == LOOPBACK_INDEX else Errno.EOPNOTSUPP)
    sock.options[c.SO_TIMESTAMPING_OLD] = SO_TIMESTAMPING.pack(flags, 0)
    _mark_new(sock, name == c.SO_TIMESTAMPING_NEW)


def _set_txtime(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    require(len(value) == SOCK_TXTIME.size, Errno.EINVAL)
    clock, flags = SOCK_TXTIME.unpack(value)
    require(not flags & ~SOF_TXTIME_FLAGS_MASK, Errno.EINVAL)
    require(clock == CLOCK_MONOTONIC or capable(caller, CAP_NET_ADMIN), Errno.EPERM)
    require(clock in TXTIME_CLOCKS, Errno.EINVAL)
    sock.options[name] = value


OPTIONS: Final[dict[int, Option]] = {
    c.SO_LINGER: Option(stored, _set_linger),
    c.SO_RCVTIMEO_OLD: Option(_timeout, _set_timeout),
    c.SO_SNDTIMEO_OLD: Option(_timeout, _set_timeout),
    c.SO_TIMESTAMP_OLD: Option(_timestamp, _set_timestamp),
    c.SO_TIMESTAMPNS_OLD: Option(_timestamp, _set_timestamp),
    c.SO_TIMESTAMPING_OLD: Option(_timestamping, _set_timestamping),
    c.SO_TXTIME: Option(stored, _set_txtime),
    c.SO_TIMESTAMP_NEW: Option(_timestamp, _set_timestamp),
    c.SO_TIMESTAMPNS_NEW: Option(_timestamp, _set_timestamp),
    c.SO_TIMESTAMPING_NEW: Option(_timestamping, _set_timestamping),
    c.SO_RCVTIMEO_NEW: Option(_timeout, _set_timeout),
    c.SO_SNDTIMEO_NEW: Option(_timeout, _set_timeout),
}
