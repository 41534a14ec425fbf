"""Names and addresses."""

# ruff: noqa: F403, F405
from __future__ import annotations

from afunix.conformance.kit import *

SOCKET = S_IFSOCK
CLONE_NEWNET = 0x40000000


def reachable(p: Process, kind: int, name: bytes) -> int:
    """A socket that others can connect to."""
    s = p.bound(kind, name)
    if kind != DGRAM:
        p.listen(s)
    return s


@case("NAME-1a", types=ALL)
def autobind_picks_five_hex_digits(p: Process, kind: int) -> None:
    """bind with only the family gives a socket a name of its own."""
    s = p.socket(kind)
    assert p.bind(s, b"") == 0
    length, raw = p.sockname_raw(s)
    assert length == 8
    assert raw[:3] == b"\1\0\0"
    assert set(raw[3:]) <= set(b"0123456789abcdef")


@case("NAME-1b", types=ALL)
def autobind_of_a_bound_socket_changes_nothing(p: Process, kind: int) -> None:
    """A second autobind keeps the first name."""
    s = p.bound(kind, p.abstract(b"name"))
    assert p.bind(s, b"") == 0
    assert p.getsockname(s) == p.abstract(b"name")


@case("NAME-2a", types=ALL)
def connect_to_a_family_alone(p: Process, kind: int) -> None:
    """Nothing but a family is no address to connect to."""
    s = p.socket(kind)
    assert p.connect_raw(s, b"\1\0") == EINVAL
    assert p.connect_raw(s, b"\1") == EINVAL
    assert p.connect_raw(s, b"") == EINVAL


@case("NAME-2a")
def sendto_a_family_alone(p: Process) -> None:
    """Nor to send to."""
    s = p.socket(DGRAM)
    assert p.sendto(s, b"x", b"") == EINVAL


@case("NAME-2b", types=ALL)
def too_long_an_address(p: Process, kind: int) -> None:
    """111 bytes are more than sockaddr_un has."""
    s = p.socket(kind)
    assert p.bind_raw(s, b"\1\0" + b"x" * 109) == EINVAL
    assert p.connect_raw(s, b"\1\0" + b"x" * 109) == EINVAL


@case("NAME-2c", types=ALL, each=[AF_INET, AF_NETLINK, 0xFFFF])
def another_family(p: Process, kind: int, family: int) -> None:
    """An address of another family is refused."""
    s = p.socket(kind)
    address = family.to_bytes(2, "little") + b"name"
    assert p.bind_raw(s, address) == EINVAL
    assert p.connect_raw(s, address) == EINVAL


@case("NAME-2d", types=ALL)
def lengths_that_no_address_has(p: Process, kind: int) -> None:
    """They are refused even where nothing could be read."""
    s = p.socket(kind)
    for length in (129, -1, 1 << 20):
        assert p.call("bind", s, BAD, length) == EINVAL
        assert p.call("connect", s, BAD, length) == EINVAL


@case("NAME-2b", "NAME-2c", "NAME-2d", "NAME-2e")
def sendto_malformed_addresses(p: Process) -> None:
    """Refused as by connect."""
    s = p.socket(DGRAM)
    data = p.put(b"x")
    for address in (b"\1\0" + b"x" * 109, b"\2\0name", b"\xff\xffname", b"\1"):
        assert p.call("sendto", s, data, 1, 0, p.put(address), len(address)) == EINVAL
    for length in (129, -1, 1 << 20):
        assert p.call("sendto", s, data, 1, 0, BAD, length) == EINVAL
    assert p.call("sendto", s, data, 1, 0, BAD, 10) == EFAULT


@case("NAME-2e", types=ALL)
def an_address_in_the_wild(p: Process, kind: int) -> None:
    """A bad pointer is EFAULT."""
    s = p.socket(kind)
    assert p.call("bind", s, BAD, 20) == EFAULT
    assert p.call("connect", s, BAD, 20) == EFAULT


