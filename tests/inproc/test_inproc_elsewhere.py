"""Where the host has no fcntl, no AF_UNIX and nothing else of POSIX: all of it is hidden in another interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

HIDDEN = '''
import os, select, selectors, shutil, signal, socket, sys, _socket

class Hidden:
    """Modules that are not there."""
    names = {"fcntl", "pwd", "grp", "resource", "termios", "pty"}
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {name!r} (hidden)", name=name)

HAVE_UNIX = ("AF_UNIX", "SCM_RIGHTS", "SCM_CREDENTIALS", "SO_PEERCRED", "SO_PASSCRED", "MSG_CMSG_CLOEXEC",
             "MSG_DONTWAIT", "SOCK_SEQPACKET", "SOCK_NONBLOCK", "SOCK_CLOEXEC", "CMSG_LEN", "CMSG_SPACE",
             "send_fds", "recv_fds", "MSG_WAITALL")

def tcp_pair(family=None, type=1, proto=0):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0)); server.listen()
        one = socket.socket(); one.connect(server.getsockname())
        return one, server.accept()[0]

def hide(functions=True):
    for name in Hidden.names: sys.modules.pop(name, None)
    sys.meta_path.insert(0, Hidden())
    for module in (socket, _socket):
        for name in HAVE_UNIX:
            if hasattr(module, name): delattr(module, name)
    socket.socketpair = tcp_pair
    for name in ("poll", "epoll"): delattr(select, name)
    for name in ("PollSelector", "EpollSelector"): delattr(selectors, name)
    selectors.DefaultSelector = selectors.SelectSelector
    shutil._use_fd_functions = False
    if functions: hide_functions()

FUNCTIONS = {
    os: ("getuid", "getgid", "geteuid", "getegid", "getgroups", "sched_yield", "chown", "lchown", "mkfifo",
         "mknod", "fork", "register_at_fork", "readv", "writev", "get_blocking", "set_blocking", "memfd_create",
         "eventfd", "pidfd_open", "O_PATH", "O_NONBLOCK", "O_CLOEXEC", "O_NOFOLLOW"),
    signal: ("setitimer", "pthread_kill", "pidfd_send_signal", "SIGALRM", "SIGUSR1", "SIGKILL", "SIGTERM"),
}
hidden = []

def hide_functions():
    for module, names in FUNCTIONS.items():
        for name in names:
            if hasattr(module, name):
                hidden.append((module, name, getattr(module, name)))
                delattr(module, name)

def show_functions():
    while hidden: setattr(*hidden.pop())
'''

PROGRAM = """
hide()
import struct, threading
import afunix
from afunix import select, selectors, socket
assert not hasattr(__import__("socket"), "AF_UNIX")
kernel = afunix.Kernel()
with kernel.process(uid=0) as server, kernel.process(uid=1000) as client:
    listener = server.socket()
    listener.bind("/tmp/s")
    listener.listen()
    server.call(kernel.filesystem.chmod, server.core, b"/tmp/s", 0o777)
    sock = client.socket()
    sock.connect("/tmp/s")
    accepted, _ = listener.accept()
    mine, theirs = client.socketpair()
    socket.send_fds(sock, [b"x"], [theirs.fileno()])
    data, (number,), flags, _ = socket.recv_fds(accepted, 10, 3)
    passed = socket.socket(fileno=number)
    passed.send(b"passed")
    assert mine.recv(10) == b"passed"
    uid = struct.unpack("3i", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
    assert uid == 1000
    sock.sendall(b"line\\n")
    assert accepted.makefile("rb").readline() == b"line\\n"
    one, two = __import__("socket").socketpair()
    with selectors.DefaultSelector() as selector:
        selector.register(accepted, selectors.EVENT_READ)
        selector.register(two, selectors.EVENT_READ)
        assert selector.select(0) == []
        threading.Timer(0.05, sock.send, (b"y",)).start()
        assert [key.fileobj for key, _ in selector.select(20)] == [accepted]
        accepted.recv(1)
        threading.Timer(0.05, one.send, (b"z",)).start()
        assert [key.fileobj for key, _ in selector.select(20)] == [two]
    assert select.select([accepted], [accepted], [], 0) == ([], [accepted], [])
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    assert poll.poll(0) == [(sock.fileno(), select.POLLOUT)]
    for made in (listener, sock, accepted, mine, theirs, passed, one, two): made.close()
import asyncio
async def main():
    async def serve(reader, writer):
        writer.write(await reader.readline()); writer.close()
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_UNIX); sock.bind("/tmp/a"); sock.listen()
    server = await asyncio.start_server(serve, sock=sock)
    client = socket.socket(socket.AF_UNIX); client.setblocking(False)
    await loop.sock_connect(client, "/tmp/a")
    await loop.sock_sendall(client, b"echo\\n")
    print((await loop.sock_recv(client, 10)).decode().strip())
    client.close(); server.close()
with afunix.patch():
    asyncio.run(main())
