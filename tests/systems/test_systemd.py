"""systemd: activation, notification, the journal, its own tests, and the manager as the first process of namespaces."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from .scenario import CLIENT_INSIDE, PRIVATE, SERVER_INSIDE, SHARED, Scenario, placements

SYSTEM = "systemd"
VERSION = "systemctl --version | sed -n '1s/.*(\\(.*\\)).*/\\1/p'"
PACKAGES = ("systemd", "systemd-tests", "dbus", "dbus-daemon", "libpam-systemd", "libnss-systemd", "python3")
LONG_PACKAGES = ("debootstrap",)

PROGRAMS = Path(__file__).parent / "programs"

ASK = f"""
    ask() {{ python3 {PROGRAMS}/ask.py "$@"; }}
    export PYTHONDONTWRITEBYTECODE=1
"""

ACTIVATION = Scenario(
    name="socket activation of streams, datagrams and records",
    server=rf"""
    export PYTHONDONTWRITEBYTECODE=1
    start stream systemd-socket-activate --listen="$DIR/stream" --fdname=one python3 {PROGRAMS}/activated.py
    start several systemd-socket-activate --listen="$DIR/a" --listen="$DIR/b" --fdname=a:b \
        python3 {PROGRAMS}/activated.py
    start datagram systemd-socket-activate --datagram --listen="$DIR/dgram" --fdname=one python3 {PROGRAMS}/activated.py
    start seqpacket systemd-socket-activate --seqpacket --listen="$DIR/seqpacket" --fdname=one \
        python3 {PROGRAMS}/activated.py
    start inetd systemd-socket-activate --listen="$DIR/inetd" --accept --inetd cat
    start abstract systemd-socket-activate --listen="@${{DIR##*/}}" --accept --inetd tr a-z A-Z
    """
    + r"""
    for name in stream a b dgram seqpacket inetd; do until_ok test -S "$DIR/$name"; done
    until_ok grep -q Listening abstract.log
    """,
    steps=ASK
    + r"""
    for text in hello again end; do ask stream stream "$text"; done
    ask stream b second; ask stream a first; ask stream b end
    for text in hello again end; do ask dgram dgram "$text"; done
    for text in hello again end; do ask seqpacket seqpacket "$text"; done
    for text in one two; do ask stream inetd "$text"; done
    python3 - "${DIR##*/}" <<END
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("\0" + sys.argv[1])
    sock.sendall(b"abstract")
    sock.shutdown(socket.SHUT_WR)
    print(sock.recv(100).decode())
