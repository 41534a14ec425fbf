"""Which system calls are trapped besides those of syscalls.table, and why each one is: for the seccomp filter."""

from __future__ import annotations

from typing import Final

from afunix.abi.constants import (
    AF_UNIX,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    F_SETFL,
    FIONBIO,
    SIOCATMARK,
    SIOCINQ,
    SIOCOUTQ,
    SIOCUNIXFILE,
)
from afunix.abi.errno import Errno
from afunix.abi.netlink import NETLINK_SOCK_DIAG
from afunix.abi.seccomp import PR_SET_DUMPABLE, Condition

__all__ = ["CONDITIONS", "INVALIDATING", "LOOKED_AT", "REFUSED", "SPLICING"]

SPLICING: Final = ("sendfile", "splice", "tee")
"""Calls on two files, either of which may be a socket."""

LOOKED_AT: Final = ("epoll_ctl", "prctl")
"""Calls that continue natively after a look at their arguments."""

CONDITIONS: Final[dict[str, tuple[Condition, ...]]] = {
    # The second is netlink's protocol, and of no use with other families: so few calls trap for nothing.
    "socket": ((0, (AF_UNIX,)), (2, (NETLINK_SOCK_DIAG,))),
    "socketpair": ((0, (AF_UNIX,)),),
    "ioctl": ((1, (SIOCINQ, SIOCOUTQ, SIOCATMARK, SIOCUNIXFILE, FIONBIO)),),
    "fcntl": ((1, (F_SETFL,)),),
    "epoll_ctl": ((1, (EPOLL_CTL_ADD, EPOLL_CTL_MOD)),),
    "prctl": ((0, (PR_SET_DUMPABLE,)),),
}
"""Argument index and the values for which the call traps at all; any of several will do."""

INVALIDATING: Final[dict[str, str]] = {
    "execve": "process",
    "execveat": "process",
    **dict.fromkeys(
        (
            "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid",
            "setgroups", "capset", "unshare", "setns",
        ),
        "credentials",
    ),
}  # fmt: skip
"""Calls that continue natively, but change what the supervisor remembers of the process or of the thread."""

REFUSED: Final = (("io_uring_setup", Errno.ENOSYS),)
"""Calls that would make socket operations pass us by; programs have a way without them."""
