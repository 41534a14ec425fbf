"""Who makes a call: the identity that a process lends to its sockets and messages."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CAP_NET_ADMIN", "CAP_NET_RAW", "NOBODY", "NO_PEER", "OVERFLOW_ID", "Credentials", "Ucred"]

CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
CAP_SETGID = 6
CAP_SETUID = 7
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_PTRACE = 19
CAP_SYS_ADMIN = 21
CAP_SYS_RESOURCE = 24

OVERFLOW_ID = 65534
"""What Linux shows for an identity that has no number in the reader's user namespace."""


@dataclass(frozen=True, slots=True)
class Ucred:
    """`struct ucred`: process, user and group, as SCM_CREDENTIALS and SO_PEERCRED carry them (unix(7))."""

    pid: int
    uid: int
    gid: int


NO_PEER = Ucred(0, -1, -1)
"""SO_PEERCRED of a socket that never had a peer (SCM-6)."""

NOBODY = Ucred(0, OVERFLOW_ID, OVERFLOW_ID)
"""What a receiver with SO_PASSCRED sees on a message sent before either side asked for credentials (SCM-5)."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The identity of one thread of a process at the time of a call.

    pid is the thread group's; uid and gid are the real ids, euid and egid the effective ones, which also stand
    for the filesystem ids. groups are the supplementary groups, capabilities the effective set as a bit mask.
    effective: what SO_PEERCRED records at connect, listen and socketpair (init_peercred, SCM-6). real: what
    SCM_CREDENTIALS shows when the sender gave nothing (scm_set_cred, SCM-5). Both are made once, as making one costs,
    and by nobody else: equal numbers need not mean the same process (supervisor.namespaces.Pid).
    """

    pid: int
    uid: int = 0
    gid: int = 0
    euid: int = 0
    egid: int = 0
    groups: tuple[int, ...] = ()
    capabilities: int = 0
    suid: int = 0
    sgid: int = 0
    effective: Ucred = field(init=False, repr=False, compare=False)
    real: Ucred = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "effective", Ucred(self.pid, self.euid, self.egid))
        object.__setattr__(self, "real", Ucred(self.pid, self.uid, self.gid))

    def capable(self, capability: int) -> bool:
        """Whether the effective set holds the capability with this number (capable() in kernel/capability.c)."""
        return bool(self.capabilities >> capability & 1)
