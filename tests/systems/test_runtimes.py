"""Language runtimes: in each a server and clients, over a path and an abstract name, and its own tests of Unix sockets.

The programs are in programs/echo, and speak one protocol: an answer is what was said, in capitals. They are built once,
natively; what is compared is what they do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .scenario import Scenario, placements

SYSTEM = "Language runtimes"
VERSION = (
    "sed -n 's/^PRETTY_NAME=\"\\(.*\\)\"/\\1/p' /etc/os-release; gcc --version && node --version && ruby --version"
)
PACKAGES = (
    *("gcc", "g++", "libc6-dev", "libasio-dev", "python3", "nodejs", "perl", "php-cli", "ruby", "lua5.4", "lua-socket"),
    *("erlang-base", "netcat-openbsd"),
)
LONG_PACKAGES = (
    *(
        "pypy3",
        "pypy3-lib-testsuite",
        "golang-go",
        "golang-src",
        "openjdk-17-jdk-headless",
        "rustc",
        "rust-src",
        "ocaml-nox",
    ),
    *(
        "mono-mcs",
        "cargo",
        "librust-tokio-dev",
        "librust-tokio-test-dev",
        "librust-futures-dev",
        "librust-tempfile-dev",
    ),
)

PROGRAMS = Path(__file__).parent / "programs"
SOURCES = PROGRAMS / "echo"
BUILD_TIMEOUT = 900  # seconds
BUILT = Path(tempfile.gettempdir()) / f"afunix-runtimes-{os.getpid()}"


@dataclass(frozen=True, kw_only=True)
class Language:
    """How programs in a language are built and started, and what it can do with Unix sockets."""

    name: str
    version: str
    """A command that tells it."""
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
            version=self.version,
            timeout=40,
            preparation=BUILD_TIMEOUT if self.build else 0,
            long=self.long,
        )


NEWER_PYTHONS = ("3.12", "3.13")
"""Releases of CPython that are no packages of this Debian: whoever tests them has them from elsewhere."""


def found(release: str) -> str:
    """Steps that find a CPython where it is installed by hand, by pyenv or by uv, and link it into $BUILT.

    A name on PATH may be a shim, which needs its user's home directory.
    """
    home = Path.home()
    places = f"/usr /usr/local {home}/.pyenv/versions/{release}.* {home}/.local/share/uv/python/cpython-{release}.*"
    return rf"""
        for place in {places}; do
            if "$place/bin/python{release}" -c 'import socket' 2>/dev/null; then
                exec ln -sf "$place/bin/python{release}" $BUILT/
            fi
        done
        echo "no CPython {release} below {places}"
        exit 1
    """


TOKIO_BUILD = rf"""
    crates=/usr/share/cargo/registry
    mkdir -p $BUILT/tokio/{{src,tests,examples,.cargo}} && cd $BUILT/tokio
    cp -p $crates/tokio-1.*/tests/uds_*.rs tests && touch src/lib.rs
    cp -p {SOURCES}/tokio.rs examples
    cat >.cargo/config.toml <<END
[source.crates-io]
replace-with = "debian"
[source.debian]
directory = "$crates"
END
    cat >Cargo.toml <<'END'
[package]
name = "uds"
version = "0.0.0"
edition = "2018"
[features]
default = ["full"]
full = []
[dev-dependencies]
tokio = {{ version = "1", features = ["full"] }}
tokio-test = "*"
futures = "*"
tempfile = "*"
libc = "*"
END
    cargo test --offline --no-run