@case("NAME-3a", types=ALL)
def trailing_nuls_make_another_name(p: Process, kind: int) -> None:
    """Abstract names that differ in NULs only are different."""
    name = p.abstract(b"n")
    for tail in (b"", b"\0", b"\0\0"):
        s = p.bound(kind, name + tail)
        assert p.getsockname(s) == name + tail


@case("NAME-3b", types=ALL)
def a_single_nul_is_a_name(p: Process, kind: int) -> None:
    """Length 3 is a name, which only one can have."""
    s = p.socket(kind)
    assert p.bind_raw(s, b"\1\0\0") in (0, EADDRINUSE)
    assert p.bind_raw(p.socket(kind), b"\1\0\0") == EADDRINUSE


@case("NAME-4a")
def one_name_for_each_type(p: Process) -> None:
    """STREAM, DGRAM and SEQPACKET have abstract names apart."""
    for kind in ALL:
        p.bound(kind, p.abstract(b"n"))


@case("NAME-4b", types=ALL)
def a_name_of_another_type(p: Process, kind: int) -> None:
    """It is as if nobody had the name."""
    for other in ALL:
        if other != kind:
            p.bound(other, p.abstract(b"n"))
    assert p.connect(p.socket(kind), p.abstract(b"n")) == ECONNREFUSED


@case("NAME-4c", types=ALL)
def a_path_of_another_type(p: Process, kind: int) -> None:
    """A path tells that it is of another type."""
    other = STREAM if kind == DGRAM else DGRAM
    p.bound(other, b"s")
    assert p.connect(p.socket(kind), b"s") == EPROTOTYPE


@case("NAME-4d", types=ALL)
def a_name_that_is_taken(p: Process, kind: int) -> None:
    """Only one socket has an abstract name."""
    p.bound(kind, p.abstract(b"n"))
    assert p.bind(p.socket(kind), p.abstract(b"n")) == EADDRINUSE


@case("NAME-4e", types=ALL)
def an_abstract_name_goes_with_its_socket(p: Process, kind: int) -> None:
    """When the last descriptor is closed the name is free."""
    s = p.bound(kind, p.abstract(b"n"))
    copy = p.dup(s)
    p.close(s)
    assert p.bind(p.socket(kind), p.abstract(b"n")) == EADDRINUSE
    p.close(copy)
    assert p.bind(p.socket(kind), p.abstract(b"n")) == 0


@case("NAME-5a", types=ALL)
def a_path_ends_at_its_first_nul(p: Process, kind: int) -> None:
    """What stands behind does not count."""
    s = p.socket(kind)
    assert p.bind_raw(s, b"\1\0path\0rest") == 0
    assert p.sockname_raw(s) == (7, b"\1\0path\0")
    assert p.stat(b"path") != ENOENT


@case("NAME-5b", types=ALL)
def a_path_without_room_for_its_nul(p: Process, kind: int) -> None:
    """108 bytes are a path, and one byte more is reported."""
    s = p.socket(kind)
    path = b"x" * 108
    assert p.bind_raw(s, b"\1\0" + path) == 0
    assert p.sockname_raw(s) == (111, b"\1\0" + path + b"\0")
    assert p.stat(path) != ENOENT


@case("NAME-6a", types=ALL, each=["file", "directory", "socket", "link"])
def a_path_that_exists(p: Process, kind: int, what: str) -> None:
    """Whatever is there, bind does not replace it."""
    if what == "file":
        p.open(b"s", O_CREAT | O_WRONLY)
    elif what == "directory":
        p.mkdir(b"s")
    elif what == "socket":
        p.bound(kind, b"s")
    else:
        p.open(b"file", O_CREAT | O_WRONLY)
        p.symlink(b"file", b"s")
    assert p.bind(p.socket(kind), b"s") == EADDRINUSE


