"""Running the steps of a scenario in a world, within bounded time, with nothing left behind.

While a private run lasts, it is looked at from time to time which of the host's own sockets its processes hold.

While a scenario runs, this process is the one that the kernel gives orphans to, so that every process that was
started can be found among its descendants, also one that has cleared its environment and left its session.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from system.harness import Outcome, normalised

from .hostsockets import trespasses
from .scenario import CLIENT_INSIDE, PRIVATE, SERVER_INSIDE, SHARED, Scenario, script

__all__ = ["PATH", "Failure", "Ran", "World"]

PR_SET_CHILD_SUBREAPER = 36
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for."""
GRACE = 2.0
"""Seconds in which what is about to end may do so."""
_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """A run that took too long, left something behind, or did not succeed."""


def _children() -> dict[int, list[int]]:
    """The children of each process."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_bytes().rpartition(b") ")[2].split()[1])
                found.setdefault(parent, []).append(int(entry.name))
    return found


def descendants(pid: int) -> set[int]:
    """All processes below this one."""
    children = _children()
    found: set[int] = set()
    new = [pid]
    while new:
        below = [child for child in children.get(new.pop(), ()) if child not in found]
        found.update(below)
        new += below
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in b"ZX"
    except OSError:
        return True


class Family:
    """The processes that are started while it is entered."""

    def __enter__(self) -> Family:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._before = descendants(os.getpid())
        self._own: set[int] = set()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def start(self, command: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a process of our own, which is waited for by whoever asked for it."""
        process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
        self._own.add(process.pid)
        return process  # type: ignore[no-any-return]

    def members(self) -> set[int]:
        """Those of them that still run; orphans that have ended are reaped."""
        members = descendants(os.getpid()) - self._before
        for pid in members - self._own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return {pid for pid in members if not _is_zombie(pid)}

    def left(self) -> dict[int, str]:
        """Those that still run after some grace, with their command lines."""
        deadline = time.monotonic() + GRACE
        while (members := self.members()) and time.monotonic() < deadline:
            time.sleep(0.02)
        lines = {}
        for pid in members:
            with contextlib.suppress(OSError):
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return lines

    def kill(self) -> None:
        """End them; again until a look finds none, for they may fork meanwhile."""
        for _ in range(200):
            members = self.members()
            if not members:
                return
            for pid in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


class Watch:
    """Looks at the host sockets of a private run until it is left, ever more rarely; as a context, what is wrong."""

    FIRST, LAST = 0.3, 5.0
    """Seconds between looks, at first and at most."""

    def __init__(self, supervisor: int, family: Family) -> None:
        self._supervisor = supervisor
        self._family = family
        self._wrong: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> set[str]:
        self._thread.start()
        return self._wrong

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        pause = self.FIRST
        while not self._over.wait(pause):
            self._wrong |= trespasses(self._supervisor, self._family.members)[0]
            pause = min(pause * 1.5, self.LAST)


