"""Paths of programs, each result compared with what bind and connect give to a process of the same place and
identity.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import path_programs as native
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from path_programs import Program

from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor import hostcalls, paths
from afunix.supervisor.hostcalls import Gone
from afunix.supervisor.walk import split_last

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes programs of other identities and places: needs root")

USER, OTHER, GROUP = 1000, 2000, 3000
CAP_DAC = 1 << 1 | 1 << 2


def listener(path: Path, mode: int, owner: int = -1) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(os.fspath(path))
    sock.listen(4096)
    os.chmod(path, mode)
    os.chown(path, owner, owner)
    return sock


class Tree:
    """A directory with every kind of entry that a path can meet; all its sockets have listeners."""

    def __init__(self, base: Path, *, as_root: bool) -> None:
        self.base = base
        self.listeners: list[socket.socket] = []
        self.as_root = as_root
        self.build()

    def directory(self, name: str, mode: int, uid: int = -1, gid: int = -1) -> Path:
        path = self.base / name
        path.mkdir()
        if self.as_root:
            os.chown(path, uid, gid)
        os.chmod(path, mode)
        return path

    def socket(self, name: str, mode: int = 0o777, owner: int = -1) -> None:
        self.listeners.append(listener(self.base / name, mode, owner if self.as_root else -1))

    def build(self) -> None:
        base = self.base
        os.chmod(base, 0o755)
        everyone = self.directory("open", 0o777)
        self.directory("private", 0o755)
        self.directory("users", 0o755, USER, USER)
        self.directory("group", 0o750, 0, GROUP)
        self.directory("sgid", 0o2777, 0, GROUP)
        self.directory("readonly", 0o555)
        self.directory("nosearch", 0o755)
        self.directory("sticky", 0o1777)
        for parent in ("open", "private", "users", "group", "nosearch", "readonly"):
            os.chmod(base / parent, stat.S_IMODE(os.stat(base / parent).st_mode) | 0o200)
            self.socket(f"{parent}/s")
        self.socket("open/s555", 0o555)
        self.socket("open/s200", 0o200, USER)
        self.socket("open/s020", 0o020, OTHER)
        os.link(base / "open/s", base / "open/hard")
        for name, mode in (("file", 0o666), ("file0", 0o600)):
            (everyone / name).write_bytes(b"")
            os.chmod(everyone / name, mode)
        os.mkfifo(everyone / "fifo")
        os.chmod(everyone / "fifo", 0o666)
        (everyone / "deep").mkdir()
        self.socket("open/deep/s")
        links = {
            "abs": f"{base}/open/s",
            "rel": "open/s",
            "dangling": "nowhere",
            "dangling2": "open/new",
            "loop1": "loop2",
            "loop2": "loop1",
            "self": "self",
            "dir": "open",
            "dirslash": "open//",
            "slash": "/",
            "dot": ".",
            "up": f"../{base.name}/open",
            "sockslash": "open/s/",
            "inside": "/open/s",
            "insidedir": "/open",
            "proccwd": "/proc/self/cwd",
            "procroot": "/proc/self/root",
            "thread": "/proc/thread-self/cwd",
            "long": "open/" + "x" * 255,
            "toolong": "open/" + "x" * 256,
            "chain0": "open/s",
        }
        for name, target in links.items():
            os.symlink(target, base / name)
        for number in range(1, 42):
            os.symlink(f"chain{number - 1}", base / f"chain{number}")
        os.symlink("../open/s", base / "sticky/foreign")
        os.symlink("../open", base / "sticky/foreigndir")
        os.symlink("../open/s", base / "sticky/own")
        if self.as_root:
            os.chown(base / "sticky/foreign", OTHER, OTHER, follow_symlinks=False)
            os.chown(base / "sticky/foreigndir", OTHER, OTHER, follow_symlinks=False)
            os.chown(base / "sticky/own", USER, USER, follow_symlinks=False)
        (base / "proc").mkdir()
        (base / "mnt").mkdir()
        (base / "dev").mkdir()
        os.symlink("/proc/self/fd", base / "dev/fd")
        os.chmod(base / "private", 0o700)
        os.chmod(base / "nosearch", 0o666)
        os.chmod(base / "readonly", 0o555)

    def close(self) -> None:
        for sock in self.listeners:
            sock.close()
        for name in ("nosearch", "private", "readonly"):
            os.chmod(self.base / name, 0o777)
        shutil.rmtree(self.base)


@pytest.fixture(scope="module")
def tree() -> Iterator[Tree]:
    made = Tree(Path(tempfile.mkdtemp(prefix="afx", dir="/tmp")), as_root=os.geteuid() == 0)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Identity, umask, working directory and descriptors of this process are as before."""

    def state() -> object:
        umask = os.umask(0o22)
        os.umask(umask)
        uid, gid = hostcalls.setfsuid(0xFFFFFFFF), hostcalls.setfsgid(0xFFFFFFFF)
        ids = (os.getresuid(), os.getresgid(), os.getgroups(), uid, gid, hostcalls.capget())
        return ids, umask, os.getcwd(), len(os.listdir("/proc/self/fd"))

    before = state()
    yield
    assert state() == before


