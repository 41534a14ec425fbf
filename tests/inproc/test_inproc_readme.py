"""The Python block of the README is a test, and passes as it stands there, with the plugin as it is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_test_in_the_readme(pytester: pytest.Pytester) -> None:
    """A server that receives a descriptor and checks the sender's uid, in a test of ten lines."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(block.partition("\ndef test_")[2].splitlines()) <= 10
    pytester.makepyfile(block)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_it_can_fail(pytester: pytest.Pytester) -> None:
    """With another uid the same block does not pass."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    pytester.makepyfile(block.replace("uid=1000", "uid=1001"))
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(failed=1)
