"""Starting programs, and that none outlives its supervision: real processes, killed at every place."""

from __future__ import annotations

import difflib
import os
import pty
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from supervised import NUMBERS, PYTHON, Session, alive, filter_for, open_descriptors, run, wait_until

from afunix.abi import arch
from afunix.abi.errno import Errno, SyscallError
from afunix.supervisor import hostcalls
from afunix.supervisor.guardian import descendants
from afunix.supervisor.launch import CannotExecute, Launched, Unsupported, check_host, find_program, launch

Compile = Callable[[str], str]

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
SUPERVISE = (PYTHON, str(HERE / "supervise_program.py"))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test may leave a process, a descriptor, a signal mask or a limit behind."""
    children = descendants(os.getpid())
    descriptors = open_descriptors()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    assert descendants(os.getpid()) == children
    assert open_descriptors() == descriptors
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


# -- how programs end


@pytest.mark.parametrize(
    ("script", "status", "killed_by"),
    [
        ("exit 0", 0, None),
        ("exit 7", 7, None),
        ("exit 255", 255, None),
        ("kill -TERM $$", 128 + 15, 15),
        ("kill -KILL $$", 128 + 9, 9),
        ("exec sh -c 'exec sh -c \"exit 4\"'", 4, None),
        ("(exit 9); exit 3", 3, None),
    ],
)
def test_exit_status(script: str, status: int, killed_by: int | None) -> None:
    with Session("sh", "-c", script) as session:
        with pytest.raises(RuntimeError):
            session.launched.exit_status()
        assert session.finish() == status
        assert session.launched.termination_signal == killed_by
        assert session.launched.failure is None
    assert session.launched.exit_status() == status


def files(tmp_path: Path) -> dict[str, str]:
    """Names of things that can't be executed."""
    directory = tmp_path / "directory"
    directory.mkdir()
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    text = tmp_path / "text"
    text.write_text("hello\n")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (script, text):
        path.chmod(0o755)
    return {
        "missing": "no-such-program",
        "missing path": str(tmp_path / "missing"),
        "empty": "",
        "below a file": str(tmp_path / "plain" / "x"),
        "directory": str(directory),
        "not executable": str(tmp_path / "plain"),
        "loop": str(loop),
        "interpreter": str(script),
        "format": str(text),
    }


@pytest.mark.parametrize(
    ("which", "early", "errno"),
    [
        ("missing", True, Errno.ENOENT),
        ("missing path", True, Errno.ENOENT),
        ("empty", True, Errno.ENOENT),
        ("below a file", True, Errno.ENOTDIR),
        ("directory", True, Errno.EACCES),
        ("not executable", True, Errno.EACCES),
        ("loop", True, Errno.ELOOP),
        ("interpreter", False, Errno.ENOENT),
        ("format", False, Errno.ENOEXEC),
    ],
)
def test_what_can_not_be_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, early: bool, errno: Errno
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    name = files(tmp_path)[which]
    if early:
        with pytest.raises(CannotExecute) as caught:
            launch([name], filter_for(["read"]))
        failure = caught.value
    else:
        with Session(name, traps=["read", "write", "execve"]) as session:
            assert session.finish() == (127 if errno is Errno.ENOENT else 126)
            assert session.launched.failure is not None
            failure = session.launched.failure
            assert session.seen == ["execve"]
    assert failure.errno is errno
    if errno is not Errno.ENOEXEC:  # which execvp hands to a shell
        env = subprocess.run(["env", name], stderr=subprocess.PIPE, check=False, env={**os.environ, "LC_ALL": "C"})
        said = env.stderr.decode().splitlines()[0]
        assert failure.status == env.returncode
        assert said.endswith(str(failure).rpartition(": ")[2])
    assert str(failure).startswith(f"afunix: {name}: ")


