"""Regular files in memory: open file descriptions of a filesystem's inode, or of a nameless one (memfd)."""

from __future__ import annotations

from typing import Final

from afunix.abi.constants import (
    O_ACCMODE,
    O_APPEND,
    O_RDONLY,
    O_RDWR,
    O_WRONLY,
    POLLIN,
    POLLOUT,
    POLLRDNORM,
    POLLWRNORM,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.inode import RegularFile

__all__ = ["MAX_SIZE", "MemoryFile"]

SEEK_SET: Final = 0
SEEK_CUR: Final = 1
SEEK_END: Final = 2
SEEK_DATA: Final = 3
SEEK_HOLE: Final = 4

MAX_OFFSET: Final = (1 << 63) - 1
MAX_SIZE: Final = 1 << 30
"""Bytes that a file can have here: holes are kept as zeros, so a large sparse file is `Unmodelled`."""


class MemoryFile(File):
    """An open file description of a `RegularFile`: access mode, O_APPEND, the offset that duplicates share.

    flags are those of F_GETFL; F_SETFL may change O_APPEND in them. Nothing here ever blocks. That a write takes
    away setuid bits is not kept up: a file here is never executed.
    """

    __slots__ = ("flags", "inode", "offset")

    def __init__(self, inode: RegularFile, flags: int) -> None:
        super().__init__()
        self.inode = inode
        self.flags = flags
        self.offset = 0

    @classmethod
    def anonymous(cls, number: int = 0, uid: int = 0, gid: int = 0) -> MemoryFile:
        """Make a file without a name, open to read and write, as memfd_create(2) does (without seals)."""
        inode = RegularFile(number, 0o777, uid, gid)
        inode.nlink = 0
        return cls(inode, O_RDWR)

    def read_nowait(self, size: int) -> bytes:
        """Up to size bytes from the offset on, which moves behind them; b"" at the end. EBADF as for pread."""
        data = self.pread(size, self.offset)
        self.offset += len(data)
        return data

    def write_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Write at the offset, with O_APPEND at the end, and move the offset behind it.

        A gap before it reads as zeros. EBADF: not open to write. EINVAL: the end would pass 2**63 - 1.
        """
        offset = self._start(data, self.offset)
        written = self._store(data, offset)
        if written:
            self.offset = offset + written
        return written

    def pread(self, size: int, offset: int) -> bytes:
        """Up to size bytes from this offset on; the shared offset stays.

        EINVAL: a negative offset, or an end that would pass 2**63 - 1. EBADF: not open to read.
        """
        if offset < 0:
            raise SyscallError(Errno.EINVAL)
        if self.flags & O_ACCMODE == O_WRONLY:
            raise SyscallError(Errno.EBADF)
        if offset + size > MAX_OFFSET:
            raise SyscallError(Errno.EINVAL)
        return bytes(self.inode.data[offset : offset + size])

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write at this offset; the shared offset stays. With O_APPEND Linux writes at the end all the same.

        EBADF, EINVAL as for write; EINVAL also for a negative offset.
        """
        if offset < 0:
            raise SyscallError(Errno.EINVAL)
        return self._store(data, self._start(data, offset))

    def lseek(self, offset: int, whence: int) -> int:
        """Move the shared offset and return it (generic_file_llseek). Files here have no hole but the end.

        EINVAL: another whence, or a result below 0 or above 2**63 - 1. ENXIO: SEEK_DATA or SEEK_HOLE at or
        behind the end.
        """
        size = len(self.inode.data)
        if whence == SEEK_SET:
            position = offset
        elif whence == SEEK_CUR:
            position = self.offset + offset
        elif whence == SEEK_END:
            position = size + offset
        elif whence in {SEEK_DATA, SEEK_HOLE}:
            if not 0 <= offset < size:
                raise SyscallError(Errno.ENXIO)
            position = offset if whence == SEEK_DATA else size
        else:
            raise SyscallError(Errno.EINVAL)
        if not 0 <= position <= MAX_OFFSET:
            raise SyscallError(Errno.EINVAL)
        self.offset = position
        return position

    def truncate(self, length: int) -> None:
        """Cut or grow the file to this many bytes, as ftruncate(2). EINVAL: negative, or not open to write."""
        if length < 0 or self.flags & O_ACCMODE == O_RDONLY:
            raise SyscallError(Errno.EINVAL)
        resize(self.inode, length)

    def poll(self) -> int:
        """A regular file is always ready (DEFAULT_POLLMASK)."""
        return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM

    def close(self) -> None:
        """The bytes live as long as the inode has a name or another open file description."""

    def _start(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Where a write at this offset goes, if it may be done (rw_verify_area, generic_write_checks)."""
        if self.flags & O_ACCMODE == O_RDONLY:
            raise SyscallError(Errno.EBADF)
        if offset + len(data) > MAX_OFFSET:
            raise SyscallError(Errno.EINVAL)
        return len(self.inode.data) if self.flags & O_APPEND else offset

    def _store(self, data: bytes | bytearray | memoryview, offset: int) -> int:
        size = len(data)
        if not size:
            return 0
        if offset + size > MAX_SIZE:
            raise Unmodelled(f"a file in memory of more than {MAX_SIZE} bytes")
        content = self.inode.data
        if offset > len(content):
            resize(self.inode, offset)
        content[offset : offset + size] = data
        return size


def resize(inode: RegularFile, length: int) -> None:
    """Cut a file or fill it up with zeros to this many bytes (truncate(2), once access is checked)."""
    if length > MAX_SIZE:
        raise Unmodelled(f"a file in memory of more than {MAX_SIZE} bytes")
    content = inode.data
    if length < len(content):
        del content[length:]
    else:
        content.extend(bytes(length - len(content)))
