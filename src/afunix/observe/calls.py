"""The arguments of each system call that sockets take part in, as strace prints them.

One function for each form of arguments, chosen by the call's name in `CALLS`. It gets the decoder of the program's
memory, the six argument registers, the value of a call that succeeded or None, and what the arguments that the
call overwrites were before it, as `ENTRY` finds it. What a call writes to memory is shown only if it succeeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from afunix.abi import constants, flags, structs
from afunix.abi.message import MMSGHDR_SIZE, MSG_NAMELEN_OFFSET
from afunix.observe import decode, options
from afunix.observe.decode import Decoder, address, signed
from afunix.observe.openflags import open_flags

__all__ = ["CALLS", "ENTRY", "Entry"]

Entry = Sequence[int] | None
"""What an `ENTRY` function said before the call: empty if there was nothing to read; None if it was not asked."""

_LOFF: Final = Struct("<q")


def _read(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    fd, buffer, size = args[:3]
    return f"{signed(fd)}, {address(buffer) if done is None else at.buffer(buffer, done)}, {size}"


def _write(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    fd, buffer, size = args[:3]
    return f"{signed(fd)}, {at.buffer(buffer, size)}, {size}"


def _read_vector(at: Decoder, args: Sequence[int], done: int | None) -> str:
    if done is None:
        return at.iovecs(args[1], args[2], pointers=True)
    return at.iovecs(args[1], args[2], done)


def _readv(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {_read_vector(at, args, done)}, {args[2]}"


def _writev(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {at.iovecs(args[1], args[2])}, {args[2]}"


def _offset_and_flags(args: Sequence[int]) -> str:
    offset = args[3] - (1 << 64) if args[3] >> 63 else args[3]
    return f"{args[2]}, {offset}, {flags.flags(args[5], flags.RWF)}"


def _preadv2(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {_read_vector(at, args, done)}, {_offset_and_flags(args)}"


def _pwritev2(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {at.iovecs(args[1], args[2])}, {_offset_and_flags(args)}"


def _socket(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{flags.enum(signed(args[0]), flags.AF)}, {flags.socket_type(args[1])}, {args[2]}"


def _socketpair(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    if done is None:
        pair = address(args[3])
    else:
        pair = at.array(args[3], 2, structs.INT.size, lambda fd: f"{structs.INT.unpack(fd)[0]}")
    return f"{_socket(at, args, done, entry)}, {pair}"


def _bind(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    length = signed(args[2])
    return f"{signed(args[0])}, {at.sockaddr(args[1], length)}, {length}"


def _listen(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {signed(args[1])}"


def _shutdown(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {flags.enum(signed(args[1]), flags.SHUT)}"


def _result_length(at: Decoder, pointer: int, done: int | None, entry: Entry) -> tuple[int, int] | None:
    """A length that a call takes and overwrites: before, after; None if there is nothing to read."""
    after = at.number(pointer, structs.INT)
    if after is None or (entry is not None and not entry):
        return None
    before = after if entry is None else entry[0]
    return before, before if done is None else after


def _lengths(before: int, after: int) -> str:
    return f"[{after}]" if before == after else f"[{before} => {after}]"


def _result_address(at: Decoder, pointer: int, length: int, done: int | None, entry: Entry) -> str:
    """The last two arguments of accept, getsockname and recvfrom."""
    lengths = _result_length(at, length, done, entry) if pointer else None
    if lengths is None:
        return f"{address(pointer)}, {address(length)}"
    shown = address(pointer) if done is None else at.sockaddr(pointer, min(lengths))
    return f"{shown}, {_lengths(*lengths)}"


def _accept(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {_result_address(at, args[1], args[2], done, entry)}"


def _accept4(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{_accept(at, args, done, entry)}, {flags.flags(args[3], flags.SOCK_FLAGS)}"


def _sendto(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    length = signed(args[5])
    return (
        f"{signed(args[0])}, {at.buffer(args[1], args[2])}, {args[2]}, {flags.flags(args[3], flags.MSG)}, "
        f"{at.sockaddr(args[4], length)}, {length}"
    )


def _recvfrom(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    # With MSG_TRUNC the result may exceed the buffer.
    buffer = address(args[1]) if done is None else at.buffer(args[1], min(done, args[2]))
    return (
        f"{signed(args[0])}, {buffer}, {args[2]}, {flags.flags(args[3], flags.MSG)}, "
        f"{_result_address(at, args[4], args[5], done, entry)}"
    )


def _sendmsg(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {at.message(args[1])}, {flags.flags(args[2], flags.MSG)}"


def _recvmsg(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    before = _msg_namelen(at, args[1]) if entry is None else entry
    if not before:
        shown = address(args[1])
    elif done is None:
        shown = f"{{msg_namelen={before[0]}}}"
    else:
        shown = at.message(args[1], before[0] if entry is not None else None, done)
    return f"{signed(args[0])}, {shown}, {flags.flags(args[2], flags.MSG)}"


def _sendmmsg(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    count = args[2] & 0xFFFFFFFF
    shown = at.messages(args[1], count, done or 0, None, cut=False)
    return f"{signed(args[0])}, {shown}, {count}, {flags.flags(args[3], flags.MSG)}"


def _recvmmsg(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    timeout = at.time(args[4], "nsec")
    namelens: Sequence[int] | None = None
    if entry:
        namelens = entry[3:]
        if entry[0]:
            timeout = f"{{tv_sec={entry[1]}, tv_nsec={entry[2] & decode.ALL}}}"
    shown = address(args[1]) if done is None else at.messages(args[1], done, done, namelens, cut=True)
    return f"{signed(args[0])}, {shown}, {args[2] & 0xFFFFFFFF}, {flags.flags(args[3], flags.MSG)}, {timeout}"


def _setsockopt(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    length = signed(args[4])
    shown = options.value_to_set(at, signed(args[1]), signed(args[2]), args[3], length)
    return f"{_option(args)}, {shown}, {length}"


def _getsockopt(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    lengths = _result_length(at, args[4], done, entry)
    if lengths is None:
        return f"{_option(args)}, {address(args[3])}, {address(args[4])}"
    before, after = lengths
    if done is None or before <= 0:
        shown = address(args[3])
    else:
        shown = options.value_got(at, signed(args[1]), signed(args[2]), args[3], after)
    return f"{_option(args)}, {shown}, {_lengths(before, after)}"


def _option(args: Sequence[int]) -> str:
    return f"{signed(args[0])}, {options.level_and_name(signed(args[1]), signed(args[2]))}"


def _ioctl(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    request = args[1] & 0xFFFFFFFF
    if request == constants.FIONBIO or (request in _IOCTL_NUMBERS and done is not None):
        value = at.indirect(args[2])
    else:
        value = address(args[2]) if request in _IOCTL_NUMBERS else decode.hexadecimal(args[2])
    return f"{signed(args[0])}, {_request(request)}, {value}"


_IOCTL_NUMBERS: Final = frozenset((constants.SIOCINQ, constants.SIOCOUTQ, constants.SIOCATMARK))


def _request(request: int) -> str:
    name = flags.SIOC.names.get(request)
    if name is not None:
        return name
    directions = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")
    kind, number, size = request >> 8 & 0xFF, request & 0xFF, request >> 16 & 0x3FFF
    return f"_IOC({directions[request >> 30]}, {kind:#x}, {number:#x}, {size:#x})"


def _fcntl(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    command = signed(args[1])
    shown = f"{signed(args[0])}, {flags.enum(command, flags.F)}"
    if command in (constants.F_GETFL, constants.F_GETFD):
        return shown
    if command == constants.F_SETFL:
        return f"{shown}, {open_flags(args[2])}"
    return f"{shown}, {args[2]:#x}"


def _sendfile(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    after = at.indirect(args[2], structs.SIZE)
    before = f"[{entry[0]}]" if entry else after
    offset = f"{before} => {after}" if entry and done else before
    return f"{signed(args[0])}, {signed(args[1])}, {offset}, {args[3]}"


def _splice(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    # entry: for each of the two offsets, whether it could be read and what it was.
    offsets = [
        f"[{entry[2 * index + 1]}]" if entry and entry[2 * index] else at.indirect(pointer, _LOFF)
        for index, pointer in enumerate((args[1], args[3]))
    ]
    return (
        f"{signed(args[0])}, {offsets[0]}, {signed(args[2])}, {offsets[1]}, {args[4]}, "
        f"{flags.flags(args[5], flags.SPLICE_F)}"
    )


def _tee(at: Decoder, args: Sequence[int], done: int | None, entry: Entry) -> str:
    return f"{signed(args[0])}, {signed(args[1])}, {args[2]}, {flags.flags(args[3], flags.SPLICE_F)}"


CALLS: Final[dict[str, Callable[[Decoder, Sequence[int], int | None, Entry], str]]] = {
    "accept": _accept,
    "accept4": _accept4,
    "bind": _bind,
    "connect": _bind,
    "fcntl": _fcntl,
    "getpeername": _accept,
    "getsockname": _accept,
    "getsockopt": _getsockopt,
    "ioctl": _ioctl,
    "listen": _listen,
    "preadv2": _preadv2,
    "pwritev2": _pwritev2,
    "read": _read,
    "readv": _readv,
    "recvfrom": _recvfrom,
    "recvmmsg": _recvmmsg,
    "recvmsg": _recvmsg,
    "sendfile": _sendfile,
    "sendmmsg": _sendmmsg,
    "sendmsg": _sendmsg,
    "sendto": _sendto,
    "setsockopt": _setsockopt,
    "shutdown": _shutdown,
    "socket": _socket,
    "socketpair": _socketpair,
    "splice": _splice,
    "tee": _tee,
    "write": _write,
    "writev": _writev,
}


def _int_at(at: Decoder, pointer: int) -> tuple[int, ...]:
    value = at.number(pointer, structs.INT)
    return () if value is None else (value,)


def _msg_namelen(at: Decoder, pointer: int) -> tuple[int, ...]:
    return _int_at(at, pointer + MSG_NAMELEN_OFFSET) if pointer else ()


def _mmsg_entry(at: Decoder, args: Sequence[int]) -> tuple[int, ...]:
    """Whether there is a time-out, its seconds and nanoseconds, then msg_namelen of each message."""
    data = at.fetch(args[4], structs.TIMESPEC.size) if args[4] else None
    seconds, nanoseconds = (0, 0) if data is None else structs.TIMESPEC.unpack(data)
    values = [int(data is not None), seconds, nanoseconds]
    for index in range(min(args[2] & 0xFFFFFFFF, decode.IOV_MAX)):
        namelen = _msg_namelen(at, args[1] + index * MMSGHDR_SIZE) if args[1] else ()
        if not namelen:
            break
        values += namelen
    return tuple(values)


def _splice_entry(at: Decoder, args: Sequence[int]) -> tuple[int, ...]:
    offsets = [at.number(pointer, _LOFF) for pointer in (args[1], args[3])]
    return tuple(part for offset in offsets for part in (int(offset is not None), offset or 0))


def _sendfile_entry(at: Decoder, args: Sequence[int]) -> tuple[int, ...]:
    offset = at.number(args[2], structs.SIZE)
    return () if offset is None else (offset,)


ENTRY: Final[dict[str, Callable[[Decoder, Sequence[int]], tuple[int, ...]]]] = {
    "accept": lambda at, args: _int_at(at, args[2]),
    "accept4": lambda at, args: _int_at(at, args[2]),
    "getpeername": lambda at, args: _int_at(at, args[2]),
    "getsockname": lambda at, args: _int_at(at, args[2]),
    "getsockopt": lambda at, args: _int_at(at, args[4]),
    "recvfrom": lambda at, args: _int_at(at, args[5]),
    "recvmmsg": _mmsg_entry,
    "recvmsg": lambda at, args: _msg_namelen(at, args[1]),
    "sendfile": _sendfile_entry,
    "splice": _splice_entry,
}
