"""Who is bound to which name: the abstract table and the table of socket inodes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from afunix.abi.errno import Errno, SyscallError
from afunix.abi.sockaddr import autobind_name

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.kernel import Randomness
    from afunix.core.socket import Socket

__all__ = ["Names", "bind", "unbind"]

SOCKET_MODE = 0o777


class Names:
    """Abstract names by (network namespace, name, type) (NAME-4), and path names by inode (NAME-10)."""

    __slots__ = ("_randomness", "abstract", "inodes", "outside")

    def __init__(self, randomness: Randomness) -> None:
        self.abstract: dict[tuple[Hashable, bytes, int], Socket] = {}
        self.inodes: dict[Hashable, Socket] = {}
        self._randomness = randomness
        # Who to ask for a name that nobody here has: a front end that also reaches another kernel's sockets.
        self.outside: Callable[[Caller, bytes, int], Socket | None] | None = None

    def find(self, caller: Caller, address: bytes, kind: int) -> Socket:
        """The live socket of this type at an address (unix_find_other).

        ECONNREFUSED: nobody has the name; EPROTOTYPE: a path bound by a socket of another type; and what
        `Caller.lookup` raises.
        """
        if address[0]:
            sock = self.inodes.get(caller.lookup(address))
            if sock is not None and sock.type != kind:
                raise SyscallError(Errno.EPROTOTYPE)
        else:
            sock = self.abstract.get((caller.net, address, kind))
        if sock is None and self.outside is not None:
            sock = self.outside(caller, address, kind)
        if sock is None:
            raise SyscallError(Errno.ECONNREFUSED)
        return sock

    def autobind(self, sock: Socket) -> None:
        """Give an unbound socket a free name of five hexadecimal digits (unix_autobind, NAME-1).

        ENOSPC: all 2**20 are taken.
        """
        if sock.address is not None:
            return
        start = self._randomness.getrandbits(20)
        for step in range(1, (1 << 20) + 1):
            name = autobind_name((start + step) & 0xFFFFF)
            key = (sock.net, name, sock.type)
            if key not in self.abstract:
                self.abstract[key] = sock
                sock.address = name
                return
        raise SyscallError(Errno.ENOSPC)

    def forget(self, sock: Socket) -> None:
        """Take a socket out of the tables; a path name's inode stays (unix_remove_socket)."""
        inode = sock.inode
        if inode is not None:
            sock.inode = None
            if self.inodes.get(inode.key) is sock:
                del self.inodes[inode.key]
            inode.close()
            return
        address = sock.address
        if address and not address[0]:
            key = (sock.net, address, sock.type)
            if self.abstract.get(key) is sock:
                del self.abstract[key]


def bind(sock: Socket, caller: Caller, address: bytes | None, mode: int = SOCKET_MODE) -> bool:
    """Bind to a path, an abstract name, or with None to a name the kernel picks. True when it changed something.

    EINVAL: already bound (for a path, found only after its inode was made, which is removed again: NAME-7).
    EADDRINUSE: the name is taken (NAME-6); and mknod(2)'s errors for a path.
    """
    names = sock.kernel.names
    if address is None:
        unbound = sock.address is None
        names.autobind(sock)
        return unbound
    if address[0]:
        inode = caller.create(address, mode, sock.type)
        if sock.address is not None:
            inode.remove()
            inode.close()
            raise SyscallError(Errno.EINVAL)
        sock.inode = inode
        names.inodes[inode.key] = sock
        sock.address = address
        return True
    if sock.address is not None:
        raise SyscallError(Errno.EINVAL)
    key = (sock.net, address, sock.type)
    if key in names.abstract:
        raise SyscallError(Errno.EADDRINUSE)
    names.abstract[key] = sock
    sock.address = address
    return True


def unbind(sock: Socket) -> None:
    """Undo a bind whose answer did not reach the program: the name is free and the inode gone again."""
    inode = sock.inode
    if inode is not None:
        inode.remove()
    sock.kernel.names.forget(sock)
    sock.address = None
