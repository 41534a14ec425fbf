"""Names with any bytes, newlines among them, which the host's table of sockets shows as they are."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = r"""
import socket
named = socket.socket(socket.AF_UNIX)
named.bind(b"\0a\nb 0 0 0 0 0 0 0\n")
named.listen()
loose = [socket.socket(socket.AF_UNIX) for _ in range(200)]
one, two = socket.socketpair()
one.shutdown(socket.SHUT_RDWR)
two.shutdown(socket.SHUT_RDWR)
one.close()
two.close()
client = socket.socket(socket.AF_UNIX)
client.connect(b"\0a\nb 0 0 0 0 0 0 0\n")
print("alive", flush=True)
"""


def test_newlines_in_names_confuse_nobody() -> None:
    for options in ([], ["--private"]):
        run = subprocess.run(
            [sys.executable, "-m", "afunix", "run", *options, "--", sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "alive\n", "")
