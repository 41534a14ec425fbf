"""Answering calls: results, new descriptors, errors; and showing before each answer what has changed.

Order of an answer: change the core, mirror readiness, answer; if the answer does not go through (the thread was
killed), undo.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from afunix.abi.errno import ERESTARTSYS, Errno, SyscallError
from afunix.core.errors import BrokenPipe
from afunix.core.kernel import Kernel
from afunix.core.socket import Socket
from afunix.supervisor import hostcalls
from afunix.supervisor.hostcalls import Gone
from afunix.supervisor.listener import Listener
from afunix.supervisor.passed import bring_back
from afunix.supervisor.placeholder import Placeholder
from afunix.supervisor.signals import nudged
from afunix.supervisor.watch import Watch
from afunix.syscalls.call import Answer, Install, Native

if TYPE_CHECKING:
    from afunix.supervisor.bridge import Bridge
    from afunix.supervisor.call import NotifiedCall
    from afunix.supervisor.tracing import Tracing

__all__ = ["Answers"]


class Answers:
    """How calls end. `recorder`, if there is one, is told of each."""

    __slots__ = ("_kernel", "_listener", "_watch", "bridge", "recorder")

    def __init__(self, listener: Listener, kernel: Kernel, watch: Watch, recorder: Tracing | None) -> None:
        self._listener = listener
        self._kernel = kernel
        self._watch = watch
        self.recorder = recorder
        self.bridge: Bridge | None = None

    def mirror(self) -> None:
        """Bring the placeholders of all changed sockets up to date.

        A socket that somebody is blocked on reading is left to `settle`: the reader takes what came, and nothing
        need be shown.
        """
        changed = self._kernel.changed
        later = None
        while changed:
            sock, _ = changed.popitem()
            if sock.readers:
                if later is None:
                    later = []
                later.append(sock)
                continue
            front = sock.front
            if front is not None:
                front.sync()  # type: ignore[attr-defined]
        if later is not None:
            for sock in later:
                changed[sock] = None

    def answer(self, call: NotifiedCall, answer: Answer) -> None:
        """A call has come to its end."""
        if type(answer) is tuple:
            value, change = answer
            if self._kernel.changed:
                self.mirror()
                if self.bridge is not None and self.bridge.refused:
                    error = self.bridge.refusal(change)
                    if error is not None:
                        self.fail(call, error)
                        return
            if self.recorder is not None:
                self.recorder.call(call, value)
            if self._listener.answer(call.id, value):
                change.done()
            else:
                change.undo()
                self.lost(call)
            return
        if isinstance(answer, Install):
            self._install(call, answer)
            return
        self.mirror()
        if isinstance(answer, Native):
            if self.recorder is not None:
                self.recorder.call(call, 0)
            self._listener.proceed(call.id)
            return
        assert isinstance(answer, int)
        if self.recorder is not None:
            self.recorder.call(call, answer)
        if not self._listener.answer(call.id, answer):
            self.lost(call)

    def _install(self, call: NotifiedCall, answer: Install) -> None:
        """Answer with a new descriptor, in one step. OSError: EMFILE, of our own descriptors."""
        try:
            front = self.placeholder(answer.sock)
        except OSError:
            answer.undo()
            raise
        if front.held < 0:
            # It is parked with a listener that can't be reached: the program was killed in this moment.
            answer.undo()
            self.lost(call)
            return
        if self._kernel.changed:
            self.mirror()
        try:
            if self.recorder is not None:
                self._install_recorded(call, answer, front)
                return
            number = self._listener.install_and_answer(call.id, front.held, answer.cloexec)
        except SyscallError as error:
            # The program's table is full, which natively is found before a connection is taken.
            answer.undo()
            self.fail(call, error)
            return
        if number is None:
            answer.undo()
            return
        front.holder = (call.task, number)
        front.installed()

    def _install_recorded(self, call: NotifiedCall, answer: Install, front: Placeholder) -> None:
        """The same in two steps: the call is recorded in between, while its results in memory are what they are."""
        try:
            number = self._listener.install(call.id, front.held, answer.cloexec)
        except Gone:
            answer.undo()
            return
        assert self.recorder is not None
        self.recorder.call(call, number)
        if not self._listener.answer(call.id, number):
            answer.undo()
            self.lost(call)
            return
        front.holder = (call.task, number)
        front.installed()

    def placeholder(self, sock: Socket) -> Placeholder:
        """The placeholder of a socket that is about to be installed, its program end in the supervisor's hand."""
        front = sock.front
        if front is None:
            return Placeholder(sock, self._watch)
        assert isinstance(front, Placeholder)
        bring_back(front)
        if front.held >= 0 and sock.nonblock:
            os.set_blocking(front.held, False)
        return front

    def fail(self, call: NotifiedCall, error: SyscallError) -> None:
        """A call fails."""
        self.mirror()
        if self.recorder is not None:
            self.recorder.call(call, -error.errno)
        if isinstance(error, BrokenPipe) and error.signal:
            self._break_pipe(call)
        else:
            self._listener.fail(call.id, error.errno)

    def _break_pipe(self, call: NotifiedCall) -> None:
        """EPIPE and SIGPIPE (DATA-6): the thread doesn't take the signal before it has its answer."""
        hostcalls.tgkill(call.task.tgid, call.tid, signal.SIGPIPE)
        self._listener.fail(call.id, Errno.EPIPE)

    def restart(self, call: NotifiedCall, certain: bool) -> None:
        """A signal ends a call that has done nothing yet: leave the rest to the host's kernel (ERESTARTSYS).

        It must see the signal itself then, so where that is not `certain` the thread is nudged.
        """
        if self.recorder is not None:
            self.recorder.interrupted(call)
        self.mirror()
        if certain:
            self._listener.fail(call.id, ERESTARTSYS)
            return
        with nudged(call.tid) as nudge:
            self._listener.fail(call.id, ERESTARTSYS if nudge.able else Errno.EINTR)

    def lost(self, call: NotifiedCall) -> None:
        """An answer did not go through: its thread was killed."""
        if self._listener.valid(call.id):
            # Its descriptor was closed by another thread while we needed it.
            self._listener.fail(call.id, Errno.EBADF)
        if self.recorder is not None:
            self.recorder.interrupted(call)
