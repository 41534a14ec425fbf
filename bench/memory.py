"""Measures the memory of the supervisor while a program exchanges a million messages: it must stay flat.

    python -m bench.memory                                         1,000,000 messages of 1 byte
    python -m bench.memory --workload connect --messages 100000   connections instead of messages
    python -m bench.memory --workload passfd --messages 100000    messages with a descriptor each

What is sampled is VmRSS of the process `afunix run` itself, every 20 ms and at each tenth of the
messages. Printed are the tenths, and the range (highest less lowest) of all samples after the first
tenth, in which caches fill. Some kernels count VmRSS per CPU and let it be off by dozens of pages
(proc(5) calls it inaccurate).

Exit status: 0 if the range is within `--limit`; 1 if not, or if the run failed or the system is missing;
2 for wrong use, or no compiler.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from afunix.cli.ending import tidy_ending
from bench.measures import MEASURES, Measure
from bench.runner import Failed, Workshop, end
from bench.systems import SYSTEMS, System, absence

__all__ = ["Curve", "main", "resident"]

PARTS = 10
INTERVAL = 0.02
WORKLOADS = {"roundtrip": 2, "roundtrip-sendrecv": 2, "roundtrip-dgram": 2, "connect": 1, "passfd": 1}
"""Measures that can be the workload, and how many messages (or connections) one iteration of each is."""
SAMPLED = {name: system for name, system in SYSTEMS.items() if name != "gvisor"}
"""Systems whose supervisor is the very process started; gVisor's is another one."""


def resident(pid: int) -> int:
    """VmRSS of a process in KiB; 0 once it is gone or a zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@dataclass(slots=True)
class Curve:
    """Resident KiB over a run: `tenths` at each checkpoint, `samples` all the time, both (seconds, KiB)."""

    tenths: list[tuple[float, int]] = field(default_factory=list)
    samples: list[tuple[float, int]] = field(default_factory=list)

    def range(self) -> int:
        """Highest less lowest of everything from the first checkpoint to the last, in KiB."""
        first, last = self.tenths[0][0], self.tenths[-1][0]
        inside = [kib for at, kib in (*self.tenths, *self.samples) if first <= at <= last and kib]
        return max(inside) - min(inside)


def watch(workshop: Workshop, measure: Measure, system: System, n: int, timeout: float) -> Curve:
    """Run n iterations and sample the process started; raises Failed if it does not end well and in time."""
    curve = Curve()
    start = time.monotonic()
    over = threading.Event()
    process = subprocess.Popen(
        workshop.command(measure, system, n),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**workshop.environment, "BENCH_CHECKPOINTS": str(PARTS)},
        start_new_session=True,
    )

    def sample() -> None:
        while not over.wait(INTERVAL):
            curve.samples.append((time.monotonic() - start, resident(process.pid)))

    sampler = threading.Thread(target=sample)
    alarm = threading.Timer(timeout, end, (process,))
    try:
        sampler.start()
        alarm.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("@"):
                # The last tenth may find the process gone; then what it had just before counts.
                before = next((kib for _, kib in reversed(curve.samples) if kib), 0)
                curve.tenths.append((time.monotonic() - start, resident(process.pid) or before))
        status = process.wait()
    finally:
        alarm.cancel()
        over.set()
        if sampler.ident is not None:
            sampler.join()
        if process.returncode is None:
            end(process)
        if process.stdout is not None:
            process.stdout.close()
    if status:
        raise Failed(f"exit status {status} after {time.monotonic() - start:.0f} s")
    if len(curve.tenths) < PARTS:
        raise Failed(f"{len(curve.tenths)} checkpoints instead of {PARTS}")
    return curve


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m bench.memory", description=(__doc__ or "").partition("\n")[0])
    result.add_argument("--messages", type=int, default=1_000_000)
    result.add_argument("--workload", choices=list(WORKLOADS), default="roundtrip")
    result.add_argument("--system", choices=list(SAMPLED), default="afunix")
    result.add_argument("--limit", type=int, default=1024, metavar="KIB", help="the range allowed (1024)")
    result.add_argument("--timeout", type=float, default=1800, metavar="SECONDS")
    return result


def main(argv: list[str] | None = None) -> int:
    """Run, sample and print; the exit status."""
    wants = parser()
    options = wants.parse_args(argv)
    system = SAMPLED[options.system]
    measure = next(measure for measure in MEASURES if measure.name == options.workload)
    n = options.messages // WORKLOADS[options.workload]
    if n < PARTS:
        wants.error(f"--messages: at least {PARTS * WORKLOADS[options.workload]}")
    with tidy_ending(), tempfile.TemporaryDirectory(prefix="afunix-bench-") as directory:
        workshop = Workshop(Path(directory), cpu=0)
        try:
            workshop.prepare()
        except Failed as failed:
            print(failed, file=sys.stderr)
            return 2
        if missing := absence(system, workshop.environment):
            print(f"{system.name}: {missing}")
            return 1
        try:
            curve = watch(workshop, measure, system, n, options.timeout)
        except Failed as failed:
            print(f"{system.name}: failed: {failed}")
            return 1
    print(f"{system.name}, {measure.title}, {options.messages:,} messages")
    print(f"{'messages':>12}  {'seconds':>8}  {'VmRSS KiB':>10}")
    for part, (at, kib) in enumerate(curve.tenths, 1):
        print(f"{options.messages * part // PARTS:>12,}  {at:8.2f}  {kib:>10,}")
    flat = curve.range() <= options.limit
    print(
        f"range after the first tenth: {curve.range():,} KiB over {len(curve.samples):,} samples: "
        f"{'flat' if flat else 'NOT flat'} (limit {options.limit:,} KiB)"
    )
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
