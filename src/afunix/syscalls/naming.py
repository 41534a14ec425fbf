"""socket, socketpair, bind, listen, connect, accept, shutdown, getsockname and getpeername."""

from __future__ import annotations

from collections.abc import Generator

from afunix.abi.constants import (
    AF_UNSPEC,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_TYPE_MASK,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.sockaddr import decode, decode_bind, family
from afunix.abi.structs import INT
from afunix.core import blocking, connection, datagram, names
from afunix.core.socket import RCV_SHUTDOWN, Socket
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Answer, Call, Install, Outcome, Undo, signed
from afunix.syscalls.transfer import SOCKADDR_STORAGE, write_address

__all__ = [
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "listen", "shutdown", "socket", "socketpair",
]  # fmt: skip


def _type(register: int) -> tuple[int, bool, bool]:
    """Type, non-blocking, close-on-exec of a socket type argument. EINVAL: other flag bits."""
    value = signed(register)
    if value & ~(SOCK_TYPE_MASK | SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise SyscallError(Errno.EINVAL)
    return value & SOCK_TYPE_MASK, bool(value & SOCK_NONBLOCK), bool(value & SOCK_CLOEXEC)


def socket(call: Call) -> Outcome:
    """socket(2) of AF_UNIX (CONN-9)."""
    kind, nonblock, cloexec = _type(call.args[1])
    sock = connection.create(call.kernel, call.caller, kind, signed(call.args[2]))
    sock.nonblock = nonblock
    return Install(sock, cloexec, sock.close)


def socketpair(call: Call) -> Outcome:
    """socketpair(2) of AF_UNIX."""
    kind, nonblock, cloexec = _type(call.args[1])
    # The numbers of the descriptors are written first (__sys_socketpair), so EMFILE and EFAULT come before all else.
    call.ensure_room(2)
    call.memory.write(call.args[3], call.memory.read(call.args[3], 8))
    one, two = connection.pair(call.kernel, call.caller, kind, signed(call.args[2]))
    one.nonblock = two.nonblock = nonblock
    try:
        first = call.install(one, cloexec)
        second = call.install(two, cloexec)
        call.memory.write(call.args[3], INT.pack(first) + INT.pack(second))
    except BaseException:
        one.close()
        two.close()
        raise
    return 0, Undo([one.close, two.close])


def _raw_address(call: Call) -> bytes:
    """The address argument of bind and connect. EINVAL: negative or above 128 bytes; EFAULT."""
    length = signed(call.args[2])
    if length < 0 or length > SOCKADDR_STORAGE:
        raise SyscallError(Errno.EINVAL)
    return call.memory.read(call.args[1], length) if length else b""


def bind(call: Call) -> Outcome:
    """bind(2)."""
    address = decode_bind(_raw_address(call))
    sock = call.sock
    if not names.bind(sock, call.caller, address, call.mode):
        return 0
    return 0, Undo([lambda: names.unbind(sock)])


def listen(call: Call) -> Outcome:
    """listen(2)."""
    connection.listen(call.sock, call.caller, signed(call.args[1]))
    return 0


def connect(call: Call) -> Outcome:
    """connect(2). AF_UNSPEC dissolves a datagram socket's association (DGRAM-2), and is EINVAL on the others."""
    raw = _raw_address(call)
    sock = call.sock
    if sock.type == SOCK_DGRAM:
        address = None if family(raw) == AF_UNSPEC else decode(raw)
        datagram.connect(sock, call.caller, address)
        return 0
    address = decode(raw)
    embryo = connection.connect(sock, call.caller, address)
    if isinstance(embryo, WouldBlock):
        if sock.nonblock:
            raise SyscallError(Errno.EAGAIN)
        return _connect_later(call, sock, address, embryo)
    return _connected(sock, embryo)


def _connect_later(call: Call, sock: Socket, address: bytes, block: WouldBlock) -> Generator[WouldBlock, None, Answer]:
    embryo = yield from blocking.connect(sock, call.caller, address, call.now(), block)
    return _connected(sock, embryo)


def _connected(sock: Socket, embryo: Socket) -> Answer:
    return 0, Undo([lambda: connection.disconnect(sock, embryo)])


def accept(call: Call) -> Outcome:
    """accept(2)."""
    return _accept(call, 0)


def accept4(call: Call) -> Outcome:
    """accept4(2). EINVAL: flags other than SOCK_CLOEXEC and SOCK_NONBLOCK (CONN-8)."""
    flags = signed(call.args[3])
    if flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK):
        raise SyscallError(Errno.EINVAL)
    return _accept(call, flags)


def _accept(call: Call, flags: int) -> Outcome:
    sock = call.sock
    embryo = connection.accept(sock)
    if isinstance(embryo, WouldBlock):
        if sock.nonblock:
            raise SyscallError(Errno.EAGAIN)
        if sock.shut & RCV_SHUTDOWN:
            raise SyscallError(Errno.EINVAL)
        return _accept_later(call, sock, flags)
    return _accepted(call, sock, embryo, flags)


def _accept_later(call: Call, sock: Socket, flags: int) -> Generator[WouldBlock, None, Answer]:
    embryo = yield from blocking.accept(sock, call.now())
    return _accepted(call, sock, embryo, flags)


def _accepted(call: Call, sock: Socket, embryo: Socket, flags: int) -> Answer:
    embryo.nonblock = bool(flags & SOCK_NONBLOCK)
    try:
        embryo.uid = call.caller.credentials.euid
        if call.args[1]:
            peer = embryo.peer
            write_address(call, (peer.address if peer else None) or b"", call.args[1], call.args[2])
    except SyscallError:
        # The kernel has taken the connection by now, and drops it (do_accept).
        embryo.close()
        raise
    except BaseException:  # the thread was killed
        connection.return_embryo(sock, embryo)
        raise
    return Install(embryo, bool(flags & SOCK_CLOEXEC), lambda: connection.return_embryo(sock, embryo))


def shutdown(call: Call) -> Outcome:
    """shutdown(2)."""
    call.sock.shutdown(signed(call.args[1]))
    return 0


def getsockname(call: Call) -> Outcome:
    """getsockname(2)."""
    write_address(call, call.sock.name(), call.args[1], call.args[2])
    return 0


def getpeername(call: Call) -> Outcome:
    """getpeername(2)."""
    write_address(call, call.sock.name(peer=True), call.args[1], call.args[2])
    return 0
