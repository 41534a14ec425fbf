"""The supervisor: takes each trapped call, runs it on the core kernel, and has it answered.

Those whom a change woke run when the call that made it was answered.
"""

from __future__ import annotations

import gc
import heapq
import os
import random
import select
import sys
import time
import traceback
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import TYPE_CHECKING

from afunix.abi import arch
from afunix.abi.errno import Errno, SyscallError
from afunix.core.errors import Unmodelled
from afunix.core.kernel import Kernel
from afunix.core.message import Received
from afunix.core.socket import Socket
from afunix.core.stream_quick import hand_back
from afunix.core.wait import WaitQueue, WouldBlock
from afunix.supervisor import hostcalls, trapcalls
from afunix.supervisor.answers import Answers
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.emigrant import Emigrant
from afunix.supervisor.host import host_limits
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.listener import Listener, Notification
from afunix.supervisor.parked import Parked
from afunix.supervisor.passed import HostFile
from afunix.supervisor.placeholder import SEVERAL, Placeholder
from afunix.supervisor.procfiles import ProcFiles
from afunix.supervisor.signals import SOONEST, Signals
from afunix.supervisor.sockdiag import SockDiag
from afunix.supervisor.tasks import Task, TaskTable
from afunix.supervisor.trapcalls import ENDED
from afunix.supervisor.traps import Traps
from afunix.supervisor.watch import Watch
from afunix.syscalls import transfer
from afunix.syscalls.call import Install, Outcome

if TYPE_CHECKING:
    from afunix.supervisor.bridge import Bridge
    from afunix.supervisor.tracing import Tracing

__all__ = ["Supervisor"]


MOST = 9
"""So many calls are received at once, before the first is run: one that was received is safe from signals (0005)."""

FIRST_LOOK = round(SOONEST * 1000)
"""Milliseconds."""

TURNS = 15
"""In a loop that always finds something to do, every so many turns, plus one, it looks what time it is."""