RELATIVE = [
    "open/s",
    "open/hard",
    "open/./s",
    "open//s",
    "./open/s",
    "open/deep/../s",
    "open/deep/s",
    "open/s/",
    "open/s/.",
    "open/s/x",
    "open/",
    "open/.",
    "open/..",
    "open/deep/",
    ".",
    "..",
    "open/s555",
    "open/s200",
    "open/s020",
    "open/file",
    "open/file0",
    "open/file/x",
    "open/file/",
    "open/fifo",
    "open/new",
    "open/new/",
    "open/new/.",
    "open/new/x",
    "new",
    "open/" + "n" * 60,
    "private/s",
    "private/new",
    "private",
    "private/..",
    "private/../open/s",
    "users/s",
    "users/new",
    "group/s",
    "group/new",
    "sgid/new",
    "readonly/s",
    "readonly/new",
    "nosearch/s",
    "nosearch/new",
    "nosearch/.",
    "nosearch/..",
    "nosearch/",
    "nosearch",
    "sticky/new",
    "sticky/foreign",
    "sticky/own",
    "sticky/foreigndir/s",
    "sticky/foreigndir/new",
    "sticky/foreigndir",
    "abs",
    "abs/",
    "abs/x",
    "rel",
    "dangling",
    "dangling/",
    "dangling/x",
    "dangling2",
    "loop1",
    "loop1/",
    "loop1/x",
    "self",
    "dir",
    "dir/",
    "dir/s",
    "dir/new",
    "dir/../rel",
    "dirslash/s",
    "dirslash/new",
    "dirslash",
    "dot/dot/dot/open/s",
    "up/s",
    "up/new",
    "sockslash",
    "long",
    "toolong",
    "toolong/x",
    "chain39",
    "chain40",
    "chain41",
    "slash",
    "inside",
    "insidedir/s",
    "insidedir/new",
    "proccwd/open/s",
    "proccwd/open/new",
    "proccwd",
    "thread/rel",
    "mnt/new",
    "mnt/s",
    "mnt/../open/s",
    "../..",
    "../../../../../../../../open/s",
]

