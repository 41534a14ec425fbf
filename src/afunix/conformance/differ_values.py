"""What random programs draw their arguments from: sizes, flags, names, options, and what is wrong with a call."""

from __future__ import annotations

from typing import Final

from afunix.abi import constants as c
from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_EOR,
    MSG_ERRQUEUE,
    MSG_MORE,
    MSG_NOSIGNAL,
    MSG_OOB,
    MSG_PEEK,
    MSG_TRUNC,
    MSG_WAITALL,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
)
from afunix.abi.structs import INT, LINGER, TIMEVAL
from afunix.conformance.differ_host import USERS
from afunix.conformance.differ_raw import BASE, HEADER, IOVECS, LENGTH, Name
from afunix.conformance.differ_steps import NO_TIMEOUT
from afunix.conformance.machine import ARENA_SIZE, BAD

__all__ = [
    "ABSTRACT",
    "ADDRESS_ROOMS",
    "ALL_OPTIONS",
    "BACKLOGS",
    "BAD_NAMES",
    "BUFFERED",
    "CONTROL_ROOMS",
    "EVENTS",
    "FILES",
    "FILE_STEPS",
    "FLAGS_AT",
    "IDS",
    "INQUIRIES",
    "KINDS",
    "LARGE_ROOMS",
    "LARGE_SIZES",
    "LEVELS",
    "LIMITS",
    "MASKS",
    "MODES",
    "MOST",
    "NAME_ROOMS",
    "NASTY",
    "NO_NAME",
    "OFFSETS",
    "OPTION_LENGTHS",
    "OPTION_VALUES",
    "PATHS",
    "REAL_USERS",
    "RECEIVE_FLAGS",
    "ROOMS",
    "RWF_FLAGS",
    "SCATTERED",
    "SEND_FLAGS",
    "SIZES",
    "SPOILABLE",
    "TARGETS",
    "TIMEOUTS",
    "UNSTEADY",
    "USUAL_OPTIONS",
    "VERY_LARGE",
    "WATCHED",
    "WORDS",
]  # fmt: skip

MOST: Final = 8
"""How many of a process's descriptors are used: the latest."""
KINDS: Final = (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET)
SIZES: Final = (1, 1, 2, 3, 5, 0, 10, 100, 100, 1000, 3000, 4096, 5000, 40_000)
LARGE_SIZES: Final = (32_768, 65_536, 100_000, 212_960, 212_961, 213_000, 300_000)
VERY_LARGE: Final = (300_000,) * 4
ROOMS: Final = (1, 2, 3, 10, 100, 1000, 4000, 4000, 5000, 0)
LARGE_ROOMS: Final = (40_000, 70_000, 300_000)
SEND_FLAGS: Final = (
    0, 0, 0, 0, 0, MSG_OOB, MSG_NOSIGNAL, MSG_DONTWAIT, MSG_EOR, MSG_MORE, MSG_OOB | MSG_NOSIGNAL, MSG_OOB,
)  # fmt: skip
RECEIVE_FLAGS: Final = (
    0, 0, 0, 0, MSG_PEEK, MSG_PEEK, MSG_WAITALL, MSG_TRUNC, MSG_PEEK | MSG_TRUNC, MSG_OOB, MSG_OOB | MSG_PEEK,
    MSG_DONTWAIT, MSG_CMSG_CLOEXEC, MSG_WAITALL | MSG_PEEK, MSG_ERRQUEUE, MSG_CTRUNC,
)  # fmt: skip
CONTROL_ROOMS: Final = (256, 256, 256, 256, -1, 0, 8, 16, 17, 20, 24, 28, 32, 40, 56, 64, 80)
NAME_ROOMS: Final = (128, 128, -1, 0, 1, 2, 3, 8, 20, 110)
ADDRESS_ROOMS: Final = (110, 110, 128, 0, 1, 2, 5, 20, -1)
BACKLOGS: Final = (0, 1, 2, 3, 5, -1, 10_000)
PATHS: Final = (b"a", b"b", b"c", b"a/b", b"./a", b"d/a", b"l", b"p" * 107, b"p" * 108)
FILES: Final = (
    b"a", b"a", b"b", b"b", b"c", b"c", b"d", b"d", b"d/a", b"d/a", b"d/b", b"l", b"l", b"l/a", b"a/b", b"./a",
    b"d/../a", b"a/", b"d/", b"", b".", b"n" * 256, b"p" * 107,
)  # fmt: skip
"""Names of files; d is most often a directory, l a link."""
TARGETS: Final = (b"a", b"b", b"d", b"d/a", b"l", b"./l", b"d/../a", b"nowhere", b"", b"x" * 300)
FILE_STEPS: Final = (
    "rename", "rename", "link", "symlink", "symlink", "mkdir", "mkdir", "rmdir", "create", "chmod", "chmod", "chmod",
    "chown", "stat", "stat", "umask", "fchmod",
)  # fmt: skip
MODES: Final = (0o777, 0o755, 0o700, 0o666, 0o600, 0o070, 0o007, 0o222, 0, 0o4755, 0o2755, 0o2777, 0o1777)
MASKS: Final = (0o022, 0o022, 0, 0o077, 0o777, 0o002, 0o17777)
ABSTRACT: Final = (b"1", b"2", b"3", b"1\0", b"")
EVENTS: Final = (0x1, 0x4, 0x7, 0x2000, 0x3FF, 0)
LEVELS: Final = (SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, SOL_SOCKET, 0, 6, 41, 270)
INQUIRIES: Final = (c.SIOCINQ, c.SIOCOUTQ, c.SIOCATMARK, 0x5401, 0, c.FIONBIO, c.SIOCUNIXFILE)
WATCHED: Final = (0x1, 0x4, 0x5, 0x2005, 0x2007, 0x3FF, 0, 0x2, 0x8, 0x10, 0x2000, 0x41, 0x104)
"""Events to watch for with an epoll."""
LIMITS: Final = (0, 3, 4, 5, 6, 8, 10, 16, 300, 512, 512, 512, 513)
RWF_FLAGS: Final = (0, 0, 0, 8, 1, 2, 4, 0x10, 0x20, 0x30, 0x40, 0x80, 0x100, -1)
OFFSETS: Final = (-1, -1, -1, 0, 1, -2, 1 << 62)
TIMEOUTS: Final = ((NO_TIMEOUT, 0), (NO_TIMEOUT, 0), (NO_TIMEOUT, 0), (0, 0), (-1, 0), (0, 1_000_000_000), (0, -1))
REAL_USERS: Final = (-1, *range(1, USERS + 1))
"""Root is never the real user: what is in flight is counted for that one, and root has other programs."""
IDS: Final = (-1, 0, *range(1, USERS + 1))

