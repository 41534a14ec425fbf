"""The supervisor: takes each trapped call, runs it on the core kernel, and answers.

Order of an answer: change the core, mirror readiness, answer; if the answer does not go through (the thread was
killed), undo. Only then do those run whom the change woke.
"""

from __future__ import annotations

import gc
import heapq
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import TYPE_CHECKING

from afunix.abi import arch
from afunix.abi.constants import EPOLLET, EPOLLOUT
from afunix.abi.errno import ERESTARTSYS, Errno, SyscallError
from afunix.abi.structs import SOCKLEN
from afunix.core.credentials import CAP_SYS_PTRACE
from afunix.core.errors import BrokenPipe, Unmodelled
from afunix.core.kernel import Kernel
from afunix.core.message import Received
from afunix.core.socket import Socket
from afunix.core.wait import WaitQueue, WouldBlock
from afunix.supervisor import hostcalls, policy, splice
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.host import host_limits
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.listener import Listener
from afunix.supervisor.parked import Parked
from afunix.supervisor.passed import HostFile
from afunix.supervisor.placeholder import Placeholder
from afunix.supervisor.signals import SOONEST, Signals, nudged
from afunix.supervisor.tasks import TaskTable
from afunix.supervisor.watch import Watch
from afunix.syscalls.call import Answer, Handler, Install, Native, Outcome
from afunix.syscalls.table import HANDLERS, MAKING

if TYPE_CHECKING:
    from afunix.supervisor.bridge import Bridge
    from afunix.supervisor.tracing import Tracing