@case("NAME-6b", types=ALL)
def a_link_that_leads_nowhere(p: Process, kind: int) -> None:
    """bind does not follow it."""
    p.symlink(b"nowhere", b"s")
    assert p.bind(p.socket(kind), b"s") == EADDRINUSE
    assert p.stat(b"nowhere") == ENOENT


@case("NAME-6c", types=ALL)
def a_path_outlives_its_socket(p: Process, kind: int) -> None:
    """The inode stays until somebody unlinks it."""
    p.close(p.bound(kind, b"s"))
    assert p.bind(p.socket(kind), b"s") == EADDRINUSE
    assert p.unlink(b"s") == 0
    assert p.bind(p.socket(kind), b"s") == 0


@case("NAME-6d", types=ALL, needs="CAP_SETUID")
def bind_where_one_may_not_write(p: Process, kind: int) -> None:
    """The directory's permissions count."""
    p.mkdir(b"closed", 0o755)
    p.setresuid(1000, 1000, 1000)
    assert p.bind(p.socket(kind), b"closed/s") == EACCES


@case("NAME-6e", types=ALL)
def bind_below_what_is_no_directory(p: Process, kind: int) -> None:
    """The walk's errors come through."""
    p.open(b"file", O_CREAT | O_WRONLY)
    assert p.bind(p.socket(kind), b"missing/s") == ENOENT
    assert p.bind(p.socket(kind), b"file/s") == ENOTDIR


@case("NAME-7a", types=ALL)
def a_second_bind_leaves_no_inode(p: Process, kind: int) -> None:
    """The inode that it made is removed again."""
    s = p.bound(kind, b"one")
    assert p.bind(s, b"two") == EINVAL
    assert p.stat(b"two") == ENOENT


@case("NAME-7b", types=ALL)
def a_second_bind_to_a_taken_path(p: Process, kind: int) -> None:
    """The path is looked at first."""
    s = p.bound(kind, b"one")
    assert p.bind(s, b"one") == EADDRINUSE


@case("NAME-7c", types=ALL, each=[0o022, 0o077, 0, 0o777])
def the_umask_counts(p: Process, kind: int, mask: int) -> None:
    """The inode has mode 0777 less the umask."""
    p.umask(mask)
    p.bound(kind, b"s")
    found = p.stat(b"s")
    assert isinstance(found, Stat)
    assert found.mode == SOCKET | 0o777 & ~mask


@case("NAME-7d", types=ALL)
def the_sockets_own_mode_counts(p: Process, kind: int) -> None:
    """fchmod before bind is how a program makes an inode that only it can use."""
    s = p.socket(kind)
    assert p.fchmod(s, 0o620) == 0
    p.umask(0o022)
    p.bind(s, b"s")
    found = p.stat(b"s")
    assert isinstance(found, Stat)
    assert found.mode == SOCKET | 0o600


@case("NAME-7e", types=ALL)
def a_second_abstract_bind(p: Process, kind: int) -> None:
    """A socket has one name."""
    s = p.bound(kind, p.abstract(b"one"))
    assert p.bind(s, p.abstract(b"two")) == EINVAL
    assert p.bind(s, p.abstract(b"one")) == EINVAL


@case("NAME-8a", types=ALL)
def paths_that_lead_nowhere(p: Process, kind: int) -> None:
    """connect tells why."""
    p.open(b"file", O_CREAT | O_WRONLY)
    p.symlink(b"loop", b"loop")
    s = p.socket(kind)
    assert p.connect(s, b"missing") == ENOENT
    assert p.connect(s, b"missing/s") == ENOENT
    assert p.connect(s, b"file/s") == ENOTDIR
    assert p.connect(s, b"loop") == ELOOP


@case("NAME-8b", types=ALL, needs="CAP_SETUID")
def connect_through_a_closed_directory(p: Process, kind: int) -> None:
    """Search permission is needed on the way."""
    p.mkdir(b"closed", 0o755)
    s = p.bound(kind, b"closed/s")
    p.chmod(b"closed", 0o600)
    assert s >= 0
    p.setresuid(1000, 1000, 1000)
    assert p.connect(p.socket(kind), b"closed/s") == EACCES


