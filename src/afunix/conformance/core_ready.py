"""poll and epoll of a core process: registers and memory around core.polling and core.epoll."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from afunix.abi import arch
from afunix.abi.constants import (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    POLLERR,
    POLLHUP,
    POLLNVAL,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import POLLFD, TIMESPEC
from afunix.conformance.core_files import Args, Body, PathFile, file_of
from afunix.core import epoll, polling
from afunix.core.wait import WouldBlock
from afunix.syscalls.call import Outcome, signed

if TYPE_CHECKING:
    from afunix.conformance.core_machine import CoreTask

__all__ = ["epoll_create1", "epoll_ctl", "epoll_pwait", "ppoll"]


def ppoll(task: CoreTask, args: Args) -> Outcome:
    """ppoll(2) without a signal mask."""
    count = args[1] & 0xFFFFFFFF
    if count > task.process.nofile:
        raise SyscallError(Errno.EINVAL)
    entries = list(POLLFD.iter_unpack(task.read(args[0], POLLFD.size * count)))
    timeout: float | None = None
    if args[2]:
        seconds, nanoseconds = TIMESPEC.unpack(task.read(args[2], TIMESPEC.size))
        timeout = seconds + nanoseconds / 1e9
    table = task.process.descriptors
    files = [table.files.get(fd) if fd >= 0 else None for fd, _, _ in entries]

    def look() -> int:
        answers = b""
        ready = 0
        for (fd, events, _), file in zip(entries, files, strict=True):
            if fd < 0:
                found = 0
            elif file is None or isinstance(file, PathFile):
                found = POLLNVAL
            else:
                found = polling.mask(file) & (events | POLLERR | POLLHUP)
            ready += bool(found)
            answers += POLLFD.pack(fd, events, found)
        task.write(args[0], answers)
        return ready

    ready = look()
    if ready or timeout == 0:
        return ready
    waits = tuple(queue for file in files if file is not None for queue, _ in polling.queues(file))
    until = None if timeout is None else task.machine.clock + timeout
    return _poll(look, WouldBlock(waits, until))


def _poll(look: Callable[[], int], block: WouldBlock) -> Body:
    while True:
        try:
            yield block
        except SyscallError as error:
            if error.errno is Errno.EAGAIN:
                return 0
            raise
        if ready := look():
            return ready


def epoll_create1(task: CoreTask, args: Args) -> int:
    """epoll_create1(2)."""
    if signed(args[0]) & ~EPOLL_CLOEXEC:
        raise SyscallError(Errno.EINVAL)
    file = epoll.Epoll(task.machine.kernel.wakeups)
    return task.process.descriptors.install(file, cloexec=bool(args[0] & EPOLL_CLOEXEC))


def epoll_ctl(task: CoreTask, args: Args) -> int:
    """epoll_ctl(2)."""
    operation, fd = signed(args[1]), signed(args[2])
    events = data = 0
    if operation != EPOLL_CTL_DEL:
        layout = arch.current().epoll_event
        events, data = layout.unpack(task.read(args[3], layout.size))
    file, target = file_of(task, args[0]), file_of(task, fd)
    if not isinstance(file, epoll.Epoll):
        raise SyscallError(Errno.EINVAL)
    if operation == EPOLL_CTL_ADD:
        file.add(fd, target, events, data)
    elif operation == EPOLL_CTL_MOD:
        file.modify(fd, target, events, data)
    elif operation == EPOLL_CTL_DEL:
        file.remove(fd, target)
    else:
        raise SyscallError(Errno.EINVAL)
    return 0


def epoll_pwait(task: CoreTask, args: Args) -> Body:
    """epoll_pwait(2) without a signal mask."""
    file = file_of(task, args[0])
    if not isinstance(file, epoll.Epoll):
        raise SyscallError(Errno.EINVAL)
    milliseconds = signed(args[3])
    timeout = None if milliseconds < 0 else milliseconds / 1000
    found: list[tuple[int, object]] | WouldBlock
    if timeout == 0:
        found = file.wait_nowait(signed(args[2]))
        found = [] if isinstance(found, WouldBlock) else found
    else:
        found = yield from epoll.wait(file, signed(args[2]), task.machine.clock, timeout)
    layout = arch.current().epoll_event
    task.write(args[1], b"".join([layout.pack(events, data) for events, data in found]))
    return len(found)
