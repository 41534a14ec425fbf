"""The memory of a supervised thread, by process_vm_readv and process_vm_writev.

Why not /proc/TID/mem, which is 0.9 microseconds faster for a small transfer (1.3 against 2.2, of which 0.3 is the
kernel's and the rest ctypes)? It ignores page protection (FOLL_FORCE): writes get through to read-only pages and reads
to PROT_NONE ones, which must be EFAULT. And an open file of it stays with an address space that the thread may have
left: a vfork child's is its parent's, still alive after the child's execve. The calls here take the thread's number
and so always mean what it has now. From 64 KiB on they are the faster ones anyway.

Where they differ from what the kernel itself does for a system call: they refuse pages that can be written but not
read, and don't grow the stack. Both are made up for, when something failed, at the cost of a look at /proc/TID/maps.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from struct import Struct
from typing import Any, Final

from afunix.abi.constants import UIO_MAXIOV
from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor.hostcalls import Gone, Inaccessible

__all__ = ["Memory"]

USER_END: Final = 1 << 63
"""User addresses are in the lower half on both machines. Without this test the vsyscall page could be read."""

SCRATCH_SIZE: Final = 1 << 18
"""Transfers up to this size go through one buffer: more than the longest message of the default SO_SNDBUF."""

DIRECT_SIZE: Final = 1 << 14
"""From here on writing straight from the caller's bytes is cheaper than copying them to the buffer first."""

CHUNK: Final = 256
PAGE: Final = 4096


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


def _function(name: str) -> Any:
    """Without argtypes, and with arguments that ctypes passes as they are: a quarter less than with converted ones.

    PyDLL: the interpreter lock stays held, as the call never waits.
    """
    function = ctypes.PyDLL(None, use_errno=True)[name]
    function.restype = ctypes.c_ssize_t
    return function


_readv: Final = _function("process_vm_readv")
_writev: Final = _function("process_vm_writev")

_scratch: Final = bytearray(SCRATCH_SIZE)
_scratch_view: Final = memoryview(_scratch)
_scratch_array: Final[Any] = (ctypes.c_char * SCRATCH_SIZE).from_buffer(_scratch)
# The kernel stops at the shorter side, so one local iovec serves every size.
_scratch_iovec: Final = ctypes.byref(_Iovec(ctypes.addressof(_scratch_array), SCRATCH_SIZE))
_direct: Final = _Iovec()
_direct_iovec: Final = ctypes.byref(_direct)
_pack: Final = Struct("<QQ").pack


