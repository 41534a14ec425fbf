"""Language runtimes: in each a server and clients, over a path and an abstract name, and its own tests of Unix sockets.

The programs are in programs/echo, and speak one protocol: an answer is what was said, in capitals. They are built once,
natively; what is compared is what they do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .scenario import Scenario, placements

SYSTEM = "Language runtimes"
VERSION = "sed -n 's/^PRETTY_NAME=\"\\(.*\\)\"/\\1/p' /etc/os-release; gcc --version && node --version && ruby --version"
PACKAGES = (
    *("gcc", "g++", "libc6-dev", "libasio-dev", "python3", "nodejs", "perl", "php-cli", "ruby", "lua5.4", "lua-socket"),
    *("erlang-base", "netcat-openbsd"),
)
LONG_PACKAGES = (
    *("pypy3", "pypy3-lib-testsuite", "golang-go", "golang-src", "openjdk-17-jdk-headless", "rustc", "ocaml-nox"),
    *("mono-mcs", "cargo", "librust-tokio-dev"),
)

SOURCES = Path(__file__).parent / "programs" / "echo"
BUILT = Path(tempfile.gettempdir()) / f"afunix-runtimes-{os.getpid()}"


@dataclass(frozen=True, kw_only=True)
class Language:
    """How programs in a language are built and started, and what it can do with Unix sockets."""

    name: str
    program: str
    """The words before `serve ADDRESS` and `call ADDRESS`."""
    build: str = ""
    """What makes the program in $BUILT."""
    shows: Sequence[str] = ()
    """What else its client says than all clients do."""
    abstract: bool = True
    """Whether it knows abstract names."""
    long: bool = False
    """Whether its compiler is large."""

    @property
    def scenario(self) -> Scenario:
        """A server, and clients, of the language."""
        names = ["$DIR/s", *(["@${DIR##*/}"] if self.abstract else [])]
        return Scenario(
            name=f"{self.name}: server, 50 clients at once",
            server="".join(
                f'\nstart server{at} {self.program} serve "{name}"\nuntil_ok nc -zU "{name}"'
                for at, name in enumerate(names)
            ),
            steps="echo passed from a file >passed\n"
            + "\n".join(f'{self.program} call "{name}"\nrm -f one other receiver sender' for name in names),
            shows=["^said: HELLO FROM ", "^half-closed: 300000$", "^at once: 50$", "^refused: ", *self.shows],
            timeout=40,
            long=self.long,
        )


FILE = "^file: PASSED FROM A FILE$"
LANGUAGES = [
    Language(
        name="C",
        build=f"cc -O1 -Wall -pthread -o $BUILT/c {SOURCES}/echo.c",
        program=f"{BUILT}/c",
        shows=[FILE, "^pair: a record$"],
    ),
    Language(
        name="C++ (Asio)",
        build=f"g++ -O0 -Wall -pthread -o $BUILT/cpp {SOURCES}/echo.cpp",
        program=f"{BUILT}/cpp",
        shows=["^datagram: a datagram$"],
    ),
    Language(
        name="CPython",
        program=f"/usr/bin/python3 {SOURCES}/echo.py",
        shows=[FILE, "^in threads: 50$", "^pair: passed from a file$", "^datagram: .*a datagram"],
    ),
    Language(
        name="Node.js",
        program=f"node {SOURCES}/echo.js",
        shows=["^handed over: FROM THE CHILD$"],
        abstract=False,  # not by that of every release
    ),
    Language(name="Perl", program=f"perl {SOURCES}/echo.pl", shows=["^pair: a datagram$"]),
    Language(name="PHP", program=f"php {SOURCES}/echo.php", shows=[FILE], abstract=False),
    Language(name="Ruby", program=f"ruby {SOURCES}/echo.rb", shows=[FILE, "^pair: through a socket", "^not ready: "]),
    Language(
        name="Lua (LuaSocket)",
        program=f"lua5.4 {SOURCES}/echo.lua",
        shows=["^datagram: a datagram\tsender$"],
        abstract=False,
    ),
    Language(
        name="Erlang",
        build=f"erlc -o $BUILT {SOURCES}/echo.erl",
        program=f"erl -noinput -pa {BUILT} -run echo main",
        shows=["^socket: BY THE SOCKET MODULE$", "^time-out: {error,timeout}$", "^datagram: a datagram from"],
    ),
    Language(
        name="PyPy",
        program=f"pypy3 {SOURCES}/echo.py",
        shows=[FILE, "^in threads: 50$", "^pair: passed from a file$", "^datagram: .*a datagram"],
        long=True,
    ),
    Language(
        name="Go, a static binary",
        build=f"CGO_ENABLED=0 GO111MODULE=off GOCACHE=$BUILT/.cache go build -o $BUILT/go {SOURCES}/echo.go",
        program=f"{BUILT}/go",
        shows=[FILE, "^datagram: a datagram from other$", "^packet: a record$", "^unlinked: true$"],
        long=True,
    ),
    Language(
        name="Java",
        build=f"javac -d $BUILT/java {SOURCES}/Echo.java",
        program=f"java -cp {BUILT}/java Echo",
        shows=["^bound by itself: true$", "^interrupted: .*ClosedByInterruptException$"],
        abstract=False,
        long=True,
    ),
    Language(
        name="Rust",
        build=f"rustc -O -o $BUILT/rust {SOURCES}/echo.rs",
        program=f"{BUILT}/rust",
        shows=["^timed out: WouldBlock$", "^ended: 0$", "^datagram: a datagram from .*sender"],
        abstract=False,
        long=True,
    ),
    Language(
        name="OCaml",
        build=f"cp {SOURCES}/echo.ml $BUILT && cd $BUILT && ocamlopt -I +threads unix.cmxa threads.cmxa -o ocaml echo.ml",
        program=f"{BUILT}/ocaml",
        shows=["^pair: a datagram$", "^ready: 0$"],
        long=True,
    ),
    Language(
        name=".NET (Mono)",
        build=f"mcs -out:$BUILT/Echo.exe {SOURCES}/Echo.cs",
        program=f"mono {BUILT}/Echo.exe",
        shows=["^blocking: BLOCKING$", "^ready: False$"],
        long=True,
    ),
]
SCENARIOS = {language.scenario.name: language for language in LANGUAGES}


@pytest.fixture(scope="session")
def builds() -> Iterator[dict[str, str]]:
    """What has been built, with what the compilers said to it."""
    BUILT.mkdir(exist_ok=True)
    yield {}
    shutil.rmtree(BUILT, ignore_errors=True)


@pytest.fixture
def built(scenario: Scenario, builds: dict[str, str]) -> None:
    """The program of a scenario, built natively."""
    language = SCENARIOS.get(scenario.name)
    if language is None or not language.build:
        return
    if language.name not in builds:
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(BUILT), "BUILT": str(BUILT)}
        ran = subprocess.run(
            ["bash", "-euc", f"mkdir -p $BUILT/java; {language.build}"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        builds[language.name] = "" if ran.returncode == 0 else ran.stdout + ran.stderr
    if builds[language.name]:
        pytest.fail(f"{language.name} is not built:\n{builds[language.name]}", pytrace=False)


@pytest.mark.usefixtures("built")
@placements([language.scenario for language in LANGUAGES])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)
