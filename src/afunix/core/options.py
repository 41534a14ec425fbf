"""getsockopt and setsockopt at SOL_SOCKET: one row an option (sk_getsockopt and sk_setsockopt in net/core/sock.c).

Here are those that matter to AF_UNIX; option_time and option_network have the others.

Three kinds of options: what other operations look at stands in a field of the socket; what is only stored and read
back stands in `Socket.options` as the bytes that getsockopt shows; what belongs to other families is refused or
ignored here exactly as Linux 6.18 does. Options that exist only in some configurations are those of a kernel with
CONFIG_NET_RX_BUSY_POLL, CONFIG_SECURITY_NETWORK and CONFIG_PAGE_POOL, without a security module that labels sockets.
The network namespace has no device but the loopback.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from afunix.abi import constants as c
from afunix.abi.bpf import SOCK_FPROG
from afunix.abi.constants import SOL_SOCKET
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.sockaddr import encode
from afunix.abi.structs import INT, LINGER, SIZE, SO_TIMESTAMPING, SOCK_TXTIME, SOCKLEN, TIMEVAL, pack_ucred
from afunix.core import option_network, option_time
from afunix.core.credentials import CAP_NET_ADMIN, CAP_NET_RAW
from afunix.core.option import (
    INT_MAX,
    ONE,
    UINT_MAX,
    ZERO,
    Option,
    PidfdOf,
    capable,
    constant,
    field,
    flag,
    ignore,
    number_of,
    refuse,
    require,
    store_flag,
    store_int,
    stored,
)
from afunix.core.socket import LISTEN, Socket

if TYPE_CHECKING:
    from afunix.core.caller import Caller

__all__ = [
    "OPTIONS",
    "PidfdOf",
    "TooShort",
    "get",
    "memory_info",
    "set",
    "value_length",
]

SOCK_MIN_SNDBUF: Final = 4608
SOCK_MIN_RCVBUF: Final = 2304
"""What SO_SNDBUF and SO_RCVBUF read at least, in bytes of truesize (include/net/sock.h)."""

_MEMINFO: Final = Struct("<9I")


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
        require(number_of(value) in free or capable(caller, *capabilities), errno)
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
        return min(length, option_network.IFNAMSIZ - 1)
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
    c.SO_ATTACH_FILTER: SOCK_FPROG.size,
    c.SO_ATTACH_BPF: INT.size,
    c.SO_ATTACH_REUSEPORT_CBPF: SOCK_FPROG.size,
    c.SO_ATTACH_REUSEPORT_EBPF: INT.size,
    c.SO_TIMESTAMPING_OLD: SO_TIMESTAMPING.size,
    c.SO_TIMESTAMPING_NEW: SO_TIMESTAMPING.size,
    c.SO_TXTIME: SOCK_TXTIME.size,
}
_LEAST_LENGTH: Final = {
    c.SO_LINGER: LINGER.size,
    c.SO_MAX_PACING_RATE: SIZE.size,
    c.SO_RCVTIMEO_OLD: TIMEVAL.size,
    c.SO_RCVTIMEO_NEW: TIMEVAL.size,
    c.SO_SNDTIMEO_OLD: TIMEVAL.size,
    c.SO_SNDTIMEO_NEW: TIMEVAL.size,
}


# What a socket is.


def _accepts(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return ONE if sock.state == LISTEN else ZERO


def _error(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    """The pending error, which is gone then (DATA-3)."""
    error = sock.error
    if error is None:
        return ZERO
    sock.error = None
    sock.kernel.changed[sock] = None
    return INT.pack(error)


def _cookie(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    require(length >= SIZE.size, Errno.EINVAL)
    return SIZE.pack(sock.number)


def _net_cookie(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    require(length == SIZE.size, Errno.EINVAL)
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
    needed = len(groups) * SOCKLEN.size
    if length < needed:
        raise TooShort(needed)
    return b"".join(map(SOCKLEN.pack, groups if caller.numbers is None else caller.numbers.shown_groups(groups)))


def _peer_pidfd(sock: Socket, caller: Caller, name: int, length: int) -> PidfdOf:
    if sock.peer_groups is None:
        raise SyscallError(Errno.ENODATA)
    return PidfdOf(sock.peer_cred.pid)


def _peer_name(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    """SO_PEERNAME: getpeername that refuses a buffer longer than the address."""
    address = encode(sock.name(peer=True))
    require(len(address) >= length, Errno.EINVAL)
    return address


# Buffers.


def _buffer_size(number: int, least: int) -> int:
    return max(min(number, INT_MAX // 2) * 2, least)


def _lock_buffer(sock: Socket, bit: int) -> None:
    sock.options[c.SO_BUF_LOCK] = INT.pack(number_of(sock.options.get(c.SO_BUF_LOCK, ZERO)) | bit)


def _set_sndbuf(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """DATA-9. A negative size is a very large one to SO_SNDBUF, and 0 to SO_SNDBUFFORCE."""
    number = number_of(value)
    number = max(number, 0) if name == c.SO_SNDBUFFORCE else min(number & UINT_MAX, sock.kernel.limits.wmem_max)
    _lock_buffer(sock, c.SOCK_SNDBUF_LOCK)
    sock.sndbuf = _buffer_size(number, SOCK_MIN_SNDBUF)
    sock.kernel.changed[sock] = None
    if sock.has_space:
        sock.kernel.wakeups.wake(sock.writers)


def _set_rcvbuf(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    number = number_of(value)
    number = max(number, 0) if name == c.SO_RCVBUFFORCE else min(number & UINT_MAX, sock.kernel.limits.rmem_max)
    _lock_buffer(sock, c.SOCK_RCVBUF_LOCK)
    sock.rcvbuf = _buffer_size(number, SOCK_MIN_RCVBUF)


def _set_buf_lock(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    require(not number_of(value) & ~(c.SOCK_SNDBUF_LOCK | c.SOCK_RCVBUF_LOCK), Errno.EINVAL)
    store_int(sock, caller, name, value)


def _set_reserve_mem(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    raise SyscallError(Errno.EINVAL if number_of(value) < 0 else Errno.EOPNOTSUPP)


def _set_rcvlowat(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    number = number_of(value)
    sock.rcvlowat = INT_MAX if number < 0 else number or 1


def _set_peek_off(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    sock.peek_off = number_of(value)


def _set_inq(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """SO_INQ of STREAM (unix_setsockopt); it has no getsockopt."""
    number = number_of(value)
    require(0 <= number <= 1, Errno.EINVAL)
    sock.inq = bool(number)


def _set_select_err_queue(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    store_flag(sock, caller, name, value)
    # It is looked at by poll.
    sock.kernel.changed[sock] = None


_FLAG: Final = Option(stored, store_flag)
_NUMBER: Final = Option(stored, store_int)

OPTIONS: Final[dict[int, Option]] = {
    **option_network.OPTIONS,
    **option_time.OPTIONS,
    c.SO_DEBUG: _FLAG,
    c.SO_REUSEADDR: _FLAG,
    c.SO_TYPE: Option(field("type"), None),
    c.SO_ERROR: Option(_error, None),
    c.SO_DONTROUTE: _FLAG,
    c.SO_BROADCAST: _FLAG,
    c.SO_SNDBUF: Option(field("sndbuf"), _set_sndbuf),
    c.SO_RCVBUF: Option(field("rcvbuf"), _set_rcvbuf),
    c.SO_KEEPALIVE: _FLAG,
    c.SO_OOBINLINE: flag("oobinline"),
    c.SO_NO_CHECK: _FLAG,
    c.SO_PRIORITY: _NUMBER,
    c.SO_BSDCOMPAT: Option(constant(0), ignore),
    c.SO_PASSCRED: flag("passcred"),
    c.SO_PEERCRED: Option(_peer_cred, None),
    c.SO_RCVLOWAT: Option(field("rcvlowat"), _set_rcvlowat),
    c.SO_SNDLOWAT: Option(constant(1), None),
    c.SO_PEERNAME: Option(_peer_name, None),
    c.SO_ACCEPTCONN: Option(_accepts, None),
    c.SO_PEERSEC: Option(refuse(Errno.ENOPROTOOPT), None),
    c.SO_SNDBUFFORCE: Option(None, _set_sndbuf),
    c.SO_RCVBUFFORCE: Option(None, _set_rcvbuf),
    c.SO_PASSSEC: flag("passsec"),
    c.SO_MARK: _NUMBER,
    c.SO_PROTOCOL: Option(constant(0), None),
    c.SO_DOMAIN: Option(constant(1), None),
    c.SO_RXQ_OVFL: _FLAG,
    c.SO_WIFI_STATUS: _FLAG,
    c.SO_PEEK_OFF: Option(field("peek_off"), _set_peek_off),
    c.SO_NOFCS: _FLAG,
    c.SO_SELECT_ERR_QUEUE: Option(stored, _set_select_err_queue),
    c.SO_INCOMING_CPU: _NUMBER,
    c.SO_CNX_ADVICE: Option(None, ignore),
    c.SO_MEMINFO: Option(_meminfo, None),
    c.SO_INCOMING_NAPI_ID: Option(constant(0), None),
    c.SO_COOKIE: Option(_cookie, None),
    c.SO_PEERGROUPS: Option(_peer_groups, None),
    c.SO_ZEROCOPY: Option(constant(0), refuse(Errno.EOPNOTSUPP)),
    c.SO_PREFER_BUSY_POLL: _FLAG,
    c.SO_NETNS_COOKIE: Option(_net_cookie, None),
    c.SO_BUF_LOCK: Option(stored, _set_buf_lock),
    c.SO_RESERVE_MEM: Option(constant(0), _set_reserve_mem),
    c.SO_TXREHASH: Option(refuse(Errno.EOPNOTSUPP), refuse(Errno.EOPNOTSUPP)),
    c.SO_RCVMARK: _FLAG,
    c.SO_PASSPIDFD: flag("passpidfd"),
    c.SO_PEERPIDFD: Option(_peer_pidfd, None),
    c.SO_DEVMEM_DONTNEED: Option(None, refuse(Errno.EBADF)),
    c.SO_RCVPRIORITY: _FLAG,
    c.SO_PASSRIGHTS: flag("passrights"),
    c.SO_INQ: Option(None, _set_inq),
}
"""Every option of Linux 6.18 (include/uapi/asm-generic/socket.h)."""