"""
FILE = "^file: PASSED FROM A FILE$"
LANGUAGES = [
    Language(
        name="C",
        version="gcc -dumpfullversion",
        build=f"cc -O1 -Wall -pthread -o $BUILT/c {SOURCES}/echo.c",
        program=f"{BUILT}/c",
        shows=[FILE, "^pair: a record$"],
    ),
    Language(
        name="C++ (Asio)",
        version="echo $(g++ -dumpfullversion), $(dpkg-query -W -f '${Version}' libasio-dev)",
        build=f"g++ -O0 -Wall -pthread -o $BUILT/cpp {SOURCES}/echo.cpp",
        program=f"{BUILT}/cpp",
        shows=["^datagram: a datagram$"],
    ),
    Language(
        name="CPython",
        version="/usr/bin/python3 --version",
        program=f"/usr/bin/python3 {SOURCES}/echo.py",
        shows=[FILE, "^in threads: 50$", "^pair: passed from a file$", "^datagram: .*a datagram"],
    ),
    *(
        Language(
            name=f"CPython {release}",
            version=f"{BUILT}/python{release} --version",
            build=found(release),
            program=f"{BUILT}/python{release} {SOURCES}/echo.py",
            shows=[FILE, "^in threads: 50$", "^pair: passed from a file$", "^datagram: .*a datagram"],
            long=True,
        )
        for release in NEWER_PYTHONS
    ),
    Language(
        name="Node.js",
        version="node --version",
        program=f"node {SOURCES}/echo.js",
        shows=["^handed over: FROM THE CHILD$"],
        abstract=False,  # not by that of every release
    ),
    Language(
        name="Perl", version="perl -e 'print $^V'", program=f"perl {SOURCES}/echo.pl", shows=["^pair: a datagram$"]
    ),
    Language(
        name="PHP",
        version="php -r 'echo PHP_VERSION;'",
        program=f"php {SOURCES}/echo.php",
        shows=[FILE],
        abstract=False,
    ),
    Language(
        name="Ruby",
        version="ruby -e 'puts RUBY_VERSION'",
        program=f"ruby {SOURCES}/echo.rb",
        shows=[FILE, "^pair: through a socket", "^not ready: "],
    ),
    Language(
        name="Lua (LuaSocket)",
        version='lua5.4 -e \'io.write(_VERSION, ", ", require("socket")._VERSION)\'',
        program=f"lua5.4 {SOURCES}/echo.lua",
        shows=["^datagram: a datagram\tsender$"],
        abstract=False,
    ),
    Language(
        name="Erlang",
        version="erl -noshell -eval 'io:put_chars(erlang:system_info(otp_release)), halt().'",
        build=f"erlc -o $BUILT {SOURCES}/echo.erl",
        program=f"erl -noinput -pa {BUILT} -run echo main",
        shows=["^socket: BY THE SOCKET MODULE$", "^time-out: {error,timeout}$", "^datagram: a datagram from"],
    ),
    Language(
        name="PyPy",
        version="pypy3 -c 'import sys; print(*sys.pypy_version_info[:3], sep=\".\")'",
        program=f"pypy3 {SOURCES}/echo.py",
        shows=[FILE, "^in threads: 50$", "^pair: passed from a file$", "^datagram: .*a datagram"],
        long=True,
    ),
    Language(
        name="Go, a static binary",
        version="go version | cut -d' ' -f3",
        build=f"CGO_ENABLED=0 GO111MODULE=off GOCACHE=$BUILT/.go go build -o $BUILT/go {SOURCES}/echo.go",
        program=f"{BUILT}/go",
        shows=[FILE, "^datagram: a datagram from other$", "^packet: a record$", "^unlinked: true$"],
        long=True,
    ),
    Language(
        name="Java",
        version="java -version 2>&1 | sed -n '1s/.*\"\\(.*\\)\".*/\\1/p'",
        build=f"javac -d $BUILT/java {SOURCES}/Echo.java",
        program=f"java -cp {BUILT}/java Echo",
        shows=["^bound by itself: true$", "^interrupted: .*ClosedByInterruptException$"],
        abstract=False,
        long=True,
    ),
    Language(
        name="Rust",
        version="rustc --version | cut -d' ' -f2",
        build=f"rustc -O -o $BUILT/rust {SOURCES}/echo.rs",
        program=f"{BUILT}/rust",
        shows=["^timed out: WouldBlock$", "^ended: 0$", "^datagram: a datagram from .*sender"],
        abstract=False,
        long=True,
    ),
    Language(
        name="Rust (tokio)",
        version="ls /usr/share/cargo/registry | grep '^tokio-[0-9]'",
        build=TOKIO_BUILD,
        program=f"{BUILT}/tokio/target/debug/examples/tokio",
        shows=["^timed out: true$", "^ended: 0$", "^peer: user 0$", "^datagram: a datagram of 10 from .*sender"],
        abstract=False,
        long=True,
    ),
    Language(
        name="OCaml",
        version="ocamlopt -version",
        build=f"cd $BUILT && cp {SOURCES}/echo.ml . && ocamlopt -I +threads unix.cmxa threads.cmxa -o ocaml echo.ml",
        program=f"{BUILT}/ocaml",
        shows=["^pair: a datagram$", "^ready: 0$"],
        long=True,
    ),
    Language(
        name=".NET (Mono)",
        version="mono --version | sed -n '1s/.*version \\([^ ]*\\).*/\\1/p'",
        build=f"mcs -out:$BUILT/Echo.exe {SOURCES}/Echo.cs",
        program=f"mono {BUILT}/Echo.exe",
        shows=["^blocking: BLOCKING$", "^ready: False$"],
        long=True,
    ),
    # Microsoft's own runtime is no Debian package, but a Python package brings it, without a compiler.
    Language(
        name=".NET Core 3.1",
        version="echo 3.1.23",
        build=rf"""
            mkdir -p $BUILT/net && cd $BUILT/net
            {sys.executable} -m pip download -q --no-deps -d . dotnetcore2==3.1.23
            {sys.executable} -m zipfile -e dotnetcore2-*.whl . && chmod +x dotnetcore2/bin/dotnet
            references=()
            for name in System.{{Private.CoreLib,Runtime,Net.Sockets,Net.Primitives,Linq,Console,Threading.Tasks}} \
                Microsoft.Win32.Primitives; do
                references+=(-r:"$(echo dotnetcore2/bin/shared/*/*/$name.dll)")
            done
            mcs -nostdlib -noconfig "${{references[@]}}" -out:Echo.dll {SOURCES}/Echo.cs
            cat >Echo.runtimeconfig.json <<'END'
{{"runtimeOptions": {{"framework": {{"name": "Microsoft.NETCore.App", "version": "3.1.0"}},
 "configProperties": {{"System.Globalization.Invariant": true}}}}}}
END
        """,
        program=f"{BUILT}/net/dotnetcore2/bin/dotnet {BUILT}/net/Echo.dll",
        shows=["^blocking: BLOCKING$", "^ready: False$"],
        long=True,
    ),
]
VERSIONS = {language.name: language.version for language in LANGUAGES}
PYTHON_SUITE = r"""
    suite() {{
        {python} -m test -v "$@" >suite.log 2>&1 || echo "status $?"
        # What is logged meanwhile may stand between a name and its result: the failures have lines of their own.
        sed -nE -e 's/^(test[^ ]* \([^)]*\)).*/\1/p' -e 's/^(Ran [0-9]+ tests).*/\1/p' suite.log
        sed -nE 's/^Tests (result): /\1: /; s/^((FAIL|ERROR|[Rr]esult): .*)/\1/p' suite.log
    }}
    suite test_asyncio -m '*nix*' -m '*Unix*' -m '*UNIX*'
    suite -u network test_socketserver
    {more}
"""


def cpython_suite(name: str, python: str, *, long: bool = False) -> Scenario:
    """What a CPython's own tests have for Unix sockets."""
    more = "suite test_socket -m '*Unix*' -m '*SCMRights*' -m BasicSocketPairTest -m TestLinuxAbstractNamespace"
    return Scenario(
        name=f"{name}'s own tests of Unix sockets",
        steps=PYTHON_SUITE.format(python=python, more=more),
        shows=["^[Rr]esult: SUCCESS$", "^testFDPassSimple", "^test_.*Unix"],
        version=f"{python} --version",
        in_any_order=True,
        timeout=60,
        long=long,
    )


