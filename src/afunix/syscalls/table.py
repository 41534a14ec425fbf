"""The socket calls by name, with their handlers: the table that every front end goes by."""

from __future__ import annotations

from typing import Final

from afunix.syscalls import control, messages, naming, transfer
from afunix.syscalls.call import Handler

__all__ = ["HANDLERS", "MAKING", "SENDING"]

HANDLERS: Final[dict[str, Handler]] = {
    # the most frequent first: a seccomp filter decides in this order
    "read": transfer.read,
    "write": transfer.write,
    "recvmsg": messages.recvmsg,
    "sendmsg": messages.sendmsg,
    "recvfrom": transfer.recvfrom,
    "sendto": transfer.sendto,
    "readv": transfer.readv,
    "writev": transfer.writev,
    "fcntl": control.fcntl,
    "ioctl": control.ioctl,
    "accept4": naming.accept4,
    "accept": naming.accept,
    "connect": naming.connect,
    "bind": naming.bind,
    "listen": naming.listen,
    "shutdown": naming.shutdown,
    "getsockname": naming.getsockname,
    "getpeername": naming.getpeername,
    "getsockopt": control.getsockopt,
    "setsockopt": control.setsockopt,
    "recvmmsg": messages.recvmmsg,
    "sendmmsg": messages.sendmmsg,
    "preadv2": transfer.preadv2,
    "pwritev2": transfer.pwritev2,
}
"""Calls on a socket, which is their first argument."""

MAKING: Final[dict[str, Handler]] = {"socket": naming.socket, "socketpair": naming.socketpair}
"""Calls that make sockets."""

SENDING: Final = ("write", "writev", "sendto", "sendmsg", "sendmmsg", "pwritev2")
"""Those of HANDLERS that send."""
