"""Random programs on the host's kernel and on the core: every answer is the same; what is not is found and shown."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from afunix.abi.constants import AF_UNIX, SIOCOUTQ, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM
from afunix.abi.errno import Errno, SyscallError
from afunix.cli.main import main
from afunix.conformance.core_machine import CoreTask
from afunix.conformance.differ import Difference, Lockstep
from afunix.conformance.differ_host import DifferHost
from afunix.conformance.differ_programs import ORDER, THEMES, Author, begin, program, write_step
from afunix.conformance.differ_raw import BASE, Step
from afunix.conformance.differ_run import Comparison, compare_programs
from afunix.conformance.differ_show import main as show
from afunix.conformance.differ_show import script
from afunix.conformance.differ_shrink import shrink
from afunix.conformance.differ_steps import OPERATIONS
from afunix.conformance.machine import ARENA_SIZE
from afunix.core import stream
from afunix.core.epoll import Epoll
from afunix.core.kernel import Kernel
from afunix.core.socket import Socket
from afunix.syscalls import control

SEEDS = (1, 2)
STEPS = 100_000
"""Of each seed."""
JOBS = 4


@pytest.fixture(scope="module")
def comparison() -> Iterator[Comparison]:
    with DifferHost() as host:
        yield Comparison(host)


@pytest.mark.parametrize("seed", [*SEEDS, pytest.param(None, id="random", marks=pytest.mark.long)])
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_random_programs(seed: int | None) -> None:
    """100,000 steps of each of two seeds that are always the same; of another one when there is time to look at it."""
    if seed is None:
        seed = secrets.randbelow(1 << 31)
    summary = compare_programs(STEPS, seed, jobs=JOBS)
    print(f"seed {seed}: {summary.steps} steps, not seen again: {summary.unsteady}, {summary.seconds:.1f} s")
    found = summary.finding
    assert found is None, f"seed {seed}, program {found.number}: {script(found.steps, found.reason)}"
    assert summary.steps >= STEPS
    assert len(summary.unsteady) <= 3


class Drawn:
    """Hypothesis as what an author draws from."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def randrange(self, stop: int) -> int:
        return int(self.data.draw(st.integers(0, stop - 1)))

    def choice(self, seq: Sequence[Any]) -> Any:
        return self.data.draw(st.sampled_from(seq))


class Programs(RuleBasedStateMachine):
    """The same steps as in long runs, drawn by Hypothesis and compared one by one."""

    host: DifferHost
    prefixes = count()

    def __init__(self) -> None:
        super().__init__()
        prefix = b"~h%d.%d." % (os.getpid(), next(self.prefixes))
        self.lockstep = Lockstep(self.host, prefix, careful=True)
        self.author: Author | None = None
        self.failed = False

    @rule(data=st.data())
    def step(self, data: Any) -> None:
        drawn = Drawn(data)
        if self.author is None:
            self.author = Author(drawn)
            self.theme = THEMES[drawn.choice(ORDER)]
            begin(self.author, self.theme)
        self.author.chance = drawn
        write_step(self.author, self.theme)
        steps, self.author.steps = self.author.steps, []
        try:
            for step in steps:
                self.lockstep.step(step)
            self.lockstep.flush()
        except BaseException:
            self.failed = True
            raise

    def teardown(self) -> None:
        if self.failed:
            self.host.restart()
            return
        self.lockstep.finish()
        self.host.reset()


