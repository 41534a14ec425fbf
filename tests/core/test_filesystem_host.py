"""The in-memory filesystem against the host kernel: random scripts of calls on both, results and final trees compared.

A script runs in a child process that has made an empty directory its root, so absolute links and '..' mean the same
on both sides and nothing outside can be touched. Identities are changed for each call, which needs root.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from afunix.abi.constants import AT_FDCWD, AT_SYMLINK_FOLLOW
from afunix.abi.errno import Errno, SyscallError
from afunix.core.credentials import Credentials
from afunix.core.filesystem import Filesystem
from afunix.core.inode import Directory, Inode, Symlink

UMASK = 0o022
LIBC = ctypes.CDLL(None, use_errno=True)
IDENTITIES = {
    "root": (0, 0, ()),
    "alice": (1000, 1000, (3000,)),
    "bob": (1001, 1001, (1000,)),
}

Step = tuple[Any, ...]
Result = tuple[str, Any]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: chroot and several identities")


def host_setting(name: str) -> int:
    return int(Path("/proc/sys/fs", name).read_text())


def host_capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)


# The host's side.


class HostTree:
    """The steps as system calls, in a process that is chrooted into the tree."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []

    def __call__(self, who: str, name: str, *arguments: Any) -> Result:
        uid, gid, groups = IDENTITIES[who]
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        try:
            return "ok", getattr(self, name)(*arguments)
        except OSError as error:
            return "error", Errno(error.errno or 0).name
        finally:
            os.seteuid(0)
            os.setegid(0)

    def mkdir(self, path: bytes, mode: int) -> None:
        os.mkdir(path, mode)

    def mknod(self, path: bytes, mode: int) -> None:
        os.mknod(path, mode)

    def symlink(self, target: bytes, path: bytes) -> None:
        os.symlink(target, path)

    def link(self, path: bytes, new: bytes, follow: bool) -> None:
        # os.link ignores follow_symlinks=True in CPython, so it is called by its own name.
        if LIBC.linkat(AT_FDCWD, path, AT_FDCWD, new, AT_SYMLINK_FOLLOW * follow):
            raise OSError(ctypes.get_errno(), "linkat")

    def unlink(self, path: bytes) -> None:
        os.unlink(path)

    def rmdir(self, path: bytes) -> None:
        os.rmdir(path)

    def rename(self, path: bytes, new: bytes) -> None:
        os.rename(path, new)

    def chmod(self, path: bytes, mode: int) -> None:
        os.chmod(path, mode)

    def chown(self, path: bytes, uid: int, gid: int, follow: bool) -> None:
        os.chown(path, uid, gid, follow_symlinks=follow)

    def stat(self, path: bytes, follow: bool) -> tuple[int, ...]:
        result = os.stat(path, follow_symlinks=follow)
        size = 0 if stat.S_ISDIR(result.st_mode) else result.st_size
        return result.st_mode, result.st_uid, result.st_gid, result.st_nlink, size

    def listdir(self, path: bytes) -> list[bytes]:
        return sorted(os.listdir(path))

    def readlink(self, path: bytes) -> bytes:
        return os.readlink(path)

    def chdir(self, path: bytes) -> None:
        os.chdir(path)

    def open(self, path: bytes, flags: int, mode: int, directory: bool, nofollow: bool) -> None:
        flags |= os.O_DIRECTORY * directory | os.O_NOFOLLOW * nofollow
        os.close(os.open(path, flags | os.O_NONBLOCK, mode))

    def bind(self, path: bytes) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sockets.append(sock)
        sock.bind(path)

    def connect(self, path: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(path)

    def tree(self) -> list[tuple[Any, ...]]:
        numbers: dict[tuple[int, int], int] = {}

        def visit(path: bytes) -> Iterator[tuple[Any, ...]]:
            result = os.lstat(path)
            kind = stat.S_IFMT(result.st_mode)
            content: object = None
            if kind == stat.S_IFLNK:
                content = os.readlink(path)
            alias = numbers.setdefault((result.st_dev, result.st_ino), len(numbers))
            yield path, alias, result.st_mode, result.st_uid, result.st_gid, result.st_nlink, content
            if kind == stat.S_IFDIR:
                for name in sorted(os.listdir(path)):
                    yield from visit(path + b"/" + name)

        return list(visit(b""[:0] or b"/"))


def run_on_host(base: str, steps: list[Step]) -> tuple[list[Result], list[tuple[Any, ...]]]:
    with tempfile.TemporaryDirectory(dir=base) as directory:
        os.chmod(directory, 0o777)
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(readable)
                os.chroot(directory)
                os.chdir("/")
                os.umask(UMASK)
                host = HostTree()
                results = [host(*step) for step in steps]
                os.chdir("/")
                with open(writable, "wb") as output:
                    pickle.dump((results, host.tree()), output)
                os._exit(0)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
        os.close(writable)
        with open(readable, "rb") as stream:
            data = stream.read()
        assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(data)  # type: ignore[no-any-return]


# Our side.


class Caller:
    def __init__(self, root: Directory) -> None:
        self.credentials = Credentials(1)
        self.cwd = root
        self.root = root


class Model:
    """The same steps on the in-memory filesystem."""

    def __init__(self) -> None:
        self.filesystem = Filesystem(
            mode=0o777,
            protected_symlinks=bool(host_setting("protected_symlinks")),
            protected_hardlinks=bool(host_setting("protected_hardlinks")),
            protected_regular=host_setting("protected_regular"),
        )
        self.caller = Caller(self.filesystem.root)
        self.capabilities = host_capabilities()
        self.bound: set[Inode] = set()

    def __call__(self, who: str, name: str, *arguments: Any) -> Result:
        uid, gid, groups = IDENTITIES[who]
        capabilities = 0 if uid else self.capabilities
        self.caller.credentials = Credentials(1, euid=uid, egid=gid, groups=groups, capabilities=capabilities)
        before = self.tree()
        try:
            return "ok", getattr(self, name)(*arguments)
        except SyscallError as error:
            assert self.tree() == before, "a call that failed changed something"
            return "error", error.errno.name

    def mkdir(self, path: bytes, mode: int) -> None:
        self.filesystem.mkdir(self.caller, path, mode & ~UMASK)

    def mknod(self, path: bytes, mode: int) -> None:
        self.filesystem.mknod(self.caller, path, mode & ~UMASK)

    def symlink(self, target: bytes, path: bytes) -> None:
        self.filesystem.symlink(self.caller, target, path)

    def link(self, path: bytes, new: bytes, follow: bool) -> None:
        self.filesystem.link(self.caller, path, new, follow=follow)

    def unlink(self, path: bytes) -> None:
        self.filesystem.unlink(self.caller, path)

    def rmdir(self, path: bytes) -> None:
        self.filesystem.rmdir(self.caller, path)

    def rename(self, path: bytes, new: bytes) -> None:
        self.filesystem.rename(self.caller, path, new)

    def chmod(self, path: bytes, mode: int) -> None:
        self.filesystem.chmod(self.caller, path, mode)

    def chown(self, path: bytes, uid: int, gid: int, follow: bool) -> None:
        self.filesystem.chown(self.caller, path, uid, gid, follow=follow)

    def stat(self, path: bytes, follow: bool) -> tuple[int, ...]:
        inode = self.filesystem.stat(self.caller, path, follow=follow)
        return inode.mode, inode.uid, inode.gid, inode.nlink, inode.size

    def listdir(self, path: bytes) -> list[bytes]:
        return sorted(self.filesystem.listdir(self.caller, path))

    def readlink(self, path: bytes) -> bytes:
        return self.filesystem.readlink(self.caller, path)

    def chdir(self, path: bytes) -> None:
        self.caller.cwd = self.filesystem.directory(self.caller, path)

    def open(self, path: bytes, flags: int, mode: int, directory: bool, nofollow: bool) -> None:
        self.filesystem.open(self.caller, path, flags, mode & ~UMASK, directory=directory, nofollow=nofollow)

    def bind(self, path: bytes) -> None:
        self.bound.add(self.filesystem.create(self.caller, path, 0o777 & ~UMASK))

    def connect(self, path: bytes) -> None:
        if self.filesystem.lookup(self.caller, path) not in self.bound:
            raise SyscallError(Errno.ECONNREFUSED)

    def tree(self) -> list[tuple[Any, ...]]:
        numbers: dict[Inode, int] = {}

        def visit(path: bytes, inode: Inode) -> Iterator[tuple[Any, ...]]:
            alias = numbers.setdefault(inode, len(numbers))
            content = inode.target if isinstance(inode, Symlink) else None
            yield path, alias, inode.mode, inode.uid, inode.gid, inode.nlink, content
            if isinstance(inode, Directory):
                assert inode.parent.entries or inode is self.filesystem.root
                for name in sorted(inode.entries):
                    yield from visit(path + b"/" + name, inode.entries[name])

        return list(visit(b"/", self.filesystem.root))


# The scripts: a small tree first, then calls on paths that mostly meet it.

NAMES = [b"a", b"b"]
component = st.sampled_from([*NAMES * 8, b".", b".."])
plain_path = st.builds(
    lambda lead, parts, gap, tail: lead + gap.join(parts) + tail,
    st.sampled_from([b"", b"", b"", b"/"]),
    st.lists(component, min_size=1, max_size=3),
    st.sampled_from([b"/", b"/", b"/", b"//"]),
    st.sampled_from([b"", b"", b"", b"", b"", b"/"]),
)
odd_path = st.sampled_from(
    [b"", b"/", b"//", b"a/" + b"n" * 255, b"n" * 256, b"a/" + b"n" * 256, b"./" * 2047 + b"a", b"./" * 2047 + b"aa"]
)
path = st.integers(0, 19).flatmap(lambda dice: plain_path if dice else odd_path)
socket_path = plain_path
mode = st.sampled_from(
    [0o777, 0o777, 0o755, 0o700, 0o600, 0o070, 0o007, 0o111, 0o000, 0o1777, 0o1777, 0o2777, 0o6755, 0o2766]
)
identity = st.sampled_from([-1, 0, 1000, 1001])
group = st.sampled_from([-1, 0, 1000, 1001, 3000])
who = st.sampled_from(["root", "alice", "alice", "bob", "bob"])
flags = st.builds(
    lambda access, *others: access | sum(others),
    st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]),
    st.sampled_from([0, os.O_TRUNC]),
    # fs.protected_regular, which is not modelled, forbids some plain O_CREAT of what exists.
    st.sampled_from([0, 0, os.O_CREAT | os.O_EXCL, 0 if host_setting("protected_regular") else os.O_CREAT]),
)


