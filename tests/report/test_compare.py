"""Two data sets: a known ratio is found again, and what was measured differently isn't compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import rebuild
from orchestrator.report.compare import (
    LEAST_POINTS,
    Change,
    Comparison,
    compare,
    comparison_sentences,
    comparison_warnings,
    names_of,
    ratio_table,
    setup_table,
)
from orchestrator.report.execution_frame import data_of
from orchestrator.report.page import comparison_page
from tests import builders
from tests.commandline import exit_code
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged

SEEDS = range(20)


def rows(seed: int, *, noise: int = 0, design: int = 0, **columns: object) -> pd.DataFrame:
    """The executions of a design, with noise of their own.

    The same `design` has the same configurations and prompts.
    """
    frame = executions(Truth(per_token={"temperature": 0.3}), design, points=12)
    rng = np.random.default_rng(1000 * seed + noise)
    of_point = rng.normal(0, 0.05, 12)[frame["config_index"]]
    frame["gpu_energy_counter_j"] *= np.exp(of_point + rng.normal(0, 0.1, len(frame)))
    return frame.assign(
        prompt_sha256=frame["prompt_number"].map(lambda number: f"{number:064x}"), **columns
    )


def both(a: pd.DataFrame, b: pd.DataFrame) -> Comparison:
    return compare(data_of(a), data_of(b))


def costlier(factor: float, seed: int) -> pd.DataFrame:
    frame = rows(seed, noise=1, quantization="none")
    frame["gpu_energy_counter_j"] *= factor
    return frame


def interval(change: Change) -> tuple[float, float]:
    assert change.lower is not None
    assert change.upper is not None
    return change.lower, change.upper


def test_a_known_ratio_lies_in_the_interval_about_as_often_as_it_says() -> None:
    held = clear = 0
    for seed in SEEDS:
        (match,) = both(rows(seed), costlier(1.3, seed)).matches
        lower, upper = interval(match.changes["energy_per_token_j"])
        held += lower <= 1.3 <= upper
        clear += lower > 1
        assert match.changes["n_new_tokens"] == Change(1.0, 1.0, 1.0)
    assert held >= 17, "of 20 at 95 %"
    assert clear == 20


def test_without_a_difference_few_are_found() -> None:
    comparisons = [both(rows(seed), costlier(1.0, seed)) for seed in SEEDS]
    assert (
        sum(
            "this difference can't be distinguished from chance" in comparison_sentences(one)[0]
            for one in comparisons
        )
        >= 17
    )


def test_a_data_set_against_itself() -> None:
    frame = judged(rows(0))
    (match,) = both(frame, frame).matches
    assert match.changes["energy_per_token_j"] == Change(1.0, 1.0, 1.0)
    assert match.changes["usable"] == Change(0.0, 0.0, 0.0)
    assert {row[3] for row in setup_table(both(frame, frame)).rows} == {""}


def test_more_repeats_of_one_side_are_one_pair() -> None:
    a = rows(0)
    (match,) = both(a, pd.concat([a, a.assign(repeat=2)], ignore_index=True)).matches
    assert len(match.pairs) == len(a)
    assert match.changes["energy_per_token_j"].value == pytest.approx(1)


def test_shares_of_usable_texts_differ_by_points() -> None:
    a, b = judged(rows(0), 0.5), judged(rows(0), 0.25)
    (match,) = both(a, b).matches
    assert match.changes["usable"].value == pytest.approx(0.25)
    assert ratio_table(both(a, b)).rows[0][-1].startswith("+25 (")


def test_other_designs_give_no_ratio_and_say_so() -> None:
    comparison = both(rows(0), rows(0, design=1))
    assert comparison.matches == ()
    assert any("nothing is compared" in line for line in comparison_warnings(comparison))
    assert (ratio_table(comparison).rows, comparison_sentences(comparison)) == ((), [])


def test_unequal_meters_give_no_ratio_of_energies() -> None:
    comparison = both(rows(0), rows(0, machine="pc", energy_basis="energy_j"))
    (match,) = comparison.matches
    assert match.changes.keys() == {"n_new_tokens", "tokens_per_s"}
    assert any("unequal meters" in line for line in comparison_warnings(comparison))
    assert ratio_table(comparison).rows[0][4:6] == ("n/a", "n/a")


def test_a_modelled_and_a_measured_cpu_are_unequal_meters() -> None:
    by = {
        method: rows(0, energy_basis="energy_j", cpu_method=method)
        for method in ("rapl", "constant")
    }
    assert [both(by["rapl"], by[method]).matches[0].same_meter for method in by] == [True, False]
    by_gpu = {method: rows(0, cpu_method=method) for method in by}
    assert both(by_gpu["rapl"], by_gpu["constant"]).matches[0].same_meter, (
        "a GPU's counter knows nothing of the CPU"
    )


def test_tokens_of_other_models_are_warned_of() -> None:
    def warned(model: str) -> bool:
        return any(
            "into tokens differently" in line
            for line in comparison_warnings(both(rows(0), rows(0, model=model)))
        )

    assert (warned("smollm2"), warned("mistral")) == (False, True)


def test_as_many_configurations_are_not_the_same_ones() -> None:
    table = {row[0]: row[1:] for row in setup_table(both(rows(0), rows(0, design=1))).rows}
    assert table["configurations"] == ("12, 0 of them in both", "12, 0 of them in both", "differs")
    assert table["prompts"] == ("5, 5 of them in both", "5, 5 of them in both", "")


def test_too_few_configurations_give_no_interval() -> None:
    few = rows(0)
    few = few[few["config_index"] < LEAST_POINTS - 1]
    comparison = both(few, few)
    assert comparison.matches[0].changes["energy_per_token_j"] == Change(1.0, None, None)
    assert ratio_table(comparison).rows[0][4] == "1"
    assert comparison_sentences(comparison) == []


def test_groups_of_one_name_are_compared_with_each_other_only() -> None:
    nf4, none = rows(0), rows(0, quantization="none")
    comparison = both(
        pd.concat([nf4, none], ignore_index=True),
        pd.concat([nf4, rows(0, machine="pc")], ignore_index=True),
    )
    assert [(match.a, match.b) for match in comparison.matches] == [
        ("gpu / smollm2 / nf4", "gpu / smollm2 / nf4"),
        ("gpu / smollm2 / none", "pc / smollm2 / nf4"),
    ]


def test_names_tell_folders_apart(tmp_path: Path) -> None:
    def names(a: str, b: str) -> tuple[str, str]:
        return names_of(DataSetPaths(tmp_path / a), DataSetPaths(tmp_path / b))

    assert names("pc", "colab") == ("pc", "colab")
    assert names("pc/measurements", "colab/measurements") == (
        "pc/measurements",
        "colab/measurements",
    )
    assert names("pc", "pc") == ("pc", "pc")


def test_hostile_names_are_text_in_the_page() -> None:
    evil = "<script>alert(1)</script>"
    comparison = both(rows(0, machine=evil), rows(0, machine=evil))
    assert "<script>alert" not in comparison_page(comparison, evil, evil)


def test_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        spec = builders.spec()
        paths = DataSetPaths(tmp_path / name)
        builders.seal_trial(
            paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts]
        )
        rebuild(paths)
    assert exit_code("report", "--compare", "a", "b", "--tables", "x.md") == 0
    assert "compare.html" in capsys.readouterr().out
    assert "How they were measured" in (tmp_path / "compare.html").read_text()
    assert "| machine | " in (tmp_path / "x.md").read_text()
    assert exit_code("report", "--compare", "a", "b", "--file", "a/executions.parquet") == 2
    assert "must end in .html" in capsys.readouterr().err
    assert (tmp_path / "a/executions.parquet").read_bytes().startswith(b"PAR1")
    assert exit_code("report", "--compare", "a", "c") == 2
    assert "--compare c: no such folder" in capsys.readouterr().err
