"""getsockopt, setsockopt, and the ioctl and fcntl commands that sockets answer themselves."""

from __future__ import annotations

from afunix.abi.constants import (
    F_SETFL,
    FIOASYNC,
    FIONBIO,
    O_NONBLOCK,
    SIOCUNIXFILE,
    SOL_SOCKET,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import INT
from afunix.core import options
from afunix.core.credentials import CAP_NET_ADMIN
from afunix.core.ioctl import query
from afunix.syscalls.call import NATIVE, Call, Outcome, signed

__all__ = ["fcntl", "getsockopt", "ioctl", "setsockopt"]


def getsockopt(call: Call) -> Outcome:
    """getsockopt(2): the value, cut to the room given, and its length."""
    args = call.args
    memory = call.memory
    level = signed(args[1])
    if level != SOL_SOCKET:
        raise SyscallError(Errno.EOPNOTSUPP)
    room = INT.unpack(memory.read(args[4], 4))[0]
    try:
        value = options.get(call.sock, call.caller, level, signed(args[2]), room)
    except options.TooShort as error:
        memory.write(args[4], INT.pack(error.needed))
        raise
    if isinstance(value, options.PidfdOf):
        # The kernel writes first and installs then: a number that can't be told is no descriptor.
        if room:
            memory.write(args[3], memory.read(args[3], min(room, INT.size)))
        value = INT.pack(call.install_pidfd(value.pid))[:room]
    if value:
        memory.write(args[3], value)
    memory.write(args[4], INT.pack(len(value)))
    return 0


def setsockopt(call: Call) -> Outcome:
    """setsockopt(2)."""
    args = call.args
    sock, level, name = call.sock, signed(args[1]), signed(args[2])
    length = options.value_length(sock, level, name, signed(args[4]))
    options.set(sock, call.caller, level, name, call.memory.read(args[3], length) if length else b"")
    return 0


def ioctl(call: Call) -> Outcome:
    """ioctl(2): SIOCUNIXFILE, FIONBIO, and those of `core.ioctl`."""
    sock = call.sock
    command = call.args[1] & 0xFFFFFFFF
    if command == SIOCUNIXFILE:
        if not call.caller.credentials.capable(CAP_NET_ADMIN):
            raise SyscallError(Errno.EPERM)
        if sock.inode is None:
            raise SyscallError(Errno.ENOENT)
        return call.install_inode(sock)
    if command == FIONBIO:
        sock.nonblock = bool(INT.unpack(call.memory.read(call.args[2], 4))[0])
        return NATIVE
    if command == FIOASYNC:
        return NATIVE
    call.memory.write(call.args[2], INT.pack(query(sock, command)))
    return 0


def fcntl(call: Call) -> Outcome:
    """fcntl(F_SETFL): the open file description's O_NONBLOCK; the rest of the flags is the host's business."""
    if call.args[1] & 0xFFFFFFFF == F_SETFL:
        call.sock.nonblock = bool(call.args[2] & O_NONBLOCK)
    return NATIVE
