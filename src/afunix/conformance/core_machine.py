"""The core as a machine: the same raw calls, made on core processes in memory, with a clock that only waits move.

Nothing here runs at the same time. A call that waits is a body (see core.blocking) that is resumed when a later call
of some process has woken it; when nothing but a time-out can end the wait that a case asks about, the clock jumps
there. So a case takes no real time and always goes the same way.
"""

from __future__ import annotations

import mmap
import random
from collections.abc import Generator, Sequence
from typing import Final

from afunix.abi.constants import AF_UNIX, SIGPIPE
from afunix.abi.errno import Errno, SyscallError
from afunix.conformance import core_calls, core_files
from afunix.conformance.machine import ARENA_SIZE, PROCESSES, Hang
from afunix.core.caller import Caller
from afunix.core.errors import BrokenPipe
from afunix.core.file import File
from afunix.core.filesystem import Filesystem
from afunix.core.kernel import Kernel
from afunix.core.process import ALL_CAPABILITIES, Process, ProcessTable
from afunix.core.socket import Socket
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer, Install, Native, Outcome, signed
from afunix.syscalls.table import HANDLERS, MAKING

__all__ = ["MODELLED", "CoreMachine", "CoreTask"]

MODELLED: Final = (6, 18)
"""The Linux version that the core is a model of."""

BASE: Final = 0x10000000
EPOCH: Final = 1_700_000_000.0
TICK: Final = 1e-6
"""Seconds that a call takes on the machine's clock."""

SOCKET_MODE: Final = 0o777


class CoreMachine:
    """A machine without a host (a `Machine`)."""

    version = MODELLED
    capabilities = ALL_CAPABILITIES

    def __init__(self) -> None:
        self.kernel = Kernel(random.Random(1))
        self.filesystem = Filesystem(mode=0o755)
        self.clock = 0.0
        self.table = ProcessTable(self.filesystem, lambda: EPOCH + self.clock)
        self.waiting: list[CoreStarted] = []
        self.tasks: list[CoreTask] = []
        self.modes: dict[Socket, int] = {}
        """Of sockets that fchmod changed."""

    def spawn(self) -> CoreTask:
        """See `Machine`."""
        root = self.filesystem.root
        process = self.table.spawn(cwd=root, root=root)
        for _ in range(3):
            process.descriptors.install(core_files.NullFile())
        return CoreTask(self, process)

    def close(self) -> None:
        """See `Machine`. Everything that lives is given up, so that the core's own checks run."""
        for task in self.tasks:
            task.kill()

    def settle(self) -> None:
        """Tell whoever waits for what has changed, until nothing more happens."""
        wakeups, changed = self.kernel.wakeups, self.kernel.changed
        while True:
            wakeups.apply()
            changed.clear()
            woken = [started for started in self.waiting if started.woken]
            if not woken:
                return
            for started in woken:
                started.resume()

    def pass_time(self) -> bool:
        """Jump to the next time-out that somebody waits with; False if there is none."""
        limits = [started.block.deadline for started in self.waiting if started.block.deadline is not None]
        if not limits:
            return False
        self.clock = max(self.clock, min(limits))
        for started in list(self.waiting):
            until = started.block.deadline
            if until is not None and until <= self.clock and started.value is None:
                started.throw(Errno.EAGAIN)
        self.settle()
        return True


