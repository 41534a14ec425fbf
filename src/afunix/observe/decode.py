"""What a program's memory holds, as strace prints it: buffers, addresses, vectors, messages, control messages.

Every function takes what a program passed, so none trusts it: what can't be read is shown as the pointer that it
was, as strace does, and nothing raises, whatever the reader of the memory does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, Protocol

from afunix.abi import constants, flags, structs
from afunix.abi.errno import Errno
from afunix.abi.message import CMSGHDR, IOVEC, MMSG_LEN_OFFSET, MMSGHDR_SIZE, MSGHDR
from afunix.abi.sockaddr import SOCKADDR_STORAGE_SIZE, SOCKADDR_UN_SIZE, SUN_PATH_OFFSET, quote

__all__ = ["ALL", "IOV_MAX", "Decoder", "Memory", "address", "error", "fields", "hexadecimal", "signed"]

ALL: Final = (1 << 64) - 1
"""A data size that cuts nothing."""

OPTMEM_MAX: Final = 128 << 10
"""How much of msg_control is looked at, in bytes: what sendmsg takes at most (net.core.optmem_max)."""

IOV_MAX: Final = 1024
"""How many messages of sendmmsg or recvmmsg are looked at, whatever the limit."""


class Memory(Protocol):
    """The memory of the stopped program."""

    def read(self, address: int, size: int, /) -> bytes:
        """Exactly so many bytes, or SyscallError(EFAULT)."""
        ...


def signed(register: int) -> int:
    """A register as the C int that the kernel takes of it."""
    register &= 0xFFFFFFFF
    return register - 0x100000000 if register & 0x80000000 else register


def address(pointer: int) -> str:
    """A pointer that is shown as such: `NULL` or hexadecimal (printaddr)."""
    return f"{pointer:#x}" if pointer else "NULL"


def hexadecimal(value: int) -> str:
    """An unsigned number as C's `%#x` has it: zero without the prefix."""
    return f"{value:#x}" if value else "0"


