"""Making connections: socket, socketpair, listen, connect and accept of STREAM and SEQPACKET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from afunix.abi.constants import PF_UNIX, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import NO_PEER
from afunix.core.message import Message
from afunix.core.socket import CLOSED, ESTABLISHED, LISTEN, RCV_SHUTDOWN, Socket
from afunix.core.wait import WouldBlock

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.kernel import Kernel

__all__ = ["accept", "connect", "connect_to", "create", "disconnect", "join", "listen", "pair", "return_embryo"]

SOCK_MAX = 11
"""The first number that is no socket type (__sock_create)."""
EMBRYO_TRUESIZE = 768
"""What the one-byte message that stands for a connection costs the embryo (sock_wmalloc in unix_stream_connect)."""


def create(kernel: Kernel, caller: Caller, kind: int, protocol: int = 0) -> Socket:
    """A new socket (unix_create, CONN-9).

    EINVAL: no such type at all; EPROTONOSUPPORT: protocol not 0 or PF_UNIX; ESOCKTNOSUPPORT: a type of others.
    """
    if kind != SOCK_STREAM or protocol:
        if kind >= SOCK_MAX:
            raise SyscallError(Errno.EINVAL)
        if protocol not in (0, PF_UNIX):
            raise SyscallError(Errno.EPROTONOSUPPORT)
        if kind == SOCK_RAW:
            kind = SOCK_DGRAM
        elif kind not in (SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET):
            raise SyscallError(Errno.ESOCKTNOSUPPORT)
    sock = Socket(kernel, kind, caller.net)
    sock.uid = caller.credentials.euid
    return sock


def pair(kernel: Kernel, caller: Caller, kind: int, protocol: int = 0) -> tuple[Socket, Socket]:
    """Two connected sockets (unix_socketpair). Errors as for `create`."""
    one = create(kernel, caller, kind, protocol)
    two = create(kernel, caller, kind, protocol)
    join(one, two)
    one.record_peer(caller)
    two.copy_peer(one)
    return one, two


def join(one: Socket, two: Socket) -> None:
    """Make two sockets each other's peers."""
    one.peer, two.peer = two, one
    one.state = two.state = ESTABLISHED
    if one.type == SOCK_DGRAM:
        one.connectors[two] = None
        two.connectors[one] = None
    one.kernel.changed[one] = None
    one.kernel.changed[two] = None


def listen(sock: Socket, caller: Caller, backlog: int) -> None:
    """Accept connections from now on (unix_listen, CONN-1).

    EOPNOTSUPP: a datagram socket. EINVAL: unbound or connected.
    """
    if sock.type == SOCK_DGRAM:
        raise SyscallError(Errno.EOPNOTSUPP)
    if sock.address is None or sock.state not in (CLOSED, LISTEN):
        raise SyscallError(Errno.EINVAL)
    kernel = sock.kernel
    somaxconn = kernel.limits.somaxconn
    # The kernel compares as unsigned: a negative backlog is a very long one.
    backlog = backlog if 0 <= backlog <= somaxconn else somaxconn
    if backlog > sock.backlog:
        kernel.wakeups.wake(sock.waiting_peers)
    sock.backlog = backlog
    sock.state = LISTEN
    sock.record_peer(caller)
    kernel.changed[sock] = None


def connect(sock: Socket, caller: Caller, address: bytes) -> Socket | WouldBlock:
    """Connect to a listener (unix_stream_connect); the embryo, which waits in its queue, is the answer.

    ECONNREFUSED: nobody listens. EISCONN, EINVAL: this socket is connected, or listens (only looked at once the
    listener has room: CONN-4, CONN-5); and what Names.find raises.
    """
    kernel = sock.kernel
    if sock.passcred or sock.passpidfd:
        kernel.names.autobind(sock)
    return connect_to(sock, caller, kernel.names.find(caller, address, sock.type))


def connect_to(sock: Socket, caller: Caller, other: Socket) -> Socket | WouldBlock:
    """`connect` to a socket that was found already. Errors as there."""
    kernel = sock.kernel
    if other.state != LISTEN or other.shut & RCV_SHUTDOWN:
        raise SyscallError(Errno.ECONNREFUSED)
    queue = other.queue
    if len(queue) > other.backlog:
        return other.wait_space
    if sock.state != CLOSED:
        raise SyscallError(Errno.EISCONN if sock.state == ESTABLISHED else Errno.EINVAL)
    embryo = Socket(kernel, sock.type, other.net)
    embryo.grafted = False
    embryo.listener = other
    embryo.address = other.address
    inode = other.inode
    if inode is not None:
        embryo.inode = inode.share()
    embryo.passcred = other.passcred
    embryo.passpidfd = other.passpidfd
    embryo.passsec = other.passsec
    embryo.passrights = other.passrights
    credentials = caller.credentials
    embryo.peer_cred = credentials.effective
    embryo.peer_groups = credentials.groups
    sock.peer_cred = other.peer_cred
    sock.peer_groups = other.peer_groups
    embryo.peer = sock
    sock.peer = embryo
    sock.state = embryo.state = ESTABLISHED
    embryo.wmem = EMBRYO_TRUESIZE
    queue.append(Message(b"", EMBRYO_TRUESIZE, embryo, (), None, embryo))
    changed = kernel.changed
    changed[sock] = changed[embryo] = changed[other] = None
    if other.readers:
        kernel.wakeups.pending[other.readers] = None
    return embryo


def disconnect(sock: Socket, embryo: Socket) -> None:
    """Undo a connect whose answer did not reach the program; the connection has not been accepted yet."""
    listener = embryo.listener
    if listener is not None:
        for message in listener.queue:
            if message.embryo is embryo:
                listener.queue.remove(message)
                embryo.wmem -= message.truesize
                break
        sock.kernel.changed[listener] = None
    sock.peer = embryo.peer = None
    sock.peer_cred, sock.peer_groups = NO_PEER, None
    sock.state = CLOSED
    sock.kernel.changed[sock] = None
    embryo.close()


def accept(sock: Socket) -> Socket | WouldBlock:
    """Take the first connection that waits (unix_accept).

    EOPNOTSUPP: a datagram socket. EINVAL: not listening. After SHUT_RD an empty queue is EINVAL to a call that would
    block, EAGAIN to one that would not (CONN-7): the caller of this operation knows which it is.
    """
    if sock.type == SOCK_DGRAM:
        raise SyscallError(Errno.EOPNOTSUPP)
    if sock.state != LISTEN:
        raise SyscallError(Errno.EINVAL)
    if sock.error is not None:
        sock.take_error()
    queue = sock.queue
    if not queue:
        return sock.wait_readable
    embryo = queue.popleft().embryo
    assert embryo is not None, "a listener's queue holds connections only"
    kernel = sock.kernel
    embryo.wmem -= EMBRYO_TRUESIZE  # nobody can wait for its room yet
    kernel.changed[sock] = None
    if sock.waiting_peers:
        kernel.wakeups.pending[sock.waiting_peers] = None
    embryo.grafted = True
    embryo.listener = None
    return embryo


def return_embryo(sock: Socket, embryo: Socket) -> None:
    """Undo an accept whose answer did not reach the program: the connection is the first to be accepted again."""
    if sock.dead:
        embryo.close()
        return
    embryo.grafted = False
    embryo.listener = sock
    message = Message(b"", EMBRYO_TRUESIZE, embryo, embryo=embryo)
    embryo.wmem += EMBRYO_TRUESIZE
    sock.queue.appendleft(message)
    sock.kernel.changed[sock] = None
    sock.kernel.wakeups.wake(sock.readers)
