"""The path walk by name: its limits, its order of errors, where it starts and what it doesn't leave."""

from __future__ import annotations

from itertools import product

import pytest

from afunix.abi.errno import SyscallError
from afunix.core.credentials import CAP_DAC_READ_SEARCH, Credentials
from afunix.core.inode import Directory, Inode, RegularFile, Symlink
from afunix.core.pathwalk import MAX_SYMLINKS, PathWalk, straight


class Caller:
    def __init__(self, root: Directory, uid: int = 10, capabilities: int = 0) -> None:
        self.credentials = Credentials(1, euid=uid, egid=uid, capabilities=capabilities)
        self.root = root
        self.cwd = root


def tree() -> tuple[Directory, Directory, RegularFile]:
    """/d/f, all open to all."""
    root = Directory(1, 0o755, 0, 0, None)
    inner = Directory(2, 0o755, 0, 0, root)
    file = RegularFile(3, 0o644, 0, 0)
    root.enter(b"d", inner)
    inner.enter(b"f", file)
    return root, inner, file


def link(parent: Directory, name: bytes, target: bytes, uid: int = 0) -> None:
    parent.enter(name, Symlink(9, target, uid, uid))


def end(root: Directory, path: bytes, follow: bool = True) -> Inode:
    return PathWalk(Caller(root)).to_end(path, follow=follow)


def test_ways_to_say_the_same() -> None:
    """Slashes may be doubled, '.' and '..' mean themselves, and '..' stays at the root."""
    root, inner, file = tree()
    for path in (b"d/f", b"/d/f", b"//d//f", b"./d/./f", b"d/../d/f", b"/../../d/f"):
        assert end(root, path) is file
    for path in (b"/", b"//", b".", b"..", b"d/..", b"./"):
        assert end(root, path) is root
    for path in (b"d", b"d/", b"d//", b"d/."):
        assert end(root, path) is inner


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"", "ENOENT"),
        (b"x", "ENOENT"),
        (b"x/f", "ENOENT"),
        (b"d/f/", "ENOTDIR"),
        (b"d/f/x", "ENOTDIR"),
        (b"d/f/.", "ENOTDIR"),
        (b"d/f/..", "ENOTDIR"),
        (b"n" * 256, "ENAMETOOLONG"),
        (b"d/f/" + b"n" * 256, "ENOTDIR"),
        (b"x/" + b"n" * 256, "ENOENT"),
        (b"n" * 255, "ENOENT"),
        (b"./" * 2048, "ENAMETOOLONG"),
    ],
)
def test_errors(path: bytes, error: str) -> None:
    """What comes first on the way is what is reported."""
    with pytest.raises(SyscallError, match=error):
        end(tree()[0], path)


def test_longest_path() -> None:
    """4095 bytes are walked, 4096 are ENAMETOOLONG before anything else."""
    root, _, file = tree()
    assert end(root, b"./" * 2046 + b"d/f") is file
    with pytest.raises(SyscallError, match="ENAMETOOLONG"):
        end(root, b"/./" + b"./" * 2045 + b"d/f")
    with pytest.raises(ValueError, match="null"):
        end(root, b"d\0f")


def test_links() -> None:
    """Relative targets start where the link is, absolute ones at the root; the last is followed if asked to."""
    root, inner, file = tree()
    link(inner, b"relative", b"f")
    link(inner, b"absolute", b"//d//f")
    link(inner, b"up", b"../")
    link(inner, b"far", b"/d")
    link(root, b"root", b"/")
    for path in (b"d/relative", b"d/absolute", b"d/up/d/f", b"d/far/f", b"root/d/f", b"root/d/up/root/d/relative"):
        assert end(root, path) is file
    assert end(root, b"d/up", follow=False) is inner.entries[b"up"]
    assert end(root, b"d/up/", follow=False) is root
    with pytest.raises(SyscallError, match="ENOTDIR"):
        end(root, b"d/relative/", follow=False)


def test_slashes_in_a_target_demand_a_directory() -> None:
    """A link to 'f/' is not a way to f."""
    root, inner, _ = tree()
    link(inner, b"l", b"f/")
    with pytest.raises(SyscallError, match="ENOTDIR"):
        end(root, b"d/l")


def test_forty_links_in_all() -> None:
    """The limit is on the whole walk, links in the middle and at the end together."""
    root, inner, file = tree()
    link(root, b"here", b".")
    link(inner, b"l", b"f")
    assert end(root, b"here/" * (MAX_SYMLINKS - 1) + b"d/l") is file
    with pytest.raises(SyscallError, match="ELOOP"):
        end(root, b"here/" * MAX_SYMLINKS + b"d/l")
    link(root, b"self", b"self")
    for path in (b"self", b"self/x"):
        with pytest.raises(SyscallError, match="ELOOP"):
            end(root, path)
    assert end(root, b"self", follow=False) is root.entries[b"self"]


