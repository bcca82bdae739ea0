"""Findings: no sentence says more than the data allow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest

from orchestrator.report.effects import AT_EQUAL_LENGTH, ENERGY, USABLE, Effect
from orchestrator.report.execution_frame import Data, data_of
from orchestrator.report.findings import Finding, effect_sentences, findings, findings_json
from orchestrator.report.page_content import warnings
from tests.report.synthetic import Truth, executions
from tools.coverage.worlds import Kind, world
from tools.coverage.worlds import executions as executions_of


def texts(data: Data, subject: str) -> list[str]:
    return [one.text for one in findings(data) if one.subject == subject]


def evaluated(frame: pd.DataFrame, share_usable: pd.Series) -> Data:
    """With verdicts: `share_usable` of each row's chance."""
    rng = np.random.default_rng(0)
    return data_of(frame.assign(usable=rng.random(len(frame)) < share_usable))


OF_20_PERCENT = 2 * math.log(1.2)
"""A direct effect over the whole range; that between the halves is half as large."""


@pytest.mark.parametrize("n_points", [15, 20, 40])
def test_a_direct_effect_of_20_percent_is_not_explained_by_length(n_points: int) -> None:
    said = sentences_on_temperature(OF_20_PERCENT, n_points, range(12))
    assert not any("explains this" in sentence for sentence in said)
    assert any("At equal length it is" in sentence for sentence in said) or n_points < 40


def test_without_a_direct_effect_few_claim_one_and_most_rule_it_out() -> None:
    said = sentences_on_temperature(0.0, 40, range(20))
    assert sum("At equal length it is" in sentence for sentence in said) <= 1
    assert sum("explains this" in sentence for sentence in said) > 10


@pytest.mark.slow
@pytest.mark.parametrize("n_points", [15, 20, 40])
def test_sentences_on_what_length_explains_hold_as_often_as_they_say(n_points: int) -> None:
    with_effect = sentences_on_temperature(OF_20_PERCENT, n_points, range(200))
    assert sum("explains this" in sentence for sentence in with_effect) == 0
    without = sentences_on_temperature(0.0, n_points, range(200))
    assert sum("At equal length it is" in sentence for sentence in without) <= 10
    if n_points == 40:
        assert sum("explains this" in sentence for sentence in without) > 100


def test_an_effect_that_is_not_clear_among_four_is_not_called_one() -> None:
    data = data_of(executions(Truth(), 0))
    doubtful = Effect("top_p", ENERGY, 1.2, 1.02, 1.4, p=0.03)
    unknown = Effect("top_p", AT_EQUAL_LENGTH, None, note="not known")
    data.__dict__["effects"] = {ENERGY: [doubtful], AT_EQUAL_LENGTH: [unknown]}
    (sentence,) = effect_sentences(data)
    assert sentence.startswith("top_p may matter: ")
    assert "by chance too often" in sentence


def sentences_on_temperature(direct: float, n_points: int, seeds: Iterable[int]) -> list[str]:
    """What is said of each data set's temperature."""
    return [sentence_on_temperature(direct, n_points, seed) for seed in seeds]


def sentence_on_temperature(direct: float, n_points: int, seed: int) -> str:
    """What is said where temperature makes texts longer and has a direct effect.

    `direct`: a logarithm over the whole range; the halves differ by half of it.
    """
    kind = Kind("", direct=lambda x: direct * x[:, 3], length=lambda x: 0.9 * x[:, 3])
    data = data_of(executions_of(world(kind, seed), seed, n_points))
    (sentence,) = (one for one in effect_sentences(data) if one.startswith("temperature"))
    return sentence


def test_cost_is_told_apart_by_what_was_measured() -> None:
    one = executions(Truth(), 1)
    other = executions(Truth(), 2, machine="pc", energy_basis="energy_j", gpu_energy_counter_j=None)
    cost = texts(data_of(pd.concat([one, other], ignore_index=True)), "cost")
    assert [sentence.count("medians of 600 answers") for sentence in cost] == [1, 1]
    assert "CodeCarbon's model" in cost[0] + cost[1]


