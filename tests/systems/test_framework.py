"""The framework finds what it is there to find: each kind of failure, made on purpose."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .packages import packages
from .report import document, merged
from .results import Results
from .running import Failure, World, descendants
from .scenario import CLIENT_INSIDE, PRIVATE, SERVER_INSIDE, SHARED, Scenario

LISTENER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["DIR"] + "/meeting")
listener.listen()
while True:
    sock, _ = listener.accept()
    with sock:
        if said := sock.recv(100):
            sock.sendall(said.upper())
"""

CALLER = """
import os, socket
sock = socket.socket(socket.AF_UNIX)
sock.connect(os.environ["DIR"] + "/meeting")
sock.sendall(b"hello")
print(sock.recv(100).decode())
"""

ECHO = Scenario(
    name="echo",
    server=f"start server /usr/bin/python3 -c '{LISTENER}'\nuntil_ok test -S meeting\n",
    steps=f"/usr/bin/python3 -c '{CALLER}'\nfigure answer 42 calls/s",
    shows=["HELLO"],
)


@pytest.mark.parametrize("world", ["native", PRIVATE, SHARED, SERVER_INSIDE, CLIENT_INSIDE])
def test_worlds(world: str, tmp_path: Path) -> None:
    """Every world runs both halves; those with afunix in them leave a trace of the half that is inside."""
    ran = World(world, tmp_path / "trace").run(ECHO)
    assert ran.lines == ["HELLO"]
    assert ran.figures == {"answer": (42.0, "calls/s")}
    traces = {path.suffix: path.read_text() for path in tmp_path.iterdir()}
    inside = {"native": [], SERVER_INSIDE: [".server"], CLIENT_INSIDE: [".client"]}.get(world, [".steps"])
    assert list(traces) == inside
    assert ["accept4(" in text for text in traces.values()] == [world != CLIENT_INSIDE] * len(inside)
    assert [bool(re.search(r"connect\(.*/meeting\"", text)) for text in traces.values()] == [
        world != SERVER_INSIDE
    ] * len(inside)


@pytest.mark.parametrize("world", ["native", PRIVATE])
@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("echo before; false; echo after", "ended with status 1"),
        ("echo other", "does not show"),
        ("sleep 1000", "timed out"),
        ("env -i setsid setsid sleep 1000 & sleep 0.3; echo HELLO", "sleep 1000|timed out"),
        ("start it sh -c 'echo woe; exec sleep 1000'; until_ok grep woe it.log; false", "woe"),
    ],
)
def test_failures(world: str, steps: str, says: str) -> None:
    """What goes wrong is told, and nothing of it is left."""
    before = descendants(os.getpid())
    with pytest.raises(Failure, match=says):
        World(world).run(Scenario(name="wrong", steps=steps, shows=["HELLO"], timeout=4))
    assert descendants(os.getpid()) == before


def test_server_that_does_not_come_up() -> None:
    with pytest.raises(Failure, match="not ready"):
        World(SERVER_INSIDE).run(Scenario(name="wrong", server="exit 3", steps="true", timeout=4))


def test_stubborn_server_is_told_of() -> None:
    """A server that ignores the signal that ends it is ended, and makes a difference."""
    steps = "PATIENCE=1\nstart it bash -c 'trap : TERM; touch up; while :; do sleep 0.1; done'\nuntil_ok test -e up"
    ran = World("native").run(Scenario(name="stubborn", steps=steps))
    assert ran.lines == ["it does not end"]


def test_private_run_has_nothing_on_the_host() -> None:
    wrong, looked_at = World(PRIVATE).watched(ECHO)
    assert not wrong
    assert looked_at


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('a = socket.socket(socket.AF_UNIX); a.bind("\\0" + os.environ["DIR"])', "is bound to"),
        ('a = socket.socket(socket.AF_UNIX); a.bind(os.environ["DIR"] + "/s"); a.listen()', "listens"),
        ("a, b = socket.socketpair()", "past the supervisor"),
        ('a = socket.socket(socket.AF_UNIX); a.connect(os.environ["DIR"] + "/meeting")', "outside"),
    ],
)
def test_native_sockets_are_found(code: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the look is for: sockets of the host's kernel in a run, here of one that isn't under afunix at all."""
    monkeypatch.setattr("systems.running.Part._words", staticmethod(lambda *_: []))
    socket_path = tmp_path / "meeting"
    outside = subprocess.Popen(
        [sys.executable, "-c", LISTENER], env={**os.environ, "DIR": str(tmp_path)}, stdout=subprocess.DEVNULL
    )
    try:
        code = code.replace('os.environ["DIR"] + "/meeting"', repr(str(socket_path)))
        program = f"import os, socket, time\n{code}\nopen('up', 'w')\ntime.sleep(100)"
        deadline = time.monotonic() + 10
        while not socket_path.exists():
            assert outside.poll() is None and time.monotonic() < deadline  # noqa: PT018
            time.sleep(0.02)
        steps = f"cat >program.py <<'END'\n{program}\nEND\nstart it /usr/bin/python3 program.py\nuntil_ok test -e up"
        wrong, _ = World(PRIVATE).watched(Scenario(name="native", steps=steps))
        with pytest.raises(Failure, match=says):
            World(PRIVATE).run(Scenario(name="native", steps=f"{steps}\nsleep 1.5"))
    finally:
        outside.kill()
        outside.wait()
    assert any(says in line for line in wrong), wrong


def test_order_and_variation() -> None:
    scenario = Scenario(name="x", steps="", varies=[(r"\d+ms", "N")], in_any_order=True, shows=["^a N$", "^c"])
    lines = scenario.shown("b\na 15ms\n")
    assert lines == ["a N", "b"]
    assert scenario.missing(lines) == ["^c"]


def test_report(tmp_path: Path) -> None:
    """Results of several sessions come together; a failure is said to be one."""
    file = tmp_path / "results.json"
    for world, seconds in (("native", 1.0), (PRIVATE, None)):
        results = Results(file)
        entry = results.entry("D-Bus", "1.2", "calls | signals", "a note")
        entry.seconds[world] = seconds
        entry.figures.setdefault("calls", {})[world] = (1234.5, "/s")
        results.write()
    page = document(json.loads(file.read_text()))
    assert "| D-Bus | 1.2 | calls \\| signals (a note) | 1.00 | **fails** |  |  |  |" in page
    assert "| D-Bus | calls | /s | 1,234 | 1,234 |  |  |  |" in page


def test_reports_come_together() -> None:
    """What is in several files is as the last one has it."""
    row = {"system": "a", "scenario": "x", "version": "1"}
    first, second = [row, {**row, "scenario": "y"}], [{**row, "version": "2"}]
    assert [(entry["scenario"], entry["version"]) for entry in merged([first, second])] == [("x", "2"), ("y", "1")]


def test_packages(tmp_path: Path) -> None:
    """They are read from files that can't be imported; plain Python does it."""
    file = tmp_path / "test_x.py"
    file.write_text('import nonesuch\nPACKAGES = ("b", "a")\nLONG_PACKAGES: tuple[str, ...] = ("c",)\n')
    assert packages([file]) == ["a", "b"]
    assert packages([file], long=True) == ["a", "b", "c"]
    script = Path(__file__).with_name("packages.py")
    said = subprocess.run(
        ["/usr/bin/python3", "-I", script, "--long", file], capture_output=True, text=True, check=True
    ).stdout
    assert said.split() == ["a", "b", "c"]
