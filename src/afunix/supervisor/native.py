"""Host sockets as the bridge uses them: messages with descriptors and credentials, and who is at the other end."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import socket as host
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from afunix.abi.constants import (
    SCM_CREDENTIALS,
    SIOCATMARK,
    SO_PEERGROUPS,
    SO_SNDBUFFORCE,
    SOCK_DGRAM,
    SOCK_SEQPACKET,
    SOCK_STREAM,
)
from afunix.abi.errno import Errno, SyscallError
from afunix.abi.structs import UCRED, unpack_ucred
from afunix.core.caller import BoundInode
from afunix.core.credentials import CAP_SETGID, CAP_SETUID, Credentials, Ucred
from afunix.core.message import Received
from afunix.core.socket import ESTABLISHED
from afunix.supervisor import hostcalls
from afunix.supervisor.endcalls_python import described
from afunix.supervisor.passed import HostFile
from afunix.supervisor.placeholder import Placeholder

if TYPE_CHECKING:
    from afunix.core.file import File
    from afunix.core.socket import Socket

__all__ = [
    "CHUNK",
    "KINDS",
    "Arrived",
    "Outsider",
    "Virtual",
    "address_of",
    "at_mark",
    "effective_as",
    "hung_up",
    "may_leave",
    "peer_of",
    "receive",
    "send",
]

KINDS: Final = {SOCK_STREAM: host.SOCK_STREAM, SOCK_DGRAM: host.SOCK_DGRAM, SOCK_SEQPACKET: host.SOCK_SEQPACKET}
CHUNK: Final = 65536
"""How many bytes of a stream cross at once."""
CREDENTIALS_ROOM: Final = host.CMSG_SPACE(UCRED.size)
CONTROL_ROOM: Final = host.CMSG_SPACE(4 * 253) + CREDENTIALS_ROOM
OVERHEAD: Final = 32
"""What a record must leave of the send buffer (DGRAM-6)."""
GROUPS_ROOM: Final = 1024
"""Bytes: as much as getsockopt of Python returns."""
MAY_SWITCH: Final = 1 << CAP_SETUID | 1 << CAP_SETGID


class Virtual(Exception):  # noqa: N818 -- a gap, no failure
    """A message carries a descriptor of a virtual socket that can't be passed outside."""


class Outsider:
    """A process outside as the `Caller` of a core operation."""

    __slots__ = ("credentials", "net", "nofile")

    def __init__(self, who: Ucred, groups: tuple[int, ...], net: Hashable) -> None:
        self.credentials = Credentials(who.pid, who.uid, who.gid, who.uid, who.gid, groups, capabilities=-1)
        self.net = net
        self.nofile = 1 << 30

    def realtime(self) -> float:
        """The time of day."""
        return time.time()

    numbers: Final = None

    def find_pid(self, number: int) -> int:
        """The host has checked the credentials that come from outside."""
        return number

    def lookup(self, path: bytes) -> Hashable:
        """Outside processes resolve their paths themselves."""
        raise SyscallError(Errno.ECONNREFUSED)

    def create(self, path: bytes, mode: int, kind: int) -> BoundInode:
        """Outside processes bind their sockets themselves."""
        raise SyscallError(Errno.EACCES)


class Arrived(NamedTuple):
    """What came from outside; the files belong to whoever holds this."""

    data: bytes
    files: list[HostFile]
    who: Ucred | None
    name: bytes


def peer_of(native: host.socket, net: Hashable) -> Outsider:
    """The process that made or accepts the connection (SO_PEERCRED, SO_PEERGROUPS)."""
    who = Ucred(*unpack_ucred(native.getsockopt(host.SOL_SOCKET, host.SO_PEERCRED, UCRED.size)))
    groups = b""
    with suppress(OSError):  # more groups than fit
        groups = native.getsockopt(host.SOL_SOCKET, SO_PEERGROUPS, GROUPS_ROOM)
    return Outsider(who, tuple(int.from_bytes(groups[at : at + 4], "little") for at in range(0, len(groups), 4)), net)


def address_of(name: object) -> bytes:
    """An address as Python tells it, as bytes; b"" for none."""
    return os.fsencode(name) if isinstance(name, str) else bytes(name) if isinstance(name, bytes) else b""


def receive(native: host.socket, kind: int, size: int = CHUNK) -> Arrived | None:
    """The next record whole, or up to `size` bytes of a stream; None at the end of file. OSError, also EAGAIN.

    Both need SO_PASSCRED: an empty record has credentials, which the end of file has not. Descriptors come with the
    first byte of the message that carries them.
    """
    if kind == SOCK_STREAM:
        size = _before_descriptors(native, size)
    else:
        size = max(1, native.recv_into(bytearray(1), 1, host.MSG_PEEK | host.MSG_TRUNC))
    data, control, _, name = native.recvmsg(size, CONTROL_ROOM, host.MSG_CMSG_CLOEXEC)
    if not data and (kind == SOCK_STREAM or not control):
        return None
    files: list[HostFile] = []
    who = None
    for level, what, content in control:
        if level != host.SOL_SOCKET:
            continue
        if what == host.SCM_RIGHTS:
            for at in range(0, len(content) - 3, 4):
                fd, _, path_only = described(int.from_bytes(content[at : at + 4], "little"))
                files.append(HostFile(fd, None, path_only))
        elif what == SCM_CREDENTIALS and len(content) >= UCRED.size:
            who = Ucred(*unpack_ucred(content[: UCRED.size]))
    # Sent before anybody asked for credentials: pid 0.
    return Arrived(data, files, who if who is not None and who.pid else None, address_of(name))


