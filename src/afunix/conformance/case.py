"""What a case is, and the collection of all of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from afunix.abi.constants import SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM

__all__ = [
    "ALL",
    "CASES",
    "CONNECTED",
    "DGRAM",
    "KIND_NAMES",
    "RECORDS",
    "SEQPACKET",
    "STREAM",
    "Definition",
    "case",
    "load",
]

STREAM: Final = SOCK_STREAM
DGRAM: Final = SOCK_DGRAM
SEQPACKET: Final = SOCK_SEQPACKET
ALL: Final = (STREAM, DGRAM, SEQPACKET)
CONNECTED: Final = (STREAM, SEQPACKET)
RECORDS: Final = (DGRAM, SEQPACKET)
KIND_NAMES: Final = {STREAM: "stream", DGRAM: "dgram", SEQPACKET: "seqpacket"}

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Definition:
    """One case, as the runner sees it: its arguments are fixed.

    facts: what it shows. run: takes the first process. since, until: Linux versions, the second excluded. needs:
    capabilities (`CAP_SETUID`), or what only some machines have (see `runner.lacks`).
    """

    name: str
    facts: tuple[str, ...]
    run: Callable[[Any], None]
    since: Version | None
    until: Version | None
    needs: tuple[str, ...]
    text: str
    """The first line of its docstring."""


CASES: Final[list[Definition]] = []


def case(
    *facts: str,
    types: Sequence[int] | None = None,
    each: Sequence[Any] | None = None,
    since: Version | None = None,
    until: Version | None = None,
    needs: str | Sequence[str] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a case for these facts.

    It is called with a process; with `types`, once for each, with the socket type; with `each`, once for each of these
    values. since, until: the first Linux version that it holds for, and the first that it no longer does. needs: what
    the machine must have.
    """

    needed = (needs,) if isinstance(needs, str) else tuple(needs)

    def register(function: Callable[..., None]) -> Callable[..., None]:
        text = (function.__doc__ or "").strip().partition("\n")[0]
        for kind in types if types is not None else (None,):
            for at, value in enumerate(each) if each is not None else ((None, None),):
                given: list[Any] = [] if kind is None else [kind]
                labels = [] if kind is None else [KIND_NAMES[kind]]
                if each is not None:
                    given.append(value)
                    labels.append(value if isinstance(value, str) else str(at))
                suffix = f"[{','.join(labels)}]" if labels else ""
                name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}{suffix}"
                CASES.append(Definition(name, facts, _bind(function, given), since, until, needed, text))
        return function

    return register


def _bind(function: Callable[..., None], given: Sequence[Any]) -> Callable[[Any], None]:
    return lambda process: function(process, *given)


def load() -> list[Definition]:
    """All cases, in the order of their modules and lines."""
    from afunix.conformance import cases  # noqa: PLC0415 - the cases import this module

    for module in sorted(pkgutil.iter_modules(cases.__path__), key=lambda found: found.name):
        importlib.import_module(f"{cases.__name__}.{module.name}")
    return CASES