class Memory:
    """What the thread `tid` sees at its addresses. Use it while a notification of that thread is valid.

    Every method raises SyscallError(EFAULT) where copy_from_user and copy_to_user would fail, Gone if the thread is
    dead, Inaccessible if this process may not trace it. For one thread of this process only: they share a buffer.
    """

    __slots__ = ("tid",)

    def __init__(self, tid: int) -> None:
        self.tid = tid

    def read(self, address: int, size: int) -> bytes:
        """Exactly size bytes. A size of 0 is fine at any user address, mapped or not."""
        if address + size > USER_END:
            raise SyscallError(Errno.EFAULT)
        if size > SCRATCH_SIZE:
            return self._read_long(address, size)
        if size and _readv(self.tid, _scratch_iovec, 1, _pack(address, size), 1, 0) != size:
            return self._read_slowly(address, size)
        data: bytes = _scratch_array[:size]
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write all of data; after EFAULT a part of it may have been written, as on Linux."""
        size = len(data)
        if address + size > USER_END:
            raise SyscallError(Errno.EFAULT)
        if size < DIRECT_SIZE:
            if not size:
                return
            _scratch_view[:size] = data
            written = _writev(self.tid, _scratch_iovec, 1, _pack(address, size), 1, 0)
        else:
            written = self._write_direct(_pack(address, size), 1, data, size)
        if written != size:
            self._write_slowly(address, data)

    def read_vec(self, iovecs: Sequence[tuple[int, int]]) -> bytes:
        """The bytes of several ranges (address, length), joined."""
        size = self._total(iovecs)
        count = len(iovecs)
        if count > UIO_MAXIOV or size > SCRATCH_SIZE:
            return b"".join([self.read(base, length) for base, length in iovecs])
        remote = _vector(count)(*[number for iovec in iovecs for number in iovec])
        if size and _readv(self.tid, _scratch_iovec, 1, remote, count, 0) != size:
            return b"".join([self._read_slowly(base, length) for base, length in iovecs])
        data: bytes = _scratch_array[:size]
        return data

    def write_vec(self, iovecs: Sequence[tuple[int, int]], data: bytes) -> None:
        """Spread data over several ranges, which may be longer than it together. ValueError: they are shorter."""
        size = len(data)
        if self._total(iovecs) < size:
            raise ValueError("more data than the ranges have room for")
        if not size:
            return
        count = len(iovecs)
        if count <= UIO_MAXIOV:
            remote = _vector(count)(*[number for iovec in iovecs for number in iovec])
            if self._write_direct(remote, count, data, size) == size:
                return
        start = 0
        for base, length in iovecs:
            self._write_slowly(base, data[start : start + length])
            start += length

    def read_cstring(self, address: int, limit: int) -> bytes:
        """The bytes before the first NUL. ENAMETOOLONG if there is none among the first `limit` (strncpy_from_user)."""
        parts = []
        while limit > 0:
            size = min(limit, CHUNK)
            if address + size > USER_END:
                raise SyscallError(Errno.EFAULT)
            # The string may end just before a page that isn't there.
            copied = _readv(self.tid, _scratch_iovec, 1, _pack(address, size), 1, 0)
            if copied > 0:
                part: bytes = _scratch_array[:copied]
            else:
                part = self._read_slowly(address, min(size, PAGE - address % PAGE))
            end = part.find(0)
            if end >= 0:
                parts.append(part[:end])
                return b"".join(parts)
            parts.append(part)
            address += len(part)
            limit -= len(part)
        raise SyscallError(Errno.ENAMETOOLONG)

    @staticmethod
    def _total(iovecs: Sequence[tuple[int, int]]) -> int:
        total = 0
        for base, length in iovecs:
            if base + length > USER_END:
                raise SyscallError(Errno.EFAULT)
            total += length
        return total

    def _read_long(self, address: int, size: int) -> bytes:
        buffer = bytearray(size)
        array = (ctypes.c_char * size).from_buffer(buffer)
        iovec = ctypes.byref(_Iovec(ctypes.addressof(array), size))
        if _readv(self.tid, iovec, 1, _pack(address, size), 1, 0) != size:
            return self._read_slowly(address, size)
        return bytes(buffer)

    def _write_direct(self, remote: bytes, count: int, data: bytes, size: int) -> int:
        _direct.base = data if type(data) is bytes else bytes(data)
        _direct.length = size
        written: int = _writev(self.tid, _direct_iovec, 1, remote, count, 0)
        _direct.base = None
        return written

    def _read_slowly(self, address: int, size: int) -> bytes:
        """After a failure: page by page, each one as the kernel's page fault handler would decide."""
        parts = []
        while size:
            length = min(size, PAGE - address % PAGE)
            if _readv(self.tid, _scratch_iovec, 1, _pack(address, length), 1, 0) == length:
                parts.append(_scratch_array[:length])
            else:
                self._explain()
                part = self._force_read(address, length)
                # What only PROT_WRITE allows is readable on x86-64 and aarch64 (vma_is_accessible in access_error).
                if len(part) != length or not {"r", "w"} & set(self._protection(address)):
                    raise SyscallError(Errno.EFAULT)
                parts.append(part)
            address += length
            size -= length
        return b"".join(parts)

    def _write_slowly(self, address: int, data: bytes) -> None:
        start = 0
        while start < len(data):
            length = min(len(data) - start, PAGE - address % PAGE)
            _scratch_view[:length] = data[start : start + length]
            remote = _pack(address, length)
            if _writev(self.tid, _scratch_iovec, 1, remote, 1, 0) != length:
                self._explain()
                self._force_read(address, 1)
                if _writev(self.tid, _scratch_iovec, 1, remote, 1, 0) != length:
                    raise SyscallError(Errno.EFAULT)
            address += length
            start += length

    def _explain(self) -> None:
        """Raise what the last failure means, unless it means that some page is not accessible."""
        errno = ctypes.get_errno()
        if errno == Errno.ESRCH:
            raise Gone
        if errno == Errno.EPERM:
            raise Inaccessible(f"no permission to access the memory of thread {self.tid}")
        if errno != Errno.EFAULT:
            raise SyscallError(Errno(errno))

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


@cache
def _vector(count: int) -> Any:
    return Struct(f"<{2 * count}Q").pack
