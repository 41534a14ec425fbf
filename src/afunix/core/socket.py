"""The socket itself: its state, and the few operations that are the same for all three types.

State is kept in the fields, as Linux does. What must hold between operations:

* CLOSED and STREAM or SEQPACKET: no peer. LISTEN: bound, no peer, the queue holds embryos only.
* ESTABLISHED and STREAM or SEQPACKET: the peer is set until this socket is closed, also after the peer's death.
* `wmem` is the sum of truesize over all messages that this socket owns, in whatever queue they sit.
* Every message in `queue` has `files` that the queue owns; `oob` is None or one of the queue's messages.
* A dead socket has an empty queue, no name in any table, both shutdown bits, and is nobody's live peer.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final
from weakref import ref

from afunix.abi.constants import SHUT_RD, SHUT_RDWR, SOCK_DGRAM, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import NO_PEER, Ucred
from afunix.core.file import File
from afunix.core.wait import Taker, WaitQueue, WouldBlock

if TYPE_CHECKING:
    from collections.abc import Hashable

    from afunix.core.caller import BoundInode, Caller
    from afunix.core.kernel import Kernel
    from afunix.core.message import Message

__all__ = ["CLOSED", "ESTABLISHED", "LISTEN", "RCV_SHUTDOWN", "SEND_SHUTDOWN", "SHUTDOWN_MASK", "Socket"]

ESTABLISHED: Final = 1
CLOSED: Final = 7
LISTEN: Final = 10
"""TCP_ESTABLISHED, TCP_CLOSE and TCP_LISTEN: the states in which a Unix socket can be."""

RCV_SHUTDOWN: Final = 1
SEND_SHUTDOWN: Final = 2
SHUTDOWN_MASK: Final = 3

WMEM_BIAS: Final = 1
"""sk_wmem_alloc counts from one, which the test for writability includes (unix_writable)."""


class Socket(File):
    """A Unix-domain socket (`struct unix_sock` with its `struct socket`)."""

    __slots__ = (
        "__weakref__", "_wait_readable", "_wait_space", "_wait_writable", "address", "backlog", "connectors", "dead",
        "error", "front", "grafted", "inode", "inq", "kernel", "listener", "net", "nonblock", "number", "oob",
        "oobinline", "options", "passcred", "passed_over", "passpidfd", "passrights", "passsec", "peek_off", "peer",
        "peer_cred", "peer_groups", "queue", "rcvbuf", "rcvlowat", "rcvtimeo", "readers", "shut", "sndbuf",
        "sndtimeo", "space_edges", "space_freed", "state", "taker", "timestamp", "type", "uid", "waiting_peers",
        "wmem", "writers",
    )  # fmt: skip

    _wait_readable: WouldBlock
    _wait_space: WouldBlock
    _wait_writable: WouldBlock

    def __init__(self, kernel: Kernel, kind: int, net: Hashable) -> None:
        # As File.__init__: calling it is a tenth of what a socket costs.
        self.references = 0
        self.watchers = ()
        self.kernel = kernel
        self.type = kind
        self.net = net
        # Whose it is (sk_uid): who made or accepted it.
        self.uid = 0
        self.number = kernel.sockets_made = kernel.sockets_made + 1
        everybody = kernel.sockets
        everybody.add(ref(self, everybody.discard))
        self.state = CLOSED
        self.shut = 0
        self.error: Errno | None = None
        self.dead = False
        self.peer: Socket | None = None
        # DGRAM sockets whose default peer is this one: they become writable when its queue gets space (POLL-2).
        self.connectors: dict[Socket, None] = {}
        self.address: bytes | None = None
        self.inode: BoundInode | None = None
        self.queue: deque[Message] = deque()
        self.oob: Message | None = None
        # Urgent bytes that reads went past: Linux goes on counting them as unread (inq_len).
        self.passed_over = 0
        self.wmem = 0
        limits = kernel.limits
        self.sndbuf = limits.wmem_default
        self.rcvbuf = limits.rmem_default
        self.backlog = limits.max_dgram_qlen
        # False while it waits in a listener's queue: it has no descriptor yet (sk_socket).
        self.grafted = True
        self.listener: Socket | None = None
        # Who waits for data or connections to read, for room in the own send buffer, for room in this socket's queue
        # (peer_wait). None until somebody does; see `readable`, `writable` and `peer_space`.
        self.readers: WaitQueue | None = None
        self.writers: WaitQueue | None = None
        self.waiting_peers: WaitQueue | None = None
        # Of those who wait on `readable`, the read that data can be handed to at once (`stream_quick.hand_over`).
        self.taker: Taker | None = None
        self.peer_cred: Ucred = NO_PEER
        self.peer_groups: tuple[int, ...] | None = None
        self.passcred = False
        self.passpidfd = False
        self.passsec = False
        self.passrights = True
        self.inq = False
        self.timestamp = 0
        self.oobinline = False
        self.peek_off = -1
        self.rcvlowat = 1
        self.rcvtimeo: float | None = None
        self.sndtimeo: float | None = None
        self.nonblock = False
        self.options: dict[int, bytes] = {}
        # Whether a front end wants to know (in space_freed) of each read by the peer, not only of becoming writable.
        self.space_edges = False
        self.space_freed = False
        # For the front end that stands on this socket; the core never looks at it.
        self.front: object | None = None

    def __repr__(self) -> str:
        kind = {SOCK_STREAM: "STREAM", SOCK_DGRAM: "DGRAM"}.get(self.type, "SEQPACKET")
        state = {ESTABLISHED: "established", LISTEN: "listening"}.get(self.state, "closed")
        return f"<Socket #{self.number} {kind} {'dead' if self.dead else state} {self.address!r}>"

    # -- what is waited on: made when somebody is about to wait

    @property
    def readable(self) -> WaitQueue:
        """Woken when there are data or connections to read."""
        if self.readers is None:
            self.readers = WaitQueue()
        return self.readers

    @property
    def writable(self) -> WaitQueue:
        """Woken when there is room in the own send buffer."""
        if self.writers is None:
            self.writers = WaitQueue()
        return self.writers

    @property
    def peer_space(self) -> WaitQueue:
        """Woken when there is room in this socket's queue."""
        if self.waiting_peers is None:
            self.waiting_peers = WaitQueue()
        return self.waiting_peers

    # -- what an operation answers that has to wait: no such attribute until one does

    @property
    def wait_readable(self) -> WouldBlock:
        """Until there are data or connections."""
        try:
            return self._wait_readable
        except AttributeError:
            self._wait_readable = WouldBlock((self.readable,))
            return self._wait_readable

    @property
    def wait_writable(self) -> WouldBlock:
        """Until there is room in the own send buffer."""
        try:
            return self._wait_writable
        except AttributeError:
            self._wait_writable = WouldBlock((self.writable,))
            return self._wait_writable

    @property
    def wait_space(self) -> WouldBlock:
        """Until there is room in this socket's queue."""
        try:
            return self._wait_space
        except AttributeError:
            self._wait_space = WouldBlock((self.peer_space,))
            return self._wait_space

    # -- tests that several operations share

    @property
    def full(self) -> bool:
        """Whether the queue holds more than the backlog allows (unix_recvq_full, CONN-2)."""
        return len(self.queue) > self.backlog

    @property
    def has_space(self) -> bool:
        """Whether poll may say writable as far as the own send buffer goes (unix_writable, DATA-9)."""
        return (self.wmem + WMEM_BIAS) << 2 <= self.sndbuf and self.state != LISTEN

    @property
    def wants_credentials(self) -> bool:
        """Whether messages to or from this socket carry credentials (unix_may_passcred)."""
        return self.passcred or self.passpidfd

    @property
    def unread(self) -> int:
        """Bytes to read, as SIOCINQ, SCM_INQ and sock_diag tell them (unix_inq_len, DATA-15)."""
        if self.type == SOCK_DGRAM:
            return len(self.queue[0]) if self.queue else 0
        return sum(map(len, self.queue)) + self.passed_over

    def take_error(self) -> None:
        """Raise the pending error, once (sock_error, DATA-3)."""
        error = self.error
        if error is not None:
            self.error = None
            self.kernel.changed[self] = None
            raise SyscallError(error)

    # -- operations common to all types

    def shutdown(self, how: int) -> None:
        """Shut one or both directions (unix_shutdown, DATA-7). EINVAL: `how` is none of SHUT_RD, SHUT_WR, SHUT_RDWR."""
        if not SHUT_RD <= how <= SHUT_RDWR:
            raise SyscallError(Errno.EINVAL)
        bits = how + 1
        self.shut |= bits
        self._state_changed()
        peer = self.peer
        if peer is not None and self.type != SOCK_DGRAM:
            peer.shut |= (bits & RCV_SHUTDOWN) << 1 | (bits & SEND_SHUTDOWN) >> 1
            peer._state_changed()

    def name(self, peer: bool = False) -> bytes:
        """The address, b"" when it has none (unix_getname). ENOTCONN: the peer's is asked for and there is none."""
        sock: Socket | None = self
        if peer:
            sock = self.peer
            if sock is None:
                raise SyscallError(Errno.ENOTCONN)
        assert sock is not None
        return sock.address or b""

    def record_peer(self, caller: Caller) -> None:
        """Keep the caller's effective ids for SO_PEERCRED (init_peercred, SCM-6)."""
        credentials = caller.credentials
        self.peer_cred = credentials.effective
        self.peer_groups = credentials.groups

    def copy_peer(self, other: Socket) -> None:
        """Take over what the other socket recorded (copy_peercred)."""
        self.peer_cred = other.peer_cred
        self.peer_groups = other.peer_groups

    def close(self) -> None:
        """Give the socket up: the last reference is gone (unix_release_sock, DATA-4, CONN-10)."""
        if self.dead:
            return
        kernel = self.kernel
        if self.address is not None:
            kernel.names.forget(self)
        self.dead = True
        self.shut = SHUTDOWN_MASK
        listening = self.state == LISTEN
        self.state = CLOSED
        self.error = None
        self.oob = None
        pending = kernel.wakeups.pending
        if self.waiting_peers:
            pending[self.waiting_peers] = None
        if self.readers:
            pending[self.readers] = None
        if self.writers:
            pending[self.writers] = None
        queue = self.queue
        peer = self.peer
        if peer is not None:
            self.peer = None
            if self.type == SOCK_DGRAM:
                peer.connectors.pop(self, None)
            elif not peer.dead:
                peer.shut = SHUTDOWN_MASK
                # One empty message in front doesn't count: a read urgent byte, but an empty record as well.
                if not self.grafted or len(queue) > 1 or (queue and len(queue[0])):
                    peer.error = Errno.ECONNRESET
                peer._state_changed()
        if self.connectors:
            for connector in self.connectors:
                # Writable again: the next send is refused (DGRAM-5). It keeps its peer until then.
                kernel.changed[connector] = None
                kernel.wakeups.wake(connector.writers)
        while queue:
            message = queue.popleft()
            if listening and message.embryo is not None:
                message.embryo.close()
            kernel.free(message)
        kernel.changed.pop(self, None)
        if kernel.on_close is not None or kernel.flight.sockets:
            kernel.closed(self)

    def _state_changed(self) -> None:
        """Tell everyone who waits for anything on this socket (sk_state_change)."""
        kernel = self.kernel
        kernel.changed[self] = None
        if self.readers:
            kernel.wakeups.pending[self.readers] = None
        if self.writers:
            kernel.wakeups.pending[self.writers] = None
