"""The end of a sweep: texts judged, the report written, its sentences told; or why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.cli.live import Live
from orchestrator.cli.run_findings import MOST_TRIALS, tell_findings, tells_findings
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.verdicts import read_verdicts
from orchestrator.sweep.prepare import Prepared
from tests import builders
from tests.commandline import Outcome
from tests.evaluate.texts import ENGLISH, LOOP, PROMPT

N = 16
"""Configurations: enough for each effect."""


@pytest.fixture
def sweep(paths: DataSetPaths) -> DataSetPaths:
    """A finished sweep of a real model: 2 J a token, so that max_length alone matters."""
    for index in range(N):
        spread = [(index * step) % N / N for step in (1, 3, 5, 7)]
        configuration = builders.configuration(
            max_length=100 + int(100 * spread[0]),
            top_p=0.1 + 0.8 * spread[1],
            top_k=2 + int(90 * spread[2]),
            temperature=0.1 + 1.8 * spread[3],
        )
        spec = builders.spec(
            config_index=index, configuration=configuration, prompts=builders.prompts([PROMPT])
        )
        tokens = configuration.max_length - 40
        item = builders.measured(
            1,
            of=spec,
            n_new_tokens=tokens,
            energy_j=2.0 * tokens,
            energy_kwh=2.0 * tokens / 3.6e6,
            output_text=LOOP if index % 4 == 0 else ENGLISH,
        )
        builders.seal_trial(paths, spec, [item], builders.origin(spec, synthetic=False))
    return paths


def told(paths: DataSetPaths, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that the end of a sweep prints."""
    tell_findings(Live([]), paths)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_the_sentences_are_those_of_the_report(
    sweep: DataSetPaths, call: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    *sentences, last = told(sweep, capsys)
    assert any(line.startswith("What drives it: max_length matters: ") for line in sentences)
    assert "How usable it is: 12 of 16 answers are usable (75 %)." in sentences
    assert last.startswith("Report, with charts and ")
    assert f": {sweep.report} (open in a browser)" in last
    said = json.loads(call("report", "--out", str(sweep.root), "--json").out)["findings"]
    assert [line.partition(": ")[2] for line in sentences] == [one["text"] for one in said]
    page = sweep.report.read_text(encoding="utf-8")
    assert all(f"<dd>{one['text']}".split("'")[0] in page for one in said)


def test_verdicts_by_other_rules_stay(
    sweep: DataSetPaths,
    call: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    rules = tmp_path / "mine.yaml"
    rules.write_text("version: 7\nlimits:\n  n_words: {at_least: 1, good: 2}\n")
    call("evaluate", "--out", str(sweep.root), "--rules", str(rules))
    before = read_verdicts(sweep)
    first, *sentences, _ = told(sweep, capsys)
    assert first.startswith("Texts are not judged here, since verdicts.parquet holds verdicts by")
    assert "How usable it is: 16 of 16 answers are usable (100 %)." in sentences
    assert dict(read_verdicts(sweep)) == dict(before)


def test_what_can_not_be_read_is_a_line_and_no_error(
    sweep: DataSetPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.verdicts.write_text("no table")
    (line,) = told(sweep, capsys)
    assert line.startswith(f"No report: {sweep.verdicts}: can't be read.")
    assert not sweep.report.exists()


def prepared(n_trials: int, **resolved: Any) -> Prepared:
    """A sweep of a data set of so many trials."""
    return cast(
        "Prepared", SimpleNamespace(trials=range(n_trials), resolved=SimpleNamespace(**resolved))
    )


@pytest.mark.parametrize(
    ("n_trials", "needs_weights", "wanted", "expected"),
    [
        (MOST_TRIALS, True, None, True),
        (MOST_TRIALS + 1, True, None, False),
        (MOST_TRIALS + 1, True, True, True),
        (1, False, None, False),
        (1, False, True, True),
        (1, True, False, False),
    ],
)
def test_when_a_sweep_ends_with_them(
    n_trials: int, needs_weights: bool, wanted: bool | None, expected: bool
) -> None:
    of = prepared(n_trials, needs_weights=needs_weights)
    assert tells_findings(of, wanted=wanted) is expected
