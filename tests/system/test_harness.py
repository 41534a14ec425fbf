"""The harness itself: time-outs, failures, processes left behind and missing tools; it ends what it started."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from .harness import Runner, cases, normalised, tool

# In a session of its own, and so out of the process group; its process id goes into the file.
ESCAPE = "import os, sys, time; os.setsid(); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


@pytest.fixture
def native() -> Runner:
    return Runner("native")


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _pid_in(path: Path) -> int:
    return int(path.read_text())


def _script_with_escapee(pid_file: Path, then: str) -> list[str]:
    """A shell script that starts a process out of its group, waits until it is there, and then does something."""
    start = f'"{sys.executable}" -c "{ESCAPE}" {pid_file} & while ! test -s {pid_file}; do sleep 0.01; done'
    return ["sh", "-c", f"{start}; {then}"]


def test_outcome(native: Runner) -> None:
    outcome = native.run(["sh", "-c", "cat; echo oops >&2; echo $WORD; exit 3"], input=b"in\n", env={"WORD": "said"})
    assert (outcome.status, outcome.stdout, outcome.stderr) == (3, "in\nsaid\n", "oops\n")
    with pytest.raises(pytest.fail.Exception, match="ended with status 3"):
        outcome.ok()
    assert native.run(["sh", "-c", "kill -TERM $$"]).status == -15


def test_time_out_ends_everything(native: Runner, tmp_path: Path) -> None:
    """Also what left the process group, and what was said before is told."""
    start = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match=r"(?s)timed out after 1\.5 s.*said before"):
        native.run(_script_with_escapee(tmp_path / "pid", "echo said before; sleep 60"), timeout=1.5)
    assert time.monotonic() - start < 10
    assert not _is_running(_pid_in(tmp_path / "pid"))


def test_left_behind(native: Runner, tmp_path: Path) -> None:
    """A run that ends well, but whose process goes on, is a failure; the process is ended."""
    with pytest.raises(pytest.fail.Exception, match="left processes behind"):
        native.run(_script_with_escapee(tmp_path / "pid", "exit 0"))
    assert not _is_running(_pid_in(tmp_path / "pid"))


def test_missing_tool() -> None:
    with pytest.raises(pytest.fail.Exception, match="no-such-tool is missing: apt-get install its-package"):
        tool("no-such-tool", "its-package")


def test_cases_are_those_of_the_programs() -> None:
    assert ("acceptance.c", "tmp_test_sock") in cases("acceptance.c")
    assert ("acceptance.py", "tmp_test_sock") in cases("acceptance.py")


def test_normalised() -> None:
    text = "/tmp/d/x pid 12, pid=3 socket:[77] inode: 5 rapid 9"
    assert normalised(text, Path("/tmp/d")) == "<dir>/x pid <n>, pid=<n> socket:[<n>] inode: <n> rapid 9"