_seen: Final = memoryview(bytearray(CHUNK))
_nowhere: Final = (ctypes.c_char * mmap.PAGESIZE).from_address(0)
"""Memory that nobody has: the host fails to write there."""


def _before_descriptors(native: host.socket, size: int) -> int:
    """How much of a stream to receive, so that no bytes of earlier messages come together with descriptors.

    A receive glues messages together and ends with one that has descriptors, so its end is known, but not its start
    (unix_stream_read_generic). A look without room for descriptors says whether there are any (MSG_CTRUNC). If there
    are, a look that lacks room for the last byte ends where the last message starts: each is copied whole or not.
    """
    length, _, flags, _ = native.recvmsg_into([_seen[:size]], CREDENTIALS_ROOM, host.MSG_PEEK)
    if length > 1 and flags & host.MSG_CTRUNC:
        try:
            return native.recvmsg_into([_seen[: length - 1], _nowhere], CREDENTIALS_ROOM, host.MSG_PEEK)[0]
        except OSError as error:
            if error.errno != Errno.EFAULT:
                raise
    return length or size


def send(
    native: host.socket,
    seen: Received,
    leave: Callable[[Placeholder, host.socket], None],
    *,
    to: str | bytes | None = None,
    flags: int = 0,
) -> int:
    """Send what was seen in a queue, with descriptors and, where the host admits it, credentials.

    For a virtual socket goes one end of a host socket pair; once that is sent, `leave` is given the other.
    How many bytes were taken: of a record all. OSError, also EAGAIN; Virtual.
    """
    if not seen.files:
        return _send(native, seen, [], flags, to)
    leaving: dict[Placeholder, tuple[host.socket, host.socket]] = {}
    sent = False
    try:
        fds = b"".join(_outside(file, leaving).to_bytes(4, "little") for file in seen.files)
        length = _send(native, seen, [(host.SOL_SOCKET, host.SCM_RIGHTS, fds)], flags, to)
        sent = True
    finally:
        for ours, theirs in leaving.values():
            theirs.close()
            if not sent:
                ours.close()
    for placeholder, (ours, _) in leaving.items():
        leave(placeholder, ours)
    return length


def may_leave(sock: Socket) -> bool:
    """Whether a virtual socket can be passed to a program outside: a connected one of streams or records, once."""
    return sock.type != SOCK_DGRAM and sock.state == ESTABLISHED and isinstance(sock.front, Placeholder)


def _outside(file: File, leaving: dict[Placeholder, tuple[host.socket, host.socket]]) -> int:
    """The descriptor that a program outside is to get for one that a message carries. Virtual."""
    assert isinstance(file, HostFile)
    held = file.fetch()
    front = file.subject
    if front is None:
        return held
    if front not in leaving:
        if not may_leave(front.sock):
            raise Virtual
        leaving[front] = host.socketpair(host.AF_UNIX, KINDS[front.sock.type])
        os.set_blocking(leaving[front][1].fileno(), os.get_blocking(held))
    return leaving[front][1].fileno()


def _send(
    native: host.socket, seen: Received, control: list[tuple[int, int, bytes]], flags: int, to: str | bytes | None
) -> int:
    flags |= host.MSG_DONTWAIT | host.MSG_NOSIGNAL
    address: tuple[str | bytes, ...] = () if to is None else (to,)
    who = seen.creds
    if who is not None and who.pid:
        with_who = [*control, (host.SOL_SOCKET, SCM_CREDENTIALS, UCRED.pack(who.pid, who.uid, who.gid))]
        try:
            return _sendmsg(native, seen.data, with_who, flags, address)
        except (PermissionError, ProcessLookupError):
            pass  # only a privileged supervisor may speak for others, and only for those who are alive
    return _sendmsg(native, seen.data, control, flags, address)


def _sendmsg(
    native: host.socket,
    data: bytes,
    control: list[tuple[int, int, bytes]],
    flags: int,
    address: tuple[str | bytes, ...],
) -> int:
    try:
        return native.sendmsg([data], control, flags, *address)
    except OSError as error:
        # The program may have a larger send buffer than the host socket that stands for its own.
        if error.errno != Errno.EMSGSIZE or not enlarge(native, len(data) + OVERHEAD):
            raise
    return native.sendmsg([data], control, flags, *address)


def enlarge(native: host.socket, size: int) -> bool:
    """Give a host socket a larger send buffer. False: it can't be as large as that."""
    try:
        native.setsockopt(host.SOL_SOCKET, SO_SNDBUFFORCE, size)
    except OSError:
        native.setsockopt(host.SOL_SOCKET, host.SO_SNDBUF, size)
    return native.getsockopt(host.SOL_SOCKET, host.SO_SNDBUF) >= size


def hung_up(native: host.socket) -> bool:
    """Whether the other end is closed for good, or both directions are shut."""
    poll = select.poll()
    poll.register(native.fileno(), 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def at_mark(native: host.socket) -> bool:
    """Whether the next byte of a stream is the urgent one (SIOCATMARK)."""
    try:
        answer = fcntl.ioctl(native.fileno(), SIOCATMARK, bytes(4))
    except OSError:
        return False
    return answer != bytes(4)


@contextmanager
def effective_as(who: Credentials) -> Iterator[None]:
    """Within the block have a program's effective ids, which the other end sees (SO_PEERCRED), if we may."""
    uid, gid = os.geteuid(), os.getegid()
    if (who.euid, who.egid) == (uid, gid) or hostcalls.capget()[0] & MAY_SWITCH != MAY_SWITCH:
        yield
        return
    os.setegid(who.egid)
    try:
        os.seteuid(who.euid)
        try:
            yield
        finally:
            os.seteuid(uid)
    finally:
        os.setegid(gid)
