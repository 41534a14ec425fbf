"""What happens to each trapped call first: which socket is it about, is it ours at all, what else must be noted.

A call about none of our sockets continues natively.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from afunix.abi import arch
from afunix.abi.constants import AF_NETLINK, AF_UNIX, EPOLLET, EPOLLOUT
from afunix.abi.errno import SyscallError
from afunix.abi.structs import SOCKLEN
from afunix.core.credentials import CAP_SYS_PTRACE
from afunix.supervisor import policy, quick, splice
from afunix.supervisor.call import NotifiedCall
from afunix.supervisor.procfiles import READING
from afunix.supervisor.trapcalls import TELLING
from afunix.syscalls.call import Handler, signed
from afunix.syscalls.table import HANDLERS, MAKING, SENDING

if TYPE_CHECKING:
    from afunix.supervisor.placeholder import Placeholder
    from afunix.supervisor.supervisor import Supervisor

__all__ = ["Trap", "Traps"]

Trap = Callable[[int, int, tuple[int, ...], Any], None]
"""Called with a notification's id, thread and arguments, and the placeholder that the first one is, where known."""


class Traps:
    """The trap of each call, by number."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._listener = supervisor.listener
        self._tasks = supervisor.tasks
        self._watch = supervisor.watch
        self._perform = supervisor.perform
        self._may_trace_all = supervisor.tasks.get(os.getpid()).credentials().capable(CAP_SYS_PTRACE)

    def table(self) -> dict[int, Trap]:
        """All of them."""
        numbers = arch.current().numbers
        table: dict[int, Trap] = {}
        for name, handle in HANDLERS.items():
            if name in numbers:
                table[numbers[name]] = self.on_socket(name, handle)
        if self._supervisor.recorder is None:
            for name in ("read", "recvfrom"):
                table[numbers[name]] = quick.reading(self._supervisor, table[numbers[name]], name)
            for name in ("write", "sendto"):
                table[numbers[name]] = quick.writing(self._supervisor, table[numbers[name]], name)
        for name in MAKING:
            table[numbers[name]] = self._making(name)
        for name in policy.SPLICING:
            table[numbers[name]] = self._splicing(name)
        table[numbers["epoll_ctl"]] = self._epoll_ctl
        table[numbers["prctl"]] = self._set_dumpable
        for name, what in policy.INVALIDATING.items():
            if name in numbers:
                table[numbers[name]] = self._forget_process if what == "process" else self._forget_credentials
        return table

    @staticmethod
    def about_sockets(which: int) -> bytes:
        """By call number `which` where the first argument is a descriptor, that says whose the call is; else 0."""
        numbers = arch.current().numbers
        trapped = {numbers[name] for name in HANDLERS if name in numbers}
        return bytes(which * (number in trapped) for number in range(max(trapped) + 1))

    @staticmethod
    def sending() -> frozenset[int]:
        """The numbers of the calls that send."""
        numbers = arch.current().numbers
        return frozenset(numbers[name] for name in SENDING if name in numbers)

    def on_socket(self, name: str, handle: Handler) -> Trap:
        """The trap of a call whose first argument is a descriptor."""
        by_inode = self._watch.by_inode
        proceed = self._listener.proceed
        get = self._tasks.get
        sock_diag = self._supervisor.sock_diag
        read_proc = self._supervisor.proc_files.trap(name) if name in READING else None

        def on_socket(ident: int, tid: int, args: tuple[int, ...], placeholder: Placeholder | None) -> None:
            task = get(tid)
            fd = args[0] & 0xFFFFFFFF
            if placeholder is None:
                inode = task.inode(fd)
                placeholder = by_inode.get(inode)
                if placeholder is None:
                    if inode == TELLING and read_proc is not None:
                        read_proc(ident, tid, args, None)
                    elif sock_diag.active:
                        sock_diag.trap(name, ident, tid, args, task, inode)
                    else:
                        proceed(ident)
                    return
            call = NotifiedCall(self._supervisor, ident, tid, task, name, args)
            call.touch(placeholder, fd)
            self._perform(call, handle)

        return on_socket

    def _making(self, name: str) -> Trap:
        handle = MAKING[name]

        def making(ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
            if signed(args[0]) != AF_UNIX:
                if signed(args[0]) == AF_NETLINK:
                    self._supervisor.sock_diag.active = True
                    self._supervisor.look_at_all_sockets()
                self._listener.proceed(ident)
                return
            if self._watch.many_loose:
                self._supervisor.sweep()
            self._perform(NotifiedCall(self._supervisor, ident, tid, self._tasks.get(tid), name, args), handle)

        return making

    def _splicing(self, name: str) -> Trap:
        handle = splice.HANDLERS[name]

        def splicing(ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
            task = self._tasks.get(tid)
            by_inode = self._watch.by_inode
            ends = [by_inode.get(task.inode(args[at] & 0xFFFFFFFF)) for at in splice.DESCRIPTORS[name]]
            if ends == [None, None]:
                self._listener.proceed(ident)
                return
            call = NotifiedCall(self._supervisor, ident, tid, task, name, args)
            for front, at in zip(ends, splice.DESCRIPTORS[name], strict=True):
                if front is not None:
                    call.touch(front, args[at] & 0xFFFFFFFF)
            sources = [None if front is None else front.sock for front in ends]
            self._perform(call, lambda call: handle(call, sources[0], sources[1]))

        return splicing

    def _epoll_ctl(self, ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
        """Edge-triggered interest in writing: from now on each read by the peer must be an edge."""
        task = self._tasks.get(tid)
        placeholder = self._watch.by_inode.get(task.inode(args[2] & 0xFFFFFFFF))
        if placeholder is not None and not placeholder.sock.space_edges:
            try:
                events = SOCKLEN.unpack(task.memory.read(args[3], 4))[0]
            except SyscallError:
                events = 0
            placeholder.sock.space_edges = bool(events & EPOLLET and events & EPOLLOUT)
        self._listener.proceed(ident)

    def _set_dumpable(self, ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
        """PR_SET_DUMPABLE: a program that hides from us can't be served, so without CAP_SYS_PTRACE it stays visible."""
        if self._may_trace_all or args[1] & 0xFFFFFFFF:
            self._listener.proceed(ident)
        else:
            self._listener.answer(ident, 0)

    def _forget_process(self, ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
        self._tasks.forget_process(self._tasks.get(tid).tgid)
        self._listener.proceed(ident)

    def _forget_credentials(self, ident: int, tid: int, args: tuple[int, ...], _: object) -> None:
        self._tasks.forget_credentials(tid)
        self._listener.proceed(ident)
