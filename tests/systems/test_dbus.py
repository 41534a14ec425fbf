"""D-Bus: buses, callers, signals, descriptors over the bus, many clients, and D-Bus's and GLib's own tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from .scenario import CLIENT_INSIDE, PRIVATE, SERVER_INSIDE, SHARED, Scenario, placements

SYSTEM = "D-Bus"
VERSION = "dbus-daemon --version | sed -n '1s/.* //p'"
PACKAGES = (
    *("dbus-daemon", "dbus-bin", "dbus-system-bus-common", "dbus-tests", "xdg-dbus-proxy"),
    *("libglib2.0-bin", "python3-dbus", "python3-gi"),
    *("systemd", "util-linux"),
)

LONG_PACKAGES = ("gnome-desktop-testing", "libglib2.0-tests")

PROGRAMS = Path(__file__).parent / "programs"

ADDRESS = """
    export DBUS_SESSION_BUS_ADDRESS="unix:path=$DIR/bus"
"""
BUS = (
    ADDRESS
    + r"""
    start bus dbus-daemon --session --nofork --nopidfile --address="$DBUS_SESSION_BUS_ADDRESS"
    until_ok gdbus call --session --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.GetId
"""
)
UNIQUE = (r":1\.\d+", ":1.N")

CALLS = Scenario(
    name="session bus, calls by dbus-send, gdbus and busctl",
    server=BUS,
    steps=ADDRESS
    + r"""
    dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner \
        string:org.freedesktop.DBus
    dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / org.freedesktop.DBus.StartServiceByName \
        string:org.example.Nobody uint32:0 2>&1 || echo "status $?"
    gdbus call --session --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.ListNames
    gdbus introspect --session --dest org.freedesktop.DBus --object-path /org/freedesktop/DBus | grep -c 'in  '
    busctl --address="$DBUS_SESSION_BUS_ADDRESS" list --no-legend --no-pager | cut -d' ' -f1 | sort
    busctl --address="$DBUS_SESSION_BUS_ADDRESS" call org.freedesktop.DBus / org.freedesktop.DBus \
        GetConnectionUnixUser s org.freedesktop.DBus
    busctl --address="$DBUS_SESSION_BUS_ADDRESS" get-property org.freedesktop.DBus /org/freedesktop/DBus \
        org.freedesktop.DBus Features
    """,
    shows=["boolean true", "ServiceUnknown", r"^\(\['org.freedesktop.DBus'", "^org.freedesktop.DBus$", "^u 0$"],
    varies=[UNIQUE, (r"time=[\d.]+", "time=T")],
)

RUN_SESSION = Scenario(
    name="dbus-run-session, and a service that the bus starts",
    steps=r"""
    mkdir -p share/dbus-1/services
    cat >share/dbus-1/services/org.example.Echo.service <<END
[D-BUS Service]
Name=org.example.Echo
Exec=/usr/bin/dbus-test-tool echo --name=org.example.Echo
END
    export XDG_DATA_HOME=$DIR/share
    dbus-run-session -- bash -c '
        dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner \
            string:org.example.Echo
        gdbus call --session --dest org.example.Echo --object-path / --method com.example.Anything
        dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner \
            string:org.example.Echo
        dbus-update-activation-environment THIS=that && echo updated
    '
    """,
    shows=["boolean false", r"^\(\)$", "boolean true", "^updated$"],
)

SYSTEM_ADDRESS = """
    export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$DIR/system"
"""
SYSTEM_BUS = (
    SYSTEM_ADDRESS
    + r"""
    mkdir services
    sed -e "s#unix:path=/run/dbus/system_bus_socket#unix:path=$DIR/system#" -e "s#/run/dbus/pid#$DIR/services/pid#" \
        -e '/<fork\/>/d' -e '/<syslog\/>/d' -e '/<standard_system_servicedirs\/>/d' -e '/<includedir>/d' \
        -e "s#</busconfig>#<include>$DIR/policy.conf</include></busconfig>#" /usr/share/dbus-1/system.conf >system.conf
    cat >policy.conf <<'END'
