"""What a reviewer sees: filters, samples, disagreement, blindness, agreement, replaced texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.verdicts import append_decision, read_decisions
from orchestrator.errors import UserError
from orchestrator.review import review_view as view
from orchestrator.review.review_queue import Filters, Queue
from tests import builders
from tests.review.serving import decides, nth, queue, says, trials


def names(of: Queue, **filters: object) -> list[int]:
    """Places of what a filter shows."""
    places = list(of.items)
    return [
        places.index(item.execution) for item in of.selected(Filters.model_validate(filters)).items
    ]


def test_machine_use_case_model(tmp_path: Path) -> None:
    of = queue(tmp_path, ["a", "b", "c", "d"])
    says(of, tmp_path, [True, False, None, False])
    assert names(of) == [0, 1, 2, 3]
    assert names(of, machine="usable") == [0]
    assert names(of, machine="unusable") == [1, 3]
    assert names(of, machine="none") == [2]
    assert names(of, use_case="danceCoreography") == [0, 1]
    assert names(of, use_case="danceCoreography", machine="unusable") == [1]
    assert names(of, model="smollm2") == [0, 1, 2, 3]
    assert names(of, model="another") == []


@given(sample=st.integers(1, 40), seed=st.integers(0, 9))
def test_a_sample_is_stable(
    sample: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    of = queue(tmp_path_factory.mktemp("data"), map(str, range(30)))
    sampled = names(of, sample=sample, seed=seed)
    assert sampled == names(of, sample=sample, seed=seed)
    assert len(sampled) == min(sample, 30)
    assert set(names(of, sample=max(sample - 1, 1), seed=seed)) <= set(
        sampled
    )  # a larger one holds the smaller one


def test_another_seed_draws_others_and_deciding_draws_none(tmp_path: Path) -> None:
    of = queue(tmp_path, map(str, range(30)))
    sampled = names(of, sample=10)
    assert sampled != names(of, sample=10, seed=1)
    of.decide(nth(of, sampled[0]), "keep", "")
    of.refresh()
    assert names(of, sample=10) == sampled
    assert names(of, sample=10, decided="undecided") == sampled[1:]
    selection = of.selected(Filters(sample=10, decided="undecided"))
    assert (selection.total, selection.done) == (10, 1)


def test_disagreement_is_blind(tmp_path: Path) -> None:
    of = queue(tmp_path, ["a", "b", "c", "d"])
    says(of, tmp_path, [True, True, True, True])
    decides(of, tmp_path, "bob", 0, "discard")  # against the machine
    decides(of, tmp_path, "bob", 1, "discard")
    decides(of, tmp_path, "cy", 1, "keep")  # two persons differ
    decides(of, tmp_path, "bob", 2, "keep")
    assert names(of, decided="disagreement") == [1]
    of.decide(nth(of, 0), "discard", "")
    of.refresh()
    assert names(of, decided="disagreement") == [0, 1]
    of.decide(nth(of, 0), "undecided", "")
    of.refresh()
    assert names(of, decided="disagreement") == [1]


def test_others_are_hidden_until_decided_and_again_when_taken_back(tmp_path: Path) -> None:
    of = queue(tmp_path)
    item = nth(of, 0)
    decides(of, tmp_path, "bob", 0, "discard", note="secret")
    assert "bob" not in str([view.details(of, item), view.entry(of, item)])
    for word, hidden in (("keep", False), ("undecided", True), ("discard", False)):
        of.decide(item, word, "mine")  # type: ignore[arg-type]
        of.refresh()
        shown = view.details(of, item)
        theirs = {"reviewer": "bob", "decision": "discard", "reasons": (), "note": "secret"}
        assert shown["note"] == "mine"
        assert shown["others"] == (None if hidden else [theirs])


def test_two_reviewers_are_kept_apart(tmp_path: Path) -> None:
    ada, bob = queue(tmp_path), queue(tmp_path, reviewer="bob")
    ada.decide(nth(ada, 0), "keep", "")
    bob.decide(nth(bob, 0), "discard", "")
    for of in (ada, bob):
        of.refresh()
    assert (ada.my_word(nth(ada, 0)), bob.my_word(nth(bob, 0))) == ("keep", "discard")
    assert ada.selected(Filters()).done == 1
    assert (list(ada.decided.values()), list(bob.decided.values())) == (["keep"], ["discard"])


def test_words_on_another_text_count_for_nothing(tmp_path: Path) -> None:
    before = queue(tmp_path, ["one text"])
    says(before, tmp_path, [False])
    before.decide(nth(before, 0), "keep", "")
    after = queue(tmp_path, ["another text"])
    item = nth(after, 0)
    assert after.verdict(item) is after.mine(item) is None
    assert after.agreements() == []


def test_agreement(tmp_path: Path) -> None:
    of = queue(tmp_path, ["a", "b", "c", "d", "e"])
    says(of, tmp_path, [True, True, False, None, True])
    for place, word in enumerate(("keep", "discard", "discard", "keep")):
        decides(of, tmp_path, "ada", place, word)
    for place, word in enumerate(("keep", "discard", "keep")):
        decides(of, tmp_path, "bob", place, word)
    decides(of, tmp_path, "cy", 4, "undecided")
    found = {(row["reviewer"], row["other"]): row for row in view.agreements(of)}
    assert set(found) == {("ada", "bob"), ("ada", None), ("bob", None)}
    assert (found["ada", "bob"]["n"], found["ada", "bob"]["kappa"]) == (
        3,
        pytest.approx(0.4),
    )  # (2/3 - 4/9) / (1 - 4/9)
    assert found["ada", None]["n"] == 3
    assert found["bob", None]["kappa"] == pytest.approx(-0.5)  # (1/3 - 5/9) / (1 - 5/9)


def test_what_has_no_text_is_not_reviewed(tmp_path: Path) -> None:
    of = builders.spec()
    done = [builders.execution(1, of=of), builders.execution(2, of=of, **builders.FAILED)]
    measured = trials([])
    measured.add(builders.record(of, executions=done))
    assert len(Queue(DataSetPaths(tmp_path), measured, "ada").items) == 1


def test_decisions_that_cannot_be_read_are_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "reviews.jsonl").write_text('{"some": "thing"}\n')
    with pytest.raises(UserError, match=r"reviews.jsonl: can't be read \(.*line 1"):
        queue(tmp_path)


def test_verdicts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "verdicts.parquet").write_text("no parquet")
    of = queue(tmp_path)
    assert view.details(of, nth(of, 0))["no_verdict"].startswith("verdicts.parquet: ")


def test_another_programs_lines_are_followed(tmp_path: Path) -> None:
    ada, bob = queue(tmp_path), queue(tmp_path, reviewer="bob")
    bob.decide(nth(bob, 1), "keep", "")
    ada.decide(nth(ada, 1), "keep", "")
    ada.refresh()
    assert [decision.reviewer for decision in ada.others(nth(ada, 1)) or ()] == ["bob"]
    assert len(read_decisions(DataSetPaths(tmp_path))) == 2


def test_details_tell_what_ran(tmp_path: Path) -> None:
    of = builders.spec(configuration=builders.configuration(temperature=0.0))
    measured = trials([])
    done = builders.execution(1, of=of, seed=2**63 - 1, energy_basis=None, energy_per_token_j=None)
    measured.add(builders.record(of, executions=[done]))
    shown = view.details((made := Queue(DataSetPaths(tmp_path), measured, "ada")), nth(made, 0))
    configuration = {
        row["name"]: (row["requested"], row["effective"], row["dormant"])
        for row in shown["configuration"]
    }
    assert configuration["temperature"] == (0.0, None, False)
    assert configuration["top_p"] == (0.9, None, True)
    facts = {name: (value, unit) for name, value, unit in shown["facts"]}
    assert facts["gross energy"] == (None, "J")  # not measured is unknown, not 0
    assert facts["seed"] == (str(2**63 - 1), "")
    assert facts["sampling"] == ("greedy", "")
    assert "synthetic" in shown["no_verdict"]


def test_notes_survive_a_round_trip(tmp_path: Path) -> None:
    of = queue(tmp_path)
    for note in (*(text for text in builders.HOSTILE_TEXTS if len(text) < 10_000), '"}\n{"'):
        of.decide(nth(of, 0), "undecided", note)
        of.refresh()
        mine = of.mine(nth(of, 0))
        assert mine is not None
        assert mine.note == note
    append_decision(DataSetPaths(tmp_path), mine)
