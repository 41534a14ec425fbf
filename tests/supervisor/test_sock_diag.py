"""`ss -x` under `afunix run`: what it shows of a program's sockets is what it shows natively."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PROGRAM = """
import os, socket, subprocess, sys
path = sys.argv[1]
one, two = socket.socketpair()
one.send(b"hello" * 10)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(9)
clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
for client in clients:
    client.connect(path)
accepted, _ = listener.accept()
accepted.send(b"x" * 30000)
accepted.shutdown(socket.SHUT_WR)
named = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
named.bind(path + ".datagrams")
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect(path + ".datagrams")
sender.send(b"abc")
sender.send(b"defgh")
records = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
records[0].send(b"record")
gone = socket.socketpair()
gone[1].close()
unconnected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
many = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(100)]
print(os.getpid())
print(subprocess.run(sys.argv[2:], capture_output=True, text=True, errors='replace', check=True).stdout)
"""


def shown(text: str, directory: Path) -> list[str]:
    """The lines of the program's sockets: inode numbers as descriptors, no process numbers and no white space."""
    pid, *others = text.splitlines()
    lines = [re.sub(r"\s+", " ", line).strip() for line in others if f"pid={pid}," in line]
    numbers = {}
    for line in lines:
        descriptor = re.search(r"fd=(\d+)", line)
        assert descriptor
        number = line.split()[5]
        assert number.isdigit()
        numbers[number] = f"(fd {descriptor[1]})"
    text = "\n".join(lines).replace(str(directory), "DIRECTORY")
    text = re.sub(r"\b\d{3,}\b", lambda found: numbers.get(found[0], found[0]), text)
    return sorted(re.sub(r"ino:\d+", "ino", re.sub(r"pid=\d+", "pid", text)).splitlines())


@pytest.mark.skipif(os.geteuid() != 0, reason="natively it takes a network namespace of its own")
@pytest.mark.parametrize("options", ["-xapme", "-xlp", "-xp", "-xape"])
def test_ss_shows_what_it_shows_natively(options: str, tmp_path: Path) -> None:
    if shutil.which("ss") is None:
        pytest.fail("ss is missing: apt-get install iproute2")

    def run(name: str, *before: str) -> list[str]:
        directory = tmp_path / name
        directory.mkdir()
        command = [*before, sys.executable, "-c", PROGRAM, str(directory / "s"), "ss", options]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return shown(done.stdout, directory)

    native = run("native", "unshare", "-n")
    assert len(native) > 3 or options in ("-xlp", "-xp")
    assert run("private", sys.executable, "-m", "afunix", "run", "--private", "--") == native
    assert run("afunix", sys.executable, "-m", "afunix", "run", "--") == native


def dump(*options: str, name: str) -> str:
    code = (
        "import socket, subprocess, sys\n"
        "one, two = socket.socketpair()\n"
        "named = socket.socket(socket.AF_UNIX)\n"
        f"named.bind({name!r})\n"
        "named.listen()\n"
        "print(subprocess.run(['ss', '-xan'], capture_output=True, text=True, errors='replace', check=True).stdout)\n"
    )
    command: Sequence[str] = [sys.executable, "-m", "afunix", "run", *options, "--", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_hosts_own_sockets() -> None:
    """They are listed unless the programs are private."""
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(f"\0outside.{os.getpid()}")
        outside.listen()
        name = f"\0inside.{os.getpid()}"
        both, private = dump(name=name), dump("--private", name=name)
    for text, there in ((both, True), (private, False)):
        assert (f"@outside.{os.getpid()}" in text) == there
        assert text.count(f"@inside.{os.getpid()}") == 1
    assert len(private.strip().splitlines()) == 4


def test_other_netlink_sockets_are_the_hosts() -> None:
    """Also those of the same protocol that ask for other families."""
    code = (
        "import socket, subprocess\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "port = listener.getsockname()[1]\n"
        "text = subprocess.run(['ss', '-tlnxa'], capture_output=True, text=True, errors='replace', check=True).stdout\n"
        "print(text.count(f'127.0.0.1:{port}'))\n"
        "print(len(socket.if_nameindex()) > 0)\n"
    )
    command = [sys.executable, "-m", "afunix", "run", "--", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("1\nTrue\n", "")
