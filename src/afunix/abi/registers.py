"""Registers of a stopped thread, as ptrace(2) shows them (NT_PRSTATUS): where a system call has what.

Sources: struct user_regs_struct of x86-64, struct user_pt_regs of aarch64; do_signal of both for what a call that is
to be made again has in them.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

__all__ = ["AARCH64_REGISTERS", "NT_PRSTATUS", "X86_64_REGISTERS", "Registers"]

NT_PRSTATUS: Final = 1
"""The set of general registers."""


class Registers(NamedTuple):
    """Positions in the layout."""

    layout: Struct
    number: int
    """What a system call instruction takes as the call's number."""
    arguments: tuple[int, ...]
    result: int
    instruction: int
    """Program counter."""
    instruction_size: int
    """Bytes of the system call instruction."""
    original: int | None
    """What the kernel goes by to make an interrupted call again when the thread goes on; -1 in it: not at all."""
    rewound: bool
    """Whether a call to be made again is rewound before the thread stops for signals, not after."""


X86_64_REGISTERS: Final = Registers(
    layout=Struct("<27Q"),
    number=10,  # rax
    arguments=(14, 13, 12, 7, 9, 8),  # rdi, rsi, rdx, r10, r8, r9
    result=10,
    instruction=16,  # rip
    instruction_size=2,
    original=15,  # orig_rax
    rewound=False,
)

AARCH64_REGISTERS: Final = Registers(
    layout=Struct("<34Q"),
    number=8,  # x8
    arguments=(0, 1, 2, 3, 4, 5),
    result=0,
    instruction=32,  # pc
    instruction_size=4,
    original=None,
    rewound=True,
)