USUAL_OPTIONS: Final[tuple[tuple[int, tuple[bytes, ...]], ...]] = (
    (c.SO_PASSCRED, (INT.pack(1), INT.pack(0))),
    (c.SO_PASSCRED, (INT.pack(1), INT.pack(1))),
    (c.SO_PASSPIDFD, (INT.pack(1), INT.pack(0))),
    (c.SO_PASSRIGHTS, (INT.pack(0), INT.pack(1), INT.pack(1))),
    (c.SO_PASSSEC, (INT.pack(1), INT.pack(0))),
    (c.SO_INQ, (INT.pack(1), INT.pack(0), INT.pack(2))),
    (c.SO_OOBINLINE, (INT.pack(1), INT.pack(0))),
    (c.SO_PEEK_OFF, tuple(map(INT.pack, (0, -1, 3, 1000, -5)))),
    (c.SO_SNDBUF, tuple(map(INT.pack, (4096, 1, 20_000, 0, -1, 1 << 30, 106_496)))),
    (c.SO_SNDBUFFORCE, tuple(map(INT.pack, (4096, 1 << 22, -1)))),
    (c.SO_RCVBUF, tuple(map(INT.pack, (4096, 1, -1)))),
    (c.SO_RCVLOWAT, tuple(map(INT.pack, (10, 1, 0, -1, 100_000)))),
    (c.SO_SELECT_ERR_QUEUE, (INT.pack(1), INT.pack(0))),
    (c.SO_RCVTIMEO, (TIMEVAL.pack(0, 0), TIMEVAL.pack(1, 5), TIMEVAL.pack(-1, 0), TIMEVAL.pack(0, 1_000_000))),
    (c.SO_SNDTIMEO, (TIMEVAL.pack(0, 0), TIMEVAL.pack(1, 5))),
    (c.SO_LINGER, (LINGER.pack(1, 1), LINGER.pack(0, 0))),
    (c.SO_BINDTODEVICE, (b"lo\0\0", bytes(4))),
    (c.SO_TIMESTAMP_OLD, (INT.pack(1), INT.pack(0))),
    (c.SO_TIMESTAMP_NEW, (INT.pack(1), INT.pack(0))),
    (c.SO_TIMESTAMPNS_OLD, (INT.pack(1), INT.pack(0))),
    (c.SO_TIMESTAMPNS_NEW, (INT.pack(1), INT.pack(0))),
    (c.SO_TIMESTAMPING_OLD, tuple(map(INT.pack, (0x18, 0x10, 0, 0x20018, -1)))),
    (c.SO_TIMESTAMPING_NEW, tuple(map(INT.pack, (0x18, 0x8, 0)))),
)  # fmt: skip
UNSTEADY: Final = frozenset(
    {
        # What they tell or do is chance or another machine's: cookies, CPU numbers, socket filters.
        c.SO_COOKIE, c.SO_NETNS_COOKIE, c.SO_INCOMING_CPU, c.SO_ATTACH_FILTER, c.SO_ATTACH_BPF,
        c.SO_ATTACH_REUSEPORT_CBPF, c.SO_ATTACH_REUSEPORT_EBPF, c.SO_DEVMEM_LINEAR, c.SO_DEVMEM_DMABUF,
        c.SO_DEVMEM_DONTNEED,
    }
)  # fmt: skip
ALL_OPTIONS: Final = tuple(number for number in range(90) if number not in UNSTEADY)
OPTION_VALUES: Final = (bytes(4), INT.pack(1), INT.pack(-1), INT.pack(7), bytes(16), INT.pack(1) * 4, b"lo\0\0")
OPTION_LENGTHS: Final = (4, 4, 4, 4, 0, 1, 2, 3, 5, 8, 16, -1, 20, 128)

