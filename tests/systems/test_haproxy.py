"""HAProxy: path and abstract listeners, the stats socket, listeners handed over to the next process, master."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import Scenario, placements

SYSTEM = "HAProxy"
VERSION = "haproxy -v | sed -n '1s/.*version \\([0-9.]*\\).*/\\1/p'"
PACKAGES = ("haproxy", "gunicorn", "curl", "socat")

PROGRAMS = Path(__file__).parent / "programs"

PROXY = rf"""
    name=${{DIR##*/}}
    get() {{ curl -sS --max-time 15 --unix-socket "$DIR/h" "$@"; }}
    ended() {{ ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }}
    ask() {{ echo "$1" | socat -t 5 - "UNIX-CONNECT:$DIR/stats"; }}
    configure() {{
        sed 's/^ *//' >proxy.cfg <<END
            global
                stats socket $DIR/stats mode 600 level admin expose-fd listeners
                hard-stop-after 5s
                $1
            defaults
                mode http
                timeout connect 5s
                timeout client 10s
                timeout server 10s
            frontend path
                bind unix@$DIR/h mode 600
                http-response set-header Generation $2
                default_backend application
            frontend abstract
                bind abns@$name
                default_backend direct
            backend application
                server one unix@$DIR/w check inter 200
                server two abns@$name backup
            backend direct
                server w unix@$DIR/w
END
    }}
    backend() {{
        start gunicorn gunicorn -w 1 -b "unix:$DIR/w" --chdir {PROGRAMS} --worker-tmp-dir "$DIR" \
            wsgi_application:application
        until_ok test -S w
    }}
"""

SERVE = Scenario(
    name="HTTP over a path and an abstract name to a Unix backend, commands at the stats socket",
    server=PROXY
    + """
        backend
        configure '' 1
        start haproxy haproxy -f proxy.cfg
        until_ok get http://localhost/
    """,
    steps=PROXY
    + rf"""
        stat -c '%F %a %n' h stats
        get http://localhost/some/thing
        get http://localhost/size/1000000 | wc -c
        printf 'GET /abstract HTTP/1.0\r\n\r\n' | socat -t 5 - "ABSTRACT-CONNECT:$name,unix-tightsocklen=0" | tail -n 1
        python3 {PROGRAMS}/http_clients.py h 10 9
        ask 'show stat' | cut -d, -f1,2,18 | grep -v '^#'
        ask 'disable server application/one'
        get http://localhost/backup
        ask 'enable server application/one'
        until_ok get -f http://localhost/
        ask 'show cli sockets' | sed "s/$name/<name>/" | tail -n 1
        ask 'nonsense' | head -n 1
    """,
    shows=[
        "^GET /some/thing",
        "^1000000$",
        "^GET /abstract",
        "^10 clients, 90 right",
        "^application,one,UP",
        "^GET /backup",
    ],
    where=("private", "server-inside", "client-inside"),
)

HAND_OVER = Scenario(
    name="reload with -x and -sf: the next process is given the listeners, and no request is lost",
    steps=PROXY
    + """
        backend
        configure '' 1
        haproxy -D -p first.pid -f proxy.cfg
        until_ok get http://localhost/
        (
            n=0
            while [[ ! -e stop ]]; do
                [[ $(get http://localhost/) == 'GET /?' ]] || echo "lost a request"
                n=$((n + 1))
            done
            ((n > 5)) && echo "asked all the time"
        ) >asked &
        asking=$!
        generation() { get -o header -D - http://localhost/ | tr -d '\\r' | grep generation; }
        generation
        before=$(stat -c %i h)
        for next in second third; do
            configure '' $next
            haproxy -D -p $next.pid -f proxy.cfg -x "$DIR/stats" -sf $(cat first.pid)
            until_ok ended "$(<first.pid)"
            generation
            mv $next.pid first.pid
        done
        [[ $(stat -c %i h) == "$before" ]] && echo "the same socket file"
        touch stop
        wait $asking
        cat asked
        kill -USR1 "$(<first.pid)"
        until_ok ended "$(<first.pid)"
        get http://localhost/ 2>&1 || echo "status $?"
    """,
    shows=["^generation: 1", "^generation: second", "^generation: third", "^asked all the time", "^status 7"],
    timeout=40,
)

MASTER = Scenario(
    name="master and worker (-W): reload by signal and at the master's socket",
    steps=PROXY
    + """
        backend
        configure '' 1
        start haproxy haproxy -W -S "$DIR/master" -f proxy.cfg
        until_ok get http://localhost/
        generation() { get -o header -D - http://localhost/ | tr -d '\\r' | grep generation; }
        generation
        configure '' second
        kill -USR2 "$(<haproxy.pid)"
        until_ok sh -c "curl -sSi --unix-socket h http://localhost/ | grep 'generation: second'"
        configure '' third
        echo reload | socat -t 5 - UNIX-CONNECT:master
        until_ok sh -c "curl -sSi --unix-socket h http://localhost/ | grep 'generation: third'"
        generation
        echo 'show proc' | socat -t 5 - UNIX-CONNECT:master | awk '/^# /{print} / worker /{print $2}'
        echo '@1 show info' | socat -t 5 - UNIX-CONNECT:master | grep ^Name
        finish haproxy
        get http://localhost/ 2>&1 || echo "status $?"
    """,
    shows=["^generation: 1", "^generation: third", "^status 7"],
    timeout=40,
)


@placements([SERVE, HAND_OVER, MASTER])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(SERVE, ["bind", "listen", "connect", "accept4", "sendto", "recvfrom", "getsockopt"])