CPYTHON_SUITE = cpython_suite("CPython", "/usr/bin/python3")
NEWER_SUITES = {
    release: cpython_suite(f"CPython {release}", f"{BUILT}/python{release}", long=True) for release in NEWER_PYTHONS
}
PYPY_SUITE = Scenario(
    name="PyPy's own tests of Unix sockets",
    version=VERSIONS["PyPy"],
    steps=PYTHON_SUITE.format(python="pypy3", more=""),  # its test_socket wants a C source that isn't packaged
    shows=["^[Rr]esult: SUCCESS$", "^test_.*Unix"],
    in_any_order=True,
    timeout=120,
    long=True,
)
GO_SUITE = Scenario(
    name="Go's own tests of net",
    version=VERSIONS["Go, a static binary"],
    steps=rf"""
        cd /usr/share/go-*/src/net
        {BUILT}/net.test -test.v -test.short >"$DIR/suite.log" 2>&1 || echo "status $?"
        sed -nE 's/^ *--- ([A-Z]+: [^ ]+).*/\1/p' "$DIR/suite.log"
    """,
    shows=["^PASS: TestUnixConnReadMsgUnixSCMRights|^PASS: TestUnixgram", "^PASS: TestSplice/unix-to-tcp/simple"],
    in_any_order=True,
    timeout=120,
    preparation=BUILD_TIMEOUT,
    long=True,
)
TOKIO_SUITE = Scenario(
    name="tokio's own tests of Unix sockets",
    version=VERSIONS["Rust (tokio)"],
    steps=rf"""
        for suite in {BUILT}/tokio/target/debug/deps/uds_*-*; do
            [[ -x $suite && $suite != *.d ]] || continue
            "$suite" 2>&1 | sed -nE 's/^(test [^ ]+ \.\.\. .*)/\1/p; s/^test result: (.*); finished.*/\1/p'
        done
    """,
    shows=["^test accept_read_write ... ok", "^ok. 10 passed"],
    in_any_order=True,
    timeout=60,
    preparation=BUILD_TIMEOUT,
    long=True,
)
RUST_SUITE = Scenario(
    name="Rust's own tests of std::os::unix::net",
    version=VERSIONS["Rust"],
    steps=rf"""
        {BUILT}/rust_suite >suite.log 2>&1 || echo "status $?"
        sed -nE 's/^test ([^ ]+ \.\.\. .*)/\1/p; s/^test result: (.*); finished.*/\1/p' suite.log
    """,
    shows=["^net::tests::test_send_vectored_fds_unix_stream ... ok$", "^ok. 30 passed"],
    in_any_order=True,
    preparation=BUILD_TIMEOUT,
    long=True,
)
SUITES = [CPYTHON_SUITE, *NEWER_SUITES.values(), PYPY_SUITE, GO_SUITE, RUST_SUITE, TOKIO_SUITE]
BUILDS = {
    **{language.scenario.name: language.build for language in LANGUAGES},
    **{suite.name: found(release) for release, suite in NEWER_SUITES.items()},
    GO_SUITE.name: "cd /usr/share/go-*/src/net; GOPROXY=off GOCACHE=$BUILT/.go go test -vet=off -c -o $BUILT/net.test",
    RUST_SUITE.name: (
        "RUST_TESTS=$(echo /usr/src/rustc-*/library/std/src/os/unix/net/tests.rs) RUSTC_BOOTSTRAP=1"
        f" rustc --edition 2021 --test -o $BUILT/rust_suite {PROGRAMS}/rust_suite.rs"
    ),
    TOKIO_SUITE.name: TOKIO_BUILD,
}


@pytest.fixture(scope="session")
def builds() -> Iterator[dict[str, str]]:
    """What has been built, with what the compilers said to it."""
    BUILT.mkdir(exist_ok=True)
    yield {}
    shutil.rmtree(BUILT, ignore_errors=True)


@pytest.fixture
def built(scenario: Scenario, builds: dict[str, str]) -> None:
    """The program of a scenario, built natively."""
    name = scenario.name
    build = BUILDS.get(name)
    if build and name not in builds:
        environment = {
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(BUILT),
            "BUILT": str(BUILT),
        }
        # timeout ends the compilers as well, not the shell alone.
        command = ["timeout", "-s", "KILL", str(BUILD_TIMEOUT), "bash", "-euc", f"mkdir -p $BUILT/java; {build}"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        builds[name] = "" if ran.returncode == 0 else f"{ran.stdout}{ran.stderr}status {ran.returncode}"
    if builds.get(name):
        pytest.fail(f"{name} is not built:\n{builds[name]}", pytrace=False)


@pytest.mark.usefixtures("built")
@placements([*(language.scenario for language in LANGUAGES), *SUITES])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(
        LANGUAGES[2].scenario, ["bind", "listen", "connect", "accept4", "sendmsg", "recvmsg", "socketpair"]
    )