def test_the_largest_clear_effect_comes_first() -> None:
    data = data_of(executions(Truth(per_token={"top_k": 0.8, "temperature": -0.3}), 1))
    said = effect_sentences(data)
    assert said[0].startswith("top_k matters: answers at")
    assert "took more energy" in said[0]
    assert said[1].startswith("temperature matters")
    assert "took less energy" in said[1]


def test_advice_saves_energy_only_where_a_loss_of_quality_is_ruled_out() -> None:
    frame = executions(Truth(per_token={"temperature": 0.8}), 1)
    safe = texts(evaluated(frame, pd.Series(0.9, frame.index)), "advice")
    assert len(safe) == 1
    assert safe[0].startswith("Set temperature to 0.0")
    assert " % less energy an answer" in safe[0]
    risky = texts(evaluated(frame, 0.2 + 0.4 * frame["temperature"]), "advice")
    assert len(risky) == 1
    assert risky[0].startswith("Can't be told: no hyperparameter")


def test_advice_on_quality_at_the_same_energy() -> None:
    frame = executions(Truth(), 1)
    (advice,) = texts(evaluated(frame, 1 - 0.4 * frame["temperature"]), "advice")
    assert advice.startswith("Set temperature to 0.")
    assert "usable answers change by +" in advice
    assert "at the same energy" in advice


def test_texts_that_were_not_evaluated_give_no_advice() -> None:
    data = data_of(executions(Truth(), 1))
    assert USABLE not in data.effects
    assert "orchestrator evaluate" in texts(data, "advice")[0]
    assert texts(data, "quality") == texts(data, "waste") == []


def test_quality_and_waste_are_counted() -> None:
    frame = executions(Truth(), 1)
    usable = frame["prompt_number"] > 1
    data = data_of(frame.assign(usable=usable))
    assert texts(data, "quality")[0] == "480 of 600 answers are usable (80 %)."
    answers = data.answers
    wasted = answers.loc[answers["discarded"], "counted_energy_j"].sum()
    share = wasted / answers["counted_energy_j"].sum()
    assert texts(data, "waste")[0].startswith(f"{100 * share:.0f} % of the energy")


def test_nothing_measured_says_nothing() -> None:
    assert findings(data_of(executions(Truth(), 0, status="failed"))) == []


def test_few_configurations_say_what_to_run_instead_of_effects() -> None:
    data = data_of(executions(Truth(), 0, points=4))
    assert texts(data, "driver") == [
        "What each hyperparameter does is not known: 4 configurations are too few: 12 are needed."
    ]
    assert any("--samples 20" in line for line in warnings(data))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"session_id": "s1"}, "--repeats 2"),
        ({"warning_flags": "session_drift"}, "(--out)"),
        ({"warning_flags": "window_mismatch"}, "--with-left-out"),
        ({"status": "failed"}, "--rerun failed"),
    ],
)
def test_what_can_not_be_known_is_said_with_what_to_run(columns: dict[str, str], told: str) -> None:
    assert any(told in line for line in warnings(data_of(executions(Truth(), 0, **columns))))


def test_left_out_executions_are_answers_on_request_only() -> None:
    frame = executions(Truth(), 0)
    frame.loc[frame["prompt_number"] == 1, "warning_flags"] = "drift;window_mismatch"
    assert len(data_of(frame).answers) == 480
    assert len(data_of(frame, with_left_out=True).answers) == 600


def test_programs_get_the_same_as_readers() -> None:
    data = data_of(executions(Truth(per_token={"top_k": 0.8}), 1))
    read = json.loads(findings_json(data))
    assert [Finding(**one) for one in read["findings"]] == findings(data)
    (of_top_k,) = (
        one
        for one in read["effects"]
        if (one["parameter"], one["outcome"]) == ("top_k", ENERGY.name)
    )
    assert of_top_k["lower"] < of_top_k["value"] < of_top_k["upper"]


def test_an_unknown_effect_is_null_with_its_reason() -> None:
    read = json.loads(findings_json(data_of(executions(Truth(), 0, top_k=50))))
    notes = {one["note"] for one in read["effects"] if one["parameter"] == "top_k"}
    assert notes == {"it has one value only"}
    assert Effect("top_k", ENERGY, None).known is None
