"""The kit itself: that cases can fail, hang and not apply, and that this is said."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from afunix.abi.constants import SOCK_STREAM
from afunix.conformance import host as host_module
from afunix.conformance.__main__ import main
from afunix.conformance.case import Definition
from afunix.conformance.core_machine import CoreMachine
from afunix.conformance.host import Host, linux_version
from afunix.conformance.machine import BAD, Machine
from afunix.conformance.process import Case, Process
from afunix.conformance.results import EFAULT, EINTR, EINVAL, Error, Message
from afunix.conformance.runner import Outcome, Report, run_all, run_case, summary


@pytest.fixture(params=["host", "core"])
def machine(request: pytest.FixtureRequest) -> Any:
    """One of each kind, as a factory."""
    return request.getfixturevalue("host").machine if request.param == "host" else CoreMachine


def define(run: Any, **bounds: Any) -> Definition:
    given: dict[str, Any] = {"since": None, "until": None, "needs": (), **bounds}
    return Definition("made.up", ("NAME-1a",), run, text="Made up.", **given)


def run(body: Any, machine: Any, **bounds: Any) -> Report:
    return run_case(define(body, **bounds), machine)


def test_a_case_that_fails_shows_what_was_called(machine: Any) -> None:
    def body(p: Process) -> None:
        s = p.socket(SOCK_STREAM)
        assert p.listen(s) == 0, "a wrong expectation"

    report = run(body, machine)
    assert report.outcome is Outcome.FAILED
    assert "a wrong expectation" in report.text
    assert "socket(1, 0) = 3" in report.text
    assert "listen(3, 5) = EINVAL" in report.text


def test_a_case_with_a_mistake_fails(machine: Any) -> None:
    report = run(lambda p: p.no_such_method(), machine)
    assert report.outcome is Outcome.FAILED
    assert "AttributeError" in report.text


def test_a_case_that_hangs_fails_and_the_next_one_runs(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "PATIENCE", 0.2)
    start = time.monotonic()
    report = run(lambda p: p.recv(p.socketpair(SOCK_STREAM)[0]), machine)
    assert time.monotonic() - start < 5
    assert report.outcome is Outcome.FAILED
    assert "Hang: recvfrom" in report.text
    assert run(lambda p: p.socket(SOCK_STREAM), machine).outcome is Outcome.PASSED


def test_a_begun_call_that_hangs_fails(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "PATIENCE", 0.2)
    report = run(lambda p: p.begin(p.recv, p.socketpair(SOCK_STREAM)[0]).result, machine)
    assert report.outcome is Outcome.FAILED
    assert "Hang" in report.text


def test_a_nursery_that_dies_is_replaced(host: Host) -> None:
    def body(p: Process) -> None:
        assert host.nursery is not None
        host.nursery.kill()
        host.nursery.wait()
        p.process()

    assert run(body, host.machine).outcome is Outcome.FAILED
    assert run(lambda p: p.socket(SOCK_STREAM), host.machine).outcome is Outcome.PASSED


def test_versions_and_capabilities_are_told(machine: Any) -> None:
    too_new = run(lambda p: None, machine, since=(99, 1))
    assert too_new.outcome is Outcome.OTHER_VERSION
    assert "needs Linux 99.1, this is" in too_new.text
    assert run(lambda p: None, machine, until=(2, 6)).outcome is Outcome.OTHER_VERSION

    class Powerless(CoreMachine):
        capabilities = 0

    powerless = run(lambda p: None, Powerless, needs=("CAP_SETUID",))
    assert (powerless.outcome, powerless.text) == (Outcome.NOT_HERE, "needs CAP_SETUID")
    with pytest.raises(KeyError):
        run(lambda p: None, machine, needs=("CAP_NO_SUCH",))


def with_process(machine: Machine, body: Any) -> None:
    try:
        body(Case(machine, b"test.").process())
    finally:
        machine.close()


def test_descriptors_begin_at_three(machine: Any) -> None:
    def body(p: Process) -> None:
        assert p.socket(SOCK_STREAM) == 3
        assert p.fork().socket(SOCK_STREAM) == 4
        assert p.process().socket(SOCK_STREAM) == 3

    with_process(machine(), body)


def test_memory_has_an_end(machine: Any) -> None:
    def body(p: Process) -> None:
        one, _ = p.socketpair(SOCK_STREAM)
        end = p.task.base + (1 << 22)
        assert p.call("write", one, end - 4, 4) == 4
        assert p.call("write", one, end - 4, 5) == EFAULT
        assert p.call("write", one, BAD, 1) == EFAULT

    with_process(machine(), body)


def test_signals_reach_the_call_that_was_begun(machine: Any) -> None:
    def body(p: Process) -> None:
        one, _ = p.socketpair(SOCK_STREAM)
        waiting = [p.begin(p.recv, one) for _ in range(2)]
        assert all(pending.blocks for pending in waiting)
        waiting[1].interrupt()
        assert waiting[1].result == EINTR
        assert waiting[0].blocks
        p.die()

    with_process(machine(), body)


def test_errors_compare_and_show() -> None:
    assert Error(-22) == EINVAL
    assert repr(EINVAL) == "EINVAL"
    assert Message(Error(-22)) == EINVAL
    assert Message(3, b"abc") != EINVAL
    assert Message(3, b"abc") == Message(3, b"abc")


def test_versions() -> None:
    assert linux_version("6.18.44-fc-v669") == (6, 18)
    with pytest.raises(ValueError, match="not a Linux release"):
        linux_version("unknown")


def test_several_at_a_time_keep_their_order() -> None:
    cases = [
        Definition(f"made.{number}", ("NAME-1a",), lambda p: p.socket(SOCK_STREAM), None, None, (), "Made up.")
        for number in range(20)
    ]
    reports = list(run_all(cases, "host", jobs=3))
    assert [report.case for report in reports] == [definition.name for definition in cases]
    assert "20" in summary(reports)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--on", "core", "-k", "OOB-1"]) == 0
    assert "urgent" in capsys.readouterr().out
    assert main(["--on", "core", "-k", "OOB-1", "--json"]) == 0
    assert all(json.loads(line)["outcome"] == "passed" for line in capsys.readouterr().out.splitlines())
    assert main(["--list", "-k", "OOB-1a"]) == 0
    assert capsys.readouterr().out.startswith("urgent.reads_stop_at_the_mark  OOB-1a")
    assert main(["-k", "no such case"]) == 2


def test_the_command_refuses_to_run_without_assertions() -> None:
    run = subprocess.run(
        [sys.executable, "-O", "-m", "afunix.conformance", "--on", "core", "-k", "OOB-1a"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "without -O" in run.stderr
