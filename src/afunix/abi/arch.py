"""The machine that programs run on: its system call numbers and the few layouts that depend on it."""

from __future__ import annotations

import platform
import struct
from typing import Final, NamedTuple

from afunix.abi import registers, structs, syscalls_aarch64, syscalls_x86_64

__all__ = ["AARCH64", "X86_64", "Arch", "UnsupportedMachineError", "by_machine", "current"]


class Arch(NamedTuple):
    """One machine's system call interface."""

    name: str
    """As uname(2) tells it: "x86_64" or "aarch64"."""
    audit_arch: int
    """AUDIT_ARCH_*, which seccomp reports with each call."""
    numbers: dict[str, int]
    """System call numbers by name. A call that the machine lacks is not in it (aarch64 has no `poll`)."""
    names: dict[int, str]
    """System call names by number."""
    x32_bit: int
    """The bit that marks a call by the x32 ABI; 0 where there is no such ABI."""
    epoll_event: struct.Struct
    """`struct epoll_event`: packed on x86-64 only."""
    o_direct: int
    o_directory: int
    o_largefile: int
    o_nofollow: int
    o_tmpfile: int
    registers: registers.Registers


class UnsupportedMachineError(Exception):
    """No table for this machine's system calls; the text names the machine and what is supported."""


def _names(numbers: dict[str, int]) -> dict[int, str]:
    return {number: name for name, number in numbers.items()}


X86_64: Final = Arch(
    name="x86_64",
    audit_arch=syscalls_x86_64.AUDIT_ARCH,
    numbers=syscalls_x86_64.NUMBERS,
    names=_names(syscalls_x86_64.NUMBERS),
    x32_bit=syscalls_x86_64.X32_BIT,
    epoll_event=structs.EPOLL_EVENT_PACKED,
    o_direct=syscalls_x86_64.O_DIRECT,
    o_directory=syscalls_x86_64.O_DIRECTORY,
    o_largefile=syscalls_x86_64.O_LARGEFILE,
    o_nofollow=syscalls_x86_64.O_NOFOLLOW,
    o_tmpfile=syscalls_x86_64.O_TMPFILE,
    registers=registers.X86_64_REGISTERS,
)

AARCH64: Final = Arch(
    name="aarch64",
    audit_arch=syscalls_aarch64.AUDIT_ARCH,
    numbers=syscalls_aarch64.NUMBERS,
    names=_names(syscalls_aarch64.NUMBERS),
    x32_bit=0,
    epoll_event=structs.EPOLL_EVENT_ALIGNED,
    o_direct=syscalls_aarch64.O_DIRECT,
    o_directory=syscalls_aarch64.O_DIRECTORY,
    o_largefile=syscalls_aarch64.O_LARGEFILE,
    o_nofollow=syscalls_aarch64.O_NOFOLLOW,
    o_tmpfile=syscalls_aarch64.O_TMPFILE,
    registers=registers.AARCH64_REGISTERS,
)

_BY_MACHINE: Final = {"x86_64": X86_64, "amd64": X86_64, "aarch64": AARCH64, "arm64": AARCH64}


def by_machine(machine: str) -> Arch:
    """The interface of a machine by its uname(2) name, in any case, or UnsupportedMachineError."""
    try:
        return _BY_MACHINE[machine.lower()]
    except KeyError:
        raise UnsupportedMachineError(f"{machine} is not supported: afunix knows x86_64 and aarch64") from None


def current() -> Arch:
    """The interface of the machine that this interpreter runs on.

    UnsupportedMachineError for another machine, and for a 32-bit interpreter: it would start programs through
    the 32-bit system calls of a 64-bit kernel.
    """
    if struct.calcsize("P") != 8:
        raise UnsupportedMachineError("a 32-bit Python is not supported: afunix needs a 64-bit one")
    return by_machine(platform.machine())
