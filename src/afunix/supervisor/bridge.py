"""The world outside: programs inside reach sockets of the host, programs outside reach names bound inside.

A name that nobody inside has is looked for on the host: a connection becomes a `Link`, a datagram address an `Outlet`.
A name that a program binds is bound on the host too, by a host socket that an `Inlet` accepts from or receives from.
docs/decisions/0007-the-world-outside.md says what differs from a host without a bridge.
"""

from __future__ import annotations

import os
import select
import signal
import socket as host
import sys
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from afunix.abi.constants import SOCK_DGRAM, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.sockaddr import SUN_PATH_OFFSET
from afunix.core.message import Sent
from afunix.core.socket import LISTEN, Socket
from afunix.supervisor import native as hostside
from afunix.supervisor import paths
from afunix.supervisor.caller import HostInode, TaskCaller
from afunix.supervisor.emigrant import Emigrant
from afunix.supervisor.inlet import Inlet
from afunix.supervisor.link import Arrival, Link
from afunix.supervisor.native import KINDS
from afunix.supervisor.outlet import Outlet
from afunix.supervisor.retry import Retry
from afunix.syscalls import naming
from afunix.syscalls.call import Outcome, Undo

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.kernel import Kernel
    from afunix.core.message import Message
    from afunix.supervisor.call import NotifiedCall
    from afunix.supervisor.placeholder import Placeholder
    from afunix.supervisor.watch import Watch

__all__ = ["Bridge"]

SIGINFO_SIZE: Final = 128
ENDING: Final = frozenset((signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM))
AUTOBIND_TRIES: Final = 64
"""How many names of the kernel's choice may be taken outside before ENOSPC."""