END
    """,
    shows=[
        r"^SOCK_STREAM one: hello \(1\)",
        r"^SOCK_STREAM b: second",
        r"^SOCK_DGRAM one: again",
        r"^SOCK_SEQPACKET one: end",
        "^two$",
        "^ABSTRACT$",
    ],
)

NOTIFY = Scenario(
    name="systemd-notify, with credentials and the barrier's descriptor",
    server=rf"""
    start manager python3 {PROGRAMS}/notified.py "$DIR/notify" 6
    """
    + r"""
    until_ok test -S notify
    """,
    steps=r"""
    export NOTIFY_SOCKET="$DIR/notify"
    systemd-notify --ready --status="in service"
    systemd-notify WATCHDOG=1 X_OTHER=2
    systemd-notify --no-block STOPPING=1
    setpriv --reuid 4242 --regid 4343 --clear-groups systemd-notify --no-block RELOADING=1 2>&1 || echo "status $?"
    chmod 666 notify
    setpriv --reuid 4242 --regid 4343 --clear-groups systemd-notify --no-block RELOADING=1
    until_ok grep -q RELOADING manager.log
    cat manager.log
    NOTIFY_SOCKET="$DIR/nobody" systemd-notify --ready 2>&1 || echo "status $?"
    """,
    shows=["^READY=1", "^BARRIER=1", "^  with a pipe", "^WATCHDOG=1 X_OTHER=2", "user 4242, group 4343", "^status 1"],
)

JOURNAL = Scenario(
    name="journald alone: stdout, syslog and native sockets, memfd messages, varlink",
    server=r"""
    mkdir -p conf
    printf '[Journal]\nReadKMsg=no\nAudit=no\nStorage=volatile\n' >conf/only.conf
    cat >alone.sh <<'END'
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journald.conf.d
cp conf/only.conf /run/systemd/journald.conf.d/
exec /usr/lib/systemd/systemd-journald
END
    start journald unshare --mount bash alone.sh
    within() { nsenter --target "$(<"$DIR/journald.pid")" --mount --wd="$DIR" "$@"; }
    until_ok within test -S /run/systemd/journal/socket -a -S /run/systemd/journal/io.systemd.journal
    """,
    steps=r"""
    within() { nsenter --target "$(<"$DIR/journald.pid")" --mount --wd="$DIR" "$@"; }
    within systemd-cat --identifier=stdout --priority=info sh -c 'echo one; echo "<3>two"; echo three; printf four'
    within logger --socket /run/systemd/journal/dev-log --tag syslog --priority user.err 'by syslog'
    printf 'MESSAGE=by the native socket\nSYSLOG_IDENTIFIER=native\nOWN_FIELD=4711\n' | within logger --journald
    { printf 'SYSLOG_IDENTIFIER=memfd\nMESSAGE='; head -c 700000 /dev/zero | tr '\0' x; echo; } |
        within logger --journald
    within setpriv --reuid 4242 --regid 4343 --clear-groups systemd-cat --identifier=user echo 'by another user'
    within journalctl --sync
    journal() { within journalctl --quiet --no-pager "$@"; }
    for tag in stdout syslog native user; do
        journal -t "$tag" -o export |
            grep -aE '^(MESSAGE|PRIORITY|_UID|_GID|_TRANSPORT|SYSLOG_FACILITY|OWN_FIELD)=' | sort
    done
    journal -t memfd -o cat --all | wc -c
    within journalctl --rotate && echo rotated
    journal -t syslog -o cat
    for number in $(seq 200); do echo "line $number"; done | within systemd-cat --identifier=many
    within journalctl --sync
    journal -t many -o cat | sha256sum
    within journalctl --flush 2>&1 || echo "status $?"
    """,
    shows=[
        "^MESSAGE=two",
        "^_TRANSPORT=stdout",
        "^_TRANSPORT=syslog",
        "^_TRANSPORT=journal",
        "^OWN_FIELD=4711",
        "^_UID=4242",
        "^700001$",
        "^rotated$",
    ],
)

OWN_TESTS = (
    "bus-address bus-creds bus-error bus-introspect bus-objects bus-queue-ref-cycle bus-server bus-watch-bind fd-util "
    "fdset fileio journal-send journal-syslog log login namespace resolved-stream sd-device-monitor serialize "
    "socket-netlink socket-util user-util varlink watch-pid"
)
"""Those that pass natively in few seconds on a machine without systemd as its first process."""

SUITE = Scenario(
    name="tests of systemd-tests that use Unix sockets",
    steps=rf"""
    for name in {OWN_TESTS}; do
        timeout 20 /usr/lib/systemd/tests/test-$name >$name.log 2>&1 && echo "ok $name" || echo "not ok $name: $?"
    done
    for name in chat cleanup marshal match track; do
        DBUS_SYSTEM_BUS_ADDRESS= timeout 20 dbus-run-session -- sh -c \
            "DBUS_SYSTEM_BUS_ADDRESS=\$DBUS_SESSION_BUS_ADDRESS exec /usr/lib/systemd/tests/test-bus-$name" \
            >bus-$name.log 2>&1 && echo "ok bus-$name" || echo "not ok bus-$name: $?"
    done
    """,
    shows=["^ok varlink", "^ok bus-server", "^ok bus-chat", "^ok journal-send", "^ok socket-util"],
    timeout=60,
)

SLOW_SUITE = Scenario(
    name="tests of systemd-tests that take longer: event loop, descriptors of data",
    steps=r"""
    for name in event data-fd-util async exec-util daemon; do
        timeout 300 /usr/lib/systemd/tests/test-$name >$name.log 2>&1 && echo "ok $name" || echo "not ok $name: $?"
    done
    """,
    shows=["^ok event", "^ok data-fd-util"],
    timeout=400,
    long=True,
)

OWN_TREE = r"""
    base() { # TREE: directories for the machine's own /usr, with what its programs want in /etc
        local file
        mkdir -p "$1"/{usr,etc/systemd/system,var,run,proc,sys,dev,tmp,root}
        ln -s usr/bin usr/sbin usr/lib usr/lib64 "$1/"
        for file in passwd group shadow nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d login.defs pam.d security \
            dbus-1 os-release; do cp -a "/etc/$file" "$1/etc/"; done
    }
