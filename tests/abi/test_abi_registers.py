"""Registers by their names in the headers, for both machines; and what one system call has where, by making it."""

from __future__ import annotations

import pytest
from host_headers import c_compiler, compare_constants, false_assertions

from afunix.abi import arch, registers

HEADERS = "#include <stddef.h>\n#include <sys/procfs.h>\n#include <sys/user.h>\n"

NAMES = {
    "x86_64": {
        "number": "rax",
        "arguments": ("rdi", "rsi", "rdx", "r10", "r8", "r9"),
        "result": "rax",
        "instruction": "rip",
        "original": "orig_rax",
    },
    "aarch64": {
        "number": "regs[8]",
        "arguments": tuple(f"regs[{index}]" for index in range(6)),
        "result": "regs[0]",
        "instruction": "pc",
        "original": None,
    },
}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_positions(machine: str) -> None:
    """Each is the register that syscall(2) names, in the structure that NT_PRSTATUS has."""
    table = arch.by_machine(machine).registers
    conditions = {"size": f"sizeof(struct user_regs_struct) == {table.layout.size}"}
    for field, name in NAMES[machine].items():
        positions = getattr(table, field)
        pairs = zip(name, positions, strict=True) if isinstance(name, tuple) else [(name, positions)]
        for register, position in pairs:
            if register is None:
                assert position is None
            else:
                conditions[register] = f"offsetof(struct user_regs_struct, {register}) == {8 * position}"
    assert not false_assertions(c_compiler(machine), HEADERS, conditions)


def test_number_of_the_set() -> None:
    assert compare_constants(
        c_compiler(arch.current().name), "#include <linux/elf.h>", {"NT_PRSTATUS": registers.NT_PRSTATUS}
    ) == (set(), {"NT_PRSTATUS"})
