"""Processes: identities against the host, life and death, pids, limits, kill."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from afunix.abi.constants import SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.core.caller import BoundInode, Caller
from afunix.core.credentials import CAP_SETGID, CAP_SETUID, CAP_SYS_RESOURCE
from afunix.core.errors import Unmodelled
from afunix.core.file import File
from afunix.core.filesystem import Filesystem
from afunix.core.process import ALL_CAPABILITIES, RLIMIT_NOFILE, SIGKILL, BoundPath, Process, ProcessTable


class Plain(File):
    """A file that knows how often it was closed."""

    __slots__ = ("closes",)

    def __init__(self) -> None:
        super().__init__()
        self.closes = 0

    def close(self) -> None:
        self.closes += 1


class World:
    def __init__(self, **options: Any) -> None:
        self.filesystem = Filesystem(mode=0o777)
        self.table = ProcessTable(self.filesystem, lambda: 12.5, **options)

    def spawn(self, **options: Any) -> Process:
        return self.table.spawn(cwd=self.filesystem.root, root=self.filesystem.root, **options)


def outcome(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return call(*arguments)
    except SyscallError as error:
        return error.errno.name
    except OSError as error:
        return Errno(error.errno or 0).name


# Identities, against the host: one child process for each script.

Step = tuple[str, tuple[Any, ...]]
State = tuple[Any, ...]


def host_capabilities(name: str) -> int:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1], 16)


def host_state() -> State:
    capabilities = (host_capabilities("CapEff"), host_capabilities("CapPrm"))
    return os.getresuid(), os.getresgid(), tuple(os.getgroups()), *capabilities


def our_state(process: Process) -> State:
    mine = process.credentials
    ids = (mine.uid, mine.euid, mine.suid), (mine.gid, mine.egid, mine.sgid)
    return *ids, mine.groups, mine.capabilities, process.permitted


def run_on_host(script: list[Step]) -> tuple[State, list[tuple[Any, State]]]:
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        start = host_state()
        results = [(outcome(getattr(os, name), arguments), host_state()) for name, arguments in script]
        with open(writable, "wb") as output:
            pickle.dump((start, results), output)
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as stream:
        data = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return pickle.loads(data)  # type: ignore[no-any-return]


some_id = st.sampled_from([-1, -1, 0, 0, 1000, 1001])
real_id = st.sampled_from([0, 1000, 1001])
step = st.one_of(
    st.tuples(st.sampled_from(["setuid", "setgid"]), st.tuples(real_id)),
    st.tuples(st.sampled_from(["setreuid", "setreuid", "setregid"]), st.tuples(some_id, some_id)),
    st.tuples(st.sampled_from(["setresuid", "setresuid", "setresgid"]), st.tuples(some_id, some_id, some_id)),
    st.tuples(st.just("setgroups"), st.tuples(st.lists(real_id, max_size=3).map(tuple))),
)


@settings(max_examples=250, deadline=None)
@given(script=st.lists(step, min_size=1, max_size=8))
@example(script=[("setresgid", (0, 1000, 1001)), ("setregid", (-1, -1)), ("setregid", (0, -1)), ("setgid", (5,))])
@example(script=[("setresuid", (0, 1000, 1001)), ("setreuid", (-1, -1)), ("setreuid", (0, -1)), ("setuid", (0,))])
@example(script=[("setresuid", (1000, 1001, 0)), ("setreuid", (-1, 1000)), ("setreuid", (-1, 0)), ("setuid", (7,))])
def test_identities_agree_with_the_host(script: list[Step]) -> None:
    """Errors, all three ids of both kinds, groups and capability sets are the host's after every call."""
    start, expected = run_on_host(script)
    uids, gids, groups, capabilities, permitted = start
    if len(set(uids)) > 1 or len(set(gids)) > 1:
        pytest.fail("the tests run under an identity of mixed ids")
    process = World().spawn(uid=uids[0], gid=gids[0], groups=groups, capabilities=capabilities)
    process.permitted = permitted
    for (name, arguments), (result, state) in zip(script, expected, strict=True):
        before = process.credentials
        assert outcome(getattr(process, name), arguments) == result, (name, arguments)
        assert our_state(process) == state, (name, arguments)
        if isinstance(result, str):
            assert process.credentials is before


def test_minus_one_is_no_id() -> None:
    """setuid(-1), setgid(-1) and a group -1 are EINVAL."""
    process = World().spawn()
    assert outcome(process.setuid, (-1,)) == "EINVAL"
    assert outcome(process.setgid, (-1,)) == "EINVAL"
    assert outcome(process.setgroups, ((-1,),)) == "EINVAL"
    assert outcome(process.setgroups, ((1,) * 65537,)) == "EINVAL"


