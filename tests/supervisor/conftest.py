"""Fixtures for tests that supervise real programs."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PREAMBLE = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* Calls on these descriptor numbers, which nobody opens, are the test's; others proceed. */
#define TELL 1000
static long tell(const void *data, size_t size) { return syscall(SYS_write, TELL, data, size); }
static long tell_text(const char *text) { return tell(text, strlen(text)); }
static long tell_number(long number) { return tell(&number, sizeof number); }
static long ask(void *buffer, size_t size) { return syscall(SYS_read, TELL, buffer, size); }
"""


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Compile the body of a C program; the same source only once."""
    directory = tmp_path_factory.mktemp("programs")

    def build(source: str) -> str:
        path = directory / hashlib.sha256(source.encode()).hexdigest()[:16]
        if not path.exists():
            text = Path(f"{path}.c")
            text.write_text(PREAMBLE + source)
            command = ["cc", "-O1", "-pthread", "-Wall", "-Werror", "-Wno-unused-function", "-o", str(path), str(text)]
            subprocess.run(command, check=True)
        return str(path)

    return build


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short name: an address has room for 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="bridge") as name:
        yield Path(name)


@pytest.fixture(params=["path", "abstract"])
def name(request: pytest.FixtureRequest, directory: Path) -> str:
    return f"{directory}/s" if request.param == "path" else f"@{directory}/s"


@pytest.fixture
def opened() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack
