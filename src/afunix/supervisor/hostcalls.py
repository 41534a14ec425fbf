"""System calls of the host that Python has no function for, typed; and why a supervised thread can't be reached.

All go through libc's syscall(3): glibc wraps few of them, and its setgroups would change every thread of the
process where the kernel's changes one.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable, Sequence
from ctypes import c_char_p, c_int, c_long, c_size_t, c_uint, c_ulong, c_void_p
from struct import Struct
from typing import Any, Final, NoReturn

from afunix.abi import arch, bpf, seccomp
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.registers import NT_PRSTATUS

__all__ = [
    "PTRACE_DETACH",
    "PTRACE_INTERRUPT",
    "PTRACE_O_TRACESYSGOOD",
    "PTRACE_SEIZE",
    "PTRACE_SYSCALL",
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "SFD_CLOEXEC",
    "SFD_NONBLOCK",
    "Gone",
    "Inaccessible",
    "Unsupported",
    "action_available",
    "bind",
    "capget",
    "capset",
    "faccessat2",
    "filesystem_type",
    "filter_flags_known",
    "install_filter",
    "keep_freed_memory",
    "openat2",
    "pidfd_getfd",
    "pidfd_open",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "ptrace_registers",
    "ptrace_set_registers",
    "ptrace_set_signal_mask",
    "ptrace_signal_mask",
    "resolve_as_program",
    "set_child_subreaper",
    "set_no_new_privs",
    "set_pdeathsig",
    "setfsgid",
    "setfsuid",
    "setgroups",
    "signalfd",
    "tgkill",
    "timerfd_create",
    "timerfd_settime",
    "unshare_fs",
]

SFD_CLOEXEC: Final = 0o2000000
SFD_NONBLOCK: Final = 0o4000

PTRACE_DETACH: Final = 17
PTRACE_SYSCALL: Final = 24
PTRACE_GETREGSET: Final = 0x4204
PTRACE_SETREGSET: Final = 0x4205
PTRACE_SEIZE: Final = 0x4206
PTRACE_INTERRUPT: Final = 0x4207
PTRACE_GETSIGMASK: Final = 0x420A
PTRACE_SETSIGMASK: Final = 0x420B
PTRACE_O_TRACESYSGOOD: Final = 1
SIGNAL_SET: Final = 8
"""Bytes of the kernel's sigset_t."""


class Unsupported(Exception):  # noqa: N818 -- a statement about the host, shown to the user as it is
    """The host lacks something that supervision needs; the text is one sentence that says what."""


class Gone(Exception):  # noqa: N818 -- not an error: programs are killed and interrupted all the time
    """The supervised thread is dead, or a signal took it out of the call that it was in."""


class Inaccessible(Exception):  # noqa: N818
    """The host doesn't let this process look into a supervised one; the text says which and what would help."""


class _Iovec(ctypes.Structure):
    _fields_ = [("base", c_void_p), ("length", c_size_t)]


_libc: Final = ctypes.CDLL(None, use_errno=True)
_NUMBERS: Final = arch.current().numbers


def _prepare(name: str, *argtypes: Any) -> Any:
    """A function object of its own for this call: syscall(3) with the types of its arguments fixed."""
    function = _libc["syscall"]
    function.argtypes = [c_long, *argtypes]
    function.restype = c_long
    number = _NUMBERS[name]
    return lambda *args: function(number, *args)


def _fail() -> NoReturn:
    raise SyscallError(Errno(ctypes.get_errno()))


