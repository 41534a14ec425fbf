"""stress-ng's stressors of Unix sockets, which verify what they get, and the scheduler benchmarks that send over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import PRIVATE, SHARED, Scenario, placements

SYSTEM = "stress-ng, hackbench, perf bench"
VERSION = "stress-ng --version | sed 's/.*version \\([^ ]*\\).*/\\1/'; hackbench --help >/dev/null; perf --version"
PACKAGES = ("stress-ng", "rt-tests", "linux-perf")

BOTH = (PRIVATE, SHARED)
STRESS = r"""
    stress() {
        local name=$1
        shift
        stress-ng --temp-path "$DIR" --verify --metrics-brief "$@" 2>&1 | tee "$name.log" >/dev/null
        rate=$(sed -n "s/.*metrc: \[[0-9]*\] $name  *[0-9][0-9]*  *\([0-9.]*  *\)\{3\}\([0-9.]*\) .*/\2/p" "$name.log")
        figure "$name" "$rate" op/s
        sed -nE 's/.*(info: .*(passed|failed|skipped): .*|fail: .*|warn: .*|error: .*|successful run|unsuccessful).*/\1/p' \
            "$name.log" | sed 's/\[[0-9]*\]//'
    }
"""


def stressor(name: str, options: str, seconds: int, *, long: bool = False) -> Scenario:
    """One stressor of stress-ng for some seconds."""
    return Scenario(
        name=f"stress-ng {options} --verify, {seconds} s",
        steps=STRESS + f"stress {name} {options} -t {seconds}\n",
        shows=["successful run"],
        where=BOTH,
        timeout=seconds + 30,
        long=long,
    )


def bench(name: str, command: str, figure: str) -> Scenario:
    """A benchmark that ends by itself, and tells the time that it took."""
    return Scenario(
        name=name,
        steps=rf"""
            {command} >bench.log 2>&1
            seconds=$(sed -nE 's/.*(Time|Total time): ([0-9.]+).*/\2/p' bench.log)
            figure "{figure}" "$seconds" s
            grep -vE 'Time|Total time|^$' bench.log
        """,
        shows=["fd|file descriptors|sender and receiver"],
        where=BOTH,
    )


STRESSORS = {
    "sockpair": "--sockpair 1",
    "sockfd": "--sockfd 1",
    "epoll": "--epoll 1 --epoll-domain unix",
    "poll": "--poll 1",
}
HACKBENCH = bench("hackbench, processes: 10 senders, 10 receivers", "hackbench -g 1 -f 10 -l 50 -s 512", "processes")
SCENARIOS = [
    *(stressor(name, options, 2) for name, options in STRESSORS.items()),
    HACKBENCH,
    bench("hackbench, threads: 10 senders, 10 receivers", "hackbench -T -g 1 -f 10 -l 50 -s 512", "threads"),
    bench("perf bench sched messaging, processes", "perf bench sched messaging -g 1 -l 20", "messaging, processes"),
    bench("perf bench sched messaging, threads", "perf bench sched messaging -t -g 1 -l 20", "messaging, threads"),
    *(stressor(name, options, 120, long=True) for name, options in STRESSORS.items()),
    stressor("sockpair", "--sockpair 2", 60, long=True),
]


@placements(SCENARIOS)
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(HACKBENCH, ["socketpair", "write", "read"])
