"""What calls of a case come to: values that compare with `==`, and errors as the raw interface has them, negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from afunix.abi.constants import SCM_CREDENTIALS, SCM_INQ, SCM_PIDFD, SCM_RIGHTS, SOL_SOCKET
from afunix.abi.errno import Errno
from afunix.abi.message import ControlMessage
from afunix.abi.structs import INT, unpack_ucred


class Error(int):
    """A call that failed: minus its errno, as the system call returns it, which shows its name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return Errno(-self).name


def result(value: int) -> int:
    """The return register of a call: a value, or an Error."""
    return Error(value) if -4096 < value < 0 else value


class Stat(NamedTuple):
    """What statx(2) tells: type and permission bits, links, inode number, owner, size."""

    mode: int
    nlink: int
    ino: int
    uid: int
    gid: int
    size: int


@dataclass(frozen=True, slots=True)
class Message:
    """What recvmsg or recvfrom gave.

    length: the call's value, or its Error. data: what is in the buffers. control: (level, type, data) of each control
    message. flags: msg_flags. address: the sender's name as core and cases write it; None where none was told.
    A Message equals an Error where the call failed so.
    """

    length: int
    data: bytes = b""
    control: tuple[ControlMessage, ...] = ()
    flags: int = 0
    address: bytes | None = None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Error):
            return self.length == other
        return isinstance(other, Message) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def _fields(self) -> tuple[object, ...]:
        return self.length, self.data, self.control, self.flags, self.address

    def _find(self, kind: int) -> list[bytes]:
        return [data for level, found, data in self.control if (level, found) == (SOL_SOCKET, kind)]

    @property
    def kinds(self) -> list[int]:
        """The types of all control messages, in their order."""
        return [kind for _, kind, _ in self.control]

    @property
    def rights(self) -> list[int]:
        """The descriptors received, those of all SCM_RIGHTS messages."""
        return [fd for data in self._find(SCM_RIGHTS) for (fd,) in INT.iter_unpack(data)]

    @property
    def creds(self) -> tuple[int, int, int] | None:
        """pid, uid, gid of SCM_CREDENTIALS."""
        found = self._find(SCM_CREDENTIALS)
        return unpack_ucred(found[0]) if found else None

    @property
    def pidfd(self) -> int | None:
        """The descriptor of SCM_PIDFD."""
        found = self._find(SCM_PIDFD)
        return int(INT.unpack(found[0])[0]) if found else None

    @property
    def inq(self) -> int | None:
        """The bytes left of SCM_INQ."""
        found = self._find(SCM_INQ)
        return int(INT.unpack(found[0])[0]) if found else None


EACCES: Final = Error(-Errno.EACCES)
EADDRINUSE: Final = Error(-Errno.EADDRINUSE)
EAGAIN: Final = Error(-Errno.EAGAIN)
EBADF: Final = Error(-Errno.EBADF)
ECONNREFUSED: Final = Error(-Errno.ECONNREFUSED)
ECONNRESET: Final = Error(-Errno.ECONNRESET)
EDOM: Final = Error(-Errno.EDOM)
EEXIST: Final = Error(-Errno.EEXIST)
EFAULT: Final = Error(-Errno.EFAULT)
EINTR: Final = Error(-Errno.EINTR)
EINVAL: Final = Error(-Errno.EINVAL)
EISCONN: Final = Error(-Errno.EISCONN)
ELOOP: Final = Error(-Errno.ELOOP)
EMFILE: Final = Error(-Errno.EMFILE)
EMSGSIZE: Final = Error(-Errno.EMSGSIZE)
ENAMETOOLONG: Final = Error(-Errno.ENAMETOOLONG)
ENOBUFS: Final = Error(-Errno.ENOBUFS)
ENODATA: Final = Error(-Errno.ENODATA)
ENOENT: Final = Error(-Errno.ENOENT)
ENOPROTOOPT: Final = Error(-Errno.ENOPROTOOPT)
ENOTCONN: Final = Error(-Errno.ENOTCONN)
ENOTDIR: Final = Error(-Errno.ENOTDIR)
ENOTSOCK: Final = Error(-Errno.ENOTSOCK)
ENOTTY: Final = Error(-Errno.ENOTTY)
ENXIO: Final = Error(-Errno.ENXIO)
EOPNOTSUPP: Final = Error(-Errno.EOPNOTSUPP)
EPERM: Final = Error(-Errno.EPERM)
EPIPE: Final = Error(-Errno.EPIPE)
EPROTONOSUPPORT: Final = Error(-Errno.EPROTONOSUPPORT)
EPROTOTYPE: Final = Error(-Errno.EPROTOTYPE)
ESOCKTNOSUPPORT: Final = Error(-Errno.ESOCKTNOSUPPORT)
ESPIPE: Final = Error(-Errno.ESPIPE)
ESRCH: Final = Error(-Errno.ESRCH)
ETOOMANYREFS: Final = Error(-Errno.ETOOMANYREFS)
EOVERFLOW: Final = Error(-Errno.EOVERFLOW)
ERANGE: Final = Error(-Errno.ERANGE)
EAFNOSUPPORT: Final = Error(-Errno.EAFNOSUPPORT)
EBUSY: Final = Error(-Errno.EBUSY)
ENOTEMPTY: Final = Error(-Errno.ENOTEMPTY)
EISDIR: Final = Error(-Errno.EISDIR)
EROFS: Final = Error(-Errno.EROFS)
EOF: Final = b""
