"""Who may do what with an inode, one capability at a time. (Whole scripts against the host: test_filesystem_host.)"""

from __future__ import annotations

import pytest

from afunix.abi.constants import S_IFDIR, S_IFLNK, S_IFREG, S_IFSOCK
from afunix.abi.errno import SyscallError
from afunix.core.credentials import CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, Credentials
from afunix.core.inode import (
    CAP_CHOWN,
    CAP_FOWNER,
    CAP_FSETID,
    MAY_EXEC,
    MAY_READ,
    MAY_WRITE,
    Directory,
    Inode,
    RegularFile,
    SocketInode,
    Symlink,
    change_mode,
    change_owner,
    empty,
    initial_owner,
    may_delete,
    permission,
    permitted,
    safe_hardlink_source,
)

OWNER = Credentials(1, euid=10, egid=20)
MEMBER = Credentials(2, euid=11, egid=99, groups=(5, 20))
OTHER = Credentials(3, euid=12, egid=21)


def with_capability(*capabilities: int) -> Credentials:
    return Credentials(4, euid=12, egid=21, capabilities=sum(1 << number for number in capabilities))


def regular(mode: int) -> RegularFile:
    return RegularFile(1, mode, 10, 20)


def directory(mode: int) -> Directory:
    return Directory(1, mode, 10, 20, None)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o700, (7, 0, 0)), (0o070, (0, 7, 0)), (0o007, (0, 0, 7)), (0o421, (4, 2, 1)), (0o077, (0, 7, 7))],
)
def test_one_class_of_bits_counts(mode: int, expected: tuple[int, int, int]) -> None:
    """The owner's bits, else the group's, else the others': never the better of two."""
    for credentials, bits in zip((OWNER, MEMBER, OTHER), expected, strict=True):
        for inode in (regular(mode), directory(mode)):
            for mask in range(1, 8):
                assert permitted(credentials, inode, mask) == (not mask & ~bits), (credentials, mask)


def test_capability_numbers() -> None:
    """As in linux/capability.h."""
    numbers = (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID)
    assert numbers == (0, 1, 2, 3, 4)


def test_only_effective_ids_count() -> None:
    """The real ids give no access."""
    assert not permitted(Credentials(1, uid=10, gid=20, euid=12, egid=21), regular(0o770), MAY_READ)


def test_dac_override() -> None:
    """Everything, except to execute what nobody may."""
    override = with_capability(CAP_DAC_OVERRIDE)
    assert permitted(override, regular(0), MAY_READ | MAY_WRITE)
    assert not permitted(override, regular(0o666), MAY_EXEC)
    assert not permitted(override, regular(0o666), MAY_READ | MAY_EXEC)
    assert permitted(override, regular(0o010), MAY_EXEC)
    assert permitted(override, directory(0), MAY_READ | MAY_WRITE | MAY_EXEC)


def test_dac_read_search() -> None:
    """Reading files, reading and searching directories, and nothing that writes."""
    search = with_capability(CAP_DAC_READ_SEARCH)
    assert permitted(search, regular(0), MAY_READ)
    assert not permitted(search, regular(0o010), MAY_EXEC)
    assert not permitted(search, regular(0o400), MAY_READ | MAY_WRITE)
    assert permitted(search, directory(0), MAY_READ | MAY_EXEC)
    assert not permitted(search, directory(0), MAY_WRITE)


def test_permission_raises() -> None:
    """What is not permitted is EACCES."""
    permission(OWNER, regular(0o600), MAY_WRITE)
    with pytest.raises(SyscallError, match="EACCES"):
        permission(OTHER, regular(0o600), MAY_WRITE)


def test_kinds_and_sizes() -> None:
    """The type stands in the mode; st_size is that of the data or the target."""
    file = regular(0o640)
    file.data += b"abc"
    inodes: list[Inode] = [file, directory(0o755), Symlink(1, b"target", 10, 20), SocketInode(1, 0o777, 10, 20)]
    assert [inode.mode for inode in inodes] == [S_IFREG | 0o640, S_IFDIR | 0o755, S_IFLNK | 0o777, S_IFSOCK | 0o777]
    assert [inode.size for inode in inodes] == [3, 0, 6, 0]
    assert len({*inodes, file}) == 4


def test_within() -> None:
    """A directory is within itself and all above it."""
    top = directory(0o755)
    middle = Directory(2, 0o755, 0, 0, top)
    bottom = Directory(3, 0o755, 0, 0, middle)
    assert bottom.within(top)
    assert bottom.within(middle)
    assert bottom.within(bottom)
    assert not top.within(bottom)
    assert not middle.within(Directory(4, 0o755, 0, 0, top))