"""
DEBOOTSTRAPPED = Path(tempfile.gettempdir()) / f"afunix-debootstrapped-{os.getpid()}"
DEBOOTSTRAPPED_TREE = rf"""
    base() {{ cp -a "{DEBOOTSTRAPPED}" "$1"; }}
"""
DEBOOTSTRAP_TIMEOUT = 900  # seconds
DEBOOTSTRAP = (
    *("debootstrap", "--variant=minbase"),
    "--include=systemd,systemd-sysv,dbus,libpam-systemd,libnss-systemd,python3-minimal",
    platform.freedesktop_os_release()["VERSION_CODENAME"],
    str(DEBOOTSTRAPPED),
)
TREE = rf"""
    tree() {{
        local tree=$DIR/tree file
        base "$tree"
        mkdir -p "$tree"/{{opt,var/log/journal}}
        echo 0123456789abcdef0123456789abcdef >"$tree/etc/machine-id" # with one, no presets are applied
        echo inside >"$tree/etc/hostname"
        ln -sf /usr/lib/systemd/system/multi-user.target "$tree/etc/systemd/system/default.target"
        # The kernel's log and the console are the machine's own.
        mkdir -p "$tree/etc/systemd/journald.conf.d"
        printf '[Journal]\nReadKMsg=no\nAudit=no\n' >"$tree/etc/systemd/journald.conf.d/own.conf"
        for file in systemd-journald-audit.socket console-getty.service systemd-timesyncd.service; do
            ln -sf /dev/null "$tree/etc/systemd/system/$file"
        done
        cp {PROGRAMS}/activated.py {PROGRAMS}/ask.py "$tree/opt/"
        printf '[Socket]\nListen%s=/run/activated.%s\nFileDescriptorName=%s\nService=activated.service\n' \
            Stream stream one >"$tree/etc/systemd/system/one.socket"
        printf '[Socket]\nListen%s=/run/activated.%s\nFileDescriptorName=%s\nService=activated.service\n' \
            Datagram dgram two >"$tree/etc/systemd/system/two.socket"
        printf '[Socket]\nListen%s=/run/activated.%s\nFileDescriptorName=%s\nService=activated.service\n' \
            SequentialPacket seqpacket three >"$tree/etc/systemd/system/three.socket"
        printf '[Socket]\nListenStream=/run/accepts\nAccept=yes\n' >"$tree/etc/systemd/system/accepts.socket"
        printf '[Service]\nExecStart=cat\nStandardInput=socket\n' >"$tree/etc/systemd/system/accepts@.service"
        cat >"$tree/etc/systemd/system/activated.service" <<END
[Unit]
Requires=one.socket two.socket three.socket
[Service]
Type=notify
FileDescriptorStoreMax=4
ExecStart=/usr/bin/python3 -B /opt/activated.py
END
    }}
    boot() {{ # in a cgroup of its own, which becomes the root of its namespace
        local group=/sys/fs/cgroup/unified/${{DIR##*/}}
        [[ -d ${{group%/*}} ]] || group=/sys/fs/cgroup/${{DIR##*/}}
        mkdir "$group"
        echo "$group" >cgroup
        (
            echo $BASHPID >"$group/cgroup.procs"
            exec unshare --pid --fork --kill-child --mount --uts --cgroup bash {PROGRAMS}/boot.sh "$DIR/tree"
        ) >boot.log 2>&1 </dev/null &
        echo $! >unshare.pid
        trap 'status=$?; off; (exit $status); ending' EXIT
        until_ok first
    }}
    off() {{ # by force, if it still runs
        set +e
        kill -KILL "$(<"$DIR/unshare.pid")" 2>>boot.log && sleep 0.5
        [[ ! -e $(<"$DIR/cgroup") ]] || find "$(<"$DIR/cgroup")" -depth -type d -exec rmdir {{}} +
    }}
    first() {{ # finds the first process, once it is systemd
        local pid
        pid=$(tr -d ' ' </proc/"$(<unshare.pid)"/task/"$(<unshare.pid)"/children)
        [[ $(readlink "/proc/$pid/exe") == /usr/lib/systemd/systemd ]] &&
            echo "$pid" >first.pid
    }}
"""

WITHIN = r"""
    within() { nsenter --target "$(<"$DIR/first.pid")" --mount --pid --uts --cgroup --root --wd "$@"; }
    is_up() { [[ $(within systemctl is-system-running) =~ running|degraded ]]; }
"""

POWER_OFF = r"""
    within systemctl poweroff || true # the bus may be gone before it answers
"""

OFF = r"""
    gone() { ! kill -0 "$(<"$DIR/unshare.pid")"; }
    until_ok gone
    find "$(<cgroup)" -depth -type d -exec rmdir {} +
    echo "powered off"
"""

BOOTED = (
    TREE
    + WITHIN
    + r"""
    tree
    boot
    until_ok is_up
"""
)
UP = OWN_TREE + BOOTED

BOOT = Scenario(
    name="systemd as PID 1 to multi-user.target, its buses, journal and logind, and a poweroff",
    server=UP,
    steps=WITHIN
    + r"""
    within systemctl is-system-running
    within systemctl --failed --no-legend --plain
    within systemctl is-active multi-user.target dbus.service systemd-logind.service systemd-journald.service
    within systemctl list-units --no-legend --plain --state=running --type=service | awk '{print $1, $4}'
    within busctl list --no-legend --unique | awk '{print ($2 > 1 ? "N" : $2), $3, $4}' | sort
    systemd1="org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1"
    within busctl call $systemd1.Manager GetUnit s dbus.service
    within busctl get-property ${systemd1//systemd1/hostname1} Hostname
    within busctl introspect --no-legend org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager |
        grep -c method
    within loginctl list-seats --no-legend; within loginctl list-sessions --no-legend
    within logger -t syslog 'to /dev/log'
    within systemd-cat -t stdout echo 'to the journal'
    within systemd-run --wait --quiet --pipe sh -c 'echo in a service; id -un; cat' <<<'standard input'
    within systemd-run --wait --quiet --pipe --property=DynamicUser=yes --unit=somebody id -un
    within systemd-run --wait --quiet --pty --property=PrivateTmp=yes sh -c 'tty; ls -A /tmp' </dev/null | tr -d '\r'
    within systemd-run --wait --quiet false || echo "status $?"
    within journalctl --sync
    within journalctl --quiet --no-pager -o cat -t syslog -t stdout
    within journalctl --quiet --no-pager -b -p err -o cat
    """
    + POWER_OFF
    + OFF,
    shows=[
        "^running$",
        "^active$",
        "^dbus.service running",
        "^1 systemd root",
        '^s "inside"',
        "^to /dev/log",
        "^in a service",
        "^standard input",
        "^somebody$",
        "^/dev/pts/0",
        "^powered off",
    ],
    timeout=60,
    where=(PRIVATE, SHARED),
)

DEBOOTSTRAPPED_BOOT = replace(
    BOOT,
    name=f"{BOOT.name}, of a debootstrapped tree",
    server=DEBOOTSTRAPPED_TREE + BOOTED,
    preparation=DEBOOTSTRAP_TIMEOUT,
    long=True,
)

MANAGED = Scenario(
    name="under systemd as PID 1: activated sockets, the descriptor store over restarts, daemon-reexec, notify",
    server=UP,
    steps=WITHIN
    + r"""
    ask() { within python3 -B /opt/ask.py "$1" "/run/activated.$1" "$2"; }
    within systemctl start one.socket two.socket three.socket
    within systemctl is-active activated.service || true
    for kind in stream dgram seqpacket; do ask "$kind" hello; done
    within systemctl show --property=StatusText,NFileDescriptorStore,NotifyAccess activated.service
    within systemctl restart activated.service
    for kind in stream dgram seqpacket; do ask "$kind" restarted; done
    within systemctl daemon-reexec
    for kind in stream dgram seqpacket; do ask "$kind" reexecuted; done
    within systemctl restart activated.service
    ask seqpacket 'restarted again'
    within systemctl show --property=StatusText,NFileDescriptorStore activated.service
    ask stream end
    is_inactive() { [[ $(within systemctl is-active activated.service) == inactive ]]; }
    until_ok is_inactive
    ask dgram 'with an empty store'
    within systemctl list-sockets --no-legend --plain '*activated*' one.socket two.socket three.socket
    within systemd-run --quiet --wait --service-type=notify --property=NotifyAccess=all \
        sh -c 'systemd-notify --ready --status=fine; sleep 0.2' && echo notified
    within systemctl start accepts.socket
    for text in echoed again; do within python3 -B /opt/ask.py stream /run/accepts "$text"; done
    """
    + POWER_OFF
    + OFF,
    shows=[
        r"^SOCK_STREAM one: hello \(1\)",
        r"^SOCK_DGRAM two: restarted",
        r"^SOCK_SEQPACKET three: reexecuted",
        r"^SOCK_SEQPACKET three: restarted again",
        "^NFileDescriptorStore=1",
        "^notified$",
        "^echoed$",
        "^powered off",
    ],
    timeout=60,
    where=(PRIVATE, SHARED),
)


ACROSS = Scenario(
    name="systemd as PID 1 met from the other side: services' sockets, its bus, the journal's sockets",
    server=UP
    + r"""
    within systemctl start one.socket two.socket three.socket accepts.socket
    """,
    steps=WITHIN
    + r"""
    for kind in stream dgram seqpacket; do
        within python3 -B /opt/ask.py "$kind" "/run/activated.$kind" hello
    done
    within python3 -B /opt/ask.py stream /run/accepts echoed
    within busctl list --no-legend --unique | awk '$3 ~ /^systemd/ {print $3}' | sort
    within busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager ListSeats
    within logger -t syslog 'to /dev/log'
    printf 'MESSAGE=natively\nSYSLOG_IDENTIFIER=native\n' | within logger --journald
    journal() { within journalctl --quiet --no-pager -o cat -t syslog -t native; }
    all_there() { [[ $(journal | wc -l) == 2 ]]; }
    until_ok all_there
    journal | sort
    kill -s RTMIN+4 "$(<first.pid)" # as systemctl would have it
    """
    + OFF,
    shows=[r"^SOCK_DGRAM two: hello \(1\)", "^echoed$", "^systemd-logind$", '"seat0"', "^to /dev/log", "^powered off"],
    timeout=60,
    where=(SERVER_INSIDE, CLIENT_INSIDE),
    note="not by systemctl and systemd-cat: systemd refuses a peer of another pid namespace, as the supervisor is",
)


@pytest.fixture(scope="session")
def debootstrapped() -> Iterator[None]:
    """A tree of packages of the machine's own release, from where its packages come."""
    ran = subprocess.run(DEBOOTSTRAP, capture_output=True, text=True, timeout=DEBOOTSTRAP_TIMEOUT, check=False)
    if ran.returncode:
        pytest.fail(f"{' '.join(DEBOOTSTRAP)}\n{ran.stdout}\n{ran.stderr}", pytrace=False)
    yield
    shutil.rmtree(DEBOOTSTRAPPED)


@placements([DEBOOTSTRAPPED_BOOT])
@pytest.mark.usefixtures("debootstrapped")
def test_debootstrapped(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


@placements([ACTIVATION, NOTIFY, JOURNAL, SUITE, SLOW_SUITE, BOOT, MANAGED, ACROSS])
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(ACTIVATION, ["bind", "listen", "connect", "accept4", "sendto", "recvfrom"])
