"""memcached: the text protocol over a path, large values, 100 connections at once, the statistics of its threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import Scenario, placements

SYSTEM = "memcached"
VERSION = "memcached --version | sed 's/.* //'"
PACKAGES = ("memcached", "netcat-openbsd")

PROGRAMS = Path(__file__).parent / "programs"

SERVER = r"""
    start memcached memcached -u root -s "$DIR/m" -a 0700 -t 4 -c 200
    until_ok test -S m
"""

BY_HAND = Scenario(
    name="nc -U: set, get, a large value, stats",
    server=SERVER,
    steps=r"""
        say() { printf "$@" | nc -N -U m | tr -d '\r'; }
        stat -c '%F %a' m
        say 'set greeting 0 0 5\r\nhello\r\nget greeting\r\nquit\r\n'
        (printf 'set large 0 0 900000\r\n'; head -c 900000 /dev/zero | tr '\0' x; printf '\r\nquit\r\n') | nc -N -U m
        say 'get large\r\nquit\r\n' | wc -c
        say 'incr greeting 1\r\nquit\r\n'
        say 'stats settings\r\nquit\r\n' | grep -E 'domain_socket|num_threads '
        say 'stats\r\nquit\r\n' | grep -E 'curr_connections|cmd_get'
    """,
    shows=["^hello", "^STORED", "^900", "^STAT domain_socket", "^STAT cmd_get 2"],
)

MANY = Scenario(
    name="100 connections that store and fetch at once",
    server=SERVER,
    steps=rf"""
        python3 {PROGRAMS}/memcached_clients.py m 100 20
    """,
    shows=["^100 clients, 2000 values$"],
)


@placements([BY_HAND, MANY])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(BY_HAND, ["bind", "listen", "connect", "accept4", "sendmsg", "read"])
