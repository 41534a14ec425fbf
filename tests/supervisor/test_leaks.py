"""Whatever programs do and however they end, the supervisor holds nothing of theirs afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, random, signal, socket, sys, array

def passing(end):
    r, w = os.pipe()
    end.sendmsg([b"x" * 100], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [r, w, end.fileno()]))])
    os.close(r)
    os.close(w)

def victim(kind):
    one, two = socket.socketpair(socket.AF_UNIX, kind)
    ready_r, ready_w = os.pipe()
    child = os.fork()
    if not child:
        one.close()
        for _ in range(3):
            passing(two)
        loose = socket.socket(socket.AF_UNIX, kind)
        if kind != socket.SOCK_DGRAM:
            loose.bind(f"\\0leak{os.getpid()}")
            loose.listen(3)
            client = socket.socket(socket.AF_UNIX, kind)
            client.connect(f"\\0leak{os.getpid()}")
            passing(client)
        os.write(ready_w, b"r")
        two.recv(1)
        signal.pause()
    os.read(ready_r, 1)
    os.close(ready_r)
    os.close(ready_w)
    two.close()
    if random.random() < 0.5:
        one.send(b"go")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    one.close()

random.seed(7)
for line in sys.stdin:
    for turn in range(int(line)):
        victim((socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)[turn % 3])
    print("done", flush=True)
"""


def held(pid: int) -> int:
    """How many descriptors the supervisor has."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_nothing_is_left_of_killed_programs(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, "-m", "afunix", "run", "--private", "--", sys.executable, str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        counts = []
        for turns in (12, 60, 60):
            run.stdin.write(f"{turns}\n")
            run.stdin.flush()
            assert run.stdout.readline() == "done\n"
            counts.append(held(run.pid))
        run.stdin.close()
        assert run.wait(30) == 0
    # A few may not have been noticed yet when they were counted; what leaks grows with the turns.
    assert counts[2] <= counts[0] + 12, counts
