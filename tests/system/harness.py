"""Running test programs: natively and under `afunix run`, in a process group of their own, within bounded time.

A run that exceeds its time is killed with everything it started and told as a failure, with what it had said until
then. The environment of a run carries a token, by which also those of its processes are found that left its process
group (daemons); one that outlives the run is a failure too.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["PROGRAMS", "WHERES", "Compiler", "Outcome", "Runner", "cases", "normalised", "tool"]

PROGRAMS = Path(__file__).parent / "programs"

WHERES: Mapping[str, Sequence[str]] = {
    "native": (),
    "afunix": (sys.executable, "-m", "afunix", "run", "--"),
    "afunix-private": (sys.executable, "-m", "afunix", "run", "--private", "--"),
}
"""Where a program runs, and the words that come before its own for that."""

TIMEOUT = 20.0
"""Seconds for one run of a program."""

TOKEN = "AFUNIX_TEST_RUN"

Argument = str | os.PathLike[str]


def _last(text: str) -> str:
    """The end of an output, which is what a failure is about."""
    lines = text.splitlines()
    return "".join(f"{line}\n" for line in (["…", *lines[-40:]] if len(lines) > 40 else lines))


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit status (minus the signal's number, if one ended it), output, seconds."""

    arguments: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"{' '.join(self.arguments)}\nended with status {self.status} after {self.seconds:.2f} s\n"
            f"--- standard output\n{_last(self.stdout)}--- standard error\n{_last(self.stderr)}---"
        )

    def ok(self) -> Outcome:
        """This outcome, if its status is 0."""
        if self.status != 0:
            pytest.fail(str(self), pytrace=False)
        return self


def _members(token: str) -> dict[int, str]:
    """The processes, with their command lines, whose environment carries this token."""
    wanted = f"{TOKEN}={token}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            # It may end while we look, and then it has neither environment nor command line any more.
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
    return found


def _kill(token: str) -> None:
    """End all processes of the run, by their ids; again until a look finds none, for they may fork meanwhile."""
    for _ in range(100):
        members = _members(token)
        if not members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _left_behind(token: str) -> dict[int, str]:
    """What still runs of a run that has ended, after a second's grace for those that are about to end."""
    deadline = time.monotonic() + 1
    while (members := _members(token)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return members


@dataclass(frozen=True)
class Runner:
    """Starts programs in one place: natively, or under `afunix run`."""

    where: str

    @property
    def is_native(self) -> bool:
        """Whether programs run on the host's own sockets."""
        return self.where == "native"

    def run(
        self,
        arguments: Sequence[Argument],
        *,
        timeout: float = TIMEOUT,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        cwd: Argument | None = None,
    ) -> Outcome:
        """Run a program to its end and give back how it ended; fails on time-out and on processes left behind.

        env is added to the environment of the tests. The output goes to files, so that what was said before a
        time-out is known, and so that no process left behind can hold up the end.
        """
        command = (*WHERES[self.where], *(os.fspath(argument) for argument in arguments))
        token = uuid.uuid4().hex
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            stdin.write(input)
            stdin.seek(0)
            start = time.monotonic()
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, **(env or {}), TOKEN: token},
                start_new_session=True,
                umask=0o022,
            )
            timed_out = False
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    _kill(token)
                    process.wait()
            seconds = time.monotonic() - start
            left = _left_behind(token)
            _kill(token)
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode(errors="backslashreplace"))
        outcome = Outcome(command, process.returncode, texts[0], texts[1], seconds)
        if timed_out:
            pytest.fail(f"timed out after {timeout} s and was killed\n{outcome}", pytrace=False)
        if left:
            running = "\n".join(f"{pid} {line}" for pid, line in left.items())
            pytest.fail(f"left processes behind:\n{running}\n{outcome}", pytrace=False)
        return outcome


class Compiler:
    """Compiles the C programs, each once in a session."""

    FLAGS = ("-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-pthread")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._done: dict[tuple[str, bool], Path] = {}

    def __call__(self, source_name: str, *, static: bool = False) -> Path:
        """The program of `programs/SOURCE_NAME.c`, linked statically if so asked."""
        name = source_name.removesuffix(".c")
        if (name, static) not in self._done:
            target = self._directory / (f"{name}-static" if static else name)
            link = ("-static",) if static else ()
            command = [
                tool("gcc", "gcc and libc6-dev"),
                *self.FLAGS,
                *link,
                "-o",
                str(target),
                str(PROGRAMS / f"{name}.c"),
            ]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                pytest.fail(f"{' '.join(command)}\n{result.stderr}", pytrace=False)
            self._done[name, static] = target
        return self._done[name, static]


def tool(name: str, package: str) -> str:
    """The path of a program that a test needs; its absence is a failure, with the name of the package that has it."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install {package}", pytrace=False)
    return path


_CASE = {".c": re.compile(r"^CASE\((\w+)\)", re.MULTILINE), ".py": re.compile(r"^def case_(\w+)\(", re.MULTILINE)}


def cases(*sources: str) -> list[tuple[str, str]]:
    """(program, case) for every case of these programs, in the order of their sources."""
    found = []
    for source in sources:
        names = _CASE[Path(source).suffix].findall((PROGRAMS / source).read_text())
        assert names, f"{source} has no cases"
        found += [(source, name) for name in names]
    return found


def normalised(text: str, directory: Path) -> str:
    """A transcript without what is different in each run: the directory, process ids, inode numbers."""
    text = text.replace(str(directory), "<dir>")
    text = re.sub(r"\b(pid|ino|inode)([ =:]+)\d+", r"\1\2<n>", text)
    return re.sub(r"\b(socket|pipe):\[\d+\]", r"\1:[<n>]", text)
