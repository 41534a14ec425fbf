"""A program that makes socket calls with random pointers, lengths, flags and control chains, and logs every result.

    fuzzer.py SEED CALLS LOG

Its calls depend on the seed alone, so on two kernels that are the same the logs are the same. Two threads make such
calls on sockets of their own at the same time, and a timer sends signals. It imports nothing of afunix.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import random
import resource
import signal
import struct
import sys
import threading

MACHINE = platform.machine()
NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "ioctl": 16, "readv": 19, "writev": 20, "connect": 42, "sendto": 44, "recvfrom": 45,
        "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "bind": 49, "listen": 50, "getsockname": 51, "getpeername": 52,
        "socketpair": 53, "socket": 41, "setsockopt": 54, "getsockopt": 55, "accept4": 288, "recvmmsg": 299,
        "sendmmsg": 307,
    },
    "aarch64": {
        "read": 63, "write": 64, "ioctl": 29, "readv": 65, "writev": 66, "connect": 203, "sendto": 206,
        "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "shutdown": 210, "bind": 200, "listen": 201,
        "getsockname": 204, "getpeername": 205, "socketpair": 199, "socket": 198, "setsockopt": 208,
        "getsockopt": 209, "accept4": 242, "recvmmsg": 243, "sendmmsg": 269,
    },
}[MACHINE]  # fmt: skip

BASE = 0x20000000
SIZE = 1 << 16
NONBLOCK = 0o4000
DONTWAIT = 0x40
UNMODELLED_OPTIONS = {26, 50, 51, 52}
"""Socket filters, which afunix has not modelled and says so."""
FIRST = 3
LAST = 40

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = [ctypes.c_long] + [ctypes.c_ulong] * 6
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


class Fuzzer:
    """One stream of calls on one piece of memory."""

    def __init__(self, seed: str, base: int) -> None:
        self.random = random.Random(seed)
        self.base = base
        self.own = b"fuzz-" + seed.encode() + b"-"
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000  # MAP_FIXED_NOREPLACE
        if libc.mmap(base, SIZE, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) != base:
            raise OSError("the memory is taken")
        # The page behind, and one that can't be written in the middle of what can be read.
        libc.mmap(base + SIZE, 4096, 0, flags, -1, 0)
        libc.mmap(base + SIZE + 4096, 4096, mmap.PROT_READ, flags, -1, 0)
        self.templates = [self.random.randbytes(SIZE) for _ in range(4)]
        self.wild = (
            0, 1, 2, 4095, 4096, base - 1, base + SIZE - 1, base + SIZE - 8, base + SIZE, base + SIZE + 4096,
            0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32, 0x7FFFFFFFF000, 0x800000000000, 0xFFFF800000000000,
            (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
        )  # fmt: skip

    def number(self) -> int:
        """Any 64 bits, most often at some border."""
        way = self.random.randrange(4)
        if way == 0:
            return self.random.getrandbits(64)
        if way == 1:
            return self.random.randrange(300)
        return int(self.random.choice(self.wild))

    def pointer(self) -> int:
        """An address, good in two of three cases."""
        return self.number() if not self.random.randrange(3) else self.base + self.random.randrange(SIZE - 4096)

    def length(self) -> int:
        """A length, sensible in two of three cases."""
        return self.number() if not self.random.randrange(3) else self.random.choice((0, 1, 2, 10, 110, 1000, 3000))

    def flags(self) -> int:
        """Message flags, always with MSG_DONTWAIT."""
        way = self.random.randrange(3)
        value = 0 if not way else 1 << self.random.randrange(31) if way == 1 else self.random.getrandbits(32)
        return value | DONTWAIT

    def put(self, at: int, data: bytes) -> int:
        """Place bytes in memory."""
        ctypes.memmove(self.base + at, data, len(data))
        return self.base + at

    def address(self) -> tuple[int, int]:
        """A socket address: pointer and length."""
        # Names are the fuzzer's own: what another one does must not be seen.
        name = self.random.choice((b"1", b"2", b"", self.random.randbytes(5)))
        form = self.random.choice((b"\0" + self.own, b"\0" + self.own, b"/nowhere/"))
        tail = b"\1\0" + (form + name if self.random.randrange(8) else b"")
        at = self.put(0x100, tail)
        return (at, len(tail)) if self.random.randrange(3) else (self.pointer(), self.length())

    def chain(self) -> tuple[int, int]:
        """A control chain: pointer and length."""
        chain = b""
        for _ in range(self.random.randrange(4)):
            kind = self.random.choice((1, 1, 2, 4, 3, 99))
            fds = [self.random.choice((0, 1, 2, 0, -1, 99999)) for _ in range(self.random.choice((0, 1, 2, 254)))]
            data = struct.pack(f"<{len(fds)}i", *fds) if kind != 2 else struct.pack("<III", os.getpid(), 0, 0)
            size = 16 + len(data) if self.random.randrange(5) else self.number()
            chain += struct.pack("<Qii", size, self.random.choice((1, 1, 1, 0, 41)), kind) + data
            chain += bytes(-len(chain) & 7)
        at = self.put(0x400, chain)
        return (at, len(chain)) if self.random.randrange(4) else (self.pointer(), self.length())

    def iovecs(self) -> tuple[int, int]:
        """An array of iovecs: pointer and number."""
        number = self.random.choice((0, 1, 1, 1, 2, 5))
        at = self.put(0x1000, b"".join([struct.pack("<QQ", self.pointer(), self.length()) for _ in range(number)]))
        return (at, number) if self.random.randrange(5) else (self.pointer(), self.number())

    def header(self) -> int:
        """A msghdr."""
        if not self.random.randrange(6):
            return self.pointer()
        packed = struct.pack("<QQQQQQQ", *self.address(), *self.iovecs(), *self.chain(), self.random.getrandbits(32))
        return self.put(0, packed + bytes(8))

    def call(self, fd: int) -> tuple[str, int]:
        """Make one call on a descriptor: its name and result."""
        ctypes.memmove(self.base, self.random.choice(self.templates), SIZE)
        name = self.random.choice(NAMES)
        args = getattr(self, f"_{name}", self._sized)(fd)
        value = libc.syscall(NUMBERS[name], *(arg & 0xFFFFFFFFFFFFFFFF for arg in args), *(0,) * (6 - len(args)))
        return name, -ctypes.get_errno() if value == -1 else value

    # The arguments of each call.

    def _sized(self, fd: int) -> tuple[int, ...]:
        return fd, self.pointer(), self.length()

    def _vectors(self, fd: int) -> tuple[int, ...]:
        return fd, *self.iovecs()

    _readv = _writev = _vectors

    def _message(self, fd: int) -> tuple[int, ...]:
        return fd, self.header(), self.flags()

    _sendmsg = _recvmsg = _message

    def _messages(self, fd: int) -> tuple[int, ...]:
        return fd, self.header(), self.random.choice((0, 1, 2, 3)), self.flags(), 0

    _sendmmsg = _recvmmsg = _messages

    def _sendto(self, fd: int) -> tuple[int, ...]:
        return fd, self.pointer(), self.length(), self.flags(), *self.address()

    def _recvfrom(self, fd: int) -> tuple[int, ...]:
        return fd, self.pointer(), self.length(), self.flags(), self.pointer(), self.pointer()

    def _named(self, fd: int) -> tuple[int, ...]:
        return fd, *self.address()

    _bind = _connect = _named

    def _pointers(self, fd: int) -> tuple[int, ...]:
        return fd, self.pointer(), self.put(0x300, struct.pack("<I", self.number() & 0xFFFFFFFF))

    _getsockname = _getpeername = _pointers

    def _plain(self, fd: int) -> tuple[int, ...]:
        return fd, self.random.choice((0, 1, 2, self.number()))

    _listen = _shutdown = _plain

    def _accept4(self, fd: int) -> tuple[int, ...]:
        return *self._pointers(fd), self.random.choice((NONBLOCK, NONBLOCK | 0o2000000, 0x10000))

    def _socket(self, fd: int) -> tuple[int, ...]:
        return 1, self.random.choice((1, 2, 3, 5, 9, 12)) | NONBLOCK, self.random.choice((0, 0, 0, self.number()))

    def _socketpair(self, fd: int) -> tuple[int, ...]:
        return 1, self.random.choice((1, 2, 3, 5, 9)) | NONBLOCK, self.random.choice((0, 0, 0, 7)), self.pointer()

    def _option(self) -> int:
        option = self.random.choice((self.random.randrange(90), self.number()))
        return 4 if option & 0xFFFFFFFF in UNMODELLED_OPTIONS else option

    def _setsockopt(self, fd: int) -> tuple[int, ...]:
        return fd, self.random.choice((1, 1, 1, 0, 6)), self._option(), self.pointer(), self.length()

    def _getsockopt(self, fd: int) -> tuple[int, ...]:
        length = self.put(0x300, struct.pack("<I", self.number() & 0xFFFFFFFF))
        return fd, self.random.choice((1, 1, 1, 0, 6)), self._option(), self.pointer(), length

    def _ioctl(self, fd: int) -> tuple[int, ...]:
        return fd, self.random.choice((0x541B, 0x5411, 0x8905, 0x5401)), self.pointer()


NAMES = (*NUMBERS, "sendmsg", "sendmsg", "recvmsg", "recvmsg", "sendto", "recvfrom", "socketpair")


def sockets() -> None:
    """Begin with some sockets, the same every time."""
    os.closerange(FIRST, LAST)
    for kind in (1, 2, 5):
        libc.syscall(NUMBERS["socketpair"], 1, kind | NONBLOCK, 0, ctypes.addressof(PAIR), 0, 0)
        libc.syscall(NUMBERS["socket"], 1, kind | NONBLOCK, 0, 0, 0, 0)


PAIR = ctypes.create_string_buffer(8)


def beside(name: str, base: int, fds: tuple[int, ...], stop: threading.Event) -> None:
    """The same on sockets of its own, whose results nobody looks at; none is made or closed."""
    fuzzer = Fuzzer(name, base)
    while not stop.is_set():
        ctypes.memmove(base, fuzzer.random.choice(fuzzer.templates), SIZE)
        call = fuzzer.random.choice(("sendmsg", "recvmsg", "sendto", "recvfrom", "writev", "readv"))
        args = getattr(fuzzer, f"_{call}")(fuzzer.random.choice(fds))
        if call == "recvmsg":
            args = (args[0], 1, args[2])  # no descriptors are received, which would shift those of the others
        libc.syscall(NUMBERS[call], *(arg & 0xFFFFFFFFFFFFFFFF for arg in args), *(0,) * (6 - len(args)))


def main() -> None:
    seed, calls, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
    for number in (signal.SIGALRM, signal.SIGPIPE):
        signal.signal(number, lambda *_: None)
        # SA_RESTART: under supervision a signal may come while a call is on its way (docs/decisions/0005).
        signal.siginterrupt(number, False)
    stop = threading.Event()
    threads = []
    with open(path, "w", encoding="ascii") as file:
        log = os.dup2(file.fileno(), 300)
    for thread in range(2):
        libc.syscall(NUMBERS["socketpair"], 1, (1, 5)[thread] | NONBLOCK, 0, ctypes.addressof(PAIR), 0, 0)
        fds = tuple(os.dup2(fd, 310 + 2 * thread + at) for at, fd in enumerate(struct.unpack("<ii", PAIR.raw)))
        threads.append(
            threading.Thread(target=beside, args=(f"{seed}.{thread}", BASE + (thread + 1) * (1 << 20), fds, stop))
        )
    fuzzer = Fuzzer(seed, BASE)
    for started in threads:
        started.start()
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    lines = []
    for number in range(calls):
        if number % 300 == 0:
            sockets()
        fd = fuzzer.random.randrange(FIRST, 20)
        name, value = fuzzer.call(fd)
        lines.append(f"{number} {name}({fd}) = {value}\n")
        if len(lines) == 1000:
            os.write(log, "".join(lines).encode())
            lines.clear()
    os.write(log, "".join(lines).encode())
    signal.setitimer(signal.ITIMER_REAL, 0)
    stop.set()
    for started in threads:
        started.join()


if __name__ == "__main__":
    main()
