"""`format_call` against strace itself: one process makes more than a thousand calls under the real strace and
decodes each of them too; line by line both must say the same.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from strace_calls import GROUPS, MARK

from afunix.observe import calls, strace

VERSION = "6.1"
CALLS = ",".join(sorted(calls.CALLS))
PROGRAM = Path(__file__).with_name("strace_calls.py")
SOURCES = Path(strace.__file__).parents[2]

RENAMED = (
    # Names that afunix shows on purpose where strace 6.1 has others.
    (", FIONREAD, ", ", SIOCINQ, "),
    (", TIOCOUTQ, ", ", SIOCOUTQ, "),
    (", SIOCPROTOPRIVATE, ", ", SIOCUNIXFILE, "),
    ("cmsg_type=SO_TIMESTAMP", "cmsg_type=SCM_TIMESTAMP"),
)


@cache
def run(limit: int) -> dict[str, list[tuple[str, str]]]:
    """What afunix and what strace made of each call, by group."""
    program = shutil.which("strace")
    if program is None:
        pytest.fail("strace is not installed: these tests compare against it")
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    if not said.endswith(f"version {VERSION}"):
        pytest.skip(f"the lines are those of strace {VERSION}, and others say more: this is {said}")
    with TemporaryDirectory() as place:
        trace, output = Path(place, "trace"), Path(place, "output")
        command = [program, "-s", str(limit), "-e", "signal=none", "-e", f"trace={CALLS}", "-o", str(trace)]
        command += [sys.executable, str(PROGRAM), str(output), str(limit), place]
        paths = f"{SOURCES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": paths},
            timeout=100,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        ours = json.loads(output.read_text("utf-8"))
        lines = trace.read_text("latin-1").splitlines()
    mark = f"shutdown(-1, {MARK:#x} "
    theirs = [line for before, line in itertools.pairwise(lines) if before.startswith(mark)]
    for old, new in RENAMED:
        theirs = [line.replace(old, new) for line in theirs]
    assert len(theirs) == sum(map(len, ours.values()))
    position = iter(theirs)
    return {group: [(line, next(position)) for line in made] for group, made in ours.items()}


def unaligned(line: str) -> str:
    """A line without the blanks before its result: a renamed constant moves it."""
    call, _, result = line.rpartition(" = ")
    return f"{call.rstrip()} = {result}"


@pytest.mark.parametrize("limit", [32, 5, 0, 4000])
@pytest.mark.parametrize("group", [group.__name__ for group in GROUPS])
def test_the_same_as_strace(group: str, limit: int) -> None:
    """Every call of the group gives strace's line; bytes are shown up to the limit."""
    lines = run(limit)[group]
    assert len(lines) >= 10
    for ours, theirs in lines:
        assert unaligned(ours) == unaligned(theirs)


def test_results_are_aligned_as_strace_does() -> None:
    """The result stands in column 40 where the call is short enough."""
    renamed = [new.strip(", ") for _, new in RENAMED]
    for lines in run(32).values():
        for ours, theirs in lines:
            if not any(name in ours for name in renamed):
                assert ours == theirs