def test_path_is_searched_as_by_execvp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory, mode in (("a", 0o644), ("b", 0o755), ("c", 0o755)):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "tool").write_text(f"#!/bin/sh\nexit {ord(directory)}\n")
        (tmp_path / directory / "tool").chmod(mode)
    path = {"PATH": f"/no/such:{tmp_path}/a:{tmp_path}/b:{tmp_path}/c"}
    assert find_program("tool", path) == f"{tmp_path}/b/tool"
    assert run("tool", env=path) == ord("b")
    with pytest.raises(CannotExecute) as caught:
        find_program("tool", {"PATH": f"{tmp_path}/a:/no/such"})
    assert caught.value.status == 126
    monkeypatch.chdir(tmp_path / "c")
    assert find_program("tool", {"PATH": "/no/such:"}) == "./tool"
    assert find_program("sh", {}) in ("/bin/sh", "/usr/bin/sh")


# -- what programs inherit

STATE = """
static void show(FILE *out, const char *path) {
    FILE *in = fopen(path, "r");
    int byte;
    while (in && (byte = getc(in)) != EOF) putc(byte, out);
    if (in) fclose(in);
}
int main(int argc, char **argv, char **envp) {
    FILE *out = fopen(argv[1], "w");
    char link[4096];
    for (int i = 0; i < argc; i++) fprintf(out, "argv %s\\n", argv[i]);
    for (; *envp; envp++) fprintf(out, "env %s\\n", *envp);
    fprintf(out, "cwd %s\\n", getcwd(link, sizeof link));
    for (int fd = 0; fd < 1024; fd++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        long length = readlink(path, link, sizeof link);
        if (length >= 0) fprintf(out, "fd %d %.*s\\n", fd, (int)length, link);
    }
    for (int i = 1; i < 65; i++) {
        struct sigaction action;
        sigaction(i, NULL, &action);
        fprintf(out, "signal %d %s\\n", i, action.sa_handler == SIG_DFL ? "default" : "ignored");
    }
    int death = -1, reaper = -1;
    prctl(PR_GET_PDEATHSIG, &death);
    prctl(PR_GET_CHILD_SUBREAPER, &reaper);
    fprintf(out, "group %d session %d death %d reaper %d slack %d dumpable %d nice %d\\n", getpgrp(), getsid(0),
            death, reaper, prctl(PR_GET_TIMERSLACK), prctl(PR_GET_DUMPABLE), getpriority(PRIO_PROCESS, 0));
    show(out, "/proc/self/limits");
    show(out, "/proc/self/oom_score_adj");
    show(out, "/proc/self/status");
}
"""
DIFFERS = (
    *(
        "Pid:",
        "PPid:",
        "Tgid:",
        "Ngid:",
        "NStgid:",
        "NSpid:",
        "Vm",
        "Rss",
        "voluntary",
        "nonvoluntary",
        "Seccomp",
        "SigQ",
    ),
    *("Cpus", "Mems", "Speculation", "SpeculationIndirectBranch", "Hugetlb", "argv /"),
)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_program_inherits_what_it_would_through_env(compile_c: Compile, tmp_path: Path, ignored: bool) -> None:
    program = compile_c(STATE)
    out = str(tmp_path / "state")
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGCONT})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else None
    try:
        command = ["env", program, out, "one", "two words"]
        subprocess.run(command, check=True, close_fds=False, env=dict(os.environ))
        native = Path(out).read_text()
        assert run(*command[1:]) == 0
        supervised = Path(out).read_text()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if ignored:
            signal.signal(signal.SIGINT, before)
        os.close(ours)
        os.close(theirs)
    assert f"fd {theirs} pipe:" in native
    assert f"fd {ours} " not in native
    assert ("signal 2 ignored" in native) == ignored
    expected, got = (
        [line for line in text.splitlines() if not line.startswith(DIFFERS)] for text in (native, supervised)
    )
    if os.geteuid() != 0:
        expected = [line.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1") for line in expected]
    difference = list(difflib.unified_diff(expected, got, "native", "supervised", n=0, lineterm=""))
    assert not difference, "\n".join(difference)


def test_an_environment_of_its_own(compile_c: Compile, tmp_path: Path) -> None:
    out = tmp_path / "state"
    assert run(compile_c(STATE), str(out), env={"ONE": "1", "EMPTY": "", "ODD": "\udcff"}) == 0
    lines = out.read_bytes().splitlines()
    assert [line for line in lines if line.startswith(b"env ")] == [b"env ONE=1", b"env EMPTY=", b"env ODD=\xff"]


# -- descendants

TREE = """
/* A tree that is hard to get rid of: sessions of their own, an inner subreaper, orphans, ignored signals. */
static FILE *out;
static void note(void) { fprintf(out, "%d\\n", getpid()); fflush(out); }
static void stay(void) { note(); for (;;) usleep(10000); }
int main(int argc, char **argv) {
    out = fopen(argv[1], "a");
    setvbuf(out, NULL, _IOLBF, 0);
    for (int i = 1; i < 32; i++) signal(i, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    if (!fork()) {
        setsid();
        if (!fork()) { setsid(); if (!fork()) stay(); _exit(0); }     /* an orphan */
        stay();
    }
    if (!fork()) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        setpgid(0, 0);
        if (!fork()) { if (!fork()) stay(); _exit(0); }               /* an orphan of the inner subreaper */
        stay();
    }
    if (!vfork()) _exit(0);
    if (argc > 2) { while (wait(NULL) < 0) { } usleep(100000); return 3; }
    stay();
}
"""


def tree_pids(path: Path, number: int) -> list[int]:
    wait_until(lambda: path.exists() and len(path.read_text().split()) == number, "the tree does not grow")
    return [int(line) for line in path.read_text().split()]


def serve(session: Session, until: Callable[[], object]) -> None:
    """Serve the program until something holds."""
    deadline = time.monotonic() + 10
    while not until():
        assert time.monotonic() < deadline
        session.step(0.01)


def grown(path: Path, number: int) -> Callable[[], bool]:
    return lambda: path.exists() and len(path.read_text().split()) == number


def test_all_descendants_are_waited_for(tmp_path: Path) -> None:
    script = f"(trap '' HUP; sleep 0.3; echo done > {tmp_path}/late) & setsid sh -c 'sleep 0.2' & exit 3"
    with Session("sh", "-c", script) as session:
        serve(session, lambda: session.launched.wait_status is not None)
        assert session.launched.exit_status() == 3
        assert not session.launched.ended
        assert session.finish() == 3
    assert (tmp_path / "late").read_text() == "done\n"


def test_close_kills_everything(compile_c: Compile, tmp_path: Path) -> None:
    with Session(compile_c(TREE), str(tmp_path / "pids")) as session:
        serve(session, grown(tmp_path / "pids", 5))
        pids = tree_pids(tmp_path / "pids", 5)
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
    assert session.launched.exit_status() == 128 + signal.SIGKILL
    session.launched.close()


def test_processes_that_multiply_are_killed(compile_c: Compile) -> None:
    source = """
    int main(void) {
        for (int i = 0; i < 3; i++) fork();
        tell_number(getpid());
        for (;;) {
            pid_t child = fork();
            if (!child) { usleep(500); _exit(0); }
            if (child > 0) waitpid(child, NULL, 0);
        }
    }
    """
    with Session(compile_c(source)) as session:
        pids = [session.number() for _ in range(8)]
    assert not any(map(alive, pids))


def test_others_children_are_left_alone(compile_c: Compile) -> None:
    other = subprocess.Popen(["sleep", "100"])
    try:
        with Session(compile_c("int main(void) { tell_number(1); pause(); }")) as session:
            session.number()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_killing_the_guardian_kills_the_programs(compile_c: Compile, tmp_path: Path) -> None:
    with Session(compile_c(TREE), str(tmp_path / "pids")) as session:
        serve(session, grown(tmp_path / "pids", 5))
        pids = tree_pids(tmp_path / "pids", 5)
        os.kill(session.launched.guardian_pid, signal.SIGKILL)
        assert session.finish() == 128 + signal.SIGKILL
        assert session.launched.ended
        assert not any(map(alive, pids))


def test_killing_the_guardian_after_the_program_ended(compile_c: Compile, tmp_path: Path) -> None:
    with Session(compile_c(TREE), str(tmp_path / "pids"), "end") as session:
        serve(session, lambda: session.launched.wait_status is not None)
        pids = tree_pids(tmp_path / "pids", 4)
        os.kill(session.launched.guardian_pid, signal.SIGKILL)
        assert session.finish() == 3
        assert not any(map(alive, pids))


def test_signals_to_the_guardian_do_nothing(compile_c: Compile) -> None:
    with Session(compile_c("int main(void) { tell_number(1); tell_number(2); return 5; }")) as session:
        session.number()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGTSTP):
            os.kill(session.launched.guardian_pid, number)
        time.sleep(0.05)
        assert session.number() == 2
        assert session.finish() == 5