@pytest.mark.timeout(300)
def test_programs_of_hypothesis(comparison: Comparison) -> None:
    Programs.host = comparison.host
    run_state_machine_as_test(
        Programs,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


PAIR = Step(0, "socketpair", (SOCK_STREAM, 0), makes=(0, 1))
URGENT = Step(0, "send", (1, 0, 1, 1, ("none", None)))
READ = Step(0, "recv", (0, 100, 0, -1))
TAKE_URGENT = Step(0, "recv", (0, 1, 1, -1))
CLOSE = Step(0, "close", (0,))
ERROR = Step(0, "getsockopt", (1, 1, 4, 4))


def sent(handle: int, size: int, files: int = 0) -> Step:
    rights = (("rights", (0,) * files, 0),) if files else ()
    return Step(0, "sendmsg", (handle, 0, (size,), 0, ("none", None), rights, 0))


@pytest.mark.parametrize(
    "steps",
    [
        [PAIR, sent(1, 3), sent(0, 3), Step(0, "setsockopt", (0, 1, 18, b"\n\0\0\0", 4)), Step(0, "close", (1,)), READ,
         READ],
        [PAIR, sent(1, 3), sent(0, 3), Step(0, "close", (1,)), Step(0, "recv", (0, 100, 0x100, -1)), READ],
        [PAIR, sent(1, 3), sent(1, 3, 1), Step(0, "recvmsg", (0, (3,), 2, 256, -1), makes=(2, 3)), READ],
        [PAIR, URGENT, TAKE_URGENT, URGENT, TAKE_URGENT, READ],
        [PAIR, URGENT, Step(0, "recv", (0, 0, 1, -1)), READ],
        [Step(0, "socketpair", (SOCK_SEQPACKET, 0), makes=(0, 1)), sent(1, 0), CLOSE, ERROR],
        [PAIR, URGENT, TAKE_URGENT, CLOSE, ERROR],
        [Step(0, "socket", (SOCK_DGRAM, 0, AF_UNIX), makes=(0,)), sent(0, 213000), sent(0, 0)],
    ],
    ids=["low-water mark loses the error", "MSG_WAITALL loses the error", "a peek sees descriptors behind it",
         "urgent bytes in a row", "urgent byte without room", "close on an empty record", "close on a read urgent byte",
         "too long before not connected"],
)  # fmt: skip
def test_found_programs(comparison: Comparison, steps: list[Step]) -> None:
    """Programs in which the two sides once differed, or that are too rare to wait for."""
    assert comparison.run(steps) is None


def test_every_operation_is_drawn() -> None:
    drawn = {step.operation for number in range(200) for step in program(1, number, privileged=True)}
    assert drawn == {*OPERATIONS, "fork", "exit"}


def test_programs_are_the_same_data_every_time() -> None:
    first = program(3, 5)
    assert program(3, 5) == first
    assert program(3, 6) != first
    assert eval(repr(first)) == first


def test_how_many_at_a_time_makes_no_difference_to_the_programs() -> None:
    one, many = (compare_programs(1000, 4, jobs=jobs) for jobs in (1, 3))
    assert (one.programs, one.steps) == (many.programs, many.steps)
    assert one.steps >= 1000


def broken_unread(sock: Socket) -> int:
    """What SIOCINQ would be if urgent bytes passed over were forgotten."""
    return sum(map(len, sock.queue))


def test_a_wrong_answer_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Socket, "unread", property(broken_unread))
    found = compare_programs(50_000, SEEDS[0]).finding
    assert found is not None
    assert len(found.steps) <= 8
    assert "state" in found.reason