class Decoder:
    """Prints one program's memory. `limit` is the most bytes, and the most array elements, shown of each object."""

    __slots__ = ("describe_fd", "limit", "memory")

    def __init__(self, memory: Memory, describe_fd: Callable[[int], str | None], limit: int) -> None:
        self.memory = memory
        self.describe_fd = describe_fd
        self.limit = limit if limit > 0 else 0

    def fetch(self, pointer: int, size: int) -> bytes | None:
        """The bytes at a pointer, or None if they can't all be read. No bytes can be read from anywhere."""
        if not size:
            return b""
        try:
            data = self.memory.read(pointer, size)
        except Exception:  # whatever became of the program, its trace goes on
            return None
        return data if len(data) == size else None

    def number(self, pointer: int, layout: Struct) -> int | None:
        """One number at a pointer, or None where there is none to read."""
        data = self.fetch(pointer, layout.size) if pointer else None
        if data is None:
            return None
        value: int = layout.unpack(data)[0]
        return value

    def indirect(self, pointer: int, layout: Struct = structs.INT) -> str:
        """A number behind a pointer: `[4]` (printnum_int)."""
        value = self.number(pointer, layout)
        return address(pointer) if value is None else f"[{value}]"

    def buffer(self, pointer: int, size: int) -> str:
        """A buffer as a C string, `"..."...` when it is longer than the limit (printstrn)."""
        if not pointer:
            return "NULL"
        limit = self.limit
        data = self.fetch(pointer, min(size, limit + 1))
        if data is None:
            return address(pointer)
        return quote(data[:limit]) + "..." if size > limit else quote(data)

    def array(self, pointer: int, count: int, size: int, show: Callable[[bytes], str]) -> str:
        """An array of `count` elements of `size` bytes: `[a, b]`, `[a, ...]` past the limit.

        One whose first element can't be read is a pointer; a later one ends it with its address in a comment
        (print_array_ex).
        """
        if not pointer:
            return "NULL"
        if not count:
            return "[]"
        if pointer + count * size > ALL:
            return address(pointer)
        shown = []
        for index in range(count):
            element = self.fetch(pointer + index * size, size)
            if element is None:
                if not index:
                    return address(pointer)
                shown.append(f"... /* {pointer + index * size:#x} */")
                break
            if index >= self.limit:
                shown.append("...")
                break
            shown.append(show(element))
        return "[" + ", ".join(shown) + "]"

    def local_array(self, values: Sequence[str]) -> str:
        """The same of elements already at hand (print_local_array)."""
        if len(values) <= self.limit:
            return "[" + ", ".join(values) + "]"
        return "[" + ", ".join([*values[: self.limit], "..."]) + "]"

    def time(self, pointer: int, fraction: str) -> str:
        """A timespec or timeval: `{tv_sec=1, tv_nsec=0}`. `fraction` is "nsec" or "usec"."""
        data = self.fetch(pointer, structs.TIMESPEC.size) if pointer else None
        return address(pointer) if data is None else time(data, fraction)

    def sockaddr(self, pointer: int, length: int) -> str:
        """A socket address of so many bytes (an int, so it may be negative): decode_sockaddr."""
        if length < SUN_PATH_OFFSET:
            return address(pointer)
        data = self.fetch(pointer, min(length, SOCKADDR_STORAGE_SIZE)) if pointer else None
        return address(pointer) if data is None else sockaddr(data)

    def iovecs(self, pointer: int, count: int, size: int = ALL, *, pointers: bool = False) -> str:
        """An array of iovecs: the first `size` bytes of their data in all, or with `pointers` only where they are."""
        rest = size

        def show(element: bytes) -> str:
            nonlocal rest
            base, length = IOVEC.unpack(element)
            taken = min(length, rest)
            if size != ALL:
                rest -= taken
            shown = address(base) if pointers else self.buffer(base, taken)
            return f"{{iov_base={shown}, iov_len={length}}}"

        return self.array(pointer, count, IOVEC.size, show)

    def message(self, pointer: int, entry_namelen: int | None = None, size: int = ALL) -> str:
        """A msghdr. `size` bounds the data shown; `entry_namelen` is what msg_namelen was before recvmsg."""
        data = self.fetch(pointer, MSGHDR.size) if pointer else None
        return address(pointer) if data is None else self.header(data, entry_namelen, size)

    def header(self, data: bytes, entry_namelen: int | None, size: int) -> str:
        """The fields of a msghdr that was read (print_struct_msghdr)."""
        name, namelen, iov, iovlen, control, controllen, msg_flags = MSGHDR.unpack_from(data)
        before = namelen if entry_namelen is None else entry_namelen
        lengths = f"{namelen}" if before == namelen else f"{before} => {namelen}"
        shown = (
            f"{{msg_name={self.sockaddr(name, min(namelen, before))}, msg_namelen={lengths}, "
            f"msg_iov={self.iovecs(iov, iovlen, size)}, msg_iovlen={iovlen}"
        )
        if controllen:
            shown += f", msg_control={self.control(control, controllen)}"
        return f"{shown}, msg_controllen={controllen}, msg_flags={flags.flags(msg_flags, flags.MSG)}}}"

    def messages(self, pointer: int, count: int, sent: int, namelens: Sequence[int] | None, *, cut: bool) -> str:
        """An array of mmsghdrs, the first `sent` with their msg_len, which with `cut` bounds the data shown."""
        index = -1

        def show(element: bytes) -> str:
            nonlocal index
            index += 1
            if index >= IOV_MAX:
                return "..."
            done = int.from_bytes(element[MMSG_LEN_OFFSET : MMSG_LEN_OFFSET + 4], "little")
            namelen = namelens[index] if namelens is not None and index < len(namelens) else None
            header = self.header(element, namelen, done if cut else ALL)
            return f"{{msg_hdr={header}, msg_len={done}}}" if index < sent else f"{{msg_hdr={header}}}"

        return self.array(pointer, min(count, IOV_MAX + 1), MMSGHDR_SIZE, show)

    def control(self, pointer: int, length: int) -> str:
        """The control messages of a msghdr, well-formed or not (decode_msg_control)."""
        header = CMSGHDR.size
        size = min(length, OPTMEM_MAX)
        data = self.fetch(pointer, size) if pointer and size >= header else None
        if data is None:
            return address(pointer)
        shown = []
        position = 0
        while size - position >= header:
            cmsg_len, level, kind = CMSGHDR.unpack_from(data, position)
            rest = size - position
            inside = min(cmsg_len, rest)
            shown.append(self.control_message(cmsg_len, level, kind, data[position + header : position + inside]))
            if inside < header:
                position += header
                break
            position += min(cmsg_len + 7 & ~7, rest)
        if position < size:
            shown.append(f"... /* {pointer + position:#x} */")
        elif size < length:
            shown.append("...")
        return "[" + ", ".join(shown) + "]"

    def control_message(self, length: int, level: int, kind: int, data: bytes) -> str:
        """One control message; data of a type that is not known, or too short for it, is left out."""
        shown = f"{{cmsg_len={length}, cmsg_level={flags.enum(level, _CMSG_LEVELS)}, cmsg_type="
        if level != constants.SOL_SOCKET:
            return f"{shown}{hexadecimal(kind & 0xFFFFFFFF)}}}"
        shown += flags.enum(kind, flags.SCM)
        minimum, show = _SCM_DATA.get(kind, (0, None))
        if show is not None and len(data) >= minimum:
            shown += f", cmsg_data={show(self, data)}"
        return shown + "}"

    def descriptors(self, data: bytes) -> str:
        """Descriptors in a control message, each with what it is where that is known: `[9 → /memfd:shm]`."""
        shown = []
        whole = len(data) & ~3
        for (fd,) in structs.INT.iter_unpack(data[: min(whole, 4 * self.limit + 4)]):
            try:
                what = self.describe_fd(fd)
            except Exception:  # the descriptor may be gone by now
                what = None
            shown.append(f"{fd} → {what}" if what else f"{fd}")
        return self.local_array(shown)