@case("NAME-8c", types=ALL, each=[0o755, 0o775, 0o722, 0o002], needs=("CAP_SETUID", "CAP_SETGID"))
def connect_needs_write_permission_only(p: Process, kind: int, mode: int) -> None:
    """Reading and executing do not matter."""
    s = p.bound(kind, b"s")
    if kind != DGRAM:
        p.listen(s)
    p.chmod(b"s", mode)
    p.setresgid(1000, 1000, 1000)
    p.setgroups()
    p.setresuid(1000, 1000, 1000)
    assert p.connect(p.socket(kind), b"s") == (0 if mode & 0o002 else EACCES)


@case("NAME-8d", types=ALL, each=["file", "directory"])
def connect_to_what_is_no_socket(p: Process, kind: int, what: str) -> None:
    """Nobody answers there."""
    if what == "file":
        p.open(b"s", O_CREAT | O_WRONLY)
    else:
        p.mkdir(b"s")
    assert p.connect(p.socket(kind), b"s") == ECONNREFUSED


@case("NAME-8e", types=ALL)
def connect_to_a_socket_that_is_gone(p: Process, kind: int) -> None:
    """The inode alone is nobody."""
    p.close(p.bound(kind, b"s"))
    assert p.connect(p.socket(kind), b"s") == ECONNREFUSED


@case("NAME-8f", types=ALL)
def connect_through_a_link(p: Process, kind: int) -> None:
    """Links on the way and at the end are followed."""
    p.mkdir(b"d")
    p.symlink(b"d", b"way")
    p.symlink(b"d/s", b"end")
    reachable(p, kind, b"d/s")
    assert p.connect(p.socket(kind), b"way/s") == 0
    assert p.connect(p.socket(kind), b"end") == 0


@case("NAME-8f")
def sendto_through_a_link(p: Process) -> None:
    """sendto does so, too."""
    r = p.bound(DGRAM, b"r")
    p.symlink(b"r", b"link")
    assert p.sendto(p.socket(DGRAM), b"x", b"link") == 1
    assert p.recv(r) == b"x"


@case("NAME-8g", types=ALL, needs="CAP_DAC_OVERRIDE")
def a_capability_needs_no_permission(p: Process, kind: int) -> None:
    """Root connects to an inode of mode 0."""
    reachable(p, kind, b"s")
    p.chmod(b"s", 0)
    assert p.connect(p.socket(kind), b"s") == 0


@case("NAME-8b", "NAME-8c", "NAME-8d", "NAME-8e", "NAME-8g", needs=("CAP_SETUID", "CAP_DAC_OVERRIDE"))
def sendto_where_one_may_not(p: Process) -> None:
    """sendto asks for what connect asks for."""
    p.mkdir(b"closed", 0o755)
    r = p.bound(DGRAM, b"closed/s")
    p.bound(DGRAM, b"s")
    p.close(p.bound(DGRAM, b"gone"))
    p.mkdir(b"directory")
    p.chmod(b"closed", 0o600)
    p.chmod(b"s", 0o755)
    s = p.socket(DGRAM)
    assert p.sendto(s, b"x", b"closed/s") == 1
    assert p.recv(r) == b"x"
    assert p.sendto(s, b"x", b"gone") == ECONNREFUSED
    assert p.sendto(s, b"x", b"directory") == ECONNREFUSED
    p.setresuid(1000, 1000, 1000)
    assert p.sendto(s, b"x", b"closed/s") == EACCES
    assert p.sendto(s, b"x", b"s") == EACCES
    assert p.sendto(s, b"x", b"directory") == EACCES


@case("NAME-8h", types=ALL)
def connect_to_nobodys_abstract_name(p: Process, kind: int) -> None:
    """There is nothing to walk."""
    assert p.connect(p.socket(kind), p.abstract(b"n")) == ECONNREFUSED


