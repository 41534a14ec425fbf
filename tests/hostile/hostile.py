"""Fuzzers beside two programs that talk with each other and are not to be disturbed.

    hostile.py DIRECTORY CALLS SEED…

Each fuzzer logs to DIRECTORY/SEED. Prints how many messages the two exchanged; with AFUNIX_SUPERVISED in the
environment also how many descriptors the supervisor had before and has after.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

FUZZER = Path(__file__).with_name("fuzzer.py")


def answer(path: str) -> None:
    """Send back what comes, with the same descriptor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        served, _ = listener.accept()
    with served:
        while True:
            data, fds, _, _ = socket.recv_fds(served, 65536, 4)
            if not data:
                return
            socket.send_fds(served, [data], fds)
            for fd in fds:
                os.close(fd)


def talk(path: str, stop: int) -> int:
    """Send messages and expect them back until there is something to read at `stop`: how many."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as talker, open("/dev/null", "rb") as passed:
        talker.settimeout(30)
        while True:
            try:
                talker.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.01)
        os.set_blocking(stop, False)
        count = 0
        while True:
            try:
                if not os.read(stop, 1):
                    return count
            except BlockingIOError:
                pass
            data = b"%d " % count * (1 + count % 500)
            socket.send_fds(talker, [data], [passed.fileno()])
            back, fds, _, _ = socket.recv_fds(talker, 65536, 4)
            assert back == data, "a message came back different"
            assert len(fds) == 1, "its descriptor was lost"
            assert os.path.sameopenfile(fds[0], passed.fileno()), "another descriptor came back"
            os.close(fds[0])
            count += 1


def supervisor_descriptors() -> int | None:
    """How many descriptors the supervisor has: it is the parent of the guardian, which is ours."""
    if "AFUNIX_SUPERVISED" not in os.environ:
        return None
    stat = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="ascii")
    return len(os.listdir(f"/proc/{stat.rpartition(')')[2].split()[1]}/fd"))


def main() -> None:
    directory, calls, *seeds = sys.argv[1:]
    # Once before it counts, so that what the supervisor keeps for the first of a kind is there.
    subprocess.run([sys.executable, str(FUZZER), "before", "300", os.path.join(directory, "before")], check=True)
    before = supervisor_descriptors()
    path = os.path.join(directory, "talk")
    server = os.fork()
    if not server:
        answer(path)
        os._exit(0)
    stop, go_on = os.pipe()
    results, result = os.pipe()
    talker = os.fork()
    if not talker:
        os.close(go_on)
        os.write(result, b"%d" % talk(path, stop))
        os._exit(0)
    os.close(stop)
    os.close(result)
    fuzzers = [
        subprocess.Popen([sys.executable, str(FUZZER), seed, calls, os.path.join(directory, seed)]) for seed in seeds
    ]
    for fuzzer in fuzzers:
        if fuzzer.wait():
            print(f"a fuzzer ended with {fuzzer.returncode}")
    os.close(go_on)
    print("exchanged", os.read(results, 100).decode())
    for child in (talker, server):
        print("status", os.waitpid(child, 0)[1])
    if before is not None:
        for _ in range(100):
            after = supervisor_descriptors()
            if after == before:
                break
            time.sleep(0.05)
        print("descriptors", before, after)


if __name__ == "__main__":
    main()
