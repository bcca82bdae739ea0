"""`evaluate` on a data set: what is judged, judged again or left out, and the tables after it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset import tables
from orchestrator.dataset.gross_energy import BasisEnergy
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trial_files import read_trial
from orchestrator.dataset.verdicts import (
    Decision,
    append_decision,
    now,
    read_verdicts,
    write_verdicts,
)
from orchestrator.evaluate import embedding, evaluation
from orchestrator.evaluate.evaluation import evaluate
from orchestrator.evaluate.rules import Rules, read_rules
from orchestrator.nouns import text_sha256
from tests import builders
from tests.commandline import exit_code
from tests.evaluate.texts import ENGLISH, LOOP, PROMPT

RULES = read_rules()


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    """A good text, a loop, and a failure; of a real model."""
    paths = DataSetPaths(tmp_path)
    seal(paths, 0, [ENGLISH, LOOP, None])
    return paths


def seal(paths: DataSetPaths, index: int, texts: list[str | None], **columns: Any) -> None:
    spec = builders.spec(
        config_index=index, prompts=builders.prompts([f"{PROMPT} ({i})" for i in range(len(texts))])
    )
    items = [
        builders.measured(
            i, of=spec, **({"output_text": text} if text is not None else builders.FAILED)
        )
        for i, text in enumerate(texts, 1)
    ]
    builders.seal_trial(
        paths, spec, items, builders.origin(spec, **({"synthetic": False} | columns))
    )


def usable(paths: DataSetPaths) -> list[bool | None]:
    return list(read_parquet(paths.executions).column("usable").to_pylist())


def quiet(_line: str) -> None:
    pass


def test_texts_are_judged_and_the_tables_follow(paths: DataSetPaths) -> None:
    counts = evaluate(paths.root, RULES, say=quiet)
    assert (counts.judged, counts.known, counts.failed) == (2, 0, 1)
    assert (counts.kept, counts.discarded) == (1, 1)
    assert counts.reasons == {"repetition": 1, "off_topic": 1}
    assert counts.wasted_energy_j == 20.0
    assert counts.wasted_energy.of_basis == (BasisEnergy("energy_j", 20.0, None, 1),)
    assert usable(paths) == [True, False, None]
    (summary,) = read_parquet(paths.summary).to_pylist()
    assert (summary["n_usable"], summary["wasted_energy_j"], summary["energy_per_usable_j"]) == (
        1,
        20.0,
        40.0,
    )


def test_a_second_run_judges_only_what_is_new(paths: DataSetPaths) -> None:
    evaluate(paths.root, RULES, say=quiet)
    before = read_verdicts(paths)
    seal(paths, 1, [ENGLISH + "And so it went on."])
    counts = evaluate(paths.root, RULES, say=quiet)
    assert (counts.judged, counts.known) == (1, 2)
    assert before.items() <= read_verdicts(paths).items()


def test_each_trial_is_read_once(paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    seal(paths, 1, [ENGLISH])
    read = []

    def counted(folder: Path, root: Path) -> TrialRecord:
        read.append(folder)
        return read_trial(folder, root)

    monkeypatch.setattr(tables, "read_trial", counted)
    evaluate(paths.root, RULES, say=quiet)
    assert sorted(read) == paths.sealed_trials()


def test_other_rules_judge_everything_anew(paths: DataSetPaths) -> None:
    evaluate(paths.root, RULES, say=quiet)
    counts = evaluate(
        paths.root, Rules.model_validate(RULES.model_dump() | {"version": 2}), say=quiet
    )
    assert (counts.judged, counts.known) == (2, 0)
    assert {verdict.rules[:2] for verdict in read_verdicts(paths).values()} == {"2:"}


def test_texts_that_mean_nothing_are_left_out(tmp_path: Path) -> None:
    paths = DataSetPaths(tmp_path)
    seal(paths, 0, [ENGLISH], synthetic=True)
    counts = evaluate(tmp_path, RULES, say=quiet)
    assert (counts.judged, counts.synthetic) == (0, 1)
    assert usable(paths) == [None]


def test_verdicts_on_trials_that_are_gone_go_too(paths: DataSetPaths) -> None:
    evaluate(paths.root, RULES, say=quiet)
    (kept, *_) = read_verdicts(paths).values()
    write_verdicts(paths, [kept, kept.model_copy(update={"execution": "pc/m/s/u/gone#1"})])
    evaluate(paths.root, RULES, say=quiet)
    assert "pc/m/s/u/gone#1" not in read_verdicts(paths)


def test_a_persons_word_stands_above(paths: DataSetPaths) -> None:
    evaluate(paths.root, RULES, say=quiet)
    name = next(name for name, verdict in read_verdicts(paths).items() if not verdict.usable)
    said = Decision(
        execution=name, text_sha256=text_sha256(LOOP), reviewer="ada", decision="keep", at=now()
    )
    append_decision(paths, said)
    counts = evaluate(paths.root, RULES, say=quiet)
    assert (counts.judged, counts.kept, counts.discarded, counts.overruled) == (0, 2, 0, 1)
    assert usable(paths) == [True, True, None]


class Near:
    """An embedding model that finds every pair as near."""

    name = "near@1"

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity

    def similarities(self, pairs: list[tuple[str, str]]) -> list[float]:
        return [self.similarity for _ in pairs]


def test_an_embedding_model_adds_its_signal_and_a_plain_run_keeps_it(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "load", lambda _name: Near(0.1))
    assert evaluate(paths.root, RULES, embedding="near", say=quiet).reasons["off_topic"] == 2
    plain = evaluate(paths.root, RULES, say=quiet)
    assert (plain.judged, plain.notes) == (0, ()), "what a model said is not thrown away"
    seal(paths, 1, [ENGLISH + "And so it went on."])
    (note,) = evaluate(paths.root, RULES, say=quiet).notes
    assert "not judged alike: 2 with near@1, 1 with the rules alone" in note


def test_many_texts_are_shared_out_with_the_same_result(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(paths.root, RULES, say=quiet)
    alone = read_verdicts(paths)
    paths.verdicts.unlink()
    chunks: list[int] = []

    def spread(function: Any, items: list[Any], _chunk: int) -> Iterator[list[Any]]:
        for item in items:
            chunks.append(1)
            yield function([item])

    monkeypatch.setattr(evaluation, "WORTH_PROCESSES", 2)
    evaluate(paths.root, RULES, spread=spread, say=quiet)
    assert chunks == [1, 1]
    assert read_verdicts(paths) == alone


# --- the verb -------------------------------------------------------------------------------------


def test_the_verb_says_what_it_found(
    paths: DataSetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("evaluate", "--out", str(paths.root)) == 0
    said = capsys.readouterr().out
    assert "2 texts judged, 0 already had a verdict: 1 usable, 1 discarded" in said
    assert "Reasons: repetition 1, off_topic 1" in said
    model = "CPU+RAM energy (CodeCarbon's model) 20 J ± unknown"
    assert f"Spent on discarded texts: {model}; gross" in said
    assert exit_code("evaluate", "--out", str(paths.root), "--json") == 0
    assert json.loads(capsys.readouterr().out)["known"] == 2


def test_the_rules_can_be_printed_edited_and_given(
    paths: DataSetPaths, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert exit_code("evaluate", "--out", str(paths.root), "--print-rules") == 0
    text = capsys.readouterr().out
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "\n".join(
            line
            for line in text.splitlines()
            if "# repetition" not in line and "# off_topic" not in line
        )
    )
    assert exit_code("evaluate", "--out", str(paths.root), "--rules", str(mine)) == 0
    assert "2 usable, 0 discarded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--judge", "http://localhost:1/v1"), "--judge and --judge-model: give both or neither"),
        (("--judge", "localhost", "--judge-model", "m"), "must begin with http"),
        (("--rules", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_user_errors(
    paths: DataSetPaths,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    assert exit_code("evaluate", "--out", str(paths.root), *arguments) == 2
    assert message in capsys.readouterr().err
