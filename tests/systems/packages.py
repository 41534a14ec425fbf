"""Prints the Debian packages that the tests of systems need: `python3 tests/systems/packages.py [--long] [FILE…]`.

Each file says it in a literal PACKAGES, and in LONG_PACKAGES what only its tests marked long need; they are read, not
imported, so that this works before anything is installed.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

__all__ = ["packages"]


def declared(file: Path, name: str) -> tuple[str, ...]:
    """What a file assigns to a name at its top level, which must be a literal; nothing if it doesn't."""
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return tuple(str(node.value) for node in ast.walk(statement.value) if isinstance(node, ast.Constant))
    return ()


def packages(files: list[Path], *, long: bool = False) -> list[str]:
    """The packages of these files, each once, sorted."""
    names = ("PACKAGES", "LONG_PACKAGES") if long else ("PACKAGES",)
    return sorted({package for file in files for name in names for package in declared(file, name)})


def main(arguments: list[str]) -> None:
    long = "--long" in arguments
    files = [Path(argument) for argument in arguments if argument != "--long"]
    print(*packages(files or sorted(Path(__file__).parent.glob("test_*.py")), long=long), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
