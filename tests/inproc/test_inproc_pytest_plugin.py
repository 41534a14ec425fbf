"""The pytest plugin: its fixtures, and what the leak check says about tests that leave something behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run tests of a file with the plugin alone, or found by its entry point, with all others that are installed."""

    def run(source: str, *arguments: str, ini: str = "", installed: bool = False) -> pytest.RunResult:
        if not installed:
            monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            arguments = ("-p", "afunix.pytest_plugin", *arguments)
        if ini:
            pytester.makeini(f"[pytest]\n{ini}\n")
        pytester.makepyfile("import os, socket, pytest, afunix\n" + source)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    return run


def test_fixtures(run: Run) -> None:
    """A kernel of its own for each test; under the patch it is the one that everybody's sockets are on."""
    run(
        """
kernels = []

def test_kernel(afunix_kernel):
    kernels.append(afunix_kernel)
    with afunix_kernel.process(uid=7) as process:
        one, two = process.socketpair()
        one.send(b"x")
        assert two.recv(1) == b"x"
        one.close()
        two.close()

def test_patch(afunix_patch, afunix_kernel):
    assert afunix_patch is afunix_kernel is not kernels[0]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("/run/afunix-test-name")
        assert os.path.exists("/run/afunix-test-name")
        assert sock._process.kernel is afunix_kernel
        os.unlink("/run/afunix-test-name")

def test_afterwards():
    assert socket.socket.__module__ == "socket" and not hasattr(socket.socket, "_begin")
    from afunix.core.descriptors import DescriptorTable
    assert DescriptorTable.install.__code__.co_filename.endswith("descriptors.py")
"""
    ).assert_outcomes(passed=3)


def test_socket_left_open(run: Run) -> None:
    """It says what and by which line of the test, also where a library made it."""
    result = run(
        """
import multiprocessing.connection
kept = []

def test_open(afunix_patch):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)   # this line
    sock.bind(b"\\0left")
    kept.append(sock)

def test_library(afunix_patch):
    kept.append(multiprocessing.connection.Listener(b"\\0library", "AF_UNIX"))   # and that

def test_accepted(afunix_patch):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(b"\\0x")
        listener.listen()
        client.connect(b"\\0x")
        kept.append(listener.accept()[0])   # accepted here
"""
    )
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(
        [
            "The test left behind:",
            "a datagram socket '\\x00left', descriptor 0 of process *",
            "    *test_socket_left_open.py:7: in test_open: sock = socket.socket(*# this line",
            "a stream socket '\\x00library', descriptor 0 of process *",
            "    *connection.py:*: in __init__: self._socket = socket.socket(*",
            "    *test_socket_left_open.py:12: in test_library: kept.append(*# and that",
            "    *in test_accepted: kept.append(listener.accept()*# accepted here",
        ]
    )


def test_socket_left_to_the_garbage_collector(run: Run) -> None:
    """Whether it was collected in time is chance: it counts; what an exiting process closes does not."""
    result = run(
        """
def test_collected(afunix_patch):
    socket.socket(socket.AF_UNIX)

def test_exits(afunix_kernel):
    with afunix_kernel.process() as process:
        sock = process.socket()
""",
        "-W",
        "ignore",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["a stream socket (descriptor 0 of *) was never closed, only garbage collected", "*in test_collected: socket*"]
    )


def test_name_left(run: Run) -> None:
    """A path that nobody unlinked, with the line of bind; not what was unlinked or renamed away and unlinked."""
    result = run(
        """
def test_name(afunix_patch, tmp_path):
    for name in ("left", "gone", "moved"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / name))
    os.unlink(tmp_path / "gone")
    os.rename(tmp_path / "moved", tmp_path / "other")
    os.unlink(tmp_path / "other")
"""
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["The test left behind:", "the name /*/left", "    *in test_name: sock.bind(*"])
    result.stdout.no_fnmatch_line("the name /*/gone")
    result.stdout.no_fnmatch_line("the name /*/other")


def test_descriptor_left_in_flight(run: Run) -> None:
    """In an unread message, of a connection that nobody accepted as well; with the line that sent it."""
    result = run(
        """
kept = []

def test_flight(afunix_patch):
    one, two = socket.socketpair()
    socket.send_fds(one, [b"x"], [one.fileno(), 0])   # sent here
    kept.append((one, two))

def test_backlog(afunix_patch):
    listener, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(b"\\0x")
    listener.listen()
    client.connect(b"\\0x")
    socket.send_fds(client, [b"x"], [0])   # sent there
    kept.append((listener, client))

def test_read(afunix_patch):
    one, two = socket.socketpair()
    with one, two:
        for _ in range(3):
            socket.send_fds(one, [b"x"], [0])
            os.close(socket.recv_fds(two, 1, 1)[1][0])
""",
        ini="afunix_leaks = in-flight",
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "a stream socket in flight, in an unread message to a stream socket",
            "    *in test_flight: *# sent here",
            "a descriptor of the host in flight, in an unread message to a stream socket*",
            "    *in test_flight: *# sent here",
            "a descriptor of the host in flight, in an unread message to a stream socket*",
            "    *in test_backlog: *# sent there",
        ]
    )


def test_what_is_looked_for(run: Run) -> None:
    """By the ini option, or by a mark; a test that failed has one failure, not two."""
    source = """
kept = []

def leave():
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("/run/afunix-test-x")
    kept.append(sock)

def test_option(afunix_patch):
    leave()

@pytest.mark.afunix_leaks()
def test_nothing(afunix_patch):
    leave()

@pytest.mark.afunix_leaks("names", "in-flight")
def test_mark(afunix_patch):
    leave()

def test_fails(afunix_patch):
    leave()
    raise RuntimeError
"""
    result = run(source, "--strict-markers", ini="afunix_leaks = sockets")
    result.assert_outcomes(passed=3, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_option*", "a stream socket '/run/afunix-test-x', *"])
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_mark*", "the name /run/afunix-test-x"])
    unknown = run("@pytest.mark.afunix_leaks('sokets')\ndef test(afunix_kernel): pass")
    unknown.assert_outcomes(errors=1)
    unknown.stdout.fnmatch_lines(["*afunix_leaks: sokets: not one of sockets, names, in-flight"])


def test_fixtures_may_close(run: Run) -> None:
    """What a fixture that uses the kernel closes at its end is not left behind."""
    run(
        """
@pytest.fixture
def server(afunix_patch):
    with socket.socket(socket.AF_UNIX) as sock:
        yield sock

def test(server):
    server.bind(b"\\0x")
"""
    ).assert_outcomes(passed=1)


def test_with_asynchronous_tests(run: Run) -> None:
    """The loop of a test is made after the fixtures that it asks for, so it is one that has our sockets."""
    run(
        """
import anyio

@pytest.mark.anyio
async def test(afunix_patch, tmp_path):
    async with await anyio.create_unix_listener(tmp_path / "s") as listener:
        async with await anyio.connect_unix(tmp_path / "s"):
            async with await listener.accept() as stream:
                assert stream.extra(anyio.abc.SocketAttribute.raw_socket).fileno() >= 1 << 30
    os.unlink(tmp_path / "s")
""",
        installed=True,
    ).assert_outcomes(passed=2)


def test_it_is_cheap_to_have() -> None:
    """Neither the kernel nor any of its layers is imported by the plugin."""
    program = "import sys, afunix.pytest_plugin; print([m for m in sys.modules if m.startswith('afunix.')])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "['afunix.pytest_plugin']\n"
