"""Unix addresses: `struct sockaddr_un` as programs pass it, and the one form our code uses.

That form is `bytes`: `b""` unnamed, `b"\\0name"` abstract (every byte counts, NAME-3), anything else a path
without its terminating NUL.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from afunix.abi.constants import AF_UNIX, UNIX_PATH_MAX
from afunix.abi.errno import Errno, SyscallError

__all__ = [
    "SOCKADDR_STORAGE_SIZE",
    "SOCKADDR_UN_SIZE",
    "SUN_PATH_OFFSET",
    "autobind_name",
    "decode",
    "decode_bind",
    "encode",
    "family",
    "quote",
    "show",
]

SUN_PATH_OFFSET: Final = 2
SOCKADDR_UN_SIZE: Final = SUN_PATH_OFFSET + UNIX_PATH_MAX
SOCKADDR_STORAGE_SIZE: Final = 128
"""The longest address that any socket call takes (else EINVAL from move_addr_to_kernel in net/socket.c)."""

AUTOBIND_NAMES: Final = 1 << 20
"""How many names autobind can give out: five hexadecimal digits (unix_autobind, NAME-1)."""

_FAMILY: Final = AF_UNIX.to_bytes(SUN_PATH_OFFSET, "little")
_FAMILY_FIELD: Final = Struct("<H")


def family(raw: bytes) -> int:
    """sa_family of an address. EINVAL if it is too short to hold one (as unix_dgram_connect checks)."""
    if len(raw) < SUN_PATH_OFFSET:
        raise SyscallError(Errno.EINVAL)
    value: int = _FAMILY_FIELD.unpack_from(raw)[0]
    return value


def decode(raw: bytes) -> bytes:
    """The address in the addrlen bytes that a program passed to connect or sendto.

    Linux: unix_validate_addr and unix_mkname_bsd. EINVAL for a family other than AF_UNIX, a length of at most
    2 (nothing but the family) or above 110 (NAME-2). A path ends at its first NUL (NAME-5).
    """
    if not SUN_PATH_OFFSET < len(raw) <= SOCKADDR_UN_SIZE or raw[:SUN_PATH_OFFSET] != _FAMILY:
        raise SyscallError(Errno.EINVAL)
    if not raw[SUN_PATH_OFFSET]:
        return raw[SUN_PATH_OFFSET:]
    end = raw.find(0, SUN_PATH_OFFSET)
    return raw[SUN_PATH_OFFSET:] if end < 0 else raw[SUN_PATH_OFFSET:end]


def decode_bind(raw: bytes) -> bytes | None:
    """The address passed to bind, or None if the program asks for autobind (NAME-1). Errors are decode's."""
    return None if raw == _FAMILY else decode(raw)


def encode(address: bytes) -> bytes:
    """The whole `sockaddr_un` that getsockname, accept and recvfrom report; a short buffer gets its start.

    A path carries its NUL, so one of 108 bytes takes 111 (NAME-5); an unnamed socket's is 2 bytes (NAME-10).
    """
    if not address or not address[0]:
        return _FAMILY + address
    return _FAMILY + address + b"\0"


def autobind_name(number: int) -> bytes:
    """The abstract name that autobind makes of a 20-bit number: NUL and five hex digits (NAME-1)."""
    return b"\0%05x" % (number % AUTOBIND_NAMES)


def show(address: bytes) -> str:
    """The address as strace prints it: `{sa_family=AF_UNIX, sun_path="/tmp/x"}` or `sun_path=@"name"`."""
    if not address:
        return "{sa_family=AF_UNIX}"
    path = quote(address) if address[0] else "@" + quote(address[1:])
    return "{sa_family=AF_UNIX, sun_path=" + path + "}"


def quote(data: bytes) -> str:
    """Bytes as a C string literal in strace's form, with the shortest octal escapes that stay unambiguous."""
    shown = []
    for index, byte in enumerate(data):
        escape = _ESCAPES.get(byte)
        if escape is not None:
            shown.append(escape)
        elif 0x20 <= byte < 0x7F:
            shown.append(chr(byte))
        else:
            # C reads up to three octal digits, so before another one all three are written.
            digit_next = data[index + 1 : index + 2] in _OCTAL_DIGITS
            shown.append(f"\\{byte:03o}" if digit_next else f"\\{byte:o}")
    return '"' + "".join(shown) + '"'


_OCTAL_DIGITS: Final = frozenset(b"%d" % digit for digit in range(8))

_ESCAPES: Final = {
    0x09: "\\t",
    0x0A: "\\n",
    0x0B: "\\v",
    0x0C: "\\f",
    0x0D: "\\r",
    0x22: '\\"',
    0x5C: "\\\\",
}
