"""Real programs and real test suites: D-Bus, socat, nc, and CPython's own tests of everything that uses Unix sockets.

The suites belong to the Python of the system, which has them in a package of its own. What is compared is the set of
tests that passed, were skipped and failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .harness import Runner, cases, tool

TOOLS = {
    "message_bus.py": {
        "dbus-daemon": "dbus-daemon",
        "dbus-run-session": "dbus-daemon",
        "dbus-send": "dbus-bin",
        "dbus-monitor": "dbus-bin",
    },
    "tools.py": {"socat": "socat", "nc": "netcat-openbsd"},
}
"""Which programs each driver starts, and the packages that have them."""


@pytest.mark.parametrize(("source", "case"), cases(*TOOLS))
def test_case(source: str, case: str, same_as_native: Callable[..., None]) -> None:
    """One case of a driver of real programs: it succeeds and says what it says on Linux."""
    for name, package in TOOLS[source].items():
        tool(name, package)
    same_as_native(source, case)


PYTHON = "/usr/bin/python3"

SUITES = {
    "sockets": (
        "test_socket",
        *("-m", "*Unix*"),
        *("-m", "*SCMRights*"),
        *("-m", "BasicSocketPairTest"),
        *("-m", "TestLinuxAbstractNamespace"),
        *("-m", "SendRecvFdsTests"),
    ),
    "asyncio": ("test_asyncio", "-m", "*nix*", "-m", "*Unix*", "-m", "*UNIX*"),
    "socketserver": ("-u", "network", "test_socketserver"),
    "multiprocessing": ("test_multiprocessing_fork", "-m", "*Connection*", "-m", "*Listener*", "-m", "*Pickling*"),
    "readiness": ("-j4", "test_selectors", "test_epoll", "test_poll", "test_select"),
}

_native: dict[str, dict[str, str]] = {}


def _results(runner: Runner, suite: str, directory: Path) -> dict[str, str]:
    """Each test's name and how it ended."""
    report = directory / f"{suite}-{runner.where}.xml"
    outcome = runner.run(
        # Some take as many sockets as they may have; the supervisor, which has one for each, must be allowed more.
        [tool("prlimit", "util-linux"), "--nofile=4096", PYTHON, "-m", "test", "--junit-xml", report, *SUITES[suite]],
        timeout=100,
        cwd=directory,
        env={"TMPDIR": "/tmp"},  # short enough for socket paths
    )
    if not report.exists():
        pytest.fail(str(outcome), pytrace=False)
    results = {}
    for test in ElementTree.parse(report).getroot().iter("testcase"):
        children = {child.tag for child in test}
        ended = next((word for word in ("failure", "error", "skipped") if word in children), "ok")
        results[test.attrib["name"]] = ended
    results["(exit status)"] = str(outcome.status)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_python_suite(suite: str, where: Runner, tmp_path: Path) -> None:
    """A part of CPython's own tests ends as it does natively, where it is clean."""
    if not os.path.exists(PYTHON):
        pytest.fail(f"{PYTHON} is missing: apt-get install python3", pytrace=False)
    check = Runner("native").run([PYTHON, "-c", "import test.test_socket"])
    if check.status != 0:
        pytest.fail(f"CPython's tests are missing: apt-get install libpython3.11-testsuite\n{check}", pytrace=False)
    if suite not in _native:
        native = _results(Runner("native"), suite, tmp_path)
        assert list(native.values()).count("ok") > 20, native
        assert not {name: ended for name, ended in native.items() if ended in ("failure", "error")}
        assert native["(exit status)"] == "0"
        _native[suite] = native
    if not where.is_native:
        assert _results(where, suite, tmp_path) == _native[suite]
