"""A message bus of its own: dbus-daemon with dbus-send and dbus-monitor."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator

import check


def _environment(address: str) -> "dict[str, str]":
    return {**os.environ, "DBUS_SESSION_BUS_ADDRESS": address, "LC_ALL": "C"}


@contextlib.contextmanager
def _bus(address: str) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """A running bus and the address that it says, once it serves."""
    command = [
        "dbus-daemon",
        "--config-file=/usr/share/dbus-1/session.conf",
        "--nofork",
        "--nopidfile",
        "--print-address=1",
        f"--address={address}",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        try:
            yield daemon, daemon.stdout.readline().strip()
        finally:
            daemon.terminate()
            print("the bus ended with", daemon.wait(10))


def _send(address: str, *arguments: str) -> str:
    result = subprocess.run(
        ["dbus-send", "--session", "--print-reply=literal", *arguments],
        env=_environment(address),
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _call(address: str, method: str, *arguments: str) -> str:
    interface = "org.freedesktop.DBus"
    return _send(address, f"--dest={interface}", "/org/freedesktop/DBus", f"{interface}.{method}", *arguments)


def _list_names(address: str) -> None:
    with _bus(address) as (_, said):
        assert said.startswith(address)
        names = re.findall(r"\S+", _call(said, "ListNames").replace("[", " ").replace("]", " "))
        print(sorted(re.sub(r":\d+\.\d+", ":N.N", name) for name in names if name != "array"))


def case_list_names_by_path() -> None:
    _list_names(f"unix:path={check.path('bus')}")
    assert not os.path.exists(check.path("bus"))


def case_list_names_by_abstract_name() -> None:
    _list_names(f"unix:abstract=afunix-{os.getpid():08}-bus")


def case_who_is_there() -> None:
    """The daemon tells its own process, and the user of a client that its credentials gave (EXTERNAL)."""
    with _bus(f"unix:path={check.path('bus')}") as (daemon, said):
        pid = _call(said, "GetConnectionUnixProcessID", "string:org.freedesktop.DBus").split()
        assert pid == ["uint32", str(daemon.pid)], pid
        user = _call(said, "GetConnectionUnixUser", "string:org.freedesktop.DBus").split()
        assert user == ["uint32", str(os.getuid())], user
        assert _call(said, "RequestName", "string:org.afunix.Test", "uint32:0").split() == ["uint32", "1"]
        assert _call(said, "NameHasOwner", "string:org.afunix.Test").split() == ["boolean", "false"]
    print("told")


def case_many_clients() -> None:
    with _bus(f"unix:path={check.path('bus')}") as (_, said):
        for _ in range(10):
            assert "boolean true" in _call(said, "NameHasOwner", "string:org.freedesktop.DBus")
        calls = [
            subprocess.Popen(
                [
                    "dbus-send",
                    "--session",
                    "--print-reply",
                    "--dest=org.freedesktop.DBus",
                    "/",
                    "org.freedesktop.DBus.GetId",
                ],
                env=_environment(said),
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(8)
        ]
        answers = {call.communicate(timeout=10)[0].splitlines()[-1] for call in calls}
        assert [call.returncode for call in calls] == [0] * 8
        print(len(answers), "id")


def case_signal_monitored() -> None:
    with _bus(f"unix:path={check.path('bus')}") as (_, said):
        command = ["dbus-monitor", "--session", "interface='org.afunix.Test'"]
        with subprocess.Popen(command, env=_environment(said), stdout=subprocess.PIPE, text=True) as monitor:
            assert monitor.stdout is not None
            check.read_until(monitor.stdout, "NameLost")  # by this the bus says that it monitors
            for i in range(3):
                subprocess.run(
                    ["dbus-send", "--session", "/a/path", "org.afunix.Test.Happened", f"int32:{i}", "string:a word"],
                    env=_environment(said),
                    timeout=10,
                    check=True,
                )
                line = check.read_until(monitor.stdout, "member=Happened")
                print(re.sub(r"(time|sender|serial)=\S+", r"\1=N", line).strip())
                print(monitor.stdout.readline().strip(), monitor.stdout.readline().strip())
            monitor.terminate()
            monitor.wait(10)


def case_bus_goes() -> None:
    """A client whose bus ends is told, and goes too."""
    with _bus(f"unix:path={check.path('bus')}") as (_, said):
        monitor = subprocess.Popen(
            ["dbus-monitor", "--session"], env=_environment(said), stdout=subprocess.PIPE, text=True
        )
        assert monitor.stdout is not None
        check.read_until(monitor.stdout, "NameLost")
    monitor.stdout.close()
    print("monitor ended with", monitor.wait(10))


def case_run_session() -> None:
    script = (
        "dbus-send --session --print-reply=literal --dest=org.freedesktop.DBus / org.freedesktop.DBus.ListNames | wc -w"
    )
    result = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True, timeout=15, check=True
    )
    print(result.stdout.strip(), "words")


if __name__ == "__main__":
    check.main(globals())
