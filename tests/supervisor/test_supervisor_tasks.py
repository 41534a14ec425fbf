"""Records of supervised threads: their descriptors and identity, and that no record outlives what it describes."""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Callable, Iterator

import pytest
from supervised import TRAPPED, Session, open_descriptors, wait_until

from afunix.abi.constants import PIDFD_THREAD
from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor import hostcalls
from afunix.supervisor.hostcalls import Gone, Inaccessible
from afunix.supervisor.tasks import UNLIMITED, TaskTable

Compile = Callable[[str], str]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def table() -> Iterator[TaskTable]:
    before = open_descriptors()
    table = TaskTable()
    yield table
    table.close()
    assert open_descriptors() == before, "descriptors leak"


def socket_inode(fd: int, pid: int) -> int:
    return os.stat(f"/proc/{pid}/fd/{fd}").st_ino


# -- descriptors


DESCRIPTORS = """
int main(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) abort();
    int file = open("/dev/null", O_RDONLY), ends[2];
    if (pipe(ends)) abort();
    int numbers[5] = { pair[0], pair[1], file, ends[0], dup(pair[0]) };
    tell(numbers, sizeof numbers);
    close(pair[0]);
    tell_number(pair[0]);                              /* closed */
    if (open("/dev/null", O_RDONLY) != pair[0]) abort();
    tell_number(pair[0]);                              /* a file */
    close(pair[0]);
    if (socket(AF_INET, SOCK_STREAM, 0) != pair[0]) abort();
    tell_number(pair[0]);                              /* another socket */
    dup2(pair[1], pair[0]);
    tell_number(pair[0]);                              /* a third */
}
"""


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_inode_tells_what_is_behind_a_number_now(compile_c: Compile, table: TaskTable, looks: int) -> None:
    """The first look-ups go another way than later ones; none may remember anything."""
    with Session(compile_c(DESCRIPTORS)) as session:

        def look(fd: int) -> int:
            answers = {table.get(session.launched.pid).inode(fd) for _ in range(looks)}
            assert len(answers) == 1
            return answers.pop()

        call = session.next()
        numbers = [int.from_bytes(call.data[4 * i : 4 * i + 4], "little") for i in range(5)]
        first, second = numbers[:2]
        pid = session.launched.pid
        inodes = [look(fd) for fd in numbers]
        assert inodes == [socket_inode(first, pid), socket_inode(second, pid), -1, -1, socket_inode(first, pid)]
        assert [look(fd) for fd in (0, 999, 0x7FFF_FFFF, 0xFFFF_FFFF)] == [-1] * 4


def test_inode_follows_close_and_reuse(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(DESCRIPTORS)) as session:
        call = session.next()
        first = int.from_bytes(call.data[:4], "little")
        task = table.get(call.tid)
        was = [task.inode(first) for _ in range(4)]
        session.listener.answer(call.id, 0)
        seen = []
        for _ in range(4):
            call = session.next()
            now = {task.inode(first) for _ in range(3)}
            assert len(now) == 1
            seen.append(now.pop())
            if len(seen) > 2:
                assert seen[-1] == socket_inode(first, call.tid)
            session.listener.answer(call.id, 0)
        assert seen[:2] == [-1, -1]
        assert len({*was, *seen}) == 4


def test_without_room_for_handles_inode_works_as_well(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(DESCRIPTORS)) as session:
        call = session.next()
        first = int.from_bytes(call.data[:4], "little")
        table.handles = 0
        task = table.get(call.tid)
        assert {task.inode(first) for _ in range(5)} == {socket_inode(first, call.tid)}
        table.handles = 1
        assert {task.inode(first) for _ in range(5)} == {socket_inode(first, call.tid)}
        assert table.handles == 0
        table.shrink()
        assert {task.inode(first) for _ in range(5)} == {socket_inode(first, call.tid)}


def test_take_is_a_copy_of_the_same_open_file(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(DESCRIPTORS)) as session:
        call = session.next()
        first, second = (int.from_bytes(call.data[4 * i : 4 * i + 4], "little") for i in range(2))
        task = table.get(call.tid)
        fd = task.take(first)
        assert os.fstat(fd).st_ino == task.inode(first)
        assert not os.get_inheritable(fd)
        other = task.take(second)
        os.write(fd, b"hello")
        assert os.read(other, 10) == b"hello"
        os.close(fd)
        os.close(other)
        with pytest.raises(SyscallError) as caught:
            task.take(999)
        assert caught.value.errno is Errno.EBADF


