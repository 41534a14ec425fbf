"""What the documents promise: each command of the README runs, its output is real, what they name is there.

The commands run in a copy of the checkout, in the order in which a reader would, with the Python of these tests as
python3. The README's test command is not run, as that is what runs this file: .ci/run must run it instead, and is
tried with stand-ins for all that it starts.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import afunix

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
SECONDS = 300

NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "build", "dist")


def blocks(language: str) -> list[str]:
    """The code blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
TEST_COMMAND = next(command for command in COMMANDS if command.endswith(" -m pytest"))
FIRST, *OTHERS = [command for command in COMMANDS if command != TEST_COMMAND]


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """A command line of the README, as a shell runs it; standard error goes where the output goes."""
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    python = Path(getattr(sys, "_base_executable", sys.executable))
    return subprocess.run(
        ["bash", "-c", 'python3() { "$README_PYTHON" "$@"; }\n' + command],
        cwd=directory,
        env={**environment, "README_PYTHON": str(python), "TMPDIR": "/tmp"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def succeeded(result: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must have succeeded."""
    assert result.returncode == 0, f"status {result.returncode}\n{result.stdout}"
    return result.stdout


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    """A copy of the checkout, without what was built in it."""
    with tempfile.TemporaryDirectory(prefix="afunix-readme-", dir="/tmp") as name:
        copy = Path(name, "afunix")
        shutil.copytree(CHECKOUT, copy, ignore=NOT_COPIED)
        yield copy


@pytest.fixture(scope="module")
def first_output(copy: Path) -> str:
    """What the README's first command says, which sets up what the others use."""
    return succeeded(run(FIRST, copy))


def shape(output: str) -> dict[str, list[str]]:
    """The lines by process, with the program's own under ""; without what is different in each run.

    Processes are numbered in the order in which they appear. How the lines of several processes mix is left open.
    """
    numbers: dict[str, str] = {}
    lines: dict[str, list[str]] = {}
    output = re.sub(r"/tmp/hello-\w+/", "/tmp/hello-N/", output)
    output = re.sub(r"(?<=python\[)\d+(?=\])", lambda found: numbers.setdefault(found[0], f"#{len(numbers)}"), output)
    for line in output.splitlines():
        traced = re.match(r"python\[#\d+\]", line)
        lines.setdefault(traced[0] if traced else "", []).append(line)
    return lines


def test_shape_tells_processes_apart() -> None:
    """The comparison sees another order within a process, other numbers and other words, but no other process ids."""
    assert shape("python[10] a\npython[11] b\nx\npython[10] c → 3 python[11]\n") == {
        "python[#0]": ["python[#0] a", "python[#0] c → 3 python[#1]"],
        "python[#1]": ["python[#1] b"],
        "": ["x"],
    }
    assert shape("python[10] a\npython[10] b\n") != shape("python[10] b\npython[10] a\n")
    assert shape("python[10] a(3)\n") != shape("python[10] a(4)\n")


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_first_command_says_what_the_readme_shows(first_output: str) -> None:
    """One command sets up everything and runs the example; the output in the README is that of such a run."""
    (shown,) = blocks("text")
    assert shape(first_output) == shape(shown)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.parametrize("command", OTHERS)
@pytest.mark.usefixtures("first_output")
def test_command_runs(command: str, copy: Path) -> None:
    """Each further command of the README succeeds in the place that the first one has set up."""
    succeeded(run(command, copy))


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
@pytest.mark.usefixtures("first_output")
def test_options_are_those_that_there_are(copy: Path) -> None:
    """The README's section on options names every option of the command, and no other."""
    said = succeeded(run(".venv/bin/afunix --help && .venv/bin/afunix run --help", copy))
    section = README.partition("\n## Options\n")[2].partition("\n## ")[0]
    option = re.compile(r"(?<!\S)[`\[]?(--[a-z][a-z-]*)")
    assert set(option.findall(section)) == set(option.findall(said)) - {"--help"}


def test_example_says_the_same_on_linux() -> None:
    """What the example prints on the host's own sockets is what the README shows of it on ours."""
    (shown,) = blocks("text")
    command = [sys.executable, str(CHECKOUT / "examples" / "hello.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines() == shape(shown)[""]


# -- continuous integration


def ci(copy: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run .ci/run of a copy."""
    return subprocess.run(
        [copy / ".ci" / "run", *arguments],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


STAND_IN = """#!/bin/bash
echo "${0##*/} $*" >>"$LOG"
if [[ $* == "-m venv .venv" ]]; then
    mkdir -p .venv/bin
    for name in pip ruff mypy python; do cp "$0" ".venv/bin/$name"; done
fi
[[ "${0##*/} $*" != "${FAILS-}" ]]
"""


@pytest.fixture
def stand_ins(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A directory with .ci/run and README, and the environment in which all that it starts only logs itself."""
    place, programs = tmp_path / "checkout", tmp_path / "programs"
    (place / ".ci").mkdir(parents=True)
    programs.mkdir()
    shutil.copy(CHECKOUT / "README.md", place)
    shutil.copy(CHECKOUT / ".ci" / "run", place / ".ci")
    (place / "tests" / "systems").mkdir(parents=True)
    shutil.copy(CHECKOUT / "tests" / "systems" / "packages.py", place / "tests" / "systems")
    for name in ("apt-get", "python3.11"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    return place, {"PATH": f"{programs}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}


def test_ci_knows_the_test_command() -> None:
    """It takes the command out of the README, so the two can't drift apart."""
    assert succeeded(ci(CHECKOUT, "--test-command")) == TEST_COMMAND + "\n"


def test_ci_ends_with_the_test_command(stand_ins: tuple[Path, dict[str, str]]) -> None:
    """Packages, an environment, style, types, then each part of the README's command and nothing more."""
    place, environment = stand_ins
    succeeded(ci(place, env=environment))
    log = Path(environment["LOG"]).read_text().splitlines()
    parts = [part.replace(".venv/bin/", "").replace("'", "") for part in TEST_COMMAND.split(" && ")]
    started = [parts[0].replace("python3", "python3.11"), *parts[1:]]
    assert log[-len(started) :] == started
    before = log[: -len(started)]
    assert before[0] == "apt-get update -q"
    assert [line.split()[:2] for line in before[1:3]] == [["apt-get", "install"]] * 2
    assert before[-4:] == [*started[:2], "ruff check .", "mypy "]


@pytest.mark.parametrize(
    "fails", ["apt-get update -q", "ruff check .", "mypy ", "python -m pytest", "pip install -q -e .[dev]"]
)
def test_ci_fails_with_each_of_its_steps(stand_ins: tuple[Path, dict[str, str]], fails: str) -> None:
    """No failure is passed over, and nothing is started after it."""
    place, environment = stand_ins
    assert ci(place, env={**environment, "FAILS": fails}).returncode != 0
    assert Path(environment["LOG"]).read_text().splitlines()[-1] == fails


def test_ci_refuses_a_readme_without_a_test_command(stand_ins: tuple[Path, dict[str, str]]) -> None:
    """A README that was changed so that the command is no longer found is an error, not an empty run."""
    place, environment = stand_ins
    (place / "README.md").write_text(README.replace(TEST_COMMAND, "true"), encoding="utf-8")
    assert ci(place, env=environment).returncode != 0
    assert not Path(environment["LOG"]).exists()


# -- what the documents name

LINUX_PATHS = {"net/unix"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_names_in_documents_are_there(document: Path) -> None:
    """Links lead to files, and paths in code type are those of files: of the checkout, or of the package."""
    text = document.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = {link for link in links if not (document.parent / link).exists()}
    paths = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", text))
    roots = (CHECKOUT, CHECKOUT / "src" / "afunix")
    missing |= {path for path in paths - LINUX_PATHS if not any((root / path).exists() for root in roots)}
    assert not missing


def test_decisions_are_numbered() -> None:
    """Each decision says its own number, and none is missing."""
    decisions = sorted((CHECKOUT / "docs" / "decisions").glob("*.md"))
    assert decisions
    for number, decision in enumerate(decisions, 1):
        assert decision.name.startswith(f"{number:04}-")
        assert decision.read_text(encoding="utf-8").startswith(f"# {number:04}: ")


def test_changelog_has_this_version() -> None:
    """The newest entry of the changelog is this version's."""
    changelog = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    assert versions[0] == afunix.__version__