def test_a_leak_is_found(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference too many breaks the core's own rules, though no answer differs."""
    original = stream.send

    def leaking(sock: Socket, caller: Any, data: bytes, flags: int = 0, files: Any = (), *rest: Any) -> Any:
        for file in files:
            file.acquire()
        return original(sock, caller, data, flags, files, *rest)

    from afunix.syscalls.sending import SEND

    monkeypatch.setitem(SEND, SOCK_STREAM, leaking)
    found = comparison.run([PAIR, sent(0, 1, 1)])
    assert isinstance(found, Difference)
    assert "references" in found.reason


def test_a_leak_of_a_file_that_nobody_has_any_more_is_found(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of what is no socket: here an epoll."""

    def leaking(epoll: Epoll, wakeups: Any) -> None:
        original(epoll, wakeups)
        epoll.acquire()

    original = Epoll.__init__
    monkeypatch.setattr(Epoll, "__init__", leaking)
    found = comparison.run([Step(0, "epoll_create", (), makes=(0,)), Step(0, "epoll_close", (0,))])
    assert isinstance(found, Difference)
    assert "references" in found.reason


def test_a_file_closed_too_often_is_found(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Kernel.free

    def twice(kernel: Kernel, message: Any) -> None:
        files = message.files
        original(kernel, message)
        for file in files:
            file.release()

    monkeypatch.setattr(Kernel, "free", twice)
    found = comparison.run([PAIR, sent(0, 1, 1), CLOSE, Step(0, "close", (1,))])
    assert isinstance(found, Difference)
    assert "released more often" in found.reason


END_OF_MEMORY = BASE + ARENA_SIZE
READ_AT_THE_END = READ._replace(spoil=(("arg", 1, END_OF_MEMORY - 4),))
LENGTH_AT_THE_END = Step(0, "getsockopt", (0, 1, 3, 4), spoil=(("arg", 4, END_OF_MEMORY - 4),))


def test_what_a_failed_receive_has_written_is_compared(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is gone before a later step can take it for something else."""
    steps = [PAIR, sent(1, 100), READ_AT_THE_END, LENGTH_AT_THE_END]
    assert comparison.run(steps) is None

    def all_or_nothing(task: CoreTask, address: int, data: bytes) -> None:
        if address + len(data) > END_OF_MEMORY:
            raise SyscallError(Errno.EFAULT)
        original(task, address, data)

    original = CoreTask.write
    monkeypatch.setattr(CoreTask, "write", all_or_nothing)
    found = comparison.run(steps)
    assert isinstance(found, Difference)
    assert "memory" in found.reason
    assert found.records[-1].step == READ_AT_THE_END


def test_runs_have_users_of_their_own(comparison: Comparison) -> None:
    """What others have in flight does not count for them, unless nobody may change who they are."""
    host = comparison.host
    if not host.privileged:
        assert host.users == (os.getuid(),)
        return
    with DifferHost() as other:
        assert set(other.users).isdisjoint(host.users)
    status = Path(f"/proc/{host.pids[0]}/status").read_text(encoding="ascii")
    assert f"Uid:\t{host.users[0]}\t{os.geteuid()}\t" in status


def test_a_change_that_nobody_is_told_of_is_found(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Socket.shutdown

    def silent(sock: Socket, how: int) -> None:
        original(sock, how)
        sock.kernel.changed.clear()

    monkeypatch.setattr(Socket, "shutdown", silent)
    found = comparison.run([PAIR, Step(0, "shutdown", (0, 0))])
    assert isinstance(found, Difference)
    assert "changed" in found.reason


def test_shrinking_leaves_what_matters() -> None:
    steps = [PAIR, READ, sent(1, 3000, 3), *[READ] * 20, Step(0, "fork", (1,)), ERROR, READ]

    def fails(candidate: Sequence[Step]) -> bool:
        return any(step.operation == "sendmsg" and sum(step.args[2]) >= 10 for step in candidate)  # type: ignore[call-overload]

    (left,) = shrink(steps, fails)
    assert left.args[2] in ((10,), (11,))
    assert left.args[5] == ()


def test_the_script_shows_both_sides(tmp_path: Path, comparison: Comparison) -> None:
    """It runs alone and says with its status whether there is a difference."""
    path = tmp_path / "repro.py"
    path.write_text(script([PAIR, sent(1, 3, 1), READ], "value"), encoding="utf-8")
    run = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "host and core agree\n", "")


def test_the_sides_of_a_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wrong(call: Any) -> int:
        return 77 if call.args[1] == SIOCOUTQ else 0

    monkeypatch.setattr("afunix.conformance.differ_core.control.ioctl", wrong)
    assert control.ioctl is wrong
    monkeypatch.setattr("afunix.conformance.differ_core.Inquiry.ask", lambda self, command: 0)
    assert show([PAIR, sent(0, 3), READ]) == 1
    shown = capsys.readouterr().out
    assert "host: 3: 0x304, 0, 768, 0" in shown
    assert "core: 3: 0x304, 0, 0, 0" in shown


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["differ", "--steps", "500", "--seed", "5"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "seed 5" in shown.err
    assert "0 differences" in shown.err
    monkeypatch.setattr(Socket, "unread", property(broken_unread))
    assert main(["differ", "--steps", "50000", "--seed", "5", "--processes", "1"]) == 1
    shown = capsys.readouterr()
    compile(shown.out, "repro.py", "exec")
    assert "raise SystemExit(main(PROGRAM))" in shown.out


def test_the_command_for_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", "--on", "core", "-k", "OOB-1"]) == 0
    assert "urgent" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_of_an_interrupted_run(number: signal.Signals, tmp_path: Path) -> None:
    """Even if another thread takes the signal, as it may."""
    process = subprocess.Popen(
        ["env", "--default-signal", sys.executable, "-m", "afunix", "differ", "--steps", "100000000", "--jobs", "2"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while len(list(tmp_path.glob("afunix-differ-*/here"))) < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        other = max(map(int, os.listdir(f"/proc/{process.pid}/task")))
        assert other != process.pid
        libc = ctypes.CDLL(None)
        assert libc.tgkill(process.pid, other, number) == 0
        assert process.wait(60) == (-number if number == signal.SIGINT else 128 + number)
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_failed_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):
        DifferHost()
    assert list(tmp_path.iterdir()) == []
