"""The layers of the design, held against every import in the package: they point down only."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import grimp
import pytest

LAYERS = (
    ("abi",),
    ("core",),
    ("syscalls",),
    ("observe",),
    ("supervisor", "inproc", "sim"),
    ("conformance",),
    ("cli",),
)
"""Bottom first. Those of one row never import each other. What stands beside these packages, such as the root and
the modules that are drop-ins for the standard library's, counts as high as the highest that it imports."""

ONLY_THESE = {"abi": set[str](), "core": {"abi"}}
"""Layers of which even the way down is short: all of the package that they may import, besides themselves."""

DIRTY = frozenset(
    {
        *("os", "socket", "threading", "time", "asyncio", "select", "random", "logging"),
        # The same by other names, and ways around.
        *("_socket", "_thread", "concurrent", "ctypes", "datetime", "fcntl", "importlib", "mmap", "multiprocessing"),
        *("pathlib", "posix", "queue", "resource", "secrets", "selectors", "signal", "ssl", "subprocess", "tempfile"),
    }
)
"""What the core has no part in: it does no input or output, has no clock, no chance and no threads."""

STANDARD = sys.stdlib_module_names | {"_typeshed"}

LOADED_BY = {"pytest_plugin": {"pytest"}}
"""What stands beside the layers because another program loads it, and so may import that program."""


def violations(package: str) -> list[str]:
    """Every import of the package that a layer forbids, as 'importer imports imported: rule'."""
    graph = grimp.build_graph(package, include_external_packages=True, cache_dir=None)
    own = {module for module in graph.modules if module == package or module.startswith(package + ".")}
    imports = sorted((module, found) for module in own for found in graph.find_modules_directly_imported_by(module))

    def unit(module: str) -> str:
        """The layer or facade that a module belongs to; the root is ''."""
        return module.removeprefix(package).lstrip(".").partition(".")[0]

    ranks = {layer: rank for rank, row in enumerate(LAYERS) for layer in row}
    facades = {unit(module) for module in own} - set(ranks)
    found = [
        f"{package}.{facade} is a package and no layer"
        for facade in sorted(facades - {""})
        if graph.find_children(f"{package}.{facade}")
    ]
    for _ in facades:  # a facade may import another: as often as there are any, and all are settled
        for importer, imported in imports:
            if unit(importer) in facades and imported in own:
                ranks[unit(importer)] = max(ranks.get(unit(importer), -1), ranks.get(unit(imported), -1))
    for importer, imported in imports:
        here = unit(importer)
        rule = ""
        if imported not in own:
            if imported.partition(".")[0] not in STANDARD | LOADED_BY.get(here, set()):
                rule = "not in the standard library"
            elif here == "core" and imported in DIRTY:
                rule = "the core is sans I/O"
        elif (there := unit(imported)) != here:
            if here in ONLY_THESE and there not in ONLY_THESE[here]:
                rule = f"{here} imports only {ONLY_THESE[here] or 'itself'}"
            elif here not in facades and ranks.get(there, -1) >= ranks[here]:
                rule = "layers point down only"
        if rule:
            found.append(f"{importer} imports {imported}: {rule}")
    return found


def test_the_package_keeps_its_layers() -> None:
    """No import of afunix breaks a rule."""
    assert violations("afunix") == []


def test_every_layer_of_the_lower_half_is_there() -> None:
    """The names above are those of real packages, so a renamed layer does not go unchecked."""
    graph = grimp.build_graph("afunix", cache_dir=None)
    for layer in ("abi", "core"):
        assert len(graph.find_children(f"afunix.{layer}")) > 3


# The rules on made-up packages: one that keeps them all, and one for each way to break one.

