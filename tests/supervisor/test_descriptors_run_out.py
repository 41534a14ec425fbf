"""A supervisor that has no descriptors left refuses sockets, and goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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

CONNECTING = """
import errno, os, select, socket, tempfile

def mask(sock):
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLRDHUP)
    return dict(poll.poll(0)).get(sock.fileno(), 0)

def accept_all():
    accepted = []
    while True:
        try:
            accepted.append(listener.accept()[0])
        except OSError as error:
            return accepted, error.errno

name = os.path.join(tempfile.mkdtemp(), "name")
listener = socket.socket(socket.AF_UNIX)
listener.bind(name)
listener.listen(1000)
listener.setblocking(False)
for turn in range(2):
    clients = [socket.socket(socket.AF_UNIX) for _ in range(120)]
    for client in clients:
        client.connect(name)
        client.send(b"x")
    served, error = accept_all()
    assert 20 < len(served) < 120 and error in (errno.ENFILE, errno.EMFILE), (len(served), error)
    assert mask(listener) == select.POLLIN
    gone = len(served) + 10
    for sock in clients[:gone] + served:
        sock.close()
    late, error = accept_all()
    assert (len(late), error) == (120 - len(served), errno.EAGAIN), (len(late), len(served), error)
    ended = select.POLLIN | select.POLLRDHUP | select.POLLHUP
    assert [mask(sock) for sock in late] == [ended] * 10 + [select.POLLIN] * (len(late) - 10)
    for number, sock in enumerate(late[10:]):
        assert sock.recv(9) == b"x"
        sock.send(b"%d" % number)
    for number, client in enumerate(clients[gone:]):
        assert client.recv(9) == b"%d" % number, number
    for sock in clients + late:
        sock.close()
print("done")
"""

PASSING = """
import array, os, socket

def send(count):
    one.sendmsg([b"x" * count], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files[:count]))])

one, two = socket.socketpair()
files = [os.open("/dev/null", os.O_RDONLY) for _ in range(253)]
sent = [253, 1, 253]
for count in sent:
    send(count)
pairs = []
while True:
    try:
        pairs.append(socket.socketpair())
    except OSError:
        break
for file in files:
    os.close(file)
for count in sent:
    data, control, flags, _ = two.recvmsg(1000, 4096)
    (_, _, got), = control
    assert (len(data), len(got), flags) == (count, 4 * count, 0), (len(data), len(got), flags)
    for file in array.array("i", got):
        os.close(file)
print("done")
"""


@pytest.mark.parametrize(
    ("program", "limit"),
    [(PROGRAM, 300), (CONNECTING, 300), (PASSING, 1300)],
    ids=["pairs", "connecting", "passing"],
)
@pytest.mark.parametrize("pure", ["", "1"], ids=["compiled", "python"])
def test_programs_are_refused_and_nothing_else_fails(program: str, limit: int, pure: str) -> None:
    """The limit is a hard one, which the supervisor can't raise."""
    afunix = [sys.executable, "-m", "afunix", "run", "--private", "--"]
    command = ["prlimit", f"--nofile={limit}:{limit}", *afunix, sys.executable, "-c", program]
    environment = {**os.environ, "AFUNIX_PURE": pure}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
    assert "Traceback" not in result.stderr
