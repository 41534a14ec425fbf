"""Error numbers and texts against the system's headers and C library."""

from __future__ import annotations

import copy
import os
import pickle
import platform
import re

import pytest
from host_headers import c_compiler, compare_constants, macros

from afunix.abi.errno import ERESTARTSYS, Errno, SyscallError


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_list_is_the_headers_list(machine: str) -> None:
    """Every E* of errno.h and no other, each with its number."""
    cc = c_compiler(machine)
    names = {name for name in macros(cc, "#include <errno.h>") if re.fullmatch(r"E[A-Z0-9]+", name)}
    assert names == Errno.__members__.keys()
    wrong, defined = compare_constants(
        cc, "#include <errno.h>", {name: int(number) for name, number in Errno.__members__.items()}
    )
    assert not wrong
    assert defined == names


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the texts are glibc's")
@pytest.mark.parametrize("number", Errno)
def test_message_is_strerror(number: Errno) -> None:
    assert number.message == os.strerror(number)


def test_aliases_are_one_member() -> None:
    aliases = {name: number.name for name, number in Errno.__members__.items() if name != number.name}
    assert aliases == {"EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK", "ENOTSUP": "EOPNOTSUPP"}


def test_restart_is_no_errno() -> None:
    """The kernel's own number for an interrupted call never gets into the enum."""
    assert ERESTARTSYS not in set(Errno)


def test_syscall_error_shows_name_and_text() -> None:
    error = SyscallError(Errno.EINVAL)
    assert error.errno is Errno.EINVAL
    assert str(error) == "EINVAL: Invalid argument"


def test_syscall_error_survives_copy_and_pickle() -> None:
    error = SyscallError(Errno.ECONNRESET)
    assert copy.copy(error).errno is Errno.ECONNRESET
    assert pickle.loads(pickle.dumps(error)).errno is Errno.ECONNRESET
