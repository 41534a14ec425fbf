"""What a test file of a system consists of: scenarios, which are data and the steps of a user in shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["CLIENT_INSIDE", "PRIVATE", "SERVER_INSIDE", "SHARED", "Scenario", "placements"]

PRIVATE = "private"
"""All of it in one `afunix run --private`."""
SHARED = "shared"
"""All of it in one `afunix run`, which keeps the host's own sockets within reach."""
SERVER_INSIDE = "server-inside"
"""The server under `afunix run`, the client native."""
CLIENT_INSIDE = "client-inside"
"""The server native, the client under `afunix run`."""

PRELUDE = Path(__file__).with_name("prelude.sh")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What somebody does with a system, and how long it may take.

    server starts what serves, and returns when it does; it may be empty. steps is the user's part. Both are bash,
    begin with prelude.sh, and stop at the first command that fails; what they print on standard output is compared
    with a native run. The two may run in different worlds, so all that they share is in $DIR.
    """

    name: str
    """What is run, in words that can stand in a table."""
    steps: str
    server: str = ""
    shows: Sequence[str] = ()
    """Lines, as regular expressions, that the output must have: they say that the steps did what they are for."""
    varies: Sequence[tuple[str, str]] = ()
    """Regular expressions of what is different in each run, and what takes its place; matched by lines."""
    in_any_order: bool = False
    """Whether the order of the lines is left to chance."""
    timeout: float = 30.0
    """Seconds for one run."""
    preparation: float = 0.0
    """Seconds for what is made before the first run, such as the program."""
    where: Sequence[str] = ()
    """Where it runs besides natively; if empty, in private, and if it has a server, also half inside, both ways."""
    long: bool = False
    """Whether it runs only when asked for by `-m long`."""
    version: str = ""
    """A command that tells the version of what it runs, if that is not the file's."""
    note: str = ""
    """What the report is to say with it, such as the native error that ends it natively too."""

    @property
    def worlds(self) -> Sequence[str]:
        """Where it runs besides natively."""
        return self.where or ((PRIVATE, SERVER_INSIDE, CLIENT_INSIDE) if self.server else (PRIVATE,))

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", self.name).strip("-")

    def shown(self, output: str) -> list[str]:
        """The lines of an output as they are compared."""
        for pattern, replacement in self.varies:
            output = re.sub(pattern, replacement, output, flags=re.MULTILINE)
        lines = output.splitlines()
        return sorted(lines) if self.in_any_order else lines

    def missing(self, lines: Sequence[str]) -> list[str]:
        """Which of the lines that it must show are not there."""
        return [wanted for wanted in self.shows if not any(re.search(wanted, line) for line in lines)]


def script(*parts: str) -> str:
    """Parts of a scenario as one script for bash."""
    return "\n".join((f". {shlex.quote(str(PRELUDE))}", *parts, ""))


def placements(
    scenarios: Sequence[Scenario],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrises a test by scenario and world, with the limits that a scenario sets.

    Only what runs wholly inside is run each time; the other worlds are `long`.
    """
    params = []
    for scenario in scenarios:
        # This run, perhaps the native one, the version, and the end of what does not end by itself.
        marks = [pytest.mark.timeout(2 * scenario.timeout + 60 + scenario.preparation)]
        if scenario.long:
            marks.append(pytest.mark.long)
        for world in scenario.worlds:
            seldom = [] if world == PRIVATE or scenario.long else [pytest.mark.long]
            params.append(pytest.param(scenario, world, marks=[*marks, *seldom], id=f"{scenario}-{world}"))
    return pytest.mark.parametrize(("scenario", "world"), params)
