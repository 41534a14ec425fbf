"""The in-memory filesystem by name: sockets' names first, then each call. (Random scripts: test_filesystem_host.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from afunix.abi.constants import (
    O_CREAT,
    O_EXCL,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFREG,
    S_IFSOCK,
)
from afunix.abi.errno import SyscallError
from afunix.core.credentials import Credentials
from afunix.core.errors import Unmodelled
from afunix.core.filesystem import Filesystem, Namespace
from afunix.core.inode import Directory, Inode, RegularFile, SocketInode
from afunix.core.pathwalk import straight


class Caller:
    def __init__(self, filesystem: Filesystem, uid: int = 0) -> None:
        self.credentials = Credentials(1, euid=uid, egid=uid)
        self.root = filesystem.root
        self.cwd = filesystem.root


@pytest.fixture
def filesystem() -> Filesystem:
    return Filesystem(mode=0o777)


@pytest.fixture
def me(filesystem: Filesystem) -> Caller:
    return Caller(filesystem, 10)


@pytest.fixture
def other(filesystem: Filesystem) -> Caller:
    return Caller(filesystem, 11)


def refused(error: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    with pytest.raises(SyscallError, match=error):
        call(*arguments, **options)


def test_it_is_a_namespace(filesystem: Filesystem, me: Caller) -> None:
    """What create made, lookup finds, and the key is one inode's for all its names."""
    namespace: Namespace = filesystem
    key = namespace.create(me, b"a", 0o755)
    assert namespace.lookup(me, b"/./a") == key
    assert {key: "bound"}[namespace.lookup(me, b"a")] == "bound"


@pytest.mark.parametrize("path", [b"file", b"directory", b"socket", b"link", b"dangling", b".", b"/", b"directory/.."])
def test_name_6_any_entry_is_eaddrinuse(filesystem: Filesystem, me: Caller, other: Caller, path: bytes) -> None:
    """Whatever is there, and even where the caller could not have made an entry."""
    filesystem.mknod(me, b"file", S_IFREG | 0o644)
    filesystem.mkdir(me, b"directory", 0o755)
    filesystem.create(me, b"socket", 0o755)
    filesystem.symlink(me, b"file", b"link")
    filesystem.symlink(me, b"gone", b"dangling")
    refused("EADDRINUSE", filesystem.create, me, path, 0o755)
    filesystem.root.mode = S_IFDIR | 0o555
    refused("EADDRINUSE", filesystem.create, other, path, 0o755)
    refused("EACCES", filesystem.create, other, b"new", 0o755)


def test_errors_of_create(filesystem: Filesystem, me: Caller) -> None:
    """The walk's come first; slashes after a name that would be made are ENOENT."""
    filesystem.mknod(me, b"file", S_IFREG | 0o644)
    refused("ENOENT", filesystem.create, me, b"no/name", 0o755)
    refused("ENOTDIR", filesystem.create, me, b"file/name", 0o755)
    refused("ENOENT", filesystem.create, me, b"name/", 0o755)
    refused("ENAMETOOLONG", filesystem.create, me, b"n" * 256, 0o755)
    assert filesystem.listdir(me, b".") == [b"file"]


def test_name_7_taking_a_bind_back(filesystem: Filesystem, me: Caller) -> None:
    """remove takes out the entry that was made, and only while the path leads to it."""
    key = filesystem.create(me, b"a", 0o755)
    filesystem.remove(me, b"a", key)
    assert filesystem.listdir(me, b"/") == []
    assert key.nlink == 0
    filesystem.remove(me, b"a", key)
    filesystem.remove(me, b"no/where", key)
    filesystem.remove(me, b".", filesystem.root)
    other = filesystem.create(me, b"a", 0o755)
    filesystem.remove(me, b"a", key)
    assert filesystem.lookup(me, b"a") is other


