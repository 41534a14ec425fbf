"""The calls of a core process that are not about sockets: the table of them.

Each takes the task and six registers, and gives a value or a body that waits. What the core does is called; here are
only registers and memory. A call that is not in the table is `Unmodelled`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from afunix.abi.constants import (
    MAX_RW_COUNT,
    MSG_CMSG_COMPAT,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.conformance import core_files, core_netlink, core_paths, core_ready
from afunix.conformance.core_files import Args, ensure_room
from afunix.core.errors import Unmodelled
from afunix.core.process import Process
from afunix.syscalls.call import Outcome, address_check, signed
from afunix.syscalls.messages import read_timeout
from afunix.syscalls.transfer import check_offset

if TYPE_CHECKING:
    from afunix.conformance.core_machine import CoreTask

__all__ = ["after", "call", "check_accept", "check_first"]

Native = Callable[["CoreTask", Args], Outcome]


def call(task: CoreTask, name: str, args: Args) -> Outcome:
    """Make a call that is not a socket's own."""
    if (native := CALLS.get(name)) is not None:
        return native(task, args)
    if name in NOT_ON_FILES:
        if name == "accept4":
            check_accept(task.process, name, args)
        raise SyscallError(Errno.ENOTSOCK)
    raise Unmodelled(f"{name} on the bare core")


def after(task: CoreTask, name: str, args: Args) -> Outcome:
    """The rest of a socket call that its handler leaves to the descriptor layer."""
    return core_files.fcntl(task, args) if name == "fcntl" else 0


def check_first(task: CoreTask, name: str, args: Args) -> None:
    """What a call looks at before its descriptor: EFAULT, EINVAL."""
    if name in ("sendto", "recvfrom"):
        address_check(args[1], min(args[2], MAX_RW_COUNT))
    elif name in FLAGS_AT and signed(args[FLAGS_AT[name]]) & MSG_CMSG_COMPAT:
        raise SyscallError(Errno.EINVAL)
    if name == "recvmmsg":
        read_timeout(task, args[4])
    elif name in ("preadv2", "pwritev2"):
        check_offset(args[3])


FLAGS_AT: Final = {"sendmsg": 2, "recvmsg": 2, "sendmmsg": 3, "recvmmsg": 3}


def check_accept(process: Process, name: str, args: Args) -> None:
    """What accept looks at before it waits: its flags, then whether there is a descriptor (__sys_accept4_file)."""
    if name == "accept4" and signed(args[3]) & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise SyscallError(Errno.EINVAL)
    ensure_room(process, 1)


CALLS: Final[dict[str, Native]] = {
    "socket": core_netlink.socket,
    "sendto": core_netlink.sendto,
    "recvfrom": core_netlink.recvfrom,
    "close": core_files.close,
    "unshare": core_files.unshare,
    "dup": lambda task, args: task.process.descriptors.dup(signed(args[0])),
    "dup3": lambda task, args: task.process.descriptors.dup3(signed(args[0]), signed(args[1]), signed(args[2])),
    "close_range": core_files.close_range,
    "fcntl": core_files.fcntl,
    "pipe2": core_files.pipe2,
    "memfd_create": core_files.memfd_create,
    "eventfd2": core_files.eventfd2,
    "read": core_files.read,
    "readv": core_files.readv,
    "write": core_files.write,
    "lseek": core_files.lseek,
    "openat": core_paths.openat,
    "statx": core_paths.statx,
    "unlinkat": core_paths.unlinkat,
    "renameat2": core_paths.renameat2,
    "linkat": core_paths.linkat,
    "symlinkat": core_paths.symlinkat,
    "mkdirat": core_paths.mkdirat,
    "fchmodat": core_paths.fchmodat,
    "fchmod": core_paths.fchmod,
    "fchownat": core_paths.fchownat,
    "chdir": core_paths.chdir,
    "chroot": core_paths.chroot,
    "umask": lambda task, args: task.process.set_umask(signed(args[0])),
    "getpid": lambda task, args: task.pid,
    "getuid": lambda task, args: task.process.credentials.uid,
    "geteuid": lambda task, args: task.process.credentials.euid,
    "getgid": lambda task, args: task.process.credentials.gid,
    "getegid": lambda task, args: task.process.credentials.egid,
    "setresuid": core_paths.setresuid,
    "setresgid": core_paths.setresgid,
    "setgroups": core_paths.setgroups,
    "prlimit64": core_paths.prlimit64,
    "kill": core_paths.kill,
    "ppoll": core_ready.ppoll,
    "epoll_create1": core_ready.epoll_create1,
    "epoll_ctl": core_ready.epoll_ctl,
    "epoll_pwait": core_ready.epoll_pwait,
}

NOT_ON_FILES: Final = frozenset(
    {
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
        "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    }
)  # fmt: skip
"""Calls that are ENOTSOCK on everything else."""