"""


def run(program: str, *arguments: str, autoload: bool = True) -> str:
    """What a program says, before which the definitions stand; autoload: whether pytest's plugins, such as anyio's,
    which does not work without AF_UNIX, are loaded."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", HIDDEN + program, *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        env={
            **os.environ,
            "PYTHONPATH": str(TESTS / "core"),
            "AFUNIX_PURE": "1",
            **({} if autoload else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
        },
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def test_in_process_without_posix() -> None:
    """Processes, names, descriptors, credentials, selectors and asyncio."""
    assert "fcntl" not in run(PROGRAM)


ASYNCIO = """
hide()
import asyncio
import afunix
from afunix import asyncio as unix

async def main():
    async def serve(channel):
        async with channel:
            async for message in channel:
                await channel.send(message.data.upper(), message.fds, address=message.address)
                message.close()

    async def lines(reader, writer):
        writer.write(b"%d " % writer.peer.uid + await reader.readline())
        writer.close()

    async with await unix.start_channel_server(serve, "/tmp/s") as server, await unix.open_channel("/tmp/s") as channel:
        reading, writing = os.pipe()
        await channel.send_fds(b"record", [writing])
        await channel.send(b"")
        data, (fd,), _, _ = await channel.recv_fds(1)
        assert data == b"RECORD"
        os.write(fd, b"x")
        for number in (fd, writing): os.close(number)
        assert os.read(reading, 2) == b"x"
        os.close(reading)
        assert (await channel.recv()).data == b""
    async with await unix.start_unix_server(lines, b"\\0lines"):
        reader, writer = await unix.open_unix_connection(b"\\0lines")
        writer.write(b"line\\n")
        assert await reader.read() == b"0 line\\n"
        writer.close()
        await writer.wait_closed()

with afunix.patch() as kernel:
    asyncio.run(main())
    assert not kernel.main.core.descriptors.files
print("done")
"""


def test_asyncio_without_posix() -> None:
    """Streams and records with descriptors and credentials."""
    assert run(ASYNCIO) == "done\n"


LEFT_OUT = {
    "[host": "is about the host's own sockets",
    "host]": "so it is",
    "names_on_the_host": "the host has no socket inodes",
    "names_left_on_the_host": "so there are none to be left",
    "owners_on_the_host": "nor owners",
    "natively": "compares with the host's own names",
    "masks": "compares with the host's poll",
    "without_the_patch": "has sockets of the host in the same loop",
    "stock_asyncio": "asyncio has nothing for Unix sockets where it was imported without AF_UNIX",
    "socketserver": "nor has socketserver",
    "interrupt_leaves_nothing": "a signal comes from a timer of POSIX",
    "signal_handler_may_return": "so it does",
    "fork": "no host without POSIX forks",
}
"""What of the tests can't apply, by a part of its name, and why."""

IN_PROCESS = ("socket", "select", "process", "waiting", "patch", "names", "pidfd", "asyncio")

TESTS_OF_OURS = """
hide()
import importlib
for name in ("socket", "select", "selectors", "asyncio", "inproc.patching", "inproc.leaks"):
    importlib.import_module(f"afunix.{name}")  # which so finds nothing of what is hidden
show_functions()
import pytest
class Hide:
    def pytest_runtestloop(self, session):
        session.config._tmp_path_factory.getbasetemp()  # which asks whose it is
        hide_functions()
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self):
        show_functions()  # for its own clean-up
status = pytest.main(plugins=[Hide()], args=[
    "-q", "-p", "no:cacheprovider", "-p", "afunix.pytest_plugin", "-p", "pytest_timeout", "--timeout-method=thread",
    "-W", "ignore::pytest.PytestAssertRewriteWarning", *sys.argv[1:]])
assert not status, status
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PROCESS)
def test_in_process_tests_without_posix(name: str) -> None:
    """The tests of this directory, with all of it hidden from the package and from themselves."""
    wanted = " and ".join(f"not {part}" for part in LEFT_OUT)
    said = run(TESTS_OF_OURS, str(TESTS / "inproc" / f"test_inproc_{name}.py"), "-k", wanted, autoload=False)
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) >= {"process": 5, "waiting": 3, "names": 2, "pidfd": 6}.get(name, 8)


def test_the_readme_without_posix(tmp_path: Path) -> None:
    """Its test of a server that is handed a file and looks at who sends it."""
    readme = (TESTS.parent / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_readme.py").write_text(block)
    assert "1 passed" in run(TESTS_OF_OURS, str(tmp_path / "test_readme.py"), autoload=False)


def test_hidden_is_hidden() -> None:
    """What is said to be hidden can't be used."""
    assert (
        run("""
hide()
try:
    import fcntl
except ModuleNotFoundError:
    print("hidden")
""")
        == "hidden\n"
    )


def test_core_without_posix() -> None:
    """The core's own tests, but those that hold it against the host, run with all that hidden from the package."""
    chosen = ["test_blocking", "test_collector", "test_connection", "test_datagram", "test_flight"]
    chosen += ["test_names", "test_stream", "test_process", "test_filesystem", "test_readiness"]
    chosen += ["test_inode", "test_pathwalk"]
    files = [str(TESTS / "core" / f"{name}.py") for name in chosen]
    program = """
import pytest
class Hide:
    def pytest_collection(self):
        hide(functions=False)  # the tests themselves ask who they are
        assert not any(name.startswith("afunix") for name in sys.modules)
status = pytest.main(plugins=[Hide()], args=["-q", "-p", "no:cacheprovider", "-p", "no:afunix", *sys.argv[1:]])
assert not status, status
assert "afunix.core.kernel" in sys.modules
"""
    assert " passed" in run(program, *files)
