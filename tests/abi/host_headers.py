"""Asks a C compiler what the system's headers say; nothing is run, so a cross compiler can answer too."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest


def c_compiler(machine: str) -> str:
    """The compiler whose headers are those of the machine; a skip where there is none."""
    import platform

    command = "cc" if platform.machine() == machine else f"{machine}-linux-gnu-gcc"
    path = shutil.which(command)
    if path is None:
        pytest.skip(f"no {command} here to ask about {machine}")
    return path


def compile_only(cc: str, source: str, *options: str) -> str:
    """What the compiler says about a program in C."""
    command = [cc, "-x", "c", "-fsyntax-only", "-D_GNU_SOURCE", "-ftrack-macro-expansion=0", *options, "-"]
    run = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return run.stderr


def macros(cc: str, source: str, *options: str) -> dict[str, str]:
    """Every macro defined after a program in C, with its text."""
    command = [cc, "-x", "c", "-E", "-dM", "-D_GNU_SOURCE", *options, "-"]
    run = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^#define (\w+) (.*)$", run.stdout, re.MULTILINE))


def false_assertions(cc: str, headers: str, assertions: dict[str, str]) -> set[str]:
    """The names of the C conditions that do not hold. Any other error of the compiler fails the test."""
    lines = [headers]
    lines += [f'_Static_assert({condition}, "<{name}>");' for name, condition in assertions.items()]
    said = compile_only(cc, "\n".join(lines))
    wrong = set(re.findall(r'static assertion failed: "<(.+)>"', said))
    errors = len(re.findall(r"error:", said))
    assert errors == len(wrong), said
    return wrong


def compare_constants(cc: str, headers: str, values: dict[str, int]) -> tuple[set[str], set[str]]:
    """The names that have another value in the headers (in 32 bits), and those that the headers define."""
    lines = [headers]
    for name, value in values.items():
        equal = f"((unsigned long)({name}) & 0xffffffffUL) == {value & 0xFFFFFFFF:#x}UL"
        lines += [
            f"#ifdef {name}",
            f'#pragma message("<{name}>")',
            f'_Static_assert({equal}, "<{name}>");',
            "#endif",
        ]
    said = compile_only(cc, "\n".join(lines))
    wrong = set(re.findall(r'static assertion failed: "<(.+)>"', said))
    defined = set(re.findall(r"#pragma message: <(\w+)>", said))
    errors = len(re.findall(r"error:", said))
    assert errors == len(wrong), said
    return wrong, defined


def integers(module: Any) -> dict[str, int]:
    """The public int constants of a module."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and type(value) is int
    }
