"""The short way of reads and writes (afunix/supervisor/quick.py): it is taken, and nothing is different on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from .harness import Compiler, Runner, cases, normalised

SOURCE = "quick.c"

NATIVE = Runner("native")

TAKEN: Mapping[str, Mapping[str, int]] = {
    "there_and_back": {"waited": 2, "handed": 2, "put": 3, "took": 2},
    "more_than_it_asked_for": {"waited": 1, "put": 1},
    "long_messages": {"waited": 5, "handed": 5, "put": 5},
    "addresses": {"put": 7},
    "waiting_for_a_bad_address": {"waited": 1, "handed": 1, "returned": 1},
    "partial_pages": {"waited": 2, "handed": 2, "put": 4, "took": 2, "returned": 1},
    "nothing_at_all": {"waited": 1, "handed": 1, "put": 2},
    "nonblock_set_late": {"waited": 1},
    "fionbio_set_late": {"waited": 1},
    "timeout_set_late": {"waited": 1},
    "low_water_set_late": {"waited": 2, "put": 1},
    "low_water_taken_away_late": {"waited": 1, "put": 2},
    "peek_offset": {"waited": 1, "put": 1},
    "credentials_wanted_late": {"waited": 1},
    "descriptors_for_a_read": {"waited": 1, "took": 1},
    "urgent_byte_for_a_read": {"waited": 1, "put": 1},
    "interrupted": {"waited": 1, "put": 1},
    "restarted": {"waited": 2, "handed": 1, "put": 1},
    "ends_of_a_waiting_read": {"waited": 5},
    "end_after_a_hand_over": {"waited": 1},
    "duplicates": {"waited": 1},
    "numbers_used_again": {"put": 3, "took": 2},
    "two_readers": {"waited": 1},
    "killed_reader": {"waited": 60, "put": 60},
    "killed_beside_another_reader": {"waited": 20, "put": 20},
    "exec_while_a_read_waits": {"waited": 1, "put": 1},
    "flags_of_a_send": {"waited": 6, "handed": 3, "put": 3},
    "full_buffer": {"put": 10},
    "writer_waits_for_room": {"put": 300},
}
"""At least so many of the calls that a case is about go the short way (see counted.py). The others of the cases end up
on the long one, because of what is tried there."""


def counted(program: Path, directory: Path, *case: str, pure: bool = False) -> tuple[str, Mapping[str, int]]:
    """The transcript of a run, and the counts."""
    home, file = directory / "home", directory / "counts"
    home.mkdir()
    command = [sys.executable, Path(__file__).with_name("counted.py"), file, "run", "--", program, home, *case]
    outcome = NATIVE.run(command, timeout=100, env={"AFUNIX_PURE": "1"} if pure else {}).ok()
    return normalised(outcome.stdout, home), json.loads(file.read_text())


@pytest.mark.parametrize(("source", "case"), cases(SOURCE))
def test_case(source: str, case: str, same_as_native: Callable[..., None]) -> None:
    """One case of a test program: it succeeds and says what it says on Linux."""
    same_as_native(source, case)


@pytest.mark.parametrize("case", TAKEN)
def test_way_is_taken(case: str, cc: Compiler, socket_directory: Path) -> None:
    """What a case is about does go the short way."""
    _, counts = counted(cc(SOURCE), socket_directory, case)
    missing = {name: number for name, number in TAKEN[case].items() if counts.get(name, 0) < number}
    assert not missing, counts


@pytest.mark.slow
def test_long_way(cc: Compiler, socket_directory: Path) -> None:
    """Without the compiled host calls all of them go the long way, and say the same."""
    transcript, counts = counted(cc(SOURCE), socket_directory, pure=True)
    (socket_directory / "native").mkdir()
    assert counts == {}
    native = NATIVE.run([cc(SOURCE), socket_directory / "native"], timeout=100).ok().stdout
    assert transcript.splitlines() == native.splitlines()
    assert transcript.count("\nok ") >= len(TAKEN)