class Bridge:
    """All traffic between the kernel and the host's own AF_UNIX."""

    def __init__(self, kernel: Kernel, watch: Watch) -> None:
        self.kernel = kernel
        self.watch = watch
        self.retry = Retry(watch)
        self.links: set[Link] = set()
        self.outlets: set[Outlet] = set()
        self.crowded: dict[Hashable, Outlet] = {}
        """Outlets that hold messages, by address: others to the same address queue up behind them."""
        self.natives: dict[Socket, host.socket] = {}
        """The host sockets with the names of datagram sockets inside."""
        self.refused: dict[Message, int] = {}
        """Messages that the host did not take, and why."""
        self.warn: Callable[[str], None] = lambda text: print(f"afunix: {text}", file=sys.stderr, flush=True)
        self._inlets: dict[Socket, Inlet] = {}
        self._net: Hashable = os.stat("/proc/self/ns/net").st_ino
        # Stands for every listener outside that is full: its own queue always is.
        self._full = Socket(kernel, SOCK_STREAM, self._net)
        self._full.state = LISTEN
        self._full.backlog = -1
        kernel.names.outside = self.find

    # -- programs inside to sockets outside

    def find(self, caller: Caller, address: bytes, kind: int) -> Socket | None:
        """A core socket that stands for the host's at this address; None: the host has none either.

        Abstract names are those of the supervisor's own network namespace. A listener that is full outside is one
        that is full here. EACCES, EPROTOTYPE, EPERM and the like: the host's own answer.
        """
        if not isinstance(caller, TaskCaller):
            return None
        inode = None
        to: str | bytes = address
        key: Hashable = address
        if address[0]:
            inode = paths.lookup(caller.task, address)
            to = f"/proc/self/fd/{inode.fd}"
            key = inode.key
        elif caller.net != self._net:
            return None
        try:
            if kind == SOCK_DGRAM and key in self.crowded:
                return self.crowded[key].sock
            native = host.socket(host.AF_UNIX, KINDS[kind] | host.SOCK_NONBLOCK)
            error = self._connect(native, caller, to)
            if error == Errno.ECONNREFUSED:
                return None
            if error == Errno.EAGAIN:
                self.retry.soon(self._knock)
                return self._full
            sock = Socket(self.kernel, kind, caller.net)
            sock.address = address
            if kind == SOCK_DGRAM and error in (0, Errno.EPERM):
                Outlet(self, sock, native, connected=not error, key=key, inode=inode, to=to)
                inode = None
                return sock
            if error:
                raise SyscallError(Errno(error))
        finally:
            if inode is not None:
                inode.close()
        outsider = hostside.peer_of(native, caller.net)
        sock.state = LISTEN
        sock.address = hostside.address_of(native.getpeername())
        sock.peer_cred = outsider.credentials.effective
        sock.peer_groups = outsider.credentials.groups
        Arrival(self, sock, native, outsider)
        return sock

    def _connect(self, native: host.socket, caller: TaskCaller, to: str | bytes) -> int:
        """The errno of a connect in the program's name; EPERM leaves a socket for datagrams, others close it."""
        try:
            with hostside.effective_as(caller.credentials):
                native.connect(to)
        except OSError as error:
            if error.errno != Errno.EPERM:
                native.close()
            return error.errno or Errno.ECONNREFUSED
        return 0

    def _knock(self) -> None:
        """Those who wait for a listener outside to have room try again."""
        self.kernel.wakeups.wake(self._full.waiting_peers)

    # -- programs outside to sockets inside

    def bind(self, call: NotifiedCall) -> Outcome:
        """bind(2): inside, and on the host. EADDRINUSE: the name is taken, here or there."""
        automatic = call.args[2] & 0xFFFFFFFF == SUN_PATH_OFFSET
        sock = call.sock
        for _ in range(AUTOBIND_TRIES):
            outcome = naming.bind(call)
            if not isinstance(outcome, tuple):
                return outcome
            change = outcome[1]
            try:
                native = self._bound(sock)
            except OSError as error:
                change.undo()
                if not automatic or error.errno != Errno.EADDRINUSE:
                    raise SyscallError(Errno(error.errno or Errno.EADDRINUSE)) from None
                continue
            if native is None:
                return outcome
            self._inlets[sock] = Inlet(self, sock, native)
            if sock.type == SOCK_DGRAM:
                self.natives[sock] = native
            return 0, Undo([lambda: self.unbound(sock), change.undo])
        raise SyscallError(Errno.ENOSPC)

    def _bound(self, sock: Socket) -> host.socket | None:
        """The host socket that has the name. None: it is the name of another network namespace. OSError."""
        if isinstance(sock.inode, HostInode):
            return sock.inode.native
        if sock.net != self._net:
            return None
        native = host.socket(host.AF_UNIX, KINDS[sock.type])
        try:
            native.bind(sock.name())
        except OSError:
            native.close()
            raise
        return native

    def listen(self, call: NotifiedCall) -> Outcome:
        """listen(2): inside and on the host."""
        outcome = naming.listen(call)
        inlet = self._inlets.get(call.sock)
        if inlet is not None:
            inlet.listen(call.caller.credentials)
        return outcome

    def unbound(self, sock: Socket) -> None:
        """A socket inside is gone, or has no name any more."""
        self.natives.pop(sock, None)
        inlet = self._inlets.pop(sock, None)
        if inlet is not None:
            inlet.close()
        if sock.type == SOCK_DGRAM:
            for outlet in [outlet for outlet in self.outlets if not outlet.sock.connectors and not outlet.unsent]:
                outlet.sock.close()

    # -- both

    def refuse(self, message: Message, errno: int) -> None:
        """The host does not take a message."""
        self.refused[message] = errno

    def leave(self, placeholder: Placeholder, native: host.socket) -> None:
        """A virtual socket was passed outside, where the other end of this host socket is it."""
        Emigrant(self, placeholder, native)

    def refusal(self, change: object) -> SyscallError | None:
        """What a call that has just queued messages must be told instead of its result, if anything."""
        refused, self.refused = self.refused, {}
        if isinstance(change, Sent):
            for message in change.messages:
                if message in refused:
                    return SyscallError(Errno(refused[message]))
        return None

    def drain(self, signals: int) -> None:
        """The programs inside are gone: what they sent goes out, however slowly it is taken.

        SIGHUP, SIGINT, SIGQUIT or SIGTERM, told by the signalfd `signals`, ends that.
        """
        parts: list[Link | Outlet] = [*self.links, *self.outlets]
        for part in parts:
            part.flush()
        while any(part.unsent for part in parts):
            if signals in select.select([signals, self.watch.epoll.fileno()], [], [])[0]:
                for at in range(0, len(told := os.read(signals, 16 * SIGINFO_SIZE)), SIGINFO_SIZE):
                    if int.from_bytes(told[at : at + 4], sys.byteorder) in ENDING:
                        return
            for _ in self.watch.poll():
                pass
