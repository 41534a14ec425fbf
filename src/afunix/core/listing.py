"""What the kernel tells of all its sockets (OPT-2): /proc/net/unix, as a pure function of their state."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Final

from afunix.abi.constants import SOCK_DGRAM
from afunix.core.socket import ESTABLISHED, LISTEN, Socket

if TYPE_CHECKING:
    from afunix.core.kernel import Kernel

__all__ = ["HEADER", "InodeOf", "descriptors_queued", "proc_line", "proc_net_unix", "references", "sockets_in"]

HEADER: Final = b"Num       RefCount Protocol Flags    Type St Inode Path\n"

SO_ACCEPTCON: Final = 1 << 16
"""The flag of a listener (__SO_ACCEPTCON)."""
SS_UNCONNECTED: Final = 1
SS_CONNECTING: Final = 2
SS_CONNECTED: Final = 3
SS_DISCONNECTING: Final = 4
"""States of `struct socket`, as far as a Unix socket shows them."""

InodeOf = Callable[[Socket], int]
"""The inode number that fstat shows for a socket; the front end knows it."""


def sockets_in(kernel: Kernel, net: Hashable) -> list[Socket]:
    """All sockets of a network namespace, in the order in which they were made."""
    living = [sock for reference in kernel.sockets.copy() if (sock := reference()) is not None and not sock.dead]
    living.sort(key=lambda sock: sock.number)
    return [sock for sock in living if sock.net == net]


def references(sock: Socket) -> int:
    """sk_refcnt: the socket's own and the table's, those of its peers, and of calls that wait for room in its queue."""
    count = 2 + len(sock.waiting_peers or ())
    if sock.type == SOCK_DGRAM:
        return count + len(sock.connectors)
    return count + (sock.peer is not None and not sock.peer.dead)


def descriptors_queued(sock: Socket) -> int:
    """How many descriptors wait for a socket: scm_fds of /proc/PID/fdinfo/N (unix_show_fdinfo, OPT-4).

    Those in its queue; of a listener those in the queues of the connections that it has not accepted.
    """
    return sum(
        len(message.files) if message.embryo is None else descriptors_queued(message.embryo) for message in sock.queue
    )


def proc_net_unix(sockets: Iterable[Socket], inode_of: InodeOf) -> bytes:
    """The text of /proc/net/unix for these sockets."""
    return HEADER + b"".join([proc_line(sock, inode_of) for sock in sockets])


def proc_line(sock: Socket, inode_of: InodeOf) -> bytes:
    """A socket's line (unix_seq_show). The address of the structure is zeros, as readers without CAP_SYSLOG see it."""
    flags = SO_ACCEPTCON if sock.state == LISTEN else 0
    if sock.grafted:
        state = SS_CONNECTED if sock.state == ESTABLISHED else SS_UNCONNECTED
    else:
        state = SS_CONNECTING if sock.state == ESTABLISHED else SS_DISCONNECTING
    inode = inode_of(sock) if sock.grafted else 0
    line = b"%016x: %08X %08X %08X %04X %02X %5d" % (0, references(sock), 0, flags, sock.type, state, inode)
    address = sock.address
    if address is not None:
        line += b" " + (address if address[0] else address.replace(b"\0", b"@"))
    return line + b"\n"
