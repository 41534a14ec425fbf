"""One nursery for all cases on the host, and one supervised run of the whole kit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from afunix.conformance.host import Host


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """Where machines of the host come from."""
    with Host() as nursery:
        yield nursery


Supervised = dict[str, dict[str, str]]


@pytest.fixture(scope="session")
def supervised() -> Supervised:
    """What the kit says of the supervisor: the report of each case, by its name."""
    kit = [sys.executable, "-m", "afunix.conformance", "--json", "--linux", "6.18"]
    run = subprocess.run(
        [sys.executable, "-m", "afunix", "run", "--private", "--", *kit],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    reports = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode in (0, 1), run.stderr
    return {report["case"]: report for report in reports}
