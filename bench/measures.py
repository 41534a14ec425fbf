"""What is measured: the table of benchmarks, each one program of `bench/programs` with its arguments."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DATA_FILE", "DATA_FILE_SIZE", "MEASURES", "Measure", "Unit", "selected"]

DATA_FILE = "{file}"
"""Stands in a measure's arguments for the path of an ordinary file of DATA_FILE_SIZE bytes."""
DATA_FILE_SIZE = 16 << 20


@dataclass(frozen=True, slots=True)
class Unit:
    """How nanoseconds an iteration are shown: as time, or as a rate (so much an iteration, over time)."""

    label: str
    scale: float
    rate: bool = False

    def of(self, nanoseconds: float) -> float:
        """The value in this unit of one iteration's nanoseconds."""
        return self.scale / nanoseconds if self.rate else nanoseconds / self.scale


MICROSECONDS = Unit("µs", 1e3)
MILLISECONDS = Unit("ms", 1e6)
PER_SECOND = Unit("/s", 1e9, rate=True)
MEGABYTES_OF_64_KIB = Unit("MB/s", 65536e3, rate=True)


@dataclass(frozen=True, slots=True)
class Measure:
    """One benchmark. `first` is the number of iterations to try first, `limit` the most ever asked for."""

    name: str
    group: str
    title: str
    unit: Unit
    program: str
    arguments: tuple[str, ...] = ()
    first: int = 50
    limit: int = 10_000_000


MEASURES: tuple[Measure, ...] = (
    Measure("roundtrip", "roundtrip", "round trip, read/write", MICROSECONDS, "roundtrip", ("readwrite",)),
    Measure("roundtrip-sendrecv", "roundtrip", "round trip, send/recv", MICROSECONDS, "roundtrip", ("sendrecv",)),
    Measure("roundtrip-poll", "roundtrip", "round trip, poll first", MICROSECONDS, "roundtrip", ("poll",)),
    Measure("roundtrip-dgram", "roundtrip", "round trip, DGRAM", MICROSECONDS, "roundtrip", ("dgram",)),
    Measure("bulk", "bulk", "64 KiB writes, one way", MEGABYTES_OF_64_KIB, "bulk", limit=3200),
    Measure("connect", "connect", "connect, accept, close", PER_SECOND, "connect"),
    Measure("passfd", "passfd", "descriptors passed", PER_SECOND, "passfd"),
    Measure("file-1", "reads", "read of a file, 1 byte", MICROSECONDS, "reads", ("1", DATA_FILE)),
    Measure("file-4k", "reads", "read of a file, 4 KiB", MICROSECONDS, "reads", ("4096", DATA_FILE)),
    Measure("pipe-1", "reads", "read of a pipe, 1 byte", MICROSECONDS, "reads", ("1",)),
    Measure("pipe-4k", "reads", "read of a pipe, 4 KiB", MICROSECONDS, "reads", ("4096",)),
    Measure("syscall", "syscall", "getppid", MICROSECONDS, "syscall"),
    Measure("startup", "startup", "start-up of /bin/true", MILLISECONDS, "spawn", ("/bin/true",), first=2),
)


def selected(names: list[str]) -> list[Measure]:
    """The measures with one of these names or in such a group, in table order; all of them for no names.

    Raises ValueError for a name that is neither.
    """
    known = {measure.name for measure in MEASURES} | {measure.group for measure in MEASURES}
    for name in names:
        if name not in known:
            raise ValueError(f"no measure {name!r}; there are: {', '.join(sorted(known))}")
    return [measure for measure in MEASURES if not names or measure.name in names or measure.group in names]
