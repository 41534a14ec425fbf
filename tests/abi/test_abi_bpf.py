"""The assembler: its programs run as their lines say, near and far."""

from __future__ import annotations

import bpf_machine
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi import bpf


def interpret(program: list[bpf.Line], data: bytes) -> int:
    """The result of a program straight from its lines."""
    places = {line: index for index, line in enumerate(program) if isinstance(line, str)}
    accumulator = 0
    index = 0
    while True:
        line = program[index]
        index += 1
        if isinstance(line, str):
            continue
        kind, k, then, otherwise = line
        if kind == bpf.BPF_LD_W_ABS:
            accumulator = int.from_bytes(data[k : k + 4], "little")
        elif kind == bpf.BPF_RET_K:
            return k
        else:
            holds = accumulator == k if kind == bpf.BPF_JMP_JEQ_K else accumulator >= k
            target = then if holds else otherwise
            index = places[target] if target else index


@st.composite
def programs(draw: st.DrawFn) -> list[bpf.Line]:
    """Blocks that jump forward to one another, with so much between them that some jumps are too far for 8 bits."""
    blocks = draw(st.integers(1, 8))
    program: list[bpf.Line] = []
    for block in range(blocks):
        if block:
            program.append(f"block {block}")
        program.append(bpf.load(4 * draw(st.integers(0, 2))))
        later = st.sampled_from(["", *(f"block {number}" for number in range(block + 1, blocks))])
        for _ in range(draw(st.integers(0, 3))):
            jump = draw(st.sampled_from([bpf.jump_if_equal, bpf.jump_if_at_least]))
            program.append(jump(draw(st.integers(0, 3)), draw(later), draw(later)))
        program += [bpf.load(8)] * draw(st.sampled_from([0, 1, 100, 251, 252, 253, 254, 255, 256, 300]))
        if draw(st.booleans()):
            program.append(bpf.ret(100 + block))
    program.append(bpf.ret(99))
    return program


@settings(max_examples=300, deadline=None)
@given(programs(), st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8))
def test_programs_run_as_written(program: list[bpf.Line], inputs: list[tuple[int, int, int]]) -> None:
    code = bpf.assemble(program)
    for words in inputs:
        data = b"".join(word.to_bytes(4, "little") for word in words)
        assert bpf_machine.run(code, data) == interpret(program, data)


@pytest.mark.parametrize("between", [254, 255, 256, 257])
@pytest.mark.parametrize("word", [1, 2])
def test_the_edge_of_8_bits(between: int, word: int) -> None:
    """A jump over 255 instructions is one instruction, over 256 it needs a long one."""
    program: list[bpf.Line] = [bpf.load(0), bpf.jump_if_equal(1, "away")]
    program += [bpf.load(0)] * (between - 1) + [bpf.ret(7), "away", bpf.ret(8)]
    code = bpf.assemble(program)
    assert len(code) // 8 == between + 3 + (between > 255)
    assert bpf_machine.run(code, word.to_bytes(4, "little")) == (8 if word == 1 else 7)


@pytest.mark.parametrize("same", [True, False])
def test_both_ways_far(same: bool) -> None:
    """Two far names need two long jumps, one name for both ways only one."""
    otherwise = "first" if same else "second"
    program: list[bpf.Line] = [bpf.load(0), bpf.jump_if_equal(1, "first", otherwise)]
    program += [bpf.load(0)] * 300 + ["first", bpf.ret(1), "second", bpf.ret(2)]
    code = bpf.assemble(program)
    assert len(code) // 8 == 304 + (1 if same else 2)
    assert bpf_machine.run(code, b"\1\0\0\0") == 1
    assert bpf_machine.run(code, b"\2\0\0\0") == (1 if same else 2)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ([bpf.jump_if_equal(1, "nowhere"), bpf.ret(0)], "'nowhere' is not defined"),
        (["a", bpf.ret(0), "a", bpf.ret(0)], "'a' is defined twice"),
        (["a", bpf.jump_if_equal(1, "a"), bpf.ret(0)], "jump back to 'a'"),
        ([bpf.load(0)], "must end with ret"),
        ([], "must end with ret"),
        ([bpf.load(0)] * 4096 + [bpf.ret(0)], "4097 instructions"),
    ],
)
def test_wrong_programs_are_refused(program: list[bpf.Line], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        bpf.assemble(program)


def test_the_longest_program() -> None:
    assert len(bpf.assemble([bpf.load(0)] * 4095 + [bpf.ret(0)])) == 4096 * 8
