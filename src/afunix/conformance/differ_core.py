"""The core's side of a comparison: random programs' calls on the core alone, with what must hold after each of them."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Sequence
from typing import Final

from afunix.abi.constants import EPOLLIN, EPOLLOUT, EPOLLPRI, SIOCATMARK, SIOCINQ, SIOCOUTQ, SOCK_DGRAM
from afunix.abi.errno import SyscallError
from afunix.abi.structs import INT
from afunix.conformance import core_files
from afunix.conformance.core_machine import EPOCH, CoreMachine, CoreStarted, CoreTask
from afunix.conformance.differ_host import DIRECTORY_MODE, DifferHost, Found
from afunix.conformance.differ_invariants import Lifetimes, check_ownership
from afunix.conformance.differ_raw import BUFFER, PATTERN, PATTERN_AT, Raw
from afunix.conformance.differ_worker import DIGEST_FROM, LIMIT, TAIL
from afunix.conformance.machine import ARENA_SIZE, Hang
from afunix.core.filesystem import Filesystem
from afunix.core.kernel import Kernel
from afunix.core.process import RLIMIT_NOFILE, ProcessTable
from afunix.core.readiness import mask
from afunix.core.socket import Socket
from afunix.syscalls import control

__all__ = ["DifferCore"]

FILLED: Final = b"\xa5" * (1 << 20)
POLLED: Final = 0x7FFF
FIRST_PIECE: Final = BUFFER + TAIL
PID_MAX: Final = 1 << 22


class Numbered(ProcessTable):
    """A process table that gives the next process the number it is told to."""

    __slots__ = ("next",)
    next: int

    def allocate(self) -> int:
        """The number that was set."""
        return self.next


class CollectingKernel(Kernel):
    """A kernel that tells whether its collector has found something."""

    collected = False

    def collect(self) -> None:
        """See `Kernel`."""
        before = dict(self.flight.sockets)
        super().collect()
        if before != self.flight.sockets:
            self.collected = True


class Inquiry:
    """The call that control.ioctl wants to see."""

    __slots__ = ("args", "memory", "sock", "value")

    def __init__(self, sock: Socket) -> None:
        self.sock = sock
        self.memory = self

    def write(self, address: int, data: bytes) -> None:
        """What the ioctl tells."""
        self.value = data

    def ask(self, command: int) -> int | None:
        """The number; None for an errno."""
        self.args = (0, command, 0)
        try:
            control.ioctl(self)  # type: ignore[arg-type]
        except SyscallError:
            return None
        found: int = INT.unpack(self.value)[0]
        return found


class DifferCore(CoreMachine):
    """One program's machine, with what its processes are and may do on the host.

    watched: whether somebody waits at every socket, to see that it is told of changes.
    """

    def __init__(self, host: DifferHost, *, watched: bool) -> None:
        super().__init__()
        self.kernel = self.collecting = CollectingKernel(random.Random(1), host.limits)
        self.lifetimes = Lifetimes(self.kernel)
        self.watched = watched
        self.masks: dict[Socket, int] = {}
        self.noted: set[Socket] = set()
        self.told_readable: set[Socket] = set()
        self.told_writable: set[Socket] = set()
        self.filesystem = Filesystem(
            mode=DIRECTORY_MODE,
            uid=os.geteuid(),
            gid=os.getegid(),
            protected_symlinks=host.protects_symlinks,
            protected_hardlinks=host.protects_hardlinks,
            protected_regular=host.protects_regular,
        )
        table = Numbered(self.filesystem, lambda: EPOCH, pid_max=PID_MAX)
        table.next = host.pids[0]
        self.table = self.numbered = table
        root = self.filesystem.root
        process = table.spawn(
            cwd=root,
            root=root,
            uid=os.geteuid(),
            gid=os.getgid(),
            groups=tuple(os.getgroups()),
            capabilities=host.capabilities,
            nofile=LIMIT,
        )
        process.setresuid(host.users[0], -1, -1)
        process.limits[RLIMIT_NOFILE] = (LIMIT, LIMIT)
        for _ in range(3):
            process.descriptors.install(core_files.NullFile())
        self.processes: list[CoreTask | None] = [CoreTask(self, process)]
        arena = self.task(0).arena
        arena[PATTERN_AT : PATTERN_AT + len(PATTERN)] = PATTERN

    def task(self, number: int) -> CoreTask:
        """A process by its number in the program."""
        task = self.processes[number]
        assert task is not None
        return task

    def fork(self, pid: int) -> None:
        """Fork the first process; the child has a copy of its memory as far as that is ever compared."""
        self.numbered.next = pid
        parent = self.task(0)
        child = parent.fork()
        for at, size in ((0, FIRST_PIECE), (PATTERN_AT, len(PATTERN)), (ARENA_SIZE - TAIL, TAIL)):
            child.arena[at : at + size] = parent.arena[at : at + size]
        self.processes.append(child)

    def kill(self, number: int) -> None:
        """End a process."""
        self.task(number).kill()
        self.processes[number] = None

    def settle(self) -> None:
        """See `CoreMachine`; what has changed is noted first."""
        self.noted.update(self.kernel.changed)
        super().settle()

    def run(self, number: int, raw: Raw) -> Found:
        """Make a step's calls. Hang: one would wait."""
        task = self.task(number)
        arena = task.arena
        for at, data in raw.writes:
            arena[at : at + len(data)] = data
        if raw.fill:
            arena[BUFFER : BUFFER + raw.fill] = FILLED[: raw.fill]
        values = []
        for name, args in raw.calls:
            started = CoreStarted(task, name, args)
            if started.value is None:
                raise Hang(f"{name} waits on the core")
            values.append(started.value)
        windows: list[bytes | int] = []
        for at, size in raw.windows:
            piece = arena[at : at + size]
            windows.append(piece if size <= DIGEST_FROM else zlib.crc32(piece))
        signals, task.seen = sorted(task.seen), set()
        return tuple(values), windows, signals, self.look(self.sockets(number))

    def sockets(self, number: int) -> dict[int, Socket]:
        """The sockets that a process has, by descriptor."""
        files = self.task(number).process.descriptors.files
        return {fd: file for fd, file in files.items() if type(file) is Socket}

    def look(self, sockets: dict[int, Socket]) -> list[int | None]:
        """The state of sockets, as the worker tells it; and whether those who wait were told of the changes."""
        state: list[int | None] = []
        masks = self.masks
        for sock in sockets.values():
            now = mask(sock)
            before = masks.get(sock)
            if before is None:
                masks[sock] = now
                if self.watched:
                    self.watch(sock)
            elif now != before:
                self.check_told(sock, before, now)
                masks[sock] = now
            # What comes next is to be told anew.
            self.noted.discard(sock)
            self.told_readable.discard(sock)
            self.told_writable.discard(sock)
            ask = Inquiry(sock).ask
            state += (now & POLLED, ask(SIOCINQ), ask(SIOCOUTQ), ask(SIOCATMARK))
        return state

    def watch(self, sock: Socket) -> None:
        """Wait for everything on a socket."""
        sock.readable.add(lambda: self.told_readable.add(sock))
        sock.writable.add(lambda: self.told_writable.add(sock))

    def check_told(self, sock: Socket, before: int, now: int) -> None:
        """The driver was told of a mask that changed, and whoever waited for readiness was woken."""
        came = now & ~before
        assert sock in self.noted, f"{sock} is not in `changed`: its mask was {before:#x}, is {now:#x}"
        if self.watched:
            # PRI for an option set (SO_SELECT_ERR_QUEUE) wakes nobody on Linux either.
            if came & EPOLLIN or (came & EPOLLPRI and sock.oob is not None):
                assert sock in self.told_readable, f"nobody was told that {sock} is readable"
            # A peer that connects back makes room and wakes nobody (POLL-2c).
            if came & EPOLLOUT and not (sock.type == SOCK_DGRAM and sock.peer is not None and sock.peer.peer is sock):
                assert sock in self.told_writable, f"nobody was told that {sock} is writable"

    def check(self) -> None:
        """What must hold between steps: who is alive, who refers to whom."""
        check_ownership(self.lifetimes, [task.process for task in self.processes if task is not None])

    def finish(self) -> None:
        """End the program: nothing is left when all processes are gone."""
        self.check()
        survivors: Sequence[CoreTask] = [task for task in self.processes if task is not None]
        for task in survivors:
            task.kill()
        self.lifetimes.check_nothing_left()
