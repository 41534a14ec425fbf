"""rsyslog: /dev/log and a socket elsewhere, by logger, syslog(3) and by hand, with the sender's credentials."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .scenario import PRIVATE, Scenario, placements

SYSTEM = "rsyslog"
VERSION = "rsyslogd -v | sed -n '1s/rsyslogd *\\([0-9.]*\\).*/\\1/p'"
PACKAGES = ("rsyslog", "bsdutils", "socat", "perl-base")

CONFIGURE = r"""
    configure() {
        sed 's/^ *//' >rsyslog.conf <<END
            module(load="imuxsock" SysSock.Name="$1" SysSock.UsePIDFromSystem="on" SysSock.Annotate="on"
                SysSock.ParseTrusted="on" SysSock.UseSysTimeStamp="on" SysSock.RateLimit.Interval="0")
            template(name="short" type="string"
                string="%syslogfacility-text%.%syslogseverity-text% %programname% %\$!uid%:%msg%\n")
            *.* action(type="omfile" file="$DIR/out" template="short")
END
    }
"""

SERVER = (
    CONFIGURE
    + r"""
    configure "$DIR/log"
    start rsyslogd rsyslogd -n -i "$DIR/rsyslogd.pid.file" -f "$DIR/rsyslog.conf"
    until_ok test -S log
"""
)

MESSAGES = Scenario(
    name="messages by logger, of other users, large, 2000 at once",
    server=SERVER,
    steps=r"""
        log() { logger -u log "$@"; }
        log -p user.warning -t tested 'hello there'
        log -p mail.debug -t tested 'less urgent'
        chmod 666 log
        setpriv --reuid=nobody --regid=nogroup --clear-groups logger -u log -t other 'as nobody'
        log -t large -S 9000 "$(head -c 7000 /dev/zero | tr '\0' L)"
        printf '<165>byhand: a datagram' | socat - UNIX-SENDTO:log
        bursts=()
        for burst in burst1 burst2 burst3 burst4; do seq 1 500 | log -t $burst & bursts+=($!); done
        wait "${bursts[@]}"
        until_ok sh -c 'test $(grep -c "notice burst" out) = 2000'
        until_ok grep byhand out
        grep -v -e burst -e 'syslog.info rsyslogd' out | sed 's/L\{6000,\}/many L/'
        grep burst out | sort | sha256sum
        grep burst2 out | sort -t: -k2n -s | cmp - <(grep burst2 out) && echo "in order"
        log --socket-errors=on -d -t after 'still there'
        until_ok grep 'still there' out
        logger -u log.none --socket-errors=on x 2>&1 || echo "status $?"
    """,
    shows=[
        "^user.warning tested 0: hello there",
        "^mail.debug tested",
        "other 65534: as nobody",
        "large .*many L",
        "^local4.notice byhand 0: a datagram",
        "in order",
        "^status 1",
    ],
)

DEV_LOG = Scenario(
    name="/dev/log in a mount namespace: syslog(3) of programs, a restart, HUP",
    steps=CONFIGURE
    + r"""
        mkdir dev
        sed 's/^ *//' >inside.sh <<'END'
            set -euo pipefail
            mount -t tmpfs none "$DIR/dev"
            for node in null zero random urandom; do
                touch "$DIR/dev/$node"
                mount --bind /dev/$node "$DIR/dev/$node"
            done
            mount --bind "$DIR/dev" /dev
            echo $$ >"$DIR/inside"
            exec rsyslogd -n -i "$DIR/rsyslogd.pid.file" -f "$DIR/rsyslog.conf"
END
        configure /dev/log
        run() { nsenter --target "$(<inside)" --mount --wd=. "$@"; }
        speak() {
            run perl -MSys::Syslog -e 'openlog($ARGV[0], "pid", "daemon"); syslog("err", $ARGV[1]); closelog()' "$@"
        }
        start rsyslogd unshare --mount bash inside.sh
        until_ok test -s inside
        until_ok run test -S /dev/log
        run stat -c '%F %a' /dev/log
        test -e /dev/log || echo 'not outside'
        run logger -t tested 'to /dev/log'
        speak perl 'by syslog(3)'
        until_ok grep 'by syslog' out
        kill -HUP "$(<rsyslogd.pid)"
        run logger -t tested 'after HUP'
        until_ok grep 'after HUP' out
        (
            exec 3> >(run logger -t survivor --socket-errors=on)
            echo first >&3
            until_ok grep first out
        )
        finish rsyslogd
        grep -v 'syslog.info rsyslogd' out
    """,
    shows=[
        "^socket 666",
        "user.notice tested 0: to /dev/log",
        "daemon.err perl 0: by syslog",
        "after HUP",
        "survivor 0: first",
    ],
    where=(PRIVATE,),
)


@placements([MESSAGES, DEV_LOG])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(MESSAGES, ["bind", "connect", "sendto", "sendmsg", "recvmsg"])
