"""Pipes: a ring of pages between one reading and one writing open file description (fs/pipe.c).

What fits is a matter of pages, not of bytes: each page holds up to 4096 bytes, a write goes on in the newest page
only if its odd bytes (length modulo 4096) fit there, and a page is free again only when all of it was read.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from afunix.abi.constants import (
    POLLERR,
    POLLHUP,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import CAP_SYS_RESOURCE, Credentials
from afunix.core.errors import BrokenPipe, Unmodelled
from afunix.core.file import File
from afunix.core.wait import WaitQueue, Wakeups, WouldBlock

__all__ = ["PIPE_BUF", "Pipe", "PipeReader", "PipeWriter", "make_pipe", "reader_mask", "writer_mask"]

PAGE: Final = 4096
PIPE_BUF: Final = 4096
"""Bytes that one write puts in whole or not at all."""
DEFAULT_PAGES: Final = 16
MAX_SIZE: Final = 1 << 20
"""fs.pipe-max-size: what F_SETPIPE_SZ gives without CAP_SYS_RESOURCE."""


class Pipe:
    """What the two ends share (`struct pipe_inode_info`).

    pages: all bytes written to each page, the oldest page first. offset: bytes of the oldest page that were
    read, never the whole page. slots: pages that the ring holds. reading, writing: whether that end is open.
    """

    __slots__ = (
        "offset",
        "pages",
        "readable",
        "reading",
        "slots",
        "wait_readable",
        "wait_writable",
        "wakeups",
        "writable",
        "writing",
    )

    def __init__(self, wakeups: Wakeups) -> None:
        self.wakeups = wakeups
        self.pages: deque[bytearray] = deque()
        self.offset = 0
        self.slots = DEFAULT_PAGES
        self.reading = True
        self.writing = True
        self.readable = WaitQueue()
        self.writable = WaitQueue()
        self.wait_readable = WouldBlock((self.readable,))
        self.wait_writable = WouldBlock((self.writable,))

    @property
    def queued(self) -> int:
        """Bytes that wait to be read, as FIONREAD tells (pipe_ioctl)."""
        return sum(map(len, self.pages)) - self.offset

    @property
    def size(self) -> int:
        """Capacity in bytes, as F_GETPIPE_SZ tells."""
        return self.slots * PAGE

    def resize(self, credentials: Credentials, size: int) -> int:
        """F_SETPIPE_SZ: a capacity of at least this many bytes; the new one is returned (pipe_set_size).

        Rounded up to a power of two of pages. EINVAL: more than 2 GiB. EPERM: more than MAX_SIZE without
        CAP_SYS_RESOURCE. EBUSY: more pages are in use.
        """
        if not 0 <= size <= 1 << 31:
            raise SyscallError(Errno.EINVAL)
        slots = 1 << (max(size, PAGE) - 1).bit_length() >> 12
        if slots > self.slots and slots * PAGE > MAX_SIZE and not credentials.capable(CAP_SYS_RESOURCE):
            raise SyscallError(Errno.EPERM)
        if slots < len(self.pages):
            raise SyscallError(Errno.EBUSY)
        if slots > self.slots:
            self.wakeups.wake(self.writable)
        self.slots = slots
        return slots * PAGE

    def read(self, size: int) -> bytes | WouldBlock:
        """Take up to this many bytes; b"" is end of file, or what a read of 0 bytes gives (pipe_read)."""
        pages = self.pages
        if not size:
            return b""
        if not pages:
            return self.wait_readable if self.writing else b""
        was_full = len(pages) >= self.slots
        pieces = []
        offset = self.offset
        while size and pages:
            page = pages[0]
            piece = page[offset : offset + size]
            pieces.append(piece)
            size -= len(piece)
            offset += len(piece)
            if offset == len(page):
                pages.popleft()
                offset = 0
        self.offset = offset
        if was_full and len(pages) < self.slots:
            self.wakeups.wake(self.writable)
        return b"".join(pieces)

    def write(self, data: bytes | bytearray | memoryview) -> int | WouldBlock:
        """Put in as much as fits, and tell how many bytes that were (pipe_write).

        Up to PIPE_BUF bytes go in whole or not at all. `BrokenPipe`: nobody can read; SIGPIPE is due too.
        """
        size = len(data)
        if not size:
            return 0
        if not self.reading:
            raise BrokenPipe(signal=True)
        pages = self.pages
        written = 0
        odd = size & (PAGE - 1)
        if odd and pages and len(pages[-1]) + odd <= PAGE:
            pages[-1] += data[:odd]
            written = odd
        while written < size and len(pages) < self.slots:
            pages.append(bytearray(data[written : written + PAGE]))
            written += len(pages[-1])
        if not written:
            return self.wait_writable
        self.wakeups.wake(self.readable)
        return written


def reader_mask(pipe: Pipe) -> int:
    """What poll says of the reading end (pipe_poll): IN while bytes are left, HUP once the writer is gone."""
    mask = POLLIN | POLLRDNORM if pipe.pages else 0
    return mask if pipe.writing else mask | POLLHUP


def writer_mask(pipe: Pipe) -> int:
    """What poll says of the writing end (pipe_poll): OUT while a page is free, ERR without a reader."""
    mask = POLLOUT | POLLWRNORM if len(pipe.pages) < pipe.slots else 0
    return mask if pipe.reading else mask | POLLERR


class _PipeEnd(File):
    """nonblock is O_NONBLOCK of this open file description, for the front end: nothing here ever waits."""

    __slots__ = ("nonblock", "pipe")

    def __init__(self, pipe: Pipe, nonblock: bool) -> None:
        super().__init__()
        self.pipe = pipe
        self.nonblock = nonblock


class PipeReader(_PipeEnd):
    """The reading end."""

    __slots__ = ()

    def read_nowait(self, size: int) -> bytes | WouldBlock:
        """Up to size bytes, b"" at the end of file."""
        return self.pipe.read(size)

    def write_nowait(self, data: bytes | bytearray | memoryview) -> int | WouldBlock:
        """EBADF: this end only reads."""
        raise SyscallError(Errno.EBADF)

    def poll(self) -> int:
        """Poll mask; it can change when `pipe.readable` is woken."""
        return reader_mask(self.pipe)

    def close(self) -> None:
        """Let writers see EPIPE."""
        pipe = self.pipe
        pipe.reading = False
        pipe.wakeups.wake(pipe.writable)


class PipeWriter(_PipeEnd):
    """The writing end."""

    __slots__ = ()

    def read_nowait(self, size: int) -> bytes | WouldBlock:
        """EBADF: this end only writes."""
        raise SyscallError(Errno.EBADF)

    def write_nowait(self, data: bytes | bytearray | memoryview) -> int | WouldBlock:
        """Bytes written, perhaps fewer than given; EPIPE as in `Pipe.write`."""
        return self.pipe.write(data)

    def poll(self) -> int:
        """Poll mask; it can change when `pipe.writable` is woken."""
        return writer_mask(self.pipe)

    def close(self) -> None:
        """Let readers see the end of file after what is queued."""
        pipe = self.pipe
        pipe.writing = False
        pipe.wakeups.wake(pipe.readable)


def make_pipe(wakeups: Wakeups, *, nonblock: bool = False, packets: bool = False) -> tuple[PipeReader, PipeWriter]:
    """Both ends of a new pipe (pipe2(2)), neither with a reference yet. packets, O_DIRECT, is `Unmodelled`."""
    if packets:
        raise Unmodelled("packet mode of pipes (O_DIRECT)")
    pipe = Pipe(wakeups)
    return PipeReader(pipe, nonblock), PipeWriter(pipe, nonblock)
