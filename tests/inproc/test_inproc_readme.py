"""Python blocks of the README and of docs/in-process.md are tests, and pass as they stand, with the plugin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

README = Path(__file__).resolve().parents[2] / "README.md"
GUIDE = README.parent / "docs" / "in-process.md"


def blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_test_in_the_readme(pytester: pytest.Pytester) -> None:
    """A server that receives a descriptor and checks the sender's uid, in a test of ten lines."""
    (block,) = blocks(README)
    assert len(block.partition("\ndef test_")[2].splitlines()) <= 10
    pytester.makepyfile(block)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def test_it_can_fail(pytester: pytest.Pytester) -> None:
    """With another uid the same block does not pass."""
    (block,) = blocks(README)
    pytester.makepyfile(block.replace("uid=1000", "uid=1001"))
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(failed=1)


def test_the_guide(pytester: pytest.Pytester) -> None:
    """Each block of the guide, as it stands."""
    found = blocks(GUIDE)
    assert len(found) >= 4
    pytester.makepyfile(**{f"test_block_{number}": block for number, block in enumerate(found)})
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=len(found))


def test_what_the_guide_shows_of_a_leak(pytester: pytest.Pytester) -> None:
    """The plugin's own words, but for paths and numbers."""
    pytester.makepyfile("""
        import socket
        def test_server(afunix_patch):
            global sock
            sock = socket.socket(socket.AF_UNIX)
    """)
    said = [line.strip() for line in pytester.runpytest_subprocess("-p", "no:cacheprovider").outlines]
    shown = GUIDE.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0].splitlines()
    for line in shown:
        words = re.sub(r"/\S+:\d+|process \d+ \(uid \d+\)", "*", line.strip())
        assert words in [re.sub(r"/\S+:\d+|process \d+ \(uid \d+\)", "*", other) for other in said], said
