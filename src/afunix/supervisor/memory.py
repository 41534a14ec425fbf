"""The memory of a supervised thread, by process_vm_readv and process_vm_writev.

Why not /proc/TID/mem? It ignores page protection (FOLL_FORCE): writes get through to read-only pages and reads
to PROT_NONE ones, which must be EFAULT. And an open file of it stays with an address space that the thread may have
left: a vfork child's is its parent's, still alive after the child's execve. The calls here take the thread's number
and so always mean what it has now. From 64 KiB on they are the faster ones anyway.

Where they differ from what the kernel itself does for a system call: they refuse pages that can be written but not
read, and don't grow the stack. Both are made up for, when something failed, at the cost of a look at /proc/TID/maps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from afunix.abi.constants import UIO_MAXIOV
from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.trapcalls import vm_read, vm_readv, vm_write, vm_writev

__all__ = ["Memory"]

USER_END: Final = 1 << 63
"""User addresses are in the lower half on both machines. Without this test the vsyscall page could be read."""

CHUNK: Final = 256
PAGE: Final = 4096


class Memory:
    """What the thread `tid` sees at its addresses. Use it while a notification of that thread is valid.

    Every method raises SyscallError(EFAULT) where copy_from_user and copy_to_user would fail, Gone if the thread is
    dead, Inaccessible if this process may not trace it. For one thread of this process only (trapcalls).
    """

    __slots__ = ("tid",)

    def __init__(self, tid: int) -> None:
        self.tid = tid

    def read(self, address: int, size: int) -> bytes:
        """Exactly size bytes. A size of 0 is fine at any user address, mapped or not."""
        if address + size > USER_END:
            raise SyscallError(Errno.EFAULT)
        if not size:
            return b""
        try:
            data = vm_read(self.tid, address, size)
        except OSError:
            data = None
        return self._read_slowly(address, size) if data is None else data

    def write(self, address: int, data: bytes) -> None:
        """Write all of data; after EFAULT a part of it may have been written, as on Linux."""
        size = len(data)
        if address + size > USER_END:
            raise SyscallError(Errno.EFAULT)
        if not size:
            return
        try:
            if vm_write(self.tid, address, data) == size:
                return
        except OSError:
            pass
        self._write_slowly(address, data)

    def read_vec(self, iovecs: Sequence[tuple[int, int]]) -> bytes:
        """The bytes of several ranges (address, length), joined."""
        size = self._total(iovecs)
        if len(iovecs) > UIO_MAXIOV:
            return b"".join([self.read(base, length) for base, length in iovecs])
        if not size:
            return b""
        try:
            data = vm_readv(self.tid, iovecs, size)
        except OSError:
            data = None
        return b"".join([self._read_slowly(base, length) for base, length in iovecs]) if data is None else data

    def write_vec(self, iovecs: Sequence[tuple[int, int]], data: bytes) -> None:
        """Spread data over several ranges, which may be longer than it together. ValueError: they are shorter."""
        size = len(data)
        if self._total(iovecs) < size:
            raise ValueError("more data than the ranges have room for")
        if not size:
            return
        if len(iovecs) <= UIO_MAXIOV:
            try:
                if vm_writev(self.tid, iovecs, data) == size:
                    return
            except OSError:
                pass
        start = 0
        for base, length in iovecs:
            self._write_slowly(base, data[start : start + length])
            start += length

    def read_cstring(self, address: int, limit: int) -> bytes:
        """The bytes before the first NUL. ENAMETOOLONG if there is none among the first `limit` (strncpy_from_user)."""
        parts = []
        while limit > 0:
            # The string may end just before a page that isn't there.
            size = min(limit, CHUNK, PAGE - address % PAGE)
            part = self.read(address, size)
            end = part.find(0)
            if end >= 0:
                parts.append(part[:end])
                return b"".join(parts)
            parts.append(part)
            address += size
            limit -= size
        raise SyscallError(Errno.ENAMETOOLONG)

    @staticmethod
    def _total(iovecs: Sequence[tuple[int, int]]) -> int:
        total = 0
        for base, length in iovecs:
            if base + length > USER_END:
                raise SyscallError(Errno.EFAULT)
            total += length
        return total

    def _read_slowly(self, address: int, size: int) -> bytes:
        """After a failure: page by page, each one as the kernel's page fault handler would decide."""
        parts = []
        while size:
            length = min(size, PAGE - address % PAGE)
            part = self._read_page(address, length)
            if part is None:
                part = self._force_read(address, length)
                # What only PROT_WRITE allows is readable on x86-64 and aarch64 (vma_is_accessible in access_error).
                if len(part) != length or not {"r", "w"} & set(self._protection(address)):
                    raise SyscallError(Errno.EFAULT)
            parts.append(part)
            address += length
            size -= length
        return b"".join(parts)

    def _read_page(self, address: int, length: int) -> bytes | None:
        try:
            return vm_read(self.tid, address, length)
        except OSError as error:
            self._explain(error)
            return None

    def _write_slowly(self, address: int, data: bytes) -> None:
        start = 0
        while start < len(data):
            length = min(len(data) - start, PAGE - address % PAGE)
            part = data[start : start + length]
            if not self._write_page(address, part):
                self._force_read(address, 1)
                if not self._write_page(address, part):
                    raise SyscallError(Errno.EFAULT)
            address += length
            start += length

    def _write_page(self, address: int, data: bytes) -> bool:
        try:
            return vm_write(self.tid, address, data) == len(data)
        except OSError as error:
            self._explain(error)
            return False

    def _explain(self, error: OSError) -> None:
        """Raise what a failure means, unless it means that some page is not accessible."""
        if error.errno == Errno.ESRCH:
            raise Gone
        if error.errno == Errno.EPERM:
            raise Inaccessible(f"no permission to access the memory of thread {self.tid}")
        if error.errno != Errno.EFAULT:
            raise SyscallError(Errno(error.errno or 0))

    def _force_read(self, address: int, size: int) -> bytes:
        """Read whatever the protection; empty if nothing is mapped. Grows the stack as a page fault does."""
        try:
            fd = os.open(f"/proc/{self.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(fd, size, address)
            finally:
                os.close(fd)
        except (FileNotFoundError, ProcessLookupError):
            raise Gone from None
        except (OSError, OverflowError):
            return b""

    def _protection(self, address: int) -> str:
        """Protection of the mapping that holds an address as /proc/TID/maps shows it (`rw-p`); empty if none."""
        try:
            with open(f"/proc/{self.tid}/maps", encoding="utf-8", errors="replace") as maps:
                for line in maps:
                    limits, protection = line.split(maxsplit=2)[:2]
                    start, end = limits.split("-")
                    if int(start, 16) <= address < int(end, 16):
                        return protection
        except (FileNotFoundError, ProcessLookupError):
            raise Gone from None
        return ""
