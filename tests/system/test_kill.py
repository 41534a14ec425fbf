"""One of two partners is killed at random moments: the other one sees the end within a second."""

from __future__ import annotations

import os

import pytest

from .harness import Compiler, Runner, cases

SEEDS = [os.environ["AFUNIX_TEST_SEED"]] if "AFUNIX_TEST_SEED" in os.environ else ["1", "2", "3"]
"""A hundred moments each; AFUNIX_TEST_SEED=N chooses others, and repeats those of a failure."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("source", "case"), cases("kill.c"))
def test_survivor_sees_the_end(
    *, source: str, case: str, seed: str, where: Runner, cc: Compiler, socket_directory: object
) -> None:
    """The program says the seed and the moment when a survivor waits on."""
    outcome = where.run([cc(source), str(socket_directory), case], env={"AFUNIX_TEST_SEED": seed}).ok()
    assert outcome.stdout.startswith(f"seed {seed}\n")
    assert outcome.stdout.endswith(f"ok {case}\n")