THREADS = """
static int pair[2];
static pthread_t first;
static void *work(void *argument) {
    if (argument) {
        unshare(CLONE_FILES);
        close(pair[0]);
        if (socket(AF_INET, SOCK_DGRAM, 0) != pair[0]) abort();
    }
    tell_number(pair[0]);
    return NULL;
}
static void *last(void *argument) {
    pthread_join(first, NULL);
    tell_number(pair[0]);
    return NULL;
}
int main(int argc, char **argv) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) abort();
    tell_number(pair[0]);
    pthread_t thread;
    pthread_create(&thread, NULL, work, argc > 1 ? "unshare" : NULL);
    pthread_join(thread, NULL);
    tell_number(pair[0]);
    first = pthread_self();
    pthread_create(&thread, NULL, last, NULL);
    pthread_exit(NULL);
}
"""


def test_threads_share_a_process(compile_c: Compile, table: TaskTable) -> None:
    """A record of a thread that has ended still finds a descriptor of its process, and so does the first thread's."""
    with Session(compile_c(THREADS)) as session:
        main = session.next()
        leader = table.get(main.tid)
        number = main.number
        inode = leader.inode(number)
        session.listener.answer(main.id, 0)
        call = session.next()
        assert call.tid != main.tid
        thread = table.get(call.tid)
        assert (thread.tid, thread.tgid) == (call.tid, main.tid)
        assert (leader.tid, leader.tgid) == (main.tid, main.tid)
        assert thread.inode(number) == inode
        assert thread.credentials().pid == main.tid
        assert len(table) == 2
        session.listener.answer(call.id, 0)

        call = session.next()
        wait_until(lambda: ready(table), "no event for the thread's end")
        table.expire()
        assert len(table) == 1
        assert table.get(main.tid) is leader
        check_copy(thread.take(number), inode)
        session.listener.answer(call.id, 0)

        call = session.next()
        assert table.get(call.tid).inode(number) == inode
        check_copy(leader.take(number), inode)
        check_copy(thread.take(number), inode)
        session.listener.answer(call.id, 0)
        session.finish()
        for task in (leader, thread):
            with pytest.raises(SyscallError) as caught:
                task.take(number)
            assert caught.value.errno is Errno.ESRCH


def check_copy(fd: int, inode: int) -> None:
    assert os.fstat(fd).st_ino == inode
    os.close(fd)


def ready(table: TaskTable) -> bool:
    return bool(select.select([table], [], [], 0)[0])


def test_a_thread_with_descriptors_of_its_own(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(THREADS), "unshare") as session:
        main = session.next()
        number = main.number
        inode = table.get(main.tid).inode(number)
        session.listener.answer(main.id, 0)
        call = session.next()
        thread = table.get(call.tid)
        assert thread.inode(number) not in (-1, inode)
        check_copy(thread.take(number), thread.inode(number))
        assert table.get(main.tid).inode(number) == inode


# -- identity and limits

IDENTITY = """
#include <grp.h>
int main(int argc, char **argv) {
    tell_text("before");
    umask(0123);
    struct rlimit limit = { 100, 200 };
    setrlimit(RLIMIT_NOFILE, &limit);
    if (!geteuid()) {
        gid_t groups[] = { 5, 7, 4000000000U };
        if (setgroups(3, groups) || setresgid(11, 12, 13) || setresuid(21, 22, 23)) abort();
        prctl(PR_SET_DUMPABLE, 1);
    }
    prctl(PR_SET_NAME, "a (b) c");
    tell_text("after");
    if (argc < 2) execl("/proc/self/exe", "other", "again", NULL);
}
"""


def test_credentials_are_remembered_until_they_are_forgotten(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(IDENTITY)) as session:
        call = session.next()
        task = table.get(call.tid)
        before = task.credentials()
        assert (before.pid, before.uid, before.euid, before.suid) == (call.tid, *os.getresuid())
        assert (before.gid, before.egid, before.sgid) == os.getresgid()
        assert sorted(before.groups) == sorted(os.getgroups())
        assert bool(before.capabilities) == (os.geteuid() == 0)
        session.listener.answer(call.id, 0)
        session.listener.answer(session.next().id, 0)
        call = session.next()  # "before" again, after execve
        assert task.credentials() is before
        table.forget_credentials(call.tid)
        after = task.credentials()
        if os.geteuid() == 0:
            assert (after.uid, after.euid, after.suid) == (21, 22, 22)  # execve saves the effective ids
            assert (after.gid, after.egid, after.sgid) == (11, 12, 12)
            assert after.groups == (5, 7, 4000000000)
            assert after.capabilities == 0
        else:
            assert after == before
        table.forget_credentials(999_999_999)