def supervise(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*SUPERVISE, *argv], env=ENVIRONMENT)


def test_killing_the_supervisor_kills_the_programs(compile_c: Compile, tmp_path: Path) -> None:
    supervisor = supervise(compile_c(TREE), str(tmp_path / "pids"))
    pids = tree_pids(tmp_path / "pids", 5)
    family = descendants(supervisor.pid)
    assert set(pids) < set(family)
    assert sum(map(alive, family)) == len(pids) + 1
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not any(map(alive, family)), "somebody survives")


def test_killing_the_whole_process_group_spares_nobody(compile_c: Compile, tmp_path: Path) -> None:
    """The guardian has a group of its own, and sees to those that have, too."""
    supervisor = subprocess.Popen(
        [*SUPERVISE, compile_c(TREE), str(tmp_path / "pids")], env=ENVIRONMENT, start_new_session=True
    )
    tree_pids(tmp_path / "pids", 5)
    family = descendants(supervisor.pid)
    os.killpg(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    wait_until(lambda: not any(map(alive, family)), "somebody survives")


def test_until_they_are_killed_no_call_fails(compile_c: Compile, tmp_path: Path) -> None:
    """A closed listener means ENOSYS; the guardian's copy keeps calls waiting instead."""
    source = """
    int main(int argc, char **argv) {
        for (int i = 0; i < 4; i++) fork();
        int null = open("/dev/null", O_WRONLY);
        close(open(argv[1], O_CREAT | O_WRONLY, 0666));
        for (;;)
            if (write(null, "x", 1) != 1) { mkdir(argv[2], 0777); _exit(1); }
    }
    """
    supervisor = supervise(compile_c(source), str(tmp_path / "started"), str(tmp_path / "failed"))
    wait_until((tmp_path / "started").exists, "it does not start")
    time.sleep(0.1)
    family = descendants(supervisor.pid)
    assert len(family) == 17
    supervisor.kill()
    supervisor.wait()
    wait_until(lambda: not any(map(alive, family)), "somebody survives")
    assert not (tmp_path / "failed").exists()


# -- signals

HANDLERS = """
static volatile int count;
static void on_signal(int number) { tell_number(number); count++; }
int main(int argc, char **argv) {
    for (int i = 1; i < 32; i++) signal(i, on_signal);
    tell_number(0);
    while (count < atoi(argv[1])) usleep(1000);
    return 6;
}
"""
SENT = ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "WINCH", "TSTP", "TTIN", "TTOU")


