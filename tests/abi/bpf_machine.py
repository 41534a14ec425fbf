"""Classic BPF, as far as filters here use it: runs what the assembler made, checking each step as the kernel would."""

from __future__ import annotations

from functools import lru_cache

from afunix.abi import bpf


@lru_cache(maxsize=4)
def _decode(code: bytes) -> list[tuple[int, ...]]:
    assert 0 < len(code) <= 8 * 4096
    return list(bpf.SOCK_FILTER.iter_unpack(code))


def run(code: bytes, data: bytes) -> int:
    """The result of a program on its data (bpf_check_classic and ___bpf_prog_run, in small)."""
    instructions = _decode(code)
    accumulator = 0
    position = 0
    while True:
        kind, if_true, if_false, k = instructions[position]
        position += 1
        if kind == 0x20:
            assert k % 4 == 0
            accumulator = int.from_bytes(data[k : k + 4], "little")
            assert k + 4 <= len(data)
        elif kind == 0x05:
            position += k
        elif kind == 0x15:
            position += if_true if accumulator == k else if_false
        elif kind == 0x35:
            position += if_true if accumulator >= k else if_false
        elif kind == 0x06:
            return k
        else:
            raise AssertionError(f"no such instruction: {kind:#x}")