def test_umask_and_limits_are_always_current(compile_c: Compile, table: TaskTable) -> None:
    mask = os.umask(0o027)
    try:
        session = Session(compile_c(IDENTITY))
    finally:
        os.umask(mask)
    with session:
        call = session.next()
        task = table.get(call.tid)
        assert task.umask() == 0o027
        assert task.rlimit(resource.RLIMIT_NOFILE) != (100, 200)
        session.listener.answer(call.id, 0)
        session.next()
        assert task.umask() == 0o123
        assert task.rlimit(resource.RLIMIT_NOFILE) == (100, 200)
        assert task._published_rlimit(resource.RLIMIT_NOFILE) == (100, 200)


@pytest.mark.parametrize("which", range(16))
def test_both_ways_to_a_limit_agree(compile_c: Compile, table: TaskTable, which: int) -> None:
    """A process of another user shows its limits to a supervisor without CAP_SYS_RESOURCE in /proc only."""
    with Session(compile_c(IDENTITY)) as session:
        task = table.get(session.next().tid)
        limit = task.rlimit(which)
        assert limit == task._published_rlimit(which)
        soft = resource.getrlimit(which)[0]
        if which != resource.RLIMIT_NOFILE:  # the supervisor has raised its own
            assert limit[0] == (UNLIMITED if soft == -1 else soft)


def test_the_name_is_that_of_the_program(compile_c: Compile, table: TaskTable) -> None:
    path = compile_c(IDENTITY)
    with Session(path) as session:
        call = session.next()
        task = table.get(call.tid)
        assert task.name == os.path.basename(path)[:15]
        session.listener.answer(call.id, 0)
        call = session.next()
        table.forget_process(call.tid)
        assert task.name == "a (b) c"
        session.listener.answer(call.id, 0)
        session.next()
        table.forget_process(call.tid)
        assert task.name == "exe"
        assert task.credentials().pid == call.tid


def test_a_root_and_namespaces_of_ours(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(IDENTITY)) as session:
        task = table.get(session.next().tid)
        assert task.root_is_ours()
        assert task.net_namespace() == os.stat("/proc/self/ns/net").st_ino
        fd = task.open_directory("cwd")
        assert os.path.samestat(os.fstat(fd), os.stat("."))
        os.close(fd)


@needs_root
@pytest.mark.parametrize("how", ["chroot", "namespace"])
def test_a_root_and_namespaces_of_their_own(compile_c: Compile, table: TaskTable, how: str) -> None:
    source = """
    int main(int argc, char **argv) {
        tell_text("before");
        if (argv[1][0] == 'c') { if (chroot("/dev")) abort(); }
        else if (unshare(CLONE_NEWNS | CLONE_NEWNET)) abort();
        tell_text("after");
    }
    """
    with Session(compile_c(source), how) as session:
        call = session.next()
        task = table.get(call.tid)
        net = task.net_namespace()
        session.listener.answer(call.id, 0)
        session.next()
        assert not task.root_is_ours()
        assert task.net_namespace() == net
        table.forget_credentials(call.tid)
        assert (task.net_namespace() == net) == (how == "chroot")
        root = task.open_directory("root")
        assert os.path.samestat(os.fstat(root), os.stat("/dev" if how == "chroot" else "/"))
        os.close(root)


# -- records and numbers


def test_a_thread_that_is_not_there(table: TaskTable) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(Gone):
        table.get(child)
    assert len(table) == 0


def test_dead_processes_leave_the_table(compile_c: Compile, table: TaskTable) -> None:
    source = """
    int main(void) {
        for (int i = 0; i < 20; i++)
            if (!fork()) { tell_number(i); _exit(0); }
        while (wait(NULL) > 0) { }
        tell_number(-1);
    }
    """
    with Session(compile_c(source)) as session:
        before = open_descriptors()
        for _ in range(20):
            call = session.next()
            assert table.get(call.tid).inode(0) == -1
            session.listener.answer(call.id, 0)
        call = session.next()
        assert len(table) == 20
        table.expire()
        assert len(table) == 0
        assert open_descriptors() == before


