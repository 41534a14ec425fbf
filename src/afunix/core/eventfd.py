"""Event counters (fs/eventfd.c): 64 bits that writes add to and reads take away."""

from __future__ import annotations

from struct import Struct
from typing import Final

from afunix.abi.constants import POLLERR, POLLIN, POLLOUT
from afunix.abi.errno import Errno, SyscallError
from afunix.core.file import File
from afunix.core.wait import WaitQueue, Wakeups, WouldBlock

__all__ = ["EventCounter", "eventfd_mask"]

ULLONG_MAX: Final = (1 << 64) - 1
COUNT: Final = Struct("=Q")


def eventfd_mask(count: int) -> int:
    """What poll says of a counter (eventfd_poll): IN above 0, OUT while 1 can be added."""
    mask = 0
    if count > 0:
        mask |= POLLIN
    if count == ULLONG_MAX:
        mask |= POLLERR
    if count < ULLONG_MAX - 1:
        mask |= POLLOUT
    return mask


class EventCounter(File):
    """The open file description that eventfd2(2) makes.

    count: 0 to 2**64 - 2. semaphore: EFD_SEMAPHORE, each read takes 1 and not all. nonblock: O_NONBLOCK, for
    the front end.
    """

    __slots__ = (
        "count",
        "nonblock",
        "readable",
        "semaphore",
        "wait_readable",
        "wait_writable",
        "wakeups",
        "writable",
    )

    def __init__(self, wakeups: Wakeups, initial: int = 0, *, semaphore: bool = False, nonblock: bool = False) -> None:
        """Make a counter that starts at initial, of which Linux takes the lowest 32 bits."""
        super().__init__()
        self.wakeups = wakeups
        self.count = initial & 0xFFFFFFFF
        self.semaphore = semaphore
        self.nonblock = nonblock
        self.readable = WaitQueue()
        self.writable = WaitQueue()
        self.wait_readable = WouldBlock((self.readable,))
        self.wait_writable = WouldBlock((self.writable,))

    def read_nowait(self, size: int) -> bytes | WouldBlock:
        """Take the count, or 1 of it: eight bytes in host order (eventfd_read). EINVAL: size below 8."""
        if size < 8:
            raise SyscallError(Errno.EINVAL)
        count = self.count
        if not count:
            return self.wait_readable
        taken = 1 if self.semaphore else count
        self.count = count - taken
        self.wakeups.wake(self.writable)
        return COUNT.pack(taken)

    def write_nowait(self, data: bytes | bytearray | memoryview) -> int | WouldBlock:
        """Add eight bytes in host order (eventfd_write), unless the sum would pass 2**64 - 2.

        EINVAL: not exactly eight bytes, or 2**64 - 1.
        """
        if len(data) != 8:
            raise SyscallError(Errno.EINVAL)
        (added,) = COUNT.unpack(data)
        if added == ULLONG_MAX:
            raise SyscallError(Errno.EINVAL)
        if self.count + added >= ULLONG_MAX:
            return self.wait_writable
        self.count += added
        self.wakeups.wake(self.readable)
        return 8

    def poll(self) -> int:
        """Poll mask; it can change when `readable` or `writable` is woken."""
        return eventfd_mask(self.count)

    def close(self) -> None:
        """A counter holds nothing that had to be freed."""
