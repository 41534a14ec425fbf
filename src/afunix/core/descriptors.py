"""The descriptor table of a process: numbers that refer to open file descriptions (fs/file.c).

Each entry is one reference to its `File`. A call that fails has changed neither entries nor references, and an entry
that goes is out of the table before its reference is dropped, so closing a file never meets a half-changed table.
"""

from __future__ import annotations

from collections.abc import Iterator

from afunix.abi.constants import CLOSE_RANGE_CLOEXEC, CLOSE_RANGE_UNSHARE, O_CLOEXEC
from afunix.abi.errno import Errno, SyscallError
from afunix.core.file import File

__all__ = ["DescriptorTable"]


class DescriptorTable:
    """Descriptors of one process; threads share the table itself.

    files: by descriptor. cloexec: descriptors that exec closes. limit: the soft RLIMIT_NOFILE; what is above it
    stays open when it is lowered.
    """

    __slots__ = ("_lowest", "cloexec", "files", "limit")

    def __init__(self, limit: int = 1024) -> None:
        self.files: dict[int, File] = {}
        self.cloexec: set[int] = set()
        self.limit = limit
        self._lowest = 0  # no descriptor below it is free

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self.files))

    def __contains__(self, fd: object) -> bool:
        return fd in self.files

    def get(self, fd: int) -> File:
        """Give what a descriptor refers to (fdget): EBADF. The reference stays the table's."""
        file = self.files.get(fd)
        if file is None:
            raise SyscallError(Errno.EBADF)
        return file

    def install(self, file: File, cloexec: bool = False, lowest: int = 0) -> int:
        """Give a file the lowest free number, at least `lowest`, and acquire it (alloc_fd, fd_install): EMFILE."""
        begin = self._lowest
        fd = lowest if lowest > begin else begin
        files = self.files
        while fd in files:
            fd += 1
        if fd >= self.limit:
            raise SyscallError(Errno.EMFILE)
        if lowest <= begin:
            self._lowest = fd + 1
        files[fd] = file
        if cloexec:
            self.cloexec.add(fd)
        file.references += 1
        return fd

    def close(self, fd: int) -> None:
        """Free a number and drop its reference (close(2)): EBADF."""
        self._remove(fd).release()

    def discard(self, fd: int, file: File) -> None:
        """Close a number if it still refers to this file."""
        files = self.files
        if files.get(fd) is file:
            del files[fd]
            self.cloexec.discard(fd)
            if fd < self._lowest:
                self._lowest = fd
            file.release()

    def close_range(self, first: int, last: int, flags: int = 0) -> None:
        """Close all from first to last, or with CLOSE_RANGE_CLOEXEC mark them (close_range(2)).

        EINVAL: first above last, or another flag. A table has one owner, so CLOSE_RANGE_UNSHARE changes nothing.
        """
        if flags & ~(CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE) or first > last:
            raise SyscallError(Errno.EINVAL)
        chosen = [fd for fd in self if first <= fd <= last]
        if flags & CLOSE_RANGE_CLOEXEC:
            self.cloexec.update(chosen)
        else:
            self._close_all(chosen)

    def dup(self, fd: int) -> int:
        """Give the same file the lowest free number (dup(2)): EBADF, EMFILE."""
        return self.install(self.get(fd))

    def dup2(self, fd: int, new: int) -> int:
        """Make `new` refer to the same file, closing what it was; the same number twice changes nothing (dup2(2)).

        EBADF: not open, or `new` is out of range.
        """
        if fd == new:
            self.get(fd)
            return new
        return self.dup3(fd, new, 0)

    def dup3(self, fd: int, new: int, flags: int) -> int:
        """As dup2, but the same number twice is EINVAL; O_CLOEXEC is the only flag (ksys_dup3)."""
        if flags & ~O_CLOEXEC or fd == new:
            raise SyscallError(Errno.EINVAL)
        if not 0 <= new < self.limit:
            raise SyscallError(Errno.EBADF)
        file = self.get(fd)
        file.acquire()
        replaced = self.files.get(new)
        self.files[new] = file
        if flags:
            self.cloexec.add(new)
        else:
            self.cloexec.discard(new)
        if replaced is not None:
            replaced.release()
        return new

    def dup_from(self, fd: int, lowest: int, *, cloexec: bool = False) -> int:
        """F_DUPFD and F_DUPFD_CLOEXEC (f_dupfd): EBADF, EINVAL if lowest is out of range, EMFILE."""
        file = self.get(fd)
        if not 0 <= lowest < self.limit:
            raise SyscallError(Errno.EINVAL)
        return self.install(file, cloexec=cloexec, lowest=lowest)

    def get_cloexec(self, fd: int) -> bool:
        """F_GETFD: EBADF."""
        self.get(fd)
        return fd in self.cloexec

    def set_cloexec(self, fd: int, on: bool) -> None:
        """F_SETFD: EBADF."""
        self.get(fd)
        if on:
            self.cloexec.add(fd)
        else:
            self.cloexec.discard(fd)

    def fork(self) -> DescriptorTable:
        """Make a child's table: the same numbers and flags, one more reference for each (dup_fd)."""
        child = DescriptorTable(self.limit)
        child.files.update(self.files)
        child.cloexec.update(self.cloexec)
        child._lowest = self._lowest
        for file in child.files.values():
            file.acquire()
        return child

    def exec(self) -> None:
        """Close what is marked close-on-exec, lowest first (do_close_on_exec)."""
        self._close_all(sorted(self.cloexec))

    def clear(self) -> None:
        """Close everything, lowest first, as the exit of a process does (close_files)."""
        self._close_all(sorted(self.files))

    def _remove(self, fd: int) -> File:
        file = self.files.pop(fd, None)
        if file is None:
            raise SyscallError(Errno.EBADF)
        self.cloexec.discard(fd)
        if fd < self._lowest:
            self._lowest = fd
        return file

    def _close_all(self, chosen: list[int]) -> None:
        for file in [self._remove(fd) for fd in chosen]:
            file.release()
