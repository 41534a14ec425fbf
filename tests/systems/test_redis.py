"""Redis: replies and pipelines, publish and subscribe, blocking pops, scripts, a replica's files, redis-benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "Redis"
VERSION = "redis-server --version | sed 's/.* v=\\([0-9.]*\\).*/\\1/'"
PACKAGES = ("redis-server", "redis-tools")

SERVER = r"""
    start redis redis-server --port 0 --unixsocket "$DIR/r" --unixsocketperm 700 --dir "$DIR" --save ''
    until_ok redis-cli -s "$DIR/r" ping
"""

TOOLS = r"""
    cli() { redis-cli -s "$DIR/r" "$@"; }
"""

COMMANDS = Scenario(
    name="redis-cli: values, a pipeline, large values, a script, MULTI, PUBLISH, BLPOP, SAVE",
    server=SERVER,
    steps=TOOLS
    + r"""
        stat -c '%F %a' r
        cli set greeting hello
        cli get greeting
        seq 1 20000 | sed 's/.*/SET key:& value:&/' | cli --pipe | tail -n1
        cli dbsize
        head -c 3000000 /dev/zero | tr '\0' x | cli -x set large
        cli get large | wc -c
        cli eval 'local n = 0; for i = 1, 1000 do n = n + redis.call("incr", KEYS[1]) end; return n' 1 count
        printf 'MULTI\nINCR a\nINCR a\nEXEC\n' | cli
        (timeout 20 redis-cli -s "$DIR/r" subscribe news || true) >heard.out &
        until_ok grep -q subscribe heard.out
        until_ok sh -c "test $(cli publish news 'it works') = 1"
        until_ok grep 'it works' heard.out
        cli client kill type pubsub
        wait $!
        cat heard.out | head -n 6
        cli blpop queue 15 >popped.out &
        until_ok sh -c "redis-cli -s '$DIR/r' info clients | grep -q blocked_clients:1"
        cli rpush queue work
        wait $!
        cat popped.out
        cli blpop queue 0.2
        cli save
        cli nonsense
    """,
    shows=["^hello$", "errors: 0, replies: 20000", "^500500$", "^3000001$", "it works", "^work$", "unknown command"],
)

BENCHMARK = Scenario(
    name="redis-benchmark: 50 clients, pipelines, one client",
    server=SERVER,
    steps=TOOLS
    + r"""
        for test in "-n 1000 -c 50 -t set,get,lpush" "-n 5000 -c 10 -P 32 -t set,get" "-n 1000 -c 1 -t get"; do
            redis-benchmark -s "$DIR/r" --csv $test | tr -d '"' | tail -n +2 | while IFS=, read -r name rate rest; do
                echo "$name done"
                figure "redis-benchmark $test: $name" "$rate" "requests/s"
            done
        done
        redis-benchmark -s "$DIR/r" --threads 2 -n 1000 -c 20 -t set -q >threads.out
        cli get key:__rand_int__ | wc -c
        cli info stats | tr -d '\r' | grep rejected_connections
        cli info clients | tr -d '\r' | grep ^connected_clients
    """,
    shows=["^SET done", "^GET done", "^LPUSH", "^rejected_connections:0"],
    timeout=60,
)

PERSISTENCE = Scenario(
    name="redis-server: background save by a child process, restart, shutdown by signal",
    steps=r"""
        options=(--port 0 --unixsocket "$DIR/r" --dir "$DIR" --appendonly yes --daemonize no)
        start redis redis-server "${options[@]}"
        until_ok redis-cli -s r ping
        seq 1 1000 | sed 's/.*/RPUSH list &/' | redis-cli -s r --pipe | tail -n1
        redis-cli -s r bgsave
        until_ok sh -c 'redis-cli -s r info persistence | grep -q rdb_bgsave_in_progress:0'
        redis-cli -s r bgrewriteaof
        until_ok sh -c 'redis-cli -s r info persistence | grep -q aof_rewrite_in_progress:0'
        redis-cli -s r client list | sed 's/=[^ ]*//g' | wc -l
        finish redis
        test -S r || echo "socket is gone"
        start redis redis-server "${options[@]}"
        until_ok redis-cli -s r ping
        redis-cli -s r llen list
        redis-cli -s r shutdown
        until_ok sh -c '! redis-cli -s r ping'
        redis-cli -s r ping 2>&1 || echo "status $?"
    """,
    shows=["errors: 0, replies: 1000", "^1000$", "Could not connect"],
)


@placements([COMMANDS, BENCHMARK, PERSISTENCE])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(COMMANDS, ["bind", "listen", "connect", "accept4", "read", "write"])
