"""What programs under `afunix run` read in /proc about sockets, in all the ways in which they come to the files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROLOGUE = """
import functools, os, re, socket, sys
open = functools.partial(open, errors="replace")  # others on the machine may have names of any bytes
NAME = sys.argv[1]
bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
bound.bind("\\0" + NAME)
WANTED = "@" + NAME

def inode():
    return os.fstat(bound.fileno()).st_ino

def show(text):
    rows = [line.split() for line in text.splitlines() if line.endswith(" " + WANTED)]
    print(len(rows), *[int(row[6]) == inode() for row in rows], flush=True)
"""


def run(program: str, *options: str, name: str = "proc-files") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "afunix", "run", *options, "--", sys.executable, "-c", PROLOGUE + program, name]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def output(program: str, *options: str) -> str:
    done = run(program, *options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("options", [(), ("--private",)], ids=["", "private"])
@pytest.mark.parametrize(
    "way",
    [
        "open('/proc/net/unix')",
        "open('/proc/self/net/../net/unix')",
        "open(f'/proc/{os.getpid()}/net/unix')",
        "open(f'/proc/self/task/{os.getpid()}/net/unix')",
        "open(os.open('net/unix', os.O_RDONLY, dir_fd=os.open('/proc/self', os.O_PATH)))",
        "open(os.open('unix', os.O_RDONLY, dir_fd=os.open('/proc/self/net', os.O_RDONLY)))",
        "(os.chdir('/proc/self/net'), open('unix'))[1]",
        "(os.symlink('/proc/net/unix', link), open(link), os.unlink(link))[1]",
        "(os.symlink('/proc/self', link), open(link + '/net/unix'), os.unlink(link))[1]",
        "open(os.dup(os.open('/proc/net/unix', os.O_RDONLY)))",
        "open('/proc/self/fd/%d' % os.open('/proc/net/unix', os.O_RDONLY))",
        "open(os.open('/proc/net/unix', os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), buffering=7)",
    ],
)
def test_every_way_to_the_list(way: str, options: tuple[str, ...], tmp_path: Path) -> None:
    program = f"link = {str(tmp_path / 'link')!r}\nfile = {way}\nshow(file.read())\nfile.seek(0)\nshow(file.read())"
    assert output(program, *options) == "1 True\n1 True\n"


def test_a_shell_reads_line_by_line() -> None:
    """It reads in pieces and goes back to the end of the line; its children go on from there."""
    program = """
import subprocess
kept = []
for number in range(5):
    kept.append(socket.socket(socket.AF_UNIX))
    kept[-1].bind(f'\\0{NAME}.{number}')
script = r'read -r header; read -r line; echo "$line"; sh -c "read -r line; echo \\$line"; '
script += 'while read -r line; do echo "$line"; done'
with open('/proc/net/unix') as file:
    lines = subprocess.run(['sh', '-c', script], stdin=file, capture_output=True, text=True).stdout.splitlines()
print([line.split()[7] for line in lines] == [WANTED] + [f'{WANTED}.{number}' for number in range(5)], lines)
"""
    assert output(program, "--private").startswith("True ")


def test_duplicates_and_children_share_the_position() -> None:
    program = """
fd = os.open('/proc/net/unix', os.O_RDONLY)
first = os.read(fd, 20)
if not os.fork():
    os.write(1, os.read(fd, 36))
    os._exit(0)
os.wait()
copy = os.dup(fd)
rest = b''
while part := os.read(copy, 50):
    rest += part
print(first.decode(), rest.count(WANTED.encode()), os.lseek(fd, 0, os.SEEK_CUR) == 56 + len(rest), os.read(fd, 10))
"""
    shown = output(program, "--private")
    assert shown == "count Protocol Flags    Type St Inode Path\n"[-36:] + "Num       RefCount P 1 True b''\n"


def test_the_hosts_own_sockets() -> None:
    """They are shown, as programs can connect to them; with --private they are not, nor are placeholders ever."""
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(f"\0outside.{os.getpid()}")
        program = (
            "one, two = socket.socketpair()\n"
            "text = open('/proc/net/unix').read()\n"
            f"print(text.count('@outside.{os.getpid()}'))\n"
            "show(text)\n"
            "numbers = re.findall(r'^[0-9a-f]{16}: (?:[0-9A-F]+ ){5} *([1-9][0-9]*)', text, re.M)\n"
            "print(len(numbers) - len(set(numbers)))\n"
        )
        assert output(program) == "1\n1 True\n0\n"
        assert output(program + "print(len(numbers))", "--private") == "0\n1 True\n0\n3\n"


def test_a_connection_to_the_outside() -> None:
    """The program's socket and the peer outside are shown, not what stands between them."""
    with socket.socket(socket.AF_UNIX) as outside:
        outside.bind(f"\0outside.{os.getpid()}")
        outside.listen()
        program = (
            "client = socket.socket(socket.AF_UNIX)\n"
            f"client.connect('\\0outside.{os.getpid()}')\n"
            f"inside = [line for line in open('/proc/net/unix') if line.endswith('@outside.{os.getpid()}\\n')]\n"
            "print(sorted(line.split()[5] for line in inside))\n"
            "rows = [line.split() for line in open('/proc/net/unix')]\n"
            "print([row[5] for row in rows if row[6:7] == [str(os.fstat(client.fileno()).st_ino)]])\n"
        )
        # The listener, and the connection that waits at it, which the host shows as connecting.
        assert output(program) == "['01', '02']\n['03']\n"