def entry(name: bytes) -> st.SearchStrategy[list[Step]]:
    """Nothing, or something of this name, which belongs to anyone."""
    node = st.one_of(
        st.tuples(st.just("mkdir"), st.just(name), mode),
        st.tuples(st.just("mkdir"), st.just(name), mode),
        st.tuples(st.just("mknod"), st.just(name), mode.map(lambda bits: stat.S_IFREG | bits)),
        st.tuples(st.just("bind"), st.just(name)),
        st.tuples(st.just("symlink"), plain_path, st.just(name)),
    )
    make = st.tuples(node, mode, identity, group).map(
        lambda drawn: [
            ("root", *drawn[0]),
            *([] if drawn[0][0] == "symlink" else [("root", "chmod", name, drawn[1])]),
            ("root", "chown", name, drawn[2], drawn[3], False),
        ]
    )
    return st.one_of(make, make, make, st.just([]))


populate = st.tuples(*map(entry, [b"a", b"b", b"a/a", b"a/b", b"b/a", b"b/b", b"a/a/a", b"a/b/a"])).map(
    lambda parts: [step for part in parts for step in part]
)
call = st.one_of(
    st.tuples(who, st.just("mkdir"), path, mode),
    st.tuples(who, st.just("mknod"), path, mode.map(lambda bits: stat.S_IFREG | bits)),
    st.tuples(who, st.just("mknod"), path, mode.map(lambda bits: stat.S_IFSOCK | bits)),
    st.tuples(who, st.just("symlink"), path, path),
    st.tuples(who, st.just("link"), path, path, st.booleans()),
    st.tuples(who, st.just("unlink"), path),
    st.tuples(who, st.just("rmdir"), path),
    st.tuples(who, st.just("rename"), path, path),
    st.tuples(who, st.just("rename"), path, path),
    st.tuples(who, st.just("chmod"), path, mode),
    st.tuples(who, st.just("chown"), path, identity, group, st.booleans()),
    st.tuples(who, st.just("stat"), path, st.booleans()),
    st.tuples(who, st.just("listdir"), path),
    st.tuples(who, st.just("readlink"), path),
    st.tuples(who, st.just("chdir"), path),
    st.tuples(who, st.just("open"), path, flags, mode, st.sampled_from([False, False, False, True]), st.booleans()),
    st.tuples(who, st.just("bind"), socket_path),
    st.tuples(who, st.just("connect"), socket_path),
)
steps = st.tuples(populate, st.lists(call, min_size=5, max_size=25)).map(lambda parts: parts[0] + parts[1])


