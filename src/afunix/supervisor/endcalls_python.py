"""The functions of endcalls in Python, by the socket module, os and ctypes.

P is a program's end of a placeholder and S the supervisor's. A thread's descriptor is told by a pidfd and a number, and
used only if it is the socket with the inode number that is given.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket as host
import stat
import struct
from contextlib import ExitStack, suppress
from typing import Final

from afunix.abi.constants import AT_EACCESS, AT_EMPTY_PATH, MSG_OOB
from afunix.abi.errno import SyscallError
from afunix.supervisor import hostcalls
from afunix.supervisor.copies import Copy, copy, socket_of

__all__ = ["FILL", "drain", "fetch", "fill", "find", "join", "loose", "meet", "pair", "push", "take"]

FILL: Final = bytes(2000)
"""One send of this fills P: with the smallest send buffer (4608 bytes) its truesize makes it unwritable."""
CONTROL_ROOM: Final = host.CMSG_SPACE(4 * 253)
QUIETLY: Final = host.MSG_DONTWAIT | host.MSG_NOSIGNAL
PATIENCE: Final = struct.pack("qq", 0, 10_000)
"""How long a try to connect lasts at most."""
NO_PATIENCE: Final = bytes(16)
TRIES: Final = 100
PLACE: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def socket_inode(fd: int) -> int:
    """The inode number of a socket; 0 of anything else."""
    status = os.fstat(fd)
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else 0


def loose() -> tuple[int, int]:
    """A P without an S: an unconnected stream socket and its inode number. OSError."""
    fd = host.socket(host.AF_UNIX, host.SOCK_STREAM).detach()
    return fd, socket_inode(fd)


def pair(epoll: int, events: int) -> tuple[int, int, int]:
    """P, S and the inode number of P; S is watched by an epoll. OSError."""
    end, mine = host.socketpair()
    mine.setsockopt(host.SOL_SOCKET, host.SO_SNDBUF, 0)
    try:
        with select.epoll.fromfd(os.dup(epoll)) as watcher:
            watcher.register(end, events)
    except BaseException:
        end.close()
        mine.close()
        raise
    inode = socket_inode(mine.fileno())
    return mine.detach(), end.detach(), inode


def join(pidfd: int, number: int, inode: int, meeting: int, epoll: int, events: int, address: bytes) -> int:
    """Give a thread's loose P an S, by way of a listener of ours and its address; S is watched by an epoll.

    The listener's name is open to everyone on the host: only the connection made here is taken. -1: the thread can't
    be reached, or has another file there. OSError.
    """
    own = _copy_of(pidfd, number, inode)
    return -1 if own is None else meet(own, meeting, epoll, events, address)


def meet(own: Copy, meeting: int, epoll: int, events: int, address: bytes) -> int:
    """`join` for a P that is at hand."""
    with ExitStack() as needed:
        with own as mine:
            listener = needed.enter_context(host.socket(fileno=os.dup(meeting)))
            watcher = needed.enter_context(select.epoll.fromfd(os.dup(epoll)))
            mine.setsockopt(host.SOL_SOCKET, host.SO_SNDBUF, 0)
            _connect(mine, listener, address[2:])
        # P is closed by now, so that there is a number to accept with: nobody may be left waiting, to be taken for the
        # next.
        while True:
            end, _ = listener.accept()
            if int.from_bytes(end.getsockopt(host.SOL_SOCKET, host.SO_PEERCRED, 12)[:4], "little") == os.getpid():
                break
            end.close()
        try:
            watcher.register(end, events)
        except BaseException:
            end.close()
            raise
        return end.detach()


def _connect(mine: host.SocketType, listener: host.socket, address: bytes) -> None:
    """Connect P. The listener's queue may be full of strangers, who are sent away. OSError."""
    mine.setsockopt(host.SOL_SOCKET, host.SO_SNDTIMEO, PATIENCE)
    for _ in range(TRIES):
        try:
            mine.connect(address)
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(listener, select.POLLIN)
            while waiting.poll(0):
                listener.accept()[0].close()
        else:
            mine.setsockopt(host.SOL_SOCKET, host.SO_SNDTIMEO, NO_PATIENCE)
            return
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def push(end: int, urgent: bool, fds: list[int]) -> bool:
    """Send a byte from S to P, with descriptors, which are closed then. False: P takes no more, or is closed."""
    with suppress(OSError):
        sock = socket_of(end)
        rights = [(host.SOL_SOCKET, host.SCM_RIGHTS, b"".join(fd.to_bytes(4, "little") for fd in fds))] if fds else []
        sock.sendmsg([b"x"], rights, QUIETLY | (MSG_OOB if urgent else 0))
        for fd in fds:
            os.close(fd)
        return True
    return False


def descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    """What SCM_RIGHTS brought."""
    return [int.from_bytes(data[at : at + 4], "little") for _, _, data in control for at in range(0, len(data) - 3, 4)]


def fetch(pidfd: int, number: int, inode: int) -> list[int] | None:
    """Take a byte out of P, and the descriptors parked with it. None: as -1 of `drain`, or there is no byte."""
    own = _copy_of(pidfd, number, inode)
    if own is None:
        return None
    with own as mine:
        try:
            byte, control, _, _ = mine.recvmsg(1, CONTROL_ROOM, host.MSG_DONTWAIT | host.MSG_CMSG_CLOEXEC)
        except OSError:
            return None
    return descriptors(control) if byte else None


def take(pidfd: int, number: int) -> tuple[int, int, bool]:
    """A copy of a thread's descriptor; its inode number if it is a socket, else 0; whether it is an O_PATH one.

    OSError: as hostcalls.pidfd_getfd.
    """
    try:
        fd = hostcalls.pidfd_getfd(pidfd, number)
    except SyscallError as error:
        raise OSError(error.errno, os.strerror(error.errno)) from None
    return described(fd)


def described(fd: int) -> tuple[int, int, bool]:
    """The same of a copy that was made already."""
    path_only = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH)
    # An O_PATH one of a socket is of a name, whose inode number is that of another filesystem.
    return fd, 0 if path_only else socket_inode(fd), path_only


def _copy_of(pidfd: int, fd: int, inode: int) -> Copy | None:
    try:
        taken = hostcalls.pidfd_getfd(pidfd, fd)
    except SyscallError:
        return None
    if socket_inode(taken) == inode:
        return copy(taken)
    os.close(taken)
    return None


def drain(pidfd: int, number: int, inode: int, most: int) -> int:
    """Take up to `most` bytes out of P.

    How many were taken, at most 256; -1: the thread can't be reached, or has another file there.
    """
    own = _copy_of(pidfd, number, inode)
    if own is None:
        return -1
    with own as mine:
        try:
            return len(mine.recv(min(most, 256), host.MSG_DONTWAIT))
        except OSError:
            return 0


def fill(pidfd: int, number: int, inode: int) -> int:
    """Fill the send buffer of P: 1; 0: it is full; -1 as for `drain`."""
    own = _copy_of(pidfd, number, inode)
    if own is None:
        return -1
    with own as mine, suppress(OSError):
        mine.send(FILL, QUIETLY)
        return 1
    return 0


# -- path names


def find(directory: int, path: bytes) -> tuple[int, int, int, int] | None:
    """What a path leads to for a thread whose /proc directory is given, if that is a socket that we may write to.

    An O_PATH descriptor, device, inode number, mode. None: it must be looked at closely (paths.lookup).
    """
    scope = hostcalls.resolve_as_program(path)
    if scope is None:
        return None
    fd = -1
    try:
        start = os.open("root" if path.startswith(b"/") else "cwd", PLACE, dir_fd=directory)
        try:
            fd = hostcalls.openat2(start, path, os.O_PATH | os.O_CLOEXEC, 0, scope)
        finally:
            os.close(start)
        status = os.fstat(fd)
        if stat.S_ISSOCK(status.st_mode):
            hostcalls.faccessat2(fd, b"", os.W_OK, AT_EMPTY_PATH | AT_EACCESS)
            return fd, status.st_dev, status.st_ino, status.st_mode
    except (OSError, SyscallError):
        pass
    if fd >= 0:
        os.close(fd)
    return None
