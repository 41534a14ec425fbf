"""Layouts of sendmsg(2) and recvmsg(2): iovecs, message headers and control messages.

64-bit little-endian Linux, on which x86-64 and aarch64 agree byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final

from afunix.abi.constants import MAX_RW_COUNT
from afunix.abi.errno import Errno, SyscallError

__all__ = [
    "CMSGHDR",
    "IOVEC",
    "MMSGHDR_SIZE",
    "MMSG_LEN_OFFSET",
    "MSGHDR",
    "MSG_CONTROLLEN_OFFSET",
    "MSG_FLAGS_OFFSET",
    "MSG_NAMELEN_OFFSET",
    "MSG_RESULTS",
    "ControlMessage",
    "build_control",
    "clip_iovecs",
    "cmsg_align",
    "cmsg_len",
    "cmsg_space",
    "iter_control",
    "put_cmsg",
    "rights_room",
    "unpack_iovecs",
    "walk_control",
]

ControlMessage = tuple[int, int, bytes]
"""cmsg_level, cmsg_type and the data."""

IOVEC: Final = Struct("<QQ")
"""struct iovec: address, length in bytes."""

MSGHDR: Final = Struct("<Qi4xQQQQI4x")
"""struct user_msghdr: name, namelen (signed: negative is EINVAL), iov, iovlen, control, controllen, flags."""

MSG_NAMELEN_OFFSET: Final = 8
MSG_CONTROLLEN_OFFSET: Final = 40
MSG_FLAGS_OFFSET: Final = 48
"""Where recvmsg writes its results in the header: int, size_t and unsigned int."""

MSG_RESULTS: Final = Struct("<QI")
"""The latter two, which lie together."""

MMSGHDR_SIZE: Final = 64
MMSG_LEN_OFFSET: Final = 56
"""struct mmsghdr: a msghdr, then msg_len, where sendmmsg and recvmmsg write the bytes done (unsigned int)."""

CMSGHDR: Final = Struct("<Qii")
"""struct cmsghdr: length with this header and without padding, level, type."""

_CMSGHDR_SIZE: Final = CMSGHDR.size
_SSIZE_MAX: Final = (1 << 63) - 1
_FD_SIZE: Final = 4


def unpack_iovecs(raw: bytes) -> list[tuple[int, int]]:
    """The (address, length) pairs of an array of iovecs, unchecked; raw is a multiple of 16 bytes."""
    return list(IOVEC.iter_unpack(raw))


def clip_iovecs(iovecs: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], int]:
    """The iovecs that a call works on, and their total length in bytes.

    A length above SSIZE_MAX is EINVAL; what exceeds MAX_RW_COUNT in all is cut off (__import_iovec).
    """
    total = 0
    for _, length in iovecs:
        if length > _SSIZE_MAX:
            raise SyscallError(Errno.EINVAL)
        total += length
    if total <= MAX_RW_COUNT:
        return iovecs, total
    room = MAX_RW_COUNT
    clipped = []
    for address, length in iovecs:
        taken = min(length, room)
        clipped.append((address, taken))
        room -= taken
    return clipped, MAX_RW_COUNT


def cmsg_align(length: int) -> int:
    """CMSG_ALIGN: the length rounded up to a multiple of 8."""
    return length + 7 & ~7


def cmsg_len(length: int) -> int:
    """CMSG_LEN: what cmsg_len holds for so many bytes of data."""
    return _CMSGHDR_SIZE + length


def cmsg_space(length: int) -> int:
    """CMSG_SPACE: what so many bytes of data take in msg_control, with header and padding."""
    return _CMSGHDR_SIZE + (length + 7 & ~7)


def iter_control(raw: bytes) -> Iterator[ControlMessage]:
    """Each control message that a program passed to sendmsg, in order (for_each_cmsghdr, CMSG_OK; SCM-9).

    EINVAL where a length is shorter than its header or reaches past the end; raised when its turn comes,
    after the errors that earlier messages cause (__scm_send). Too few bytes for a header end the walk.
    """
    end = len(raw)
    position = 0
    while position + _CMSGHDR_SIZE <= end:
        length, level, kind = CMSGHDR.unpack_from(raw, position)
        if not _CMSGHDR_SIZE <= length <= end - position:
            raise SyscallError(Errno.EINVAL)
        yield level, kind, raw[position + _CMSGHDR_SIZE : position + length]
        position += length + 7 & ~7


def walk_control(raw: bytes) -> list[ControlMessage]:
    """All of `iter_control` at once: EINVAL if any message is malformed."""
    return list(iter_control(raw))


def put_cmsg(control: bytearray, size: int, level: int, kind: int, data: bytes) -> bool:
    """Append a control message to what recvmsg has so far; size is the program's msg_controllen.

    False if it did not fit whole, which sets MSG_CTRUNC: it is cut at the end of the room then, or left out
    if its header has none (put_cmsg in net/core/scm.c).
    """
    room = size - len(control)
    if room < _CMSGHDR_SIZE:
        return False
    length = _CMSGHDR_SIZE + len(data)
    if room < length:
        control += CMSGHDR.pack(room, level, kind)
        control += data[: room - _CMSGHDR_SIZE]
        return False
    control += CMSGHDR.pack(length, level, kind)
    control += data
    control += bytes(min(-length & 7, room - length))
    return True


def rights_room(control: bytes | bytearray, size: int) -> int:
    """How many descriptors an SCM_RIGHTS message can hold after what is there (scm_max_fds, SCM-3)."""
    room = (size - len(control) - _CMSGHDR_SIZE) // _FD_SIZE & 0xFFFFFFFF  # an int, so a huge size has no room
    return room if size > len(control) and room < 0x80000000 else 0


def build_control(items: Iterable[ControlMessage]) -> bytes:
    """A whole msg_control with each message padded, as a program builds it with CMSG_NXTHDR."""
    control = bytearray()
    for level, kind, data in items:
        length = _CMSGHDR_SIZE + len(data)
        control += CMSGHDR.pack(length, level, kind)
        control += data
        control += bytes(-length & 7)
    return bytes(control)
