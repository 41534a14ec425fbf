"""Which of two modules with the same functions is used: the compiled one, all of it, unless AFUNIX_PURE is set."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import pytest

MODULES = ["supervisor.trapcalls", "supervisor.endcalls", "inproc.parking"]


@pytest.mark.parametrize("name", MODULES)
def test_all_functions_are_compiled(name: str) -> None:
    package, _, plain = name.rpartition(".")
    chosen = import_module(f"afunix.{name}")
    compiled = import_module(f"afunix.{package}._{plain}")
    twin = import_module(f"afunix.{package}.{plain}_python")
    assert chosen.COMPILED
    shared = set(twin.__all__) & set(chosen.__all__)
    assert len(shared) >= 2
    for function in shared:
        assert getattr(chosen, function) is getattr(compiled, function)


@pytest.mark.parametrize("name", MODULES)
def test_without_the_compiled_ones(name: str) -> None:
    """AFUNIX_PURE says so."""
    code = f"import afunix.{name} as c, afunix.{name}_python as twin"
    code += "\nprint(c.COMPILED, all(getattr(c, n) is getattr(twin, n) for n in {*c.__all__} & {*twin.__all__}))"
    environment = {**os.environ, "AFUNIX_PURE": "1"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert out == "False True\n"
