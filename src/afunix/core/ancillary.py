"""Control messages: what those of a sendmsg ask for, and those that a recvmsg hands out (net/core/scm.c).

Who owns the descriptors: `parse` only reads their numbers. `deliver` takes nothing over: each descriptor that it
installs is a reference of the program's own, and what `Received` holds stays there until its `done` or `undo`. So a
call that fails or is taken back has lost none, and of those that did not fit, `done` drops the last reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from afunix.abi.constants import (
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_OOB,
    SCM_CREDENTIALS,
    SCM_INQ,
    SCM_MAX_FD,
    SCM_PIDFD,
    SCM_RIGHTS,
    SCM_TIMESTAMP_NEW,
    SCM_TIMESTAMP_OLD,
    SCM_TIMESTAMPING_NEW,
    SCM_TIMESTAMPING_OLD,
    SCM_TIMESTAMPNS_NEW,
    SCM_TIMESTAMPNS_OLD,
    SOCK_STREAM,
    SOL_SOCKET,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.message import ControlMessage, cmsg_len, iter_control, put_cmsg, rights_room
from afunix.abi.structs import INT, TIMESPEC, TIMEVAL, UCRED, pack_ucred, unpack_ucred
from afunix.core.credentials import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, NOBODY, Ucred
from afunix.core.errors import Unmodelled
from afunix.core.option_time import (
    SOF_TIMESTAMPING_OPT_RX_FILTER,
    SOF_TIMESTAMPING_RX_SOFTWARE,
    SOF_TIMESTAMPING_SOFTWARE,
    timestamp_form,
    timestamping_flags,
)

if TYPE_CHECKING:
    from afunix.core.caller import Caller
    from afunix.core.file import File
    from afunix.core.message import Received
    from afunix.core.socket import Socket

__all__ = ["OPTMEM_MAX", "BadControl", "Control", "deliver", "deliver_rights", "only_rights", "parse", "parse_items"]

OPTMEM_MAX: Final = 131072
"""net.core.optmem_max: a msg_control as long as this is ENOBUFS (sock_kmalloc)."""

END_OF_FILE: Final = pack_ucred(0, 0, 0)
"""SCM_CREDENTIALS at the end of a stream: the cookie that no message has filled (unix_stream_read_generic)."""

_TIMESTAMPING: Final = Struct("<qq32x")
"""struct scm_timestamping: three timespecs, of which Unix sockets only fill the first."""

_FORM: Final = {
    (SCM_TIMESTAMP_OLD, False): (SCM_TIMESTAMP_OLD, TIMEVAL, 1_000_000),
    (SCM_TIMESTAMP_OLD, True): (SCM_TIMESTAMP_NEW, TIMEVAL, 1_000_000),
    (SCM_TIMESTAMPNS_OLD, False): (SCM_TIMESTAMPNS_OLD, TIMESPEC, 1_000_000_000),
    (SCM_TIMESTAMPNS_OLD, True): (SCM_TIMESTAMPNS_NEW, TIMESPEC, 1_000_000_000),
}
"""By what `timestamp_form` says: type and layout of the message, fractions in a second."""


class Control(NamedTuple):
    """What the control messages of a send ask for: descriptors to pass, in order, and credentials to show."""

    fds: Sequence[int]
    creds: Ucred | None


class BadControl(SyscallError):  # noqa: N818 (named for what it says of the call)
    """The control messages are refused; before that, Linux looks up these descriptors, and a bad one is EBADF."""

    __slots__ = ("fds",)

    def __init__(self, errno: Errno, fds: Sequence[int]) -> None:
        super().__init__(errno)
        self.fds = fds


def parse(raw: bytes, caller: Caller, sock: Socket) -> Control:
    """Read the msg_control of a sendmsg on `sock` (__scm_send, SCM-1, SCM-9).

    Several SCM_RIGHTS make one; of several SCM_CREDENTIALS the last holds; other levels are ignored. Raises
    `BadControl`: EINVAL for a malformed chain, another type at SOL_SOCKET, more than SCM_MAX_FD descriptors in all, a
    wrong length or the id -1 in SCM_CREDENTIALS; EPERM, ESRCH for credentials that are not the caller's (SCM-4).

    Left to others: EBADF for a descriptor that is not open, EINVAL for one of io_uring (whoever knows the table);
    EPERM from a receiver without SO_PASSRIGHTS (the send operation, once it knows the receiver: SCM-8).
    """
    return parse_items(iter_control(raw), caller, sock)


def parse_items(items: Iterable[ControlMessage], caller: Caller, sock: Socket) -> Control:
    """`parse` for who has the control messages one by one: level, type, data."""
    fds: list[int] = []
    creds: Ucred | None = None
    try:
        for level, kind, data in items:
            if level != SOL_SOCKET:
                continue
            if kind == SCM_RIGHTS:
                count = len(data) // INT.size
                if len(fds) + count > SCM_MAX_FD:
                    raise SyscallError(Errno.EINVAL)
                fds += [fd for (fd,) in INT.iter_unpack(data[: count * INT.size])]
            elif kind == SCM_CREDENTIALS:
                creds = _check_creds(data, caller)
            else:
                raise SyscallError(Errno.EINVAL)
    except SyscallError as error:
        raise BadControl(error.errno, fds) from None
    return Control(fds, creds)


def _check_creds(data: bytes, caller: Caller) -> Ucred:
    """The credentials a sender shows: any real, effective or saved id of its own, or with capabilities any (SCM-4)."""
    if len(data) != UCRED.size:
        raise SyscallError(Errno.EINVAL)
    pid, uid, gid = unpack_ucred(data)
    numbers = caller.numbers
    if numbers is not None:
        uid, gid = numbers.uid(uid), numbers.gid(gid)
    if uid == -1 or gid == -1:
        raise SyscallError(Errno.EINVAL)
    own = caller.credentials
    pid = own.pid if pid == own.pid and numbers is None else caller.find_pid(pid) if pid > 0 else 0
    if not (
        (pid == own.pid or own.capable(CAP_SYS_ADMIN))
        and (uid in (own.uid, own.euid, own.suid) or own.capable(CAP_SETUID))
        and (gid in (own.gid, own.egid, own.sgid) or own.capable(CAP_SETGID))
    ):
        raise SyscallError(Errno.EPERM)
    if not pid:
        raise SyscallError(Errno.ESRCH)
    return Ucred(pid, uid, gid)


def deliver(
    received: Received,
    sock: Socket,
    control_length: int | None,
    flags: int,
    install: Callable[[File, bool], int],
    pidfd: Callable[[int], int] | None = None,
    caller: Caller | None = None,
    put: Callable[[int, bytes], bool] | None = None,
) -> tuple[bytes, int]:
    """The control messages of what was received, at most control_length bytes, and the bits they add to msg_flags.

    control_length is None where msg_control is NULL. flags are those of the call. install(file, cloexec) gives the
    program a new descriptor with a reference of its own, pidfd(pid) a pidfd; the caller tells how its namespaces number
    the sender, and the time of messages that came before SO_TIMESTAMP was set. A SyscallError of install (EMFILE) ends
    the descriptors there, one of pidfd shows as a negative errno in SCM_PIDFD; neither reaches the caller.

    In order (SCM-7): timestamps, SCM_CREDENTIALS, SCM_RIGHTS, SCM_PIDFD, SCM_INQ; SCM_SECURITY needs a security
    module. What does not fit is cut or left out with MSG_CTRUNC, as put_cmsg and scm_detach_fds do it (SCM-3).
    put(at, message) may write each of them as soon as it is there, behind so many bytes; False: it can't be written
    there, and so takes no room.
    """
    files = received.files
    extra = flags & MSG_CMSG_CLOEXEC
    timestamp = sock.timestamp if sock.type != SOCK_STREAM else 0
    if not (files or sock.passcred or sock.passpidfd or sock.passsec or sock.inq or timestamp):
        return b"", extra
    if received.flags & MSG_OOB or (received.name is None and sock.type != SOCK_STREAM):
        # The urgent byte, and the end of file of records: neither comes to scm_recv_unix.
        return b"", extra
    if control_length is None:
        return b"", extra | MSG_CTRUNC
    control = bytearray()
    whole = True
    told = 0
    if timestamp:
        whole = _put_timestamps(control, control_length, sock, received.timestamp, caller)
        told = _tell(control, told, put)
    if sock.passcred:
        whole &= put_cmsg(control, control_length, SOL_SOCKET, SCM_CREDENTIALS, _shown(received, caller))
        told = _tell(control, told, put)
    if files:
        whole &= _put_rights(control, control_length, files, bool(extra), install)
        told = _tell(control, told, put)
    if sock.passpidfd:
        whole &= _put_pidfd(control, control_length, received.creds, pidfd)
        told = _tell(control, told, put)
    if sock.inq:
        unread = INT.pack(sock.unread)
        whole &= put_cmsg(control, control_length, SOL_SOCKET, SCM_INQ, unread)
        _tell(control, told, put)
    return bytes(control), extra if whole else extra | MSG_CTRUNC


def _tell(control: bytearray, told: int, put: Callable[[int, bytes], bool] | None) -> int:
    """Have what was just added written, or take it away again; how long it all is then."""
    if put is not None and len(control) > told and not put(told, bytes(control[told:])):
        del control[told:]
    return len(control)


def only_rights(sock: Socket) -> bool:
    """Whether what is received there has no other control messages than SCM_RIGHTS."""
    return not (sock.passcred or sock.passpidfd or sock.passsec or sock.inq or sock.timestamp)


def deliver_rights(
    files: Sequence[File], control_length: int, flags: int, install: Callable[[File, bool], int]
) -> tuple[list[int], int]:
    """`deliver` where there are `only_rights`, for who wants the numbers of the descriptors and not the message."""
    extra = flags & MSG_CMSG_CLOEXEC
    if not files:
        return [], extra
    fds = _install(files[: rights_room(b"", control_length)], bool(extra), install)
    return fds, extra if len(fds) == len(files) else extra | MSG_CTRUNC


def _shown(received: Received, caller: Caller | None) -> bytes:
    """What SCM_CREDENTIALS tells of the sender (SCM-5)."""
    if received.name is None:
        return END_OF_FILE
    creds = received.creds
    if creds is None:
        creds = NOBODY
    elif caller is not None and caller.numbers is not None:
        creds = caller.numbers.shown(creds)
    return pack_ucred(creds.pid, creds.uid, creds.gid)


def _put_timestamps(control: bytearray, size: int, sock: Socket, at: float, caller: Caller | None) -> bool:
    """__sock_recv_timestamp (OPT-3): the form set last, and with SO_TIMESTAMPING also its own."""
    if not at:
        if caller is None:
            raise Unmodelled("the time of a message that came before SO_TIMESTAMP was set")
        at = caller.realtime()
    form = timestamp_form(sock)
    kind, layout, fractions = _FORM[form]
    seconds = int(at)
    whole = put_cmsg(control, size, SOL_SOCKET, kind, layout.pack(seconds, int((at - seconds) * fractions)))
    wanted = timestamping_flags(sock)
    if wanted & SOF_TIMESTAMPING_SOFTWARE and (
        wanted & SOF_TIMESTAMPING_RX_SOFTWARE or not wanted & SOF_TIMESTAMPING_OPT_RX_FILTER
    ):
        kind = SCM_TIMESTAMPING_NEW if form[1] else SCM_TIMESTAMPING_OLD
        stamp = _TIMESTAMPING.pack(seconds, int((at - seconds) * 1_000_000_000))
        whole &= put_cmsg(control, size, SOL_SOCKET, kind, stamp)
    return whole


def _put_rights(
    control: bytearray, size: int, files: Sequence[File], cloexec: bool, install: Callable[[File, bool], int]
) -> bool:
    """scm_detach_fds: as many descriptors as fit, until one can't be installed; no message without any."""
    fds = _install(files[: rights_room(control, size)], cloexec, install)
    if fds:
        put_cmsg(control, size, SOL_SOCKET, SCM_RIGHTS, b"".join(map(INT.pack, fds)))
    return len(fds) == len(files)


def _install(files: Sequence[File], cloexec: bool, install: Callable[[File, bool], int]) -> list[int]:
    """The numbers of the new descriptors; one that can't be had ends them, and the program keeps those before it."""
    fds: list[int] = []
    try:
        for file in files:
            fds.append(install(file, cloexec))
    except SyscallError:
        pass
    return fds


def _put_pidfd(control: bytearray, size: int, creds: Ucred | None, pidfd: Callable[[int], int] | None) -> bool:
    """scm_pidfd_recv (SCM-8): never cut; nothing for a message without credentials."""
    if size - len(control) < cmsg_len(INT.size):
        return False
    if creds is None:
        return True
    if pidfd is None:
        raise Unmodelled("SCM_PIDFD")
    try:
        number = pidfd(creds.pid)
    except SyscallError as error:
        number = -error.errno
    return put_cmsg(control, size, SOL_SOCKET, SCM_PIDFD, INT.pack(number))
