"""Ratios to the floor, and what counts as the same work."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from orchestrator.bench.catalogue import LETTERS, ways_of
from orchestrator.bench.comparison import Spread, as_json, differences, figures, ratios, spread
from tests.bench.fakes import answers, run, work

A, B, C, OURS, COMPILED = ways_of(LETTERS, ("transformers", "compiled"))


def test_a_run_is_split_into_windows_and_the_rest() -> None:
    one = run(given=answers(window_s=2.0), wall_s=11.0)
    assert (one.generate_s, one.overhead_s_per_trial) == (8.0, 1.5)
    assert (one.to_first_window_s, one.after_first_window_s) == (3.0, 8.0)
    assert (one.n_new_tokens, one.tokens_per_s) == (40, 5.0)


def test_a_spread_is_median_least_and_most() -> None:
    assert spread([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)
    assert spread([1.0, None]) is None, "a part of the rounds would pass for all of them"
    assert spread([]) is None


def test_ratios_are_taken_within_a_round() -> None:
    # the host was twice as slow in the second round, which is no way's doing
    runs = {A: [run(1, wall_s=20.0), run(2, wall_s=60.0)], B: [run(1), run(2, wall_s=20.0)]}
    assert ratios(runs, A)["wall_s"] == Spread(2.5, 2.0, 3.0)
    assert ratios(runs, B)["wall_s"] == Spread(1.0, 1.0, 1.0)


def test_without_the_floor_or_a_meter_a_ratio_is_unknown() -> None:
    assert ratios({A: [run()]}, A)["wall_s"] is None
    assert ratios({A: [run(energy_j=3.0)], B: [run()]}, A)["energy_j"] is None
    assert figures([run()])["energy_j"] is None


def test_equal_answers_are_the_same_work() -> None:
    runs = {way: [run(1), run(2)] for way in (A, B, C, OURS)}
    assert differences(runs, work()) == []


@pytest.mark.parametrize("way", [A, C, OURS], ids=lambda way: way.letter)
def test_another_text_is_told(way: Any) -> None:
    runs = {B: [run()], way: [run(1), run(2, answers(text="other"))]}
    assert differences(runs, work()) == [
        (
            f"{way.name}, round 2: 1 of 4 answers (the first: second, prompt 2) are not of the "
            "text of bare warm loop, round 1"
        )
    ]


def test_an_engine_that_draws_its_own_way_must_give_as_many_tokens_and_no_more() -> None:
    other = run(given=answers(text="other"))
    assert differences({B: [run()], COMPILED: [other]}, work()) == []
    longer = run(given=answers(text="other", n_new_tokens=11))
    assert differences({B: [run()], COMPILED: [longer]}, work()) == [
        (
            "tune, compiled, round 1: 1 of 4 answers (the first: second, prompt 2) are not of the "
            "length of bare warm loop, round 1"
        )
    ]


def test_a_missing_or_doubled_answer_is_told() -> None:
    some = run(given=answers()[:3])
    doubled = run(given=(*answers(), answers()[0]))
    assert differences({B: [some], C: [doubled]}, work()) == [
        "bare warm loop, round 1: 3 answers, not the 4 asked for",
        "plain Ray Tune, round 1: 5 answers, not the 4 asked for",
    ]


def test_json_has_every_round_and_no_text() -> None:
    runs = {B: [run()], OURS: [run(protocol_s=2.0)]}
    content = json.loads(json.dumps(as_json(runs, work(), [])))
    assert content["same_work"]
    assert (content["trials"], content["generations"]) == (2, 4)
    floor, ours = content["ways"]
    assert (floor["engine"], ours["engine"]) == (None, "transformers")
    assert floor["rounds"][0].keys() == {
        field.name for field in dataclasses.fields(run()) if field.name != "answers"
    }
    assert floor["rounds"][0]["energy_j"] is None
    assert floor["rounds"][0]["energy_unknown_because"].startswith("no GPU")
    assert ours["figures"]["protocol_s"]["median"] == 2.0
    assert ours["ratios"]["wall_s"] == {"median": 1.0, "least": 1.0, "most": 1.0}