def sockaddr(data: bytes) -> str:
    """A socket address of at least 2 bytes. Of other families than AF_UNIX the data is only quoted."""
    number = int.from_bytes(data[:SUN_PATH_OFFSET], "little")
    shown = f"{{sa_family={flags.enum(number, flags.AF)}"
    if len(data) <= SUN_PATH_OFFSET:
        return shown + "}"
    if number != constants.AF_UNIX:
        return f"{shown}, sa_data={quote(data[SUN_PATH_OFFSET:])}}}"
    path = data[SUN_PATH_OFFSET:SOCKADDR_UN_SIZE]
    if path[0]:
        return f"{shown}, sun_path={quote(path.split(bytes(1), 1)[0])}}}"
    return f"{shown}, sun_path=@{quote(path[1:])}}}"


def time(data: bytes, fraction: str) -> str:
    """A timespec or timeval of 16 bytes; "nsec" and "usec" are shown unsigned, as strace does."""
    seconds, part = structs.TIMESPEC.unpack_from(data)
    return f"{{tv_sec={seconds}, tv_{fraction}={part & ALL}}}"


def fields(names: Sequence[str], data: bytes) -> str:
    """A structure of ints, `{pid=1, uid=0, gid=0}`; of one that was cut, what is there (MAYBE_PRINT_FIELD_LEN)."""
    shown = []
    for index, name in enumerate(names):
        piece = data[4 * index : 4 * index + 4]
        if len(piece) == structs.INT.size:
            value: int = structs.INT.unpack(piece)[0]
            if value < -1 and name in _UNSIGNED:
                value += 1 << 32
            shown.append(f"{name}={value}")
        elif piece:
            shown.append(f"{name}={hexquote(piece)}")
    return "{" + ", ".join(shown) + "}"


def hexquote(data: bytes) -> str:
    """Bytes as a C string literal of hexadecimal escapes only, as strace shows part of a number."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def error(number: int) -> str:
    """An errno as SO_ERROR tells it: `ECONNRESET`, or the number where it has no name, as 0 has none."""
    try:
        return Errno(number).name
    except ValueError:
        return f"{number}"


UCRED: Final = ("pid", "uid", "gid")
"""The fields of `struct ucred`, for `fields`."""

_UNSIGNED: Final = frozenset(("uid", "gid"))
"""Fields that go up to 2**32 - 2; all ones, which stands for no id, is still shown as -1."""

LINGER: Final = ("l_onoff", "l_linger")
"""The fields of `struct linger`."""

_CMSG_LEVELS: Final = flags.Table("SOL_???", flags.SOL.names)


def _scm_time(fraction: str) -> Callable[[Decoder, bytes], str]:
    return lambda decoder, data: time(data, fraction) if len(data) >= structs.TIMESPEC.size else "???"


def _scm_times(decoder: Decoder, data: bytes) -> str:
    size = structs.TIMESPEC.size
    if len(data) < 3 * size:
        return "???"
    return decoder.local_array([time(data[size * index :], "nsec") for index in range(3)])


def _scm_int(decoder: Decoder, data: bytes) -> str:
    return f"[{structs.INT.unpack_from(data)[0]}]"


_SCM_DATA: Final[dict[int, tuple[int, Callable[[Decoder, bytes], str]]]] = {
    constants.SCM_RIGHTS: (4, Decoder.descriptors),
    constants.SCM_CREDENTIALS: (structs.UCRED.size, lambda decoder, data: fields(UCRED, data)),
    constants.SCM_SECURITY: (1, lambda decoder, data: quote(data)),
    constants.SCM_PIDFD: (4, Decoder.descriptors),
    constants.SCM_INQ: (4, _scm_int),
    constants.SCM_TIMESTAMP_OLD: (1, _scm_time("usec")),
    constants.SCM_TIMESTAMPNS_OLD: (1, _scm_time("nsec")),
    constants.SCM_TIMESTAMPING_OLD: (1, _scm_times),
    constants.SCM_TIMESTAMP_NEW: (1, _scm_time("usec")),
    constants.SCM_TIMESTAMPNS_NEW: (1, _scm_time("nsec")),
    constants.SCM_TIMESTAMPING_NEW: (1, _scm_times),
}
"""How many bytes a type's data has at least, and how it is shown."""