@case("NAME-9a", types=ALL)
def open_of_a_socket(p: Process, kind: int) -> None:
    """An inode of a socket can't be opened."""
    p.bound(kind, b"s")
    assert p.open(b"s", O_RDONLY) == ENXIO
    assert p.open(b"s", O_RDWR) == ENXIO


@case("NAME-9b", types=ALL)
def open_of_a_socket_through_proc(p: Process, kind: int) -> None:
    """Nor can a descriptor's link."""
    s = p.socket(kind)
    assert p.open(b"/proc/self/fd/%d" % s, O_RDWR) == ENXIO


@case("NAME-9c", types=ALL, needs="CAP_CHOWN")
def creating_over_anothers_socket(p: Process, kind: int) -> None:
    """Not even a privileged user gets past that, but the socket's owner and the directory's do."""
    p.mkdir(b"sticky")
    p.chmod(b"sticky", 0o1777)
    p.bound(kind, b"sticky/s")
    assert p.open(b"sticky/s", O_CREAT | O_RDWR) == ENXIO
    p.chown(b"sticky/s", 1, 1)
    assert p.open(b"sticky/s", O_CREAT | O_RDWR) == EACCES
    assert p.open(b"sticky/s", O_RDWR) == ENXIO
    p.chown(b"sticky", 1, 1)
    assert p.open(b"sticky/s", O_CREAT | O_RDWR) == ENXIO
    p.chown(b"sticky", 2, 2)
    assert p.open(b"sticky/s", O_CREAT | O_RDWR) == EACCES
    p.chmod(b"sticky", 0o1775)
    assert p.open(b"sticky/s", O_CREAT | O_RDWR) == ENXIO
    p.chmod(b"sticky", 0o777)
    assert p.open(b"sticky/s", O_CREAT | O_RDWR) == ENXIO


@case("NAME-10a", types=ALL)
def name_of_an_unbound_socket(p: Process, kind: int) -> None:
    """It is the family alone."""
    assert p.sockname_raw(p.socket(kind)) == (2, b"\1\0")
    one, _ = p.socketpair(kind)
    assert p.getpeername(one) == b""


@case("NAME-10b", types=ALL)
def a_name_cut_short(p: Process, kind: int) -> None:
    """The buffer gets what fits."""
    s = p.bound(kind, b"path")
    assert p.sockname_raw(s, 4) == (7, b"\1\0pa")
    assert p.sockname_raw(s, 0) == (7, b"")


@case("NAME-10c", types=ALL)
def a_name_that_no_longer_leads_there(p: Process, kind: int) -> None:
    """getsockname tells what was bound."""
    s = p.bound(kind, b"old")
    p.rename(b"old", b"new")
    assert p.getsockname(s) == b"old"
    p.unlink(b"new")
    assert p.getsockname(s) == b"old"


@case("NAME-10d", types=ALL)
def other_ways_to_an_inode(p: Process, kind: int) -> None:
    """Rename and hard links lead to the same socket."""
    reachable(p, kind, b"old")
    p.link(b"old", b"hard")
    p.rename(b"old", b"new")
    assert p.connect(p.socket(kind), b"new") == 0
    assert p.connect(p.socket(kind), b"hard") == 0
    assert p.connect(p.socket(kind), b"old") == ENOENT


@case("NAME-10e", types=CONNECTED)
def unlink_while_listening(p: Process, kind: int) -> None:
    """Nobody finds the socket then; who is connected stays so."""
    listener = p.listener(kind, b"s")
    client = p.client(kind, b"s")
    p.unlink(b"s")
    assert p.connect(p.socket(kind), b"s") == ENOENT
    accepted = p.accept(listener)
    assert p.send(client, b"x") == 1
    assert p.recv(accepted) == b"x"


