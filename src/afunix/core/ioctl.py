"""What ioctl tells of a socket (unix_ioctl, DATA-15, OPT-4)."""

from __future__ import annotations

from afunix.abi.constants import SIOCATMARK, SIOCINQ, SIOCOUTQ, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.socket import LISTEN, Socket

__all__ = ["query"]


def query(sock: Socket, command: int) -> int:
    """The int that SIOCINQ, SIOCOUTQ or SIOCATMARK give. ENOTTY: another command; EINVAL, EOPNOTSUPP."""
    if command == SIOCINQ:
        if sock.state == LISTEN:
            raise SyscallError(Errno.EINVAL)
        return sock.unread
    if command == SIOCOUTQ:
        return sock.wmem
    if command == SIOCATMARK:
        return _at_mark(sock)
    raise SyscallError(Errno.ENOTTY)


def _at_mark(sock: Socket) -> int:
    """Whether the urgent mark is what a read would meet next (OOB-1). EOPNOTSUPP: no stream socket."""
    if sock.type != SOCK_STREAM:
        raise SyscallError(Errno.EOPNOTSUPP)
    if not sock.queue:
        return 0
    first = sock.queue[0]
    following = sock.queue[1] if len(sock.queue) > 1 else None
    return int(first is sock.oob or (not len(first) and (sock.oob is None or following is sock.oob)))
