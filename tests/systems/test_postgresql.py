"""PostgreSQL: a process per connection, psql, COPY, NOTIFY, cancelled queries, authentication, pgbench, ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "PostgreSQL"
VERSION = "/usr/lib/postgresql/*/bin/postgres --version | sed 's/[^0-9]*\\([0-9.]*\\).*/\\1/'"
PACKAGES = ("postgresql", "postgresql-client")

TOOLS = r"""
    PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
    export PGHOST=$DIR/s PGDATABASE=postgres PGUSER=postgres PGOPTIONS=--client-min-messages=warning
    as() { setpriv --reuid="$1" --regid="$1" --clear-groups -- "${@:2}"; }
    sql() { as postgres psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
"""

CLUSTER = (
    TOOLS
    + r"""
    mkdir data s
    chown postgres data s
    as postgres initdb -D data -A peer -U postgres --no-sync --no-instructions -E UTF8 --locale=C.UTF-8 >initdb.log 2>&1
    sed 's/^ *//' >>data/postgresql.conf <<END
            listen_addresses = ''
            unix_socket_directories = '$DIR/s'
            fsync = off
            max_connections = 40
            shared_buffers = 16MB
            log_min_messages = warning
END
    start postgres setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D "$DIR/data"
    until_ok pg_isready
"""
)

STATEMENTS = Scenario(
    name="psql: statements, COPY both ways, a large value, an error, LISTEN and NOTIFY",
    server=CLUSTER,
    steps=TOOLS
    + r"""
        sql -c 'create table stock (id int primary key, name text)'
        seq 1 5000 | sed 's/.*/&,item &/' | sql -c "copy stock from stdin csv"
        sql -c 'select count(*), sum(id), max(name) from stock'
        sql -c "copy (select * from stock order by id) to stdout csv" | sha256sum
        sql -c "select repeat('x', 3000000)" | wc -c
        sql -c 'select 1/0' 2>&1 || echo "status $?"
        sql -c 'listen news' -c "notify news, 'it works'" | sed 's/PID [0-9]*/PID N/'
        psql -X -c 'select 1' 2>&1 | sed 's/socket ".*" failed/failed/' || echo refused
        sql -c 'drop table stock'
    """,
    shows=["^5000.12502500.item 999$", "^3000001$", "division by zero", "it works", "Peer authentication failed"],
    timeout=60,
)

PROCESSES = Scenario(
    name="psql: cancelled and terminated backends, a lock that is waited for, parallel workers",
    long=True,
    server=CLUSTER,
    steps=TOOLS
    + r"""
        sql -c 'create table locked (id int)' -c 'insert into locked values (1)'
        (sql -c "set application_name='sleeper'" -c 'select pg_sleep(60)' 2>&1 || echo "status $?") >cancelled &
        until_ok sql -c "select 1/count(*) from pg_stat_activity where wait_event='PgSleep'"
        sql -c "select pg_cancel_backend(pid) from pg_stat_activity where application_name='sleeper'"
        wait $!
        cat cancelled
        (sql -c "set application_name='sleeper'" -c 'select pg_sleep(60)' 2>&1 || echo "status $?") >terminated &
        until_ok sql -c "select 1/count(*) from pg_stat_activity where wait_event='PgSleep'"
        sql -c "select pg_terminate_backend(pid) from pg_stat_activity where application_name='sleeper'"
        wait $!
        head -n1 terminated
        sql -c 'begin' -c 'update locked set id=2' -c 'select pg_sleep(1)' -c 'commit' &
        until_ok sql -c "select 1/count(*) from pg_stat_activity where wait_event='PgSleep'"
        sql -c "update locked set id=id*10 returning id"
        wait $!
        timeout --foreground -s INT 0.5 setpriv --reuid=postgres --regid=postgres --clear-groups \
            psql -X -c 'select pg_sleep(60)' 2>&1 || echo "status $?"
        sql -c 'set max_parallel_workers_per_gather=2; set parallel_setup_cost=0; set parallel_tuple_cost=0;
                set min_parallel_table_scan_size=0' \
            -c "create table wide as select g, repeat('y', 500) t from generate_series(1, 20000) g" \
            -c 'analyze wide' -c 'explain (analyze, costs off, timing off, summary off) select count(*) from wide' |
            grep -o 'Workers Launched: [0-9]'
        sql -c 'drop table locked, wide'
    """,
    shows=[
        "canceling statement due to user request",
        "terminating connection due to administrator command",
        "^20$",
        "Workers Launched: 2",
    ],
    timeout=60,
)

MANY = Scenario(
    name="pgbench: 16 clients in 2 threads, each transaction seen in the end",
    server=CLUSTER,
    steps=TOOLS
    + r"""
        as postgres pgbench -q -i -s 1 >init.log 2>&1
        as postgres pgbench -n -c 16 -j 2 -t 25 -P 60 >pgbench.log 2>&1
        grep -E 'transactions actually|failed' pgbench.log
        sql -c 'select count(*) from pgbench_history' \
            -c 'select sum(delta) = (select sum(abalance) from pgbench_accounts) from pgbench_history'
        as postgres pgbench -n -S -c 1 -T 2 >select.log 2>&1
        figure 'pgbench -S -c 1' "$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' select.log)" tps
        as postgres pgbench -n -C -S -c 4 -t 10 >connect.log 2>&1
        grep 'transactions actually' connect.log
    """,
    shows=["processed: 400/400", "^400$", "^t$", "processed: 40/40"],
    timeout=90,
)

ENDS = Scenario(
    name="pg_ctl: start, reload, smart and fast stop, a backend that is killed and the recovery",
    long=True,
    steps=CLUSTER
    + r"""
        sql -c "select pg_reload_conf()"
        (sql -c 'select pg_sleep(60)' 2>&1 || true) >/dev/null &
        until_ok sql -c "select 1/count(*) from pg_stat_activity where wait_event='PgSleep'"
        kill -KILL "$(sql -c "select pid from pg_stat_activity where wait_event='PgSleep'")"
        wait $!
        until_ok sql -c 'select 1'
        grep -o 'terminated by signal 9: Killed' postgres.log
        (sql -c 'select pg_sleep(60)' 2>&1 || true) >/dev/null &
        until_ok sql -c "select 1/count(*) from pg_stat_activity where wait_event='PgSleep'"
        finish postgres INT
        wait $!
        ls -A s
        as postgres pg_ctl -D data -l data/second.log -w start | tail -n1
        sql -c "select 'again'"
        as postgres pg_ctl -D data -w -m smart stop | tail -n1
        sql -c 'select 1' 2>&1 | sed 's/socket ".*" failed/failed/' || echo gone
    """,
    shows=["signal 9", "server started", "again", "server stopped", "gone"],
    timeout=60,
)


@placements([STATEMENTS, PROCESSES, MANY, ENDS])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(STATEMENTS, ["bind", "listen", "connect", "accept", "sendto", "recvfrom", "getsockopt"])