REUSE = """
struct args { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, count; };
static pid_t fork_as(pid_t number) {
    struct args args = { .exit_signal = SIGCHLD, .set_tid = (uint64_t)&number, .count = 1 };
    return syscall(SYS_clone3, &args, sizeof args);
}
static void *nothing(void *argument) { tell_text("thread"); return NULL; }
int main(int argc, char **argv) {
    pid_t number;
    if (argc > 1) {
        pthread_t thread;
        pthread_create(&thread, NULL, nothing, NULL);
        tell_number(1);
        ask(&number, sizeof number);
        pthread_join(thread, NULL);
    } else {
        number = fork();
        if (!number) {
            if (socket(AF_INET, SOCK_STREAM, 0) != 3) abort();
            tell_text("first");
            _exit(0);
        }
        waitpid(number, NULL, 0);
    }
    tell_text("gone");
    pid_t again;
    while ((again = fork_as(number)) < 0 && errno == EEXIST) sched_yield();   /* a thread ends after its join */
    if (!again) {
        if (socket(AF_INET, SOCK_STREAM, 0) != 3) abort();
        if (setresuid(77, 77, 77)) abort();
        prctl(PR_SET_DUMPABLE, 1);
        prctl(PR_SET_NAME, "second");
        tell_text("second");
        _exit(0);
    }
    if (again != number) abort();
    waitpid(again, NULL, 0);
}
"""


@needs_root
@pytest.mark.parametrize("told", [True, False], ids=["by its event", "by a look"])
def test_a_number_that_is_used_again_is_somebody_else(compile_c: Compile, table: TaskTable, told: bool) -> None:
    with Session(compile_c(REUSE)) as session:
        call = session.next()
        assert call.text == "first"
        first = table.get(call.tid)
        inode = first.inode(3)
        assert [first.inode(3), first.inode(3)] == [inode, inode]
        assert first.credentials().uid == 0
        assert first.name != "second"
        session.listener.answer(call.id, 0)
        assert session.text() == "gone"
        again = session.next()
        assert again.text == "second"
        assert again.tid == call.tid
        if told:
            assert ready(table)
            table.expire()
        second = table.get(again.tid)
        assert (second is first) == (not told)
        assert second.inode(3) == socket_inode(3, again.tid) != inode
        assert second.credentials().uid == 77
        assert second.name == "second"
        check_copy(second.take(3), second.inode(3))
        if told:
            # The old record does not lead to the new process by its own hold on it.
            assert not first.watched


