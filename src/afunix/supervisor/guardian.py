"""The guardian: a small process between the supervisor and the program, so that nothing outlives its supervision.

It is the program's parent and adopts all orphans below (PR_SET_CHILD_SUBREAPER), reaps them, and tells the supervisor
how the program ended. If the supervisor dies, it kills them all; until they are dead its copy of the listener keeps
their trapped calls waiting, which would fail with ENOSYS if the listener were closed. If the guardian dies, its
children become the supervisor's, which kills them in the same way.

It has a session of its own: a signal to the program's process group doesn't reach it, and it does not count for
whether that group is an orphaned one (which the kernel doesn't stop from the terminal).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator
from struct import Struct
from typing import Final, NoReturn

from afunix.supervisor import hostcalls

__all__ = ["REPORT", "STARTED", "WAITED", "become_guardian", "descendants", "kill_descendants"]

REPORT: Final = Struct("<II")
"""What the guardian tells: STARTED and the program's pid, or WAITED and its wait status (also of a stop)."""
STARTED: Final = 0
WAITED: Final = 1

PAUSE: Final = 0.002
"""Seconds between two rounds of killing."""


def become_guardian(channel: socket.socket, supervisor: int, program: Callable[[], NoReturn]) -> NoReturn:
    """Turn this process, just forked from `supervisor`, into the guardian; `program` runs in its first child.

    channel (SOCK_SEQPACKET) takes a REPORT for each event; a descriptor that comes from it is kept open. It ends
    when the supervisor does.
    """
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        hostcalls.set_child_subreaper()
        # Its number says nothing here, as others send signals, too: the parent's pid does.
        hostcalls.set_pdeathsig(signal.SIGHUP)
        main = os.fork()
        if not main:
            program()
        signals = hostcalls.signalfd({signal.SIGCHLD, signal.SIGHUP})
        os.setsid()
        _close_all_but({channel.fileno(), signals})
        _tell(channel, STARTED, main)
        try:
            _watch(channel, signals, supervisor, main)
        finally:
            kill_descendants()
    finally:
        os._exit(0)


def _watch(channel: socket.socket, signals: int, supervisor: int, main: int) -> None:
    """Until the supervisor is gone, or all children are."""
    kept: list[int] = []
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.register(signals, select.POLLIN)
    while _reap(channel, main) and os.getppid() == supervisor:
        for fd, _ in poll.poll():
            if fd == signals:
                os.read(signals, 4096)
                continue
            try:
                data, fds, _, _ = socket.recv_fds(channel, 1, 1)
            except ConnectionResetError:  # it died with reports unread
                return
            if not data:
                return
            kept += fds


def _reap(channel: socket.socket, main: int) -> bool:
    """Wait for all children that have ended or stopped. False: there are none any more."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        except ChildProcessError:
            return False
        if not pid:
            return True
        if pid == main:
            _tell(channel, WAITED, status)


def _tell(channel: socket.socket, what: int, value: int) -> None:
    with contextlib.suppress(OSError):  # the supervisor is dead, which the loop is about to see
        channel.send(REPORT.pack(what, value), socket.MSG_NOSIGNAL)


def _close_all_but(kept: Collection[int]) -> None:
    """Hold nothing open that the program or the supervisor would wait to see closed."""
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in kept:
            os.dup2(null, fd, inheritable=False)
    low = 3
    for fd in sorted(kept):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, _end_of_descriptors())


def _end_of_descriptors() -> int:
    return max(map(int, os.listdir("/proc/self/fd"))) + 1


def kill_descendants(others: Collection[int] = ()) -> dict[int, int]:
    """Kill all descendants of this process until none is left, and reap those that are or become its children.

    `others` are children to leave alone. For a subreaper, to which all orphans below come. Returns the wait
    statuses by pid. Waits for those that can't die yet.
    """
    statuses: dict[int, int] = {}
    me = os.getpid()
    while True:
        victims = descendants(me, others)
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        for pid in victims:
            try:
                reaped, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            if reaped:
                statuses[pid] = status
        if not victims:
            return statuses
        time.sleep(PAUSE)


def descendants(root: int, others: Collection[int] = ()) -> list[int]:
    """The pids of all descendants of a process, zombies included, but `others` and what is below them."""
    children: dict[int, list[int]] = {}
    for pid, parent in _processes():
        if pid not in others:
            children.setdefault(parent, []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """All processes with their parents. By /proc/PID/stat: not every kernel has /proc/PID/task/TID/children."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    yield int(name), int(stat.read().rpartition(b") ")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
