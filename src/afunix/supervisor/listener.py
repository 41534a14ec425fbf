"""The seccomp listener: calls of supervised threads come out of it, and answers go in.

What each call costs is in trapcalls; the rest is fcntl.ioctl on reused bytearrays. With
SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP receiving and answering a call takes about 7 microseconds, program and wake-ups
included; without it 50 on two processors.

Until its call is received, a thread leaves it when a signal comes; after that only SIGKILL takes it out
(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV), and the notification is then no longer there when it is answered (ENOENT).
Poll the listener before the other descriptors of a loop: what happened before a call is then seen with it.
"""

from __future__ import annotations

import os
from errno import EINPROGRESS, EINTR, EINVAL, ENOENT, ESRCH
from fcntl import ioctl
from struct import Struct
from typing import Final, Protocol

from afunix.abi.constants import O_CLOEXEC
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.seccomp import (
    ADDFD,
    SECCOMP_ADDFD_FLAG_SEND,
    SECCOMP_ADDFD_FLAG_SETFD,
    SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_ID_VALID,
    SECCOMP_IOCTL_NOTIF_SET_FLAGS,
    SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
    SECCOMP_USER_NOTIF_FLAG_CONTINUE,
)
from afunix.supervisor import trapcalls
from afunix.supervisor.hostcalls import Gone
from afunix.supervisor.trapcalls import Notification

__all__ = ["Gone", "Listener", "Notification"]

_ID: Final = Struct("<Q")
_send: Final = trapcalls.answer
_pack_install: Final = ADDFD.pack_into


class StandIn(Protocol):
    """What ends a call whose notification is over."""

    def answer(self, value: int) -> bool:
        """End the call with this value, or minus an errno. False: the thread was killed."""


class Listener:
    """One listener. Owns its descriptor. For one thread only: the buffers are shared by all calls.

    A notification's id is unsigned, 64 bits, starts anywhere and never comes twice from one listener.
    """

    __slots__ = ("_install", "fd", "postponed", "stand_ins", "sync")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._install = bytearray(ADDFD.size)
        self.stand_ins: dict[int, StandIn] = {}
        """Who takes the answer to a notification that is over already (see `borrowed`)."""
        self.postponed: list[Notification] = []
        """Calls that were received while something else was waited for."""
        self.sync = self._wake_up_in_place()
        """Whether threads and supervisor wake each other on the same processor (Linux 6.6)."""

    def _wake_up_in_place(self) -> bool:
        try:
            ioctl(self.fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
        except OSError as error:
            if error.errno == EINVAL:
                return False
            raise
        return True

    def fileno(self) -> int:
        """The descriptor to poll: POLLIN when `receive` won't wait, POLLHUP when no thread is left."""
        return self.fd

    def close(self) -> None:
        """Close the descriptor. When the last copy anywhere is closed, trapped calls fail with ENOSYS."""
        os.close(self.fd)

    def receive(self) -> Notification | None:
        """The oldest call that nobody has received; waits for one. None: it was interrupted, or no thread is left."""
        return trapcalls.receive(self.fd)

    def answer(self, notification: int, value: int) -> bool:
        """End the call with this value (64 bits, signed). False: the thread is no longer in it."""
        return _send(self.fd, notification, value, 0, 0) or self._stands_in(notification, value)

    def fail(self, notification: int, errno: int) -> bool:
        """End the call with an error: a positive errno, or ERESTARTSYS. False: the thread is no longer in it."""
        return _send(self.fd, notification, 0, errno, 0) or self._stands_in(notification, -errno)

    def proceed(self, notification: int) -> bool:
        """Let the host's kernel run the call (SECCOMP_USER_NOTIF_FLAG_CONTINUE). False: as for `answer`."""
        proceeds = _send(self.fd, notification, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
        return proceeds or self._stands_in(notification, -Errno.ENOSYS)

    def _stands_in(self, notification: int, value: int) -> bool:
        stand_in = self.stand_ins.pop(notification, None)
        return stand_in is not None and stand_in.answer(value)

    def valid(self, notification: int) -> bool:
        """Whether the thread is still in its call, so that its number and its memory mean what they did."""
        try:
            ioctl(self.fd, SECCOMP_IOCTL_NOTIF_ID_VALID, bytearray(_ID.pack(notification)))
        except OSError as error:
            if error.errno == ENOENT:
                return notification in self.stand_ins
            raise
        return True

    def install(self, notification: int, host_fd: int, cloexec: bool, at: int | None = None) -> int:
        """Give the thread a descriptor for what our descriptor host_fd refers to; the call goes on.

        It gets the lowest free number, or `at`, whatever was open there. Gone: the thread left its call.
        SyscallError: EMFILE, or EBADF if `at` is beyond RLIMIT_NOFILE; and what a security module says.
        """
        flags = 0 if at is None else SECCOMP_ADDFD_FLAG_SETFD
        return self._add(notification, flags, host_fd, at or 0, O_CLOEXEC if cloexec else 0)

    def install_and_answer(self, notification: int, host_fd: int, cloexec: bool) -> int | None:
        """Give the thread a descriptor and end its call with the number, in one step (Linux 5.14).

        None: the thread left its call, and nothing was installed. SyscallError (EMFILE) leaves it waiting.
        """
        try:
            return self._add(notification, SECCOMP_ADDFD_FLAG_SEND, host_fd, 0, O_CLOEXEC if cloexec else 0)
        except Gone:
            return None

    def _add(self, notification: int, flags: int, host_fd: int, at: int, newfd_flags: int) -> int:
        _pack_install(self._install, 0, notification, flags, host_fd, at, newfd_flags)
        while True:
            try:
                number: int = ioctl(self.fd, SECCOMP_IOCTL_NOTIF_ADDFD, self._install)
            except OSError as error:
                # ESRCH: the thread was killed with our request already in its queue. EINPROGRESS: this
                # process was stopped and continued (SIGSTOP) inside a request with FLAG_SEND, which started over.
                if error.errno in (ENOENT, ESRCH, EINPROGRESS):
                    raise Gone from None
                if error.errno != EINTR:  # EBUSY can't be: one thread has one request under way
                    raise SyscallError(Errno(error.errno or 0)) from None
            else:
                return number
