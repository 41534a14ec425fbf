"""Programs that make malformed calls under `afunix run`: every result is the host's, and nobody else is disturbed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from difflib import unified_diff
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("hostile.py")
RUN = (sys.executable, "-m", "afunix", "run", "--private", "--")
CALLS = 3000
ROUND = 5000
"""Calls of each fuzzer at a time where there are minutes for it: few enough for a busy machine."""
KEPT = 8
"""Descriptors that the supervisor may keep of the tasks that called last."""


def run(directory: Path, seeds: list[str], calls: int, supervised: bool) -> dict[str, str]:
    """One run: its lines by their first word."""
    directory.mkdir(parents=True)
    result = subprocess.run(
        [*(RUN if supervised else ()), sys.executable, str(PROGRAM), str(directory), str(calls), *seeds],
        env={**os.environ, **({"AFUNIX_SUPERVISED": "1"} if supervised else {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert result.stdout.count("status 0\n") == 2, result.stdout
    assert int(lines["exchanged"]) > 10
    return lines


def compare(directory: Path, seeds: list[str], calls: int) -> None:
    """The same fuzzers on the host and on ours."""
    run(directory / "host", seeds, calls, supervised=False)
    lines = run(directory / "ours", seeds, calls, supervised=True)
    before, after = map(int, lines["descriptors"].split())
    assert after - before <= KEPT, "the supervisor leaks descriptors"
    for seed in seeds:
        host, ours = ((directory / side / seed).read_text(encoding="ascii").splitlines() for side in ("host", "ours"))
        assert len(host) == calls
        difference = list(unified_diff(host, ours, "host", "ours", n=0, lineterm=""))
        assert not difference, f"seed {seed}:\n" + "\n".join(difference[:30])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hostile_calls(tmp_path: Path) -> None:
    """Seeds that are always the same and others, two fuzzers at a time."""
    seeds = ["1", f"random-{secrets.randbelow(1 << 31)}"]
    print("seeds", *seeds)
    compare(tmp_path / "run", seeds, CALLS)


@pytest.mark.timeout(0)
def test_for_minutes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """As long as --minutes says, with ever new seeds."""
    minutes = request.config.getoption("--minutes", None)
    if minutes is None:
        pytest.skip("only with --minutes")
    until = time.monotonic() + 60 * minutes
    calls = rounds = 0
    while time.monotonic() < until:
        seeds = [f"long-{secrets.randbelow(1 << 31)}" for _ in range(2)]
        compare(tmp_path / str(rounds), seeds, ROUND)
        shutil.rmtree(tmp_path / str(rounds))
        rounds += 1
        calls += ROUND * len(seeds)
    print(f"{calls} calls in {rounds} rounds without a difference")
