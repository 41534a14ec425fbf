"""A process that makes the calls of random programs on the host. Runs as a script and imports nothing of afunix.

It is told many steps at a time, over pipes: the memory to write, the calls to make, what to look at after them. It
forks when it is told to; the children have pipes of their own. What belongs to this machinery is above the descriptors
that programs may have. Memory lies at a fixed address, so that both sides of a comparison see the same bytes.
"""

from __future__ import annotations

import ctypes
import fcntl
import marshal
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time
import zlib
from typing import Any

HIGH = 960
LIMIT = 512
UMASK = 0o022
DIGEST_FROM = 2048
"""Longer memory is compared by its checksum."""
MAP_FIXED_NOREPLACE = 0x100000
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
SETTINGS = ("net/core/wmem_default", "net/core/wmem_max", "net/core/rmem_default", "net/core/rmem_max",
            "net/core/somaxconn", "net/unix/max_dgram_qlen")  # fmt: skip
"""sysctls of the network namespace that a kernel's limits come from, in the order of `afunix.core.kernel.Limits`."""
TAIL = 65536
PATIENCE = 5.0
ROUNDS = 2
"""What the collector closes may hold files in turn, which are closed later still."""
HEAD = struct.Struct("<I")
POLLFD = struct.Struct("<ihh")
STEPS, FORK, REAP, RESET, COLLECT = range(5)

libc = ctypes.CDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long
syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def setting(name: str) -> int:
    """The value of a sysctl."""
    with open(f"/proc/sys/{name}", encoding="ascii") as file:
        return int(file.read())


def lift(fd: int) -> int:
    """Move a descriptor above those of programs."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD, HIGH)
    os.close(fd)
    return high


def receive(fd: int) -> Any:
    """The next message of a pipe; None at its end."""
    head = os.read(fd, HEAD.size)
    if not head:
        return None
    (size,) = HEAD.unpack(head)
    data = os.read(fd, size)
    while len(data) < size:
        data += os.read(fd, size - len(data))
    return marshal.loads(data)


def post(fd: int, value: Any) -> None:
    """Write a message to a pipe."""
    data = marshal.dumps(value)
    left = memoryview(HEAD.pack(len(data)) + data)
    while left:
        left = left[os.write(fd, left) :]


def raise_limit() -> tuple[int, int]:
    """Allow as many descriptors as before a program said otherwise: what it said."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    return limits


def collect() -> bool:
    """Wait until the kernel's collector of sockets in flight has run: whether it did.

    It runs in a moment of its own, and closes files a jiffy later. A cycle that holds a pipe shows when that is done.
    What is closed while it is at work does not make it run again, so sockets are closed until then.
    """
    limits = raise_limit()
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    reading, writing = os.pipe()
    socket.send_fds(one, [b"x"], [two.fileno(), writing])
    os.close(writing)
    two.close()
    one.close()
    os.set_blocking(reading, False)
    until = time.monotonic() + PATIENCE
    done = False
    while not done and time.monotonic() < until:
        try:
            done = os.read(reading, 1) == b""
        except BlockingIOError:
            socket.socket(socket.AF_UNIX).close()
            time.sleep(0.0005)
    os.close(reading)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return done