__all__ = ["Supervisor"]


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
        self._deadlines: list[tuple[float, int, Parked]] = []
        self._order = 0
        self._signals = Signals(self.parked)
        # Sockets that only calls still under way keep open; those of them whose calls have just ended.
        self._closing: set[Socket] = set()
        self._closed_last: list[Socket] = []
        self._bridge: Bridge | None = None
        self._table = self._build_table()
        self._stop = False
        self._warned: set[str] = set()
        self._may_trace_all = self.tasks.get(os.getpid()).credentials().capable(CAP_SYS_PTRACE)
        self.watch.register(self.tasks.fileno(), select.EPOLLIN, lambda _: self._threads_ended())

    def attach(self, bridge: Bridge) -> None:
        """Let programs inside and outside reach each other."""
        self._bridge = bridge
        bridge.warn = self._warn
        self.tasks.bridged = True
        numbers = arch.current().numbers
        self._table[numbers["bind"]] = self._on_socket("bind", bridge.bind)
        self._table[numbers["listen"]] = self._on_socket("listen", bridge.listen)

    # -- the loop

    def run(self) -> None:
        """Serve until no process is left that could trap."""
        poll = select.poll()
        listener_fd = self.listener.fd
        epoll_fd = self.watch.epoll.fileno()
        poll.register(listener_fd, select.POLLIN)
        poll.register(epoll_fd, select.POLLIN)
        wait = poll.poll
        receive = self.listener.receive
        dispatch = self.dispatch
        # What is there now stays; and what calls leave behind has no cycles, so looking for some can be rare.
        gc.freeze()
        gc.set_threshold(100_000, 20, 100)
        turn = 0
        while not self._stop:
            events = wait(self._timeout() if self.parked else None)
            notification = None
            hung_up = False
            for fd, event in events:
                if fd == epoll_fd:
                    hung_up = True
                elif event & select.POLLIN:
                    notification = receive()
                elif event & select.POLLHUP:
                    return
            # After the call is received, as the SIGIO of a hang-up would otherwise take its thread out of it.
            if hung_up:
                self._hangups()
            if notification is not None:
                dispatch(notification)
            turn = turn + 1 & TURNS
            if self.parked and not (events and turn):
                self._expire()

    def stop(self) -> None:
        """Leave the loop after the current call."""
        self._stop = True

    def _timeout(self) -> float:
        """Milliseconds until a deadline or a look for signals is due."""
        signals = self._signals
        if signals.fresh and not self._deadlines:
            return SOONEST * 1000  # the clock need not be asked: a call that has just been parked is looked at first
        due = signals.next
        if self._deadlines and self._deadlines[0][0] < due:
            due = self._deadlines[0][0]
        return max(0.0, (due - time.monotonic()) * 1000 + 0.5)

    def _expire(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, _, parked = heapq.heappop(self._deadlines)
            if not parked.done and parked.queues is not None and parked.queues.deadline is not None:
                self.resume(parked, SyscallError(Errno.EAGAIN))
                self.settle()
        if self._signals.due(now):
            for parked, certain in self._signals.look(now):
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
        if isinstance(front, Placeholder) and front.in_flight and front.keeps_itself():
            # The collector throws a queue away before it closes the socket, so that the peer sees no reset.
            while sock.queue:
                self.kernel.free(sock.queue.popleft())
        sock.close()

    def hold(self, fd: int) -> HostFile:
        """A descriptor that the supervisor has taken, on its way to somebody else."""
        return HostFile(fd, self.watch.by_inode.get(os.fstat(fd).st_ino))

    def _threads_ended(self) -> None:
        """Threads have ended: the calls that they were blocked in are over."""
        self.tasks.expire()
        for parked in list(self.parked.values()):
            if not self.listener.valid(parked.call.id):
                self._abandoned(parked)
        self.settle()

    def sweep(self, *, now: bool = False) -> None:
        """Close the sockets that never connected and that no program has any more."""
        for placeholder in self.watch.dead_loose(now=now):
            self._close(placeholder.sock)
        self.settle()

    # -- calls

    def _build_table(self) -> dict[int, Callable[[int, int, int, tuple[int, ...]], None]]:
        numbers = arch.current().numbers
        table: dict[int, Callable[[int, int, int, tuple[int, ...]], None]] = {}
        for name, handle in HANDLERS.items():
            if name in numbers:
                table[numbers[name]] = self._on_socket(name, handle)
        for name in MAKING:
            table[numbers[name]] = self._making(name)
        for name in policy.SPLICING:
            table[numbers[name]] = self._splicing(name)
        table[numbers["epoll_ctl"]] = self._epoll_ctl
        table[numbers["prctl"]] = self._set_dumpable
        for name, what in policy.INVALIDATING.items():
            if name in numbers:
                table[numbers[name]] = self._forget_process if what == "process" else self._forget_credentials
        for name in policy.SIGNALLING:
            table[numbers[name]] = self._signalling
        return table

    def dispatch(self, notification: tuple[int, ...]) -> None:
        """One notification, as Listener.receive returns it."""
        ident = notification[0]
        tid = notification[1]
        if self._signals.senders:
            for parked, certain in self._signals.look_for(tid, time.monotonic()):
                self._signalled(parked, certain)
        if tid in self.parked:
            self._abandoned(self.parked[tid])
            self.settle()
        try:
            self._table[notification[2]](ident, tid, notification[2], notification[3:])
        except Gone:
            pass
        except Inaccessible as reason:
            self._warn(str(reason))
            self.listener.proceed(ident)
        except Unmodelled as gap:
            self._warn(f"not modelled: {gap}")
            self.listener.fail(ident, Errno.ENOSYS)
        except Exception as error:
            self.listener.fail(ident, self._defect(error))

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

    def _on_socket(self, name: str, handle: Handler) -> Callable[[int, int, int, tuple[int, ...]], None]:
        by_inode = self.watch.by_inode
        proceed = self.listener.proceed
        get = self.tasks.get

        def on_socket(ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
            task = get(tid)
            fd = args[0] & 0xFFFFFFFF
            placeholder = by_inode.get(task.inode(fd))
            if placeholder is None:
                proceed(ident)
                return
            call = NotifiedCall(self, ident, tid, task, name, args)
            placeholder.holder = (task, fd)
            call.sock = placeholder.sock
            self.perform(call, handle)

        return on_socket

    def _making(self, name: str) -> Callable[[int, int, int, tuple[int, ...]], None]:
        handle = MAKING[name]

        def making(ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
            self.sweep()
            self.perform(NotifiedCall(self, ident, tid, self.tasks.get(tid), name, args), handle)

        return making

    def _splicing(self, name: str) -> Callable[[int, int, int, tuple[int, ...]], None]:
        handle = splice.HANDLERS[name]

        def splicing(ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
            task = self.tasks.get(tid)
            by_inode = self.watch.by_inode
            ends = [by_inode.get(task.inode(args[at] & 0xFFFFFFFF)) for at in splice.DESCRIPTORS[name]]
            if ends == [None, None]:
                self.listener.proceed(ident)
                return
            for front, at in zip(ends, splice.DESCRIPTORS[name], strict=True):
                if front is not None:
                    front.holder = (task, args[at] & 0xFFFFFFFF)
            call = NotifiedCall(self, ident, tid, task, name, args)
            sources = [None if front is None else front.sock for front in ends]
            self.perform(call, lambda call: handle(call, sources[0], sources[1]))

        return splicing

    def _epoll_ctl(self, ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
        """Edge-triggered interest in writing: from now on each read by the peer must be an edge."""
        task = self.tasks.get(tid)
        placeholder = self.watch.by_inode.get(task.inode(args[2] & 0xFFFFFFFF))
        if placeholder is not None and not placeholder.sock.space_edges:
            try:
                events = SOCKLEN.unpack(task.memory.read(args[3], 4))[0]
            except SyscallError:
                events = 0
            placeholder.sock.space_edges = bool(events & EPOLLET and events & EPOLLOUT)
        self.listener.proceed(ident)

    def _set_dumpable(self, ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
        """PR_SET_DUMPABLE: a program that hides from us can't be served, so without CAP_SYS_PTRACE it stays visible."""
        if self._may_trace_all or args[1] & 0xFFFFFFFF:
            self.listener.proceed(ident)
        else:
            self.listener.answer(ident, 0)

    def _forget_process(self, ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
        self.tasks.forget_process(self.tasks.get(tid).tgid)
        self.listener.proceed(ident)

    def _forget_credentials(self, ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
        self.tasks.forget_credentials(tid)
        self.listener.proceed(ident)

    def _signalling(self, ident: int, tid: int, number: int, args: tuple[int, ...]) -> None:
        self._signals.sending(tid, time.monotonic())
        self.listener.proceed(ident)

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
            self._lost(call)
        else:
            if type(outcome) is GeneratorType:
                self.resume(Parked(self, call, outcome))
            else:
                self._answer(call, outcome)  # type: ignore[arg-type]
        if self.kernel.wakeups.pending or self.kernel.changed or self._closed_last:
            self.settle()

    def _freed(self) -> bool:
        """Whether a sweep, made because a name is taken, found sockets that are gone."""
        before = len(self.watch.by_inode)
        self.sweep(now=True)
        return len(self.watch.by_inode) < before

    def resume(self, parked: Parked, event: BaseException | None = None) -> None:
        """Go on with a call that waited, or that begins to wait."""
        parked.leave()
        call = parked.call
        try:
            wait = parked.body.send(None) if event is None else parked.body.throw(event)
        except StopIteration as stop:
            self._unpark(parked)
            self._answer(call, stop.value)
        except SyscallError as error:
            self._unpark(parked)
            self._fail(call, error)
        except Gone:
            self._unpark(parked)
            self._lost(call)
        else:
            parked.wait(wait)
            if call.tid not in self.parked:
                self.parked[call.tid] = parked
                self._signals.fresh = True
            if wait.deadline is not None and wait.deadline != parked.deadline:
                parked.deadline = wait.deadline
                self._order += 1
                if len(self._deadlines) > 2 * len(self.parked) + 64:
                    self._deadlines = [entry for entry in self._deadlines if not entry[2].done]
                    heapq.heapify(self._deadlines)
                heapq.heappush(self._deadlines, (wait.deadline, self._order, parked))
            if self.kernel.changed:
                self.mirror()

    def _unpark(self, parked: Parked) -> None:
        parked.done = True
        if self.parked.get(parked.call.tid) is parked:
            del self.parked[parked.call.tid]
        if self._closing and parked.sock in self._closing:
            self._closed_last.append(parked.sock)

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

    # -- answers

    def mirror(self) -> None:
        """Bring the placeholders of all changed sockets up to date.

        A socket that somebody is blocked on reading is left to `settle`: the reader takes what came, and nothing
        need be shown.
        """
        changed = self.kernel.changed
        later = None
        while changed:
            sock, _ = changed.popitem()
            if sock.readable.waiters:
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

    def settle(self) -> None:
        """After an answer: wake those who waited, then show what they left."""
        kernel = self.kernel
        while kernel.wakeups.pending or self._closed_last:
            while self._closed_last:
                sock = self._closed_last.pop()
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

    def _answer(self, call: NotifiedCall, answer: Answer) -> None:
        if type(answer) is tuple:
            value, change = answer
            if self.kernel.changed:
                self.mirror()
                if self._bridge is not None and self._bridge.refused:
                    error = self._bridge.refusal(change)
                    if error is not None:
                        self._fail(call, error)
                        return
            if self.recorder is not None:
                self.recorder.call(call, value)
            if self.listener.answer(call.id, value):
                change.done()
            else:
                change.undo()
                self._lost(call)
            return
        if isinstance(answer, Install):
            self._install(call, answer)
            return
        self.mirror()
        if isinstance(answer, Native):
            if self.recorder is not None:
                self.recorder.call(call, 0)
            self.listener.proceed(call.id)
            return
        assert isinstance(answer, int)
        if self.recorder is not None:
            self.recorder.call(call, answer)
        if not self.listener.answer(call.id, answer):
            self._lost(call)

    def _install(self, call: NotifiedCall, answer: Install) -> None:
        """Answer with a new descriptor, in one step."""
        front = self.placeholder(answer.sock)
        if front.held < 0:
            # It is parked with a listener that can't be reached: the program was killed in this moment.
            answer.undo()
            self._lost(call)
            return
        self.mirror()
        try:
            if self.recorder is not None:
                self._install_recorded(call, answer, front)
                return
            number = self.listener.install_and_answer(call.id, front.held, answer.cloexec)
        except SyscallError as error:
            # The program's table is full, which natively is found before a connection is taken.
            answer.undo()
            self._fail(call, error)
            return
        if number is None:
            answer.undo()
            return
        front.holder = (call.task, number)
        front.installed()

    def _install_recorded(self, call: NotifiedCall, answer: Install, front: Placeholder) -> None:
        """The same in two steps: the call is recorded in between, while its results in memory are what they are."""
        try:
            number = self.listener.install(call.id, front.held, answer.cloexec)
        except Gone:
            answer.undo()
            return
        assert self.recorder is not None
        self.recorder.call(call, number)
        if not self.listener.answer(call.id, number):
            answer.undo()
            self._lost(call)
            return
        front.holder = (call.task, number)
        front.installed()

    def placeholder(self, sock: Socket) -> Placeholder:
        """The placeholder of a socket that is about to be installed, its program end in the supervisor's hand."""
        front = sock.front
        if front is None:
            front = Placeholder(sock, self.watch)
        assert isinstance(front, Placeholder)
        if front.held < 0 and front.parked is not None:
            front.parked.sync()
            if front.held < 0 and front.parked is not None:
                front.parked.unpark_all()
        if front.held >= 0 and sock.nonblock:
            os.set_blocking(front.held, False)
        return front

    def _fail(self, call: NotifiedCall, error: SyscallError) -> None:
        self.mirror()
        if self.recorder is not None:
            self.recorder.call(call, -error.errno)
        if isinstance(error, BrokenPipe) and error.signal:
            self._break_pipe(call)
        else:
            self.listener.fail(call.id, error.errno)

    def _break_pipe(self, call: NotifiedCall) -> None:
        """EPIPE and SIGPIPE (DATA-6): the thread doesn't take the signal before it has its answer."""
        hostcalls.tgkill(call.task.tgid, call.tid, signal.SIGPIPE)
        self.listener.fail(call.id, Errno.EPIPE)

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
        self._unpark(parked)
        try:
            parked.body.throw(SyscallError(Errno.EINTR))
        except StopIteration as stop:
            self._answer(call, stop.value)
        except SyscallError as error:
            if error.errno is not Errno.EINTR or not restart:
                self._fail(call, error)
            else:
                self._restart(call, certain)
        except Gone:
            self._lost(call)
        else:
            raise AssertionError("a body went on after EINTR")
        self.settle()

    def _restart(self, call: NotifiedCall, certain: bool) -> None:
        if self.recorder is not None:
            self.recorder.interrupted(call)
        self.mirror()
        if certain:
            self.listener.fail(call.id, ERESTARTSYS)
            return
        with nudged(call.tid) as nudge:
            self.listener.fail(call.id, ERESTARTSYS if nudge.able else Errno.EINTR)

    def _lost(self, call: NotifiedCall) -> None:
        """An answer did not go through: its thread was killed."""
        if self.listener.valid(call.id):
            # Its descriptor was closed by another thread while we needed it.
            self.listener.fail(call.id, Errno.EBADF)
        if self.recorder is not None:
            self.recorder.interrupted(call)

    def _abandoned(self, parked: Parked) -> None:
        """The thread of a parked call was killed. What it had sent stays sent, what it had received goes back."""
        parked.leave()
        self._unpark(parked)
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
