"""MariaDB: socket authentication, statements, LOAD DATA LOCAL, killed and waiting connections, many clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import Scenario, placements

SYSTEM = "MariaDB"
VERSION = "mariadbd --version | sed 's/.*Ver \\([0-9.]*\\).*/\\1/'"
PACKAGES = ("mariadb-server", "mariadb-client")

TOOLS = r"""
    sql() { mariadb --no-defaults -S "$DIR/m" -N -B "$@"; }
"""

SERVER = (
    TOOLS
    + r"""
    options=(--no-defaults --user=mysql --datadir="$DIR/data" --skip-networking --socket="$DIR/m"
        --pid-file="$DIR/data/pid"
        --innodb-buffer-pool-size=32M --innodb-log-file-size=4M --innodb-flush-log-at-trx-commit=0)
    chown mysql .
    mariadb-install-db --no-defaults --user=mysql --datadir="$DIR/data" --auth-root-authentication-method=socket \
        --skip-test-db --innodb-log-file-size=4M --innodb-flush-log-at-trx-commit=0 >install.log 2>&1
    start mariadbd mariadbd "${options[@]}"
    until_ok mariadb-admin --no-defaults -S m ping
"""
)

STATEMENTS = Scenario(
    name="mariadb: statements, LOAD DATA LOCAL, a large value, unix_socket authentication",
    server=SERVER,
    steps=TOOLS
    + r"""
        stat -c %F m
        sql -e 'select current_user()'
        sql -e 'create database shop; create table shop.stock (id int primary key, name text)'
        seq 1 5000 | sed 's/.*/&\titem &/' >stock.tsv
        sql --local-infile shop -e "load data local infile 'stock.tsv' into table stock;
            select count(*), sum(id) from stock"
        sql shop -e 'select * from stock order by id' | sha256sum
        sql --max-allowed-packet=16M -e "select repeat('x', 3000000)" | wc -c
        sql -e 'select nonsense' 2>&1 || echo "status $?"
        setpriv --reuid=nobody --regid=nogroup --clear-groups mariadb --no-defaults -S m -u root -e 'select 1' 2>&1 ||
            echo "status $?"
        mariadb-dump --no-defaults -S m shop | grep -c 'item 4999'
        sql -e "status" | grep -E 'UNIX socket'
        sql -e 'drop database shop'
    """,
    shows=["^root@localhost", "^5000\t12502500", "^3000001", "Access denied|ERROR 1698", "Unknown column"],
    timeout=60,
)

MANY = Scenario(
    name="mariadb-slap: 20 clients; a killed query, a lock that is waited for",
    long=True,
    server=SERVER,
    steps=TOOLS
    + r"""
        mariadb-slap --no-defaults -S m --concurrency=20 --number-of-queries=1000 --auto-generate-sql \
            --auto-generate-sql-load-type=mixed >slap.log
        grep -c 'Number of clients running queries: 20' slap.log
        (sql -e 'select sleep(60)' 2>&1 || echo "status $?") >killed &
        until_ok sh -c "mariadb --no-defaults -S m -N -B -e 'show processlist' | grep sleep"
        sql -e "$(sql -e 'show processlist' | awk '/sleep/ && !/show/ {print "kill query " $1; exit}')"
        wait $!
        cat killed
        (sql -e 'select sleep(60)' 2>&1 || echo "status $?") >killed &
        until_ok sh -c "mariadb --no-defaults -S m -N -B -e 'show processlist' | grep sleep"
        sql -e "$(sql -e 'show processlist' | awk '/sleep/ && !/show/ {print "kill " $1; exit}')"
        wait $!
        cat killed
        sql -e 'select get_lock("l", 1), sleep(0.7)' >locked &
        until_ok sh -c "mariadb --no-defaults -S m -N -B -e 'select is_used_lock(\"l\")' | grep -v NULL"
        sql -e 'select get_lock("l", 10)'
        wait $!
        cat locked
        mariadb-admin --no-defaults -S m shutdown
        until_ok sh -c '! test -S m'
        sql -e 'select 1' 2>&1 || echo "status $?"
    """,
    shows=["^1$", "^status", "Lost connection|ERROR 2013", "ERROR 2002"],
    timeout=60,
)


@placements([STATEMENTS, MANY])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(STATEMENTS, ["bind", "listen", "connect", "accept4", "sendto", "recvfrom", "getsockopt"])
