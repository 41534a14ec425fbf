"""git: credential-cache and its daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "git credential-cache"
VERSION = "git --version | sed 's/.* //'"
PACKAGES = ("git",)

CACHE = r"""
    cache() { git credential-cache --socket "$DIR/c/socket" "$@"; }
    about() { printf 'protocol=https\nhost=%s\n%s\n' "$1" "${2:+$2
}"; }
"""

SERVER = (
    CACHE
    + r"""
    mkdir -m 700 c
    start daemon git credential-cache--daemon "$DIR/c/socket"
    until_ok grep ok daemon.log
"""
)

CREDENTIALS = Scenario(
    name="credentials are stored, asked for, forgotten by themselves and on request; exit",
    server=SERVER,
    steps=CACHE
    + r"""
        about example.org $'username=me\npassword=secret' | cache store
        about example.org | cache get
        about example.com | cache get
        about example.com $'username=you\npassword=hidden' | cache --timeout=1 store
        about example.com | cache get
        sleep 1.2
        about example.com | cache get
        jobs=()
        for i in 1 2 3 4 5 6 7 8 9 10; do
            (about host$i "username=user$i
password=secret$i" | cache store; about host$i | cache get | tail -n 1 >got.$i) & jobs+=($!)
        done
        wait "${jobs[@]}"
        cat got.*
        about example.org | cache erase
        about example.org | cache get
        about host1 | git -c credential.helper="cache --socket $DIR/c/socket" credential fill
        cache exit
        until_ok sh -c '! test -e c/socket'
        echo ended
    """,
    shows=["^password=secret$", "^password=hidden$", "^password=secret10$", "^username=user1$", "^ended$"],
)

BY_ITSELF = Scenario(
    name="the daemon is started on demand, and ended",
    steps=CACHE
    + r"""
        about example.org $'username=me\npassword=secret' | cache --timeout=2 store
        about example.org | cache get
        stat -c '%F %a' c c/socket
        sleep 2.2
        about example.org | cache get
        echo forgotten
        cache exit
        until_ok sh -c '! test -e c/socket'

    """,
    shows=["^password=secret$", "^socket", "^forgotten"],
    timeout=40,
)


@placements([CREDENTIALS, BY_ITSELF])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(CREDENTIALS, ["bind", "listen", "connect", "accept", "write", "read"])
