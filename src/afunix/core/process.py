"""Processes as far as sockets can tell: identity, descriptors, limits, and where their paths start.

A `Process` is a `Caller` of the sockets and a `PathCaller` of its namespace. What is left out: threads with an identity
of their own, zombies (the number of a process that exited is free at once), and other signals than SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import CAP_SETGID, CAP_SETUID, CAP_SYS_RESOURCE, Credentials
from afunix.core.descriptors import DescriptorTable
from afunix.core.errors import Unmodelled
from afunix.core.filesystem import Namespace

__all__ = ["ALL_CAPABILITIES", "RLIMIT_NOFILE", "SIGKILL", "BoundPath", "Process", "ProcessTable"]

ALL_CAPABILITIES: Final = (1 << 41) - 1
"""Every capability up to CAP_CHECKPOINT_RESTORE."""
CAP_KILL: Final = 5

RLIMIT_NOFILE: Final = 7
RLIM_NLIMITS: Final = 16
NR_OPEN: Final = 1 << 20
"""fs.nr_open: the largest RLIMIT_NOFILE."""
NGROUPS_MAX: Final = 65536

SIGKILL: Final = 9
NSIG: Final = 64

RESERVED_PIDS: Final = 300
"""Numbers below are used once only: the search starts over from here (kernel/pid.c)."""

Ids = tuple[int, int, int]

if TYPE_CHECKING:
    from afunix.core.caller import BoundInode, Caller
    from afunix.core.pidfd import Pidfd

    def _fits(process: Process, path: BoundPath) -> tuple[Caller, BoundInode]:
        return process, path  # the type checker proves that both are what the sockets ask for


@dataclass(slots=True, eq=False)
class BoundPath:
    """The inode that a bind made (a `BoundInode`), and who made it from where, to take it back.

    holders: who closes it once, each: the socket that was bound and its connections.
    """

    namespace: Namespace
    credentials: Credentials
    cwd: object
    root: object
    path: bytes
    key: Hashable
    holders: int = 1

    def remove(self) -> None:
        """Unlink the name, if it still leads to this inode (NAME-7)."""
        self.namespace.remove(self, self.path, self.key)

    def share(self) -> BoundPath:
        """Hold it once more."""
        self.holders += 1
        return self

    def close(self) -> None:
        """Hold it once less; nobody does any more: the namespace may forget it."""
        self.holders -= 1
        if not self.holders:
            self.namespace.forget(self.key)


class Process:
    """One process: what a system call of it needs to know.

    credentials: replaced as a whole by each change. permitted, bounding: capability sets as bit masks. umask:
    permission bits that new inodes lack. cwd, root: directories of the namespace. net: its network namespace
    (NAME-12). limits: soft and hard value by resource. pidfds: those that stand for it.
    """

    __slots__ = (
        "alive",
        "bounding",
        "credentials",
        "cwd",
        "descriptors",
        "limits",
        "net",
        "permitted",
        "pidfds",
        "root",
        "table",
        "umask",
    )

    def __init__(
        self,
        table: ProcessTable,
        credentials: Credentials,
        descriptors: DescriptorTable,
        *,
        cwd: object,
        root: object,
        umask: int,
        net: Hashable,
    ) -> None:
        self.table = table
        self.credentials = credentials
        self.permitted = credentials.capabilities
        self.bounding = ALL_CAPABILITIES
        self.descriptors = descriptors
        self.cwd = cwd
        self.root = root
        self.umask = umask
        self.net = net
        self.limits = {RLIMIT_NOFILE: (descriptors.limit, 4096)}
        self.alive = True
        self.pidfds: dict[Pidfd, None] = {}

    def __repr__(self) -> str:
        return f"<Process {self.pid}{'' if self.alive else ' exited'}>"

    # What the sockets ask a caller.

    @property
    def pid(self) -> int:
        """Its number in the process table."""
        return self.credentials.pid

    @property
    def nofile(self) -> int:
        """The soft RLIMIT_NOFILE."""
        return self.descriptors.limit

    def realtime(self) -> float:
        """Seconds since the epoch, on the table's clock."""
        return self.table.clock()

    numbers: Final = None

    def find_pid(self, number: int) -> int:
        """The process of this number in the table; 0: none."""
        return number if number in self.table.processes else 0

    def lookup(self, path: bytes) -> Hashable:
        """The key of the socket inode at a path, as `Namespace.lookup`."""
        return self.table.namespace.lookup(self, path)

    def create(self, path: bytes, mode: int, kind: int) -> BoundPath:
        """Make a socket inode with `mode & ~umask`, as `Namespace.create`; it is the same for every type."""
        namespace = self.table.namespace
        key = namespace.create(self, path, mode & ~self.umask)
        return BoundPath(namespace, self.credentials, self.cwd, self.root, path, key)

    # Life.

    def fork(self) -> Process:
        """Make a child with copies of everything, and a reference more to each open file: EAGAIN without a pid."""
        table = self.table
        pid = table.allocate()
        child = Process(
            table,
            replace(self.credentials, pid=pid),
            self.descriptors.fork(),
            cwd=self.cwd,
            root=self.root,
            umask=self.umask,
            net=self.net,
        )
        child.permitted = self.permitted
        child.bounding = self.bounding
        child.limits = dict(self.limits)
        table.add(child)
        return child

    def exec(self) -> None:
        """Become another program: descriptors marked so are closed, saved ids and capabilities set anew.

        The effective ids are saved. Who is root gets the bounding set, everybody else loses every capability
        (cap_bprm_creds_from_file, with neither setuid bits nor file or ambient capabilities).
        """
        old = self.credentials
        root = 0 in {old.uid, old.euid}
        self.permitted = self.bounding if root else 0
        self.credentials = replace(
            old, suid=old.euid, sgid=old.egid, capabilities=self.permitted if old.euid == 0 else 0
        )
        self.descriptors.exec()

    def exit(self) -> None:
        """End: the number is free, then every descriptor is closed, once however often this is called."""
        if self.alive:
            self.alive = False
            self.table.remove(self)
            self.descriptors.limit = 0  # a call that is still under way installs nothing any more
            self.descriptors.clear()
            for pidfd in self.pidfds:
                pidfd.exited()

    def set_umask(self, mask: int) -> int:
        """umask(2): the old mask is returned."""
        old, self.umask = self.umask, mask & 0o777
        return old

    def setrlimit(self, resource: int, soft: int, hard: int) -> None:
        """Set both limits of RLIMIT_NOFILE, the one resource that is kept (do_prlimit); others are `Unmodelled`.

        EINVAL: soft above hard, or no such resource. EPERM: hard above fs.nr_open, or raised without
        CAP_SYS_RESOURCE.
        """
        if not 0 <= resource < RLIM_NLIMITS or soft > hard:
            raise SyscallError(Errno.EINVAL)
        if resource != RLIMIT_NOFILE:
            raise Unmodelled(f"resource limit {resource}")
        raised = hard > self.limits[resource][1]
        if hard > NR_OPEN or (raised and not self.credentials.capable(CAP_SYS_RESOURCE)):
            raise SyscallError(Errno.EPERM)
        self.limits[resource] = (soft, hard)
        self.descriptors.limit = soft

    # Identity (kernel/sys.c). In the calls with several ids, -1 leaves one as it is.

    def setuid(self, uid: int) -> None:
        """Set all three user ids with CAP_SETUID, else the effective one: EPERM, EINVAL for -1."""
        old = self.credentials
        self._set_uids(_setid((old.uid, old.euid, old.suid), uid, old.capable(CAP_SETUID)))

    def setreuid(self, uid: int, euid: int) -> None:
        """Set real and effective user id; the saved one follows where Linux has it follow: EPERM."""
        old = self.credentials
        self._set_uids(_setreid((old.uid, old.euid, old.suid), uid, euid, old.capable(CAP_SETUID)))

    def setresuid(self, uid: int, euid: int, suid: int) -> None:
        """Set real, effective and saved user id, without CAP_SETUID to one of the three: EPERM."""
        old = self.credentials
        self._set_uids(_setresid((old.uid, old.euid, old.suid), (uid, euid, suid), old.capable(CAP_SETUID)))

    def setgid(self, gid: int) -> None:
        """As setuid for groups, with CAP_SETGID."""
        old = self.credentials
        self._set_gids(_setid((old.gid, old.egid, old.sgid), gid, old.capable(CAP_SETGID)))

    def setregid(self, gid: int, egid: int) -> None:
        """As setreuid for groups, with CAP_SETGID."""
        old = self.credentials
        self._set_gids(_setreid((old.gid, old.egid, old.sgid), gid, egid, old.capable(CAP_SETGID)))

    def setresgid(self, gid: int, egid: int, sgid: int) -> None:
        """As setresuid for groups, with CAP_SETGID."""
        old = self.credentials
        self._set_gids(_setresid((old.gid, old.egid, old.sgid), (gid, egid, sgid), old.capable(CAP_SETGID)))

    def setgroups(self, groups: tuple[int, ...]) -> None:
        """Set the supplementary groups, which Linux keeps sorted: EPERM without CAP_SETGID, EINVAL above 65536."""
        if not self.credentials.capable(CAP_SETGID):
            raise SyscallError(Errno.EPERM)
        if len(groups) > NGROUPS_MAX or -1 in groups:
            raise SyscallError(Errno.EINVAL)
        self.credentials = replace(self.credentials, groups=tuple(sorted(groups)))

    def _set_gids(self, ids: Ids) -> None:
        gid, egid, sgid = ids
        self.credentials = replace(self.credentials, gid=gid, egid=egid, sgid=sgid)

    def _set_uids(self, ids: Ids) -> None:
        """Who stops being root loses capabilities, who becomes root again uses them (cap_emulate_setxuid)."""
        old = self.credentials
        uid, euid, suid = ids
        capabilities = old.capabilities
        if 0 in {old.uid, old.euid, old.suid} and 0 not in ids:
            self.permitted = capabilities = 0
        if old.euid == 0 and euid != 0:
            capabilities = 0
        elif old.euid != 0 and euid == 0:
            capabilities = self.permitted
        self.credentials = replace(old, uid=uid, euid=euid, suid=suid, capabilities=capabilities)