def test_search_permission() -> None:
    """Every directory on the way is searched, '.' and '..' included, but not the last one."""
    root, inner, file = tree()
    inner.mode &= ~0o111
    assert end(root, b"d") is inner
    for path in (b"d/f", b"d/x", b"d/.", b"d/..", b"d/../d"):
        with pytest.raises(SyscallError, match="EACCES"):
            end(root, path)
    assert PathWalk(Caller(root, capabilities=1 << CAP_DAC_READ_SEARCH)).to_end(b"d/f") is file


def test_working_directory_and_root() -> None:
    """Relative paths start at cwd; absolute paths, absolute links and '..' know nothing above the caller's root."""
    root, inner, file = tree()
    caller = Caller(root)
    caller.cwd = inner
    assert PathWalk(caller).to_end(b"f") is file
    assert PathWalk(caller).to_end(b"..") is root
    caller.root = inner
    link(inner, b"l", b"/f")
    for path in (b"/f", b"/l", b"../f", b"/../../f"):
        assert PathWalk(caller).to_end(path) is file
    caller.cwd = root
    assert PathWalk(caller).to_end(b"d/f") is file


def test_to_parent_leaves_the_last_component() -> None:
    """The name, whether slashes follow it, and whether it could be made or removed at all."""
    root, inner, _ = tree()
    for path, directory, name, slashes, special in (
        (b"d/new", inner, b"new", False, False),
        (b"d/new//", inner, b"new", True, False),
        (b"new", root, b"new", False, False),
        (b"d/..", inner, b"..", False, True),
        (b"d/.", inner, b".", False, True),
        (b"//", root, b"", False, True),
    ):
        walk = PathWalk(Caller(root))
        walk.to_parent(path)
        assert (walk.directory, walk.name, walk.slashes, walk.special) == (directory, name, slashes, special)


def test_protected_symlinks() -> None:
    """In a sticky directory that all can write, only its owner follows a link, or if the directory is its maker's."""
    root, inner, _ = tree()
    inner.mode |= 0o1777
    link(inner, b"mine", b"f", uid=10)
    link(inner, b"root's", b"f", uid=0)
    link(inner, b"alien", b"f", uid=11)
    link(inner, b"way", b".", uid=11)

    def walk(name: bytes) -> Inode:
        return PathWalk(Caller(root), protected_symlinks=True).to_end(name)

    assert walk(b"d/mine") is walk(b"d/root's") is inner.entries[b"f"]
    assert walk(b"d/way/f") is inner.entries[b"f"], "only a link at the end is protected"
    with pytest.raises(SyscallError, match="EACCES"):
        walk(b"d/alien")
    assert end(root, b"d/alien") is inner.entries[b"f"]
    for bit in (0o002, 0o1000):
        inner.mode &= ~bit
        assert walk(b"d/alien") is inner.entries[b"f"]
        inner.mode |= bit


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o666, 0o070, 0o001])
def test_the_straight_way_is_the_same_way(mode: int) -> None:
    """Wherever `straight` arrives, the whole walk does; it says so of every plain path that may be walked."""
    root, inner, _ = tree()
    inner.change(inner.mode & ~0o777 | mode, inner.uid, inner.gid)
    link(root, b"l", b"d")
    link(inner, b"l", b"f")
    arrived = set()
    for uid, capabilities in ((0, 0), (10, 0), (10, 1 << CAP_DAC_READ_SEARCH)):
        caller = Caller(root, uid, capabilities)
        for parts in product([b"", b"/", b"d", b"/d", b"f", b"/f", b"l", b"/l", b".", b"/..", b"x"], repeat=3):
            path = b"".join(parts)
            found = straight(caller, path)
            if found is not None:
                assert found is PathWalk(caller).to_end(path)
                arrived.add((path, uid, capabilities))
    searchable = {
        (uid, capabilities)
        for uid, capabilities, bit in ((0, 0, 0o100), (10, 0, 0o001), (10, 1 << CAP_DAC_READ_SEARCH, 0o777))
        if mode & bit
    }
    assert {who[1:] for who in arrived if who[0] == b"/d/f"} == searchable
    assert {who[0] for who in arrived} <= {b"/d", b"/d/f"}
    assert straight(Caller(root), b"/d" * 2048) is None
