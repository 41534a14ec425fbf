"""The process that makes a case's calls on the host. Runs as a script of its own and imports nothing of afunix.

The one started first is the *nursery*: for each process that a case begins with it forks, which costs half a
millisecond where a new interpreter would cost twenty; it reaps all of them, children of children too, and when whoever
started it is gone it kills what is left. Descriptors that belong to this machinery are moved above those of cases.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import signal
import struct
import sys
import threading
import time
from typing import NoReturn

COMMAND = struct.Struct("<iiiiq6Q")
"""Generation, what to do, a handle, a slot; system call number and arguments."""
REPLY = struct.Struct("<iiiiq")
"""Generation, what it is about, handle, 0; the value."""
PATH_SIZE = 512

CALL, BEGIN, FORK, SIGNALS = range(4)
START, END = 10, 11
VALUE, STARTED = 0, 1

INTERRUPT, RESTART = signal.SIGUSR1, signal.SIGUSR2
CAUGHT = (signal.SIGPIPE, signal.SIGURG, signal.SIGIO)
HIGH = 960
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROT_NONE = 0

libc = ctypes.CDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6


def lift(fd: int) -> int:
    """Move a descriptor above those that cases use."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD, HIGH)
    os.close(fd)
    return high


class Nursery:
    """Forks and reaps."""

    def __init__(self, arguments: list[str]) -> None:
        self.slot_size, self.page = int(arguments[0]), int(arguments[1])
        self.control, self.answers, memory, *channels = [lift(int(fd)) for fd in arguments[2:]]
        self.commands, self.replies = channels[::2], channels[1::2]
        slots = len(self.commands)
        size = slots * (self.slot_size + self.page)
        # Not the standard library's mmap, which keeps a descriptor.
        start = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, memory, 0)
        os.close(memory)
        self.bases = [start + slot * (self.slot_size + self.page) for slot in range(slots)]
        for base in self.bases:
            libc.mprotect(ctypes.c_void_p(base + self.slot_size), ctypes.c_size_t(self.page), PROT_NONE)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.pids: list[int] = []

    def serve(self) -> None:
        """Start processes and end them, until the other end is gone."""
        os.write(self.answers, struct.pack(f"<{len(self.bases)}Q", *self.bases))
        while command := os.read(self.control, COMMAND.size + PATH_SIZE):
            generation, what, _, slot, *_ = COMMAND.unpack(command[: COMMAND.size])
            if what == START:
                pid = os.fork()
                if not pid:
                    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                    os.chdir(command[COMMAND.size :].rstrip(b"\0"))
                    os.umask(0o022)
                    os.close(self.control)
                    os.close(self.answers)
                    Worker(self, generation, slot).serve()
                self.pids.append(pid)
                os.write(self.answers, REPLY.pack(generation, VALUE, 0, 0, pid))
            else:
                self.end()
                os.write(self.answers, REPLY.pack(generation, VALUE, 0, 0, 0))
        self.end()

    def end(self) -> None:
        """Kill and reap all, until none is left: whoever loses its parent becomes a child of this process."""
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                children = [int(pid) for pid in file.read().split()]
            children = children or self.pids
            if not children:
                return
            self.pids = []
            for pid in children:
                try:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                except (ChildProcessError, ProcessLookupError):
                    pass


class Worker:
    """One process of a case: makes the calls it is told to."""

    def __init__(self, nursery: Nursery, generation: int, slot: int) -> None:
        self.nursery = nursery
        self.generation = generation
        self.slot = slot
        self.seen: set[int] = set()
        for number in CAUGHT:
            signal.signal(number, lambda number, _: self.seen.add(number))
        for number in (INTERRUPT, RESTART):
            signal.signal(number, lambda *_: None)
        signal.siginterrupt(RESTART, False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    def serve(self) -> NoReturn:
        """Obey until killed."""
        while True:
            command = os.read(self.nursery.commands[self.slot], COMMAND.size)
            if not command:
                os._exit(0)
            generation, what, handle, slot, *call = COMMAND.unpack(command)
            if generation != self.generation:
                continue
            if what == CALL:
                self.reply(VALUE, handle, self.make(call))
            elif what == BEGIN:
                threading.Thread(target=self.begin, args=(handle, call), daemon=True).start()
            elif what == FORK:
                pid = os.fork()
                if not pid:
                    self.slot = slot
                    self.seen.clear()
                else:
                    self.reply(VALUE, handle, pid)
            else:
                mask = sum(1 << number for number in self.seen)
                self.seen.clear()
                self.reply(VALUE, handle, mask)

    def begin(self, handle: int, call: list[int]) -> None:
        """A call in a thread of its own."""
        self.reply(STARTED, handle, threading.get_native_id())
        self.reply(VALUE, handle, self.make(call))
        time.sleep(3600)  # the thread stays: a signal that is still on its way must find it

    @staticmethod
    def make(call: list[int]) -> int:
        """The call itself: the return register."""
        value = int(syscall(*call))
        return -ctypes.get_errno() if value == -1 else value

    def reply(self, what: int, handle: int, value: int) -> None:
        """Tell the controller."""
        os.write(self.nursery.replies[self.slot], REPLY.pack(self.generation, what, handle, 0, value))


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, and has nothing to tell
    Nursery(sys.argv[1:]).serve()