class ProcessTable:
    """All processes of one world by pid, and what they share: the namespace of paths and a clock.

    clock: seconds since the epoch. pid_max: numbers stay below it (kernel.pid_max).
    """

    __slots__ = ("_last", "clock", "namespace", "pid_max", "processes")

    def __init__(self, namespace: Namespace, clock: Callable[[], float], *, pid_max: int = 32768) -> None:
        self.namespace = namespace
        self.clock = clock
        self.pid_max = pid_max
        self.processes: dict[int, Process] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self.processes)

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self.processes.values()))

    def get(self, pid: int) -> Process:
        """The process with this number: ESRCH."""
        process = self.processes.get(pid)
        if process is None:
            raise SyscallError(Errno.ESRCH)
        return process

    def spawn(
        self,
        *,
        cwd: object,
        root: object,
        uid: int = 0,
        gid: int = 0,
        groups: tuple[int, ...] = (),
        capabilities: int | None = None,
        umask: int = 0o022,
        nofile: int = 1024,
        net: Hashable = None,
        pid: int | None = None,
    ) -> Process:
        """Make a process without a parent: EAGAIN without a pid. Unless told, uid 0 has all capabilities.

        pid: a free number that it is to have; unless told, the next one.
        """
        if capabilities is None:
            capabilities = 0 if uid else ALL_CAPABILITIES
        if pid is None:
            pid = self.allocate()
        credentials = Credentials(pid, uid, gid, uid, gid, tuple(sorted(groups)), capabilities, uid, gid)
        descriptors = DescriptorTable(nofile)
        process = Process(self, credentials, descriptors, cwd=cwd, root=root, umask=umask, net=net)
        self.add(process)
        return process

    def allocate(self) -> int:
        """The next free number, going round at pid_max (idr_alloc_cyclic in alloc_pid): EAGAIN."""
        for pid in range(self._last + 1, self.pid_max):
            if pid not in self.processes:
                self._last = pid
                return pid
        for pid in range(min(RESERVED_PIDS, self.pid_max), self._last + 1):
            if pid not in self.processes:
                self._last = pid
                return pid
        raise SyscallError(Errno.EAGAIN)

    def add(self, process: Process) -> None:
        """Enter a process under its number, which must be free."""
        assert process.pid not in self.processes
        self.processes[process.pid] = process

    def remove(self, process: Process) -> None:
        """Take a process out; its number is free."""
        del self.processes[process.pid]

    def kill(self, sender: Process, pid: int, signal: int) -> None:
        """kill(2) of one process: 0 only checks, SIGKILL ends it, other signals and groups are `Unmodelled`.

        ESRCH; EINVAL: no such signal; EPERM: neither CAP_KILL nor the target's real or saved user id.
        """
        if pid <= 0:
            raise Unmodelled("signals to process groups")
        target = self.get(pid)
        if not 0 <= signal <= NSIG:
            raise SyscallError(Errno.EINVAL)
        mine, theirs = sender.credentials, target.credentials
        same = sender is target or not {mine.uid, mine.euid}.isdisjoint({theirs.uid, theirs.suid})
        if not same and not mine.capable(CAP_KILL):
            raise SyscallError(Errno.EPERM)
        if signal == SIGKILL:
            target.exit()
        elif signal:
            raise Unmodelled(f"signal {signal}")


def _setid(old: Ids, new: int, privileged: bool) -> Ids:
    """setuid and setgid: the ids real, effective, saved that result."""
    real, _, saved = old
    if new == -1:
        raise SyscallError(Errno.EINVAL)
    if privileged:
        return new, new, new
    if new not in {real, saved}:
        raise SyscallError(Errno.EPERM)
    return real, new, saved


def _setreid(old: Ids, real: int, effective: int, privileged: bool) -> Ids:
    """setreuid and setregid: the saved id follows if the real one is set, or the effective one to another."""
    if not privileged and (real not in {-1, *old[:2]} or effective not in {-1, *old}):
        raise SyscallError(Errno.EPERM)
    new_real = old[0] if real == -1 else real
    new_effective = old[1] if effective == -1 else effective
    follows = real != -1 or effective not in {-1, old[0]}
    return new_real, new_effective, new_effective if follows else old[2]


def _setresid(old: Ids, new: Ids, privileged: bool) -> Ids:
    if not privileged and not {-1, *old}.issuperset(new):
        raise SyscallError(Errno.EPERM)
    real, effective, saved = (before if after == -1 else after for before, after in zip(old, new, strict=True))
    return real, effective, saved
