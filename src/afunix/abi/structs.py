"""Fixed-size structures that socket calls exchange with programs, as precompiled layouts.

64-bit little-endian Linux. x86-64 and aarch64 agree in all of them but `epoll_event`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

__all__ = [
    "EPOLL_EVENT_ALIGNED",
    "EPOLL_EVENT_PACKED",
    "INT",
    "LINGER",
    "POLLFD",
    "SIZE",
    "SOCKLEN",
    "SOCK_TXTIME",
    "SO_TIMESTAMPING",
    "TIMESPEC",
    "TIMESPEC_32",
    "TIMEVAL",
    "TIMEVAL_32",
    "UCRED",
    "pack_ucred",
    "unpack_ucred",
]

INT: Final = Struct("<i")
"""int: most socket options, and a descriptor of SCM_RIGHTS or SCM_PIDFD."""

SOCKLEN: Final = Struct("<I")
"""socklen_t. The kernel reads it as an int and refuses negative lengths with EINVAL."""

SIZE: Final = Struct("<Q")
"""size_t, loff_t and pointers."""

UCRED: Final = Struct("<III")
"""struct ucred: pid, uid, gid (include/linux/socket.h). `pack_ucred` and `unpack_ucred` know -1."""

TIMEVAL: Final = Struct("<qq")
"""Seconds and microseconds: SO_RCVTIMEO and SO_SNDTIMEO, by old and new numbers (__kernel_sock_timeval)."""

TIMEVAL_32: Final = Struct("<ii")
"""struct old_timeval32: what SO_RCVTIMEO_OLD takes from a 32-bit program."""

TIMESPEC: Final = Struct("<qq")
"""Seconds and nanoseconds: the time-outs of recvmmsg, ppoll, pselect6; SCM_TIMESTAMPNS."""

TIMESPEC_32: Final = Struct("<ii")
"""struct old_timespec32."""

LINGER: Final = Struct("<ii")
"""struct linger: l_onoff, l_linger in seconds."""

SO_TIMESTAMPING: Final = Struct("<ii")
"""struct so_timestamping: flags, bind_phc."""

SOCK_TXTIME: Final = Struct("<iI")
"""struct sock_txtime: clockid, flags."""

POLLFD: Final = Struct("<iHH")
"""struct pollfd: fd, events, revents; the masks unsigned, as POLL* are."""

EPOLL_EVENT_PACKED: Final = Struct("<IQ")
"""struct epoll_event on x86-64: events, data, without a hole (EPOLL_PACKED in linux/eventpoll.h)."""

EPOLL_EVENT_ALIGNED: Final = Struct("<I4xQ")
"""struct epoll_event on every other machine."""

_ID_NONE: Final = 0xFFFFFFFF


def pack_ucred(pid: int, uid: int, gid: int) -> bytes:
    """`struct ucred` in memory; -1 (no id, as SO_PEERCRED without a peer shows) becomes 0xffffffff."""
    return UCRED.pack(pid & _ID_NONE, uid & _ID_NONE, gid & _ID_NONE)


def unpack_ucred(raw: bytes) -> tuple[int, int, int]:
    """pid, uid, gid from 12 bytes. 0xffffffff is -1 in each, as in `os.getuid`; other ids are unsigned.

    A pid is an int to the kernel, so one of 2**31 or more comes out negative.
    """
    pid, uid, gid = UCRED.unpack(raw)
    if pid >= 1 << 31:
        pid -= 1 << 32
    return pid, -1 if uid == _ID_NONE else uid, -1 if gid == _ID_NONE else gid
