"""A supervisor that has no descriptors left refuses sockets, and goes on."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import errno, socket

def fill():
    pairs = []
    while True:
        try:
            pairs.append(socket.socketpair())
        except OSError as error:
            return pairs, errno.errorcode[error.errno]

for turn in range(3):
    pairs, error = fill()
    assert len(pairs) > 20 and error in ("ENFILE", "EMFILE"), (len(pairs), error)
    for one, two in pairs[:20]:
        one.shutdown(socket.SHUT_RDWR)  # a hang-up of which the supervisor must find out whether it is a close
        one.close()
        two.close()
    one, two = pairs[-1]
    one.send(b"still there")
    assert two.recv(100) == b"still there"
    for one, two in pairs[20:]:
        one.close()
        two.close()
print("done")
"""


def test_programs_are_refused_and_nothing_else_fails() -> None:
    """The limit is a hard one, which the supervisor can't raise."""
    afunix = [sys.executable, "-m", "afunix", "run", "--private", "--"]
    command = ["prlimit", "--nofile=300:300", *afunix, sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert "Traceback" not in result.stderr
