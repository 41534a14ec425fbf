"""Control messages into memory that can't all be written to: one after the other, each as far as it goes."""

from __future__ import annotations

from afunix.abi.constants import SCM_RIGHTS, SOL_SOCKET
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import CMSGHDR, cmsg_align, cmsg_len
from afunix.abi.structs import INT, SIZE
from afunix.core import ancillary
from afunix.core.file import File
from afunix.core.message import Received
from afunix.syscalls.call import Call, Memory

__all__ = ["TornControl", "pieces", "takes"]

LENGTH, LEVEL, TYPE = (0, 8), (8, 12), (12, 16)
"""Where the fields of a struct cmsghdr are."""


def takes(memory: Memory, address: int, size: int) -> bool:
    """Whether all of a range can be written to."""
    try:
        memory.write(address, memory.read(address, size))
    except SyscallError:
        return False
    return True


def pieces(address: int, control: bytes) -> list[tuple[int, bytes]]:
    """Control messages by the address of each; what lies between them to align them is left as it is (put_cmsg)."""
    found = []
    at = 0
    while at + CMSGHDR.size <= len(control):
        (length,) = SIZE.unpack_from(control, at)
        found.append((address + at, control[at : at + length]))
        at += cmsg_align(length)
    return found


class TornControl:
    """The msg_control of a call whose memory is bad somewhere.

    A message that can't be written takes no room, and is not told of (put_cmsg). A descriptor whose number can't be
    told is not installed (scm_recv_one_fd, scm_pidfd_recv); one whose message then can't be completed is all the same
    (scm_detach_fds). again: descriptors were installed before, and are not once more.
    """

    def __init__(self, call: Call, address: int, again: bool = False) -> None:
        self._call = call
        self._memory = call.memory
        self._address = address
        self._again = again
        self._end = 0
        self._told = 0

    def deliver(self, received: Received, room: int, flags: int) -> tuple[int, int]:
        """`ancillary.deliver`: msg_controllen, and the bits for msg_flags. room is 0 where msg_control is NULL."""
        call = self._call
        control, extra = ancillary.deliver(
            received,
            received.sock,
            room if self._address else None,
            flags,
            self._install,
            self._install_pidfd,
            call.caller,
            self._put,
        )
        return len(control), extra

    def _put(self, at: int, messages: bytes) -> bool:
        try:
            for address, message in pieces(self._address + at, messages):
                _, level, kind = CMSGHDR.unpack_from(message)
                fields = [LENGTH, LEVEL, TYPE, (CMSGHDR.size, len(message))]
                if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
                    fields = [LEVEL, TYPE, LENGTH]  # the numbers are there already
                for start, end in fields:
                    self._memory.write(address + start, message[start:end])
        except SyscallError:
            return False
        self._end = at + len(messages)
        return True

    def _look(self, at: int, size: int) -> None:
        if self._again or not takes(self._memory, self._address + at, size):
            raise SyscallError(Errno.EFAULT)

    def _install(self, file: File, cloexec: bool) -> int:
        slot = self._end + CMSGHDR.size + INT.size * self._told
        self._look(slot, INT.size)
        number = self._call.install(file, cloexec)
        self._memory.write(self._address + slot, INT.pack(number))
        self._told += 1
        return number

    def _install_pidfd(self, pid: int) -> int:
        self._look(self._end, cmsg_len(INT.size))
        return self._call.install_pidfd(pid)