ABSOLUTE = [
    "/",
    "//",
    "/.",
    "/..",
    "/proc/self/cwd/open/s",
    "/proc/self/cwd/open/new",
    "/proc/self/cwd/../../../../../open/s",
    "/proc/thread-self/cwd/rel",
    "/proc/self/root/open/s",
    "/proc/self/root/open/new",
    "/proc/self/root/../open/s",
    "/proc/self/task/../cwd/open/s",
    "/proc/self/../self/cwd/rel",
    "/proc/thread-self/../../cwd/rel",
    "/proc/self/stat",
    "/proc/self/comm",
    "/proc/self/new",
    "/proc/self/fd/new",
    "/proc/self/exe",
    "/proc/self/ns/mnt",
    "/proc/self/mounts",
    "/proc/net",
    "/dev/fd/new",
    "/open/s",
    "/open/new",
    "/dir/s",
    "/inside",
    "/insidedir/new",
    "/abs",
    "/../open/s",
    "/loop1",
    "/private/s",
    "/nowhere/new",
]


def agree_on_connect(program: Program, path: bytes) -> int:
    """The errno of connect: `lookup` must give the same, or find the same inode."""
    wanted = program.connect(path)
    try:
        inode = paths.lookup(program.place, path)
    except SyscallError as error:
        found: object = (error.errno, None)
    else:
        assert stat.S_ISSOCK(inode.mode)
        found = (0, inode.key)
        inode.close()
    assert found == wanted, path
    return int(wanted[0])


def agree_on_bind(program: Program, path: bytes, mode: int = 0o777) -> int:
    """The errno of bind: `create` and `bind_host` must give the same, or make an equal inode, and `remove` it."""
    wanted = program.bind(path, mode)

    def bind_host() -> paths.Inode:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            os.fchmod(sock.fileno(), mode)
            inode = paths.bind_host(program.place, path, sock)
            assert sock.getsockname()
            return inode

    for make in (lambda: paths.create(program.place, path, mode), bind_host):
        inode = None
        try:
            inode = make()
        except SyscallError as error:
            errno = error.errno
        if inode is None:
            assert (errno, None) == wanted, (path, make)
            continue
        status, key = program.lstat(path)
        assert (0, status) == wanted, (path, make)
        assert (inode.key, inode.mode) == (key, status[0])
        assert paths.remove(program.place, path, inode)
        assert program.lstat(path) is None
        assert not paths.remove(program.place, path, inode)
        inode.close()
    return int(wanted[0])


def agree(program: Program, base: Path, only: list[str] | None = None) -> set[int]:
    """All the paths, relative to the program's working directory and absolute; returns the errnos met."""
    errnos = set()
    names = only if only is not None else [*RELATIVE, *ABSOLUTE, *(f"{base}/{name}" for name in RELATIVE)]
    for name in names:
        path = os.fsencode(name)
        assert len(path) <= 108
        errnos.add(agree_on_connect(program, path))
        errnos.add(agree_on_bind(program, path))
    return errnos


def enter(base: Path) -> Callable[[], None]:
    return lambda: os.chdir(base)


IDENTITIES: dict[str, Callable[[], object]] = {
    "root": lambda: None,
    "user": lambda: native.become(USER, USER),
    "other": lambda: native.become(OTHER, OTHER),
    "member": lambda: native.become(OTHER, OTHER, (GROUP, 5000)),
    "root-without-dac": lambda: native.drop_capabilities(CAP_DAC),
    "setuid": lambda: (os.setegid(GROUP), os.seteuid(USER), native.dumpable()),
}


@needs_root
@pytest.mark.parametrize("identity", IDENTITIES)
def test_in_the_same_root(tree: Tree, identity: str) -> None:
    with Program(enter(tree.base), IDENTITIES[identity]) as program:
        errnos = agree(program, tree.base)
    assert {0, Errno.ENOENT, Errno.ENOTDIR, Errno.ELOOP, Errno.ECONNREFUSED, Errno.EADDRINUSE} <= errnos
    assert Errno.ENAMETOOLONG in errnos
    assert identity == "root" or Errno.EACCES in errnos