<busconfig>
  <policy user="root">
    <allow own="org.example.Echo"/>
  </policy>
  <policy context="default">
    <allow send_destination="org.example.Echo" send_interface="com.example.Test" send_member="Public"/>
  </policy>
  <policy user="root">
    <allow send_destination="org.example.Echo"/>
  </policy>
</busconfig>
END
    start bus dbus-daemon --config-file="$DIR/system.conf" --nofork --nopidfile
    until_ok busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" list
    start echo dbus-test-tool echo --system --name=org.example.Echo
    until_ok busctl --system --address="$DBUS_SYSTEM_BUS_ADDRESS" call org.example.Echo / com.example.Test Public
    stat -c %U /proc/$(<bus.pid)
"""
)
SYSTEM_CALLS = r"""
    call() {
        dbus-send --system --print-reply=literal --dest="$1" / "$2" "${@:3}" 2>&1 || echo "status $?"
    }
    call org.example.Echo com.example.Test.Secret
    call org.freedesktop.DBus org.freedesktop.DBus.RequestName string:org.example.Other uint32:0
    call org.freedesktop.DBus org.freedesktop.DBus.GetConnectionUnixUser string:org.example.Echo
    busctl --address="$DBUS_SYSTEM_BUS_ADDRESS" call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig
