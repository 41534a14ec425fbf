"""The listener on real trapped threads: answers, interruptions, deaths, descriptors put into programs."""

from __future__ import annotations

import os
import platform
import select
import signal
from collections.abc import Callable

import pytest
from supervised import Session, wait_until

from afunix.abi.errno import ERESTARTSYS, Errno, SyscallError
from afunix.supervisor import listener
from afunix.supervisor.listener import Gone, Listener
from afunix.supervisor.signals import nudged
from afunix.supervisor.tasks import TaskTable

Compile = Callable[[str], str]

ANSWERS = """
int main(void) {
    long value = ask(NULL, 0);
    int error = errno;
    tell_number(value);
    tell_number(value < 0 ? error : 0);
}
"""


@pytest.mark.parametrize("value", [0, 1, 2**31, 2**62])
def test_answer_is_the_value_in_all_64_bits(compile_c: Compile, value: int) -> None:
    with Session(compile_c(ANSWERS)) as session:
        call = session.next()
        assert call.name == "read"
        assert call.tid == session.launched.pid
        assert session.listener.valid(call.id)
        assert session.listener.answer(call.id, value)
        assert session.number() == value
        assert session.number() == 0


@pytest.mark.parametrize("errno", [Errno.EPERM, Errno.EAGAIN, Errno.EHWPOISON])
def test_fail_is_an_errno(compile_c: Compile, errno: Errno) -> None:
    with Session(compile_c(ANSWERS)) as session:
        assert session.listener.fail(session.next().id, errno)
        assert session.number() == -1
        assert session.number() == errno


def test_proceed_runs_the_call_on_the_host(compile_c: Compile) -> None:
    with Session(compile_c(ANSWERS)) as session:
        assert session.listener.proceed(session.next().id)
        assert session.number() == -1
        assert session.number() == Errno.EBADF


def test_all_arguments_come_as_they_are(compile_c: Compile) -> None:
    source = "int main(void) { syscall(SYS_read, 1000, 2UL << 62, -1L, 0xfffffffffL, 5, 6); }"
    with Session(compile_c(source)) as session:
        call = session.next()
        assert call.args == [1000, 2 << 62, 2**64 - 1, 0xFFFFFFFFF, 5, 6]
        session.listener.fail(call.id, Errno.EFAULT)
        assert session.finish() == 0


INTERRUPTED = """
static void on_signal(int number) { }
int main(int argc, char **argv) {
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = argc > 1 ? SA_RESTART : 0 };
    sigaction(SIGUSR1, &action, NULL);
    long value = ask((void *)4096, 77);
    tell_number(value < 0 ? -errno : value);
}
"""


def hit(session: Session) -> None:
    """Send the program a signal that it catches, and see that it waits for it."""
    os.kill(session.launched.pid, signal.SIGUSR1)
    table = TaskTable()
    task = table.get(session.launched.pid)
    wait_until(lambda: any(task.waiting_signals()[:2]), "the signal does not wait")
    table.close()


def test_a_signal_leaves_a_received_call_alone(compile_c: Compile) -> None:
    with Session(compile_c(INTERRUPTED)) as session:
        call = session.next()
        hit(session)
        assert session.listener.valid(call.id)
        assert session.listener.answer(call.id, 5)
        assert session.number() == 5


@pytest.mark.parametrize(("arguments", "made_again"), [((), False), (("restart",), True)])
def test_what_a_handler_asked_for_is_done_with_a_call_that_is_to_be_restarted(
    compile_c: Compile, arguments: tuple[str, ...], made_again: bool
) -> None:
    with Session(compile_c(INTERRUPTED), *arguments) as session:
        first = session.next()
        hit(session)
        assert session.listener.fail(first.id, ERESTARTSYS)
        if made_again:
            second = session.next()
            assert second.id != first.id
            assert (second.name, second.args) == (first.name, first.args)
            assert session.listener.answer(second.id, 3)
        assert session.number() == (3 if made_again else -Errno.EINTR)


@pytest.mark.parametrize("signalled", [False, True])
def test_a_nudged_thread_makes_its_call_again_unless_there_is_a_signal(compile_c: Compile, signalled: bool) -> None:
    with Session(compile_c(INTERRUPTED)) as session:
        first = session.next()
        if signalled:
            hit(session)
        with nudged(first.tid) as nudge:
            assert nudge.able
            assert session.listener.fail(first.id, ERESTARTSYS)
        if not signalled:
            second = session.next()
            assert (second.name, second.args) == (first.name, first.args)
            assert session.listener.answer(second.id, 3)
        assert session.number() == (-Errno.EINTR if signalled else 3)


def test_a_killed_thread_is_gone(compile_c: Compile) -> None:
    with Session(compile_c(ANSWERS)) as session:
        call = session.next()
        os.kill(session.launched.pid, signal.SIGKILL)
        wait_until(lambda: not session.listener.valid(call.id), "the killed thread is still there")
        assert not session.listener.answer(call.id, 5)
        assert session.listener.install_and_answer(call.id, 0, True) is None
        with pytest.raises(Gone):
            call.memory.read(call.args[1] or 4096, 1)
        assert session.finish() == 128 + signal.SIGKILL


