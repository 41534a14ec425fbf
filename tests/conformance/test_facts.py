"""Facts, cases and the document belong together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from afunix.conformance.case import load
from afunix.conformance.document import markdown
from afunix.conformance.facts import FACTS, SECTIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "linux-behaviour.md"


def test_every_fact_has_a_case() -> None:
    shown = {fact for definition in load() for fact in definition.facts}
    assert [fact for fact in FACTS if fact not in shown] == []


def test_every_case_names_facts_that_exist() -> None:
    wrong = {d.name: d.facts for d in load() if not d.facts or any(fact not in FACTS for fact in d.facts)}
    assert wrong == {}


def test_every_case_has_a_name_of_its_own_and_a_sentence() -> None:
    names = [definition.name for definition in load()]
    assert sorted(set(names)) == sorted(names)
    assert [definition.name for definition in load() if not definition.text] == []


@pytest.mark.parametrize("fact", FACTS.values(), ids=list(FACTS))
def test_facts_are_sentences_with_a_source(fact: object) -> None:
    from afunix.conformance.facts import Fact

    assert isinstance(fact, Fact)
    section, _, number = fact.id.partition("-")
    assert section in SECTIONS
    assert re.fullmatch(r"\d+[a-z]?", number)
    assert fact.text.endswith(".")
    assert re.fullmatch(r"\w+", fact.source)


def test_the_document_is_up_to_date() -> None:
    """If not: python -m afunix.conformance --document > docs/linux-behaviour.md."""
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(load())


SHIPPED_ELSEWHERE = {
    "gvisor_connect_to_a_full_listener_did_not_wait",
    "gvisor_cycles_leaked",
    "gvisor_datagrams_to_the_dead_were_a_broken_pipe",
    "gvisor_passpidfd_did_nothing",
    "kevlar_peercred_showed_the_client_itself",
    "kevlar_abstract_names_lost_their_nul",
    "kevlar_writev_was_not_atomic",
    "kevlar_buffers_were_too_small",
    "kevlar_descriptors_were_opened_again_by_path",
    "asterinas_inodes_had_mode_0600",
    "asterinas_connect_wanted_read_permission",
}
"""Faults that other implementations shipped."""


def test_every_fault_that_others_shipped_has_a_case_of_its_name() -> None:
    names = {definition.name.partition("[")[0] for definition in load()}
    assert {f"regressions.{fault}" for fault in SHIPPED_ELSEWHERE} <= names


def test_there_are_enough_cases() -> None:
    assert len(load()) >= 400
