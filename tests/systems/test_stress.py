"""stress-ng's stressors of Unix sockets, which verify what they get; hackbench and perf's, which send over pairs."""

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
        ulimit -n 1000  # sockpair takes as many as it gets
        stress-ng --temp-path "$DIR" --verify --metrics-brief "$@" >"$name.log" 2>&1
        rate=$(sed -nE "s/.*metrc: \[[0-9]+\] $name +[0-9]+( +[0-9.]+){3} +([0-9.]+) .*/\2/p" "$name.log")
        figure "$name" "$rate" op/s
        sed -nE 's/.*((fail|warn|error): .*|(un)?successful run).*/\1/p' "$name.log"
    }
"""


def stressor(name: str, options: str, limit: str, *, long: bool = False) -> Scenario:
    """One stressor of stress-ng, until a limit.

    A limit in operations ends it without a signal: that of a limit in seconds, which has no SA_RESTART, may be seen by
    a call that Linux would not have interrupted (docs/decisions/0005).
    """
    return Scenario(
        name=f"stress-ng {options} --verify, {limit}",
        steps=STRESS + f"stress {name} {options} {limit} {'' if long else '-t 20'}\n",
        shows=["^successful run"],
        where=BOTH,
        timeout=180 if long else 40,
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
    "sockpair": ("--sockpair 1", 4000),
    "sockfd": ("--sockfd 1", 5000),
    "epoll": ("--epoll 1 --epoll-domain unix", 2000),
    "poll": ("--poll 1", 8000),
}
HACKBENCH = bench("hackbench, processes: 10 senders, 10 receivers", "hackbench -g 1 -f 10 -l 50 -s 512", "processes")
SCENARIOS = [
    *(stressor(name, options, f"--{name}-ops {count}") for name, (options, count) in STRESSORS.items()),
    HACKBENCH,
    bench("hackbench, threads: 10 senders, 10 receivers", "hackbench -T -g 1 -f 10 -l 50 -s 512", "threads"),
    bench("perf bench sched messaging, processes", "perf bench sched messaging -g 1 -l 20", "messaging, processes"),
    bench("perf bench sched messaging, threads", "perf bench sched messaging -t -g 1 -l 20", "messaging, threads"),
    *(stressor(name, options, "-t 120", long=True) for name, (options, _) in STRESSORS.items()),
]


@placements(SCENARIOS)
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(HACKBENCH, ["socketpair", "write", "read"])
