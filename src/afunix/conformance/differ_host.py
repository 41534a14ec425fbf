"""The host's side of a comparison: random programs' calls, made by processes of `differ_worker`."""

from __future__ import annotations

import os
import re
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import repeat
from types import TracebackType
from typing import Any, Final, Self

from afunix.abi import arch
from afunix.abi.constants import SIOCATMARK, SIOCINQ, SIOCOUTQ
from afunix.conformance import differ_worker as worker
from afunix.conformance.differ_raw import BASE, BUFFER, PATTERN, PATTERN_AT, Raw
from afunix.conformance.machine import ARENA_SIZE, Hang
from afunix.core.kernel import Limits

__all__ = ["PROCESSES", "USERS", "DifferHost"]

PROCESSES: Final = 4
"""How many processes a program can have."""
USERS: Final = 3
"""How many users besides root a program's processes can be of, if they can change who they are."""
DIRECTORY_MODE: Final = 0o777
CAP_SETUID: Final = 7
PATIENCE: Final = 10.0
"""Seconds after which the calls of a program count as hanging."""
NUMBERS: Final = arch.current().numbers

Found = tuple[tuple[int, ...], list[bytes | int], list[int], list[int | None]]
"""Of one step: values of the calls, memory, signals, state of the descriptors (four numbers each)."""


def own_capabilities() -> int:
    """What this process may do, and so what the first process of a program may."""
    with open("/proc/self/status", encoding="ascii") as status:
        return int(re.findall(r"CapEff:\s*([0-9a-f]+)", status.read())[0], 16)


def unused_users() -> Iterator[tuple[int, ...]]:
    """Numbers of users that most likely nobody else has, for one program after the other.

    What is in flight is counted for each user, so what other programs have in flight would count too (SCM-2); also an
    earlier one of this run, as Linux does not always find all that only keeps itself alive. Numbers are from the middle
    of those that there are here.
    """
    with open("/proc/self/uid_map", encoding="ascii") as mapped:
        start, _, size = max((tuple(map(int, line.split())) for line in mapped), key=lambda extent: extent[2])
    middle = min(size, 1 << 31) // 2
    if middle <= USERS:
        yield from repeat((os.getuid(),))
    at = secrets.randbelow(middle)
    while True:
        first = int(start) + middle + at % (middle - USERS)
        yield tuple(range(first, first + USERS))
        at += USERS


class DifferHost:
    """The first process of every program, which stays, and those that it forks.

    capabilities: what the first one may do. users: who processes can be besides root, if they are allowed to change
    that; the first is the real user of the first process.
    """

    def __init__(self) -> None:
        self.capabilities = own_capabilities()
        self.privileged = bool(self.capabilities >> CAP_SETUID & 1)
        self._unused = unused_users() if self.privileged else repeat((os.getuid(),))
        self.users = next(self._unused)
        # Processes of all users may write to where they are, and nobody else gets there.
        self.parent = tempfile.mkdtemp(prefix="afunix-differ-")
        self.directory = os.path.join(self.parent, "here")
        os.mkdir(self.directory)
        os.chmod(self.directory, DIRECTORY_MODE)
        self.protects_symlinks, self.protects_hardlinks = (
            bool(worker.setting(f"fs/protected_{links}")) for links in ("symlinks", "hardlinks")
        )
        self.protects_regular = worker.setting("fs/protected_regular")
        try:
            self._start()
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        channels = [(*os.pipe(), *os.pipe()) for _ in range(PROCESSES)]
        theirs = [fd for command_in, _, _, reply_out in channels for fd in (command_in, reply_out)]
        numbers = (BASE, ARENA_SIZE, PATTERN_AT, BUFFER, self.users[0], *theirs)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", worker.__file__, *map(str, numbers)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=theirs,
            cwd=self.directory,
            umask=worker.UMASK,
        )
        for fd in theirs:
            os.close(fd)
        self._commands = [command_out for _, command_out, _, _ in channels]
        self._replies = [reply_in for _, _, reply_in, _ in channels]
        worker.post(self._commands[0], PATTERN)
        inquiries = (SIOCINQ, SIOCOUTQ, SIOCATMARK)
        worker.post(self._commands[0], (NUMBERS["ppoll"], NUMBERS["ioctl"], inquiries))
        self.limits = Limits(*self._receive(0))
        self.pids = [self._process.pid]
        self._children: list[int] = []

    def _end(self) -> None:
        for fd in (*self._commands, *self._replies):
            os.close(fd)
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End all processes and remove their directory."""
        try:
            self._end()
            self._clean()
        finally:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.parent, ignore_errors=True)

    def restart(self) -> None:
        """Begin anew with other processes: one hangs, or is in a state that a reset does not undo."""
        self._end()
        self._clean()
        self.users = next(self._unused)
        self._start()

    def reset(self) -> None:
        """The end of a program: its other processes are gone, all descriptors closed, the directory is empty."""
        self.users = next(self._unused)
        self._ask(0, worker.RESET, (self._children, self.users[0]))
        self._children = []
        self.pids = self.pids[:1]
        self._clean()

    def _clean(self) -> None:
        os.chmod(self.directory, 0o700)
        for where, directories, _ in os.walk(self.directory):
            for name in directories:
                path = os.path.join(where, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
        os.chown(self.directory, os.geteuid(), os.getegid())
        os.chmod(self.directory, DIRECTORY_MODE)

    def run(self, process: int, steps: Sequence[tuple[Raw, tuple[int, ...]]]) -> list[Found]:
        """Make the steps of one process: raw form, descriptors to look at afterwards."""
        message = [
            (raw.writes, raw.fill, [_registers(*call) for call in raw.calls], raw.windows, descriptors)
            for raw, descriptors in steps
        ]
        found: list[Found] = self._ask(process, worker.STEPS, message)
        return found

    def collect(self, process: int) -> None:
        """Wait until garbage in flight is collected."""
        if not self._ask(process, worker.COLLECT, None):
            raise Hang("the kernel's collector does not run")

    def fork(self) -> int:
        """Fork the first process: the pid of the child, which is the program's next process."""
        slot = len(self.pids)
        pid: int = self._ask(0, worker.FORK, slot)
        self.pids.append(pid)
        self._children.append(pid)
        return pid

    def kill(self, process: int) -> None:
        """End a process; all that it held is given up when this returns."""
        pid = self.pids[process]
        self._ask(0, worker.REAP, ([pid], -1))
        self._children.remove(pid)

    def _ask(self, slot: int, what: int, argument: object) -> Any:
        worker.post(self._commands[slot], (what, argument))
        return self._receive(slot)

    def _receive(self, slot: int) -> Any:
        if not select.select([self._replies[slot]], [], [], PATIENCE)[0]:
            raise Hang(f"process {slot} of the program does not return")
        return worker.receive(self._replies[slot])


def _registers(name: str, args: tuple[int, ...]) -> tuple[int, ...]:
    return (NUMBERS[name], *[arg & 0xFFFFFFFFFFFFFFFF for arg in args], *(0,) * (6 - len(args)))
