"""seccomp user notification: numbers, layouts and the filter that decides which calls are trapped.

Sources: include/uapi/linux/seccomp.h, kernel/seccomp.c. The same on x86-64 and aarch64.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from afunix.abi import bpf
from afunix.abi.errno import Errno
from afunix.abi.syscalls_x86_64 import AUDIT_ARCH as AUDIT_ARCH_X86_64
from afunix.abi.syscalls_x86_64 import X32_BIT

# prctl(2) options that a launcher needs (linux/prctl.h).
PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_GET_SECCOMP: Final = 21
PR_SET_SECCOMP: Final = 22
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_SET_PTRACER: Final = 0x59616D61

# Operations of seccomp(2).
SECCOMP_MODE_FILTER: Final = 2
SECCOMP_SET_MODE_STRICT: Final = 0
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_GET_ACTION_AVAIL: Final = 2
SECCOMP_GET_NOTIF_SIZES: Final = 3

# Flags of SECCOMP_SET_MODE_FILTER.
SECCOMP_FILTER_FLAG_TSYNC: Final = 1 << 0
SECCOMP_FILTER_FLAG_LOG: Final = 1 << 1
SECCOMP_FILTER_FLAG_SPEC_ALLOW: Final = 1 << 2
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 1 << 3
SECCOMP_FILTER_FLAG_TSYNC_ESRCH: Final = 1 << 4
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Final = 1 << 5

# Results of a filter: an action, and 16 bits of data for it.
SECCOMP_RET_KILL_PROCESS: Final = 0x80000000
SECCOMP_RET_KILL_THREAD: Final = 0x00000000
SECCOMP_RET_TRAP: Final = 0x00030000
SECCOMP_RET_ERRNO: Final = 0x00050000
SECCOMP_RET_USER_NOTIF: Final = 0x7FC00000
SECCOMP_RET_TRACE: Final = 0x7FF00000
SECCOMP_RET_LOG: Final = 0x7FFC0000
SECCOMP_RET_ALLOW: Final = 0x7FFF0000
SECCOMP_RET_ACTION_FULL: Final = 0xFFFF0000
SECCOMP_RET_DATA: Final = 0x0000FFFF

# Flags of an answer, of ADDFD and of SET_FLAGS.
SECCOMP_USER_NOTIF_FLAG_CONTINUE: Final = 1 << 0
SECCOMP_ADDFD_FLAG_SETFD: Final = 1 << 0
SECCOMP_ADDFD_FLAG_SEND: Final = 1 << 1
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: Final = 1 << 0

DATA: Final = Struct("<iIQ6Q")
"""struct seccomp_data: call number, AUDIT_ARCH_*, instruction pointer, six arguments."""

NOTIF: Final = Struct("<QIIiIQ6Q")
"""struct seccomp_notif: id, pid (the calling thread's), flags, then the fields of DATA."""

NOTIF_CALL: Final = Struct("<QI4xi12x6Q")
"""The part of struct seccomp_notif that a dispatcher reads: id, pid, call number, six arguments."""

RESP: Final = Struct("<QqiI")
"""struct seccomp_notif_resp: id, result, negative errno or 0, flags."""

ADDFD: Final = Struct("<QIIII")
"""struct seccomp_notif_addfd: id, flags, srcfd, newfd (with FLAG_SETFD), newfd_flags (O_CLOEXEC)."""

NOTIF_SIZES: Final = Struct("<HHH")
"""struct seccomp_notif_sizes: what the running kernel's notif, resp and data take; may exceed ours."""

_IOC_WRITE: Final = 1
_IOC_READ: Final = 2


def _seccomp_ioctl(direction: int, number: int, size: int) -> int:
    """_IOC with SECCOMP_IOC_MAGIC (asm-generic/ioctl.h)."""
    return direction << 30 | size << 16 | ord("!") << 8 | number


SECCOMP_IOCTL_NOTIF_RECV: Final = _seccomp_ioctl(_IOC_READ | _IOC_WRITE, 0, NOTIF.size)
SECCOMP_IOCTL_NOTIF_SEND: Final = _seccomp_ioctl(_IOC_READ | _IOC_WRITE, 1, RESP.size)
SECCOMP_IOCTL_NOTIF_ID_VALID: Final = _seccomp_ioctl(_IOC_WRITE, 2, 8)
SECCOMP_IOCTL_NOTIF_ADDFD: Final = _seccomp_ioctl(_IOC_WRITE, 3, ADDFD.size)
SECCOMP_IOCTL_NOTIF_SET_FLAGS: Final = _seccomp_ioctl(_IOC_WRITE, 4, 8)
"""Linux 6.6; takes the flags as its argument, not a pointer to them."""

Condition = tuple[int, tuple[int, ...]]
"""Argument index (0 to 5) and the values of its low 32 bits that match."""
Trap = tuple[int, Condition | None]
"""A call number, and when to trap it: None always."""

_DATA_NR: Final = 0
_DATA_ARCH: Final = 4
_DATA_ARGS: Final = 16
_MAX_ERRNO: Final = 4095

REFUSE: Final = SECCOMP_RET_ERRNO | Errno.ENOSYS


def build_filter(
    audit_arch: int,
    traps: Sequence[Trap],
    refusals: Sequence[tuple[int, int]] = (),
    *,
    trapped: int = SECCOMP_RET_USER_NOTIF,
    foreign: int = REFUSE,
) -> bytes:
    """A seccomp filter as an array of `struct sock_filter` for SOCK_FPROG.

    traps end in the result `trapped`. They are tested in the order given: the most frequent calls go first. A
    call named several times is trapped if any of its conditions holds. Conditions see the low half of an
    argument only, as the kernel does where the parameter is an int: the command of ioctl and fcntl, the
    option of prctl, the domain of socket.

    refusals are (call number, errno) pairs: the call fails with that errno without running.

    Calls of another architecture, which would get past the numbers here, end in `foreign`. By default a
    program built for one (32-bit x86 and x32 on x86-64, 32-bit Arm on aarch64) sees ENOSYS from each call.
    With SECCOMP_RET_USER_NOTIF the supervisor sees them, can tell the user, and must refuse them itself.

    Everything else is allowed, decided by number alone, so that the kernel's bitmap of always-allowed calls
    (seccomp_cache_prepare, Linux 5.11) lets it pass without running the filter.

    ValueError for a call both trapped and refused or refused twice, and for numbers out of range.
    """
    conditions = _merge(traps)
    refused = dict(refusals)
    if len(refused) != len(refusals) or refused.keys() & conditions.keys():
        raise ValueError("a call is refused twice, or both trapped and refused")
    if not all(0 < errno <= _MAX_ERRNO for errno in refused.values()):
        raise ValueError("an errno out of range")

    program: list[bpf.Line] = [
        bpf.load(_DATA_ARCH),
        bpf.jump_if_equal(audit_arch, "", "foreign"),
        bpf.load(_DATA_NR),
    ]
    for number, when in conditions.items():
        program.append(bpf.jump_if_equal(number, "trapped" if when is None else f"call {number}"))
    for number, errno in refused.items():
        program.append(bpf.jump_if_equal(number, f"errno {errno}"))
    if audit_arch == AUDIT_ARCH_X86_64:
        # No number above has this bit, so the test may come last.
        program.append(bpf.jump_if_at_least(X32_BIT, "foreign"))
    program.append(bpf.ret(SECCOMP_RET_ALLOW))
    for number, when in conditions.items():
        if when is not None:
            program.append(f"call {number}")
            for argument, values in when.items():
                program.append(bpf.load(_DATA_ARGS + 8 * argument))
                program.extend(bpf.jump_if_equal(value, "trapped") for value in values)
            program.append(bpf.ret(SECCOMP_RET_ALLOW))
    for errno in dict.fromkeys(refused.values()):
        program += [f"errno {errno}", bpf.ret(SECCOMP_RET_ERRNO | errno)]
    program += ["trapped", bpf.ret(trapped), "foreign", bpf.ret(foreign)]
    return bpf.assemble(program)


def _merge(traps: Sequence[Trap]) -> dict[int, dict[int, tuple[int, ...]] | None]:
    """By call number, in the order of first mention: the values that trap by argument, or None for always."""
    merged: dict[int, dict[int, tuple[int, ...]] | None] = {}
    for number, condition in traps:
        if condition is None:
            merged[number] = None
            continue
        argument, values = condition
        if not 0 <= argument < 6 or not all(0 <= value < 1 << 32 for value in values):
            raise ValueError(f"no such condition: {condition}")
        known = merged.setdefault(number, {})
        if known is not None:
            known[argument] = known.get(argument, ()) + values
    return merged