def send(number: int) -> None:
    """To this thread: what other tests left running in this process does not have the signals blocked."""
    signal.pthread_kill(threading.get_ident(), number)


@pytest.mark.parametrize("name", SENT)
def test_signals_sent_to_the_supervisor_go_to_the_program(compile_c: Compile, name: str) -> None:
    number = signal.Signals["SIG" + name]
    with Session(compile_c(HANDLERS), "2") as session:
        session.number()
        for _ in range(2):
            send(number)
            assert session.number() == number
        assert session.finish() == 6


@pytest.mark.parametrize("name", SENT)
def test_signals_sent_with_kill(compile_c: Compile, tmp_path: Path, name: str) -> None:
    source = """
    static void on_signal(int number) { _exit(number); }
    int main(int argc, char **argv) {
        for (int i = 1; i < 32; i++) signal(i, on_signal);
        close(open(argv[1], O_CREAT | O_WRONLY, 0666));
        for (;;) usleep(1000);
    }
    """
    supervisor = supervise(compile_c(source), str(tmp_path / "ready"))
    wait_until((tmp_path / "ready").exists, "it does not start")
    supervisor.send_signal(signal.Signals["SIG" + name])
    assert supervisor.wait(10) == signal.Signals["SIG" + name]


def test_signals_after_the_program_ended_go_to_its_descendants(compile_c: Compile) -> None:
    source = """
    static void on_signal(int number) { tell_number(number); _exit(0); }
    int main(void) {
        if (fork()) return 4;
        setsid();
        signal(SIGTERM, on_signal);
        signal(SIGUSR1, on_signal);
        tell_number(0);
        for (;;) pause();
    }
    """
    with Session(compile_c(source)) as session:
        assert session.number() == 0
        serve(session, lambda: session.launched.wait_status is not None)
        send(signal.SIGUSR1)  # would have been the program's own business
        session.step(0.05)
        send(signal.SIGTERM)
        assert session.number() == signal.SIGTERM
        assert session.finish() == 4


