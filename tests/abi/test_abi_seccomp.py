"""The filter: its decisions for any call, and what a real kernel does with it."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import bpf_machine
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afunix.abi import arch, bpf, constants, seccomp
from afunix.abi.errno import Errno

AUDIT_ARCH_I386 = 0x40000003
ARCHS = [arch.X86_64.audit_arch, arch.AARCH64.audit_arch]
U32 = st.integers(0, (1 << 32) - 1)
NUMBER = st.integers(0, 500)
CONDITION = st.tuples(st.integers(0, 5), st.lists(U32 | st.integers(0, 9), max_size=5).map(tuple))


def decide(
    audit_arch: int,
    traps: list[seccomp.Trap],
    refusals: dict[int, int],
    call: tuple[int, int, list[int]],
) -> int:
    """What the filter must decide, written down from its description."""
    called_arch, number, arguments = call
    if called_arch != audit_arch:
        return seccomp.REFUSE
    if audit_arch == arch.X86_64.audit_arch and number & 0xFFFFFFFF >= arch.X86_64.x32_bit:
        return seccomp.REFUSE
    for trapped, condition in traps:
        if trapped == number:
            if condition is None:
                return seccomp.SECCOMP_RET_USER_NOTIF
            argument, values = condition
            if arguments[argument] & 0xFFFFFFFF in values:
                return seccomp.SECCOMP_RET_USER_NOTIF
    if number in refusals:
        return seccomp.SECCOMP_RET_ERRNO | refusals[number]
    return seccomp.SECCOMP_RET_ALLOW


def simulate(code: bytes, call: tuple[int, int, list[int]]) -> int:
    called_arch, number, arguments = call
    return bpf_machine.run(code, seccomp.DATA.pack(number, called_arch, 0x7F0012345678, *arguments))


@st.composite
def policies(draw: st.DrawFn) -> tuple[int, list[seccomp.Trap], dict[int, int]]:
    traps: list[seccomp.Trap] = draw(st.lists(st.tuples(NUMBER, st.none() | CONDITION), max_size=30))
    # Many more in one go, so that jumps get long.
    start, count = draw(st.integers(501, 520)), draw(st.sampled_from([0, 0, 90, 300]))
    many: list[seccomp.Trap] = [(start + index, (index % 6, (index, index + 1))) for index in range(count)]
    traps = many + traps if draw(st.booleans()) else traps + many
    refusals = draw(st.dictionaries(NUMBER | st.integers(501, 900), st.integers(1, 133), max_size=5))
    trapped = {number for number, _ in traps}
    refusals = {number: errno for number, errno in refusals.items() if number not in trapped}
    return draw(st.sampled_from(ARCHS)), traps, refusals


@settings(max_examples=300, deadline=None)
@given(policies(), st.data())
def test_decisions(policy: tuple[int, list[seccomp.Trap], dict[int, int]], data: st.DataObject) -> None:
    """For any policy and any call, the filter decides what its description says."""
    audit_arch, traps, refusals = policy
    code = seccomp.build_filter(audit_arch, traps, list(refusals.items()))
    numbers = [number for number, _ in traps] + list(refusals) + [0]
    number = st.sampled_from(numbers) | st.integers(-(1 << 31), (1 << 31) - 1)
    values = [value for _, condition in traps if condition for value in condition[1]] + [0]
    high_half = st.integers(0, (1 << 32) - 1).map(lambda high: high << 32)
    argument = st.builds(lambda high, low: high | low, high_half, st.sampled_from(values) | U32)
    calls = st.tuples(
        st.sampled_from([audit_arch, audit_arch, audit_arch, AUDIT_ARCH_I386, *ARCHS]),
        number,
        st.lists(argument, min_size=6, max_size=6),
    )
    for call in data.draw(st.lists(calls, min_size=5, max_size=20)):
        assert simulate(code, call) == decide(audit_arch, traps, refusals, call)
    zero = [0] * 6
    for each in set(numbers):
        assert simulate(code, (audit_arch, each, zero)) == decide(audit_arch, traps, refusals, (audit_arch, each, zero))


def test_x32_calls_are_foreign_on_x86_64_only() -> None:
    x32_read = arch.X86_64.x32_bit
    for audit_arch, expected in zip(ARCHS, [seccomp.REFUSE, seccomp.SECCOMP_RET_ALLOW], strict=True):
        code = seccomp.build_filter(audit_arch, [(0, None)])
        assert simulate(code, (audit_arch, x32_read, [0] * 6)) == expected
        assert simulate(code, (audit_arch, 0, [0] * 6)) == seccomp.SECCOMP_RET_USER_NOTIF


def test_results_can_be_chosen() -> None:
    code = seccomp.build_filter(
        ARCHS[0], [(1, None)], trapped=seccomp.SECCOMP_RET_TRACE | 7, foreign=seccomp.SECCOMP_RET_USER_NOTIF
    )
    assert simulate(code, (ARCHS[0], 1, [0] * 6)) == seccomp.SECCOMP_RET_TRACE | 7
    assert simulate(code, (ARCHS[1], 1, [0] * 6)) == seccomp.SECCOMP_RET_USER_NOTIF


def test_conditions_of_one_call_add_up() -> None:
    """Named several times, a call is trapped if any of its conditions holds; without condition, always."""
    traps: list[seccomp.Trap] = [(16, (1, (1,))), (16, (1, (2,))), (16, (0, (5,))), (17, (0, (1,))), (17, None)]
    code = seccomp.build_filter(ARCHS[0], traps)
    notify, allow = seccomp.SECCOMP_RET_USER_NOTIF, seccomp.SECCOMP_RET_ALLOW
    calls = [(16, 0, 1), (16, 0, 2), (16, 5, 0), (16, 1, 5), (17, 9, 9)]
    decisions = [simulate(code, (ARCHS[0], call, [first, second, 0, 0, 0, 0])) for call, first, second in calls]
    assert decisions == [notify, notify, notify, allow, notify]


def test_the_first_traps_are_decided_first() -> None:
    """The number of instructions before a trap grows by one with each that stands before it."""
    code = seccomp.build_filter(ARCHS[0], [(number, None) for number in (5, 3, 9)])
    compared = [instruction[3] for instruction in bpf.SOCK_FILTER.iter_unpack(code) if instruction[0] == 0x15]
    assert compared == [ARCHS[0], 5, 3, 9]


@pytest.mark.parametrize(
    ("traps", "refusals"),
    [
        ([(1, None)], [(1, 38)]),
        ([], [(1, 38), (1, 1)]),
        ([], [(1, 0)]),
        ([], [(1, 4096)]),
        ([(1, (6, (1,)))], []),
        ([(1, (-1, (1,)))], []),
        ([(1, (0, (1 << 32,)))], []),
        ([(1, (0, (-1,)))], []),
    ],
)
def test_wrong_policies_are_refused(traps: list[seccomp.Trap], refusals: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"refused twice|out of range|no such condition"):
        seccomp.build_filter(ARCHS[0], traps, refusals)


# A real kernel, on the machine that this runs on.

PROGRAM = Path(__file__).with_name("seccomp_programs.py")
EXFULL = seccomp.SECCOMP_RET_ERRNO | Errno.EXFULL


def run(mode: str, code: bytes, *arguments: str) -> Any:
    command = [sys.executable, str(PROGRAM), mode, code.hex(), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def kernel_calls(code: bytes, *calls: tuple[int, ...]) -> list[int | str]:
    """What these calls return in a process with the filter: the result or the name of the errno."""
    results: list[int | str] = run("calls", code, *(",".join(map(str, call)) for call in calls))
    return results


@pytest.mark.parametrize("many", [0, 400])
def test_the_kernel_decides_the_same(many: int) -> None:
    """Refusals, traps by number and by argument in a process under the filter; also one full of long jumps."""
    this = arch.current()
    numbers = this.numbers
    filler: list[seccomp.Trap] = [(1000 + index, (index % 6, (index, index + 7))) for index in range(many)]
    traps: list[seccomp.Trap] = [
        (numbers["getpgid"], None),
        (numbers["socket"], (0, (constants.AF_UNIX,))),
        *filler,
        (numbers["ioctl"], (1, (constants.SIOCATMARK, constants.SIOCINQ))),
        (numbers["fcntl"], (1, (constants.F_SETFL,))),
    ]
    code = seccomp.build_filter(
        this.audit_arch, traps, [(numbers["io_uring_setup"], Errno.ENOSYS), (1999, Errno.EDOM)], trapped=EXFULL
    )
    results = kernel_calls(
        code,
        (numbers["getpgid"], 0),
        (numbers["getpriority"], 0, 0),
        (numbers["io_uring_setup"], 1, 0),
        (1999,),
        (numbers["socket"], constants.AF_UNIX, constants.SOCK_STREAM, 0),
        (numbers["socket"], 1 << 32 | constants.AF_UNIX, constants.SOCK_STREAM, 0),
        (numbers["socket"], constants.AF_NETLINK, 99, 0),
        (numbers["ioctl"], -1 & 0xFFFFFFFF, constants.SIOCATMARK, 0),
        (numbers["ioctl"], -1 & 0xFFFFFFFF, constants.SIOCINQ, 0),
        (numbers["ioctl"], -1 & 0xFFFFFFFF, constants.SIOCOUTQ, 0),
        (numbers["fcntl"], -1 & 0xFFFFFFFF, constants.F_SETFL, 0),
        (numbers["fcntl"], -1 & 0xFFFFFFFF, constants.F_GETFL, 0),
    )
    assert results == [
        "EXFULL",
        20,
        "ENOSYS",
        "EDOM",
        "EXFULL",
        "EXFULL",
        "EINVAL",
        "EXFULL",
        "EXFULL",
        "EBADF",
        "EXFULL",
        "EBADF",
    ]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has the x32 ABI")
def test_the_kernel_refuses_x32() -> None:
    getpid = arch.X86_64.numbers["getpid"]
    code = seccomp.build_filter(arch.X86_64.audit_arch, [], foreign=EXFULL)
    assert kernel_calls(code, (getpid | arch.X86_64.x32_bit,)) == ["EXFULL"]


INT80 = """
#include <stdio.h>
int main(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    printf("%ld\\n", (long)(int)result);
    return 0;
}
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86-64 has int 0x80")
def test_the_kernel_refuses_32_bit_calls(tmp_path: Path) -> None:
    """getpid by the 32-bit entry returns a pid without the filter, and -ENOSYS with it."""
    program = tmp_path / "int80"
    subprocess.run(["cc", "-x", "c", "-", "-o", str(program)], input=INT80, text=True, check=True)
    plain = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    if plain.returncode:
        pytest.skip("this kernel has no 32-bit calls")
    assert int(plain.stdout) > 0
    code = seccomp.build_filter(arch.X86_64.audit_arch, [(0, (0, (12345,)))])
    assert run("exec", code, str(program)) == -Errno.ENOSYS


