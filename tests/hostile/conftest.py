"""`pytest tests/hostile --minutes 5` runs the fuzzers for so long."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, default=None, help="how long to run the fuzzers of tests/hostile")
