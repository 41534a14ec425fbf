"""System call numbers against the system's headers and the running kernel."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import socket
import struct

import pytest
from host_headers import c_compiler, macros

from afunix.abi import arch, structs

# Calls that the headers of some supported system lack: number 451 (Linux 6.5) to 469 (6.17) on both machines.
NEWER = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
    "file_getattr": 468,
    "file_setattr": 469,
}
LAST = 469
NEWER_X86_64 = {"uretprobe": 335, "uprobe": 336}

# What arch/arm64/include/uapi/asm/unistd.h asked of the generic table, as long as it used that.
AARCH64_WANTS = [
    "-D__ARCH_WANT_RENAMEAT",
    "-D__ARCH_WANT_NEW_STAT",
    "-D__ARCH_WANT_SET_GET_RLIMIT",
    "-D__ARCH_WANT_TIME32_SYSCALLS",
    "-D__ARCH_WANT_SYS_CLONE3",
    "-D__ARCH_WANT_MEMFD_SECRET",
]


def header_numbers(cc: str, header: str, *options: str) -> dict[str, int]:
    """The __NR_* of a header, with names that stand for other names followed."""
    texts = macros(cc, f"#include <{header}>\n", *options)
    numbers = {}
    for name, text in texts.items():
        if not name.startswith("__NR_") or name in ("__NR_syscalls", "__NR_arch_specific_syscall"):
            continue
        value = text
        while value in texts:
            value = texts[value]
        if re.fullmatch(r"\d+", value):
            numbers[name.removeprefix("__NR_")] = int(value)
    return numbers


def compare(ours: dict[str, int], theirs: dict[str, int], newer: dict[str, int]) -> None:
    assert len(theirs) > 300
    assert {name: number for name, number in theirs.items() if number <= LAST and ours.get(name) != number} == {}
    beyond = {name: number for name, number in ours.items() if name not in theirs}
    assert beyond.items() <= newer.items()


def test_x86_64_numbers() -> None:
    compare(
        arch.X86_64.numbers,
        header_numbers(c_compiler("x86_64"), "asm/unistd_64.h"),
        NEWER | NEWER_X86_64,
    )


def test_aarch64_numbers_are_the_generic_ones() -> None:
    """aarch64 uses the generic table, whose header every system has."""
    theirs = header_numbers(c_compiler(platform.machine()), "asm-generic/unistd.h", *AARCH64_WANTS)
    compare(arch.AARCH64.numbers, theirs, NEWER)


def test_aarch64_numbers_are_its_own_headers() -> None:
    compare(arch.AARCH64.numbers, header_numbers(c_compiler("aarch64"), "asm/unistd.h"), NEWER)


@pytest.mark.parametrize("machine", [arch.X86_64, arch.AARCH64], ids=["x86_64", "aarch64"])
def test_names_are_the_inverse(machine: arch.Arch) -> None:
    """No two calls share a number, so a trace names each by its own."""
    assert {machine.numbers[name]: name for name in machine.numbers} == machine.names
    assert len(machine.names) == len(machine.numbers)


def test_the_kernel_agrees() -> None:
    """The running kernel does what the names say: getpid, and socketpair with its flags."""
    numbers = arch.current().numbers
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.syscall(numbers["getpid"]) == os.getpid()
    pair = (ctypes.c_int * 2)()
    assert libc.syscall(numbers["socketpair"], socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, pair) == 0
    with socket.socket(fileno=pair[0]) as left, socket.socket(fileno=pair[1]):
        assert left.type == socket.SOCK_SEQPACKET
    assert libc.syscall(numbers["pidfd_getfd"], -1, 0, 0) == -1
    assert os.strerror(ctypes.get_errno()) == "Bad file descriptor"


def test_only_x86_64_has_the_older_calls() -> None:
    older = {"poll", "select", "dup2", "fork", "vfork", "epoll_wait", "open", "pipe"}
    assert older <= arch.X86_64.numbers.keys()
    assert not older & arch.AARCH64.numbers.keys()


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", arch.X86_64),
        ("AMD64", arch.X86_64),
        ("aarch64", arch.AARCH64),
        ("arm64", arch.AARCH64),
    ],
)
def test_by_machine(machine: str, expected: arch.Arch) -> None:
    assert arch.by_machine(machine) is expected


@pytest.mark.parametrize("machine", ["i686", "armv7l", "riscv64", ""])
def test_other_machines_are_refused(machine: str) -> None:
    with pytest.raises(arch.UnsupportedMachineError, match="x86_64 and aarch64"):
        arch.by_machine(machine)


def test_current_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arch.current().name == platform.machine()
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    with pytest.raises(arch.UnsupportedMachineError, match="s390x"):
        arch.current()


def test_a_32_bit_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(struct, "calcsize", lambda _format: 4)
    with pytest.raises(arch.UnsupportedMachineError, match="32-bit"):
        arch.current()


def test_epoll_event_is_packed_on_x86_64_only() -> None:
    assert arch.X86_64.epoll_event is structs.EPOLL_EVENT_PACKED
    assert arch.AARCH64.epoll_event is structs.EPOLL_EVENT_ALIGNED
