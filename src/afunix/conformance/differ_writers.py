"""How an author writes each kind of step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from afunix.abi import constants as c
from afunix.conformance.differ_author import Author
from afunix.conformance.differ_raw import Step
from afunix.conformance.differ_values import (
    ADDRESS_ROOMS,
    ALL_OPTIONS,
    BACKLOGS,
    CONTROL_ROOMS,
    EVENTS,
    FILE_STEPS,
    FILES,
    IDS,
    INQUIRIES,
    LEVELS,
    LIMITS,
    MASKS,
    MODES,
    NAME_ROOMS,
    NO_NAME,
    OFFSETS,
    OPTION_LENGTHS,
    OPTION_VALUES,
    PATHS,
    REAL_USERS,
    RECEIVE_FLAGS,
    RWF_FLAGS,
    SEND_FLAGS,
    TARGETS,
    TIMEOUTS,
    USUAL_OPTIONS,
    VERY_LARGE,
    WATCHED,
)

__all__ = ["WRITERS"]


def _socket(author: Author) -> None:
    kind = author.chance.choice(author.kinds)
    rare = author.chance.randrange(60)
    protocol = author.chance.choice((1, 2, -1)) if rare == 0 else 0
    if rare == 1:
        kind = author.chance.choice((c.SOCK_RAW, 0, 4, 6, 10, 11, 0x100, kind | c.SOCK_CLOEXEC))
    # Other families are not ours to answer for.
    author.add("socket", kind, protocol, c.AF_UNIX, makes=1)


def _socketpair(author: Author) -> None:
    kind = author.chance.choice(author.kinds)
    if author.one_in(60):
        kind = author.chance.choice((c.SOCK_RAW, 0, 4, kind | c.SOCK_CLOEXEC))
    author.add("socketpair", kind, author.chance.choice((0, 0, 0, 1, 2)), makes=2)


def _bind(author: Author) -> None:
    author.add("bind", author.handle(), ("auto", None) if author.one_in(8) else author.name())


def _connect(author: Author) -> None:
    if author.one_in(10):
        length = 8 if author.chance.randrange(4) else author.chance.choice((2, 5, 110))
        author.add("connect_to", author.handle(), author.handle(), length)
    elif author.one_in(12):
        author.add("connect", author.handle(), ("raw", bytes(16)))
    else:
        author.add("connect", author.handle(), author.name())


def _listen(author: Author) -> None:
    author.add("listen", author.handle(), author.chance.choice(BACKLOGS))


def _accept(author: Author) -> None:
    flags = author.chance.choice((0, 0, 0, c.SOCK_CLOEXEC, 0, 0, 0, 4))
    author.add("accept", author.handle(), flags, author.chance.choice(ADDRESS_ROOMS), makes=1)


def _service(author: Author) -> None:
    """A whole connection: listener, client, accepted socket."""
    name = author.name()
    kind = author.chance.choice(author.kinds)
    author.add("socket", kind, 0, c.AF_UNIX, makes=1)
    listener = author.last - 1
    author.add("bind", listener, name)
    author.add("listen", listener, author.chance.choice(BACKLOGS))
    author.add("socket", kind, 0, c.AF_UNIX, makes=1)
    author.add("connect", author.last - 1, name)
    if author.chance.randrange(3):
        author.add("accept", listener, 0, 110, makes=1)


def _send(author: Author) -> None:
    size = author.size()
    flags = author.chance.choice(SEND_FLAGS)
    author.add("send", author.handle(), author.start(size), size, flags, author.destination())


def _write(author: Author) -> None:
    size = author.size()
    author.add("write", author.handle(), author.start(size), size)


def _writev(author: Author) -> None:
    sizes = author.sizes()
    if author.one_in(20):
        flags, offset = author.chance.choice(RWF_FLAGS), author.chance.choice(OFFSETS)
        author.add("pwritev2", author.handle(), author.start(sum(sizes)), sizes, offset, flags)
    else:
        author.add("writev", author.handle(), author.start(sum(sizes)), sizes)


def _sendmsg(author: Author) -> None:
    sizes = author.sizes() or (author.size(),)
    if author.one_in(200):
        sizes = VERY_LARGE
    flags = author.chance.choice(SEND_FLAGS)
    cut = author.chance.choice((1, 4, 8, -8, 13)) if author.one_in(40) else 0
    author.add(
        "sendmsg", author.handle(), author.start(sum(sizes)), sizes, flags, author.destination(), author.control(), cut
    )


def _sendmmsg(author: Author) -> None:
    sizes = author.sizes()
    control = author.control() if author.one_in(3) else ()
    flags = author.chance.choice(SEND_FLAGS)
    author.add("sendmmsg", author.handle(), author.start(sum(sizes)), sizes, flags, author.destination(), control)


def _recv(author: Author) -> None:
    flags = author.chance.choice(RECEIVE_FLAGS)
    author.add("recv", author.handle(), author.room(), flags, author.chance.choice(ADDRESS_ROOMS))


def _read(author: Author) -> None:
    author.add("read", author.handle(), author.room())


def _readv(author: Author) -> None:
    if author.one_in(20):
        flags, offset = author.chance.choice(RWF_FLAGS), author.chance.choice(OFFSETS)
        author.add("preadv2", author.handle(), author.rooms(), offset, flags)
    else:
        author.add("readv", author.handle(), author.rooms())


def _recvmsg(author: Author) -> None:
    flags = author.chance.choice(RECEIVE_FLAGS)
    control, name = author.chance.choice(CONTROL_ROOMS), author.chance.choice(NAME_ROOMS)
    author.add("recvmsg", author.handle(), author.rooms(), flags, control, name, makes=2)


def _recvmmsg(author: Author) -> None:
    rooms = author.rooms()
    flags = author.chance.choice((0, 0, c.MSG_PEEK, c.MSG_WAITFORONE, c.MSG_CMSG_CLOEXEC))
    control, timeout = author.chance.choice((-1, 24, 96, 96)), author.chance.choice(TIMEOUTS)
    author.add("recvmmsg", author.handle(), rooms, flags, control, *timeout, makes=2)


def _shutdown(author: Author) -> None:
    how = author.chance.choice((3, -1, 1 << 31)) if author.one_in(20) else author.chance.randrange(3)
    author.add("shutdown", author.handle(), how)


def _close(author: Author) -> None:
    handle = author.handle()
    author.add("close", handle)
    if handle in author.handles[author.at]:
        author.handles[author.at].remove(handle)


def _dup(author: Author) -> None:
    rare = author.chance.randrange(10)
    if rare < 2:
        author.add("dup3", author.handle(), author.handle())
    elif rare < 4:
        lowest = author.chance.choice((0, 3, 10, 511, 512, -1))
        author.add("dup_from", author.handle(), lowest, author.one_in(2), makes=1)
    elif rare < 6:
        _fcntl(author)
    else:
        author.add("dup", author.handle(), makes=1)


def _fcntl(author: Author) -> None:
    """Flags of descriptors and descriptions; sockets stay non-blocking."""
    command = author.chance.choice((c.F_GETFD, c.F_SETFD, c.F_GETFL, c.F_SETFL))
    argument = c.O_NONBLOCK if command == c.F_SETFL else author.chance.randrange(2)
    author.add("fcntl", author.handle(), command, argument)


def _setsockopt(author: Author) -> None:
    chance = author.chance
    if chance.randrange(4):
        name, values = chance.choice(USUAL_OPTIONS)
        value = chance.choice(values)
        author.add("setsockopt", author.handle(), c.SOL_SOCKET, name, value, len(value))
        return
    level, name = chance.choice(LEVELS), chance.choice(ALL_OPTIONS)
    author.add("setsockopt", author.handle(), level, name, chance.choice(OPTION_VALUES), chance.choice(OPTION_LENGTHS))


def _getsockopt(author: Author) -> None:
    name = author.chance.choice(ALL_OPTIONS) if author.chance.randrange(3) else c.SO_ERROR
    author.add("getsockopt", author.handle(), author.chance.choice(LEVELS), name, author.chance.choice(OPTION_LENGTHS))


def _names(author: Author) -> None:
    call = author.chance.choice(("getsockname", "getpeername"))
    author.add(call, author.handle(), author.chance.choice(ADDRESS_ROOMS))


def _ioctl(author: Author) -> None:
    author.add("ioctl", author.handle(), author.chance.choice(INQUIRIES))


def _poll(author: Author) -> None:
    handles = tuple(author.handle() for _ in range(author.chance.randrange(4)))
    author.add("poll", handles, author.chance.choice(EVENTS))


def _unlink(author: Author) -> None:
    author.add("unlink", author.chance.choice(FILES if author.paths else PATHS))


def _file(author: Author) -> None:
    """What is done to names besides binding to them and unlinking them."""
    choice = author.chance.choice
    operation = choice(FILE_STEPS)
    path = choice(FILES)
    if operation in ("rename", "symlink"):
        author.add(operation, choice(TARGETS) if operation == "symlink" else path, choice(FILES))
    elif operation == "link":
        author.add("link", path, choice(FILES), choice((0, 0, c.AT_SYMLINK_FOLLOW)))
    elif operation in ("mkdir", "create"):
        author.add(operation, path if operation == "create" or author.one_in(3) else b"d", choice(MODES))
    elif operation == "chmod":
        author.add("chmod", path, choice(MODES))
    elif operation == "chown":
        author.add("chown", path, choice(IDS), choice(IDS), choice((0, c.AT_SYMLINK_NOFOLLOW)))
    elif operation == "stat":
        author.add("stat", path, author.one_in(2))
    elif operation == "umask":
        author.add("umask", choice(MASKS))
    elif operation == "fchmod":
        # Of a socket by somebody else it would be EPERM: that is no business of sockets.
        author.add("fchmod", author.handle(), choice(MODES)) if not author.at else _unlink(author)
    else:
        author.add("rmdir", path)


def _epoll(author: Author) -> None:
    """Watching with epolls, level-triggered; what edges there are depends on more than the state of a socket."""
    own = author.epolls[author.at]
    if not own or author.one_in(40):
        own += author.new(1)
        author.add("epoll_create", makes=own[-1:])
        return
    epoll = author.chance.choice(own[-2:])
    rare = author.chance.randrange(30)
    if rare == 0:
        author.add("epoll_close", epoll)
    elif rare < 16:
        operation = author.chance.choice((c.EPOLL_CTL_ADD, c.EPOLL_CTL_ADD, c.EPOLL_CTL_MOD, c.EPOLL_CTL_DEL))
        mode = author.chance.choice((0, 0, 0, 0, c.EPOLLONESHOT, c.EPOLLONESHOT, c.EPOLLEXCLUSIVE))
        events = author.chance.choice(WATCHED) | mode
        author.add("epoll_ctl", epoll, operation, author.handle(), events)
    else:
        author.add("epoll_wait", epoll, 16 if author.chance.randrange(20) else author.chance.choice((0, -1)))


def _urgent(author: Author) -> None:
    """Urgent bytes, and reads of them."""
    if author.one_in(2):
        author.add("send", author.handle(), author.start(3), author.chance.choice((1, 1, 2, 3)), c.MSG_OOB, NO_NAME)
    else:
        flags = author.chance.choice((c.MSG_OOB, c.MSG_OOB, c.MSG_OOB | c.MSG_PEEK, 0, c.MSG_PEEK))
        author.add("recv", author.handle(), author.chance.choice((1, 1, 0, 2, 100)), flags, -1)


def _burst(author: Author) -> None:
    """As many messages as a queue takes, and more."""
    handle, name = author.handle(), author.destination()
    for _ in range(12):
        author.add("send", handle, author.start(1), 1, 0, name)


def _flood(author: Author) -> None:
    """More descriptors in flight than a process without privileges may have."""
    handle = author.handle()
    for _ in range(3):
        control = (("copies", (253,), 0),)
        author.add("sendmsg", handle, author.start(1), (1,), 0, NO_NAME, control, 0)


def _limit(author: Author) -> None:
    author.add("limit", author.chance.choice(LIMITS))


def _close_range(author: Author) -> None:
    author.add(
        "close_range", author.handle(), author.chance.choice((0, 0, 0, 1, 2, -1)), author.chance.choice((0, 0, 4, 8))
    )


def _fork(author: Author) -> None:
    if len(author.handles) >= author.processes:
        _recvmsg(author)
        return
    author.steps.append(Step(0, "fork", (len(author.handles),)))
    author.handles.append(list(author.handles[0]))
    author.epolls.append(list(author.epolls[0]))


def _exit(author: Author) -> None:
    if author.at:
        author.steps.append(Step(author.at, "exit", ()))
        author.handles[author.at] = []
        author.epolls[author.at] = []
        author.at = 0


def _identity(author: Author) -> None:
    """Another user or group; not for the first process, which serves the next program too."""
    choice = author.chance.choice
    if not (author.at and author.privileged):
        _getsockopt(author)
    elif author.chance.randrange(3):
        author.add("setresuid", choice(REAL_USERS), choice(IDS), choice(IDS))
    elif author.one_in(2):
        author.add("setresgid", choice(IDS), choice(IDS), choice(IDS))
    else:
        author.add("setgroups", tuple(choice(IDS[1:]) for _ in range(author.chance.randrange(4))))


WRITERS: Final[dict[str, Callable[[Author], None]]] = {
    "socket": _socket, "socketpair": _socketpair, "bind": _bind, "connect": _connect, "listen": _listen,
    "accept": _accept, "service": _service, "send": _send, "write": _write, "writev": _writev, "sendmsg": _sendmsg,
    "sendmmsg": _sendmmsg, "recv": _recv, "read": _read, "readv": _readv, "recvmsg": _recvmsg, "recvmmsg": _recvmmsg,
    "shutdown": _shutdown, "close": _close, "dup": _dup, "setsockopt": _setsockopt, "getsockopt": _getsockopt,
    "names": _names, "ioctl": _ioctl, "poll": _poll, "unlink": _unlink, "fork": _fork, "exit": _exit,
    "identity": _identity, "file": _file, "epoll": _epoll, "urgent": _urgent, "flood": _flood, "burst": _burst,
    "limit": _limit, "close_range": _close_range,
}  # fmt: skip
