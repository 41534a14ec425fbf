"""The short way of the two calls that a conversation over a stream consists of: a read that waits, and the write it
waits for.

Neither needs more than what stands here: the write's bytes go from one program's memory to the other's without a queue
between (core.stream_quick). Whatever is not just so goes the long way, which does the same.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from afunix.abi.constants import MAX_RW_COUNT, MSG_DONTWAIT, MSG_NOSIGNAL
from afunix.core.stream_quick import hand_back, only_waits, pass_on
from afunix.core.wait import WouldBlock
from afunix.supervisor import trapcalls
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.parked import Parked
from afunix.syscalls import transfer
from afunix.syscalls.call import TASK_SIZE_MAX, Answer

if TYPE_CHECKING:
    from afunix.core.socket import Socket
    from afunix.supervisor.placeholder import Placeholder
    from afunix.supervisor.supervisor import Supervisor
    from afunix.supervisor.tasks import Task
    from afunix.supervisor.traps import Trap

__all__ = ["reading", "writing"]

HARMLESS = MSG_NOSIGNAL | MSG_DONTWAIT
"""Flags of a send that make no difference where the bytes are taken at once."""

_vm_read = trapcalls.vm_read
_vm_write = trapcalls.vm_write
_answer = trapcalls.answer


class WaitingRead(Parked):
    """A plain read that waits, before anything else was made for it: the rest comes to be if it is asked for."""

    __slots__ = ("_args", "_body", "_call", "_ident", "_task")

    sock: Socket

    def __init__(self, supervisor: Supervisor, ident: int, task: Task, args: tuple[int, ...], sock: Socket) -> None:
        self.supervisor = supervisor
        self.sock = sock
        self._ident = ident
        self._task = task
        self._args = args
        self._call: NotifiedCall | None = None
        self._body: Generator[WouldBlock, Any, Answer] | None = None
        self.queues = self.deadline = self.data = None
        self.done = False
        self.since = self.due = 0.0
        self.size = args[2]
        sock.readable.waiters[self] = None
        sock.taker = self

    @property
    def call(self) -> NotifiedCall:  # type: ignore[override]
        """The call, as handlers see it."""
        if self._call is None:
            self._call = NotifiedCall(self.supervisor, self._ident, self._task.tid, self._task, "read", self._args)
            self._call.sock = self.sock
        return self._call

    @property
    def body(self) -> Generator[WouldBlock, Any, Answer]:  # type: ignore[override]
        """What an interruption is thrown into."""
        if self._body is None:
            self._body = transfer.read_later(self.call)
        return self._body

    def leave(self) -> None:
        """Leave the queue."""
        sock = self.sock
        sock.readable.waiters.pop(self, None)
        if sock.taker is self:
            sock.taker = None

    def go_on(self) -> None:
        """With what was handed over, or whatever else there is now."""
        data = self.data
        supervisor = self.supervisor
        if data is not None:
            self.data = None
            tid = self._task.tid
            try:
                written = _vm_write(tid, self._args[1], data) == len(data)
            except OSError:
                written = False
            if written:
                self.done = True
                del supervisor.parked[tid]
                if not _answer(supervisor.listener.fd, self._ident, len(data), 0, 0):
                    hand_back(self.sock, data)
                return
            hand_back(self.sock, data)
        supervisor.retake(self)


def reading(supervisor: Supervisor, otherwise: Trap, name: str) -> Trap:
    """The trap of read(2), and of recv(2) without flags."""
    parked = supervisor.parked
    get = supervisor.tasks.get
    signals = supervisor.signals
    plain = name == "read"

    def reading(ident: int, tid: int, args: tuple[int, ...], placeholder: Placeholder | None) -> None:
        if placeholder is not None:
            sock = placeholder.sock
            size = args[2]
            if (
                not sock.queue
                and (plain or not (args[3] & 0xFFFFFFFF or args[4]))
                and not sock.nonblock
                and only_waits(sock)
                and 0 < size <= MAX_RW_COUNT
                and args[1] + size <= TASK_SIZE_MAX
            ):
                task = get(tid)
                placeholder.holder = (task, args[0] & 0xFFFFFFFF)
                parked[tid] = WaitingRead(supervisor, ident, task, args, sock)
                signals.fresh = True
                return
        otherwise(ident, tid, args, placeholder)

    return reading


def writing(supervisor: Supervisor, otherwise: Trap, name: str) -> Trap:
    """The trap of write(2), and of send(2) without flags that matter here."""
    listener = supervisor.listener.fd
    get = supervisor.tasks.get
    handed = supervisor.handed
    kernel = supervisor.kernel
    plain = name == "write"

    def writing(ident: int, tid: int, args: tuple[int, ...], placeholder: Placeholder | None) -> None:
        if placeholder is not None:
            sock = placeholder.sock
            peer = sock.peer
            if (
                peer is not None
                and (taker := peer.taker) is not None
                and 0 < args[2] <= taker.size
                and (plain or not (args[3] & ~HARMLESS & 0xFFFFFFFF or args[4]))
            ):
                try:
                    data = _vm_read(tid, args[1], args[2])
                except OSError:
                    data = None
                if data is not None and pass_on(sock, peer, data):
                    placeholder.holder = (get(tid), args[0] & 0xFFFFFFFF)
                    _answer(listener, ident, args[2], 0, 0)
                    handed.pop().go_on()
                    if kernel.changed or handed:
                        supervisor.settle()
                    return
        otherwise(ident, tid, args, placeholder)

    return writing
