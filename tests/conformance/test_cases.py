"""Every case, on the host's kernel, on the core, and on the host's interface under `afunix run`."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from afunix.conformance.case import Definition, load
from afunix.conformance.core_machine import CoreMachine
from afunix.conformance.host import Host
from afunix.conformance.runner import Outcome, Report, run_case

CASES = load()
every_case = pytest.mark.parametrize("definition", CASES, ids=[definition.name for definition in CASES])

UNSUPERVISED = {
    "socket_options.the_inode_of_a_socket": "SIOCUNIXFILE is Unmodelled there: the host installs no O_PATH descriptor",
    "found.the_inode_of_an_accepted_socket": "the same",
    "socket_options.the_list_of_all_sockets": "/proc/net/unix is the host's own there",
    "found.a_peer_that_only_lived_in_an_urgent_byte": "an urgent byte passed over stays in the placeholder for a while",
}
"""Cases that are known to fail under `afunix run`, and why."""


def judge(outcome: str, text: str) -> None:
    """A case that does not apply is a skip that says why."""
    if outcome == Outcome.FAILED:
        pytest.fail(text, pytrace=False)
    if outcome != Outcome.PASSED:
        pytest.skip(text)


def judge_report(report: Report) -> None:
    judge(report.outcome, report.text)


@every_case
def test_host(definition: Definition, host: Host) -> None:
    judge_report(run_case(definition, host.machine))


@every_case
def test_core(definition: Definition) -> None:
    judge_report(run_case(definition, CoreMachine))


@every_case
def test_supervised(definition: Definition, supervised: Mapping[str, Mapping[str, str]]) -> None:
    assert definition.name in supervised, "the run ended before this case"
    report = supervised[definition.name]
    known = UNSUPERVISED.get(definition.name.partition("[")[0])
    if known is not None:
        assert report["outcome"] != Outcome.PASSED, "it passes now: take it out of the list"
        pytest.xfail(known)
    judge(report["outcome"], report["text"])


def test_the_host_leaves_nothing_behind(host: Host) -> None:
    """Directories and processes of a case end with it."""
    machine = host.machine()
    pids = [machine.spawn().pid, machine.spawn().fork().pid]
    directory = machine.directory
    machine.close()
    assert not os.path.exists(directory)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
