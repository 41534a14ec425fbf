"""The descriptor table: numbers against the host, references against a plain count, and the rules by name."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pickle
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from afunix.abi.constants import CLOSE_RANGE_CLOEXEC, CLOSE_RANGE_UNSHARE, O_CLOEXEC
from afunix.abi.errno import Errno, SyscallError
from afunix.core.descriptors import DescriptorTable
from afunix.core.file import File

LIMIT = 10
REPORT = 60
"""The descriptor by which the host's child reports, above every limit that the scripts set."""
LIBC = ctypes.CDLL(None, use_errno=True)


class Plain(File):
    """A file that knows how often it was closed."""

    __slots__ = ("closes",)

    def __init__(self) -> None:
        super().__init__()
        self.closes = 0

    def close(self) -> None:
        self.closes += 1


def outcome(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return call(*arguments)
    except SyscallError as error:
        return error.errno.name
    except OSError as error:
        return Errno(error.errno or 0).name


def libc(name: str, *arguments: int) -> int:
    result: int = getattr(LIBC, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


class Host:
    """The calls on the descriptor table of this process."""

    def open(self, cloexec: bool) -> int:
        fd = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(fd, not cloexec)
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def dup(self, fd: int) -> int:
        return libc("dup", fd)

    def dup2(self, fd: int, new: int) -> int:
        return libc("dup2", fd, new)

    def dup3(self, fd: int, new: int, flags: int) -> int:
        return libc("dup3", fd, new, flags)

    def dup_from(self, fd: int, lowest: int, cloexec: bool) -> int:
        return libc("fcntl", fd, fcntl.F_DUPFD_CLOEXEC if cloexec else fcntl.F_DUPFD, lowest)

    def close_range(self, first: int, last: int, flags: int) -> None:
        libc("close_range", first, last, flags)

    def get_cloexec(self, fd: int) -> bool:
        return bool(libc("fcntl", fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)

    def set_cloexec(self, fd: int, on: bool) -> None:
        libc("fcntl", fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC if on else 0)

    def set_limit(self, limit: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, REPORT))


class Ours:
    """The same on a table of the core."""

    def __init__(self) -> None:
        self.table = DescriptorTable(LIMIT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def open(self, cloexec: bool) -> int:
        return self.table.install(Plain(), cloexec=cloexec)

    def dup_from(self, fd: int, lowest: int, cloexec: bool) -> int:
        return self.table.dup_from(fd, lowest, cloexec=cloexec)

    def set_limit(self, limit: int) -> None:
        self.table.limit = limit

    def get_cloexec(self, fd: int) -> bool:
        return self.table.get_cloexec(fd)


Step = tuple[str, tuple[Any, ...]]


def run(side: Host | Ours, script: list[Step]) -> list[Any]:
    results = []
    for name, arguments in script:
        result = outcome(getattr(side, name), arguments)
        results.append((name, arguments, result, [outcome(side.get_cloexec, (fd,)) for fd in range(15)]))
    return results


def run_on_host(script: list[Step]) -> Any:
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writable, REPORT)
        os.closerange(0, REPORT)
        host = Host()
        host.set_limit(LIMIT)
        os.write(REPORT, pickle.dumps(run(host, script)))
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as stream:
        data = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(data)


number = st.one_of(st.integers(0, 3), st.integers(0, 3), st.integers(-1, 13))
step = st.one_of(
    st.tuples(st.just("open"), st.tuples(st.booleans())),
    st.tuples(st.just("open"), st.tuples(st.booleans())),
    st.tuples(st.just("open"), st.tuples(st.booleans())),
    st.tuples(st.just("close"), st.tuples(number)),
    st.tuples(st.just("dup"), st.tuples(number)),
    st.tuples(st.just("dup2"), st.tuples(number, number)),
    st.tuples(st.just("dup3"), st.tuples(number, number, st.sampled_from([0, 0, O_CLOEXEC, O_CLOEXEC, 1]))),
    st.tuples(st.just("dup_from"), st.tuples(number, number, st.booleans())),
    st.tuples(
        st.just("close_range"),
        st.tuples(st.integers(0, 15), st.integers(0, 20), st.sampled_from([0, 0, CLOSE_RANGE_CLOEXEC, 1])),
    ),
    st.tuples(st.just("set_cloexec"), st.tuples(number, st.booleans())),
    st.tuples(st.just("set_limit"), st.tuples(st.integers(1, 14))),
)


@settings(max_examples=150, deadline=None)
@given(script=st.lists(step, min_size=5, max_size=50))
def test_random_scripts_agree_with_the_host(script: list[Step]) -> None:
    """Numbers, errors, what is open and its flag are the host's after every step, with limits that come and go."""
    assert run(Ours(), script) == run_on_host(script)


# References: several tables that fork from each other, and files that are held elsewhere too.


some_fd = st.one_of(st.integers(0, 3), st.integers(0, 3), st.integers(-1, LIMIT))


class References(RuleBasedStateMachine):
    """However tables are used, a file's references are its entries and its other holders; it closes once, at zero."""

    tables: Bundle[DescriptorTable] = Bundle("tables")
    files: Bundle[Plain] = Bundle("files")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Plain] = []
        self.all_tables: list[DescriptorTable] = []
        self.held: Counter[Plain] = Counter()

    @initialize(target=tables, count=st.integers(0, 4))
    def first_table(self, count: int) -> DescriptorTable:
        table = self.track(DescriptorTable(LIMIT))
        for _ in range(count):
            self.known.append(Plain())
            table.install(self.known[-1])
        return table

    def track(self, table: DescriptorTable) -> DescriptorTable:
        self.all_tables.append(table)
        return table

    @rule(target=files)
    def new_file(self) -> Plain:
        """A file that a message holds, say, before any descriptor does."""
        file = Plain()
        file.acquire()
        self.held[file] += 1
        self.known.append(file)
        return file

    @rule(file=files)
    def let_go(self, file: Plain) -> None:
        if self.held[file]:
            self.held[file] -= 1
            file.release()

    @rule(file=files, table=tables, cloexec=st.booleans(), lowest=st.integers(0, LIMIT + 1))
    def install(self, file: Plain, table: DescriptorTable, cloexec: bool, lowest: int) -> None:
        if file.closes:
            return
        free = [fd for fd in range(lowest, table.limit) if fd not in table]
        result = outcome(lambda: table.install(file, cloexec=cloexec, lowest=lowest), ())
        assert result == (free[0] if free else "EMFILE")

    @rule(table=tables, fd=some_fd)
    def close(self, table: DescriptorTable, fd: int) -> None:
        outcome(table.close, (fd,))

    @rule(table=tables, fd=some_fd)
    def dup(self, table: DescriptorTable, fd: int) -> None:
        outcome(table.dup, (fd,))

    @rule(table=tables, fd=some_fd, new=some_fd, flags=st.sampled_from([0, O_CLOEXEC, 1]))
    def dup3(self, table: DescriptorTable, fd: int, new: int, flags: int) -> None:
        outcome(table.dup3, (fd, new, flags))

    @rule(table=tables, fd=some_fd, new=some_fd)
    def dup2(self, table: DescriptorTable, fd: int, new: int) -> None:
        outcome(table.dup2, (fd, new))

    @rule(table=tables, fd=some_fd, lowest=st.integers(-1, LIMIT), cloexec=st.booleans())
    def dup_from(self, table: DescriptorTable, fd: int, lowest: int, cloexec: bool) -> None:
        outcome(lambda: table.dup_from(fd, lowest, cloexec=cloexec), ())

    @rule(table=tables, ends=st.tuples(some_fd, some_fd), flags=st.sampled_from([0, 2, 4]))
    def close_range(self, table: DescriptorTable, ends: tuple[int, int], flags: int) -> None:
        outcome(table.close_range, (*ends, flags))

    @rule(table=tables, limit=st.integers(0, LIMIT + 2))
    def set_limit(self, table: DescriptorTable, limit: int) -> None:
        table.limit = limit

    @rule(target=tables, table=tables)
    def fork(self, table: DescriptorTable) -> DescriptorTable:
        child = table.fork()
        assert child.files == table.files
        assert child.cloexec == table.cloexec
        return self.track(child)

    @rule(table=tables)
    def exec(self, table: DescriptorTable) -> None:
        kept = [fd for fd in table if fd not in table.cloexec]
        table.exec()
        assert list(table) == kept
        assert not table.cloexec

    @rule(table=tables)
    def exit(self, table: DescriptorTable) -> None:
        table.clear()
        assert not table.files

    @invariant()
    def references_are_counted(self) -> None:
        entries: Counter[File] = Counter(file for table in self.all_tables for file in table.files.values())
        for file in self.known:
            assert file.references == entries[file] + self.held[file]
            assert file.closes == (not file.references)
        for table in self.all_tables:
            assert table.cloexec <= set(table.files)

    def teardown(self) -> None:
        for table in self.all_tables:
            table.clear()
        for file in self.known:
            while self.held[file]:
                self.let_go(file)
        assert all(file.closes == 1 for file in self.known)


References.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestReferences = References.TestCase


# By name.


def test_lowest_free_number() -> None:
    """New numbers fill the gaps first."""
    table = DescriptorTable()
    assert [table.install(Plain()) for _ in range(4)] == [0, 1, 2, 3]
    table.close(2)
    table.close(1)
    assert [table.install(Plain()) for _ in range(3)] == [1, 2, 4]
    assert table.dup_from(0, 10) == 10
    assert table.install(Plain()) == 5
    assert len(table) == 7
    assert list(table) == [0, 1, 2, 3, 4, 5, 10]


def test_emfile_acquires_nothing() -> None:
    """At the limit the file is left as it was."""
    table = DescriptorTable(1)
    table.install(Plain())
    file = Plain()
    with pytest.raises(SyscallError, match="EMFILE"):
        table.install(file)
    assert file.references == 0
    assert file.closes == 0


def test_a_lower_limit_closes_nothing() -> None:
    """What is above a new limit stays open and can be closed; new numbers stay below it."""
    table = DescriptorTable(8)
    for _ in range(8):
        table.install(Plain())
    table.limit = 2
    assert table.get(7)
    with pytest.raises(SyscallError, match="EMFILE"):
        table.dup(7)
    table.close(1)
    assert table.dup(7) == 1


def test_the_file_is_out_of_the_table_when_it_closes() -> None:
    """A close that looks at the table, or uses it, finds its number free."""
    table = DescriptorTable()

    class Curious(Plain):
        __slots__ = ("seen",)

        def close(self) -> None:
            self.seen = (list(table), table.install(Plain()))

    curious = Curious()
    table.install(Plain())
    table.install(curious)
    table.install(Plain(), cloexec=True)
    table.close(1)
    assert curious.seen == ([0, 2], 1)


def test_dup2_onto_itself_keeps_the_flag() -> None:
    """dup2 of a number onto itself changes nothing, not even close-on-exec; onto another the copy has no flag."""
    table = DescriptorTable()
    fd = table.install(Plain(), cloexec=True)
    assert table.dup2(fd, fd) == fd
    assert table.get_cloexec(fd)
    assert not table.get_cloexec(table.dup2(fd, 5))


def test_dup2_closes_what_it_replaces() -> None:
    """The old file loses its reference, and the number its old flag."""
    table = DescriptorTable()
    old, new = Plain(), Plain()
    table.install(old, cloexec=True)
    fd = table.install(new)
    assert table.dup2(fd, 0) == 0
    assert (old.references, old.closes, new.references) == (0, 1, 2)
    assert not table.get_cloexec(0)
    assert table.dup3(fd, 0, O_CLOEXEC) == 0
    assert (new.references, table.get_cloexec(0)) == (2, True)


def test_close_range_of_everything() -> None:
    """The widest range closes all, and CLOSE_RANGE_UNSHARE is accepted."""
    table = DescriptorTable()
    files = [Plain() for _ in range(3)]
    for file in files:
        table.install(file)
    table.close_range(1, 0xFFFFFFFF, CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)
    assert [table.get_cloexec(fd) for fd in table] == [False, True, True]
    table.close_range(0, 0xFFFFFFFF, CLOSE_RANGE_UNSHARE)
    assert not len(table)
    assert [file.closes for file in files] == [1, 1, 1]
