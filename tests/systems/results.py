"""What the runs of a session measured, to be written to the file that --systems-report names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Entry", "Results"]


@dataclass
class Entry:
    """One scenario's row: seconds by world, and figures by name and world."""

    system: str
    version: str
    scenario: str
    note: str
    seconds: dict[str, float | None] = field(default_factory=dict)
    """None where it failed."""
    figures: dict[str, dict[str, tuple[float, str]]] = field(default_factory=dict)


class Results:
    """The entries of a session, and those that the file had before: one can be run after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[tuple[str, str], Entry] = {}
        if path.exists():
            for row in json.loads(path.read_text(encoding="utf-8")):
                entry = Entry(**row)
                self._entries[entry.system, entry.scenario] = entry

    def entry(self, system: str, version: str, scenario: str, note: str) -> Entry:
        """The row of a scenario; one that was made with another version is begun anew."""
        entry = self._entries.get((system, scenario))
        if entry is None or entry.version != version:
            entry = self._entries[system, scenario] = Entry(system, version, scenario, note)
        entry.note = note
        return entry

    def write(self) -> None:
        """Write all of them."""
        rows = [asdict(entry) for entry in self._entries.values()]
        self._path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
