"""Socket options of the network that AF_UNIX only stores or refuses: devices, polling, pacing, filters.

No filter is ever attached: running one is not modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from afunix.abi import constants as c
from afunix.abi.bpf import BPF_MAXINSNS, SOCK_FPROG
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT, SIZE, SOCKLEN
from afunix.core.credentials import CAP_NET_ADMIN, CAP_NET_RAW
from afunix.core.errors import Unmodelled
from afunix.core.option import (
    INITIAL,
    UINT_MAX,
    ZERO,
    Option,
    capable,
    constant,
    number_of,
    refuse,
    require,
    store_flag,
    store_int,
    stored,
)
from afunix.core.socket import Socket

if TYPE_CHECKING:
    from afunix.core.caller import Caller

__all__ = [
    "IFNAMSIZ",
    "LOOPBACK_INDEX",
    "OPTIONS",
    "SKF_AD_MAX",
    "bound_index",
]

IFNAMSIZ: Final = 16
LOOPBACK: Final = b"lo"
LOOPBACK_INDEX: Final = 1

SKF_AD_MAX: Final = 64
"""What SO_BPF_EXTENSIONS tells (bpf_tell_extensions)."""


def bound_index(sock: Socket) -> int:
    """The index of the device that SO_BINDTODEVICE or SO_BINDTOIFINDEX chose; 0 is none."""
    return number_of(sock.options.get(c.SO_BINDTOIFINDEX, ZERO))


def _bind_to_index(sock: Socket, caller: Caller, index: int) -> None:
    """sock_bindtoindex_locked: any index will do, but only the privileged change it."""
    require(not bound_index(sock) or capable(caller, CAP_NET_RAW), Errno.EPERM)
    require(index >= 0, Errno.EINVAL)
    sock.options[c.SO_BINDTOIFINDEX] = INT.pack(index)


def _set_index(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _bind_to_index(sock, caller, number_of(value))


def _device(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    index = bound_index(sock)
    if not index:
        return b""
    require(length >= IFNAMSIZ, Errno.EINVAL)
    require(index == LOOPBACK_INDEX, Errno.ENODEV)
    return LOOPBACK + b"\0"


def _set_device(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    device = value[: IFNAMSIZ - 1].partition(b"\0")[0]
    require(device in (b"", LOOPBACK), Errno.ENODEV)
    _bind_to_index(sock, caller, LOOPBACK_INDEX if device else 0)


def _set_reuseport(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    require(not number_of(value), Errno.EOPNOTSUPP)


def _set_busy_poll(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    require(number_of(value) >= 0, Errno.EINVAL)
    store_int(sock, caller, name, value)


def _set_busy_poll_budget(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    number = number_of(value)
    require(number <= number_of(stored(sock, caller, name, 0)) or capable(caller, CAP_NET_ADMIN), Errno.EPERM)
    require(0 <= number < 1 << 16, Errno.EINVAL)
    store_int(sock, caller, name, value)


def _pacing_rate(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    rate = stored(sock, caller, name, length)
    return rate if length >= SIZE.size else SOCKLEN.pack(min(SIZE.unpack(rate)[0], UINT_MAX))


def _set_pacing_rate(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """An int of -1 is no limit; of 8 bytes or more, the first 8 are the rate."""
    if len(value) >= SIZE.size:
        sock.options[name] = value[: SIZE.size]
    elif number_of(value) == -1:
        sock.options[name] = INITIAL[name]
    else:
        sock.options[name] = SIZE.pack(number_of(value) & UINT_MAX)


# Filters. None is ever attached: running one is not modelled.


def _check_unlocked(sock: Socket) -> None:
    require(sock.options.get(c.SO_LOCK_FILTER, ZERO) == ZERO, Errno.EPERM)


def _check_program(sock: Socket, value: bytes) -> None:
    """copy_bpf_fprog_from_user and __get_filter, as far as they look at struct sock_fprog itself."""
    require(len(value) == SOCK_FPROG.size, Errno.EINVAL)
    _check_unlocked(sock)
    instructions, address = SOCK_FPROG.unpack(value)
    require(0 < instructions <= BPF_MAXINSNS and address, Errno.EINVAL)


def _attach_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _check_program(sock, value)
    raise Unmodelled("SO_ATTACH_FILTER: socket filters")


def _attach_reuseport_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """EINVAL for every program: the socket was not bound with SO_REUSEPORT (reuseport_attach_prog)."""
    _check_program(sock, value)
    raise SyscallError(Errno.EINVAL)


def _attach_bpf(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """SO_ATTACH_BPF and SO_ATTACH_REUSEPORT_EBPF (__get_bpf)."""
    require(len(value) == INT.size, Errno.EINVAL)
    _check_unlocked(sock)
    require(number_of(value) >= 0, Errno.EBADF)
    raise Unmodelled("SO_ATTACH_BPF: socket filters")


def _detach_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    _check_unlocked(sock)
    raise SyscallError(Errno.ENOENT)


def _filter(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    return b""


def _lock_filter(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    if not number_of(value):
        _check_unlocked(sock)
    store_flag(sock, caller, name, value)


OPTIONS: Final[dict[int, Option]] = {
    c.SO_REUSEPORT: Option(constant(0), _set_reuseport),
    c.SO_BINDTODEVICE: Option(_device, _set_device),
    c.SO_ATTACH_FILTER: Option(_filter, _attach_filter),
    c.SO_DETACH_FILTER: Option(None, _detach_filter),
    c.SO_LOCK_FILTER: Option(stored, _lock_filter),
    c.SO_BUSY_POLL: Option(stored, _set_busy_poll),
    c.SO_MAX_PACING_RATE: Option(_pacing_rate, _set_pacing_rate),
    c.SO_BPF_EXTENSIONS: Option(constant(SKF_AD_MAX), None),
    c.SO_ATTACH_BPF: Option(None, _attach_bpf),
    c.SO_ATTACH_REUSEPORT_CBPF: Option(None, _attach_reuseport_filter),
    c.SO_ATTACH_REUSEPORT_EBPF: Option(None, _attach_bpf),
    c.SO_BINDTOIFINDEX: Option(stored, _set_index),
    c.SO_DETACH_REUSEPORT_BPF: Option(None, refuse(Errno.EINVAL)),
    c.SO_BUSY_POLL_BUDGET: Option(None, _set_busy_poll_budget),
}