def test_chmod_needs_the_owner() -> None:
    """EPERM for others, whatever the bits say; CAP_FOWNER stands in for the owner."""
    file = regular(0o777)
    for credentials in (MEMBER, OTHER, with_capability(CAP_DAC_OVERRIDE, CAP_FSETID)):
        with pytest.raises(SyscallError, match="EPERM"):
            change_mode(credentials, file, 0)
    change_mode(with_capability(CAP_FOWNER), file, 0o1600)
    assert file.mode == S_IFREG | 0o1600
    change_mode(OWNER, file, 0o177777)
    assert file.mode == S_IFREG | 0o7777


def test_chmod_outside_the_group_drops_setgid() -> None:
    """Without a word, unless CAP_FSETID."""
    stranger = Credentials(1, euid=10, egid=21)
    for inode in (regular(0), directory(0)):
        change_mode(stranger, inode, 0o2755)
        assert inode.mode & 0o7777 == 0o755
        change_mode(Credentials(1, euid=10, egid=21, capabilities=1 << CAP_FSETID), inode, 0o2755)
        assert inode.mode & 0o7777 == 0o2755


def test_chown() -> None:
    """The owner may choose among the own groups; anything else needs CAP_CHOWN. -1 changes nothing."""
    file = regular(0o644)
    owner = Credentials(1, euid=10, egid=20, groups=(30,))
    change_owner(owner, file, 10, 30)
    change_owner(owner, file, -1, 30)
    change_owner(OTHER, file, -1, -1)
    for credentials, uid, gid in ((owner, 11, -1), (owner, -1, 31), (MEMBER, 10, -1), (OTHER, -1, 21)):
        with pytest.raises(SyscallError, match="EPERM"):
            change_owner(credentials, file, uid, gid)
    assert (file.uid, file.gid) == (10, 30)
    change_owner(with_capability(CAP_CHOWN), file, 7, 8)
    assert (file.uid, file.gid) == (7, 8)


def test_chown_takes_setuid_and_setgid() -> None:
    """Also from root; a directory keeps them, and a setgid bit without group execution stays for a member."""
    root = with_capability(CAP_CHOWN, CAP_FOWNER, CAP_FSETID)
    for before, after in ((0o6755, 0o755), (0o2745, 0o2745), (0o4644, 0o644)):
        file = regular(before)
        change_owner(root, file, 1, 1)
        assert file.mode & 0o7777 == after
    tree = directory(0o6755)
    change_owner(root, tree, 1, 1)
    assert tree.mode & 0o7777 == 0o6755


def test_empty() -> None:
    """O_TRUNC takes the bits of others' programs away, except with CAP_FSETID."""
    for credentials, after in ((OTHER, 0o755), (with_capability(CAP_FSETID), 0o6755)):
        file = regular(0o6755)
        file.data += b"x"
        empty(credentials, file)
        assert not file.data
        assert file.mode & 0o7777 == after


def test_initial_owner() -> None:
    """New inodes belong to the effective ids; a setgid directory hands its group on, and the bit to directories."""
    plain, setgid = directory(0o755), directory(0o2755)
    assert initial_owner(OTHER, plain, S_IFREG | 0o2755) == (0o2755, 12, 21)
    assert initial_owner(OTHER, setgid, S_IFREG | 0o2755) == (0o755, 12, 20)
    assert initial_owner(OTHER, setgid, S_IFREG | 0o2745) == (0o2745, 12, 20)
    assert initial_owner(MEMBER, setgid, S_IFREG | 0o2755) == (0o2755, 11, 20)
    assert initial_owner(OTHER, setgid, S_IFDIR | 0o700) == (0o2700, 12, 20)


def test_sticky_directory() -> None:
    """Only the owner of the entry or of the directory, or CAP_FOWNER, takes an entry out."""
    sticky = directory(0o1777)
    theirs = RegularFile(2, 0o777, 11, 0)
    may_delete(MEMBER, sticky, theirs, directory=False)
    may_delete(OWNER, sticky, theirs, directory=False)
    may_delete(with_capability(CAP_FOWNER), sticky, theirs, directory=False)
    with pytest.raises(SyscallError, match="EPERM"):
        may_delete(OTHER, sticky, theirs, directory=False)
    may_delete(OTHER, directory(0o777), theirs, directory=False)
    with pytest.raises(SyscallError, match="EACCES"):
        may_delete(OTHER, directory(0o755), theirs, directory=False)


def test_safe_hardlink_source() -> None:
    """A plain file that one may read and write, with no bit that makes it run as another."""
    assert safe_hardlink_source(OTHER, regular(0o666))
    for mode in (0o664, 0o4666, 0o2676):
        assert not safe_hardlink_source(OTHER, regular(mode))
    assert safe_hardlink_source(OTHER, regular(0o2666))
    assert not safe_hardlink_source(OTHER, SocketInode(1, 0o777, 10, 20))