def test_capabilities_decide_not_root() -> None:
    """uid 0 without CAP_SETUID may not become another user; another user with it may."""
    world = World()
    with pytest.raises(SyscallError, match="EPERM"):
        world.spawn(capabilities=1 << CAP_SETGID).setuid(5)
    process = world.spawn(uid=7, capabilities=1 << CAP_SETUID)
    process.setuid(5)
    assert (process.credentials.uid, process.credentials.euid, process.credentials.suid) == (5, 5, 5)


# Life.


def test_fork_copies_and_counts() -> None:
    """A child has everything of its parent, shares only open files, and counts them."""
    world = World()
    parent = world.spawn(uid=3, gid=4, groups=(9, 5), umask=0o077, nofile=99, net="net1")
    file = Plain()
    fd = parent.descriptors.install(file, cloexec=True)
    child = parent.fork()
    assert child.pid != parent.pid
    assert (child.credentials.uid, child.credentials.gid, child.credentials.groups) == (3, 4, (5, 9))
    assert (child.umask, child.nofile, child.net, child.cwd, child.root) == (
        0o077, 99, "net1", parent.cwd, parent.root,
    )  # fmt: skip
    assert file.references == 2
    assert child.descriptors.get_cloexec(fd)
    child.set_umask(0)
    child.setrlimit(RLIMIT_NOFILE, 5, 10)
    assert (parent.umask, parent.nofile, parent.limits[RLIMIT_NOFILE]) == (0o077, 99, (99, 4096))
    parent.exit()
    assert (file.references, file.closes) == (1, 0)
    child.exec()
    assert (file.references, file.closes) == (0, 1)


def test_exec_saves_ids_and_sets_capabilities() -> None:
    """Real or effective root has the bounding set afterwards, others nothing; only effective root uses it."""
    world = World()
    process = world.spawn()
    process.setresuid(0, 1000, 1001)
    process.exec()
    mine = process.credentials
    assert (mine.uid, mine.euid, mine.suid) == (0, 1000, 1000)
    assert (mine.capabilities, process.permitted) == (0, ALL_CAPABILITIES)
    user = world.spawn(uid=1000, capabilities=1 << CAP_SETUID)
    user.exec()
    assert (user.credentials.capabilities, user.permitted) == (0, 0)
    root = world.spawn(capabilities=0)
    root.bounding = 5
    root.exec()
    assert (root.credentials.capabilities, root.permitted) == (5, 5)


def test_exit_closes_once() -> None:
    """Descriptors close with the process, and a second exit does nothing."""
    world = World()
    process = world.spawn()
    files = [Plain(), Plain()]
    for file in files:
        process.descriptors.install(file)
    process.descriptors.dup(0)
    process.exit()
    process.exit()
    assert [file.closes for file in files] == [1, 1]
    assert not process.alive
    assert len(world.table) == 0


def test_the_number_is_free_before_the_files_close() -> None:
    """What a closing file triggers finds the process gone."""
    world = World()
    process = world.spawn()
    found: list[Any] = []

    class Curious(Plain):
        __slots__ = ()

        def close(self) -> None:
            found.append(outcome(world.table.get, (process.pid,)))

    process.descriptors.install(Curious())
    process.exit()
    assert found == ["ESRCH"]


# Numbers.


def test_pids_go_round() -> None:
    """Numbers are given in order, used again only after the last was given, and then from 300 on."""
    world = World(pid_max=303)
    first = [world.spawn() for _ in range(302)]
    assert [process.pid for process in first] == list(range(1, 303))
    with pytest.raises(SyscallError, match="EAGAIN"):
        world.spawn()
    first[4].exit()
    with pytest.raises(SyscallError, match="EAGAIN"):
        first[0].fork()
    first[300].exit()
    first[301].exit()
    assert [first[0].fork().pid, world.spawn().pid] == [301, 302]
    assert len(world.table) == 301
    assert {process.pid for process in world.table} == set(range(1, 303)) - {5}


def test_a_pid_is_not_used_again_at_once() -> None:
    """The number of a process that just exited is not the next one given."""
    world = World()
    process = world.spawn()
    process.exit()
    assert world.spawn().pid == process.pid + 1


# Limits, umask, kill.


def test_setrlimit() -> None:
    """The hard limit goes up only with CAP_SYS_RESOURCE and never above fs.nr_open; the table obeys the soft one."""
    world = World()
    user = world.spawn(uid=1)
    user.setrlimit(RLIMIT_NOFILE, 1, 10)
    user.descriptors.install(Plain())
    with pytest.raises(SyscallError, match="EMFILE"):
        user.descriptors.install(Plain())
    assert user.nofile == 1
    for soft, hard, error in ((5, 4, "EINVAL"), (5, 11, "EPERM")):
        with pytest.raises(SyscallError, match=error):
            user.setrlimit(RLIMIT_NOFILE, soft, hard)
    assert user.limits[RLIMIT_NOFILE] == (1, 10)
    powerful = world.spawn(uid=1, capabilities=1 << CAP_SYS_RESOURCE)
    powerful.setrlimit(RLIMIT_NOFILE, 5, 1 << 20)
    with pytest.raises(SyscallError, match="EPERM"):
        powerful.setrlimit(RLIMIT_NOFILE, 5, (1 << 20) + 1)
    with pytest.raises(SyscallError, match="EINVAL"):
        powerful.setrlimit(16, 1, 1)
    with pytest.raises(Unmodelled):
        powerful.setrlimit(0, 1, 1)


