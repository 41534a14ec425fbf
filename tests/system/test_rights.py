"""What travels beside the bytes: descriptors and credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .harness import cases


@pytest.mark.parametrize(("source", "case"), cases("rights.c", "opath.c", "credentials.c", "namespaces.c"))
def test_case(source: str, case: str, same_as_native: Callable[..., None]) -> None:
    """One case of a test program: it succeeds and says what it says on Linux."""
    same_as_native(source, case)
