"""Options and fixtures of the tests of systems: the comparison with native, the look at the host's own sockets."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from .results import Results
from .running import PATH, Failure, Ran, World
from .scenario import Scenario

RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("systems")
    group.addoption("--systems-report", metavar="FILE", help="add what was measured to a JSON file")
    group.addoption("--systems-trace", metavar="DIR", help="write traces of all that runs under afunix there")
    group.addoption("--systems-keep", action="store_true", help="keep the directories of the runs, and name them")


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--systems-report", None):
        config.stash[RESULTS] = Results(Path(path))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if results := session.config.stash.get(RESULTS, None):
        results.write()


@pytest.fixture(scope="session")
def native_runs() -> dict[tuple[str, str], Ran | Failure]:
    """How each scenario of each file ran natively, once in a session."""
    return {}


def version_of(what: str, command: str, hint: str = "") -> str:
    """What a command tells as the version of something; none is a failure."""
    # The programs are found where scenarios find them.
    shell = ["bash", "-euo", "pipefail", "-c", f"PATH={PATH}\n{command}"]
    result = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode or not result.stdout.strip():
        pytest.fail(f"no version of {what}: {command}\n{result.stderr}\n{hint}", pytrace=False)
    return result.stdout.strip().splitlines()[0]


@pytest.fixture(scope="module")
def version(request: pytest.FixtureRequest) -> str:
    """The version of the system, as its own command tells it; a missing program is a failure."""
    module = request.module
    hint = f"apt-get install --no-install-recommends {' '.join(module.PACKAGES)}"
    return version_of(module.SYSTEM, module.VERSION, hint)


@pytest.fixture
def world_of(request: pytest.FixtureRequest) -> Callable[[str], World]:
    """Makes worlds with the session's options."""
    traces = request.config.getoption("--systems-trace", None)
    keep = request.config.getoption("--systems-keep", False)

    def make(name: str) -> World:
        trace_to = None
        if traces:
            Path(traces).mkdir(parents=True, exist_ok=True)
            trace_to = Path(traces).resolve() / re.sub(r"\W+", "-", request.node.name).strip("-")
        return World(name, trace_to, keep)

    return make


@pytest.fixture
def same_as_native(
    request: pytest.FixtureRequest,
    world_of: Callable[[str], World],
    native_runs: dict[tuple[str, str], Ran | Failure],
    version: str,
) -> Callable[[Scenario, str], None]:
    """Demands that a scenario succeeds in a world, and that it says what it says natively."""

    def demand(scenario: Scenario, world: str) -> None:
        told = version_of(scenario.name, scenario.version) if scenario.version else version
        key = (request.module.__name__, scenario.name)
        if key not in native_runs:
            try:
                native_runs[key] = world_of("native").run(scenario)
            except Failure as failure:
                native_runs[key] = failure
        native = native_runs[key]
        results = request.config.stash.get(RESULTS, None)
        entry = results and results.entry(request.module.SYSTEM, told, scenario.name, scenario.note)
        if entry:
            note(entry.seconds, entry.figures, "native", native)
        if isinstance(native, Failure):
            pytest.fail(f"natively: {native}", pytrace=False)
        ran: Ran | Failure
        try:
            ran = world_of(world).run(scenario)
        except Failure as failure:
            ran = failure
        same = isinstance(ran, Ran) and ran.lines == native.lines
        if entry:
            note(entry.seconds, entry.figures, world, ran if same else Failure())
        if isinstance(ran, Failure):
            pytest.fail(f"{world}: {ran}", pytrace=False)
        if not same:
            difference = difflib.unified_diff(native.lines, ran.lines, "native", world, lineterm="")
            pytest.fail("\n".join(difference), pytrace=False)

    return demand


def note(
    seconds: dict[str, float | None], figures: dict[str, dict[str, tuple[float, str]]], world: str, ran: Ran | Failure
) -> None:
    """Put a run into its row."""
    seconds[world] = None if isinstance(ran, Failure) else round(ran.seconds, 2)
    if isinstance(ran, Ran):
        for name, figure in ran.figures.items():
            figures.setdefault(name, {})[world] = figure


@pytest.fixture
def nothing_on_the_host(
    world_of: Callable[[str], World], version: str, tmp_path: Path
) -> Callable[[Scenario, Sequence[str]], None]:
    """Demands that a private run makes these calls with success, and has none of the host's own sockets for them."""

    def demand(scenario: Scenario, calls: Sequence[str]) -> None:
        world = world_of("private")
        world.trace_to = world.trace_to or tmp_path / "trace"
        try:
            wrong, looked_at = world.watched(scenario)
        except Failure as failure:
            pytest.fail(str(failure), pytrace=False)
        trace = world.trace_to.with_name(f"{world.trace_to.name}.steps").read_text(errors="replace")
        made = set(re.findall(r"^\S+ (\w+)\(.*\) += [^-]", trace, re.MULTILINE))
        assert set(calls) <= made, f"the trace lacks {set(calls) - made}"
        assert looked_at, "no placeholder was there to be looked at"
        assert not wrong

    return demand
