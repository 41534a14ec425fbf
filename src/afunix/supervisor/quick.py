"""The short way of the two calls that a conversation over a stream consists of: a read that waits, and the write it
waits for.

Neither needs more than what stands here: the write's bytes go from one program's memory to the other's without a queue
between (core.stream_quick). Whatever is not just so goes the long way, which does the same.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from afunix.abi.constants import MAX_RW_COUNT, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_STREAM
from afunix.core.message import Received
from afunix.core.stream import receive
from afunix.core.stream_quick import hand_back, only_takes, only_waits, put
from afunix.core.wait import WouldBlock
from afunix.supervisor import trapcalls
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.parked import Parked
from afunix.supervisor.placeholder import Placeholder
from afunix.syscalls import transfer
from afunix.syscalls.call import TASK_SIZE_MAX, Answer
from afunix.syscalls.sending import PORTION

if TYPE_CHECKING:
    from afunix.core.socket import Socket
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
        self.tid = task.tid
        self._ident = ident
        self._task = task
        self._args = args
        self._call: NotifiedCall | None = None
        self._body: Generator[WouldBlock, Any, Answer] | None = None
        self.queues = self.deadline = self.data = None
        self.done = False
        self.since = self.due = 0.0
        self.size = args[2]
        sock.readable[self] = None
        sock.taker = self

    @property
    def call(self) -> NotifiedCall:  # type: ignore[override]
        """The call, as handlers see it."""
        if self._call is None:
            self._call = NotifiedCall(self.supervisor, self._ident, self.tid, self._task, "read", self._args)
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
        sock.readable.pop(self, None)
        if sock.taker is self:
            sock.taker = None

    def go_on(self) -> None:
        """With what was handed over, or whatever else there is now."""
        supervisor = self.supervisor
        if supervisor.forsaken(self):
            return
        data = self.data
        if data is not None:
            self.data = None
            try:
                written = _vm_write(self.tid, self._args[1], data) == len(data)
            except OSError:
                written = False
            if written:
                supervisor.unpark(self)
                if not _answer(supervisor.listener.fd, self._ident, len(data), 0, 0):
                    hand_back(self.sock, data)
                return
            hand_back(self.sock, data)
        supervisor.retake(self)


def reading(supervisor: Supervisor, otherwise: Trap, name: str) -> Trap:
    """The trap of read(2), and of recv(2) without flags."""
    listener = supervisor.listener.fd
    parked = supervisor.parked
    get = supervisor.tasks.get
    signals = supervisor.signals
    kernel = supervisor.kernel
    pending = kernel.wakeups.pending
    closed_last = supervisor.closed_last
    mirror = supervisor.mirror
    plain = name == "read"

    def reading(ident: int, tid: int, args: tuple[int, ...], placeholder: Placeholder | None) -> None:
        if placeholder is not None and (plain or not (args[3] & 0xFFFFFFFF or args[4])):
            sock = placeholder.sock
            size = args[2]
            if 0 < size <= MAX_RW_COUNT and args[1] + size <= TASK_SIZE_MAX:
                task = get(tid)
                placeholder.holder = (task, args[0] & 0xFFFFFFFF)
                if placeholder.user != task.tgid:
                    placeholder.used_by(task.tgid)
                if sock.queue:
                    if only_takes(sock):
                        received = receive(sock, size)
                        if type(received) is Received:
                            try:
                                written = _vm_write(tid, args[1], received.data) == received.length
                            except OSError:
                                written = False
                            if written:
                                mirror()
                                if _answer(listener, ident, received.length, 0, 0):
                                    received.done()
                                else:
                                    received.undo()
                                if pending or kernel.changed or closed_last:
                                    supervisor.settle()
                                return
                            received.undo()
                elif not sock.nonblock and only_waits(sock):
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
    pending = kernel.wakeups.pending
    closed_last = supervisor.closed_last
    mirror = supervisor.mirror
    plain = name == "write"

    def writing(ident: int, tid: int, args: tuple[int, ...], placeholder: Placeholder | None) -> None:
        if placeholder is not None and (plain or not (args[3] & ~HARMLESS & 0xFFFFFFFF or args[4])):
            sock = placeholder.sock
            peer = sock.peer
            size = args[2]
            if (
                peer is not None
                and 0 < size <= PORTION
                and args[1] + size <= TASK_SIZE_MAX
                and sock.type == SOCK_STREAM
                and type(peer.front) is Placeholder
                and sock.error is None
            ):
                try:
                    data = _vm_read(tid, args[1], size)
                except OSError:
                    data = None
                if data is not None and put(sock, data):
                    placeholder.holder = (get(tid), args[0] & 0xFFFFFFFF)
                    if handed:
                        _answer(listener, ident, size, 0, 0)
                        handed.pop().go_on()
                    else:
                        kernel.changed[peer] = None
                        if (sock.wmem + 1) << 2 > sock.sndbuf:
                            kernel.changed[sock] = None
                        mirror()
                        _answer(listener, ident, size, 0, 0)
                    if pending or kernel.changed or handed or closed_last:
                        supervisor.settle()
                    return
        otherwise(ident, tid, args, placeholder)

    return writing