def compare(base: str, script: list[Step]) -> None:
    expected, expected_tree = run_on_host(base, script)
    model = Model()
    for index, (step, result) in enumerate(zip(script, expected, strict=True)):
        assert model(*step) == result, f"step {index}: {step}"
    assert model.tree() == expected_tree


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    # tmpfs counts directory links as the model does; ext4 and xfs do too, btrfs and overlayfs do not.
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as directory:
        os.chmod(directory, 0o755)
        yield directory


@needs_root
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=steps)
@example(script=[("alice", "symlink", b"gone", b"a"), ("alice", "bind", b"a"), ("bob", "connect", b"a")])
@example(script=[("root", "symlink", b"a", b"a"), ("bob", "connect", b"a"), ("bob", "stat", b"a/b", True)])
@example(script=[("alice", "bind", b"a"), ("bob", "connect", b"a"), ("alice", "connect", b"a/b")])
@example(
    script=[
        ("alice", "mkdir", b"a", 0o777),
        ("root", "chdir", b"a"),
        ("root", "rmdir", b"/a"),
        ("root", "mkdir", b"b", 0o777),
    ]
)
@example(
    script=[
        ("root", "mknod", b"a", 0o100777),
        ("root", "chmod", b"a", 0o2766),
        ("alice", "open", b"a", os.O_WRONLY | os.O_TRUNC, 0, False, False),
    ]
)
def test_random_scripts_agree_with_the_host(base: str, script: list[Step]) -> None:
    """Every result, every errno and the final tree are those of the host."""
    compare(base, script)


def chain(length: int) -> list[Step]:
    links: list[Step] = [("root", "symlink", b"l%d" % (number - 1), b"l%d" % number) for number in range(1, length + 1)]
    return [("root", "mkdir", b"l0", 0o755), *links]


@needs_root
@pytest.mark.parametrize("length", [39, 40, 41])
def test_limit_of_links(base: str, length: int) -> None:
    """The 41st link of one walk is ELOOP, at the end of the path as in its middle."""
    last = b"l%d" % length
    compare(
        base,
        [
            *chain(length),
            ("root", "stat", last, True),
            ("root", "stat", last + b"/x", True),
            ("root", "stat", last, False),
        ],
    )