@needs_root
@pytest.mark.parametrize("old_kernel", [False, True])
def test_a_thread_number_that_becomes_a_process(
    compile_c: Compile, table: TaskTable, old_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if old_kernel:
        without_thread_pidfds(monkeypatch)
    with Session(compile_c(REUSE), "thread") as session:
        calls = sorted((session.next(), session.next()), key=lambda call: call.tid != session.launched.pid)
        main, thread = calls
        task = table.get(thread.tid)
        assert task.tgid == main.tid
        assert task.watched == (not old_kernel)
        session.listener.answer(main.id, 0)
        asked = session.next()
        assert asked.name == "read"
        asked.memory.write(asked.args[1], thread.tid.to_bytes(4, "little"))
        session.listener.answer(asked.id, 4)
        session.listener.answer(thread.id, 0)
        assert session.text() == "gone"
        call = session.next()
        assert (call.text, call.tid) == ("second", thread.tid)
        if not old_kernel:
            table.expire()
        task = table.get(call.tid)
        assert task.tgid == call.tid
        assert task.credentials().uid == 77


def without_thread_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before Linux 6.9: the flag is unknown, and only processes have pidfds."""
    real = hostcalls.pidfd_open

    def pidfd_open(pid: int, flags: int = 0) -> int:
        if flags & PIDFD_THREAD:
            raise SyscallError(Errno.EINVAL)
        return real(pid, flags)

    monkeypatch.setattr(hostcalls, "pidfd_open", pidfd_open)


def test_a_kernel_without_pidfds_of_threads(
    compile_c: Compile, table: TaskTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_thread_pidfds(monkeypatch)
    with Session(compile_c(THREADS)) as session:
        main = session.next()
        number = main.number
        leader = table.get(main.tid)
        inode = leader.inode(number)
        session.listener.answer(main.id, 0)
        call = session.next()
        thread = table.get(call.tid)
        assert thread.tgid == main.tid
        assert thread.inode(number) == inode
        check_copy(thread.take(number), inode)
        session.listener.answer(call.id, 0)
        call = session.next()
        assert not thread.watched
        with pytest.raises(Gone):
            table.get(thread.tid)
        check_copy(thread.take(number), inode)


def test_execve_by_another_thread_than_the_first(compile_c: Compile, table: TaskTable) -> None:
    """The thread takes over the first one's number; its own is free."""
    source = """
    static void *work(void *argument) {
        tell_text("thread");
        execl("/proc/self/exe", "program", "again", NULL);
        abort();
    }
    int main(int argc, char **argv) {
        int number = socket(AF_INET, SOCK_STREAM, 0);
        if (argc > 1) {
            prctl(PR_SET_NAME, "again");
            tell_number(number);
            return 5;
        }
        tell_number(number);
        pthread_t thread;
        pthread_create(&thread, NULL, work, NULL);
        pthread_join(thread, NULL);
    }
    """
    with Session(compile_c(source), traps=(*TRAPPED, "execve")) as session:
        main = session.next()
        number = main.number
        leader = table.get(main.tid)
        inode = leader.inode(number)
        assert leader.name != "again"
        session.listener.answer(main.id, 0)
        call = session.next()
        thread = table.get(call.tid)
        assert thread.inode(number) == inode
        session.listener.answer(call.id, 0)
        again = session.next()
        assert again.tid == main.tid
        wait_until(lambda: ready(table), "no event for the number that is free")
        table.expire()
        table.forget_process(main.tid)
        with pytest.raises(Gone):
            table.get(thread.tid)
        leader = table.get(main.tid)
        assert leader.name == "again"
        assert leader.inode(again.number) == socket_inode(again.number, main.tid)
        check_copy(leader.take(again.number), leader.inode(again.number))
        session.listener.answer(again.id, 0)
        assert session.finish() == 5


def test_out_of_descriptors_the_table_gives_up_its_handles(compile_c: Compile, table: TaskTable) -> None:
    source = """
    int main(void) {
        for (int i = 0; i < 2; i++)
            if (!fork()) { socket(AF_INET, SOCK_STREAM, 0); tell_number(i); _exit(0); }
        while (wait(NULL) > 0) { }
    }
    """
    with Session(compile_c(source)) as session:
        first, second = session.next(), session.next()
        task = table.get(first.tid)
        for fd in (0, 1, 2, 3) * 3:
            task.inode(fd)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        filler = []
        try:
            while True:
                try:
                    filler.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    break
                if len(filler) > 200:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (max(filler) + 1, hard))
            other = table.get(second.tid)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in filler:
                os.close(fd)
        assert other.inode(3) == socket_inode(3, second.tid)
        assert task.inode(3) == socket_inode(3, first.tid)


def test_a_thread_killed_in_its_call(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c(DESCRIPTORS)) as session:
        call = session.next()
        task = table.get(call.tid)
        first = int.from_bytes(call.data[:4], "little")
        task.inode(first)
        task.inode(first)
        os.kill(call.tid, signal.SIGKILL)
        session.finish()
        for method in (lambda: task.inode(first), task.umask, lambda: table.get(call.tid)):
            with pytest.raises(Gone):
                method()
        assert len(table) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may trace every process")
def test_a_process_that_lets_nobody_look_into_it(compile_c: Compile, table: TaskTable) -> None:
    with Session(compile_c("int main(void) { prctl(PR_SET_DUMPABLE, 0); tell_number(1); }")) as session:
        call = session.next()
        task = table.get(call.tid)
        with pytest.raises(Inaccessible, match=rf"process {call.tid} \({task.name}\).*CAP_SYS_PTRACE"):
            task.inode(0)
        with pytest.raises(SyscallError) as caught:
            task.take(0)
        assert caught.value.errno is Errno.EPERM
        with pytest.raises(Inaccessible):
            task.root_is_ours()
        assert task.credentials().uid == os.getuid()


def test_everything_is_close_on_exec(compile_c: Compile, table: TaskTable) -> None:
    before = open_descriptors()
    with Session(compile_c(DESCRIPTORS)) as session:
        call = session.next()
        task = table.get(call.tid)
        for _ in range(3):
            task.inode(0)
        assert task.pidfd >= 0
        for fd in open_descriptors() - before:
            try:
                assert not os.get_inheritable(int(fd)), fd
            except OSError:
                continue  # the one that listed them
