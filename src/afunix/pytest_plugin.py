"""pytest: a kernel for each test, the drop-in under every library, and a check that nothing is left behind.

afunix_kernel: a new `afunix.Kernel`. afunix_patch: the same kernel, with `afunix.patch` in force. A test that passes
and leaves sockets, names or descriptors in flight on it has an error, which says what is left and which lines made it.

The ini option `afunix_leaks` says what is looked for: of sockets, names and in-flight, all three by default. The mark
`afunix_leaks("sockets")` says it for a test; without arguments it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from afunix.inproc.kernel import Kernel

__all__ = ["afunix_kernel", "afunix_patch"]

KINDS = ("sockets", "names", "in-flight")

_passed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The ini option."""
    parser.addini("afunix_leaks", "what of sockets, names and in-flight may not be left behind", "args", list(KINDS))


def pytest_configure(config: pytest.Config) -> None:
    """The mark."""
    config.addinivalue_line("markers", "afunix_leaks(kind, ...): what afunix looks for: sockets, names, in-flight")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed keeps alive what its traceback refers to: nothing is said of that."""
    report = yield
    if call.when == "call":
        item.stash[_passed] = report.passed
    return report


def _looked_for(request: pytest.FixtureRequest) -> tuple[str, ...]:
    mark = request.node.get_closest_marker("afunix_leaks")
    kinds = tuple(request.config.getini("afunix_leaks")) if mark is None else mark.args
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise pytest.UsageError(f"afunix_leaks: {', '.join(sorted(unknown))}: not one of {', '.join(KINDS)}")
    return kinds


@pytest.fixture
def afunix_kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """A new kernel; at the end of the test nothing may be left on it."""
    from afunix.inproc.kernel import Kernel  # noqa: PLC0415 - imported only by those who ask for it
    from afunix.inproc.leaks import LeakCheck  # noqa: PLC0415

    kinds = _looked_for(request)
    kernel = Kernel()
    if not kinds:
        yield kernel
        return
    with LeakCheck() as check:
        yield kernel
        if not request.node.stash.get(_passed, False):
            return
        leaks = [leak for leak in check.leaks(kernel) if leak.kind in kinds]
    if leaks:
        pytest.fail("\n".join(["The test left behind:", *map(str, leaks)]), pytrace=False)


@pytest.fixture
def afunix_patch(afunix_kernel: Kernel) -> Iterator[Kernel]:
    """The kernel of `afunix_kernel`, under every library that the test uses."""
    from afunix.inproc.patching import patch  # noqa: PLC0415

    with patch(afunix_kernel):
        yield afunix_kernel
