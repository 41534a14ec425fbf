"""The host's kernel as a machine: processes of `worker`, told over pipes what to call, on memory shared with them.

Under `afunix run` the same machine's calls are those of supervised processes. Pipes, not sockets, lead to them, so that
what is tested is not what the test stands on.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from afunix.abi import arch
from afunix.conformance import worker
from afunix.conformance.machine import ARENA_SIZE, PROCESSES, Hang
from afunix.conformance.worker import BEGIN, CALL, COMMAND, FORK, REPLY, SIGNALS, STARTED, VALUE

__all__ = ["Host", "HostMachine", "HostTask", "linux_version"]

PAGE = 4096
PATIENCE = 5.0
"""Seconds after which a call that does not return counts as hanging."""
ASLEEP = 0.008
"""Seconds for which a thread must be seen asleep in its call before the call counts as blocked."""

MASK = 0xFFFFFFFFFFFFFFFF
NUMBERS = arch.current().numbers
libc = ctypes.CDLL(None, use_errno=True)


def linux_version(release: str | None = None) -> tuple[int, int]:
    """Major and minor version of the running kernel."""
    found = re.match(r"(\d+)\.(\d+)", release or platform.release())
    if found is None:
        raise ValueError(f"not a Linux release: {release or platform.release()}")
    return int(found[1]), int(found[2])


class Host:
    """One nursery and the channels to the processes it makes, for one case at a time."""

    def __init__(self, version: tuple[int, int] | None = None) -> None:
        self.version = version or linux_version()
        status = Path("/proc/self/status").read_text(encoding="ascii")
        self.capabilities = int(re.findall(r"CapEff:\s*([0-9a-f]+)", status)[0], 16)
        self.directory = tempfile.mkdtemp(prefix="afunix-conformance-")
        os.chmod(self.directory, 0o755)
        self.generation = 0
        self.nursery: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the nursery."""
        self._stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def machine(self) -> HostMachine:
        """A fresh machine; the one before must be closed."""
        if self.nursery is None:
            self._start()
        self.generation += 1
        return HostMachine(self)

    def _start(self) -> None:
        size = ARENA_SIZE + PAGE
        memory = os.memfd_create("arena")
        os.ftruncate(memory, PROCESSES * size)
        self.memory = mmap.mmap(memory, PROCESSES * size)
        control_in, self.control = os.pipe()
        self.answers, answers_out = os.pipe()
        self.channels = [(*os.pipe(), *os.pipe()) for _ in range(PROCESSES)]
        theirs = [control_in, answers_out, memory]
        for command_in, _, _, reply_out in self.channels:
            theirs += [command_in, reply_out]
        self.nursery = subprocess.Popen(
            [sys.executable, "-I", "-S", worker.__file__, str(ARENA_SIZE), str(PAGE), *map(str, theirs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=theirs,
        )
        for fd in (control_in, answers_out, memory):
            os.close(fd)
        raw = self._answer(8 * PROCESSES)
        self.bases = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]

    def _stop(self) -> None:
        if self.nursery is None:
            return
        os.close(self.control)
        try:
            self.nursery.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.nursery.kill()
            self.nursery.wait()
        os.close(self.answers)
        for channel in self.channels:
            for fd in channel:
                os.close(fd)
        self.memory.close()
        self.nursery = None

    def _answer(self, size: int) -> bytes:
        if not wait_readable(self.answers, PATIENCE):
            assert self.nursery is not None
            self.nursery.kill()
            raise Hang("the process that starts the case's processes does not answer")
        answer = os.read(self.answers, size)
        if len(answer) < size:
            raise Hang("the process that starts the case's processes ended")
        return answer

    def tell(self, what: int, slot: int, path: str) -> int:
        """Have the nursery start or end processes; its answer."""
        command = COMMAND.pack(self.generation, what, 0, slot, *[0] * 7)
        try:
            os.write(self.control, command + os.fsencode(path).ljust(worker.PATH_SIZE, b"\0"))
        except BrokenPipeError:
            raise Hang("the process that starts the case's processes ended") from None
        return int(REPLY.unpack(self._answer(REPLY.size))[4])


def wait_readable(fd: int, seconds: float) -> bool:
    """Whether the descriptor becomes readable in time."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


class HostMachine:
    """A machine on the host (a `Machine`)."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.version = host.version
        self.capabilities = host.capabilities
        self.directory = tempfile.mkdtemp(dir=host.directory)
        os.chmod(self.directory, 0o755)
        self.tasks: list[HostTask] = []
        for command_in, _, reply_in, _ in host.channels:
            for fd in (command_in, reply_in):
                while wait_readable(fd, 0):
                    os.read(fd, 65536)

    def slot(self) -> int:
        """The next process's place."""
        if len(self.tasks) == PROCESSES:
            raise ValueError(f"a case can have {PROCESSES} processes")
        return len(self.tasks)

    def spawn(self) -> HostTask:
        """See `Machine`."""
        slot = self.slot()
        return HostTask(self, slot, self.host.tell(worker.START, slot, self.directory))

    def close(self) -> None:
        """See `Machine`."""
        try:
            self.host.tell(worker.END, 0, "")
        except Hang:
            self.host._stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class HostTask:
    """A process on the host (a `Task`)."""

    def __init__(self, machine: HostMachine, slot: int, pid: int) -> None:
        self.machine = machine
        self.slot = slot
        self.pid = pid
        self.base = machine.host.bases[slot]
        self._offset = slot * (ARENA_SIZE + PAGE)
        self._memory = machine.host.memory
        self._command = machine.host.channels[slot][1]
        self._reply = machine.host.channels[slot][2]
        self._handle = 0
        self._replies: dict[tuple[int, int], int] = {}
        self._poller = select.poll()
        self._poller.register(self._reply, select.POLLIN)
        machine.tasks.append(self)

    def read(self, address: int, size: int) -> bytes:
        """See `Task`."""
        at = self._offset + address - self.base
        return self._memory[at : at + size]

    def write(self, address: int, data: bytes) -> None:
        """See `Task`."""
        at = self._offset + address - self.base
        self._memory[at : at + len(data)] = data

    def call(self, name: str, args: tuple[int, ...]) -> int:
        """See `Task`."""
        handle = self._tell(CALL, name, args)
        return self.value(handle, name)

    def begin(self, name: str, args: tuple[int, ...]) -> HostStarted:
        """See `Task`."""
        handle = self._tell(BEGIN, name, args)
        tid = self.take(STARTED, handle, time.monotonic() + PATIENCE)
        if tid is None:
            raise Hang(f"process {self.pid} starts no thread")
        return HostStarted(self, handle, tid, name)

    def fork(self) -> HostTask:
        """See `Task`."""
        slot = self.machine.slot()
        pid = self.value(self._tell(FORK, "getpid", (), slot), "fork")
        return HostTask(self.machine, slot, pid)

    def kill(self) -> None:
        """See `Task`."""
        pidfd = os.pidfd_open(self.pid)
        try:
            os.kill(self.pid, 9)
            if not wait_readable(pidfd, PATIENCE):
                raise Hang(f"process {self.pid} does not die")
        finally:
            os.close(pidfd)

    def signals(self) -> list[int]:
        """See `Task`."""
        mask = self.value(self._tell(SIGNALS, "getpid", ()), "signals")
        return [number for number in range(64) if mask >> number & 1]

    def _tell(self, what: int, name: str, args: tuple[int, ...], slot: int = 0) -> int:
        self._handle += 1
        registers = [arg & MASK for arg in args] + [0] * (6 - len(args))
        generation = self.machine.host.generation
        os.write(self._command, COMMAND.pack(generation, what, self._handle, slot, NUMBERS[name], *registers))
        return self._handle

    def value(self, handle: int, name: str) -> int:
        """What a call came to. Hang."""
        value = self.take(VALUE, handle, time.monotonic() + PATIENCE)
        if value is None:
            raise Hang(f"{name} of process {self.pid} does not return within {PATIENCE:g} seconds")
        return value

    def take(self, what: int, handle: int, until: float) -> int | None:
        """A reply, if it comes in time."""
        while (what, handle) not in self._replies:
            left = max(0.0, until - time.monotonic())
            if not self._poller.poll(left * 1000):
                return None
            generation, about, which, _, value = REPLY.unpack(os.read(self._reply, REPLY.size))
            if generation == self.machine.host.generation:
                self._replies[about, which] = value
        return self._replies[what, handle]


class HostStarted:
    """A call in a thread (a `Started`)."""

    def __init__(self, task: HostTask, handle: int, tid: int, name: str) -> None:
        self.task = task
        self.handle = handle
        self.tid = tid
        self.name = name
        self.number = NUMBERS[name]

    def blocked(self) -> bool:
        """See `Started`. The thread is asleep in this call for a while, as /proc tells."""
        until = time.monotonic() + PATIENCE
        since: float | None = None
        while (now := time.monotonic()) < until:
            if self.task.take(VALUE, self.handle, now + 0.001) is not None:
                return False
            if not self._asleep():
                since = None
            elif since is None:
                since = now
            elif now - since >= ASLEEP:
                return True
        raise Hang(f"{self.name} of process {self.task.pid} neither sleeps nor returns")

    def _asleep(self) -> bool:
        base = f"/proc/{self.task.pid}/task/{self.tid}"
        try:
            with open(f"{base}/stat", encoding="ascii") as stat:
                if stat.read().rpartition(")")[2].split()[0] != "S":
                    return False
            with open(f"{base}/syscall", encoding="ascii") as call:
                return call.read().split()[0] == str(self.number)
        except PermissionError:
            return True
        except OSError:
            return False

    def finish(self) -> int:
        """See `Started`."""
        return self.task.value(self.handle, self.name)

    def interrupt(self, restart: bool) -> None:
        """See `Started`."""
        number = worker.RESTART if restart else worker.INTERRUPT
        if libc.syscall(NUMBERS["tgkill"], self.task.pid, self.tid, int(number)) < 0:
            raise OSError(ctypes.get_errno(), "tgkill")
