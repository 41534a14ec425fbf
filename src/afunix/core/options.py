"""getsockopt and setsockopt at SOL_SOCKET: one row an option (sk_getsockopt and sk_setsockopt in net/core/sock.c).

Three kinds of options: what other operations look at stands in a field of the socket; what is only stored and read
back stands in `Socket.options` as the bytes that getsockopt shows; what belongs to other families is refused or
ignored here exactly as Linux 6.18 does. Options that exist only in some configurations are those of a kernel with
CONFIG_NET_RX_BUSY_POLL, CONFIG_SECURITY_NETWORK and CONFIG_PAGE_POOL, without a security module that labels sockets.
The network namespace has no device but the loopback.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from afunix.abi import constants as c
from afunix.abi.constants import SOL_SOCKET
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT, LINGER, SIZE, SOCKLEN, TIMEVAL, pack_ucred
from afunix.core.credentials import CAP_NET_ADMIN
from afunix.core.errors import Unmodelled
from afunix.core.socket import LISTEN, Socket

if TYPE_CHECKING:
    from afunix.core.caller import Caller

__all__ = [
    "CAP_NET_RAW",
    "OPTIONS",
    "SOF_TIMESTAMPING_OPT_RX_FILTER",
    "SOF_TIMESTAMPING_RX_SOFTWARE",
    "SOF_TIMESTAMPING_SOFTWARE",
    "Option",
    "PidfdOf",
    "TooShort",
    "get",
    "memory_info",
    "set",
    "timestamp_form",
    "timestamping_flags",
    "value_length",
]

CAP_NET_RAW: Final = 13

INT_MAX: Final = (1 << 31) - 1
UINT_MAX: Final = (1 << 32) - 1
MAX_SCHEDULE_TIMEOUT: Final = (1 << 63) - 1
"""LONG_MAX jiffies: a time-out that never comes."""
USEC_PER_SEC: Final = 1_000_000

SOCK_MIN_SNDBUF: Final = 4608
SOCK_MIN_RCVBUF: Final = 2304
"""What SO_SNDBUF and SO_RCVBUF read at least, in bytes of truesize (include/net/sock.h)."""

IFNAMSIZ: Final = 16
LOOPBACK: Final = b"lo"
LOOPBACK_INDEX: Final = 1

SKF_AD_MAX: Final = 64
"""What SO_BPF_EXTENSIONS tells (bpf_tell_extensions)."""
SOCK_FPROG_SIZE: Final = 16
"""struct sock_fprog: number of instructions (unsigned short at 0), their address (at 8)."""
BPF_MAXINSNS: Final = 4096

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

_UINT: Final = SOCKLEN
_TIMESTAMPING: Final = Struct("<ii")
"""struct so_timestamping: flags, bind_phc."""
_TXTIME: Final = Struct("<iI")
"""struct sock_txtime: clockid, flags."""
_MEMINFO: Final = Struct("<9I")
_ZERO: Final = bytes(4)
_ONE: Final = INT.pack(1)


class PidfdOf(NamedTuple):
    """The value of an option that is a new pidfd for this process, which the front end makes and cuts to the room."""

    pid: int


class TooShort(SyscallError):  # noqa: N818 (named for what it says of the buffer)
    """ERANGE of SO_PEERGROUPS, whose optlen is set to the bytes needed all the same."""

    __slots__ = ("needed",)

    def __init__(self, needed: int) -> None:
        super().__init__(Errno.ERANGE)
        self.needed = needed


def get(sock: Socket, caller: Caller, level: int, name: int, length: int) -> bytes | PidfdOf:
    """getsockopt(2): the value, at most `length` bytes of it.

    EOPNOTSUPP: another level than SOL_SOCKET. EINVAL: a negative length, or one that the option refuses. ENOPROTOOPT:
    unknown, or only for setting. ENODATA, ENOTCONN: the socket has no peer. ERANGE: see `TooShort`.
    """
    if level != SOL_SOCKET:
        raise SyscallError(Errno.EOPNOTSUPP)
    if length < 0:
        raise SyscallError(Errno.EINVAL)
    row = OPTIONS.get(name)
    if row is None or row.read is None:
        raise SyscallError(Errno.ENOPROTOOPT)
    value = row.read(sock, caller, name, length)
    return value if isinstance(value, PidfdOf) else value[:length]


def set(sock: Socket, caller: Caller, level: int, name: int, value: bytes) -> None:
    """setsockopt(2) with optlen len(value).

    EOPNOTSUPP: another level than SOL_SOCKET, or nothing for this family. EINVAL: too short, or out of range.
    ENOPROTOOPT: unknown, or only for getting. EDOM: microseconds of a time-out out of range. EPERM, EACCES: without
    the capability for it. ENOENT: no filter to detach. ENODEV: no such device.
    """
    value_length(sock, level, name, len(value))
    row = OPTIONS.get(name)
    if row is None or row.write is None or (name == c.SO_INQ and sock.type != c.SOCK_STREAM):
        raise SyscallError(Errno.ENOPROTOOPT)
    privilege = _PRIVILEGED.get(name)
    if privilege is not None:
        free, capabilities, errno = privilege
        _require(_number(value) in free or _capable(caller, *capabilities), errno)
    row.write(sock, caller, name, value)


def value_length(sock: Socket, level: int, name: int, length: int) -> int:
    """How many bytes of a value setsockopt reads from memory (where they can't be read: EFAULT), to be given to `set`.

    Raises what Linux checks before it reads: EINVAL for a negative or too small length, EOPNOTSUPP for the level.
    """
    if length < 0:
        raise SyscallError(Errno.EINVAL)
    if level != SOL_SOCKET:
        raise SyscallError(Errno.EOPNOTSUPP)
    if name == c.SO_BINDTODEVICE:
        return min(length, IFNAMSIZ - 1)
    if length < INT.size or (name == c.SO_INQ and sock.type == c.SOCK_STREAM and length != INT.size):
        raise SyscallError(Errno.EINVAL)
    exact = _EXACT_LENGTH.get(name)
    if exact is not None:
        # A longer value must not look like one that fits: it is given with a byte too much, or as a mere int.
        return length if length == exact else min(length, INT.size + (exact == INT.size))
    least = _LEAST_LENGTH.get(name, INT.size)
    return least if length >= least else INT.size


_PRIVILEGED: Final[dict[int, tuple[range, tuple[int, ...], Errno]]] = {
    c.SO_DEBUG: (range(1), (CAP_NET_ADMIN,), Errno.EACCES),
    c.SO_PRIORITY: (range(7), (CAP_NET_RAW, CAP_NET_ADMIN), Errno.EPERM),
    c.SO_SNDBUFFORCE: (range(0), (CAP_NET_ADMIN,), Errno.EPERM),
    c.SO_RCVBUFFORCE: (range(0), (CAP_NET_ADMIN,), Errno.EPERM),
    c.SO_MARK: (range(0), (CAP_NET_RAW, CAP_NET_ADMIN), Errno.EPERM),
    c.SO_PREFER_BUSY_POLL: (range(1), (CAP_NET_ADMIN,), Errno.EPERM),
}
"""The values that everybody may set, the capabilities one of which the others need, and the errno without."""

_EXACT_LENGTH: Final = {
    c.SO_ATTACH_FILTER: SOCK_FPROG_SIZE,
    c.SO_ATTACH_BPF: INT.size,
    c.SO_ATTACH_REUSEPORT_CBPF: SOCK_FPROG_SIZE,
    c.SO_ATTACH_REUSEPORT_EBPF: INT.size,
    c.SO_TIMESTAMPING_OLD: _TIMESTAMPING.size,
    c.SO_TIMESTAMPING_NEW: _TIMESTAMPING.size,
    c.SO_TXTIME: _TXTIME.size,
}
_LEAST_LENGTH: Final = {
    c.SO_LINGER: LINGER.size,
    c.SO_MAX_PACING_RATE: SIZE.size,
    c.SO_RCVTIMEO_OLD: TIMEVAL.size,
    c.SO_RCVTIMEO_NEW: TIMEVAL.size,
    c.SO_SNDTIMEO_OLD: TIMEVAL.size,
    c.SO_SNDTIMEO_NEW: TIMEVAL.size,
}


def _number(value: bytes) -> int:
    number: int = INT.unpack_from(value)[0]
    return number


def _require(condition: bool, errno: Errno) -> None:
    if not condition:
        raise SyscallError(errno)


def _capable(caller: Caller, *capabilities: int) -> bool:
    credentials = caller.credentials
    return any(credentials.capable(capability) for capability in capabilities)


Reader = Callable[[Socket, "Caller", int, int], bytes | PidfdOf]
"""(socket, caller, option, length of the buffer): the whole value."""
Writer = Callable[[Socket, "Caller", int, bytes], None]


class Option(NamedTuple):
    """How an option is read and written; None: getsockopt or setsockopt answers ENOPROTOOPT."""

    read: Reader | None
    write: Writer | None


# Options that are only stored, and flags that stand in a field of the socket.


def _stored(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return sock.options.get(name) or _INITIAL.get(name, _ZERO)


def _store_flag(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    sock.options[name] = _ONE if _number(value) else _ZERO


def _set_select_err_queue(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _store_flag(sock, caller, name, value)
    # It is looked at by poll.
    sock.kernel.changed[sock] = None


def _store_int(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    sock.options[name] = value[: INT.size]


def _ignore(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    pass


_INITIAL: Final = {
    c.SO_INCOMING_CPU: INT.pack(-1),
    c.SO_LINGER: bytes(LINGER.size),
    c.SO_MAX_PACING_RATE: SIZE.pack((1 << 64) - 1),
    c.SO_RCVTIMEO_OLD: bytes(TIMEVAL.size),
    c.SO_SNDTIMEO_OLD: bytes(TIMEVAL.size),
    c.SO_TXTIME: bytes(_TXTIME.size),
}
"""What stored options read before they are set, where that is not an int of 0."""


def _constant(number: int) -> Reader:
    value = INT.pack(number)
    return lambda sock, caller, name, length: value


def _field(field: str) -> Reader:
    """Read an int or flag that stands in a field of the socket."""
    return lambda sock, caller, name, length: INT.pack(getattr(sock, field))


def _flag(field: str) -> Option:
    """A flag that stands in a field of the socket."""

    def write(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
        setattr(sock, field, bool(_number(value)))

    return Option(_field(field), write)


def _refuse(errno: Errno) -> Callable[..., NoReturn]:
    """Answer getsockopt or setsockopt with an errno, whatever the value."""

    def refuse(*_: object) -> NoReturn:
        raise SyscallError(errno)

    return refuse


# What a socket is.


def _accepts(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return _ONE if sock.state == LISTEN else _ZERO


def _error(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    """The pending error, which is gone then (DATA-3)."""
    error = sock.error
    if error is None:
        return _ZERO
    sock.error = None
    sock.kernel.changed[sock] = None
    return INT.pack(error)


def _cookie(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    _require(length >= SIZE.size, Errno.EINVAL)
    return SIZE.pack(sock.number)


def _net_cookie(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    _require(length == SIZE.size, Errno.EINVAL)
    cookies = sock.kernel.net_cookies
    return SIZE.pack(cookies.setdefault(sock.net, len(cookies) + 1))


def memory_info(sock: Socket) -> bytes:
    """sk_get_meminfo: unread messages are charged to their sender (DATA-9), so of its own only wmem is ever used."""
    return _MEMINFO.pack(0, sock.rcvbuf, sock.wmem, sock.sndbuf, 0, 0, 0, 0, 0)


def _meminfo(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return memory_info(sock)


# The peer (SCM-6).


def _peer_cred(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    peer = sock.peer_cred
    if caller.numbers is not None:
        peer = caller.numbers.shown(peer)
    return pack_ucred(peer.pid, peer.uid, peer.gid)


def _peer_groups(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    groups = sock.peer_groups
    if groups is None:
        raise SyscallError(Errno.ENODATA)
    needed = len(groups) * _UINT.size
    if length < needed:
        raise TooShort(needed)
    return b"".join(map(_UINT.pack, groups if caller.numbers is None else caller.numbers.shown_groups(groups)))


def _peer_pidfd(sock: Socket, caller: Caller, name: int, length: int) -> PidfdOf:
    if sock.peer_groups is None:
        raise SyscallError(Errno.ENODATA)
    return PidfdOf(sock.peer_cred.pid)


def _peer_name(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    """SO_PEERNAME: getpeername that refuses a buffer longer than the address."""
    address = encode(sock.name(peer=True))
    _require(len(address) >= length, Errno.EINVAL)
    return address


# Buffers.


def _buffer_size(number: int, least: int) -> int:
    return max(min(number, INT_MAX // 2) * 2, least)


def _lock_buffer(sock: Socket, bit: int) -> None:
    sock.options[c.SO_BUF_LOCK] = INT.pack(_number(sock.options.get(c.SO_BUF_LOCK, _ZERO)) | bit)


def _set_sndbuf(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """DATA-9. A negative size is a very large one to SO_SNDBUF, and 0 to SO_SNDBUFFORCE."""
    number = _number(value)
    number = max(number, 0) if name == c.SO_SNDBUFFORCE else min(number & UINT_MAX, sock.kernel.limits.wmem_max)
    _lock_buffer(sock, c.SOCK_SNDBUF_LOCK)
    sock.sndbuf = _buffer_size(number, SOCK_MIN_SNDBUF)
    sock.kernel.changed[sock] = None
    if sock.has_space:
        sock.kernel.wakeups.wake(sock.writers)


def _set_rcvbuf(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    number = _number(value)
    number = max(number, 0) if name == c.SO_RCVBUFFORCE else min(number & UINT_MAX, sock.kernel.limits.rmem_max)
    _lock_buffer(sock, c.SOCK_RCVBUF_LOCK)
    sock.rcvbuf = _buffer_size(number, SOCK_MIN_RCVBUF)


def _set_buf_lock(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _require(not _number(value) & ~(c.SOCK_SNDBUF_LOCK | c.SOCK_RCVBUF_LOCK), Errno.EINVAL)
    _store_int(sock, caller, name, value)


def _set_reserve_mem(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    raise SyscallError(Errno.EINVAL if _number(value) < 0 else Errno.EOPNOTSUPP)


def _set_rcvlowat(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    number = _number(value)
    sock.rcvlowat = INT_MAX if number < 0 else number or 1


def _set_peek_off(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    sock.peek_off = _number(value)


def _set_inq(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """SO_INQ of STREAM (unix_setsockopt); it has no getsockopt."""
    number = _number(value)
    _require(0 <= number <= 1, Errno.EINVAL)
    sock.inq = bool(number)


# Time.


def _timeout(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return _stored(sock, caller, _TIMEOUT[name][0], length)


def _set_timeout(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """sock_set_timeout: rounded up to whole jiffies, by which it reads back. 0 is no limit, negative never waits."""
    if len(value) < TIMEVAL.size:
        raise SyscallError(Errno.EINVAL)
    seconds, microseconds = TIMEVAL.unpack_from(value)
    _require(0 <= microseconds < USEC_PER_SEC, Errno.EDOM)
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
        seconds = LINGER.unpack(_stored(sock, caller, name, 0))[1]
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
        sock.options[c.SO_TIMESTAMP_NEW] = _ONE
    else:
        sock.options.pop(c.SO_TIMESTAMP_NEW, None)


def timestamp_form(sock: Socket) -> tuple[int, bool]:
    """Which timestamps received messages get: SO_TIMESTAMP_OLD, SO_TIMESTAMPNS_OLD or 0, and whether numbered anew."""
    return sock.timestamp, c.SO_TIMESTAMP_NEW in sock.options


def timestamping_flags(sock: Socket) -> int:
    """The SOF_TIMESTAMPING_* flags in force."""
    return _number(sock.options.get(c.SO_TIMESTAMPING_OLD, _ZERO))


def _timestamp(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    form, new = timestamp_form(sock)
    if name == c.SO_TIMESTAMP_NEW:
        # Linux tells it of either form.
        return _ONE if form and new else _ZERO
    return _ONE if _TIMESTAMP_FORM[name] == (form, new) else _ZERO


def _set_timestamp(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """sock_set_timestamp: the last one set holds, and any of them set to 0 ends it."""
    if _number(value):
        sock.timestamp, new = _TIMESTAMP_FORM[name]
        _mark_new(sock, new)
    else:
        sock.timestamp = 0


def _timestamping(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    if name == c.SO_TIMESTAMPING_NEW and c.SO_TIMESTAMP_NEW not in sock.options:
        return bytes(_TIMESTAMPING.size)
    return sock.options.get(c.SO_TIMESTAMPING_OLD) or bytes(_TIMESTAMPING.size)


def _set_timestamping(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """sock_set_timestamping. Without a clock device, SOF_TIMESTAMPING_BIND_PHC always fails."""
    flags = _number(value)
    _require(not flags & ~SOF_TIMESTAMPING_MASK, Errno.EINVAL)
    _require(not flags & SOF_TIMESTAMPING_OPT_ID_TCP or bool(flags & SOF_TIMESTAMPING_OPT_ID), Errno.EINVAL)
    _require(not flags & SOF_TIMESTAMPING_OPT_STATS or bool(flags & SOF_TIMESTAMPING_OPT_TSONLY), Errno.EINVAL)
    if flags & SOF_TIMESTAMPING_BIND_PHC:
        raise SyscallError(Errno.EINVAL if _bound_index(sock) == LOOPBACK_INDEX else Errno.EOPNOTSUPP)
    sock.options[c.SO_TIMESTAMPING_OLD] = _TIMESTAMPING.pack(flags, 0)
    _mark_new(sock, name == c.SO_TIMESTAMPING_NEW)


def _set_txtime(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _require(len(value) == _TXTIME.size, Errno.EINVAL)
    clock, flags = _TXTIME.unpack(value)
    _require(not flags & ~SOF_TXTIME_FLAGS_MASK, Errno.EINVAL)
    _require(clock == CLOCK_MONOTONIC or _capable(caller, CAP_NET_ADMIN), Errno.EPERM)
    _require(clock in TXTIME_CLOCKS, Errno.EINVAL)
    sock.options[name] = value


# Devices, marks and other things of the network.


def _bound_index(sock: Socket) -> int:
    return _number(sock.options.get(c.SO_BINDTOIFINDEX, _ZERO))


def _bind_to_index(sock: Socket, caller: Caller, index: int) -> None:
    """sock_bindtoindex_locked: any index will do, but only the privileged change it."""
    _require(not _bound_index(sock) or _capable(caller, CAP_NET_RAW), Errno.EPERM)
    _require(index >= 0, Errno.EINVAL)
    sock.options[c.SO_BINDTOIFINDEX] = INT.pack(index)


def _set_index(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _bind_to_index(sock, caller, _number(value))


def _device(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    index = _bound_index(sock)
    if not index:
        return b""
    _require(length >= IFNAMSIZ, Errno.EINVAL)
    _require(index == LOOPBACK_INDEX, Errno.ENODEV)
    return LOOPBACK + b"\0"


def _set_device(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    device = value[: IFNAMSIZ - 1].partition(b"\0")[0]
    _require(device in (b"", LOOPBACK), Errno.ENODEV)
    _bind_to_index(sock, caller, LOOPBACK_INDEX if device else 0)


def _set_reuseport(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _require(not _number(value), Errno.EOPNOTSUPP)


def _set_busy_poll(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _require(_number(value) >= 0, Errno.EINVAL)
    _store_int(sock, caller, name, value)


def _set_busy_poll_budget(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    number = _number(value)
    _require(number <= _number(_stored(sock, caller, name, 0)) or _capable(caller, CAP_NET_ADMIN), Errno.EPERM)
    _require(0 <= number < 1 << 16, Errno.EINVAL)
    _store_int(sock, caller, name, value)


def _pacing_rate(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    rate = _stored(sock, caller, name, length)
    return rate if length >= SIZE.size else _UINT.pack(min(SIZE.unpack(rate)[0], UINT_MAX))


def _set_pacing_rate(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """An int of -1 is no limit; of 8 bytes or more, the first 8 are the rate."""
    if len(value) >= SIZE.size:
        sock.options[name] = value[: SIZE.size]
    elif _number(value) == -1:
        sock.options[name] = _INITIAL[name]
    else:
        sock.options[name] = SIZE.pack(_number(value) & UINT_MAX)


# Filters. None is ever attached: running one is not modelled.


def _check_unlocked(sock: Socket) -> None:
    _require(sock.options.get(c.SO_LOCK_FILTER, _ZERO) == _ZERO, Errno.EPERM)


def _check_program(sock: Socket, value: bytes) -> None:
    """copy_bpf_fprog_from_user and __get_filter, as far as they look at struct sock_fprog itself."""
    _require(len(value) == SOCK_FPROG_SIZE, Errno.EINVAL)
    _check_unlocked(sock)
    instructions = int.from_bytes(value[:2], "little")
    _require(0 < instructions <= BPF_MAXINSNS and any(value[8:]), Errno.EINVAL)


def _attach_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _check_program(sock, value)
    raise Unmodelled("SO_ATTACH_FILTER: socket filters")


def _attach_reuseport_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """EINVAL for every program: the socket was not bound with SO_REUSEPORT (reuseport_attach_prog)."""
    _check_program(sock, value)
    raise SyscallError(Errno.EINVAL)


def _attach_bpf(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """SO_ATTACH_BPF and SO_ATTACH_REUSEPORT_EBPF (__get_bpf)."""
    _require(len(value) == INT.size, Errno.EINVAL)
    _check_unlocked(sock)
    _require(_number(value) >= 0, Errno.EBADF)
    raise Unmodelled("SO_ATTACH_BPF: socket filters")


def _detach_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _check_unlocked(sock)
    raise SyscallError(Errno.ENOENT)


def _filter(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return b""


def _lock_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    if not _number(value):
        _check_unlocked(sock)
    _store_flag(sock, caller, name, value)


_FLAG: Final = Option(_stored, _store_flag)
_NUMBER: Final = Option(_stored, _store_int)

OPTIONS: Final[dict[int, Option]] = {
    c.SO_DEBUG: _FLAG,
    c.SO_REUSEADDR: _FLAG,
    c.SO_TYPE: Option(_field("type"), None),
    c.SO_ERROR: Option(_error, None),
    c.SO_DONTROUTE: _FLAG,
    c.SO_BROADCAST: _FLAG,
    c.SO_SNDBUF: Option(_field("sndbuf"), _set_sndbuf),
    c.SO_RCVBUF: Option(_field("rcvbuf"), _set_rcvbuf),
    c.SO_KEEPALIVE: _FLAG,
    c.SO_OOBINLINE: _flag("oobinline"),
    c.SO_NO_CHECK: _FLAG,
    c.SO_PRIORITY: _NUMBER,
    c.SO_LINGER: Option(_stored, _set_linger),
    c.SO_BSDCOMPAT: Option(_constant(0), _ignore),
    c.SO_REUSEPORT: Option(_constant(0), _set_reuseport),
    c.SO_PASSCRED: _flag("passcred"),
    c.SO_PEERCRED: Option(_peer_cred, None),
    c.SO_RCVLOWAT: Option(_field("rcvlowat"), _set_rcvlowat),
    c.SO_SNDLOWAT: Option(_constant(1), None),
    c.SO_RCVTIMEO_OLD: Option(_timeout, _set_timeout),
    c.SO_SNDTIMEO_OLD: Option(_timeout, _set_timeout),
    c.SO_BINDTODEVICE: Option(_device, _set_device),
    c.SO_ATTACH_FILTER: Option(_filter, _attach_filter),
    c.SO_DETACH_FILTER: Option(None, _detach_filter),
    c.SO_PEERNAME: Option(_peer_name, None),
    c.SO_TIMESTAMP_OLD: Option(_timestamp, _set_timestamp),
    c.SO_ACCEPTCONN: Option(_accepts, None),
    c.SO_PEERSEC: Option(_refuse(Errno.ENOPROTOOPT), None),
    c.SO_SNDBUFFORCE: Option(None, _set_sndbuf),
    c.SO_RCVBUFFORCE: Option(None, _set_rcvbuf),
    c.SO_PASSSEC: _flag("passsec"),
    c.SO_TIMESTAMPNS_OLD: Option(_timestamp, _set_timestamp),
    c.SO_MARK: _NUMBER,
    c.SO_TIMESTAMPING_OLD: Option(_timestamping, _set_timestamping),
    c.SO_PROTOCOL: Option(_constant(0), None),
    c.SO_DOMAIN: Option(_constant(1), None),
    c.SO_RXQ_OVFL: _FLAG,
    c.SO_WIFI_STATUS: _FLAG,
    c.SO_PEEK_OFF: Option(_field("peek_off"), _set_peek_off),
    c.SO_NOFCS: _FLAG,
    c.SO_LOCK_FILTER: Option(_stored, _lock_filter),
    c.SO_SELECT_ERR_QUEUE: Option(_stored, _set_select_err_queue),
    c.SO_BUSY_POLL: Option(_stored, _set_busy_poll),
    c.SO_MAX_PACING_RATE: Option(_pacing_rate, _set_pacing_rate),
    c.SO_BPF_EXTENSIONS: Option(_constant(SKF_AD_MAX), None),
    c.SO_INCOMING_CPU: _NUMBER,
    c.SO_ATTACH_BPF: Option(None, _attach_bpf),
    c.SO_ATTACH_REUSEPORT_CBPF: Option(None, _attach_reuseport_filter),
    c.SO_ATTACH_REUSEPORT_EBPF: Option(None, _attach_bpf),
    c.SO_CNX_ADVICE: Option(None, _ignore),
    c.SO_MEMINFO: Option(_meminfo, None),
    c.SO_INCOMING_NAPI_ID: Option(_constant(0), None),
    c.SO_COOKIE: Option(_cookie, None),
    c.SO_PEERGROUPS: Option(_peer_groups, None),
    c.SO_ZEROCOPY: Option(_constant(0), _refuse(Errno.EOPNOTSUPP)),
    c.SO_TXTIME: Option(_stored, _set_txtime),
    c.SO_BINDTOIFINDEX: Option(_stored, _set_index),
    c.SO_TIMESTAMP_NEW: Option(_timestamp, _set_timestamp),
    c.SO_TIMESTAMPNS_NEW: Option(_timestamp, _set_timestamp),
    c.SO_TIMESTAMPING_NEW: Option(_timestamping, _set_timestamping),
    c.SO_RCVTIMEO_NEW: Option(_timeout, _set_timeout),
    c.SO_SNDTIMEO_NEW: Option(_timeout, _set_timeout),
    c.SO_DETACH_REUSEPORT_BPF: Option(None, _refuse(Errno.EINVAL)),
    c.SO_PREFER_BUSY_POLL: _FLAG,
    c.SO_BUSY_POLL_BUDGET: Option(None, _set_busy_poll_budget),
    c.SO_NETNS_COOKIE: Option(_net_cookie, None),
    c.SO_BUF_LOCK: Option(_stored, _set_buf_lock),
    c.SO_RESERVE_MEM: Option(_constant(0), _set_reserve_mem),
    c.SO_TXREHASH: Option(_refuse(Errno.EOPNOTSUPP), _refuse(Errno.EOPNOTSUPP)),
    c.SO_RCVMARK: _FLAG,
    c.SO_PASSPIDFD: _flag("passpidfd"),
    c.SO_PEERPIDFD: Option(_peer_pidfd, None),
    c.SO_DEVMEM_DONTNEED: Option(None, _refuse(Errno.EBADF)),
    c.SO_RCVPRIORITY: _FLAG,
    c.SO_PASSRIGHTS: _flag("passrights"),
    c.SO_INQ: Option(None, _set_inq),
}
"""Every option of Linux 6.18 (include/uapi/asm-generic/socket.h)."""