"""
SYSTEM_CALLED = ["^messagebus$", "AccessDenied.*org.example.Other", "uint32 0"]

ROOT_ON_SYSTEM_BUS = Scenario(
    name="system bus of user messagebus, with its policy",
    server=SYSTEM_BUS,
    steps=SYSTEM_ADDRESS + SYSTEM_CALLS,
    shows=SYSTEM_CALLED,
    varies=[UNIQUE, (r"pid=\d+", "pid=N")],
)

USER_ON_SYSTEM_BUS = Scenario(
    name="system bus, a user who is not allowed everything",
    server=SYSTEM_BUS,
    steps=SYSTEM_ADDRESS
    + r"""
    call() {
        setpriv --reuid=65534 --regid=65534 --clear-groups \
            dbus-send --system --print-reply=literal --dest="$1" / "$2" "${@:3}" 2>&1 || echo "status $?"
    }
    call org.example.Echo com.example.Test.Public
    call org.example.Echo com.example.Test.Secret
    call org.freedesktop.DBus org.freedesktop.DBus.RequestName string:org.example.Echo uint32:0
    call org.freedesktop.DBus org.freedesktop.DBus.GetConnectionCredentials string:org.example.Echo
    """,
    shows=["AccessDenied.*Secret", "uid=65534", "AccessDenied.*org.example.Echo"],
    varies=[
        UNIQUE,
        (r"pid=\d+", "pid=N"),
        (r'comm="[^"]*"', "comm=C"),
        (r"(ProcessID\s+variant\s+uint32) \d+", r"\1 N"),
    ],
)

SIGNALS = Scenario(
    name="signals, seen by dbus-monitor, gdbus and busctl",
    server=BUS,
    steps=ADDRESS
    + r"""
    rule="type='signal',interface='org.example.Signals'"
    start dbus-monitor stdbuf -oL dbus-monitor --session "$rule"
    start gdbus stdbuf -oL gdbus monitor --session --dest org.example.Sender
    start busctl stdbuf -oL busctl --address="$DBUS_SESSION_BUS_ADDRESS" monitor --match="$rule"
    start sender dbus-test-tool echo --name=org.example.Sender
    until_ok grep -q 'is owned by' gdbus.log
    until_ok grep -q 'Monitoring bus' busctl.log
    for monitor in dbus-monitor busctl; do
        until_ok bash -c "gdbus emit --session --object-path /org/example --signal org.example.Signals.Up
                          sleep 0.1; grep -q member=Up $monitor.log || grep -q Member=Up $monitor.log"
    done
    for number in {1..20}; do
        dbus-send --session --type=signal /org/example org.example.Signals.Count uint32:$number string:words
    done
    gdbus emit --session --object-path /org/example --signal org.example.Signals.Last "('a', [1, 2, 3], {'k': <true>})"
    busctl --address="$DBUS_SESSION_BUS_ADDRESS" emit /org/example org.example.Signals Last as 2 one two
    until_ok bash -c '[[ $(grep -c member=Last dbus-monitor.log) == 2 ]]'
    until_ok bash -c '[[ $(grep -c Member=Last busctl.log) == 2 ]]'
    finish sender
    until_ok grep -q 'does not have an owner' gdbus.log
    sed -n '/member=Count/,$p' dbus-monitor.log
    sed -n '/Member=Count/,$p' busctl.log | grep -E 'Member|UINT32|STRING|INT32|BOOLEAN'
    grep -v Monitoring gdbus.log | tail -1
    """,
    shows=["uint32 20", "UINT32 20;", "Member=Last", "does not have an owner"],
    varies=[UNIQUE, (r"time=[\d.]+", "time=T"), (r"\b(serial|Cookie)=\d+", r"\1=N")],
)

MONITOR = Scenario(
    name="dbus-monitor becomes a monitor of all calls",
    server=BUS,
    steps=ADDRESS
    + r"""
    start echo dbus-test-tool echo --name=org.example.Echo
    start monitor stdbuf -oL dbus-monitor --session --monitor
    until_ok grep -q NameLost monitor.log
    until_ok gdbus call --session --dest org.example.Echo --object-path / --method org.example.Call
    for number in 1 2 3; do
        dbus-send --session --print-reply=literal --dest=org.example.Echo /path org.example.Number int32:$number
    done
    until_ok bash -c '[[ $(grep -cE "member=Number" monitor.log) == 3 ]]'
    grep -A1 member=Number monitor.log
    """,
    shows=["member=Number", "int32 3"],
    varies=[UNIQUE, (r"time=[\d.]+", "time=T"), (r"\bserial=\d+", "serial=N")],
)

DESCRIPTORS = Scenario(
    name="descriptors over the bus, by dbus-python",
    server=BUS
    + rf"""
    start files /usr/bin/python3 {PROGRAMS}/dbus_files.py serve
    until_ok gdbus introspect --session --dest org.example.Files --object-path /org/example/Files
    """,
    steps=ADDRESS
    + rf"""
    /usr/bin/python3 {PROGRAMS}/dbus_files.py call
    """,
    shows=["^one two three$", "^400000 characters", "^a hundred more, 0 "],
)

SOCKETS = Scenario(
    name="sockets over the bus, by dbus-python",
    server=DESCRIPTORS.server,
    steps=ADDRESS
    + rf"""
    /usr/bin/python3 {PROGRAMS}/dbus_files.py sockets
    """,
    shows=["^through a pair .* AF_UNIX$"],
    where=(PRIVATE, SHARED, SERVER_INSIDE, CLIENT_INSIDE),
)

ABSTRACT = Scenario(
    name="abstract address, with xdg-dbus-proxy before it",
    server=r"""
    address="unix:abstract=afunix-${DIR##*/}"
    start bus dbus-daemon --session --nofork --nopidfile --address="$address"
    until_ok busctl --address="$address" list
    start proxy xdg-dbus-proxy "$address" "$DIR/proxied" --filter --see=org.freedesktop.DBus
    until_ok dbus-send --bus="unix:path=$DIR/proxied" --print-reply --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.GetId
    """,
    steps=r"""
    address="unix:abstract=afunix-${DIR##*/}"
    for way in "$address" "unix:path=$DIR/proxied"; do
        DBUS_SESSION_BUS_ADDRESS=$way dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / \
            org.freedesktop.DBus.GetConnectionUnixUser string:org.freedesktop.DBus
        DBUS_SESSION_BUS_ADDRESS=$way dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / \
            org.freedesktop.DBus.RequestName string:org.example.Name uint32:0 2>&1 || echo "status $?"
    done
    """,
    shows=["uint32 0", "uint32 1", "AccessDenied|ServiceUnknown"],
)

CLIENTS = Scenario(
    name="100 clients at once",
    server=BUS
    + r"""
    for number in {1..100}; do
        start client$number dbus-test-tool echo --name=org.example.C$number
    done
    """,
    steps=ADDRESS
    + r"""
    names() {
        gdbus call --session --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.ListNames |
            grep -o 'org.example.C[0-9]*' | sort
    }
    until_ok bash -c "$(declare -f names)"'; [[ $(names | wc -l) == 100 ]]'
    names
    callers=()
    for number in {1..100}; do
        dbus-send --session --print-reply=literal --dest=org.example.C$number / org.example.Call >answer.$number 2>&1 &
        callers+=($!)
    done
    good=0
    for caller in "${callers[@]}"; do wait "$caller" && good=$((good + 1)); done
    echo "$good good, said: $(cat answer.* | tr -d '\n ')"
    """,
    shows=["^org.example.C100$", "^100 good, said: $"],
    timeout=60,
)

SPAM = Scenario(
    name="dbus-test-tool spam, 2,000 calls",
    server=BUS
    + r"""
    start echo dbus-test-tool echo --name=org.example.Echo
    until_ok gdbus call --session --dest org.example.Echo --object-path / --method org.example.Call
    """,
    steps=ADDRESS
    + r"""
    for queue in 1 50; do
        begin=$EPOCHREALTIME
        dbus-test-tool spam --dest=org.example.Echo --count=2000 --queue=$queue --payload=words >spam.out 2>&1
        end=$EPOCHREALTIME
        figure "calls, queue of $queue" $((2000000000 / (${end/./} - ${begin/./}))) /s
        echo "queue of $queue: done"
    done
    head -c 20000 /dev/urandom | base64 -w0 >words
    dbus-test-tool spam --dest=org.example.Echo --count=200 --queue=20 --stdin <words >spam.out 2>&1
    echo "long messages: done"
    """,
    shows=["queue of 50: done", "long messages: done"],
    timeout=40,
)

SUITE = r"""
    mkdir logs
    gnome-desktop-testing-runner --log-directory=logs {prefixes} >suite.log 2>&1 || echo "status $?"
    grep -oE '(PASS|FAIL|SKIP): [a-zA-Z0-9/_.-]+' suite.log
    grep -oE '(total|passed|skipped|failed)=[0-9]+' suite.log
    for log in logs/*; do
        # What a program says may begin in a line of what it has started.
        { grep -oE '\b((not )?ok [0-9]+ .*|Bail out.*)' "$log" || true; } | sed "s#^#${log#logs/} #"
    done
"""

DBUS_TESTS = Scenario(
    name="dbus-tests, all 60 programs",
    long=True,
    steps=SUITE.replace("{prefixes}", "dbus/"),
    shows=["^total=60$", "^failed=0$", "^PASS: dbus/test-fdpass.test"],
    in_any_order=True,
    timeout=120,
)

GLIB_TESTS = Scenario(
    name="libglib2.0-tests, its sockets and GDBus, 42 programs",
    steps=SUITE.replace(
        "{prefixes}", "glib/gdbus glib/socket glib/unix glib/credentials glib/gapplication glib/gsocket"
    ),
    shows=["^total=42$", "^failed=0$", "^PASS: glib/gdbus-peer.test"],
    varies=[(" # SKIP Failed to reproduce race.*", "")],
    in_any_order=True,
    timeout=240,
    long=True,
)

SCENARIOS = [
    *(CALLS, RUN_SESSION, ROOT_ON_SYSTEM_BUS, USER_ON_SYSTEM_BUS, SIGNALS, MONITOR, DESCRIPTORS, SOCKETS, ABSTRACT),
    *(CLIENTS, SPAM, DBUS_TESTS, GLIB_TESTS),
]


@placements(SCENARIOS)
def test_same_as_native(scenario: Scenario, world: str, same_as_native: Callable[[Scenario, str], None]) -> None:
    same_as_native(scenario, world)


def test_nothing_on_the_host(nothing_on_the_host: Callable[[Scenario, Sequence[str]], None]) -> None:
    nothing_on_the_host(DESCRIPTORS, ["bind", "listen", "connect", "accept4", "sendmsg", "recvmsg"])