def test_a_signal_that_comes_at_the_end_does_not_hit_the_supervisor() -> None:
    with Session("sh", "-c", "exit 2") as session:
        assert session.finish() == 2
        send(signal.SIGTERM)


class Terminal:
    """A process on a terminal of its own, which is killed at the end if it still runs."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.pid, self.master = pty.fork()
        if not self.pid:
            os.execve(argv[0], list(argv), ENVIRONMENT)
        os.set_blocking(self.master, False)
        self.output = b""
        self.status: int | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def expect(self, text: bytes) -> None:
        wait_until(lambda: self._shows(text), f"no {text!r}")

    def _shows(self, text: bytes) -> bool:
        try:
            self.output += os.read(self.master, 4096)
        except BlockingIOError:
            pass
        except OSError:  # EIO: nobody has the terminal any more
            assert text in self.output, self.output
        return text in self.output

    def end(self) -> int:
        """The wait status."""
        wait_until(self._ended, "the process does not end")
        assert self.status is not None
        return self.status

    def _ended(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = status
        return bool(pid)


@pytest.mark.parametrize("key", [b"\x03", b"\x1c"], ids=["SIGINT", "SIGQUIT"])
def test_keys_reach_the_program_once_and_the_supervisor_stays(compile_c: Compile, key: bytes) -> None:
    source = """
    static volatile int count;
    static void on_signal(int number) { count++; }
    int main(int argc, char **argv) {
        signal(SIGINT, on_signal);
        signal(SIGQUIT, on_signal);
        dprintf(1, "ready\\n");
        while (!count) usleep(1000);
        usleep(300000);
        return 40 + count;
    }
    """
    with Terminal([*SUPERVISE, compile_c(source)]) as terminal:
        terminal.expect(b"ready")
        terminal.type(key)
        assert os.waitstatus_to_exitcode(terminal.end()) == 41


def test_an_interrupted_program_ends_by_the_signal(compile_c: Compile) -> None:
    source = 'int main(void) { dprintf(1, "ready\\n"); for (;;) usleep(1000); }'
    with Terminal([*SUPERVISE, compile_c(source)]) as terminal:
        terminal.expect(b"ready")
        terminal.type(b"\x03")
        assert os.waitstatus_to_exitcode(terminal.end()) == 128 + signal.SIGINT


def test_the_supervisor_stops_and_continues_with_the_program(compile_c: Compile) -> None:
    """The program still writes to the terminal, by trapped calls, between the key and its stop."""
    source = """
    static void on_stop(int number) {
        dprintf(1, "tidying\\n");
        signal(SIGTSTP, SIG_DFL);
        raise(SIGTSTP);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTSTP);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
        dprintf(1, "resumed\\n");
    }
    int main(void) {
        signal(SIGTSTP, on_stop);
        dprintf(1, "ready\\n");
        char line[10];
        while (read(0, line, sizeof line) < 0) { }
        return 9;
    }
    """
    with Terminal([PYTHON, str(HERE / "job_shell.py"), *SUPERVISE, compile_c(source)]) as terminal:
        terminal.expect(b"ready")
        terminal.type(b"\x1a")
        terminal.expect(b"tidying")
        terminal.expect(f"[stopped {int(signal.SIGTSTP)}]".encode())
        terminal.type(b"fg\n")
        terminal.expect(b"resumed")
        terminal.type(b"x\n")
        terminal.expect(f"[ended {9 << 8}]".encode())
        assert terminal.end() == 0


def test_where_nobody_could_continue_it_the_terminal_stops_nothing(compile_c: Compile) -> None:
    """The process group is an orphaned one, and the guardian must not make the kernel think otherwise."""
    source = """
    int main(void) {
        dprintf(1, "ready\\n");
        char line[10];
        while (read(0, line, sizeof line) < 0) { }
        return 9;
    }
    """
    with Terminal([*SUPERVISE, compile_c(source)]) as terminal:
        terminal.expect(b"ready")
        terminal.type(b"\x1a")
        terminal.expect(b"^Z")
        terminal.type(b"x\n")
        assert os.waitstatus_to_exitcode(terminal.end()) == 9


# -- hosts that can't


def test_a_listener_inside_a_listener_is_unsupported(tmp_path: Path) -> None:
    script = f"""
