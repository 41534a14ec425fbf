"""Supervised threads: what /proc and a pidfd tell about each, remembered for as long as it is true.

A thread number can come to mean another thread. A record holds on to its own one by an open /proc/TID directory and
a pidfd, which never change over; the exit of a recorded thread is an event on the table's descriptor, and whoever
takes that event before the next notification never meets a record of a thread that is gone. Where the kernel has no
pidfds of threads (before Linux 6.9) the table asks for each of them at each look-up.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Container, Iterator
from errno import EACCES, EMFILE, ENOENT, EPERM, ESRCH
from typing import Final

from afunix.abi.constants import PIDFD_THREAD
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import Credentials
from afunix.supervisor import endcalls, hostcalls
from afunix.supervisor.caller import TaskCaller
from afunix.supervisor.endcalls_python import described
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.identity import is_ours
from afunix.supervisor.memory import Memory
from afunix.supervisor.namespaces import Numbers, Pid, id_map, pid_of
from afunix.supervisor.trapcalls import inode as _inode
from afunix.supervisor.trapcalls_python import inode_in

__all__ = ["UNLIMITED", "Task", "TaskTable"]

UNLIMITED: Final = (1 << 64) - 1
"""RLIM_INFINITY."""

O_HANDLE: Final = os.O_PATH | os.O_CLOEXEC
_UNSEEN: Final = -2
_SEEN: Final = -1


class Task:
    """One thread, by its number `tid`; `tgid` is its process. The table makes them.

    Methods raise Gone if the thread is dead, Inaccessible if this process may not look into it.
    """

    __slots__ = (
        "_credentials",
        "_dir",
        "_filesystem_ids",
        "_handles",
        "_name",
        "_net",
        "_numbers",
        "_numbers_known",
        "_ours",
        "_pidfd",
        "_process",
        "_table",
        "caller",
        "memory",
        "tgid",
        "tid",
    )

    def __init__(self, table: TaskTable, tid: int) -> None:
        self._table = table
        self.tid = tid
        self.memory = Memory(tid)
        self.caller = TaskCaller(self)
        self._handles: dict[int, int] = {}
        self._dir = self._pidfd = self._process = -1
        self._forget()
        self._open()

    def _open(self) -> None:
        """Take hold of the thread that has the number now."""
        try:
            self._pidfd = hostcalls.pidfd_open(self.tid, PIDFD_THREAD)
        except SyscallError as error:
            if error.errno is Errno.ESRCH:
                raise Gone from None
            if error.errno is not Errno.EINVAL:
                raise
            self._pidfd = self._old_pidfd()
        try:
            self._dir = os.open(f"/proc/{self.tid}", O_HANDLE | os.O_DIRECTORY)
            self.tgid = int(self._status()[b"Tgid"])
            if not self.alive():
                raise Gone
        except BaseException as error:
            self.close()
            if isinstance(error, FileNotFoundError):
                raise Gone from None
            raise

    def _old_pidfd(self) -> int:
        """Before PIDFD_THREAD a pidfd must be of a process; of another thread there is none."""
        try:
            return hostcalls.pidfd_open(self.tid)
        except SyscallError as error:
            if error.errno is Errno.ESRCH:
                raise Gone from None
            return -1

    @property
    def bridged(self) -> bool:
        """Whether names that the thread binds are bound on the host too."""
        return self._table.bridged

    @property
    def thread(self) -> int:
        """The pidfd of the thread; -1 if it is gone, or the kernel has none of threads."""
        return self._pidfd

    @property
    def watched(self) -> bool:
        """Whether the table hears of this thread's exit."""
        return self._pidfd >= 0

    def alive(self) -> bool:
        """Whether this thread still has its number; a zombie has."""
        try:
            if self._pidfd < 0:
                return hostcalls.tgkill(self.tgid, self.tid, 0)
            signal.pidfd_send_signal(self._pidfd, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, SyscallError):
            pass
        return True

    def close(self) -> None:
        """Close what the record holds: its thread is dead. `take` still finds the process, if that lives on."""
        self.drop_handles()
        for fd in (self._dir, self._pidfd, self._process):
            if fd >= 0:
                os.close(fd)
        self._dir = self._pidfd = self._process = -1

    def drop_handles(self) -> None:
        """Close the handles that only make `inode` faster."""
        for handle in self._handles.values():
            if handle >= 0:
                os.close(handle)
                self._table.handles += 1
        self._handles.clear()

    def _forget(self) -> None:
        self._credentials: Credentials | None = None
        self._filesystem_ids = 0, 0
        self._name: str | None = None
        self._net = 0
        self._numbers: Numbers | None = None
        self._numbers_known = False
        self._ours: bool | None = None

    # -- descriptors

    def inode(self, fd: int) -> int:
        """The inode number of the socket that the descriptor refers to; -1 if it is no socket, or not open; TELLING.

        One readlinkat; the second look-up of a number opens a handle on its link, which shows what is behind the
        number at the time of each call without the walk to it, at less than half the price.
        """
        try:
            handle = self._handles.get(fd, _UNSEEN)
            return _inode(handle) if handle >= 0 else self._look(fd, handle)
        except OSError as error:
            return self._look_again(fd, error)

    def link(self, fd: int) -> bytes:
        """What the link of a descriptor says; b"" if it is not open."""
        try:
            return os.readlink(b"fd/%d" % fd, dir_fd=self._dir)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._refusal(error) from None

    def _look(self, fd: int, seen: int) -> int:
        path = b"fd/%d" % fd
        if seen == _UNSEEN:
            self._handles[fd] = _SEEN
        elif self._table.handles > 0:
            try:
                self._handles[fd] = os.open(path, O_HANDLE | os.O_NOFOLLOW, dir_fd=self._dir)
                self._table.handles -= 1
            except OSError as error:
                if error.errno != EMFILE:
                    raise
                self._table.handles = 0
        return inode_in(os.readlink(path, dir_fd=self._dir))

    def _look_again(self, fd: int, error: OSError) -> int:
        """After a failure: the descriptor isn't open, the thread is another one by now, or we may not look."""
        if self._dir < 0:
            raise Gone
        if not self.alive():
            self._table.renew(self)
            return self.inode(fd)
        if error.errno == ENOENT:
            return -1
        if error.errno == ESRCH:
            raise Gone
        if error.errno in (EACCES, EPERM):
            raise Inaccessible(
                f"process {self.tgid} ({self.name}) does not let others trace it (PR_SET_DUMPABLE, or a file that may "
                "be run but not read): afunix needs CAP_SYS_PTRACE to serve it"
            )
        raise error

    def identity(self, fd: int) -> tuple[int, int] | None:
        """Device and inode number of the file that is open under this number; None if none is."""
        try:
            status = os.stat(b"fd/%d" % fd, dir_fd=self._dir)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refusal(error) from None
        return status.st_dev, status.st_ino

    def is_free(self, fd: int) -> bool:
        """Whether no file is open under this number."""
        try:
            os.stat(b"fd/%d" % fd, dir_fd=self._dir, follow_symlinks=False)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise self._refusal(error) from None
        return False

    def open_below(self, limit: int) -> int:
        """How many descriptors with numbers below the limit are open."""
        try:
            directory = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._dir)
        except OSError as error:
            raise self._refusal(error) from None
        try:
            return sum(int(number) < limit for number in os.listdir(directory))
        finally:
            os.close(directory)

    def take(self, fd: int) -> int:
        """A copy of the descriptor in this process, close-on-exec, which the caller closes (pidfd_getfd).

        SyscallError: EBADF; ESRCH if the whole process is dead; EPERM; EMFILE of our own. A thread that is gone, or
        one of a kernel without pidfds of threads, is represented by the rest of its process.
        """
        if self._pidfd >= 0:
            try:
                return hostcalls.pidfd_getfd(self._pidfd, fd)
            except SyscallError as error:
                if error.errno is not Errno.ESRCH:
                    raise
        for tid in self._threads():
            try:
                pidfd = hostcalls.pidfd_open(tid, 0 if tid == self.tgid else PIDFD_THREAD)
                try:
                    return hostcalls.pidfd_getfd(pidfd, fd)
                finally:
                    os.close(pidfd)
            except SyscallError as error:
                if error.errno not in (Errno.ESRCH, Errno.EINVAL):
                    raise
        raise SyscallError(Errno.ESRCH)

    def take_as(self, fd: int) -> tuple[int, int, bool]:
        """The same; its inode number if it is a socket, else 0; and whether it was opened with O_PATH."""
        if self._pidfd >= 0:
            try:
                return endcalls.take(self._pidfd, fd)
            except OSError as error:
                if error.errno != ESRCH:
                    raise SyscallError(Errno(error.errno or 0)) from None
        return described(self.take(fd))

    def _threads(self) -> Iterator[int]:
        """The threads of the process, the first one first: it may have ended before the others."""
        yield self.tgid
        try:
            others = os.listdir(f"/proc/{self.tgid}/task")
        except OSError:
            return
        yield from (tid for tid in map(int, others) if tid != self.tgid)

    @property
    def pidfd(self) -> int:
        """A pidfd of the process. SyscallError: ESRCH, EMFILE."""
        if self._process < 0:
            self._process = hostcalls.pidfd_open(self.tgid)
        return self._process

    # -- identity and limits

    def credentials(self) -> Credentials:
        """Ids, groups and effective capabilities, remembered until they are forgotten."""
        if self._credentials is None:
            status = self._status()
            uid, euid, suid, fsuid = map(int, status[b"Uid"].split())
            gid, egid, sgid, fsgid = map(int, status[b"Gid"].split())
            self._filesystem_ids = fsuid, fsgid
            levels = status.get(b"NStgid", b"").split()
            try:
                pid = pid_of(self.tgid, self._dir, levels)
            except OSError as error:
                raise self._refusal(error) from None
            self._credentials = Credentials(
                pid=pid,
                uid=uid,
                gid=gid,
                euid=euid,
                egid=egid,
                groups=tuple(map(int, status[b"Groups"].split())),
                capabilities=int(status[b"CapEff"], 16),
                suid=suid,
                sgid=sgid,
            )
        return self._credentials

    def filesystem_ids(self) -> tuple[int, int]:
        """User and group by which files are accessed (setfsuid(2)); remembered and forgotten likewise."""
        self.credentials()
        return self._filesystem_ids

    def numbers(self) -> Numbers | None:
        """How its pid and user namespaces number processes and users; None if they are ours. Forgotten likewise."""
        if not self._numbers_known:
            pid = self.credentials().pid
            pids = pid.inner[0][0] if isinstance(pid, Pid) else None
            uids = gids = None
            self._numbers_known = True
            if self._stat("ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
                uids, gids = id_map(self._read("uid_map")), id_map(self._read("gid_map"))
                # Each is written once, by anybody, at any time.
                self._numbers_known = bool(uids and gids)
            if pids is not None or uids is not None:
                self._numbers = Numbers(pids, uids, gids)
        return self._numbers

    def waiting_signals(self) -> tuple[int, int, int]:
        """Signals that wait and are not blocked, the thread's own and the process's, as bits; and how many threads."""
        status = self._read("status")
        at = status.index(b"\nSigPnd:\t") + 9
        blocked = int(status[at + 50 : at + 66], 16)
        threads = status.index(b"\nThreads:\t") + 10
        return (
            int(status[at : at + 16], 16) & ~blocked,
            int(status[at + 25 : at + 41], 16) & ~blocked,
            int(status[threads : status.index(b"\n", threads)]),
        )

    def is_killed(self) -> bool:
        """Whether the thread will never come back from the call that it is in (fatal_signal_pending)."""
        try:
            return bool(self.waiting_signals()[0] >> signal.SIGKILL - 1 & 1)
        except Gone:
            return True

    def has_stopped_threads(self, others: Container[int]) -> bool:
        """Whether the process is being stopped (job control), judged by one of the threads that are not `others`."""
        for tid in self._threads():
            if tid not in others:
                try:
                    with open(f"/proc/{tid}/stat", "rb") as file:
                        return file.read().rpartition(b") ")[2][:1] == b"T"
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return False

    def umask(self) -> int:
        """The file mode creation mask, asked for anew each time."""
        return int(self._status()[b"Umask"], 8)

    @property
    def name(self) -> str:
        """The command name (comm), remembered until execve."""
        if self._name is None:
            self._name = self._read("comm").decode("utf-8", "replace").removesuffix("\n")
        return self._name

    def rlimit(self, which: int) -> tuple[int, int]:
        """Soft and hard limit for a resource.RLIMIT_* of the process; UNLIMITED for none."""
        try:
            soft, hard = resource.prlimit(self.tid, which)
        except ProcessLookupError:
            raise Gone from None
        except PermissionError:
            return self._published_rlimit(which)
        return (soft if soft >= 0 else UNLIMITED), (hard if hard >= 0 else UNLIMITED)

    def _published_rlimit(self, which: int) -> tuple[int, int]:
        """The same from /proc/TID/limits, whose lines are in the order of the numbers, for other users' processes."""
        soft, hard = self._read("limits").splitlines()[1 + which][26:].split()[:2]
        return (UNLIMITED if soft == b"unlimited" else int(soft)), (UNLIMITED if hard == b"unlimited" else int(hard))

    def net_namespace(self) -> int:
        """The inode number of the network namespace, remembered until credentials are forgotten."""
        if not self._net:
            self._net = self._stat("ns/net").st_ino
        return self._net

    def root_is_ours(self) -> bool:
        """Whether an absolute path means the same to the thread as to this process."""
        theirs, ours = self._stat("root"), os.stat("/")
        return (
            (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
            and self._stat("ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
        )  # fmt: skip

    def near(self) -> int:
        """A descriptor of its directory in /proc if its filesystem identity is ours; -1: it is not.

        Remembered until credentials are forgotten.
        """
        if self._ours is None:
            self._ours = is_ours(self)
        return self._dir if self._ours else -1

    def open_directory(self, which: str) -> int:
        """A descriptor (O_PATH) for the thread's `cwd` or `root`, which the caller closes."""
        try:
            return os.open(which, O_HANDLE | os.O_DIRECTORY, dir_fd=self._dir)
        except OSError as error:
            raise self._refusal(error) from None

    def _stat(self, path: str) -> os.stat_result:
        try:
            return os.stat(path, dir_fd=self._dir)
        except OSError as error:
            raise self._refusal(error) from None

    def _read(self, path: str) -> bytes:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._dir)
            try:
                data = b""
                while part := os.read(fd, 65536):
                    data += part
                return data
            finally:
                os.close(fd)
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> Exception:
        if error.errno in (EACCES, EPERM):
            return Inaccessible(f"process {self.tgid} does not let others trace it: afunix needs CAP_SYS_PTRACE")
        if error.errno in (ENOENT, ESRCH) or self._dir < 0:
            return Gone()
        return error

    def _status(self) -> dict[bytes, bytes]:
        lines = self._read("status").splitlines()
        return {key: value for key, _, value in (line.partition(b":\t") for line in lines)}


class TaskTable:
    """The records of all threads seen, by number.

    Poll the table, and call `expire` when it is readable, before looking anything up. Each record holds a pidfd and
    a directory; handles for faster look-ups share what is left of RLIMIT_NOFILE.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, Task] = {}
        self._by_pidfd: dict[int, Task] = {}
        self._exits = select.epoll()
        self.bridged = False
        """Whether names that programs bind are bound on the host too, for programs outside."""
        self.handles = self._share()
        """How many more handles may be opened."""
        self.links: dict[int, dict[int, int]] = {}
        """By thread and descriptor the handles (if not negative): they mean this thread as long as they can be read."""

    @staticmethod
    def _share() -> int:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft // 4 if soft >= 0 else 1 << 16

    def fileno(self) -> int:
        """A descriptor that is readable when a recorded thread has ended."""
        return self._exits.fileno()

    def close(self) -> None:
        """Close all records."""
        for task in self._tasks.values():
            task.close()
        self._tasks.clear()
        self._by_pidfd.clear()
        self.links.clear()
        self._exits.close()

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, tid: int) -> Task:
        """The record of the thread with this number. Gone if there is none."""
        task = self._tasks.get(tid)
        if task is None:
            return self._add(tid)
        if task._pidfd < 0 and not task.alive():
            self.renew(task)
        return task

    def _add(self, tid: int) -> Task:
        try:
            task = Task(self, tid)
        except (OSError, SyscallError) as error:
            if error.errno != EMFILE:
                raise
            self.shrink()
            task = Task(self, tid)
        self._tasks[tid] = task
        self._watch(task)
        return task

    def _watch(self, task: Task) -> None:
        if task._pidfd >= 0:
            self._exits.register(task._pidfd, select.EPOLLIN)
            self._by_pidfd[task._pidfd] = task
            self.links[task.tid] = task._handles

    def _unwatch(self, task: Task) -> None:
        if self._by_pidfd.pop(task._pidfd, None) is not None:
            self._exits.unregister(task._pidfd)
        if self.links.get(task.tid) is task._handles:
            del self.links[task.tid]

    def expire(self) -> None:
        """Drop the records of threads that have ended."""
        for pidfd, _ in self._exits.poll(0, max(len(self._by_pidfd), 1)):
            task = self._by_pidfd[pidfd]
            self._drop(task)

    def _drop(self, task: Task) -> None:
        self._unwatch(task)
        if self._tasks.get(task.tid) is task:
            del self._tasks[task.tid]
        task.close()

    def renew(self, task: Task) -> None:
        """The record's number belongs to another thread by now: describe that one. Gone if there is none."""
        self._unwatch(task)
        task.close()
        task._forget()
        try:
            task._open()
        except Gone:
            self._tasks.pop(task.tid, None)
            raise
        self._watch(task)

    def shrink(self) -> None:
        """Out of descriptors: close all handles, and have no more of them than half as many as until now."""
        for task in self._tasks.values():
            task.drop_handles()
        self.handles //= 2

    def forget_process(self, tgid: int) -> None:
        """A process calls execve: name and identity change, and one thread with the leader's number is left."""
        for task in self._tasks.values():
            if task.tgid == tgid:
                task._forget()

    def forget_credentials(self, tid: int) -> None:
        """A thread changes its identity or a namespace."""
        task = self._tasks.get(tid)
        if task is not None:
            task._credentials = None
            task._net = 0
            task._numbers = None
            task._numbers_known = False
            task._ours = None
