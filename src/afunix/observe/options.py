"""Socket options and their values, as strace prints them."""

from __future__ import annotations

from typing import Final

from afunix.abi import constants, flags, structs
from afunix.observe import decode
from afunix.observe.decode import Decoder, address

__all__ = ["level_and_name", "value_got", "value_to_set"]


def level_and_name(level: int, option: int) -> str:
    """`SOL_SOCKET, SO_PEERCRED`; an option of a level whose options have no names here is a number."""
    names = flags.SO.get(level)
    shown = f"{option & 0xFFFFFFFF}" if names is None else flags.enum(option, names)
    return f"{flags.enum(level, flags.SOL)}, {shown}"


def value_to_set(at: Decoder, level: int, option: int, pointer: int, length: int) -> str:
    """The value that a program passes to setsockopt, of the length that it says (negative is wrong, but possible)."""
    if level == constants.SOL_SOCKET and pointer:
        if option == constants.SO_LINGER:
            data = at.fetch(pointer, structs.LINGER.size) if length >= structs.LINGER.size else None
            return address(pointer) if data is None else decode.fields(decode.LINGER, data)
        if option in _TIMEOUTS and length >= structs.TIMEVAL.size:
            return at.time(pointer, "usec")
        if option in _FILTERS:
            return address(pointer)
        if option in _INTS:
            return at.indirect(pointer) if length >= structs.INT.size else address(pointer)
    if length == structs.INT.size:
        return at.indirect(pointer)
    return at.buffer(pointer, length & decode.ALL)


def value_got(at: Decoder, level: int, option: int, pointer: int, length: int) -> str:
    """The value that getsockopt wrote, of the length that it reported."""
    if length <= 0:
        return address(pointer)
    if level == constants.SOL_SOCKET and pointer:
        if option in _TIMEOUTS and length == structs.TIMEVAL.size:
            return at.time(pointer, "usec")
        names = _STRUCTURES.get(option)
        if names is not None:
            data = at.fetch(pointer, min(length, structs.INT.size * len(names)))
            return address(pointer) if data is None else decode.fields(names, data)
        if option in _INTS:
            data = at.fetch(pointer, min(length, structs.INT.size))
            if data is None:
                return address(pointer)
            if len(data) < structs.INT.size:
                return decode.hexquote(data[: at.limit]) + ("..." if len(data) > at.limit else "")
            number = structs.INT.unpack(data)[0]
            return f"[{decode.error(number) if option == constants.SO_ERROR else number}]"
    if length == structs.INT.size:
        return at.indirect(pointer)
    return at.buffer(pointer, length)


_STRUCTURES: Final = {
    constants.SO_LINGER: decode.LINGER,
    constants.SO_PEERCRED: decode.UCRED,
}

_TIMEOUTS: Final = frozenset(
    (
        constants.SO_RCVTIMEO_OLD,
        constants.SO_SNDTIMEO_OLD,
        constants.SO_RCVTIMEO_NEW,
        constants.SO_SNDTIMEO_NEW,
    )
)

_FILTERS: Final = frozenset((constants.SO_ATTACH_FILTER, constants.SO_ATTACH_REUSEPORT_CBPF))
"""Options whose value is a program for the kernel: only its address is shown."""

_INTS: Final = frozenset(flags.SO[constants.SOL_SOCKET].names) - frozenset(
    (
        *_STRUCTURES,
        *_TIMEOUTS,
        *_FILTERS,
        constants.SO_TYPE,
        constants.SO_DOMAIN,
        constants.SO_BPF_EXTENSIONS,
        constants.SO_BINDTOIFINDEX,
        constants.SO_BINDTODEVICE,
        constants.SO_PEERNAME,
        constants.SO_PEERSEC,
        constants.SO_MAX_PACING_RATE,
        constants.SO_MEMINFO,
        constants.SO_COOKIE,
        constants.SO_PEERGROUPS,
        constants.SO_TXTIME,
        constants.SO_NETNS_COOKIE,
        constants.SO_DEVMEM_DONTNEED,
    )
)
"""Options at SOL_SOCKET shown as an int whatever length the program gives; others only if it is an int's."""
