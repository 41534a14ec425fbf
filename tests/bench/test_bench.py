"""The benchmark driver as a user starts it, natively, and its ways to say that a system gave no number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TITLES = ["round trip, read/write", "round trip, send/recv", "round trip, poll first", "round trip, DGRAM"]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_native_roundtrip_fills_both_tables(tmp_path: Path) -> None:
    """One row a measure, one column a system, pinned and unpinned; JSON holds every sample behind them."""
    results, tables = tmp_path / "results.json", tmp_path / "results.md"
    done = run(
        *("bench", "--quick", "--runs", "2", "--systems", "native", "--only", "roundtrip"),
        *("--json", str(results), "--markdown", str(tables)),
    )
    assert done.returncode == 0, done.stderr
    head, pinned, unpinned = done.stdout.rstrip("\n").split("\n\n")
    assert head.startswith("Linux ")
    for table, caption in ((pinned, "pinned: program and system on CPU "), (unpinned, "unpinned: ")):
        first, header, rule, *rows = table.splitlines()
        assert first.startswith(caption)
        assert header.split() == ["measure", "unit", "native"]
        assert set(rule) == {"-", " "}
        assert [row[: row.index("µs")].rstrip() for row in rows] == TITLES
        for row in rows:
            value, spread = row[row.index("µs") + 2 :].split()
            assert float(value.replace(",", "")) > 0
            assert spread.startswith("±")
            assert spread.endswith("%")
    assert tables.read_text().count("\n| round trip, ") == 8
    cells = json.loads(results.read_text())["results"]
    assert len(cells) == 8
    for cell in cells:
        assert cell["failure"] is None
        assert len(cell["nanoseconds"]) == 2
        assert cell["times_native"] == 1
        assert min(cell["nanoseconds"]) <= cell["median"] * 1000 <= max(cell["nanoseconds"])


def test_unknown_names_are_refused() -> None:
    """A misspelt measure or system is wrong use, not an empty table."""
    for option, known in (("--only", "bulk"), ("--systems", "native")):
        done = run("bench", option, f"{known},nonsense")
        assert done.returncode == 2
        assert "'nonsense'" in done.stderr


def test_a_missing_system_and_a_broken_one_show_in_the_table() -> None:
    """Neither is left out: the first reads "not installed", the second has a footnote with its last words."""
    from bench.measures import MEASURES
    from bench.report import text
    from bench.runner import Cell
    from bench.systems import System, absence

    missing = System("missing", ("no-such-executable",), "no-such-executable")
    broken = System("broken", ("/bin/sh", "-c", "echo no luck >&2; exit 3"), "/bin/sh")
    reasons = {system.name: absence(system, os.environ) for system in (missing, broken)}
    assert reasons == {"missing": "not installed", "broken": "does not work: exit status 3, no luck"}
    cells = [Cell(MEASURES[0], system, True, failure=reasons[system.name]) for system in (missing, broken)]
    lines = text(cells, True, "caption").splitlines()
    assert lines[3].split("  ")[-2:] == ["not installed", "does not work [1]"]
    assert lines[4] == "[1] broken: exit status 3, no luck"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo lost >&2; exit 4", "exit status 4: lost"),
        ("echo hello", "printed no number"),
        ("echo 1e12", "passed outside"),
        ("echo 0", "passed outside"),
    ],
)
def test_a_run_without_a_credible_number_fails(tmp_path: Path, script: str, reason: str) -> None:
    """An exit status, no number, or more time than passed on our own clock: none of them becomes a sample."""
    from bench.measures import MEASURES
    from bench.runner import Cell, Failed, Workshop
    from bench.systems import System

    cell = Cell(MEASURES[0], System("odd", ("/bin/sh", "-c", script), "/bin/sh"), False)
    with pytest.raises(Failed, match=reason):
        Workshop(tmp_path, 0).run(cell, 100)


def test_memory_curve_has_ten_points_and_a_verdict() -> None:
    """The curve of a native run, and the exit status when the range exceeds what is allowed."""
    arguments = ("bench.memory", "--system", "native", "--messages", "20000")
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    _, header, *points, verdict = done.stdout.splitlines()
    assert header.split() == ["messages", "seconds", "VmRSS", "KiB"]
    assert [int(point.split()[0].replace(",", "")) for point in points] == list(range(2000, 20001, 2000))
    assert all(int(point.split()[2].replace(",", "")) > 0 for point in points)
    assert ": flat (limit 1,024 KiB)" in verdict
    strict = run(*arguments, "--limit", "-1")
    assert strict.returncode == 1
    assert ": NOT flat (limit -1 KiB)" in strict.stdout


def test_memory_range_sees_growth_between_checkpoints() -> None:
    """A peak between tenths counts; what came before the first tenth does not, nor a process already gone."""
    from bench.memory import Curve

    curve = Curve(tenths=[(1.0, 500), (2.0, 520)], samples=[(0.5, 90), (1.5, 900), (1.9, 510), (2.5, 0)])
    assert curve.range() == 400
    curve.samples.append((1.95, 0))
    assert curve.range() == 400


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["bench", "bench.memory"])
def test_nothing_is_left_of_an_interrupted_run(module: str, number: signal.Signals, tmp_path: Path) -> None:
    """Neither the directory of the programs nor a program."""
    arguments = ["--systems", "native"] if module == "bench" else ["--system", "native"]
    # The tests may have been started with some of the signals ignored, as nohup does.
    command = ["env", "--default-signal", sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("afunix-bench-*/file")):
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == (-number if number == signal.SIGINT else 128 + number)
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