CLEAN = {
    "__init__": "from made.inproc import patch",
    "socket": "from made.inproc import patch",
    "pytest_plugin": "import pytest\nfrom made.inproc import patch",
    "abi.numbers": "import enum",
    "core.file": "from made.abi import numbers\nfrom made.core import wait\nimport struct",
    "core.wait": "from collections import deque",
    "syscalls.table": "from made.core import file\nimport os",
    "observe.trace": "from made.syscalls import table\nimport time",
    "supervisor.run": "from made.observe import trace\nfrom made.core import file\nimport socket",
    "inproc": "def patch(): import threading",
    "sim.world": "import made.core.file\nimport random",
    "conformance.cases": "from made.supervisor import run\nfrom made import socket",
    "cli.main": "from made.conformance import cases\nfrom made.inproc import patch\nimport made",
}
Make = Callable[[dict[str, str]], str]
names = (f"made{number}" for number in count())


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Write a package of modules, given as source by name, where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(changes: dict[str, str]) -> str:
        package = next(names)
        for module, source in (CLEAN | changes).items():
            path = tmp_path.joinpath(package, *module.split(".")).with_suffix(".py")
            for parent in [path.parent, *path.parent.parents]:
                if parent == tmp_path:
                    break
                parent.mkdir(parents=True, exist_ok=True)
                (parent / "__init__.py").touch()
            path.write_text(source.replace("made", package))
        importlib.invalidate_caches()
        return package

    return write


def check(make: Make, changes: dict[str, str]) -> list[str]:
    package = make(changes)
    return [line.replace(package, "made") for line in violations(package)]


def test_a_clean_package(make: Make) -> None:
    """Imports that point down, facades and dirty modules above the core are all allowed."""
    assert check(make, {}) == []


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("abi.bad", "from made.core import file", "made.abi.bad imports made.core.file: abi imports only itself"),
        ("inproc.bad", "import pytest", "made.inproc.bad imports pytest: not in the standard library"),
        ("pytest_plugin", "import grimp", "made.pytest_plugin imports grimp: not in the standard library"),
        ("inproc.bad", "import made.pytest_plugin", "made.inproc.bad imports made.pytest_plugin: {down}"),
        ("abi.bad", "import grimp", "made.abi.bad imports grimp: not in the standard library"),
        (
            "core.bad",
            "import made.observe.trace",
            "made.core.bad imports made.observe.trace: core imports only {'abi'}",
        ),
        ("core.bad", "import made", "made.core.bad imports made: core imports only {'abi'}"),
        ("core.bad", "from made import socket", "made.core.bad imports made.socket: core imports only {'abi'}"),
        ("core.bad", "import os.path", "made.core.bad imports os: the core is sans I/O"),
        ("core.bad", "def f():\n    from time import time", "made.core.bad imports time: the core is sans I/O"),
        ("core.deep.bad", "import asyncio", "made.core.deep.bad imports asyncio: the core is sans I/O"),
        ("core.bad", "import grimp", "made.core.bad imports grimp: not in the standard library"),
        ("syscalls.bad", "from made.observe import trace", "made.syscalls.bad imports made.observe.trace: {down}"),
        ("observe.bad", "from made import supervisor", "made.observe.bad imports made.supervisor: {down}"),
        ("sim.bad", "import made.supervisor.run", "made.sim.bad imports made.supervisor.run: {down}"),
        ("supervisor.bad", "import made.inproc", "made.supervisor.bad imports made.inproc: {down}"),
        ("supervisor.bad", "from made import socket", "made.supervisor.bad imports made.socket: {down}"),
        ("sim.bad", "from made.conformance import cases", "made.sim.bad imports made.conformance.cases: {down}"),
        ("conformance.bad", "from made.cli import main", "made.conformance.bad imports made.cli.main: {down}"),
        ("extra.bad", "import enum", "made.extra is a package and no layer"),
    ],
)
def test_each_rule_can_be_broken(make: Make, module: str, source: str, broken: str) -> None:
    """One forbidden import is found, and nothing else."""
    assert check(make, {module: source}) == [broken.replace("{down}", "layers point down only")]


@pytest.mark.parametrize("name", ["os", "socket", "threading", "time", "asyncio", "select", "random", "logging"])
def test_the_core_is_sans_io(make: Make, name: str) -> None:
    """Each module that the design names is refused in the core, and under TYPE_CHECKING too."""
    source = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {name}"
    assert check(make, {"core.bad": source}) == [f"made.core.bad imports {name}: the core is sans I/O"]
