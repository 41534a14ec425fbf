"""Threads that take an O_PATH descriptor: what of them is seen outside, and what if they can't be borrowed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from supervised import NUMBERS

PROGRAM = """
import os, socket, sys
one, two = socket.socketpair()
socket.send_fds(one, [b"x"], [os.open("/", os.O_PATH)])
try:
    data, fds, flags, _ = socket.recv_fds(two, 10, 1)
    print(data, [os.readlink(f"/proc/self/fd/{fd}") for fd in fds], flags)
except OSError as error:
    print(error.strerror)
one.send(b"y")
print(one.fileno(), os.dup(0))
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "afunix", "run", "--private", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_thread_with_a_debugger_is_refused_loudly(tmp_path: Path) -> None:
    """strace has the thread, so that it can't be borrowed: the call fails, and the message stays."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is missing: apt-get install strace")
    done = run("--", strace, "-f", "-o", str(tmp_path / "trace"), sys.executable, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Function not implemented\n")
    assert done.stderr == "afunix: not modelled: an O_PATH descriptor for a thread that a debugger has\n"


def test_a_receive_that_waits_with_a_debugger_is_refused_loudly(tmp_path: Path) -> None:
    """It is the receiver that fails, not the sender who woke it."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is missing: apt-get install strace")
    program = f"""
import os, socket, threading
one, two = socket.socketpair()
def receive():
    try:
        socket.recv_fds(two, 10, 1)
    except OSError as error:
        os.write(1, error.strerror.encode() + b"\\n")
thread = threading.Thread(target=receive)
thread.start()
while thread.native_id is None:
    pass
waits = f"/proc/self/task/{{thread.native_id}}/syscall"
while open(waits).read().split()[0] != "{NUMBERS["recvmsg"]}":
    pass
os.write(1, b"%d\\n" % socket.send_fds(one, [b"x"], [os.open("/", os.O_PATH)]))
thread.join()
"""
    done = run("--", strace, "-f", "-o", str(tmp_path / "trace"), sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["1", "Function not implemented"]
    assert done.stderr == "afunix: not modelled: an O_PATH descriptor for a thread that a debugger has\n"


def test_the_trace_shows_the_call(tmp_path: Path) -> None:
    """Its result is in memory by then, descriptors included."""
    trace = tmp_path / "trace"
    done = run("--trace-to", str(trace), "--", sys.executable, "-c", PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "b'x' ['/'] 0\n3 7\n"
    (line,) = [line for line in trace.read_text().splitlines() if "recvmsg" in line]
    assert "cmsg_type=SCM_RIGHTS, cmsg_data=[6 → /]" in line
    assert line.endswith("= 1")


@pytest.mark.skipif(os.geteuid() != 0, reason="the test changes its user")
def test_a_program_of_another_user() -> None:
    """Whom the supervisor may trace only as root, and who may not look at the supervisor."""
    change = "import os, socket; os.setgroups([]); os.setresgid(1000, 1000, 1000); os.setresuid(1000, 1000, 1000)\n"
    done = run("--", sys.executable, "-c", change + PROGRAM)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'x' ['/'] 0\n3 7\n", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_a_program_in_another_root(tmp_path: Path) -> None:
    """Without /proc, and without a path to the supervisor."""
    change = (
        f"import os; os.chroot({str(tmp_path)!r}); os.chdir('/')\n"
        "real, os.readlink = os.readlink, lambda path: f'{os.fstat(int(path[14:])).st_ino}'\n"
    )
    done = run("--", sys.executable, "-c", "import socket\n" + change + PROGRAM)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"b'x' ['{tmp_path.stat().st_ino}'] 0\n3 7\n"