class Supervisor:
    """All programs of one `afunix run` on one kernel.

    `recorder`, if there is one, is told of every call; without one a call pays for a single test.
    """

    def __init__(self, listener_fd: int, *, recorder: Tracing | None = None) -> None:
        self.listener = Listener(listener_fd)
        self.kernel = Kernel(random.Random(), host_limits())
        self.kernel.on_close = self._closed
        self.tasks = TaskTable()
        self.watch = Watch()
        self.recorder = recorder
        self.parked: dict[int, Parked] = {}
        self.handed: list[Parked] = []
        """Reads that were given their data, and are to go on once the call that sent them is answered."""
        self._deadlines: list[tuple[float, int, Parked]] = []
        self._order = 0
        self.signals = Signals(self.parked)
        # Sockets that only calls still under way keep open; those of them whose calls have just ended.
        self._closing: set[Socket] = set()
        self.closed_last: list[Socket] = []
        self._bridge: Bridge | None = None
        self._stop = False
        self._warned: set[str] = set()
        self._answers = Answers(self.listener, self.kernel, self.watch, recorder)
        self._answer = self._answers.answer
        self._fail = self._answers.fail
        self.mirror = self._answers.mirror
        self.placeholder = self._answers.placeholder
        self.proc_files = ProcFiles(self)
        self.sock_diag = SockDiag(self)
        self._traps = Traps(self)
        self._table = self._traps.table()
        self._about = self._traps.about_sockets(trapcalls.OTHER_FILES)
        self.watch.register(self.tasks.fileno(), select.EPOLLIN, lambda _: self._threads_ended())

    def attach(self, bridge: Bridge) -> None:
        """Let programs inside and outside reach each other."""
        self._bridge = self._answers.bridge = bridge
        bridge.warn = self._warn
        self.tasks.bridged = True
        self.proc_files.private = False
        numbers = arch.current().numbers
        self._table[numbers["bind"]] = self._traps.on_socket("bind", bridge.bind)
        self._table[numbers["listen"]] = self._traps.on_socket("listen", bridge.listen)

    # -- the loop

    def run(self) -> None:
        """Serve until no process is left that could trap."""
        listener_fd = self.listener.fd
        epoll_fd = self.watch.epoll.fileno()
        turn = trapcalls.turn
        table = self._table
        parked = self.parked
        signals = self.signals
        deadlines = self._deadlines
        postponed = self.listener.postponed
        tasks = self.tasks
        links = tasks.links
        sockets = self.watch.by_inode
        sending = self._traps.sending()

        def is_sending(call: Notification) -> bool:
            return call[2] in sending

        # What is there now stays; and what calls leave behind has no cycles, so looking for some can be rare.
        hostcalls.keep_freed_memory()
        gc.freeze()
        gc.set_threshold(100_000, 20, 100)
        turns = 0
        while not self._stop:
            if not parked:
                timeout = -1
            elif signals.fresh and not deadlines:
                timeout = FIRST_LOOK  # the clock need not be asked: a call that has just been parked is looked at first
            else:
                timeout = self._timeout()
            what, calls = turn(listener_fd, epoll_fd, timeout, MOST, links, sockets, self._about)
            if what:
                if what & ENDED:
                    return
                # After the calls are received: a hang-up's SIGIO would take a thread out of one that is not.
                try:
                    self._hangups()
                except OSError as error:
                    self._defect(error)
            if len(calls) > 1:
                # All of them are under way at once, so any order is right; and what a waiting reader takes needs not
                # be shown to anybody (0010).
                calls.sort(key=is_sending)
            for ident, tid, number, args, found in calls:
                if tid in parked:
                    self._abandoned(parked[tid])
                    self.settle()
                try:
                    table[number](ident, tid, args, found)
                except Exception as error:
                    self._refuse(ident, error)
                if postponed:
                    calls += postponed
                    postponed.clear()
            turns = turns + 1 & TURNS
            if parked and not (calls and turns):
                self._expire()

    def look_at_all_sockets(self) -> None:
        """From now on calls on the host's own sockets are told, too, not only those on ours."""
        self._about = self._traps.about_sockets(trapcalls.NO_SOCKETS)

    def stop(self) -> None:
        """Leave the loop after the current call."""
        self._stop = True

    def _timeout(self) -> int:
        """Milliseconds until a deadline or a look for signals is due."""
        signals = self.signals
        now = time.monotonic()
        if signals.due(now):
            return 0
        due = signals.next
        if self._deadlines and self._deadlines[0][0] < due:
            due = self._deadlines[0][0]
        return min(max(0, int((due - now) * 1000 + 1)), 1 << 30)

    def _expire(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, parked = heapq.heappop(self._deadlines)
            if not parked.done and parked.queues is not None and parked.queues.deadline is not None:
                self.resume(parked, SyscallError(Errno.EAGAIN))
                self.settle()
        if self.signals.due(now):
            for parked, certain in self.signals.look(now):
                self._signalled(parked, certain)

    def _hangups(self) -> None:
        """Sockets whose last descriptor anywhere is gone."""
        for placeholder in self.watch.poll():
            placeholder.holder = None
            self._close(placeholder.sock)
        self.settle()

    def _close(self, sock: Socket) -> None:
        """The last descriptor of a socket is gone; calls that are blocked on it keep it open until they end."""
        blocked = [parked for parked in self.parked.values() if parked.sock is sock]
        for parked in blocked:
            if not self.listener.valid(parked.call.id):
                self._abandoned(parked)
        if any(not parked.done for parked in blocked):
            self._closing.add(sock)
            return
        front = sock.front
        if isinstance(front, Emigrant):
            front.left()
            return
        if isinstance(front, Placeholder) and front.in_flight and front.keeps_itself():
            # The collector throws a queue away before it closes the socket, so that the peer sees no reset.
            while sock.queue:
                self.kernel.free(sock.queue.popleft())
        sock.close()

    def hold(self, task: Task, number: int) -> HostFile:
        """A copy of a program's descriptor, on its way to somebody else. SyscallError as Task.take."""
        fd, inode, path_only = task.take_as(number)
        return HostFile(fd, self.watch.by_inode.get(inode), path_only)

    def _threads_ended(self) -> None:
        """Threads have ended: the calls that they were blocked in are over."""
        self.tasks.expire()
        for parked in list(self.parked.values()):
            if not self.listener.valid(parked.call.id):
                self._abandoned(parked)
        self.settle()

    def sweep(self) -> None:
        """Close the sockets that never connected and that no program has any more."""
        for placeholder in self.watch.dead_loose():
            self._close(placeholder.sock)
        self.settle()

    # -- calls

    def _refuse(self, ident: int, error: Exception) -> None:
        """Answer a call that could not be dealt with."""
        if isinstance(error, Gone):
            return
        if isinstance(error, Inaccessible):
            self._warn(str(error))
            self.listener.proceed(ident)
        else:
            self.listener.fail(ident, self._failure(error))

    def _failure(self, error: Exception) -> Errno:
        """What a call fails with that could not be made."""
        if isinstance(error, Unmodelled):
            self._warn(f"not modelled: {error}")
            return Errno.ENOSYS
        return self._defect(error)

    def _defect(self, error: Exception) -> Errno:
        """Something failed that no program should be able to make fail: tell the user; the other programs go on."""
        if isinstance(error, OSError) and error.errno == Errno.EMFILE:
            self._warn("out of descriptors: the supervisor needs one for each socket of the programs (RLIMIT_NOFILE)")
            return Errno.ENFILE
        self._warn("".join(traceback.format_exception(error)))
        return Errno.EIO

    def _warn(self, text: str) -> None:
        """Tell the user, once for each text."""
        if text not in self._warned:
            self._warned.add(text)
            print(f"afunix: {text}", file=sys.stderr, flush=True)

    def perform(self, call: NotifiedCall, handle: Callable[[NotifiedCall], Outcome]) -> None:
        """Run a handler, and answer or park the call."""
        if self.recorder is not None:
            self.recorder.enter(call)
        try:
            outcome = handle(call)
        except SyscallError as error:
            if error.errno is Errno.EADDRINUSE and call.name == "bind" and self._freed():
                self.perform(call, handle)
                return
            self._fail(call, error)
        except Gone:
            self._answers.lost(call)
        else:
            if isinstance(outcome, GeneratorType):
                self.resume(Parked(self, call, outcome))
            else:
                self._answer(call, outcome)  # type: ignore[arg-type]
        if self.handed or self.kernel.wakeups.pending or self.kernel.changed or self.closed_last:
            self.settle()

    def retake(self, parked: Parked) -> None:
        """A read that only waited has more to do now: run it from its beginning."""
        parked.leave()
        self.unpark(parked)
        self.perform(parked.call, transfer.read_on)

    def _freed(self) -> bool:
        """Whether a sweep, made because a name is taken, found sockets that are gone."""
        before = len(self.watch.by_inode)
        self.sweep()
        return len(self.watch.by_inode) < before

    def resume(self, parked: Parked, event: BaseException | None = None) -> None:
        """Go on with a call that waited, or that begins to wait."""
        if parked.queues is not None and self.forsaken(parked):
            return
        parked.leave()
        call = parked.call
        try:
            if event is not None:
                wait = parked.body.throw(event)
            else:
                data, parked.data = parked.data, None
                wait = parked.body.send(data)
        except StopIteration as stop:
            self.unpark(parked)
            self._answer(call, stop.value)
        except SyscallError as error:
            self.unpark(parked)
            self._fail(call, error)
        except Gone:
            self.unpark(parked)
            self._answers.lost(call)
        except Exception as error:
            # It is this call's, not that of whoever woke it.
            self.unpark(parked)
            self.listener.fail(call.id, self._failure(error))
        else:
            if call.id in self.listener.stand_ins:
                # The thread is borrowed, and must be let go: what was done so far has to do (recvmmsg).
                self.resume(parked, SyscallError(Errno.EAGAIN))
                return
            parked.wait(wait)
            if call.tid not in self.parked:
                self.parked[call.tid] = parked
                self.signals.fresh = True
            if wait.deadline is not None and wait.deadline != parked.deadline:
                parked.deadline = wait.deadline
                self._order += 1
                if len(self._deadlines) > 2 * len(self.parked) + 64:
                    self._deadlines[:] = [entry for entry in self._deadlines if not entry[2].done]
                    heapq.heapify(self._deadlines)
                heapq.heappush(self._deadlines, (wait.deadline, self._order, parked))
            if self.kernel.changed:
                self.mirror()

    def forsaken(self, parked: Parked) -> bool:
        """Whether the thread of a call that would go on has been killed; the call is over then, and takes nothing.

        Its answer might go through all the same, as long as the thread has not been run again. What it would take is
        for the next reader natively (unix_stream_read_generic looks for signals first), so we ask where there may be
        one: where several processes use the socket.
        """
        sock = parked.sock
        front = None if sock is None else sock.front
        if type(front) is not Placeholder or front.user != SEVERAL:
            return False
        # The signal is pending until the thread takes it, which is after it has left the call.
        if not parked.call.task.is_killed() and self.listener.valid(parked.call.id):
            return False
        if parked.data is not None:
            hand_back(front.sock, parked.data)
        self._abandoned(parked)
        return True

    def unpark(self, parked: Parked) -> None:
        """A call waits no longer; nor does the end of its socket, if it waited for that."""
        parked.done = True
        if self.parked.get(parked.tid) is parked:
            del self.parked[parked.tid]
        if self._closing and parked.sock in self._closing:
            self.closed_last.append(parked.sock)

    def wait_for_host(self, fd: int, events: int) -> Generator[WouldBlock, None, None]:
        """In a body: wait until a host descriptor is ready."""
        queue = WaitQueue()
        copy = os.dup(fd)
        self.watch.register(copy, events | select.EPOLLONESHOT, lambda _: self.kernel.wakeups.wake(queue))
        try:
            yield WouldBlock((queue,))
        finally:
            self.watch.unregister(copy)
            os.close(copy)

    def settle(self) -> None:
        """After an answer: wake those who waited, then show what they left."""
        kernel = self.kernel
        while self.handed or kernel.wakeups.pending or self.closed_last:
            while self.handed:
                self.handed.pop().go_on()
            while self.closed_last:
                sock = self.closed_last.pop()
                if sock in self._closing:
                    self._closing.discard(sock)
                    self._close(sock)
            kernel.wakeups.apply()
            self.mirror()
        changed = kernel.changed
        while changed:
            sock, _ = changed.popitem()
            front = sock.front
            if front is not None:
                front.sync()  # type: ignore[attr-defined]

    # -- signals and ends

    def _signalled(self, parked: Parked, certain: bool) -> None:
        """A signal waits for the thread of a parked call: end it as Linux does (signal(7), sock_intr_errno).

        What was done before the signal counts. A call without a time-out is left to the host's kernel to be made
        again, or to fail, as the handler asked for. It must see the signal itself then, so where that is not certain
        the thread is nudged.
        """
        call = parked.call
        restart = parked.queues is None or parked.queues.deadline is None
        parked.leave()
        self.unpark(parked)
        try:
            parked.body.throw(SyscallError(Errno.EINTR))
        except StopIteration as stop:
            self._answer(call, stop.value)
        except SyscallError as error:
            if error.errno is not Errno.EINTR or not restart:
                self._fail(call, error)
            else:
                self._answers.restart(call, certain)
        except Gone:
            self._answers.lost(call)
        else:
            raise AssertionError("a body went on after EINTR")
        self.settle()

    def _abandoned(self, parked: Parked) -> None:
        """The thread of a parked call was killed. What it had sent stays sent, what it had received goes back."""
        parked.leave()
        self.unpark(parked)
        try:
            parked.body.throw(SyscallError(Errno.EINTR))
        except StopIteration as stop:
            answer = stop.value
            if type(answer) is tuple:
                if isinstance(answer[1], Received):
                    answer[1].undo()
                else:
                    answer[1].done()
            elif isinstance(answer, Install):
                answer.undo()
        except (SyscallError, Gone):
            pass
        else:
            parked.body.close()
        if self.recorder is not None:
            self.recorder.interrupted(parked.call)

    def _closed(self, sock: Socket) -> None:
        if self._bridge is not None:
            self._bridge.unbound(sock)
        front = sock.front
        if front is not None:
            front.dispose()  # type: ignore[attr-defined]