NASTY: Final = (
    0, 1, 2, 16, 55, 1024, 1025, BAD, BASE - 4096, BASE + ARENA_SIZE - 4, BASE + ARENA_SIZE - 1, BASE + ARENA_SIZE,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 0x7FFFFFFFF000, 0x7FFFFFFFEFFF, 0x800000000000, 0xFFFF800000000000,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip
"""Addresses, lengths and flags that are at some border or behind it."""
BAD_NAMES: Final = (
    b"", b"\1", b"\1\0", b"\1\0\0", b"\2\0abc", b"\0\0abc", b"\0\0", b"\1\0" + b"x" * 108, b"\1\0" + b"x" * 109,
    b"\1\0" + b"\0" * 108, b"\1\0" + b"\0" * 109, b"\1\0a\0b", b"\1\0" + b"y" * 126, b"\1\0" + b"y" * 127, b"\1\1a",
)  # fmt: skip
NO_NAME: Final[Name] = ("none", None)

SPOILABLE: Final = {
    "socket": (2,), "socketpair": (2, 3), "bind": (1, 2), "listen": (1,), "connect": (1, 2), "accept": (1, 2),
    "getsockname": (1, 2), "getpeername": (1, 2), "write": (1, 2), "send": (1, 2, 3, 4, 5), "writev": (1, 2),
    "sendmsg": (1, 2), "sendmmsg": (1, 2, 3), "read": (1, 2), "recv": (1, 2, 3, 4, 5), "readv": (1, 2),
    "recvmsg": (1, 2), "recvmmsg": (1, 2), "shutdown": (1,), "setsockopt": (1, 2, 3, 4), "getsockopt": (1, 2, 3, 4),
    "preadv2": (1, 2), "pwritev2": (1, 2), "unlink": (1,), "rename": (1,), "chmod": (1,), "epoll_ctl": (1, 3),
}  # fmt: skip
"""Calls with which something can be wrong, and their arguments that can be: none that would make a socket block, or
ask for another family."""
FLAGS_AT: Final = {"send": 3, "recv": 3, "sendmsg": 2, "recvmsg": 2, "sendmmsg": 3}
WORDS: Final = {
    "sendmsg": HEADER, "recvmsg": HEADER, "sendmmsg": HEADER, "recvmmsg": HEADER, "writev": IOVECS, "readv": IOVECS,
    "preadv2": IOVECS, "pwritev2": IOVECS,
    "accept": LENGTH, "getsockname": LENGTH, "recv": LENGTH, "getsockopt": LENGTH,
}  # fmt: skip
"""Where the memory begins that can be spoilt."""
SCATTERED: Final = frozenset({"sendmsg", "recvmsg", "writev", "readv", "preadv2", "pwritev2", "sendmmsg", "recvmmsg"})
"""Calls with iovecs."""
BUFFERED: Final = frozenset({"read", "recv", "write", "send"})
"""Calls with one buffer, their second argument."""