def test_a_call_that_was_interrupted_before_it_was_received(compile_c: Compile) -> None:
    """poll says there is one; receive finds none, and does not wait."""
    with Session(compile_c("int main(void) { for (;;) ask(NULL, 0); }")) as session:
        poll = select.poll()
        poll.register(session.listener.fd, select.POLLIN)
        session.listener.fail(session.next().id, Errno.EAGAIN)
        assert poll.poll(10_000) == [(session.listener.fd, select.POLLIN)]
        os.kill(session.launched.pid, signal.SIGKILL)
        wait_until(lambda: not poll.poll(0) or poll.poll(0)[0][1] & select.POLLHUP, "the call is still there")
        assert session.listener.receive() is None


def test_hang_up_when_nobody_is_left(compile_c: Compile) -> None:
    with Session(compile_c("int main(void) { return 3; }")) as session:
        assert session.finish() == 3
        poll = select.poll()
        poll.register(session.listener.fd, select.POLLIN)
        assert poll.poll(10_000) == [(session.listener.fd, select.POLLHUP)]


def test_threads_get_their_own_answers(compile_c: Compile) -> None:
    source = """
    static void *work(void *argument) {
        for (long i = 0; i < 200; i++) {
            long wanted = (long)argument * 1000 + i;
            if (tell_number(wanted) != wanted) abort();
        }
        return NULL;
    }
    int main(void) {
        pthread_t threads[8];
        for (long i = 0; i < 8; i++) pthread_create(&threads[i], NULL, work, (void *)i);
        for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    }
    """
    tids = set()
    with Session(compile_c(source)) as session:
        for _ in range(8 * 200):
            call = session.next()
            tids.add(call.tid)
            assert session.listener.answer(call.id, call.number)
        assert session.finish() == 0
    assert len(tids) == 8


INSTALL = """
int main(void) {
    struct rlimit limit = { 64, 64 };
    setrlimit(RLIMIT_NOFILE, &limit);
    int low = open("/dev/null", O_RDONLY);
    tell_number(low);
    long number = ask(NULL, 0);
    tell_number(number);
    tell_number(number < 0 ? errno : fcntl(number, F_GETFD));
    struct stat status;
    fstat(low + 2, &status);
    tell_number(status.st_ino);
    while (open("/dev/null", O_RDONLY) >= 0) { }
    tell_number(ask(NULL, 0));
}
"""


@pytest.fixture
def installing(compile_c: Compile) -> Session:
    return Session(compile_c(INSTALL))


@pytest.mark.parametrize("cloexec", [False, True])
def test_install_takes_the_lowest_number_and_leaves_the_call_open(installing: Session, cloexec: bool) -> None:
    ours, other = os.pipe()
    with installing as session:
        low = session.number()
        call = session.next()
        assert session.listener.install(call.id, ours, cloexec) == low + 1
        # close-on-exec is of the descriptor: at low + 1 a plain one would do, but the program asks the second
        assert session.listener.install(call.id, ours, cloexec) == low + 2
        assert session.listener.valid(call.id)
        session.listener.answer(call.id, low + 2)
        assert session.number() == low + 2
        assert session.number() == int(cloexec)
        assert session.number() == os.fstat(ours).st_ino
    os.close(ours)
    os.close(other)


def test_install_at_a_number_replaces_what_was_there(installing: Session) -> None:
    ours, other = os.pipe()
    with installing as session:
        low = session.number()
        call = session.next()
        assert session.listener.install(call.id, other, False, low + 2) == low + 2
        assert session.listener.install(call.id, ours, True, low + 2) == low + 2
        with pytest.raises(SyscallError) as caught:
            session.listener.install(call.id, ours, True, 64)
        assert caught.value.errno is Errno.EBADF
        session.listener.answer(call.id, low + 2)
        assert session.number() == low + 2
        assert session.number() == 1
        assert session.number() == os.fstat(ours).st_ino
    os.close(ours)
    os.close(other)


def test_install_at_zero_is_not_install_anywhere(installing: Session) -> None:
    with installing as session:
        session.number()
        assert session.listener.install(session.next().id, 0, False, 0) == 0


def test_install_and_answer_is_one_step(installing: Session) -> None:
    ours, other = os.pipe()
    with installing as session:
        low = session.number()
        call = session.next()
        assert session.listener.install_and_answer(call.id, ours, True) == low + 1
        assert session.number() == low + 1
        assert session.number() == 1
    os.close(ours)
    os.close(other)


def test_a_full_table_is_emfile_and_the_call_still_waits(installing: Session) -> None:
    with installing as session:
        session.number()
        session.listener.fail(session.next().id, Errno.EIO)
        assert session.number() == -1
        assert session.number() == Errno.EIO
        session.number()
        call = session.next()
        for install in (session.listener.install, session.listener.install_and_answer):
            with pytest.raises(SyscallError) as caught:
                install(call.id, 0, True)
            assert caught.value.errno is Errno.EMFILE
        assert session.listener.fail(call.id, Errno.EMFILE)
        assert session.number() == -1


def test_install_of_a_descriptor_that_is_not_open(installing: Session) -> None:
    with installing as session:
        session.number()
        call = session.next()
        with pytest.raises(SyscallError) as caught:
            session.listener.install(call.id, 999_999, True)
        assert caught.value.errno is Errno.EBADF


def test_the_kernel_has_what_is_needed(compile_c: Compile) -> None:
    with Session(compile_c(ANSWERS)) as session:
        release = tuple(map(int, platform.release().split("-")[0].split(".")[:2]))
        assert session.listener.sync == (release >= (6, 6))
        assert session.listener.fileno() == session.listener.fd


def test_a_kernel_without_wake_ups_in_place(compile_c: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(compile_c(ANSWERS)) as session:
        monkeypatch.setattr(listener, "SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP", 1 << 30)
        assert not Listener(session.listener.fd).sync
