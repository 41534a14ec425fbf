"""What the rows of the table of socket options (`options`) are made of, and the options that are only stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from afunix.abi import constants as c
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT, LINGER, SIZE, SOCK_TXTIME, TIMEVAL
from afunix.core.socket import Socket

if TYPE_CHECKING:
    from afunix.core.caller import Caller

__all__ = [
    "INITIAL",
    "INT_MAX",
    "ONE",
    "UINT_MAX",
    "ZERO",
    "Option",
    "PidfdOf",
    "Reader",
    "Writer",
    "capable",
    "constant",
    "field",
    "flag",
    "ignore",
    "number_of",
    "refuse",
    "require",
    "store_flag",
    "store_int",
    "stored",
]

INT_MAX: Final = (1 << 31) - 1
UINT_MAX: Final = (1 << 32) - 1

ZERO: Final = bytes(4)
ONE: Final = INT.pack(1)


class PidfdOf(NamedTuple):
    """The value of an option that is a new pidfd for this process, which the front end makes and cuts to the room."""

    pid: int


Reader = Callable[[Socket, "Caller", int, int], bytes | PidfdOf]
"""(socket, caller, option, length of the buffer): the whole value."""
Writer = Callable[[Socket, "Caller", int, bytes], None]


class Option(NamedTuple):
    """How an option is read and written; None: getsockopt or setsockopt answers ENOPROTOOPT."""

    read: Reader | None
    write: Writer | None


def number_of(value: bytes) -> int:
    """The int that a value begins with."""
    number: int = INT.unpack_from(value)[0]
    return number


def require(condition: bool, errno: Errno) -> None:
    """Raise the errno unless the condition holds."""
    if not condition:
        raise SyscallError(errno)


def capable(caller: Caller, *capabilities: int) -> bool:
    """Whether the caller has one of these capabilities."""
    credentials = caller.credentials
    return any(credentials.capable(capability) for capability in capabilities)


def stored(sock: Socket, caller: Caller, name: int, length: int) -> bytes:
    """Read what was last stored, or what there is before."""
    return sock.options.get(name) or INITIAL.get(name, ZERO)


def store_flag(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """Store 1 for any number but 0."""
    sock.options[name] = ONE if number_of(value) else ZERO


def store_int(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """Store the number as it is."""
    sock.options[name] = value[: INT.size]


def ignore(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
    """Take any number, and do nothing."""


INITIAL: Final = {
    c.SO_INCOMING_CPU: INT.pack(-1),
    c.SO_LINGER: bytes(LINGER.size),
    c.SO_MAX_PACING_RATE: SIZE.pack((1 << 64) - 1),
    c.SO_RCVTIMEO_OLD: bytes(TIMEVAL.size),
    c.SO_SNDTIMEO_OLD: bytes(TIMEVAL.size),
    c.SO_TXTIME: bytes(SOCK_TXTIME.size),
}
"""What stored options read before they are set, where that is not an int of 0."""


def constant(number: int) -> Reader:
    """Read always this number."""
    value = INT.pack(number)
    return lambda sock, caller, name, length: value


def field(attribute: str) -> Reader:
    """Read an int or flag that stands in a field of the socket."""
    return lambda sock, caller, name, length: INT.pack(getattr(sock, attribute))


def flag(attribute: str) -> Option:
    """A flag that stands in a field of the socket."""

    def write(sock: Socket, caller: Caller, name: int, value: bytes) -> None:
        setattr(sock, attribute, bool(number_of(value)))

    return Option(field(attribute), write)


def refuse(errno: Errno) -> Callable[..., NoReturn]:
    """Answer getsockopt or setsockopt with an errno, whatever the value."""

    def refuse(*_: object) -> NoReturn:
        raise SyscallError(errno)

    return refuse
