"""Shows a program on host and core side by side, and writes it down as a Python script that does so."""

from __future__ import annotations

from collections.abc import Sequence

from afunix.abi.errno import Errno
from afunix.conformance.differ_compare import Record
from afunix.conformance.differ_host import DifferHost, Found
from afunix.conformance.differ_run import Comparison
from afunix.conformance.differ_steps import Step

__all__ = ["main", "script"]

SCRIPT = '''\
"""Host and core disagree about the last step of this program: {reason}.

Run it with Python where afunix is installed. Steps name descriptors by handles: `makes` says which a step makes.
"""

from afunix.conformance.differ_show import main
from afunix.conformance.differ_steps import Step

PROGRAM = [
{steps}
]

raise SystemExit(main(PROGRAM))
'''


def script(steps: Sequence[Step], reason: str) -> str:
    """A Python script that runs the program on both sides and shows what they do."""
    lines = [f"    {_source(step)}," for step in steps]
    return SCRIPT.format(reason=reason.strip().splitlines()[0], steps="\n".join(lines))


def _source(step: Step) -> str:
    shown = f"Step({step.process}, {step.operation!r}, {step.args!r}"
    if step.makes:
        shown += f", makes={step.makes!r}"
    if step.spoil:
        shown += f", spoil={step.spoil!r}"
    return shown + ")"


def main(steps: Sequence[Step]) -> int:
    """Run a program on both sides and print each step; the exit status is 1 if they disagree."""
    with DifferHost() as host:
        difference = Comparison(host).run(steps)
    if difference is None:
        print("host and core agree")
        return 0
    for record in difference.records:
        print(_source(record.step))
        for line in _sides(record):
            print(f"    {line}")
    print(f"different: {difference.reason}")
    return 1


def _sides(record: Record) -> list[str]:
    if record.core is None or record.host is None:
        side, found = ("core", record.core) if record.core is not None else ("host", record.host)
        return [f"{side}: {_values(record, found)}"] if found is not None else []
    lines = []
    core, host = _values(record, record.core), _values(record, record.host)
    lines += [core] if core == host else [f"host: {host}", f"core: {core}"]
    for (at, _), ours, theirs in zip(record.raw.windows, record.core[1], record.host[1], strict=True):
        if ours != theirs:
            lines += _memory(at, ours, theirs)
    if record.core[2] != record.host[2]:
        lines += [f"host: signals {record.host[2]}", f"core: signals {record.core[2]}"]
    if record.core[3] != record.host[3]:
        lines += ["poll mask, SIOCINQ, SIOCOUTQ, SIOCATMARK of each descriptor:"]
        lines += [f"host: {_state(record, record.host)}", f"core: {_state(record, record.core)}"]
    return lines


def _values(record: Record, found: Found) -> str:
    shown = []
    for (name, _), value in zip(record.raw.calls, found[0], strict=False):
        shown.append(f"{name} = {Errno(-value).name if -4096 < value < 0 else value}")
    return ", ".join(shown)


def _state(record: Record, found: Found) -> str:
    shown = []
    for index, fd in enumerate(record.descriptors):
        mask, *numbers = found[3][4 * index : 4 * index + 4]
        shown.append(f"{fd}: {mask or 0:#x}, {', '.join('-' if value is None else str(value) for value in numbers)}")
    return "; ".join(shown)


def _memory(at: int, ours: bytes | int, theirs: bytes | int) -> list[str]:
    if not isinstance(ours, bytes) or not isinstance(theirs, bytes):
        return [f"memory at {at:#x} differs"]
    first = next(index for index, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    begin = max(0, first - 8)
    shown = slice(begin, first + 24)
    return [f"host: memory at {at + begin:#x}: {theirs[shown].hex(' ')}",
            f"core: memory at {at + begin:#x}: {ours[shown].hex(' ')}"]  # fmt: skip
