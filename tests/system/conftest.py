"""Fixtures of the system tests: where programs run, the compiler, private directories, and the comparison."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import deviations
from .harness import PROGRAMS, WHERES, Compiler, Outcome, Runner, normalised

Transcript = Callable[..., str]


@pytest.fixture(params=list(WHERES))
def where(request: pytest.FixtureRequest) -> Runner:
    """A runner natively, under `afunix run`, and under `afunix run --private`, in turn."""
    return Runner(request.param)


@pytest.fixture(scope="session")
def cc(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    """The compiler of the C programs."""
    return Compiler(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    """An empty directory with a name that is short enough for socket paths, and always equally long."""
    directory = Path(tempfile.mkdtemp(prefix="afunix-", dir="/tmp"))
    directory.chmod(0o755)  # programs change their user in it
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def run_case(cc: Compiler) -> Callable[..., Outcome]:
    """Runs a case of a test program somewhere, in a fresh directory, to its successful end."""

    def run(runner: Runner, source: str, case: str, *, static: bool = False, timeout: float = 20.0) -> Outcome:
        directory = Path(tempfile.mkdtemp(prefix="afunix-", dir="/tmp"))
        directory.chmod(0o755)
        command: list[str | os.PathLike[str]] = (
            [cc(source, static=static)] if source.endswith(".c") else [sys.executable, PROGRAMS / source]
        )
        try:
            # Cases that may deviate have runs of their own; a run of all goes without them.
            env = {} if case else {"LEAVE_OUT": f",{','.join(deviations.of(source))},"}
            outcome = runner.run([*command, directory, *([case] if case else [])], timeout=timeout, env=env).ok()
            return Outcome(outcome.arguments, 0, normalised(outcome.stdout, directory), outcome.stderr, outcome.seconds)
        finally:
            shutil.rmtree(directory)

    return run


@pytest.fixture(scope="session")
def native_transcripts() -> dict[tuple[str, str, bool], str]:
    """What each case said natively, once in a session."""
    return {}


@pytest.fixture
def same_as_native(
    request: pytest.FixtureRequest,
    where: Runner,
    run_case: Callable[..., Outcome],
    native_transcripts: dict[tuple[str, str, bool], str],
) -> Callable[..., None]:
    """Demands that a case succeeds here, and that it says, line by line, what it says natively.

    Natively it is held against another native run, so that a transcript that is different by chance is found out
    where it comes from.
    """

    def demand(source: str, case: str, *, static: bool = False, timeout: float = 20.0) -> None:
        reason = deviations.DEVIATIONS.get((source, case))
        if reason and where.where != "native":
            request.applymarker(pytest.mark.xfail(reason=reason, strict=False))
        key = (source, case, static)
        if key not in native_transcripts:
            native = run_case(Runner("native"), source, case, static=static, timeout=timeout)
            native_transcripts[key] = native.stdout
        outcome = run_case(where, source, case, static=static, timeout=timeout)
        assert outcome.stdout.splitlines() == native_transcripts[key].splitlines()
        assert case == "" or outcome.stdout.endswith(f"ok {case}\n")

    return demand