@dataclass(frozen=True)
class Ran:
    """What a run of a scenario showed."""

    lines: list[str]
    seconds: float
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Numbers that the steps measured, with their units, by name."""


@dataclass
class World:
    """Runs scenarios natively or in one of the ways under `afunix run`, each in a new directory."""

    name: str
    trace_to: Path | None = None
    """Where to put traces of what runs under afunix; nowhere if None."""
    keep: bool = False
    """Whether the directories stay."""

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory with a name that is short enough for socket paths, and always equally long."""
        directory = Path(tempfile.mkdtemp(prefix="afs-", dir="/tmp"))
        directory.chmod(0o755)  # programs change their user in it
        try:
            yield directory
        finally:
            if self.keep:
                print(f"{self.name}: {directory}", file=sys.__stderr__)
            else:
                shutil.rmtree(directory, ignore_errors=True)

    def run(self, scenario: Scenario) -> Ran:
        """Run a scenario to its end; raises Failure if it isn't a good one."""
        with self.directory() as directory, Family() as family:
            return self._judged(scenario, directory, self._outcomes(scenario, directory, family))

    def watched(self, scenario: Scenario) -> tuple[set[str], int]:
        """Run a scenario in private, and look at the host's sockets when all of it stands; as `trespasses` says it."""
        with self.directory() as directory, Family() as family:
            text = script(scenario.server, scenario.steps, "stand")
            part = Part(self, "steps", text, directory, family, PRIVATE)
            part.stands(scenario.timeout)
            found = trespasses(part.process.pid, family.members)
            (directory / ".go").touch()
            outcomes = [part.end(GRACE + 10)]
            self._nothing_left(family, outcomes, directory)
            self._judged(scenario, directory, outcomes)
            return found

    def _outcomes(self, scenario: Scenario, directory: Path, family: Family) -> list[Outcome]:
        parts = (scenario.server, scenario.steps)
        wrong: set[str] = set()
        if self.name in ("native", PRIVATE, SHARED):
            whole = Part(self, "steps", script(*parts), directory, family, self.name)
            with Watch(whole.process.pid, family) if self.name == PRIVATE else contextlib.nullcontext(wrong) as wrong:
                outcomes = [whole.end(scenario.timeout)]
        else:
            server_world, client_world = {SERVER_INSIDE: (SHARED, "native"), CLIENT_INSIDE: ("native", SHARED)}[
                self.name
            ]
            deadline = time.monotonic() + scenario.timeout
            server = Part(self, "server", script(scenario.server, "stand"), directory, family, server_world)
            server.stands(scenario.timeout)
            client = Part(self, "client", script(scenario.steps), directory, family, client_world)
            ended = client.end(deadline - time.monotonic())
            (directory / ".go").touch()
            outcomes = [server.end(GRACE + 10), ended]
        self._nothing_left(family, outcomes, directory)
        if wrong:
            raise Failure("it has the host's own sockets:\n" + "\n".join(sorted(wrong)))
        return outcomes

    @staticmethod
    def _nothing_left(family: Family, outcomes: Sequence[Outcome], directory: Path) -> None:
        if left := family.left():
            running = "\n".join(f"{pid} {line}" for pid, line in left.items())
            raise Failure(f"left processes behind:\n{running}\n" + "\n".join([*map(str, outcomes), logs(directory)]))

    def _judged(self, scenario: Scenario, directory: Path, outcomes: Sequence[Outcome]) -> Ran:
        said = "\n".join(str(outcome) for outcome in outcomes) + "\n" + logs(directory)
        if any(outcome.status for outcome in outcomes):
            raise Failure(said)
        lines = scenario.shown(normalised("".join(outcome.stdout for outcome in outcomes), directory))
        if missing := scenario.missing(lines):
            raise Failure(f"it does not show {missing}\n{said}")
        figures = {}
        if (directory / ".figures").exists():
            for line in (directory / ".figures").read_text().splitlines():
                name, value, unit = line.split("\t")
                figures[name] = (float(value), unit)
        return Ran(lines, max(outcome.seconds for outcome in outcomes), figures)


def logs(directory: Path) -> str:
    """The ends of the logs of what a scenario started."""
    texts = []
    for log in sorted(directory.glob("*.log")):
        if log.is_file():
            last = log.read_text(errors="backslashreplace").splitlines()[-20:]
            texts.append("\n".join((f"--- {log.name}", *last)))
    return "\n".join(texts)


class Part:
    """A script that runs in a world, with its output in files."""

    def __init__(self, world: World, name: str, text: str, directory: Path, family: Family, where: str) -> None:
        self._directory = directory
        self._family = family
        (directory / f".{name}.sh").write_text(text)
        self.command = (*self._words(world, name, where), "bash", str(directory / f".{name}.sh"))
        self._stdout = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by end
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by end
        self._start = time.monotonic()
        self.process = family.start(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._stdout,
            stderr=self._stderr,
            cwd=directory,
            env=environment(directory),
            start_new_session=True,
            umask=0o022,
        )

    @staticmethod
    def _words(world: World, name: str, where: str) -> list[str]:
        """The words that come before those of the steps."""
        if where == "native":
            return []
        words = [sys.executable, "-m", "afunix", "run", *(["--private"] if where == PRIVATE else [])]
        if world.trace_to is not None:
            words += ["--trace-to", str(world.trace_to.with_name(f"{world.trace_to.name}.{name}"))]
        return [*words, "--"]

    def stands(self, timeout: float) -> None:
        """Wait until the script says that everything stands."""
        deadline = time.monotonic() + timeout
        while not (self._directory / ".stands").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Failure(f"not ready\n{self.end(0)}\n{logs(self._directory)}")
            time.sleep(0.02)

    def end(self, timeout: float) -> Outcome:
        """Wait for the end; raises Failure if it doesn't come in time."""
        timed_out = False
        try:
            self.process.wait(max(timeout, 0))
        except subprocess.TimeoutExpired:
            timed_out = True
            self._family.kill()
            self.process.wait()
        seconds = time.monotonic() - self._start
        texts = []
        for file in (self._stdout, self._stderr):
            file.seek(0)
            texts.append(file.read().decode(errors="backslashreplace"))
            file.close()
        outcome = Outcome(self.command, self.process.returncode, texts[0], texts[1], seconds)
        if timed_out:
            raise Failure(f"timed out after {timeout:.1f} s and was killed\n{outcome}\n{logs(self._directory)}")
        return outcome


def environment(directory: Path) -> dict[str, str]:
    """A bare environment, the same for every run: nothing of the one who runs the tests reaches the programs."""
    runtime = directory / ".runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "AFUNIX_DEBUG") if name in os.environ}
    return {
        **kept,
        "PATH": PATH,
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "XDG_RUNTIME_DIR": str(runtime),
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "DIR": str(directory),
    }
