"""A small assembler for classic BPF, the language of seccomp filters (linux/filter.h, linux/bpf_common.h).

A program is a list of lines: a string names the place where it stands, a tuple is an instruction. Jumps go to
names, forward only. An empty name means the next instruction. A conditional jump has 8 bits for its offset;
where the name is farther away, the assembler puts in an unconditional jump, which has 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

__all__ = [
    "BPF_MAXINSNS",
    "SOCK_FILTER",
    "SOCK_FPROG",
    "Instruction",
    "Line",
    "assemble",
    "jump_if_at_least",
    "jump_if_equal",
    "load",
    "ret",
]

SOCK_FILTER: Final = Struct("<HBBI")
"""struct sock_filter: code, jt, jf, k."""

SOCK_FPROG: Final = Struct("<H6xQ")
"""struct sock_fprog: number of instructions, address of the first."""

BPF_MAXINSNS: Final = 4096
"""The longest program that the kernel takes."""

BPF_LD_W_ABS: Final = 0x20
BPF_JMP_JA: Final = 0x05
BPF_JMP_JEQ_K: Final = 0x15
BPF_JMP_JGE_K: Final = 0x35
BPF_RET_K: Final = 0x06

Instruction = tuple[int, int, str, str]
"""Code, k, where to go if the comparison holds, where to go if not."""
Line = str | Instruction

_NEXT: Final = ""
_FAR: Final = 255


def load(offset: int) -> Instruction:
    """Accumulator = the 32-bit word at this offset of the data (`struct seccomp_data` for a filter)."""
    return BPF_LD_W_ABS, offset, _NEXT, _NEXT


def jump_if_equal(value: int, then: str, otherwise: str = _NEXT) -> Instruction:
    """Compare the accumulator with a 32-bit value."""
    return BPF_JMP_JEQ_K, value, then, otherwise


def jump_if_at_least(value: int, then: str, otherwise: str = _NEXT) -> Instruction:
    """Compare the accumulator with a 32-bit value, both unsigned."""
    return BPF_JMP_JGE_K, value, then, otherwise


def ret(value: int) -> Instruction:
    """End the program with this 32-bit result."""
    return BPF_RET_K, value, _NEXT, _NEXT


def assemble(program: Sequence[Line]) -> bytes:
    """The program as an array of `struct sock_filter`.

    ValueError for a name that is unknown, defined twice or behind its jump, for an end without `ret`, and for
    more than BPF_MAXINSNS instructions.
    """
    _check_names(program)
    places, far = _place(program)
    code = bytearray()
    last = BPF_JMP_JA
    position = 0
    for index, line in enumerate(program):
        if isinstance(line, str):
            continue
        last, k, *targets = line
        # Long jumps of this instruction stand right after it; a name that needs none skips them.
        extra = [target for target in dict.fromkeys(targets) if (index, target) in far]
        offsets = []
        for target in targets:
            if (index, target) in far:
                offsets.append(extra.index(target))
            elif target:
                offsets.append(places[target] - position - 1)
            else:
                offsets.append(len(extra))
        code += SOCK_FILTER.pack(last, *offsets, k)
        for target in extra:
            position += 1
            code += SOCK_FILTER.pack(BPF_JMP_JA, 0, 0, places[target] - position - 1)
        position += 1
    if last != BPF_RET_K:
        raise ValueError("a BPF program must end with ret")
    if position > BPF_MAXINSNS:
        raise ValueError(f"{position} instructions, more than the {BPF_MAXINSNS} of a BPF program")
    return bytes(code)


def _check_names(program: Sequence[Line]) -> None:
    wanted: set[str] = set()
    defined: set[str] = set()
    for line in program:
        if isinstance(line, str):
            if line in defined:
                raise ValueError(f"{line!r} is defined twice")
            defined.add(line)
        else:
            targets = {line[2], line[3]} - {_NEXT}
            behind = targets & defined
            if behind:
                raise ValueError(f"a jump back to {min(behind)!r}")
            wanted |= targets
    if wanted - defined:
        raise ValueError(f"{min(wanted - defined)!r} is not defined")


def _place(program: Sequence[Line]) -> tuple[dict[str, int], set[tuple[int, str]]]:
    """Where each name stands, and which jumps (line, name) need a long one.

    A long jump pushes names away and may make other jumps long, so it goes on until a round adds none.
    """
    far: set[tuple[int, str]] = set()
    while True:
        places: dict[str, int] = {}
        jumps: list[tuple[int, int, str]] = []
        position = 0
        for index, line in enumerate(program):
            if isinstance(line, str):
                places[line] = position
                continue
            targets = {line[2], line[3]} - {_NEXT}
            jumps.extend((index, position, target) for target in targets)
            position += 1 + sum((index, target) in far for target in targets)
        too_far = {(index, target) for index, start, target in jumps if places[target] - start - 1 > _FAR}
        if too_far <= far:
            return places, far
        far |= too_far