def test_name_8_order_of_errors(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """Walk, then write permission, then whether it is a socket."""
    filesystem.mkdir(me, b"closed", 0o700)
    filesystem.create(me, b"closed/socket", 0o777)
    filesystem.mknod(me, b"file", S_IFREG | 0o644)
    filesystem.mknod(me, b"shared", S_IFREG | 0o666)
    filesystem.create(me, b"socket", 0o700)
    filesystem.symlink(me, b"loop", b"loop")
    for path, error in (
        (b"none", "ENOENT"),
        (b"file/x", "ENOTDIR"),
        (b"loop", "ELOOP"),
        (b"closed/socket", "EACCES"),
        (b"file", "EACCES"),
        (b"socket", "EACCES"),
        (b"shared", "ECONNREFUSED"),
        (b"/", "ECONNREFUSED"),
    ):
        refused(error, filesystem.lookup, other, path)
    refused("ECONNREFUSED", filesystem.lookup, me, b"file")
    filesystem.symlink(me, b"closed/socket", b"link")
    assert filesystem.lookup(me, b"link") is filesystem.stat(me, b"closed/socket")


def test_connecting_needs_only_write_permission(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """Reading is not asked for."""
    key = filesystem.create(me, b"socket", 0o722)
    assert filesystem.lookup(other, b"socket") is key


def test_name_10_the_inode_follows_rename_and_links(filesystem: Filesystem, me: Caller) -> None:
    """Whatever its names are called, the key is the same, and it goes with the last of them."""
    key = filesystem.create(me, b"a", 0o755)
    filesystem.link(me, b"a", b"b")
    filesystem.rename(me, b"a", b"c")
    assert filesystem.lookup(me, b"b") is filesystem.lookup(me, b"c") is key
    assert key.nlink == 2
    filesystem.unlink(me, b"b")
    filesystem.unlink(me, b"c")
    assert key.nlink == 0
    refused("ENOENT", filesystem.lookup, me, b"c")
    assert filesystem.create(me, b"c", 0o755) is not key


def test_name_9_open_of_a_socket(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """ENXIO, for who may open it at all."""
    filesystem.create(me, b"socket", 0o700)
    refused("ENXIO", filesystem.open, me, b"socket", O_RDWR)
    refused("EACCES", filesystem.open, other, b"socket", O_RDWR)


def test_open_of_files(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """O_CREAT makes, through a dangling link too; O_EXCL refuses; O_TRUNC empties, and never what was just made."""
    file = filesystem.open(me, b"f", O_CREAT | O_WRONLY, 0o600)
    assert isinstance(file, RegularFile)
    file.data += b"text"
    assert filesystem.open(me, b"f", O_CREAT | O_RDONLY, 0o777) is file
    assert (file.mode, bytes(file.data)) == (S_IFREG | 0o600, b"text")
    refused("EEXIST", filesystem.open, me, b"f", O_CREAT | O_EXCL | O_RDONLY, 0o600)
    refused("EACCES", filesystem.open, other, b"f", O_RDONLY)
    assert filesystem.open(me, b"f", O_RDONLY | O_TRUNC) is file
    assert not file.data
    filesystem.symlink(me, b"target", b"link")
    refused("EEXIST", filesystem.open, me, b"link", O_CREAT | O_EXCL | O_WRONLY, 0o600)
    refused("ELOOP", filesystem.open, me, b"link", O_CREAT | O_WRONLY, 0o600, nofollow=True)
    made = filesystem.open(me, b"link", O_CREAT | O_WRONLY, 0o000)
    assert filesystem.stat(me, b"target") is made, "the new file's own mode does not count"


def test_open_asks_for_every_access(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """Reading and writing both count, and a new file needs write permission in its directory."""
    filesystem.mknod(me, b"read", S_IFREG | 0o444)
    filesystem.mknod(me, b"write", S_IFREG | 0o222)
    for path, allowed in ((b"read", O_RDONLY), (b"write", O_WRONLY)):
        assert filesystem.open(other, path, allowed)
        for flags in {O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC} - {allowed}:
            refused("EACCES", filesystem.open, other, path, flags)
    filesystem.mkdir(me, b"d", 0o755)
    refused("EACCES", filesystem.open, other, b"d/new", O_CREAT | O_RDONLY, 0o666)
    assert filesystem.listdir(me, b"d") == []


def test_open_of_directories(filesystem: Filesystem, me: Caller) -> None:
    """Read only; and nothing that asks for a directory takes a file."""
    inner = filesystem.mkdir(me, b"d", 0o755)
    filesystem.mknod(me, b"f", S_IFREG | 0o644)
    assert filesystem.open(me, b"d/", O_RDONLY, directory=True) is inner
    refused("EISDIR", filesystem.open, me, b"d", O_WRONLY)
    refused("EISDIR", filesystem.open, me, b"d", O_RDONLY | O_CREAT)
    refused("EISDIR", filesystem.open, me, b"new/", O_RDONLY | O_CREAT)
    refused("ENOTDIR", filesystem.open, me, b"f", O_RDONLY, directory=True)
    refused("EINVAL", filesystem.open, me, b"f", O_RDONLY | O_CREAT, directory=True)


def test_mknod_kinds(filesystem: Filesystem, me: Caller) -> None:
    """Sockets and regular files; a directory is EPERM, no type at all EINVAL, and the rest is refused aloud."""
    assert isinstance(filesystem.mknod(me, b"s", S_IFSOCK | 0o600), SocketInode)
    assert isinstance(filesystem.mknod(me, b"f", 0o600), RegularFile)
    refused("EPERM", filesystem.mknod, me, b"x", S_IFDIR | 0o600)
    refused("EINVAL", filesystem.mknod, me, b"x", 0o130600)
    for kind in (S_IFIFO, S_IFCHR, S_IFBLK):
        with pytest.raises(Unmodelled):
            filesystem.mknod(me, b"x", kind | 0o600)
    assert filesystem.listdir(me, b"/") == [b"s", b"f"]


def test_link_counts_of_directories(filesystem: Filesystem, me: Caller) -> None:
    """2 and one for each subdirectory, over mkdir, rename, replacement and rmdir."""
    a, b = filesystem.mkdir(me, b"a", 0o755), filesystem.mkdir(me, b"b", 0o755)
    inner = filesystem.mkdir(me, b"a/inner", 0o755)
    assert (filesystem.root.nlink, a.nlink, b.nlink, inner.nlink) == (4, 3, 2, 2)
    filesystem.rename(me, b"a/inner", b"b/inner")
    assert (a.nlink, b.nlink, inner.parent) == (2, 3, b)
    filesystem.rename(me, b"b", b"a")
    assert (filesystem.root.nlink, a.nlink, b.nlink) == (3, 0, 3)
    filesystem.rmdir(me, b"a/inner")
    assert (b.nlink, inner.nlink) == (2, 0)


def test_rename_refusals(filesystem: Filesystem, me: Caller) -> None:
    """Each in its own words."""
    filesystem.mkdir(me, b"d", 0o755)
    filesystem.mkdir(me, b"d/e", 0o755)
    filesystem.mknod(me, b"f", S_IFREG | 0o644)
    for source, target, error in (
        (b"d", b"d/e/x", "EINVAL"),
        (b"d", b"d/x", "EINVAL"),
        (b"d/e", b"d", "ENOTEMPTY"),
        (b"f", b"d", "EISDIR"),
        (b"d", b"f", "ENOTDIR"),
        (b"f", b"g/", "ENOTDIR"),
        (b"f/", b"g", "ENOTDIR"),
        (b"x", b"g", "ENOENT"),
        (b"d/.", b"g", "EBUSY"),
        (b"f", b"..", "EBUSY"),
        (b"/", b"g", "EBUSY"),
        (b"f", b"n" * 256, "ENAMETOOLONG"),
    ):
        refused(error, filesystem.rename, me, source, target)
    filesystem.rename(me, b"d/", b"g/")
    assert sorted(filesystem.listdir(me, b"/")) == [b"f", b"g"]


def test_entries_need_write_permission_in_their_directory(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """To make, to link, to move there and away, to remove: EACCES, and nothing changed."""
    inner = filesystem.mkdir(me, b"d", 0o755)
    filesystem.mkdir(me, b"d/e", 0o777)
    filesystem.mknod(me, b"d/f", S_IFREG | 0o666)
    filesystem.mknod(other, b"g", S_IFREG | 0o666)
    refused("EACCES", filesystem.mkdir, other, b"d/new", 0o755)
    refused("EACCES", filesystem.mknod, other, b"d/new", S_IFREG | 0o644)
    refused("EACCES", filesystem.symlink, other, b"f", b"d/new")
    refused("EACCES", filesystem.link, other, b"g", b"d/new")
    refused("EACCES", filesystem.rename, other, b"g", b"d/new")
    refused("EACCES", filesystem.rename, other, b"g", b"d/f")
    refused("EACCES", filesystem.rename, other, b"d/f", b"h")
    refused("EACCES", filesystem.unlink, other, b"d/f")
    refused("EACCES", filesystem.rmdir, other, b"d/e")
    assert list(inner.entries) == [b"e", b"f"]
    assert sorted(filesystem.root.entries) == [b"d", b"g"]


def test_moving_a_directory_writes_to_it(filesystem: Filesystem, me: Caller) -> None:
    """Its '..' changes, so it needs write permission itself, but not to change its name only."""
    filesystem.mkdir(me, b"d", 0o555)
    filesystem.mkdir(me, b"other", 0o755)
    refused("EACCES", filesystem.rename, me, b"d", b"other/d")
    filesystem.rename(me, b"d", b"n" * 255)
    assert sorted(filesystem.listdir(me, b"/")) == [b"n" * 255, b"other"]


def test_inode_numbers(filesystem: Filesystem, me: Caller) -> None:
    """No two inodes share a number, and none is used again."""
    numbers = [filesystem.root.number]
    for round_ in range(3):
        made = [
            filesystem.mkdir(me, b"d", 0o755),
            filesystem.create(me, b"s", 0o755),
            filesystem.symlink(me, b"s", b"l"),
            filesystem.open(me, b"f", O_CREAT | O_WRONLY, 0o644),
        ]
        numbers += [inode.number for inode in made]
        filesystem.rmdir(me, b"d")
        for name in (b"s", b"l", b"f"):
            filesystem.unlink(me, name)
        assert len(set(numbers)) == 1 + 4 * (round_ + 1)


def test_a_removed_working_directory(filesystem: Filesystem, me: Caller) -> None:
    """'.' and '..' still lead somewhere, names do not, and nothing can be made."""
    me.cwd = filesystem.mkdir(me, b"d", 0o755)
    filesystem.rmdir(me, b"/d")
    assert filesystem.stat(me, b".") is me.cwd
    assert filesystem.stat(me, b"..") is filesystem.root
    refused("ENOENT", filesystem.stat, me, b"x")
    refused("ENOENT", filesystem.mkdir, me, b"x", 0o755)
    refused("ENOENT", filesystem.create, me, b"x", 0o755)


def test_directory_for_chdir_and_chroot(filesystem: Filesystem, me: Caller, other: Caller) -> None:
    """A directory that can be searched."""
    inner = filesystem.mkdir(me, b"d", 0o700)
    filesystem.mknod(me, b"f", S_IFREG | 0o644)
    assert filesystem.directory(me, b"d") is inner
    refused("EACCES", filesystem.directory, other, b"d")
    refused("ENOTDIR", filesystem.directory, me, b"f")
    me.root = inner
    refused("ENOENT", filesystem.stat, me, b"/f")


def test_symlink_targets(filesystem: Filesystem, me: Caller) -> None:
    """Any bytes up to 4095, but not none."""
    filesystem.symlink(me, b"t" * 4095, b"l")
    assert filesystem.readlink(me, b"l") == b"t" * 4095
    refused("ENOENT", filesystem.symlink, me, b"", b"m")
    refused("ENAMETOOLONG", filesystem.symlink, me, b"t" * 4096, b"m")
    refused("ENAMETOOLONG", filesystem.stat, me, b"l")


def test_protected_hardlinks() -> None:
    """With fs.protected_hardlinks only the owner links what is not a plain file that one can read and write."""
    filesystem = Filesystem(mode=0o777, protected_hardlinks=True)
    me, other = Caller(filesystem, 10), Caller(filesystem, 11)
    filesystem.create(me, b"socket", 0o777)
    filesystem.mknod(me, b"shared", S_IFREG | 0o666)
    refused("EPERM", filesystem.link, other, b"socket", b"x")
    filesystem.link(other, b"shared", b"x")
    filesystem.link(me, b"socket", b"y")
    filesystem.protected_hardlinks = False
    filesystem.link(other, b"socket", b"z")


@pytest.mark.parametrize(
    ("mode", "setting", "denied"),
    [
        (0o1777, 0, False),
        (0o1777, 1, True),
        (0o1777, 2, True),
        (0o1775, 1, False),
        (0o1775, 2, True),
        (0o1755, 2, False),
        (0o777, 2, False),
    ],
)
def test_protected_regular(mode: int, setting: int, denied: bool) -> None:
    """fs.protected_regular: whether O_CREAT opens a stranger's file in a sticky directory."""
    filesystem = Filesystem(mode=0o777, protected_regular=setting)
    root, me, other = Caller(filesystem, 0), Caller(filesystem, 10), Caller(filesystem, 11)
    filesystem.mknod(me, b"file", S_IFREG | 0o666)
    filesystem.mknod(root, b"roots", S_IFREG | 0o666)
    filesystem.chmod(root, b".", mode)
    assert filesystem.open(me, b"file", O_CREAT) is filesystem.stat(me, b"file")
    assert filesystem.open(other, b"roots", O_CREAT) is filesystem.stat(other, b"roots")
    if denied:
        refused("EACCES", filesystem.open, other, b"file", O_CREAT)
    assert filesystem.open(other, b"file", 0 if denied else O_CREAT) is filesystem.stat(me, b"file")


def test_protected_symlinks() -> None:
    """With fs.protected_symlinks a stranger's link in a sticky directory is not followed to a socket."""
    filesystem = Filesystem(mode=0o1777, protected_symlinks=True)
    me, other = Caller(filesystem, 10), Caller(filesystem, 11)
    key = filesystem.create(me, b"socket", 0o777)
    filesystem.symlink(me, b"socket", b"link")
    assert filesystem.lookup(me, b"link") is key
    refused("EACCES", filesystem.lookup, other, b"link")


def test_root_of_the_tree() -> None:
    """The constructor's mode and owner are the root's."""
    root = Filesystem(mode=0o1770, uid=5, gid=6).root
    assert isinstance(root, Directory)
    assert (root.mode, root.uid, root.gid, root.number, root.parent) == (S_IFDIR | 0o1770, 5, 6, 1, root)


def swapped(tree: Filesystem, me: Caller) -> None:
    tree.mkdir(me, b"/d/g", 0o700)
    tree.rename(me, b"/d/other", b"/d/g/s")
    tree.rename(me, b"/d/e", b"/d/f")
    tree.rename(me, b"/d/g", b"/d/e")


CHANGES: dict[str, tuple[Callable[[Filesystem, Caller], object], str | None]] = {
    "unlink": (lambda tree, me: tree.unlink(me, b"/d/e/s"), "ENOENT"),
    "rename": (lambda tree, me: tree.rename(me, b"/d/e/s", b"/d/s"), "ENOENT"),
    "another takes its place": (lambda tree, me: tree.rename(me, b"/d/other", b"/d/e/s"), None),
    "a directory is renamed": (lambda tree, me: tree.rename(me, b"/d/e", b"/d/f"), "ENOENT"),
    "another directory comes": (swapped, None),
    "a link comes": (lambda tree, me: (tree.unlink(me, b"/d/e/s"), tree.symlink(me, b"../other", b"/d/e/s")), None),
    "chmod": (lambda tree, me: tree.chmod(me, b"/d/e/s", 0o500), "EACCES"),
    "chmod of a directory": (lambda tree, me: tree.chmod(me, b"/d", 0o600), "EACCES"),
    "chown": (lambda tree, me: tree.stat(me, b"/d/e/s").change(0o700, 12, 12), "EACCES"),
    "other credentials": (lambda tree, me: setattr(me, "credentials", Credentials(1, euid=11, egid=11)), "EACCES"),
    "chroot": (lambda tree, me: setattr(me, "root", tree.directory(me, b"/d/e")), "ENOENT"),
    "nothing": (lambda tree, me: None, None),
    "a failed change": (lambda tree, me: refused("EEXIST", tree.mkdir, me, b"/d/e/s", 0), None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_looked_up_is_looked_up_again_after_each_change(filesystem: Filesystem, me: Caller, name: str) -> None:
    """A look-up remembers where a path led; whatever could lead it elsewhere, or refuse it, is seen at once."""
    change, error = CHANGES[name]
    filesystem.mkdir(me, b"/d", 0o700)
    filesystem.mkdir(me, b"/d/e", 0o700)
    filesystem.create(me, b"/d/e/s", 0o700)
    filesystem.create(me, b"/d/other", 0o700)
    first = filesystem.lookup(me, b"/d/e/s")
    assert filesystem.lookup(me, b"/d/e/s") is first
    other = filesystem.lookup(me, b"/d/other")
    change(filesystem, me)
    if error is not None:
        refused(error, filesystem.lookup, me, b"/d/e/s")
    elif name in {"nothing", "a failed change"}:
        assert filesystem.lookup(me, b"/d/e/s") is first
    else:
        assert filesystem.lookup(me, b"/d/e/s") is other


def test_what_changes_during_a_look_up_is_not_remembered(
    filesystem: Filesystem, me: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may change the tree at any moment: here when the walk has just come to its end."""
    key = filesystem.create(me, b"/s", 0o700)

    def straight_then_gone(caller: Caller, path: bytes) -> Inode | None:
        found = straight(caller, path)
        filesystem.unlink(me, path)
        return found

    with monkeypatch.context() as patch:
        patch.setattr("afunix.core.filesystem.straight", straight_then_gone)
        assert filesystem.lookup(me, b"/s") is key
    refused("ENOENT", filesystem.lookup, me, b"/s")


def test_what_was_looked_up_is_forgotten_when_there_is_much_of_it(filesystem: Filesystem, me: Caller) -> None:
    """Memory does not grow with the number of paths."""
    for number in range(3000):
        path = b"/%d" % number
        key = filesystem.create(me, path, 0o700)
        assert filesystem.lookup(me, path) is key
    assert len(filesystem._found) <= 1024