@needs_root
@pytest.mark.parametrize("identity", IDENTITIES)
def test_in_a_chroot(tree: Tree, identity: str) -> None:
    """Absolute paths, absolute links and '..' stay in the program's root."""

    def jail() -> None:
        native.private_mounts()
        native.mount(b"/proc", os.fsencode(tree.base / "proc"), b"", native.MS_BIND | native.MS_REC)
        os.chroot(tree.base)
        os.chdir("/")
        IDENTITIES[identity]()

    with Program(jail) as program:
        assert agree_on_connect(program, b"/inside") == 0
        agree(program, tree.base)


@needs_root
def test_a_working_directory_outside_the_root(tree: Tree) -> None:
    """chroot alone leaves the way out open: relative paths go on from where the program is, '..' above the root."""

    def leave() -> None:
        os.chdir(tree.base / "open")
        os.chroot(tree.base / "users")

    with Program(leave) as program:
        for name in (
            "s",
            "../users/s",
            "../rel",
            "../../tmp",
            "../abs",
            "../insidedir/s",
            "/s",
            "/../s",
            "new",
            "/new",
        ):
            agree_on_connect(program, name.encode())
            agree_on_bind(program, name.encode())
        assert agree_on_connect(program, b"../users/s") == 0


@needs_root
@pytest.mark.parametrize("identity", IDENTITIES)
def test_in_another_mount_namespace(tree: Tree, identity: str) -> None:
    """A tmpfs that only the program has, a read-only file system, and a read-only mount of a writable one."""

    def mounts() -> None:
        native.private_mounts()
        target = os.fsencode(tree.base / "mnt")
        native.mount(b"none", target, b"tmpfs", 0, b"mode=0777")
        os.mkdir(target + b"/ro")
        os.mkdir(target + b"/bind")
        native.mount(b"none", target + b"/ro", b"tmpfs")
        for path in (b"/s", b"/ro/s"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(target + path)
            os.chmod(target + path, 0o777)
        for name in (b"file", b"file0"):
            os.close(os.open(target + b"/ro/" + name, os.O_CREAT))
        os.chmod(target + b"/ro/file", 0o666)
        os.chmod(target + b"/ro/file0", 0o600)
        os.symlink(b"../s", target + b"/ro/link")
        native.mount(b"none", target + b"/ro", b"", native.MS_REMOUNT | native.MS_RDONLY)
        native.mount(os.fsencode(tree.base / "open"), target + b"/bind", b"", native.MS_BIND)
        native.mount(b"none", target + b"/bind", b"", native.MS_BIND | native.MS_REMOUNT | native.MS_RDONLY)
        os.mkdir(target + b"/nosym")
        native.mount(b"none", target + b"/nosym", b"tmpfs", 0, b"mode=0777")
        os.symlink(b"../bind", target + b"/nosym/dir")
        os.symlink(b"../bind/s", target + b"/nosym/s")
        native.mount(b"none", target + b"/nosym", b"", native.MS_REMOUNT | native.MS_NOSYMFOLLOW, b"mode=0777")
        os.chdir(tree.base)
        IDENTITIES[identity]()

    with Program(mounts) as program:
        assert program.bind(b"mnt/bind/new", 0o777)[0] == Errno.EROFS
        names = ["mnt/new", "mnt/ro/new", "mnt/bind/new", "mnt/bind/s", "mnt/bind/file", "mnt/ro/file", "mnt/ro/file0"]
        names += [
            "mnt/bind/file0",
            "mnt/bind/fifo",
            "mnt/ro/link/",
            "mnt/../open/s",
            "mnt/bind/../../rel",
            "mnt/bind/..",
        ]
        names += ["mnt/bind/nowhere/new", "mnt/ro/s/", "mnt/ro/file/x", "mnt/bind/deep/s", "mnt/bind/deep/new"]
        names += ["mnt/nosym/s", "mnt/nosym/dir/s", "mnt/nosym/dir/new", "mnt/nosym/new", "mnt/nosym/../bind/s"]
        errnos = agree(program, tree.base, [*names, *(f"{tree.base}/{name}" for name in names)])
        assert {0, Errno.EROFS, Errno.ELOOP} <= errnos
        # Sockets that nobody listens on: native connect says so, `lookup` leaves it to the caller.
        for name in (b"mnt/s", b"mnt/ro/s", b"mnt/ro/link"):
            assert program.connect(name) == (Errno.ECONNREFUSED, None)
            inode = paths.lookup(program.place, name)
            assert inode.key == program.run(_key, name)
            inode.close()


@needs_root
def test_a_mount_that_hides_the_same_directory(tree: Tree) -> None:
    """A path that leads to the same directory from here, but for the program through a read-only mount."""

    def mounts() -> None:
        native.private_mounts()
        target = os.fsencode(tree.base / "open")
        native.mount(target, target, b"", native.MS_BIND)
        native.mount(b"none", target, b"", native.MS_BIND | native.MS_REMOUNT | native.MS_RDONLY)

    with Program(mounts, enter(tree.base)) as program:
        for path in (os.fsencode(tree.base) + b"/open/new", b"open/new", b"open/deep/new"):
            assert agree_on_bind(program, path) == Errno.EROFS
        assert agree_on_connect(program, os.fsencode(tree.base) + b"/open/s") == 0


@needs_root
def test_the_root_mounted_inside_itself(tree: Tree) -> None:
    """It is another place: '..' leads out of it."""

    def mounts() -> None:
        native.private_mounts()
        base = os.fsencode(tree.base)
        native.mount(base, base + b"/mnt", b"", native.MS_BIND)
        os.chroot(base)
        os.chdir("/mnt")

    with Program(mounts) as program:
        for path in (b"../mnt/new", b"../new", b"../../mnt/new", b"../mnt/mnt/new", b"/mnt/../mnt/new", b"mnt/new"):
            assert agree_on_bind(program, path) == 0
        for path in (b"../mnt/open/s", b"../mnt/mnt/open/s", b"../mnt/../mnt/rel"):
            agree_on_connect(program, path)


def _key(path: bytes) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


@needs_root
@pytest.mark.parametrize("chroot", [False, True])
def test_descriptors_of_the_program(tree: Tree, chroot: bool) -> None:
    """/proc/self/fd/N, /proc/thread-self/fd/N, /dev/fd/N and links to them name the program's descriptors."""

    def jail() -> None:
        os.chdir(tree.base)
        if chroot:
            native.private_mounts()
            native.mount(b"/proc", os.fsencode(tree.base / "proc"), b"", native.MS_BIND | native.MS_REC)
            os.chroot(".")
        native.become(USER, USER)

    with Program(jail) as program:
        directory, sock = program.open("open"), program.open("open/s")
        assert os.stat(f"/proc/self/fd/{directory}", follow_symlinks=False)  # the number is taken here too
        assert program.run(os.dup2, sock, 250) == 250
        assert not os.path.lexists("/proc/self/fd/250")
        for prefix in ("/proc/self/fd", "/proc/thread-self/fd", "/dev/fd", f"/proc/{program.pid}/fd", "dev/fd"):
            for name in ("s", "new", "deep/s", "../rel", "..", "file", "."):
                path = f"{prefix}/{directory}/{name}".encode()
                errno = agree_on_connect(program, path)
                assert errno == 0 or name not in ("s", "deep/s")
                assert agree_on_bind(program, path) == (0 if name == "new" else Errno.EADDRINUSE)
            assert agree_on_connect(program, f"{prefix}/{sock}".encode()) == 0
            agree_on_bind(program, f"{prefix}/{sock}".encode())
            agree_on_connect(program, f"{prefix}/{sock}/".encode())
            assert agree_on_connect(program, f"{prefix}/250".encode()) == 0
            assert agree_on_bind(program, f"{prefix}/250".encode()) == Errno.EADDRINUSE
            agree_on_connect(program, f"{prefix}/999".encode())
            agree_on_connect(program, f"{prefix}/999/s".encode())


COMPONENTS = sorted(
    {part for name in [*RELATIVE, *ABSOLUTE] for part in name.split("/") if part and len(part) < 20}
    | {"chain20", "chain21", "hard"}
)


@needs_root
@pytest.mark.parametrize("chroot", [False, True])
@pytest.mark.parametrize("identity", ["root", "member", "root-without-dac"])
def test_random_paths(tree: Tree, identity: str, chroot: bool) -> None:
    def jail() -> None:
        os.chdir(tree.base)
        if chroot:
            native.private_mounts()
            native.mount(b"/proc", os.fsencode(tree.base / "proc"), b"", native.MS_BIND | native.MS_REC)
            os.chroot(".")
        IDENTITIES[identity]()

    with Program(jail) as program:

        @settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(
            start=st.sampled_from(["", "", "/", "//", "./", "../", "/proc/self/cwd/", f"{tree.base}/"]),
            parts=st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=6),
            slash=st.sampled_from(["/", "/", "/", "//"]),
            end=st.sampled_from(["", "", "", "/", "/.", "//"]),
        )
        def compare(start: str, parts: list[str], slash: str, end: str) -> None:
            path = (start + slash.join(parts) + end).encode()[:108]
            agree_on_connect(program, path)
            agree_on_bind(program, path)

        compare()