class CoreTask:
    """A process of the core (a `Task`), with the memory that its calls read and write."""

    base = BASE
    machine: CoreMachine
    process: Process
    pid: int

    def __init__(self, machine: CoreMachine, process: Process) -> None:
        if len(machine.tasks) == PROCESSES:
            raise ValueError(f"a case can have {PROCESSES} processes")
        self.machine = machine
        self.process = process
        self.pid = process.pid
        self.arena = mmap.mmap(-1, ARENA_SIZE)
        self.seen: set[int] = set()
        machine.tasks.append(self)

    # The calling program's memory (syscalls.call.Memory).

    def _at(self, address: int, size: int) -> int:
        at = address - BASE
        if size and (at < 0 or at + size > ARENA_SIZE):
            raise SyscallError(Errno.EFAULT)
        return at

    def read(self, address: int, size: int) -> bytes:
        """See `Task` and `Memory`."""
        at = self._at(address, size)
        return self.arena[at : at + size] if size else b""

    def write(self, address: int, data: bytes) -> None:
        """See `Task` and `Memory`. What lies in front of the first bad byte is written, as by Linux (copy_to_user)."""
        if not data:
            return
        at = address - BASE
        fitting = data[: max(0, ARENA_SIZE - at)] if at >= 0 else b""
        self.arena[at : at + len(fitting)] = fitting
        if len(fitting) < len(data):
            raise SyscallError(Errno.EFAULT)

    def read_vec(self, iovecs: Sequence[tuple[int, int]]) -> bytes:
        """See `Memory`."""
        return b"".join([self.read(address, size) for address, size in iovecs])

    def write_vec(self, iovecs: Sequence[tuple[int, int]], data: bytes) -> None:
        """See `Memory`."""
        for address, size in iovecs:
            if not data:
                return
            self.write(address, data[:size])
            data = data[size:]

    # What a case does with the process.

    def call(self, name: str, args: tuple[int, ...]) -> int:
        """See `Task`."""
        started = CoreStarted(self, name, args)
        return started.value if started.value is not None else started.finish()

    def begin(self, name: str, args: tuple[int, ...]) -> CoreStarted:
        """See `Task`."""
        return CoreStarted(self, name, args)

    def fork(self) -> CoreTask:
        """See `Task`."""
        return CoreTask(self.machine, self.process.fork())

    def kill(self) -> None:
        """See `Task`."""
        for started in list(self.machine.waiting):
            if started.task is self:
                started.throw(Errno.EINTR)
                started.end()
        self.process.exit()
        self.machine.settle()

    def signals(self) -> list[int]:
        """See `Task`."""
        seen, self.seen = sorted(self.seen), set()
        return seen


class CoreCall:
    """One call, as the handlers in afunix.syscalls see it (a `Call`)."""

    __slots__ = ("args", "caller", "kernel", "memory", "sock", "task")

    sock: Socket

    def __init__(self, task: CoreTask, args: tuple[int, ...]) -> None:
        self.task = task
        self.args = args
        self.memory = task
        self.caller: Caller = task.process
        self.kernel = task.machine.kernel

    @property
    def mode(self) -> int:
        """See `Call`."""
        return self.task.machine.modes.get(self.sock, SOCKET_MODE)

    def now(self) -> float:
        """See `Call`."""
        return self.task.machine.clock

    def files(self, descriptors: Sequence[int]) -> list[File]:
        """See `Call`."""
        table = self.task.process.descriptors
        files = [table.get(number) for number in descriptors]
        for file in files:
            file.acquire()
        return files

    def ensure_room(self, number: int) -> None:
        """See `Call`."""
        core_files.ensure_room(self.task.process, number)

    def install(self, file: File, cloexec: bool) -> int:
        """See `Call`."""
        return self.task.process.descriptors.install(file, cloexec=cloexec)

    def install_pidfd(self, pid: int) -> int:
        """See `Call`. The process may have ended by now, which since Linux 6.16 makes no difference."""
        return self.task.process.descriptors.install(core_files.Pidfd(pid), cloexec=True)

    def install_inode(self, sock: Socket) -> int:
        """See `Call`."""
        assert sock.inode is not None
        return self.task.process.descriptors.install(core_files.PathFile(sock.inode.key), cloexec=True)


