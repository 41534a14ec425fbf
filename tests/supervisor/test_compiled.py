"""Which host calls are used: the compiled ones, all of them, unless AFUNIX_PURE is set."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType

import pytest

from afunix.supervisor import _endcalls, _trapcalls, endcalls, trapcalls, trapcalls_python


@pytest.mark.parametrize(
    ("chosen", "compiled", "names"),
    [
        (trapcalls, _trapcalls, trapcalls_python.__all__),
        (endcalls, _endcalls, sorted(set(endcalls.__all__) - {"COMPILED"})),
    ],
    ids=["trapcalls", "endcalls"],
)
def test_all_functions_are_compiled(chosen: ModuleType, compiled: ModuleType, names: list[str]) -> None:
    for name in names:
        assert hasattr(compiled, name)
        assert getattr(chosen, name) is getattr(compiled, name)
    assert chosen.COMPILED


@pytest.mark.parametrize(("chosen", "function"), [("trapcalls", "turn"), ("endcalls", "pair")])
def test_without_the_compiled_ones(chosen: str, function: str) -> None:
    """AFUNIX_PURE says so."""
    code = f"from afunix.supervisor import {chosen} as c; print(c.COMPILED, c.{function}.__module__)"
    environment = {**os.environ, "AFUNIX_PURE": "1"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == f"False afunix.supervisor.{chosen}_python\n"
