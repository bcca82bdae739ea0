"""Packed records and verdicts: exact, small, and made only when they are asked for."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.packed import PackedRecords, PickedRecords
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.verdicts import Verdict, Verdicts
from orchestrator.evaluate.rules import read_rules
from orchestrator.evaluate.verdict import Text, verdict_on
from tests import builders
from tests.evaluate.texts import ENGLISH, PROMPT


def packed(*records: TrialRecord) -> PackedRecords:
    held = PackedRecords()
    for record in records:
        held.append(record)
    return held


@given(records=st.lists(builders.records(), min_size=1, max_size=4))
def test_records_come_back_exactly(records: list[TrialRecord]) -> None:
    held = packed(*records)
    assert list(held) == records
    assert [held[i] for i in range(len(held))] == records
    assert list(held[1:]) == records[1:]


def test_what_is_done_to_a_record_stays_outside() -> None:
    held = packed(builders.record())
    held[0].executions.clear()
    assert held[0] == builders.record()
    held.replace(0, builders.record(attempt=2))
    assert held[0].columns.attempt == 2


def test_picked_records_are_those_in_their_order() -> None:
    held = packed(*(builders.record(order_index=index) for index in range(5)))
    picked = PickedRecords(held, [3, 1])
    assert [record.columns.order_index for record in picked] == [3, 1]
    assert [record.columns.order_index for record in picked[1:]] == [1]
    with pytest.raises(IndexError):
        picked[2]


def one_prompt_trial(index: int) -> TrialRecord:
    spec = builders.spec(
        config_index=index,
        order_index=index,
        configuration=builders.configuration(top_p=0.1 + index / 1000),
    )
    text = f"{ENGLISH} {index}"
    executions = [builders.execution(1, of=spec, output_text=text, energy_j=10.0 + index / 7)]
    return builders.record(spec, executions=executions)


def test_a_trial_more_takes_little_memory() -> None:
    """As objects it takes more than 10 kB; most of what is left is its text."""
    records = [one_prompt_trial(index) for index in range(200)]
    n_bytes = [len(one) for one in packed(*records)._packed[1:]]
    assert max(n_bytes) < 1_000
    assert sum(n_bytes[-50:]) < 1.2 * sum(n_bytes[:50]), "the thousandth as little as the first"
    assert len(pickle.dumps(records[1])) > 3_000


def verdict(name: str) -> Verdict:
    return verdict_on(Text(name, "fantasyWorld", PROMPT, f"{ENGLISH} {name}"), read_rules())


def test_verdicts_are_a_mapping_that_is_packed() -> None:
    both = [verdict("a#1"), verdict("a#2")]
    verdicts = Verdicts(both)
    assert verdicts == {"a#1": both[0], "a#2": both[1]}
    assert "a#1" in verdicts
    assert verdicts.pop("a#1") == both[0]
    assert list(verdicts) == ["a#2"]
    assert verdicts.get("a#1") is None
    verdicts.clear()
    assert len(verdicts) == 0
    assert max(len(one) for one in Verdicts(both)._packed.values()) < 700
