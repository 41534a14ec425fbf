"""docs/linux-behaviour.md, made of the facts and of the cases that show them."""

from __future__ import annotations

from collections.abc import Iterable

from afunix.conformance.case import Definition
from afunix.conformance.facts import FACTS, SECTIONS, Fact

__all__ = ["markdown"]

HEAD = """\
# What Linux does with Unix sockets

Made from `afunix.conformance` by `python -m afunix.conformance --document`; change it there. Each line is one
behaviour, with the function of Linux that makes it so, and the cases that show it. Every case passes on a Linux
kernel; the same cases run on the core and under `afunix run`.
"""


def markdown(definitions: Iterable[Definition]) -> str:
    """The whole document."""
    shown: dict[str, dict[str, None]] = {}
    for definition in definitions:
        for fact in definition.facts:
            shown.setdefault(fact, {})[definition.name.partition("[")[0]] = None
    lines = [HEAD]
    for section, title in SECTIONS.items():
        lines.append(f"## {title}\n")
        lines += [_line(fact, shown.get(fact.id, {})) for fact in FACTS.values() if fact.id.startswith(f"{section}-")]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _line(fact: Fact, cases: Iterable[str]) -> str:
    since = "" if fact.since is None else f" Since Linux {fact.since[0]}.{fact.since[1]}."
    names = ", ".join(f"`{name}`" for name in cases) or "no case yet"
    return f"- **{fact.id}** {fact.text}{since} (`{fact.source}`; {names})"
