"""Verdicts and decisions: round trips, whose word counts, torn files, and the tables after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.check.folders import validate_folders
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import TableWriter, Trials, read_all, rebuild
from orchestrator.dataset.verdicts import (
    PERSONS_REASONS,
    REASONS,
    UNJUDGED,
    Decision,
    Judgements,
    Verdict,
    append_decision,
    judgement,
    read_decisions,
    read_verdicts,
    standing,
    write_verdicts,
)
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.nouns import text_sha256
from tests import builders


def verdict(execution: str = "pc/m/s/u/0#1", text: str = "text", **changes: Any) -> Verdict:
    values: dict[str, Any] = dict.fromkeys(Verdict.model_fields) | {
        "execution": execution,
        "text_sha256": text_sha256(text),
        "usable": True,
        "reasons": (),
        "quality": 0.8,
        "n_words": 30,
        "max_repeat_run": 1,
        "rules": "1:abc",
    }
    return Verdict.model_validate(values | changes)


def decision(word: str, reviewer: str = "ada", minute: int = 0, **changes: Any) -> Decision:
    values = {
        "execution": "pc/m/s/u/0#1",
        "text_sha256": text_sha256("text"),
        "reviewer": reviewer,
        "decision": word,
        "at": f"2026-01-02T03:{minute:02}:00.000000+00:00",
    }
    return Decision.model_validate(values | changes)


DISCARDED = verdict(usable=False, reasons=("repetition",), quality=0.1)

decisions = st.builds(
    decision,
    st.sampled_from(["keep", "discard", "undecided"]),
    st.sampled_from(["ada", "bob", "eve"]),
    st.integers(0, 59),
    note=builders.texts,
    reasons=st.lists(st.sampled_from(PERSONS_REASONS), unique=True).map(tuple),
)


def test_verdicts_come_back_as_they_were_written_in_order(tmp_path: Path) -> None:
    paths = DataSetPaths(tmp_path)
    assert read_verdicts(paths) == {}
    both = [
        verdict("b#2", similarity=0.5, language="it"),
        verdict("a#1", usable=False, reasons=REASONS[:2]),
    ]
    write_verdicts(paths, both)
    assert list(read_verdicts(paths).values()) == both[::-1]


@given(items=st.lists(decisions, max_size=6))
def test_decisions_come_back_as_they_were_written(
    items: list[Decision], tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = DataSetPaths(tmp_path_factory.mktemp("d"))
    for item in items:
        append_decision(paths, item)
    assert read_decisions(paths) == items


def test_a_torn_last_line_costs_nothing_but_itself(tmp_path: Path) -> None:
    paths = DataSetPaths(tmp_path)
    append_decision(paths, decision("keep"))
    whole = paths.reviews.read_bytes()
    paths.reviews.write_bytes(whole + whole[:20])
    assert read_decisions(paths) == [decision("keep")]
    append_decision(paths, decision("discard", "bob"))
    assert read_decisions(paths) == [decision("keep"), decision("discard", "bob")]


def test_a_line_that_is_no_decision_is_named(tmp_path: Path) -> None:
    paths = DataSetPaths(tmp_path)
    append_decision(paths, decision("keep"))
    with paths.reviews.open("a") as stream:
        stream.write('{"execution": 1}\n')
    with pytest.raises(
        ValueError, match=r"^reviews\.jsonl: line 2 is no decision of a reviewer \(execution: "
    ):
        read_decisions(paths)


def test_a_reviewers_latest_word_stands_and_can_be_taken_back() -> None:
    one = [
        decision("keep", minute=1),
        decision("discard", minute=2),
        decision("keep", "bob", 1),
        decision("undecided", "bob", 2),
    ]
    assert standing(one) == {"pc/m/s/u/0#1": {"ada": one[1]}}
    assert standing(reversed(one)) == standing(one), "the times decide, not the order in the file"


@pytest.mark.parametrize(
    ("machine", "words", "usable", "by"),
    [
        (None, [], None, None),
        (DISCARDED, [], False, "rules"),
        (DISCARDED, ["keep"], True, "review"),
        (verdict(), ["discard"], False, "review"),
        (None, ["discard"], False, "review"),
        (DISCARDED, ["keep", "discard"], False, "rules"),
        (None, ["keep", "discard"], None, None),
        (DISCARDED, ["keep", "keep", "discard"], True, "review"),
    ],
)
def test_persons_overrule_the_machine(
    machine: Verdict | None, words: list[str], usable: bool | None, by: str | None
) -> None:
    judged = judgement(machine, [decision(word, str(i)) for i, word in enumerate(words)])
    assert (judged.usable, judged.decided_by) == (usable, by)
    assert judged.quality == (machine.quality if machine else None)
    assert (judged.reasons is None) == (usable is None)
    assert usable is None or bool(judged.reasons) == (not usable)


def test_persons_reasons_come_before_the_machine_s() -> None:
    def reasons(machine: Verdict | None, *given: tuple[str, ...]) -> tuple[str, ...] | None:
        words = [decision("discard", str(i), reasons=one) for i, one in enumerate(given)]
        return judgement(machine, words).reasons

    assert reasons(DISCARDED, ("off_topic",), (), ("empty", "off_topic")) == ("empty", "off_topic")
    assert reasons(DISCARDED, ()) == ("repetition",)
    assert reasons(verdict(), ()) == ("review",)
    kept = [
        decision("keep"),
        decision("keep", "bob"),
        decision("discard", "eve", reasons=("empty",)),
    ]
    assert judgement(DISCARDED, kept).reasons == ()


@pytest.mark.parametrize("reason", ["judge", "boring", ""])
def test_reasons_are_those_that_the_rules_know(reason: str) -> None:
    with pytest.raises(ValidationError):
        decision("discard", reasons=(reason,))


def test_words_on_another_text_do_not_count() -> None:
    judgements = Judgements({DISCARDED.execution: DISCARDED}, [decision("keep")])
    assert judgements.of(DISCARDED.execution, "text").decided_by == "review"
    assert judgements.of(DISCARDED.execution, "another text") == UNJUDGED
    assert judgements.of(DISCARDED.execution, None) == UNJUDGED
    assert judgements.of("another#1", "text") == UNJUDGED


def judged_trial(root: Path) -> tuple[DataSetPaths, TrialRecord]:
    """Three prompts of 20 J and 10 tokens each.

    The second one's text is not usable, the third is not evaluated.
    """
    paths = DataSetPaths(root)
    spec = builders.spec()
    record = builders.seal_trial(
        paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts]
    )
    ids = [execution_id("pc", spec, number) for number in (1, 2)]
    write_verdicts(
        paths,
        [
            verdict(ids[0], "Text of prompt 1.", quality=0.9),
            verdict(ids[1], "Text of prompt 2.", usable=False, reasons=("gibberish",), quality=0.1),
        ],
    )
    return paths, record


def test_discarded_executions_stay_and_the_summary_leaves_them_out(tmp_path: Path) -> None:
    paths, _ = judged_trial(tmp_path)
    rebuild(paths)
    rows = read_parquet(paths.executions).to_pylist()
    assert [(row["usable"], row["reasons"], row["decided_by"]) for row in rows] == [
        (True, "none", "rules"),
        (False, "gibberish", "rules"),
        (None, None, None),
    ]
    assert all(
        (tmp_path / row["execution"].partition("#")[0] / "trial.json").exists() for row in rows
    )
    (summary,) = read_parquet(paths.summary).to_pylist()
    told = {
        name: summary[name]
        for name in (
            "n_ok",
            "n_usable",
            "n_discarded",
            "n_new_tokens",
            "energy_j",
            "energy_per_token_j",
        )
    }
    assert told == {
        "n_ok": 3,
        "n_usable": 1,
        "n_discarded": 1,
        "n_new_tokens": 20,
        "energy_j": 40.0,
        "energy_per_token_j": 2.0,
    }
    assert (summary["wasted_energy_j"], summary["energy_per_usable_j"], summary["quality"]) == (
        20.0,
        60.0,
        pytest.approx(0.5),
    )


def test_without_verdicts_nothing_is_said_of_usability(tmp_path: Path) -> None:
    paths, _ = judged_trial(tmp_path)
    paths.verdicts.unlink()
    rebuild(paths)
    (summary,) = read_parquet(paths.summary).to_pylist()
    told = [
        summary[name] for name in ("n_usable", "wasted_energy_j", "energy_per_usable_j", "quality")
    ]
    assert told == [None] * 4
    assert (summary["n_discarded"], summary["energy_j"]) == (0, 60.0)


def test_a_sweep_that_runs_takes_in_what_is_judged_meanwhile(tmp_path: Path) -> None:
    paths, record = judged_trial(tmp_path)
    verdicts = read_verdicts(paths)
    paths.verdicts.unlink()
    writer = TableWriter(paths, Trials())
    writer.add(record)
    writer.flush()
    write_verdicts(paths, verdicts.values())
    writer.flush()
    by_hand = read_parquet(paths.executions)
    rebuild(paths)
    assert by_hand.equals(read_parquet(paths.executions))
    assert by_hand.column("usable").to_pylist() == [True, False, None]


def test_what_a_learning_sampler_is_told_does_not_hang_on_verdicts(tmp_path: Path) -> None:
    paths, record = judged_trial(tmp_path)
    trials = TableWriter(paths, read_all(paths)[0]).trials
    figures = learned_figures(trials, trials.key(record), ["energy_j"])
    assert (figures["energy_j"], figures["quality"]) == (60.0, None)
    rated = learned_figures(trials, trials.key(record), ["energy_j", "quality"])
    assert 0 <= rated["quality"] <= 1


def test_unreadable_judgements_are_a_fault_that_costs_only_themselves(tmp_path: Path) -> None:
    paths, _ = judged_trial(tmp_path)
    paths.verdicts.write_bytes(b"nothing")
    paths.reviews.write_text("nothing\n")
    executions, _, faults = rebuild(paths)
    assert executions == 3
    assert [fault.partition(":")[0] for fault in faults] == ["verdicts.parquet", "reviews.jsonl"]
    findings = validate_folders(paths, running=False)[1]
    assert [(f.severity, f.where) for f in findings] == [
        ("error", "verdicts.parquet"),
        ("error", "reviews.jsonl"),
    ]


@pytest.mark.parametrize("columns", [{"a": [1]}, {"execution": ["x"], "reasons": [5]}])
def test_another_table_under_the_name_of_the_verdicts(
    paths: DataSetPaths, columns: dict[str, list[object]]
) -> None:
    paths.root.mkdir()
    pq.write_table(pa.table(columns), paths.verdicts)
    with pytest.raises(ValueError, match="isn't a table of verdicts as this program writes it"):
        read_verdicts(paths)