def test_notifications() -> None:
    """The kernel fills and reads our layouts: a value, an errno, a new descriptor, and letting the call run."""
    this = arch.current()
    number = this.numbers["getpgid"]
    report = run("notify", seccomp.build_filter(this.audit_arch, [(number, None)]), str(number))
    assert report["results"] == [4242, "EXFULL", "passed", 1, "ESRCH"]
    first = report["notifications"][0]
    identity, tid, flags, called, called_arch, pointer, *arguments = first
    assert (tid, flags, called, called_arch) == (report["tid"], 0, number, this.audit_arch)
    assert identity
    assert pointer
    assert arguments == [11, 12, 13, 14, 15, 1 << 63 | 16]
    assert len({notification[0] for notification in report["notifications"]}) == 4
    assert report["stale"] == "ENOENT"
    # SYNC_WAKE_UP came with Linux 6.6.
    running = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    assert report["sync"] == (0 if running >= (6, 6) else "EINVAL")


def test_the_kernel_tells_our_sizes() -> None:
    """SECCOMP_GET_NOTIF_SIZES: the running kernel's structures are as long as ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    sizes = ctypes.create_string_buffer(seccomp.NOTIF_SIZES.size)
    number = arch.current().numbers["seccomp"]
    result = libc.syscall(number, seccomp.SECCOMP_GET_NOTIF_SIZES, 0, sizes)
    assert result == 0, os.strerror(ctypes.get_errno())
    assert seccomp.NOTIF_SIZES.unpack(sizes.raw) == (
        seccomp.NOTIF.size,
        seccomp.RESP.size,
        seccomp.DATA.size,
    )
    assert seccomp.NOTIF_CALL.size == seccomp.NOTIF.size
