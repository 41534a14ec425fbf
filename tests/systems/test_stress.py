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
        local name=$1 times=$2
        shift 2
        ulimit -n 1000  # sockpair takes as many as it gets
        for _ in $(seq "$times"); do
            stress-ng --temp-path "$DIR" --verify --metrics-brief "$@" >>"$name.log" 2>&1
        done
        rate=$(sed -nE "s/.*metrc: \[[0-9]+\] $name +[0-9]+( +[0-9.]+){3} +([0-9.]+) .*/\2/p" "$name.log" | tail -1)
        figure "$name" "$rate" op/s
        sed -nE 's/.*((fail|warn|error): .*|(un)?successful run).*/\1/p' "$name.log"
    }
"""


INTERRUPTED = (r"^fail: .* failed, errno=4 \(Interrupted system call\)\n", "")
"""A known deviation (docs/decisions/0005): a signal without SA_RESTART before the supervisor knows of a call ends it.

The epoll stressor runs a timer all the time, whose signal then finds a socket(2) or fcntl(2), now and then.
"""


def stressor(name: str, options: str, count: int, times: int = 1, *, long: bool = False) -> Scenario:
    """One stressor of stress-ng, for a number of operations, some times over.

    That ends it without a signal: the one that ends it after some time, which has no SA_RESTART, may be seen by a call
    that Linux would not have interrupted (docs/decisions/0005).
    """
    seconds = 580 if long else 60
    return Scenario(
        name=f"stress-ng {options} --verify, --{name}-ops {count}" + (f", {times} times" if times > 1 else ""),
        steps=STRESS + f"stress {name} {times} {options} --{name}-ops {count} -t {seconds // times}\n",
        shows=["^successful run"],
        varies=[INTERRUPTED] if name == "epoll" else [],
        note="its timer may interrupt a call that Linux does not let be interrupted: 0005" if name == "epoll" else "",
        where=BOTH,
        timeout=seconds + 20,
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
    "sockpair": ("--sockpair 1", 4_000, 100_000, 1),
    "sockfd": ("--sockfd 1", 5_000, 250_000, 1),
    "epoll": ("--epoll 1 --epoll-domain unix", 2_000, 4_000, 5),
    "poll": ("--poll 1", 8_000, 300_000, 1),
}
"""Their options, how many operations they do, and how many, how often, in the long tests, which is for minutes.

The epoll stressor's server accepts no more when it has as many sockets open as it may, and looks at its listener again
when another connection comes (EPOLLET). With the backlog of 4,096 full none comes, natively as well if its accepts are
slow; so it never gets that many.
"""
HACKBENCH = bench("hackbench, processes: 10 senders, 10 receivers", "hackbench -g 1 -f 10 -l 50 -s 512", "processes")
SCENARIOS = [
    *(stressor(name, options, few) for name, (options, few, _, _) in STRESSORS.items()),
    HACKBENCH,
    bench("hackbench, threads: 10 senders, 10 receivers", "hackbench -T -g 1 -f 10 -l 50 -s 512", "threads"),
    bench("perf bench sched messaging, processes", "perf bench sched messaging -g 1 -l 20", "messaging, processes"),
    bench("perf bench sched messaging, threads", "perf bench sched messaging -t -g 1 -l 20", "messaging, threads"),
    *(stressor(name, options, many, times, long=True) for name, (options, _, many, times) in STRESSORS.items()),
]


@placements(SCENARIOS)
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(HACKBENCH, ["socketpair", "write", "read"])
