"""One AF_UNIX kernel: its limits, its names, and what its operations have changed since the driver last looked."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import ref

from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from afunix.core.flight import Flight
from afunix.core.names import Names
from afunix.core.wait import Wakeups

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.file import File
    from afunix.core.message import Message
    from afunix.core.socket import Socket

__all__ = ["Kernel", "Limits", "Randomness"]


class Randomness(Protocol):
    """Where autobind starts to look for a free name; `random.Random` fits."""

    def getrandbits(self, k: int, /) -> int:
        """An integer of k random bits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The sysctl values that sockets obey, with Linux's defaults. Sizes are bytes of truesize.

    hz is CONFIG_HZ: SO_RCVTIMEO and SO_SNDTIMEO are rounded up to whole jiffies, of which a second has so many.
    """

    wmem_default: int = 212992
    wmem_max: int = 4194304
    rmem_default: int = 212992
    rmem_max: int = 4194304
    somaxconn: int = 4096
    max_dgram_qlen: int = 10
    hz: int = 250


class Kernel:
    """The state that sockets share.

    `changed` collects, in order, the sockets whose readiness or queue an operation touched; `wakeups` the wait queues
    to be told. Both are for the driver: it reads them after the operation and empties them.
    """

    def __init__(self, randomness: Randomness, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.names = Names(randomness)
        self.wakeups = Wakeups()
        self.changed: dict[Socket, None] = {}
        self.inflight: dict[int, int] = {}
        self.flight = Flight()
        self.sockets_made = 0
        # All that there are. Weak: what a front end made for the time of one message, and never closes, is not kept. A
        # plain set, out of which each takes itself, is five times cheaper than those of the standard library.
        self.sockets: set[ref[Socket]] = set()
        # A message that was read and can be used again (see `stream_quick.take`).
        self.spare: list[Message] = []
        # SO_NETNS_COOKIE of each network namespace that was asked for it.
        self.net_cookies: dict[Hashable, int] = {}
        self._dropped: list[File] = []
        self._dropping = False
        self._uncollected = False
        self.on_close: Callable[[Socket], None] | None = None

    def charge(self, message: Message) -> None:
        """Count a message, and the descriptors in it, as its owner's again (skb_set_owner_w)."""
        owner = message.owner
        owner.wmem += message.truesize
        self.changed[owner] = None
        if message.files:
            self.reattach(message)

    def reattach(self, message: Message) -> None:
        """The descriptors of a message are in flight again, as before they were taken."""
        self.inflight[message.user] = self.inflight.get(message.user, 0) + len(message.files)
        self.flight.count(message.files, 1)

    def check_flight(self, caller: Caller) -> None:
        """Whether a user may put descriptors in flight (too_many_unix_fds, SCM-2).

        ETOOMANYREFS: more are than RLIMIT_NOFILE, and the caller has no capability that exempts it.
        """
        credentials = caller.credentials
        if (
            not credentials.capable(CAP_SYS_RESOURCE)
            and not credentials.capable(CAP_SYS_ADMIN)
            and self.inflight.get(credentials.uid, 0) > caller.nofile
        ):
            raise SyscallError(Errno.ETOOMANYREFS)

    def attach(self, message: Message, caller: Caller) -> None:
        """Count the descriptors that a message puts in flight for the sending user (unix_add_edges)."""
        message.user = caller.credentials.uid
        self.reattach(message)

    def detach(self, message: Message) -> None:
        """The descriptors of a message leave it for a receiver, who owns them now (unix_detach_fds)."""
        left = self.inflight[message.user] - len(message.files)
        if left:
            self.inflight[message.user] = left
        else:
            del self.inflight[message.user]
        self.flight.count(message.files, -1)
        message.files = ()

    def uncharge(self, message: Message) -> None:
        """Give a message's truesize back to its owner, and wake it where it can send again (sock_wfree)."""
        owner = message.owner
        before = (owner.wmem + 1) << 2 <= owner.sndbuf
        owner.wmem -= message.truesize
        if not before and owner.has_space:
            self.changed[owner] = None
            self.wakeups.wake(owner.writers)
            return
        if owner.writers and owner.has_space:
            # Each message that is read is another edge to who polls for space (unix_write_space).
            self.wakeups.pending[owner.writers] = None
        if owner.space_edges:
            owner.space_freed = True
            self.changed[owner] = None

    def free(self, message: Message) -> None:
        """Throw a message away: its descriptors are closed, its owner gets its space back (unix_destruct_scm).

        What closing one of them frees in turn is closed after it, not inside it, so that chains may be long.
        """
        files = message.files
        if files:
            self.detach(message)
            self._dropped += files
        self.uncharge(message)
        if self._dropped and not self._dropping:
            self._dropping = True
            try:
                while self._dropped:
                    self._dropped.pop(0).release()
            finally:
                self._dropping = False
            if self._uncollected:
                self.collect()

    def closed(self, sock: Socket) -> None:
        """A socket is gone: tell the front end, which frees what it holds for it, and look for garbage."""
        if self.on_close is not None:
            self.on_close(sock)
        if self.flight.sockets:
            if self._dropping:
                self._uncollected = True
            else:
                self.collect()

    def collect(self) -> None:
        """Throw away the queues of sockets that only keep each other alive in unread messages (unix_gc, SCM-10).

        Done whenever a socket closes while others are in flight. Sockets that a front end passes as files of its own
        are its own to collect. All queues are emptied before anything is closed, so that no peer sees a reset.
        """
        self._uncollected = False
        garbage: list[Message] = []
        for sock in self.flight.garbage():
            garbage += sock.queue
            sock.queue.clear()
            sock.oob = None
        for message in garbage:
            self.free(message)
