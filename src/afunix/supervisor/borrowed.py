"""Having a thread make calls of ours before its own call is answered.

SECCOMP_IOCTL_NOTIF_ADDFD refuses O_PATH files (fget), and no other call of one process puts a descriptor into another.
A recvmsg of the thread itself does. So the thread is seized with ptrace and made to stop on its way out of the call
that it waits in; its registers are set so that it makes the calls that are needed; then they are put back as its own
call would have left them, with the result, and it is let go.

From the moment it is borrowed its notification is over, and this stands in for it (`Listener.stand_ins`). Its signals
are blocked meanwhile, and come when it is let go. What a call needs in memory lies in a page that the thread maps for
it: below its stack may be what others use (goroutines have their stacks on the heap).
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket as host
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from afunix.abi import arch
from afunix.abi.constants import F_DUPFD_CLOEXEC, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, SCM_RIGHTS, SOL_SOCKET
from afunix.abi.errno import ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS, Errno, SyscallError
from afunix.abi.message import CMSGHDR, IOVEC, MSGHDR, cmsg_len, cmsg_space
from afunix.abi.structs import INT
from afunix.supervisor import hostcalls
from afunix.supervisor.hostcalls import Gone

if TYPE_CHECKING:
    from afunix.supervisor.listener import Listener
    from afunix.supervisor.memory import Memory

__all__ = ["Borrowed", "Traced"]

WALL: Final = 0x40000000
"""__WALL of wait(2): threads, too."""
SYSCALL_STOP: Final = signal.SIGTRAP | 0x80
"""The stop before and after a system call, with PTRACE_O_TRACESYSGOOD."""
RESTARTS: Final = frozenset({ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK})
"""What the kernel has for the value of a call that it is about to make again."""
EVENT_STOP: Final = 128
"""PTRACE_EVENT_STOP: seized threads stop so for PTRACE_INTERRUPT and for job control."""
APART: Final = 256
"""So far above the numbers that descriptors get is that of the socket which they come out of."""
MILLISECONDS: Final = 20
"""How long to wait for the thread's call before a look whether it is still alive."""
_MASK: Final = (1 << 64) - 1

_CONTROL: Final = MSGHDR.size
_IOVEC: Final = _CONTROL + cmsg_space(INT.size)
_BYTE: Final = _IOVEC + IOVEC.size
"""What lies where in the page: header, control messages, iovec, data."""


class Traced(Exception):  # noqa: N818 -- a state of affairs
    """A debugger has the thread already, or this process may not be one."""


