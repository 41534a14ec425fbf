"""CPython's own tests with the drop-in in force: those of the Python that Debian installs, run by `cpython.py`."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from cpython import EXCLUDED, SUITES

import afunix

PYTHON = "/usr/bin/python3"
RUNNER = Path(__file__).with_name("cpython.py")

SKIPS = (
    *("*Windows*", "*macOS*", "*DevpollSelector*", "*KqueueSelector*", "*kqueue*", "*BSD*"),  # for other hosts
    *("*network*", "*python.org*", "*IPv6*", "*scope id*"),  # for other families and a network
    "Linux specific test",  # says a test that is not for Linux
    *("", "skipping test", "FD limit reached", "*too many*"),  # inherited for others of its class; limits of this host
)
"""Why tests may skip themselves; natively they do as well."""

SLOW = {"test.test_socket", "test.test_asyncio.test_events", "test.test_selectors", "test.test_poll"}


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that has its tests installed."""
    found = subprocess.run([PYTHON, "-c", "import test.test_socket"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.fail(f"CPython's tests are missing: apt-get install libpython3-testsuite\n{found.stderr}", pytrace=False)
    return PYTHON


def run(python: str, suite: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-B", RUNNER, suite],
        cwd=directory,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": str(Path(afunix.__file__).parents[1]),
            "TMPDIR": "/tmp",  # short enough for socket paths
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """How the suites that are asked for end. They mostly sleep, so two run at a time."""
    here = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module
    ]
    chosen = [str(item.callspec.params["suite"]) for item in here if item.originalname == "test_suite"]
    pool = ThreadPoolExecutor(2)
    yield {name: pool.submit(run, python, name, tmp_path_factory.mktemp("suite")) for name in chosen}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(
    "suite", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SUITES]
)
def test_suite(suite: str, results: dict[str, Future[subprocess.CompletedProcess[str]]]) -> None:
    """All pass; some that are for other hosts skip themselves, and what is left out is in the table."""
    result = results[suite].result()
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    left_out = [line.split(": ")[1] for line in lines if line.startswith("left out: ")]
    print(*(f"left out: {name}" for name in left_out), sep="\n")
    assert all(any(fnmatch.fnmatchcase(name, pattern) for pattern in EXCLUDED) for name in left_out)
    reasons = {line.split(": ", 2)[2] for line in lines if line.startswith("skipped: ")}
    assert not {why for why in reasons if not any(fnmatch.fnmatch(why, pattern) for pattern in SKIPS)}
    run = re.fullmatch(r"run: (\d+)", lines[-1])
    assert run is not None
    assert int(run[1]) >= LEAST.get(suite, 1)


LEAST = {
    "test.test_socket": 200,
    "test.test_asyncio.test_unix_events": 80,
    "test.test_asyncio.test_events": 100,
    "test.test_asyncio.test_sock_lowlevel": 20,
    "test.test_asyncio.test_streams": 40,
    "test.test_selectors": 50,
    "test.test_socketserver": 15,
    "test._test_multiprocessing": 12,
}
"""So that a suite which is no longer found does not pass with nothing run."""


@pytest.mark.parametrize("pattern", EXCLUDED)
def test_left_out(pattern: str) -> None:
    """Shown in the summary, with why it can't apply."""
    pytest.skip(f"{pattern}: {EXCLUDED[pattern]}")


def test_each_exclusion_is_of_a_test_that_there_is(python: str) -> None:
    """No pattern has outlived the test that it was for."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import afunix, cpython, fnmatch\n"
        "with afunix.patch():\n"
        "    names = [test.id() for suite in cpython.SUITES for test in cpython.tests(cpython.loaded(suite))]\n"
        "print([p for p in cpython.EXCLUDED if not fnmatch.filter(names, p)])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(afunix.__file__).parents[1])}
    command = [python, "-B", "-c", program, str(RUNNER.parent)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