def test_defaults() -> None:
    """A process starts with the ids that it is given for all three, umask 022 and 1024 descriptors of 4096."""
    process = World().spawn()
    mine = process.credentials
    assert (mine.uid, mine.euid, mine.suid, mine.gid, mine.egid, mine.sgid) == (0,) * 6
    assert (process.umask, process.nofile, process.limits) == (0o022, 1024, {7: (1024, 4096)})
    assert ALL_CAPABILITIES == 0x1FFFFFFFFFF


def test_umask() -> None:
    """The old mask is returned, and only permission bits are kept."""
    process = World().spawn(umask=0o027)
    assert process.set_umask(0o7077) == 0o027
    assert process.umask == 0o077


def test_kill() -> None:
    """SIGKILL ends, 0 only checks; the target's real or saved id must be one of the sender's, or CAP_KILL."""
    world = World()
    root, alice, bob = world.spawn(), world.spawn(uid=1000), world.spawn(uid=1001)
    kill = world.table.kill
    for number in (0, SIGKILL):
        with pytest.raises(SyscallError, match="EPERM"):
            kill(alice, bob.pid, number)
    kill(alice, alice.pid, 0)
    kill(root, alice.pid, 0)
    with pytest.raises(SyscallError, match="EINVAL"):
        kill(root, alice.pid, 65)
    with pytest.raises(Unmodelled):
        kill(root, alice.pid, 15)
    with pytest.raises(Unmodelled):
        kill(root, -1, SIGKILL)
    saved = world.spawn()
    saved.setresuid(1001, 1001, 1000)
    kill(alice, saved.pid, 0)
    kill(bob, saved.pid, SIGKILL)
    assert not saved.alive
    kill(world.spawn(uid=5, capabilities=1 << 5), alice.pid, 0)
    with pytest.raises(SyscallError, match="ESRCH"):
        kill(root, saved.pid, SIGKILL)
    kill(alice, alice.pid, SIGKILL)
    assert not alice.alive


# As the sockets' caller.


def test_a_process_is_a_caller() -> None:
    """Paths go to the namespace with this process's identity, place and umask; the clock is the table's."""
    world = World()
    process = world.spawn(umask=0o027, nofile=77, net=("net", 1))
    caller: Caller = process
    assert (caller.nofile, caller.net, caller.realtime()) == (77, ("net", 1), 12.5)
    assert caller.find_pid(process.pid) == process.pid
    assert not caller.find_pid(process.pid + 1)
    bound: BoundInode = caller.create(b"name", 0o777, SOCK_STREAM)
    assert isinstance(bound, BoundPath)
    assert world.filesystem.stat(process, b"name").mode == 0o140750
    assert caller.lookup(b"/name") == bound.key
    with pytest.raises(SyscallError, match="EACCES"):
        world.spawn(uid=5).lookup(b"name")
    bound.close()
    assert caller.lookup(b"name") == bound.key


def test_undoing_a_bind_removes_its_own_inode_only() -> None:
    """The name is taken back from where it was made, and left alone once it leads to another inode."""
    world = World()
    process = world.spawn()
    process.cwd = world.filesystem.mkdir(process, b"d", 0o755)
    bound = process.create(b"name", 0o777, SOCK_STREAM)
    process.cwd = world.filesystem.root
    bound.remove()
    assert world.filesystem.listdir(process, b"d") == []
    bound = process.create(b"name", 0o777, SOCK_STREAM)
    world.filesystem.unlink(process, b"name")
    other = process.create(b"name", 0o777, SOCK_STREAM)
    bound.remove()
    assert process.lookup(b"name") == other.key


class Remembering(Filesystem):
    """A tree that says what it was told to forget."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: list[object] = []

    def forget(self, key: object) -> None:
        self.forgotten.append(key)


def test_a_bound_path_is_forgotten_with_its_last_holder() -> None:
    """The connections of a listener share its inode, and may outlive or be outlived by it."""
    tree = Remembering()
    process = ProcessTable(tree, lambda: 0.0).spawn(cwd=tree.root, root=tree.root)
    bound = process.create(b"/s", 0o777, SOCK_STREAM)
    accepted, waiting = bound.share(), bound.share()
    accepted.close()
    bound.close()
    assert tree.forgotten == []
    waiting.close()
    assert tree.forgotten == [bound.key]