class Borrowed:
    """One thread, until `answer`. Methods raise Gone when it is killed."""

    def __init__(self, listener: Listener, notification: int, tid: int, memory: Memory) -> None:
        """Borrow the thread whose call this is; it must have a free descriptor. Traced, Gone."""
        self._listener = listener
        self._tid = tid
        self._memory = memory
        self._machine = arch.current()
        self._begun = False
        self._page = self._theirs = -1
        try:
            hostcalls.ptrace(hostcalls.PTRACE_SEIZE, tid, hostcalls.PTRACE_O_TRACESYSGOOD)
        except SyscallError as error:
            if error.errno is Errno.EPERM and listener.valid(notification):
                raise Traced from None
            raise Gone from None
        self._ours, theirs = host.socketpair(host.AF_UNIX, host.SOCK_SEQPACKET)
        # If the thread was killed, or another one took the last number, nothing can be installed.
        with theirs, suppress(Gone, SyscallError):
            self._theirs = listener.install(notification, theirs.fileno(), True)
        self._ptrace(hostcalls.PTRACE_INTERRUPT)
        if not listener.fail(notification, ERESTARTNOINTR):
            self._gone()
        self._stopped(EVENT_STOP)
        registers = self._machine.registers
        try:
            raw = hostcalls.ptrace_registers(tid, registers.layout.size)
            self._registers = registers.layout.unpack(raw)
            self._mask = hostcalls.ptrace_signal_mask(tid)
            hostcalls.ptrace_set_signal_mask(tid, _MASK)
        except SyscallError:
            self._gone()
        listener.stand_ins[notification] = self
        self._prepare()

    def _prepare(self) -> None:
        """Map the page, and move the socket out of the way of the numbers that are to be given out."""
        page = self._call(
            "mmap", 0, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, _MASK, 0
        )
        if page >= 0:
            self._page = page
        for apart in (APART, 1):
            number = self._call("fcntl", self._theirs, F_DUPFD_CLOEXEC, self._theirs + apart)
            if number >= 0:
                self._call("close", self._theirs)
                self._theirs = number
                return

    def install(self, fd: int, cloexec: bool) -> int:
        """Give the thread a descriptor of any file, the lowest free one. SyscallError: EMFILE, ENOMEM."""
        if self._page < 0:
            raise SyscallError(Errno.ENOMEM)
        self._ours.sendmsg([b"x"], [(host.SOL_SOCKET, host.SCM_RIGHTS, INT.pack(fd))])
        page = self._page
        header = MSGHDR.pack(0, 0, page + _IOVEC, 1, page + _CONTROL, _IOVEC - _CONTROL, 0)
        self._memory.write(page, header + bytes(_IOVEC - _CONTROL) + IOVEC.pack(page + _BYTE, 1))
        flags = MSG_DONTWAIT | (MSG_CMSG_CLOEXEC if cloexec else 0)
        if self._call("recvmsg", self._theirs, page, flags) != 1:
            raise SyscallError(Errno.EMFILE)
        came = self._memory.read(page, _IOVEC)
        if MSGHDR.unpack_from(came)[6] & MSG_CTRUNC:
            raise SyscallError(Errno.EMFILE)
        assert CMSGHDR.unpack_from(came, _CONTROL) == (cmsg_len(INT.size), SOL_SOCKET, SCM_RIGHTS)
        number: int = INT.unpack_from(came, _CONTROL + CMSGHDR.size)[0]
        return number

    def answer(self, value: int) -> bool:
        """Let the thread go on, its own call returning this value. False: it was killed."""
        registers = self._machine.registers
        try:
            if self._theirs >= 0:
                self._call("close", self._theirs)
            if self._page >= 0:
                self._call("munmap", self._page, mmap.PAGESIZE)
            values = list(self._registers)
            values[registers.result] = value & _MASK
            if registers.rewound:
                values[registers.instruction] += registers.instruction_size
            self._set(values)
            hostcalls.ptrace_set_signal_mask(self._tid, self._mask)
            hostcalls.ptrace(hostcalls.PTRACE_DETACH, self._tid)
        except SyscallError as error:
            if error.errno is not Errno.ESRCH:
                raise
            self._reap()
            return False
        except Gone:
            return False
        finally:
            self._ours.close()
        return True

    # -- one call

    def _call(self, name: str, *args: int) -> int:
        """Have the thread make a call: its value, or minus its errno."""
        registers = self._machine.registers
        values = list(self._registers)
        for at, arg in zip(registers.arguments, args, strict=False):
            values[at] = arg & _MASK
        values[registers.number] = self._machine.numbers[name]
        if not registers.rewound:
            values[registers.instruction] -= registers.instruction_size
        value = -ERESTARTNOINTR
        while -value in RESTARTS:
            try:
                self._set(values)
                self._ptrace(hostcalls.PTRACE_SYSCALL)
                self._stopped(SYSCALL_STOP)
                self._ptrace(hostcalls.PTRACE_SYSCALL)
                if name != "recvmsg" or self._let_pass():
                    self._stopped(SYSCALL_STOP)
                raw = hostcalls.ptrace_registers(self._tid, registers.layout.size)
            except SyscallError:
                self._gone()
            value = registers.layout.unpack(raw)[registers.result]
            if value >> 63:
                value -= 1 << 64
        return value

    def _set(self, values: list[int]) -> None:
        registers = self._machine.registers
        if registers.original is not None:
            values[registers.original] = _MASK  # no call that the kernel would make again
        hostcalls.ptrace_set_registers(self._tid, registers.layout.pack(*values))

    def _let_pass(self) -> bool:
        """The thread's call is trapped like any other: take its notification, and keep those of others for later.

        False: it has stopped behind the call by now, as job control took it out before its notification came here.
        """
        poll = select.poll()
        poll.register(self._listener.fd, select.POLLIN)
        while True:
            if poll.poll(MILLISECONDS):
                notification = self._listener.receive()
                if notification is None:
                    continue
                if notification[1] == self._tid:
                    self._listener.proceed(notification[0])
                    return True
                self._listener.postponed.append(notification)
            elif self._look(os.WNOHANG) == SYSCALL_STOP:
                return False

    def _stopped(self, wanted: int) -> None:
        """Wait until the thread has stopped for this reason. Stops for others are gone through."""
        while self._look(0) != wanted:
            pass

    def _look(self, options: int) -> int:
        """Why the thread has stopped: SYSCALL_STOP, EVENT_STOP; 0: it has not, or goes on now."""
        try:
            tid, status = os.waitpid(self._tid, WALL | options)
        except ChildProcessError:
            self._gone()
        if not tid:
            return 0
        if not os.WIFSTOPPED(status):
            self._gone()
        reason = status >> 16 or os.WSTOPSIG(status)
        if reason == SYSCALL_STOP or (reason == EVENT_STOP and not self._begun):
            self._begun = True
            return reason
        # A signal is SIGSTOP, as all others are blocked, and stops the process. This thread goes on even so; when it
        # is let go the kernel sees to it that it stops, unless SIGCONT came by then (__ptrace_unlink).
        self._ptrace(hostcalls.PTRACE_SYSCALL, 0 if reason == EVENT_STOP else reason)
        return 0

    def _ptrace(self, request: int, data: int = 0) -> None:
        try:
            hostcalls.ptrace(request, self._tid, data)
        except SyscallError:
            self._gone()

    def _gone(self) -> NoReturn:
        self._ours.close()
        self._reap()
        raise Gone

    def _reap(self) -> None:
        """Wait for the end of a thread that is killed, so that its process can end, too."""
        try:
            while os.WIFSTOPPED(os.waitpid(self._tid, WALL)[1]):
                pass
        except ChildProcessError:
            pass
