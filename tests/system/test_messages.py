"""Message calls, buffers, ancillary data and what is refused: borders, flags, sizes, faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .harness import cases


@pytest.mark.parametrize(
    ("source", "case"), cases("messages.c", "buffers.c", "bulk.c", "faults.c", "ioctls.c", "splice.c")
)
def test_case(source: str, case: str, same_as_native: Callable[..., None]) -> None:
    """One case of a test program: it succeeds and says what it says on Linux."""
    same_as_native(source, case)