@needs_root
@pytest.mark.parametrize("umask", [0, 0o22, 0o77, 0o777, 0o123])
@pytest.mark.parametrize("mode", [0o777, 0o600, 0o4755, 0o2770, 0o1777, 0])
def test_modes(tree: Tree, umask: int, mode: int) -> None:
    with Program(lambda: os.umask(umask), enter(tree.base), lambda: native.become(USER, GROUP, (USER,))) as program:
        for name in (b"open/new", b"users/new", b"sgid/new"):
            assert agree_on_bind(program, name, mode) == 0


@needs_root
@pytest.mark.parametrize("default", [False, True])
def test_default_acls(tree: Tree, default: bool) -> None:
    """bind takes the umask off also where a default ACL gives the permissions."""
    place = tree.base / "acl"
    place.mkdir()
    try:
        if default:
            # user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::---
            entries = [(1, 7, 0xFFFFFFFF), (2, 7, USER), (4, 5, 0xFFFFFFFF), (16, 7, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
            value = (2).to_bytes(4, "little")
            for tag, permissions, who in entries:
                value += tag.to_bytes(2, "little") + permissions.to_bytes(2, "little") + who.to_bytes(4, "little")
            os.setxattr(place, "system.posix_acl_default", value)
        with Program(enter(place), lambda: os.umask(0o27)) as program:
            assert agree_on_bind(program, b"new") == 0
    finally:
        place.rmdir()


@needs_root
def test_long_paths(tree: Tree) -> None:
    """107 and 108 bytes, relative and absolute, in the same root and in another one."""

    def jail() -> None:
        os.chroot(tree.base)
        os.chdir("/open")

    for steps in ([enter(tree.base / "open")], [jail]):
        with Program(*steps) as program:
            prefix = b"/open/" if steps == [jail] else os.fsencode(tree.base) + b"/open/"
            for length in (106, 107, 108):
                assert agree_on_bind(program, b"n" * length) == 0
                assert agree_on_bind(program, prefix + b"n" * (length - len(prefix))) == 0
                assert agree_on_connect(program, b"n" * length) == Errno.ENOENT


@needs_root
def test_rename_and_hard_links_keep_the_key(tree: Tree) -> None:
    with Program(enter(tree.base / "open")) as program:
        inode = paths.create(program.place, b"first", 0o777)
        program.run(os.link, "first", "second")
        program.run(os.rename, "first", "third")
        for name in (b"second", b"third"):
            found = paths.lookup(program.place, name)
            assert found.key == inode.key
            found.close()
        assert not paths.remove(program.place, b"first", inode)
        assert paths.remove(program.place, b"second", inode)
        assert paths.remove(program.place, b"third", inode)
        # As long as it is held, no new file gets the number.
        for _ in range(5):
            other = paths.create(program.place, b"first", 0o777)
            assert other.key != inode.key
            assert not paths.remove(program.place, b"first", inode)
            assert paths.remove(program.place, b"first", other)
            other.close()
        inode.close()
        inode.close()


@needs_root
def test_a_deleted_working_directory(tree: Tree) -> None:
    gone = tree.base / "open/gone"
    gone.mkdir()
    with Program(enter(gone)) as program:
        gone.rmdir()
        for name in (b"new", b"./new", b"../s", b"../new", b"..", b"."):
            agree_on_connect(program, name)
            agree_on_bind(program, name)
        assert agree_on_bind(program, b"new") == Errno.ENOENT
        assert agree_on_connect(program, b"../s") == 0


@needs_root
def test_a_working_directory_that_could_not_be_entered_again(tree: Tree) -> None:
    """Relative paths need no permission on what is above the working directory."""
    with Program(enter(tree.base / "private"), lambda: native.become(USER, USER)) as program:
        for name in (b"s", b"new", b"../open/s", b"../open/new", b"..", b"."):
            agree_on_connect(program, name)
            agree_on_bind(program, name)
    inside = tree.base / "private/inside"
    inside.mkdir(mode=0o777)
    os.chmod(inside, 0o777)
    try:
        with Program(enter(inside), lambda: native.become(USER, USER)) as program:
            assert agree_on_bind(program, b"new") == 0
            assert agree_on_bind(program, b"../new") == Errno.EACCES
            assert agree_on_bind(program, b"../../open/new") == Errno.EACCES
    finally:
        inside.rmdir()


@needs_root
def test_capabilities_in_a_user_namespace_of_its_own(tree: Tree) -> None:
    """The program has all capabilities there, but not over files of users that are not in it."""

    def isolate() -> None:
        native.become(USER, USER)
        native.unshare(native.CLONE_NEWUSER)
        os.chdir(tree.base)

    with Program(isolate) as program:
        assert program.place.credentials().capabilities & CAP_DAC == CAP_DAC
        assert agree_on_connect(program, b"private/s") == Errno.EACCES
        assert agree_on_connect(program, b"open/s555") == Errno.EACCES
        assert agree_on_connect(program, b"users/s") == 0


@needs_root
def test_unprivileged_with_a_capability(tree: Tree) -> None:
    """A program that is not root, but may pass permission checks."""

    def keep() -> None:
        native.check(native.libc.prctl(8, 1, 0, 0, 0))  # PR_SET_KEEPCAPS
        native.become(USER, USER)
        _, permitted, _ = hostcalls.capget()
        hostcalls.capset(CAP_DAC, permitted, 0)
        native.dumpable()
        os.chdir(tree.base)

    with Program(keep) as program:
        assert agree_on_connect(program, b"private/s") == 0
        assert agree_on_bind(program, b"private/new") == 0
        agree(program, tree.base, RELATIVE)


@needs_root
def test_errors_restore_the_identity(tree: Tree) -> None:
    """Whatever goes wrong, the supervisor is itself again; `nothing_left` looks after that."""
    with Program(enter(tree.base), lambda: native.become(USER, USER)) as program:
        with pytest.raises(SyscallError):
            paths.create(program.place, b"private/new", 0o777)

        def fail_inside() -> None:
            with paths._parent(program.place, b"open/new"):
                assert hostcalls.setfsuid(0xFFFFFFFF) == USER
                assert hostcalls.capget()[0] & CAP_DAC == 0
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail_inside()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(b"\0bound already %d" % os.getpid())
            with pytest.raises(SyscallError) as caught:
                paths.bind_host(program.place, b"open/new", sock)
        assert caught.value.errno is Errno.EINVAL
        assert program.lstat(b"open/new") is None


@needs_root
def test_bound_sockets_are_reachable_from_outside(tree: Tree) -> None:
    """Outside peers see the path that the program gave, also one that means something in its root only."""

    def jail() -> None:
        os.chroot(tree.base)

    cases = [
        ([enter(tree.base)], b"open/out", "open/out"),
        ([enter("/")], os.fsencode(tree.base) + b"/open/out", f"{tree.base}/open/out"),
        ([jail], b"/open/out", "/open/out"),
        ([jail, enter("/open")], b"../open/out", "../open/out"),
    ]
    for steps, path, name in cases:
        with Program(*steps) as program, socket.socket(socket.AF_UNIX) as sock:
            inode = paths.bind_host(program.place, path, sock)
            sock.listen()
            with socket.socket(socket.AF_UNIX) as peer:
                peer.connect(os.fspath(tree.base / "open/out"))
                assert peer.getpeername() == name
            assert paths.remove(program.place, path, inode)
            inode.close()


def test_a_program_that_is_gone(tree: Tree) -> None:
    program = Program()
    place = program.place
    credentials, ids = place.credentials(), place.filesystem_ids()
    program.close()
    place.credentials = lambda: credentials  # type: ignore[method-assign]
    place.filesystem_ids = lambda: ids  # type: ignore[method-assign]
    place.umask = lambda: 0  # type: ignore[method-assign]
    with pytest.raises(Gone):
        paths.lookup(place, b"/tmp/x")
    with pytest.raises(Gone):
        paths.create(place, b"/tmp/x", 0o777)
    held = paths.Inode.of(os.open("/", os.O_PATH))
    assert not paths.remove(place, b"/tmp/x", held)
    held.close()


def test_without_privileges() -> None:
    """Supervisor and program of one ordinary user; as root, both take on one."""

    def supervise() -> None:
        if os.geteuid() == 0:
            native.become(USER, USER, (GROUP,))
        base = Path(tempfile.mkdtemp(prefix="afx", dir="/tmp"))
        tree = Tree(base, as_root=False)
        try:
            with Program(enter(base)) as program:
                errnos = agree(program, base)
            assert {0, Errno.EACCES, Errno.ENOENT} <= errnos
            with Program(enter(base / "open"), lambda: os.umask(0o77)) as program:
                assert agree_on_bind(program, b"n" * 108) == 0
                assert agree_on_bind(program, b"new", 0o640) == 0
                agree(program, base, ["s", "../rel", "../private/s", "../../x", "/proc/self/cwd/s", "/proc/self/cwd/n"])
        finally:
            tree.close()

    native.run_in_child(supervise)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"a", (b"", b"a")),
        (b"a/b", (b"a/", b"b")),
        (b"/a", (b"/", b"a")),
        (b"a//b//", (b"a//", b"b//")),
        (b"//", (b"//", b"")),
        (b"", (b"", b"")),
        (b"a/", (b"", b"a/")),
    ],
)
def test_splitting_off_the_last_component(path: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_last(path) == parts


def test_an_empty_path() -> None:
    with Program() as program:
        for call in (paths.lookup, lambda place, path: paths.create(place, path, 0o777)):
            with pytest.raises(SyscallError) as caught:
                call(program.place, b"")
            assert caught.value.errno is Errno.ENOENT


def test_only_hostcalls_can_bind_108_bytes(tmp_path: Path) -> None:
    """Python's own refuses what Linux takes (NAME-5)."""
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            with pytest.raises(OSError, match="too long"):
                sock.bind(b"n" * 108)
            hostcalls.bind(sock.fileno(), native.sockaddr(b"n" * 108))
            assert os.listdir() == ["n" * 108]
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(SyscallError) as caught:
            hostcalls.bind(sock.fileno(), native.sockaddr(b"n" * 108))
        assert caught.value.errno is Errno.EADDRINUSE
    finally:
        os.chdir(here)
