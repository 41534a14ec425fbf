"""Acting on the host's filesystem with the identity of a program: filesystem ids, groups, capabilities.

The kernel checks every step of a path itself then, so files, directories, ACLs and capabilities count exactly as
they would for the program, and what is made belongs to it. Needs CAP_SETUID and CAP_SETGID; a supervisor without
them has the identity of its programs anyway, as no_new_privs lets none of them gain another.

Changing filesystem ids makes this process undumpable and clears its own PR_SET_PDEATHSIG (commit_creds).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol

from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID, Credentials
from afunix.supervisor import hostcalls

__all__ = ["Subject", "acting_as", "is_ours"]

CAP_FS_MASK: Final = (
    1 << 0  # CAP_CHOWN
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_DAC_READ_SEARCH
    | 1 << 3  # CAP_FOWNER
    | 1 << 4  # CAP_FSETID
    | 1 << 9  # CAP_LINUX_IMMUTABLE
    | 1 << 27  # CAP_MKNOD
    | 1 << 32  # CAP_MAC_OVERRIDE
)
"""The capabilities that filesystems look at: CAP_FS_SET of linux/capability.h, and CAP_LINUX_IMMUTABLE."""

MAY_SWITCH: Final = 1 << CAP_SETUID | 1 << CAP_SETGID


class Subject(Protocol):
    """Whose identity it is."""

    @property
    def tid(self) -> int:
        """Thread number."""
        ...

    def credentials(self) -> Credentials:
        """The thread's identity, of which the groups and capabilities count here."""
        ...

    def filesystem_ids(self) -> tuple[int, int]:
        """User and group by which it accesses files: the effective ones, unless it has called setfsuid(2)."""
        ...


def is_ours(subject: Subject) -> bool:
    """Whether a thread's filesystem identity is our own, so that `acting_as` changes nothing."""
    effective, permitted, _ = hostcalls.capget()
    return _has_our_ids(subject, os.getgroups()) and _capabilities(subject, effective, permitted) == effective


def _has_our_ids(subject: Subject, groups: Sequence[int]) -> bool:
    ours = os.geteuid(), os.getegid()
    return subject.filesystem_ids() == ours and set(subject.credentials().groups) == set(groups)


def _capabilities(subject: Subject, effective: int, permitted: int) -> int:
    """Ours, but with those of the thread that filesystems look at."""
    wanted = effective & ~CAP_FS_MASK | permitted & subject.credentials().capabilities & CAP_FS_MASK
    if wanted & CAP_FS_MASK and not _same_user_namespace(subject.tid):
        # Capabilities in a user namespace of its own hold only for the files of the users in it.
        wanted &= ~CAP_FS_MASK
    return wanted


@contextmanager
def acting_as(subject: Subject) -> Iterator[None]:
    """Have a thread's filesystem identity within the block; undone at its end, whatever happens in between.

    Nothing is changed where it is our own identity already.
    """
    uid, gid = subject.filesystem_ids()
    effective, permitted, inheritable = hostcalls.capget()
    wanted = _capabilities(subject, effective, permitted)
    groups = os.getgroups()
    same_ids = _has_our_ids(subject, groups)
    if same_ids and wanted == effective:
        yield
        return
    with ExitStack() as undo:
        undo.callback(hostcalls.capset, effective, permitted, inheritable)
        if not same_ids and effective & MAY_SWITCH == MAY_SWITCH:
            undo.callback(_set_groups, groups)
            _set_groups(subject.credentials().groups)
            undo.callback(hostcalls.setfsgid, os.getegid())
            hostcalls.setfsgid(gid)
            undo.callback(hostcalls.setfsuid, os.geteuid())
            hostcalls.setfsuid(uid)
        hostcalls.capset(wanted, permitted, inheritable)
        yield


def _set_groups(groups: Sequence[int]) -> None:
    try:
        hostcalls.setgroups(groups)
    except SyscallError as error:
        # A user namespace may forbid it to everybody (/proc/PID/setgroups): then programs have kept theirs too.
        if error.errno is not Errno.EPERM:
            raise


def _same_user_namespace(tid: int) -> bool:
    try:
        theirs, ours = os.stat(f"/proc/{tid}/ns/user"), os.stat("/proc/self/ns/user")
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
