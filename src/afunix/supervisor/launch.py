"""Starting a program under supervision.

    supervisor ── guardian ── program ── its descendants

The three modules beside this one: `guardian`, `handover` (between program and supervisor, before execve), `launched`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import stat
from collections.abc import Mapping, Sequence
from typing import NoReturn

from afunix.abi import arch
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.seccomp import SECCOMP_RET_USER_NOTIF
from afunix.supervisor import hostcalls
from afunix.supervisor.guardian import REPORT, STARTED, become_guardian, descendants
from afunix.supervisor.handover import FILTER_FLAGS, Handover
from afunix.supervisor.hostcalls import Unsupported
from afunix.supervisor.launched import FORWARDED, CannotExecute, Launched

__all__ = ["CannotExecute", "Launched", "Unsupported", "check_host", "find_program", "launch"]


def launch(argv: Sequence[str], filter: bytes, *, env: Mapping[str, str] | None = None) -> Launched:
    """Start argv under a seccomp filter (abi.seccomp.build_filter), with `env` or this process's environment.

    Descriptors 0 to 2 and inheritable ones, the working directory, limits, priorities and the process group are
    inherited as through env(1). This process becomes a subreaper, takes the signals in FORWARDED through `signal_fd`,
    and raises its own soft RLIMIT_NOFILE. It should have one thread only: it forks, and another thread, where the
    signals are not blocked, would take them instead. Threads that come later are fine.

    CannotExecute if there is no such program; Unsupported if the host can't do this. The execve may itself trap: it
    happens after the return, and its errors are in `Launched.failure`.
    """
    check_host()
    environment = dict(os.environ if env is None else env)
    program = find_program(argv[0], environment)
    supervisor = os.getpid()
    with contextlib.ExitStack() as stack:
        others = frozenset(descendants(supervisor))
        hostcalls.set_child_subreaper()
        stack.callback(hostcalls.set_child_subreaper, False)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        stack.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        signal_fd = hostcalls.signalfd(FORWARDED)
        stack.callback(os.close, signal_fd)
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.callback(channel.close)
        stack.callback(theirs.close)
        handover = Handover()
        stack.callback(handover.close)

        def become_program() -> NoReturn:
            inherited = (channel.fileno(), theirs.fileno(), signal_fd)
            handover.become_program(filter, mask, inherited, lambda: os.execve(program, list(argv), environment))

        guardian_pid = os.fork()
        if not guardian_pid:
            become_guardian(theirs, supervisor, become_program)
        theirs.close()
        handover.in_supervisor()
        launched = Launched(
            argv[0], guardian_pid=guardian_pid, channel=channel, signal_fd=signal_fd, others=others, handover=handover
        )
        stack.callback(launched.forget_program)
        stack.callback(launched.kill_all)  # comes first, whether `launch` fails or `Launched.close` is called
        _take_listener(launched, channel, handover)
        handover.let_go()
        launched.owns(stack.pop_all())
    _raise_limit()
    return launched


def _raise_limit() -> None:
    """Allow this process as many descriptors as it may have: it holds some for every socket of every program."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with open("/proc/sys/fs/nr_open") as file:
            most = int(file.read())
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _take_listener(launched: Launched, channel: socket.socket, handover: Handover) -> None:
    """Learn the program's pid, wait for its filter, take its listener, and leave a copy with the guardian."""
    report = channel.recv(REPORT.size)
    if not report:
        raise RuntimeError("the guardian process did not start")
    what, pid = REPORT.unpack(report)
    assert what == STARTED
    number = handover.listener_number()
    if number is None:
        step, errno = handover.failure()
        if step:
            raise Unsupported(_filter_refusal(Errno(errno)))
        raise RuntimeError("the program's process was killed before it started")
    launched.started(pid)  # not earlier: until it waits for us, it may fail, end and be reaped
    try:
        launched.listener_fd = launched.take(number)
    except SyscallError as error:
        if error.errno is not Errno.EPERM:
            raise
        raise Unsupported(
            "this host does not let a process take a descriptor of its own descendant (pidfd_getfd: EPERM): look at "
            "/proc/sys/kernel/yama/ptrace_scope, or the container's seccomp profile and CAP_SYS_PTRACE"
        ) from None
    try:
        socket.send_fds(channel, [b"\n"], [launched.listener_fd])
    except OSError:
        os.close(launched.listener_fd)
        raise


def find_program(name: str, env: Mapping[str, str]) -> str:
    """The file that execvp(3) would take, from PATH in `env`. CannotExecute."""
    if "/" in name:
        candidates = [name]
    else:
        candidates = [f"{directory or '.'}/{name}" for directory in os.get_exec_path(env)] if name else []
    failure = Errno.ENOENT
    for candidate in candidates:
        try:
            mode = os.stat(candidate).st_mode
        except PermissionError:
            failure = Errno.EACCES
        except OSError as error:
            errno = Errno(error.errno or 0)
            if candidate == name:
                failure = errno
            elif errno not in (Errno.ENOENT, Errno.ENOTDIR):
                raise CannotExecute(name, errno) from None
        else:
            if stat.S_ISREG(mode) and os.access(candidate, os.X_OK, effective_ids=True):
                return candidate
            failure = Errno.EACCES
    raise CannotExecute(name, failure)


def check_host() -> None:
    """Unsupported, if this host can't supervise; what shows only with a listener at hand is checked by Listener."""
    try:
        arch.current()
    except arch.UnsupportedMachineError as error:
        raise Unsupported(str(error)) from None
    try:
        if not hostcalls.action_available(SECCOMP_RET_USER_NOTIF):
            raise Unsupported("this kernel has no seccomp user notification: Linux 5.19 or later is needed")
        if not hostcalls.filter_flags_known(FILTER_FLAGS):
            raise Unsupported(
                "Linux 5.19 or later is needed: this kernel's threads leave a call that is being served when a signal "
                "comes, and what it received is lost (no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)"
            )
    except SyscallError as error:
        raise Unsupported(f"seccomp(2) can't be used here: {error}") from None
    try:
        hostcalls.process_vm_readv(os.getpid(), [], [])
        hostcalls.pidfd_getfd(-1, 0)
    except SyscallError as error:
        if error.errno is not Errno.EBADF:
            raise Unsupported(
                f"process_vm_readv or pidfd_getfd can't be used here ({error}): the kernel is older than Linux 5.19, "
                "or a container's seccomp profile forbids them"
            ) from None


def _filter_refusal(errno: Errno) -> str:
    if errno is Errno.EBUSY:
        return (
            "this process is under a seccomp listener already (afunix inside afunix, or a container runtime's), and "
            "Linux allows one only"
        )
    return f"the kernel refuses a seccomp filter with a listener: {errno.name}, {errno.message}"