class CoreStarted:
    """A call from its beginning to its end (a `Started`)."""

    def __init__(self, task: CoreTask, name: str, args: tuple[int, ...]) -> None:
        self.task = task
        self.name = name
        registers = [arg & 0xFFFFFFFFFFFFFFFF for arg in args] + [0] * (6 - len(args))
        self.args = tuple(registers)
        self.value: int | None = None
        self.body: Generator[WouldBlock, None, Answer] | None = None
        self.block: WouldBlock = WouldBlock(())
        self.woken = False
        self.start()

    def start(self) -> None:
        """Make the call: it ends, or waits from now on."""
        machine = self.task.machine
        machine.clock += TICK
        try:
            outcome = self._dispatch()
            if isinstance(outcome, Generator):
                self.body = outcome
                self.wait(next(outcome))
                machine.waiting.append(self)
            else:
                self.answer(outcome)
        except StopIteration as stop:
            self.answer(stop.value)
        except SyscallError as error:
            self.fail(error)
        machine.settle()

    def _dispatch(self) -> Outcome:
        task, name, args = self.task, self.name, self.args
        if (make := MAKING.get(name)) is not None and args[0] == AF_UNIX:
            return make(CoreCall(task, args))
        if (handler := HANDLERS.get(name)) is not None:
            core_calls.check_first(task, name, args)
            file = task.process.descriptors.get(signed(args[0]))
            if isinstance(file, Socket):
                if name in ("accept", "accept4"):
                    core_calls.check_accept(task.process, name, args)
                call = CoreCall(task, args)
                call.sock = file
                outcome = handler(call)
                return outcome if not isinstance(outcome, Native) else core_calls.after(task, name, args)
            if isinstance(file, core_files.PathFile) and name != "fcntl":
                raise SyscallError(Errno.EBADF)
        return core_calls.call(task, name, args)

    def answer(self, answer: Answer) -> None:
        """The call is done."""
        if isinstance(answer, Install):
            try:
                self.value = self.task.process.descriptors.install(answer.sock, cloexec=answer.cloexec)
            except SyscallError as error:
                answer.undo()
                self.fail(error)
        elif isinstance(answer, tuple):
            self.value, change = answer
            change.done()
        else:
            assert isinstance(answer, int)
            self.value = answer

    def fail(self, error: SyscallError) -> None:
        """The call failed."""
        if isinstance(error, BrokenPipe) and error.signal:
            self.task.seen.add(SIGPIPE)
        self.value = -error.errno

    def wait(self, block: WouldBlock) -> None:
        """Be woken by what the body waits for."""
        self.block = block
        self.woken = False
        for queue in block.queues:
            queue.add(self.wake)

    def wake(self) -> None:
        """Called from a wait queue."""
        self.woken = True

    def resume(self, errno: Errno | None = None) -> None:
        """Go on after the wait, or with an error that ended it."""
        assert self.body is not None
        for queue in self.block.queues:
            queue.discard(self.wake)
        try:
            self.wait(next(self.body) if errno is None else self.body.throw(SyscallError(errno)))
            return
        except StopIteration as stop:
            self.answer(stop.value)
        except SyscallError as error:
            self.fail(error)
        self.end()

    def throw(self, errno: Errno) -> None:
        """End the wait: time-out (EAGAIN) or signal (EINTR)."""
        self.resume(errno)

    def end(self) -> None:
        """Wait no longer."""
        if self in self.task.machine.waiting:
            self.task.machine.waiting.remove(self)
        for queue in self.block.queues:
            queue.discard(self.wake)

    def blocked(self) -> bool:
        """See `Started`."""
        return self.value is None

    def finish(self) -> int:
        """See `Started`."""
        while self.value is None:
            if not self.task.machine.pass_time():
                raise Hang(f"{self.name} of process {self.task.pid} waits for what nobody will do")
        return self.value

    def interrupt(self, restart: bool) -> None:
        """See `Started`. With a time-out no socket call is made again, whatever the handler asks for (signal(7))."""
        if self.value is not None:
            return
        deadline = self.block.deadline
        self.resume(Errno.EINTR)
        if restart and deadline is None and self.value == -Errno.EINTR and self.name in HANDLERS:
            self.value = None
            self.start()
        self.task.machine.settle()