_pidfd_open: Final = _prepare("pidfd_open", c_int, c_uint)
_pidfd_getfd: Final = _prepare("pidfd_getfd", c_int, c_int, c_uint)
_process_vm_readv: Final = _prepare("process_vm_readv", c_int, c_void_p, c_ulong, c_void_p, c_ulong, c_ulong)
_process_vm_writev: Final = _prepare("process_vm_writev", c_int, c_void_p, c_ulong, c_void_p, c_ulong, c_ulong)
_seccomp: Final = _prepare("seccomp", c_uint, c_uint, c_void_p)
_ptrace: Final = _prepare("ptrace", c_long, c_int, c_ulong, c_void_p)
_prctl: Final = _prepare("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_signalfd4: Final = _prepare("signalfd4", c_int, c_void_p, c_size_t, c_int)
_openat2: Final = _prepare("openat2", c_int, c_char_p, c_void_p, c_size_t)
_faccessat2: Final = _prepare("faccessat2", c_int, c_char_p, c_int, c_int)
_setfsuid: Final = _prepare("setfsuid", c_uint)
_setfsgid: Final = _prepare("setfsgid", c_uint)
_setgroups: Final = _prepare("setgroups", c_size_t, c_void_p)
_tgkill: Final = _prepare("tgkill", c_int, c_int, c_int)
_capget: Final = _prepare("capget", c_void_p, c_void_p)
_capset: Final = _prepare("capset", c_void_p, c_void_p)
_fstatfs: Final = _prepare("fstatfs", c_int, c_void_p)
_bind: Final = _prepare("bind", c_int, c_char_p, c_uint)
_unshare: Final = _prepare("unshare", c_int)
_timerfd_create: Final = _prepare("timerfd_create", c_int, c_int)
_timerfd_settime: Final = _prepare("timerfd_settime", c_int, c_int, c_char_p, c_void_p)

_CAPABILITY_HEADER: Final = (0x20080522).to_bytes(4, "little") + bytes(4)  # version 3, the calling thread
_CLONE_FS: Final = 0x200
_STATFS_SIZE: Final = 120
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_ITIMERSPEC: Final = Struct("<qqqq")


def pidfd_open(pid: int, flags: int = 0) -> int:
    """A descriptor for a process, close-on-exec; with PIDFD_THREAD (Linux 6.9) for a thread.

    ESRCH; EINVAL: not a thread group's leader, or a flag that the kernel doesn't know (pidfd_open(2)).
    """
    fd: int = _pidfd_open(pid, flags)
    if fd < 0:
        _fail()
    return fd


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """A duplicate of another process's descriptor, close-on-exec (pidfd_getfd(2)).

    EBADF: not open there. EPERM: this process may not trace that one. ESRCH: it is dead. EMFILE.
    """
    copy: int = _pidfd_getfd(pidfd, fd, 0)
    if copy < 0:
        _fail()
    return copy


def process_vm_readv(pid: int, local: Sequence[tuple[int, int]], remote: Sequence[tuple[int, int]]) -> int:
    """Copy from the memory of a thread to ours; ranges are (address, length); returns the bytes copied.

    EFAULT: nothing accessible at the start. ESRCH, EPERM (process_vm_readv(2)). The hot path is in memory.py.
    """
    copied: int = _process_vm_readv(pid, _iovecs(local), len(local), _iovecs(remote), len(remote), 0)
    if copied < 0:
        _fail()
    return copied


def process_vm_writev(pid: int, local: Sequence[tuple[int, int]], remote: Sequence[tuple[int, int]]) -> int:
    """Copy from our memory to that of a thread, page protection respected; see process_vm_readv."""
    copied: int = _process_vm_writev(pid, _iovecs(local), len(local), _iovecs(remote), len(remote), 0)
    if copied < 0:
        _fail()
    return copied


def _iovecs(ranges: Sequence[tuple[int, int]]) -> Any:
    return (_Iovec * len(ranges))(*[_Iovec(address, length) for address, length in ranges])


def action_available(action: int) -> bool:
    """Whether this kernel knows a SECCOMP_RET_* action (SECCOMP_GET_ACTION_AVAIL). ENOSYS, EPERM: no seccomp(2)."""
    if _seccomp(seccomp.SECCOMP_GET_ACTION_AVAIL, 0, ctypes.byref(c_uint(action))) == 0:
        return True
    if ctypes.get_errno() in (Errno.EOPNOTSUPP, Errno.EINVAL):
        return False
    _fail()


def filter_flags_known(flags: int) -> bool:
    """Whether this kernel knows these SECCOMP_FILTER_FLAG_*: only then it looks for the filter, and there is none."""
    _seccomp(seccomp.SECCOMP_SET_MODE_FILTER, flags, None)
    return ctypes.get_errno() == Errno.EFAULT


def install_filter(program: bytes, flags: int) -> int:
    """Put a seccomp filter (an array of struct sock_filter) on the calling thread for good.

    With SECCOMP_FILTER_FLAG_NEW_LISTENER the result is the listener's descriptor, close-on-exec. EACCES: neither
    no_new_privs nor CAP_SYS_ADMIN. EBUSY: a filter of this thread has a listener already. EINVAL, EMFILE, ENOMEM.
    """
    code = ctypes.create_string_buffer(program, len(program))
    header = bpf.SOCK_FPROG.pack(len(program) // bpf.SOCK_FILTER.size, ctypes.addressof(code))
    result: int = _seccomp(seccomp.SECCOMP_SET_MODE_FILTER, flags, header)
    if result < 0:
        _fail()
    return result


def keep_freed_memory() -> None:
    """Have malloc(3) keep what large buffers leave, which else go back to the kernel and come page by page again."""
    for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        _libc.mallopt(parameter, 1 << 25)


def set_no_new_privs() -> None:
    """From now on execve grants nothing: no set-user-ID, no file capabilities (PR_SET_NO_NEW_PRIVS)."""
    if _prctl(seccomp.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        _fail()


def set_child_subreaper(on: bool = True) -> None:
    """Orphans among the descendants become children of this process instead of init's (PR_SET_CHILD_SUBREAPER)."""
    if _prctl(seccomp.PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) < 0:
        _fail()


def unshare_fs() -> None:
    """Give this thread a root, working directory and umask of its own (CLONE_FS)."""
    if _unshare(_CLONE_FS) < 0:
        _fail()


def set_pdeathsig(number: int) -> None:
    """This signal comes when the thread that forked this process ends (PR_SET_PDEATHSIG); 0 for none."""
    if _prctl(seccomp.PR_SET_PDEATHSIG, number, 0, 0, 0) < 0:
        _fail()


def signalfd(signals: Iterable[int], flags: int = SFD_CLOEXEC | SFD_NONBLOCK) -> int:
    """A descriptor from which the given signals, which must be blocked, are read as struct signalfd_siginfo."""
    mask = 0
    for number in signals:
        mask |= 1 << number - 1
    fd: int = _signalfd4(-1, mask.to_bytes(8, "little"), 8, flags)
    if fd < 0:
        _fail()
    return fd


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10


def resolve_as_program(path: bytes) -> int | None:
    """How openat2 finds a path as a program does, from its root or, if it is relative, its working directory.

    None: it can't. A relative path may come to the root, which '..' and the links of the program do not leave.
    """
    if path.startswith(b"/"):
        return RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT
    return None if b".." in path else RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH


def openat2(dirfd: int, path: bytes, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """open(2) with limits on how the path may be resolved: RESOLVE_* (openat2(2)). O_CLOEXEC is added."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    fd: int = _openat2(dirfd, path, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        _fail()
    return fd


def faccessat2(dirfd: int, path: bytes, mode: int, flags: int = 0) -> None:
    """Check access; AT_EACCESS takes the effective and filesystem ids, AT_EMPTY_PATH dirfd itself. EACCES, ENOENT..."""
    if _faccessat2(dirfd, path, mode, flags) < 0:
        _fail()


def setfsuid(uid: int) -> int:
    """Set the calling thread's filesystem user; returns the one before. Fails silently, as setfsuid(2) says."""
    return int(_setfsuid(uid)) & 0xFFFFFFFF


def setfsgid(gid: int) -> int:
    """Set the calling thread's filesystem group; returns the one before."""
    return int(_setfsgid(gid)) & 0xFFFFFFFF


def setgroups(groups: Sequence[int]) -> None:
    """Set the supplementary groups of the calling thread alone. EPERM: no CAP_SETGID."""
    if _setgroups(len(groups), (c_uint * len(groups))(*groups)) < 0:
        _fail()


def tgkill(tgid: int, tid: int, number: int) -> bool:
    """Send a signal to one thread; 0 sends none. False if there is no such thread in that process. EPERM."""
    if _tgkill(tgid, tid, number) == 0:
        return True
    if ctypes.get_errno() == Errno.ESRCH:
        return False
    _fail()


def ptrace(request: int, tid: int, data: int = 0) -> None:
    """One of the PTRACE_* above, for one thread; data: options, or a signal.

    EPERM: not allowed, or another debugger has it. ESRCH: it is gone, or has not stopped.
    """
    if _ptrace(request, tid, 0, data) < 0:
        _fail()


def ptrace_registers(tid: int, size: int) -> bytes:
    """The general registers of a thread that has stopped, in so many bytes. ESRCH."""
    buffer = ctypes.create_string_buffer(size)
    vector = _Iovec(ctypes.addressof(buffer), size)
    if _ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, ctypes.addressof(vector)) < 0:
        _fail()
    return buffer.raw


def ptrace_set_registers(tid: int, values: bytes) -> None:
    """Set all general registers of a thread that has stopped. ESRCH."""
    buffer = ctypes.create_string_buffer(values, len(values))
    vector = _Iovec(ctypes.addressof(buffer), len(values))
    if _ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, ctypes.addressof(vector)) < 0:
        _fail()


def ptrace_signal_mask(tid: int) -> int:
    """The signals that a thread that has stopped blocks, as bits. ESRCH."""
    mask = c_ulong()
    if _ptrace(PTRACE_GETSIGMASK, tid, SIGNAL_SET, ctypes.addressof(mask)) < 0:
        _fail()
    return mask.value


def ptrace_set_signal_mask(tid: int, mask: int) -> None:
    """Set which signals it blocks. ESRCH."""
    if _ptrace(PTRACE_SETSIGMASK, tid, SIGNAL_SET, ctypes.addressof(c_ulong(mask))) < 0:
        _fail()


def capget() -> tuple[int, int, int]:
    """The calling thread's effective, permitted and inheritable capabilities as bit masks (capget(2))."""
    data = (c_uint * 6)()
    if _capget(_CAPABILITY_HEADER, data) < 0:
        _fail()
    effective, permitted, inheritable = (data[index] | data[index + 3] << 32 for index in range(3))
    return effective, permitted, inheritable


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's capabilities. EPERM: an effective one that is not permitted (capset(2))."""
    masks = (effective, permitted, inheritable)
    data = (c_uint * 6)(*(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    if _capset(_CAPABILITY_HEADER, data) < 0:
        _fail()


def filesystem_type(fd: int) -> int:
    """The magic number of the filesystem that holds an open file, of any kind: f_type of fstatfs(2)."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _fstatfs(fd, buffer) < 0:
        _fail()
    return int.from_bytes(buffer.raw[:8], "little")


def bind(fd: int, address: bytes) -> None:
    """bind(2) with a whole `struct sockaddr`: Python's own refuses a path of 108 bytes, which Linux allows (NAME-5)."""
    if _bind(fd, address, len(address)) < 0:
        _fail()


def timerfd_create() -> int:
    """A descriptor that is readable when its time has come, close-on-exec and non-blocking (timerfd_create(2))."""
    fd: int = _timerfd_create(time.CLOCK_MONOTONIC, SFD_CLOEXEC | SFD_NONBLOCK)
    if fd < 0:
        _fail()
    return fd


def timerfd_settime(fd: int, seconds: float) -> None:
    """Have a timer's descriptor become readable once, so many seconds from now."""
    whole = int(seconds)
    if _timerfd_settime(fd, 0, _ITIMERSPEC.pack(0, 0, whole, int((seconds - whole) * 1e9)), None) < 0:
        _fail()