def test_other_files_with_such_names(tmp_path: Path) -> None:
    """A file on a disk is what it is, and so is fdinfo of other descriptors."""
    (tmp_path / "net").mkdir()
    (tmp_path / "fdinfo").mkdir()
    (tmp_path / "net" / "unix").write_text("a file\n")
    (tmp_path / "fdinfo" / "3").write_text("another\n")
    program = (
        f"print(open({str(tmp_path / 'net' / 'unix')!r}).read(), open({str(tmp_path / 'fdinfo' / '3')!r}).read())\n"
        "r, w = os.pipe()\n"
        "print(open(f'/proc/self/fdinfo/{r}').read().splitlines()[0])\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "print('scm_fds' in open(f'/proc/self/fdinfo/{udp.fileno()}').read())\n"
        "path = os.open('/proc/net/unix', os.O_PATH)\n"
        "try: os.read(path, 1)\n"
        "except OSError as error: print(error.errno)\n"
        "try: os.read(os.open('/proc/net', os.O_RDONLY), 1)\n"
        "except OSError as error: print(error.errno)\n"
    )
    assert output(program) == "a file\n another\n\npos:\t0\nFalse\n9\n21\n"


def test_positions_that_are_given() -> None:
    """preadv2 reads at an offset without moving the file's own position, or at that with -1."""
    program = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "fd = os.open('/proc/net/unix', os.O_RDONLY)\n"
        "room = ctypes.create_string_buffer(8)\n"
        "iovec = (ctypes.c_size_t * 2)(ctypes.addressof(room), 8)\n"
        "for offset in (10, 10, -1, -1, -5, 1 << 40):\n"
        "    got = libc.preadv2(fd, iovec, 1, ctypes.c_long(offset), 0)\n"
        "    print(got, room.raw[:max(got, 0)], ctypes.get_errno() if got < 0 else '')\n"
    )
    assert output(program, "--private").splitlines() == [
        "8 b'RefCount' ",
        "8 b'RefCount' ",
        "8 b'Num     ' ",
        "8 b'  RefCou' ",
        "-1 b'' 22",
        "0 b'' ",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of its own need root")
def test_proc_of_another_pid_namespace() -> None:
    """Where processes have other numbers, and /proc is another one."""
    program = (
        "import subprocess\n"
        "inner = 'cat /proc/self/net/unix; echo; cat /proc/1/net/unix'\n"
        "command = ['unshare', '-mpf', '--mount-proc', 'sh', '-c', inner]\n"
        "shown = subprocess.run(command, capture_output=True, text=True)\n"
        "print(shown.stderr, [part.count(WANTED) for part in shown.stdout.split('\\n\\n')])\n"
    )
    assert output(program, "--private") == " [1, 1]\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_proc_in_another_root(tmp_path: Path) -> None:
    """Mounted at another place than in the supervisor's tree."""
    program = (
        "import subprocess\n"
        f"root = {str(tmp_path)!r}\n"
        "os.mkdir(root + '/proc')\n"
        "subprocess.run(['mount', '-t', 'proc', 'proc', root + '/proc'], check=True)\n"
        "try:\n"
        "    if not os.fork():\n"
        "        os.chroot(root)\n"
        "        show(open('/proc/net/unix').read())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "finally:\n"
        "    subprocess.run(['umount', root + '/proc'], check=True)\n"
    )
    assert output(program, "--private") == "1 True\n"


def test_reading_under_signals() -> None:
    """A timer without SA_RESTART beside it: what comes is whole, or EINTR, as for any read of a file (0005)."""
    program = (
        "import signal\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "found = 0\n"
        "for _ in range(300):\n"
        "    found += open('/proc/net/unix').read().count(WANTED)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "print(found)\n"
    )
    assert output(program, "--private") == "300\n"
