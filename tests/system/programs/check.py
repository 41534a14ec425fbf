"""What every Python test program stands on: cases by name, children, and a helper or two.

    PROGRAM DIRECTORY [CASE]    runs one case, or, without a name, each in a child of its own.

A case is a function named `case_…`. Standard output is the transcript: the same on every run. A failed assertion
ends the process with status 1.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any

WATCHDOG_SECONDS = 15

directory = ""


def path(name: str) -> str:
    """A name in the program's own directory."""
    return os.path.join(directory, name)


def abstract(name: str) -> bytes:
    """An abstract name of this run's own."""
    return f"\0afunix-{os.getpid():08}-{name}".encode()


def refuses(error: int, call: Callable[..., object], *arguments: object) -> None:
    """The call fails with this errno."""
    failed = 0
    try:
        call(*arguments)
    except OSError as caught:
        failed = caught.errno or 0
    assert failed == error, f"{os.strerror(failed)}, not {os.strerror(error)}"


@contextlib.contextmanager
def child(body: Callable[..., object], *arguments: object) -> Iterator[int]:
    """A forked child that runs `body` while the block runs; its failure is ours."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(WATCHDOG_SECONDS)
        status = 1
        try:
            body(*arguments)
            sys.stdout.flush()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    try:
        yield pid
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    status = os.waitpid(pid, 0)[1]
    assert status == 0, f"child ended with wait status {status:#x}"


def read_until(stream: IO[str], text: str) -> str:
    """Lines from a program's output up to the one with this text, which is given back."""
    seen = []
    for line in stream:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"{text!r} not in {seen}")


def main(names: dict[str, Any]) -> None:
    """Run the case, or all, that the command line asks for; names is the program's globals()."""
    global directory
    cases = {name.removeprefix("case_"): value for name, value in names.items() if name.startswith("case_")}
    directory = sys.argv[1]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for name in sys.argv[2:] or cases:
        if sys.argv[2:]:
            signal.alarm(WATCHDOG_SECONDS)
            cases[name]()
            print("ok", name)
        else:
            sys.stdout.flush()
            own = os.path.join(directory, name)
            os.mkdir(own)
            status = os.spawnv(os.P_WAIT, sys.executable, [sys.executable, sys.argv[0], own, name])
            assert status == 0, f"case {name} ended with {status}"