@case("NAME-10e")
def unlink_of_a_receiver(p: Process) -> None:
    """Nobody finds it then; who is connected goes on sending."""
    receiver = p.bound(DGRAM, b"s")
    sender = p.client(DGRAM, b"s")
    p.unlink(b"s")
    assert p.connect(p.socket(DGRAM), b"s") == ENOENT
    assert p.sendto(p.socket(DGRAM), b"x", b"s") == ENOENT
    assert p.send(sender, b"x") == 1
    assert p.recv(receiver) == b"x"


@case("NAME-10f", types=ALL)
def peer_of_an_unconnected_socket(p: Process, kind: int) -> None:
    """There is none."""
    assert p.getpeername(p.socket(kind)) == ENOTCONN


@case("NAME-10g", types=ALL)
def a_negative_room_for_a_name(p: Process, kind: int) -> None:
    """It is refused."""
    assert p.sockname_raw(p.socket(kind), -1)[0] == EINVAL


@case("NAME-11a", types=ALL)
def passcred_autobinds_on_connect(p: Process, kind: int) -> None:
    """Who wants credentials gets a name."""
    peer = p.bound(kind, p.abstract(b"n"))
    if kind != DGRAM:
        p.listen(peer)
    s = p.socket(kind)
    p.setsockopt(s, SO_PASSCRED, 1)
    assert p.connect(s, p.abstract(b"n")) == 0
    assert p.sockname_raw(s)[0] == 8


@case("NAME-11b")
def passcred_autobinds_on_sendto(p: Process) -> None:
    """So it is with a first message."""
    r = p.bound(DGRAM, p.abstract(b"n"))
    s = p.socket(DGRAM)
    p.setsockopt(s, SO_PASSCRED, 1)
    assert p.sendto(s, b"x", p.abstract(b"n")) == 1
    assert p.recvfrom(r).address == p.getsockname(s)
    assert p.sockname_raw(s)[0] == 8


@case("NAME-11c", types=ALL, since=(6, 5))
def passpidfd_autobinds_on_connect(p: Process, kind: int) -> None:
    """Who wants pidfds gets a name, too."""
    peer = p.bound(kind, p.abstract(b"n"))
    if kind != DGRAM:
        p.listen(peer)
    s = p.socket(kind)
    p.setsockopt(s, SO_PASSPIDFD, 1)
    assert p.connect(s, p.abstract(b"n")) == 0
    assert p.sockname_raw(s)[0] == 8


@case("NAME-8a")
def sendto_paths_that_lead_nowhere(p: Process) -> None:
    """sendto walks as connect does."""
    p.open(b"file", O_CREAT | O_WRONLY)
    p.symlink(b"loop", b"loop")
    s = p.socket(DGRAM)
    assert p.sendto(s, b"x", b"missing") == ENOENT
    assert p.sendto(s, b"x", b"file/s") == ENOTDIR
    assert p.sendto(s, b"x", b"loop") == ELOOP
    assert p.sendto(s, b"x", b"file") == ECONNREFUSED


@case("NAME-12a", types=ALL, needs="CAP_SYS_ADMIN")
def a_network_namespace_of_its_own(p: Process, kind: int) -> None:
    """Abstract names of another are as if they were not, and free; descriptors go on."""
    p.bound(kind, p.abstract(b"n"))
    one, two = p.socketpair(kind)
    child = p.fork()
    assert child.call("unshare", CLONE_NEWNET) == 0
    s = child.socket(kind)
    assert child.connect(s, p.abstract(b"n")) == ECONNREFUSED
    assert child.bind(s, p.abstract(b"n")) == 0
    assert child.send(one, b"x") == 1
    assert p.recv(two) == b"x"


@case("NAME-12b", types=ALL, needs="CAP_SYS_ADMIN")
def paths_lead_to_other_network_namespaces(p: Process, kind: int) -> None:
    """An inode does not ask where one comes from."""
    reachable(p, kind, b"s")
    child = p.fork()
    assert child.call("unshare", CLONE_NEWNET) == 0
    assert child.connect(child.socket(kind), b"s") == 0