class Worker:
    """One process of a program."""

    def __init__(self, arguments: list[str]) -> None:
        base, arena, pattern_at, buffer, user, *descriptors = map(int, arguments)
        self.commands = [lift(fd) for fd in descriptors[::2]]
        self.replies = [lift(fd) for fd in descriptors[1::2]]
        self.slot = 0
        self.base, self.buffer, self.end = base, base + buffer, base + arena
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
        got = libc.mmap(base, arena, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
        guard = libc.mmap(base + arena, 4096, 0, flags, -1, 0)
        if got != base or guard != base + arena:
            raise OSError("the memory of programs does not lie where it has to")
        self.inquiry = ctypes.create_string_buffer(1024)
        self.number_at = ctypes.addressof(self.inquiry)
        self.poll_at = self.number_at + 16
        self.filled = 0
        self.signals: list[int] = []
        for number in (signal.SIGPIPE, signal.SIGURG, signal.SIGIO):
            signal.signal(number, lambda number, _: self.signals.append(number))
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        self.pattern_at, self.pattern = base + pattern_at, receive(self.commands[0])
        ctypes.memmove(self.pattern_at, self.pattern, len(self.pattern))
        self.ppoll, self.ioctl, self.inquiries = receive(self.commands[0])
        # A network namespace of its own, if that may be had, so that nobody else's settings and names are there.
        libc.unshare(CLONE_NEWNET)
        # The real user alone: descriptors in flight are counted for it, capabilities hang on the effective one.
        os.setresuid(user, -1, -1)
        post(self.replies[0], [setting(name) for name in SETTINGS])

    def serve(self) -> None:
        """Obey until the other end is gone."""
        while True:
            command = receive(self.commands[self.slot])
            if command is None:
                os._exit(0)
            what, argument = command
            if what == STEPS:
                answer: object = [self.step(*step) for step in argument]
            elif what == COLLECT:
                answer = all(collect() for _ in range(ROUNDS))
            elif what == FORK:
                pid = os.fork()
                if not pid:
                    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                    self.slot = argument
                    continue
                answer = pid
            else:
                (pids, user), answer = argument, None
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                if what == RESET:
                    os.setresuid(user, -1, -1)
                    os.closerange(3, LIMIT)
                    os.umask(UMASK)
                    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
                    # What programs have written to.
                    ctypes.memset(self.base, 0, self.buffer - self.base + max(self.filled, TAIL))
                    self.filled = 0
                    ctypes.memset(self.end - TAIL, 0, TAIL)
                    ctypes.memmove(self.pattern_at, self.pattern, len(self.pattern))
            post(self.replies[self.slot], answer)

    def step(
        self,
        writes: list[tuple[int, bytes]],
        fill: int,
        calls: list[tuple[int, ...]],
        windows: list[tuple[int, int]],
        descriptors: tuple[int, ...],
    ) -> tuple[Any, ...]:
        """Make a step's calls: their values, the memory, the signals, and the state of the descriptors."""
        base = self.base
        for at, data in writes:
            ctypes.memmove(base + at, data, len(data))
        if fill:
            ctypes.memset(self.buffer, 0xA5, fill)
            self.filled = max(self.filled, fill)
        values = []
        for call in calls:
            value = syscall(*call)
            values.append(-ctypes.get_errno() if value == -1 else value)
        seen = []
        for at, size in windows:
            data = ctypes.string_at(base + at, size)
            seen.append(data if size <= DIGEST_FROM else zlib.crc32(data))
        signals, self.signals = self.signals, []
        return tuple(values), seen, signals, self.look(descriptors)

    def look(self, descriptors: tuple[int, ...]) -> list[Any]:
        """Poll bits and the numbers that ioctls tell, of each descriptor."""
        if not descriptors:
            return []
        entries = b"".join([POLLFD.pack(fd, 0x7FFF, 0) for fd in descriptors])
        at, number = self.poll_at, self.number_at
        ctypes.memmove(at, entries, len(entries))
        ctypes.memset(number, 0, 16)
        if syscall(self.ppoll, at, len(descriptors), number, 0, 0, 0) < 0:
            # More than the process may have, by now.
            limits = raise_limit()
            syscall(self.ppoll, at, len(descriptors), number, 0, 0, 0)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        masks = [entry[2] for entry in POLLFD.iter_unpack(ctypes.string_at(at, len(entries)))]
        state: list[Any] = []
        for fd, mask in zip(descriptors, masks, strict=True):
            state.append(mask)
            for command in self.inquiries:
                value = syscall(self.ioctl, fd, command, number, 0, 0, 0)
                state.append(int.from_bytes(ctypes.string_at(number, 4), "little", signed=True) if not value else None)
        return state


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, and has nothing to tell
    Worker(sys.argv[1:]).serve()
