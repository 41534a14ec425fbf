"""The first things that anyone does with Unix sockets, in C, in statically linked C, and in Python."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .harness import PROGRAMS, cases


@pytest.mark.parametrize(("source", "case"), cases("acceptance.c", "acceptance.py"))
def test_case(source: str, case: str, same_as_native: Callable[..., None]) -> None:
    """One case of a test program: it succeeds and says what it says on Linux."""
    same_as_native(source, case)


@pytest.mark.parametrize(("source", "case"), cases("acceptance.c"))
def test_static(source: str, case: str, same_as_native: Callable[..., None]) -> None:
    """The same without a dynamic linker, which nothing may depend on."""
    same_as_native(source, case, static=True)


@pytest.mark.parametrize("source", sorted(path.name for path in PROGRAMS.glob("*.c")))
def test_all_cases_in_one_run(source: str, same_as_native: Callable[..., None]) -> None:
    """Every case of a program, one after the other under one supervisor: nothing is left over for the next."""
    same_as_native(source, "", timeout=100)
