"""nginx on a Unix socket, and what serves behind it on others: uwsgi, gunicorn, php-fpm; reload and binary upgrade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import Scenario, placements

SYSTEM = "nginx, uWSGI, gunicorn, PHP-FPM"
VERSION = (
    "echo $(nginx -v 2>&1 | sed 's:.*/::'), $(uwsgi_python3 --version | sed 's/-.*//'),"
    " $(gunicorn --version | sed 's/.*version //;s/)//'), $(php-fpm8.2 -v | sed -n '1s/PHP \\([0-9.]*\\).*/\\1/p')"
)
PACKAGES = ("nginx-light", "uwsgi-core", "uwsgi-plugin-python3", "gunicorn", "php-fpm", "curl")

PROGRAMS = Path(__file__).parent / "programs"

NGINX = r"""
    get() { curl -sS --max-time 15 --unix-socket "$DIR/n" "$@"; }
    nginx_at() {
        mkdir -p site temporary
        echo 'a file' >site/file
        head -c 3000000 /dev/zero | tr '\0' y >site/large
        sed 's/^ *//' >nginx.conf <<END
            daemon ${2:-off};
            worker_processes 2;
            error_log $DIR/error.log;
            pid $DIR/nginx.pid;
            user root;
            events { worker_connections 100; }
            http {
                access_log off;
                client_body_temp_path temporary/body;
                proxy_temp_path temporary/proxy;
                fastcgi_temp_path temporary/fastcgi;
                uwsgi_temp_path temporary/uwsgi;
                scgi_temp_path temporary/scgi;
                sendfile on;
                server {
                    listen unix:$DIR/n;
                    root $DIR/site;
                    location /files/ { alias $DIR/site/; }
                    location / { $1 }
                }
            }
END
        start nginx_ /usr/sbin/nginx -p "$DIR" -c "$DIR/nginx.conf"
        until_ok curl -sS --unix-socket "$DIR/n" http://localhost/files/file
    }
"""

ASK = rf"""
    get http://localhost/files/file
    get http://localhost/files/large | sha256sum
    get 'http://localhost/some/thing?with=query'
    head -c 400000 /dev/zero | tr '\0' z | get --data-binary @- http://localhost/echo
    get http://localhost/size/2000000 | wc -c
    python3 {PROGRAMS}/http_clients.py "$DIR/n" 12 9
"""

SHOWS = ["^a file$", r"^GET /some/thing\?with=query", "^400000 bytes", "^2000000$", "^12 clients, 108 right answers"]

UWSGI = Scenario(
    name="nginx to uwsgi: files, small and large answers and bodies, 12 clients at once",
    server=NGINX
    + rf"""
        start uwsgi uwsgi_python3 --master --processes 2 --uwsgi-socket "$DIR/w" --die-on-term \
            --wsgi-file {PROGRAMS}/wsgi_application.py
        until_ok test -S w
        nginx_at "uwsgi_pass unix:$DIR/w; include /etc/nginx/uwsgi_params;"
    """,
    steps=NGINX + ASK,
    shows=SHOWS,
)

GUNICORN = Scenario(
    name="nginx to gunicorn: the same, a worker that is killed, reload, more workers",
    server=NGINX
    + rf"""
        start gunicorn gunicorn -w 2 -b "unix:$DIR/w" --chdir {PROGRAMS} --worker-tmp-dir "$DIR" \
            wsgi_application:application
        until_ok test -S w
        nginx_at "proxy_pass http://unix:$DIR/w;"
    """,
    steps=NGINX
    + ASK
    + r"""
        kill -KILL "$(pgrep -P "$(<gunicorn.pid)" | head -n1)"
        until_ok get http://localhost/after
        kill -HUP "$(<gunicorn.pid)"
        until_ok grep -q 'Hang up' gunicorn.log
        until_ok sh -c 'test "$(grep -c "Booting worker" gunicorn.log)" = 5'
        until_ok get http://localhost/after
        get http://localhost/after
        kill -TTIN "$(<gunicorn.pid)"
        until_ok sh -c 'test "$(grep -c "Booting worker" gunicorn.log)" = 6'
        get http://localhost/after
    """,
    shows=[*SHOWS, "GET /after"],
)

PHP = Scenario(
    name="nginx to php-fpm: requests, an upload, workers on demand, its status page",
    server=NGINX
    + r"""
        sed 's/^ *//' >fpm.conf <<END
            [global]
            error_log = $DIR/fpm.log
            daemonize = no
            [www]
            user = nobody
            group = nogroup
            listen = $DIR/w
            listen.owner = root
            listen.mode = 0600
            pm = ondemand
            pm.max_children = 4
            pm.status_path = /status
END
        mkdir -p site
        sed 's/^ *//' >site/index.php <<'END'
            <?php
            $path = strtok($_SERVER['REQUEST_URI'], '?');
            if ($path == '/echo') {
                $body = file_get_contents('php://input');
                echo strlen($body), " bytes ", hash('sha256', $body), "\n";
            } elseif (str_starts_with($path, '/size/')) {
                echo str_repeat('x', (int) substr($path, 6));
            } else {
                echo $_SERVER['REQUEST_METHOD'], " ", $path, "?", $_SERVER['QUERY_STRING'], "\n";
            }
END
        start fpm php-fpm8.2 -F -O -y "$DIR/fpm.conf"
        until_ok test -S w
        nginx_at "client_max_body_size 10m; include /etc/nginx/fastcgi_params; fastcgi_pass unix:$DIR/w;
            fastcgi_param SCRIPT_FILENAME $DIR/site/index.php;"
    """,
    steps=NGINX + ASK + "get http://localhost/status | grep -E '^(pool|process manager):'\n",
    shows=[*SHOWS, "^process manager: *ondemand"],
)

RELOAD = Scenario(
    name="nginx: reload under load, binary upgrade with inherited listener, graceful end",
    steps=NGINX
    + r"""
        ended() { ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
        nginx_at "return 404;" on
        (
            n=0
            while [[ ! -e stop ]]; do
                [[ $(get http://localhost/files/file) == 'a file' ]] || echo "lost a request"
                n=$((n + 1))
            done
            ((n > 5)) && echo "asked all the time"
        ) >asked &
        asking=$!
        for _ in 1 2 3; do
            nginx -p "$DIR" -c "$DIR/nginx.conf" -s reload 2>/dev/null
            sleep 0.3
        done
        old=$(<nginx.pid)
        kill -USR2 "$old"
        until_ok test -e nginx.pid.oldbin
        until_ok sh -c "test -s nginx.pid && test \$(cat nginx.pid) != $old"
        kill -WINCH "$old"
        sleep 0.3
        kill -QUIT "$old"
        until_ok ended "$old"
        get http://localhost/files/file
        sleep 0.3
        touch stop
        wait $asking
        cat asked
        new=$(<nginx.pid)
        kill -QUIT "$new"
        until_ok ended "$new"
        get http://localhost/files/file 2>&1 || echo "status $?"
    """,
    shows=["^a file$", "^asked all the time", "^status 7"],
    timeout=40,
)


@placements([UWSGI, GUNICORN, PHP, RELOAD])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(UWSGI, ["bind", "listen", "connect", "accept4", "writev", "sendto", "recvfrom", "socketpair"])