import supervised
from afunix.supervisor.launch import Unsupported, launch
try:
    launch(["true"], supervised.filter_for(["read"]))
except Unsupported as error:
    open({str(tmp_path / "said")!r}, "w").write(str(error))
"""
    assert run(PYTHON, "-c", script, env=ENVIRONMENT) == 0
    assert "under a seccomp listener already" in (tmp_path / "said").read_text()


@pytest.mark.parametrize("name", ["pidfd_getfd", "process_vm_readv", "seccomp"])
@pytest.mark.parametrize("errno", [Errno.EPERM, Errno.ENOSYS])
def test_a_container_that_forbids_what_is_needed(name: str, errno: Errno) -> None:
    script = f"""
import supervised
from afunix.abi import arch
from afunix.abi.errno import Errno
from afunix.abi.seccomp import build_filter
from afunix.supervisor import hostcalls
from afunix.supervisor.launch import Unsupported, launch
hostcalls.set_no_new_privs()
hostcalls.install_filter(build_filter(arch.current().audit_arch, [], [({NUMBERS[name]}, Errno({int(errno)}))]), 0)
try:
    launch(["true"], supervised.filter_for(["read"]))
except Unsupported as error:
    print(error)
"""
    command = [PYTHON, "-c", script]
    said = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True).stdout.decode()
    assert name in said
    assert errno.name in said


def test_a_kernel_without_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostcalls, "action_available", lambda action: False)
    with pytest.raises(Unsupported, match="no seccomp user notification"):
        launch(["true"], filter_for(["read"]))


def test_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> arch.Arch:
        raise arch.UnsupportedMachineError("z80 is not supported")

    monkeypatch.setattr(arch, "current", unknown)
    with pytest.raises(Unsupported, match="z80"):
        check_host()


def test_a_host_that_keeps_the_listener_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Launched, fd: int) -> int:
        raise SyscallError(Errno.EPERM)

    monkeypatch.setattr(Launched, "take", refuse)
    with pytest.raises(Unsupported, match="ptrace_scope"):
        launch(["true"], filter_for(["read"]))


def test_a_filter_that_the_kernel_refuses() -> None:
    with pytest.raises(Unsupported, match="EINVAL"):
        launch(["true"], bytes(8))


def test_this_host_can() -> None:
    check_host()
