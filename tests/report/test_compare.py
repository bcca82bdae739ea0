"""Two data sets: a known ratio is found again, and what was measured differently isn't compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import rebuild
from orchestrator.report.compare import (
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
from orchestrator.report.pairs import LEAST_POINTS, Change
from tests import builders
from tests.commandline import exit_code
from tests.report.synthetic import Truth, executions
from tests.report.test_page import judged

SEEDS = range(20)
N_SESSIONS = 4


def rows(seed: int, *, noise: int = 0, design: int = 0, **columns: object) -> pd.DataFrame:
    """The executions of a design, with noise of their own.

    The same `design` has the same configurations and prompts.
    """
    frame = executions(Truth(per_token={"temperature": 0.3}), design, points=12)
    rng = np.random.default_rng(1000 * seed + noise)
    of_point = rng.normal(0, 0.05, 12)[frame["config_index"]]
    session = rng.permutation(np.arange(12) % N_SESSIONS)[frame["config_index"]]
    of_session = rng.normal(0, 0.05, N_SESSIONS)[session]
    of_all = of_point + of_session + rng.normal(0, 0.1, len(frame))
    frame["gpu_energy_counter_j"] *= np.exp(of_all)
    given = {
        "prompt_sha256": frame["prompt_number"].map(lambda number: f"{number:064x}"),
        "session_id": [f"{noise}-{number}" for number in session],
        "started_at": [f"2026-11-0{noise + 1}T00:00:{number:06d}" for number in range(len(frame))],
        "host": "h",
    }
    return frame.assign(**given | columns)


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
    assert clear >= 15


def test_gains_of_two_sensors_widen_the_interval() -> None:
    def width(gpu_uuid: str) -> float:
        (match,) = both(rows(0), costlier(1.0, 0).assign(gpu_uuid=gpu_uuid)).matches
        lower, upper = interval(match.changes["energy_per_token_j"])
        return float(np.log(upper / lower))

    assert width("GPU-1") > 0
    # two errors within 5 %, each as likely anywhere: 95 % of their sums are within 7.8 %
    assert width("GPU-2") > np.hypot(width("GPU-1") / 2, 2 * 0.078)


@pytest.mark.parametrize("sessions", [["1", "2"], [None]])
def test_few_sessions_or_unknown_ones_give_no_interval_of_energies(sessions: list[object]) -> None:
    b = costlier(1.3, 0)
    b["session_id"] = [sessions[index % len(sessions)] for index in b["config_index"]]
    comparison = both(rows(0), b)
    (match,) = comparison.matches
    for name in ("energy_per_token_j", "counted_energy_j", "tokens_per_s"):
        assert match.changes[name].interval is None
        assert match.changes[name].note == "fewer than 3 sessions on a side"
    assert match.changes["n_new_tokens"].interval == (1.0, 1.0)
    assert any("--repeats 3" in line for line in comparison_warnings(comparison))
    assert comparison_sentences(comparison) == []


def test_without_a_difference_few_are_found() -> None:
    comparisons = [both(rows(seed), costlier(1.0, seed)) for seed in SEEDS]
    assert (
        sum(
            "this difference can't be distinguished from chance" in comparison_sentences(one)[0]
            for one in comparisons
        )
        >= 17
    )


def test_a_data_set_against_itself_is_one_measurement() -> None:
    frame = judged(rows(0))
    comparison = both(frame, frame)
    assert comparison.n_same == len(frame)
    assert comparison.matches == ()
    assert any("one and the same measurement" in line for line in comparison_warnings(comparison))
    assert setup_table(comparison).rows == ()


def test_measurements_that_both_hold_are_left_out_of_the_others() -> None:
    a, b = rows(0), costlier(1.3, 0)
    comparison = both(a, pd.concat([a.iloc[:50], b], ignore_index=True))
    assert comparison.n_same == 50
    assert len(comparison.matches[0].pairs) < len(a)


def test_more_repeats_of_one_side_are_one_pair() -> None:
    a, b = rows(0), rows(0, noise=1)
    again = b.assign(repetition=2, started_at=b["started_at"].str.replace("2026", "2027"))
    (match,) = both(a, pd.concat([b, again], ignore_index=True)).matches
    assert len(match.pairs) == len(a)


def test_unlike_configurations_are_compared_by_the_model_of_effects() -> None:
    held = 0
    for seed in SEEDS:
        comparison = both(rows(seed), costlier(1.3, seed).pipe(redrawn))
        (match,) = comparison.matches
        assert match.is_adjusted
        lower, upper = interval(match.changes["energy_per_token_j"])
        held += lower <= 1.3 <= upper
    assert held >= 17, "of 20 at 95 %"
    assert any("by model" in line for line in comparison_warnings(comparison))
    assert ratio_table(comparison).rows[0][2] == "by model"


def test_sessions_that_repeat_unlike_configurations_give_no_interval() -> None:
    again = [costlier(1.3, 0).assign(session_id=session) for session in "xyz"]
    repeated = pd.concat(again, ignore_index=True).pipe(redrawn)
    change = both(rows(0), repeated).matches[0].changes["energy_per_token_j"]
    assert change.value == pytest.approx(1.3, rel=0.1)
    assert change.interval is None
    assert change.note == "sessions that repeat unlike configurations"


def redrawn(frame: pd.DataFrame) -> pd.DataFrame:
    """The same executions, as if of configurations that lie a little apart."""
    return frame.assign(temperature=frame["temperature"] + 0.001)


def test_shares_of_usable_texts_differ_by_points() -> None:
    a, b = judged(rows(0), 0.5), judged(rows(0, noise=1), 0.25)
    (match,) = both(a, b).matches
    assert match.changes["usable"].value == pytest.approx(0.25)
    assert ratio_table(both(a, b)).rows[0][-1].startswith("+25 (")


def test_other_designs_give_no_ratio_and_say_so() -> None:
    few = rows(0)
    few = few[few["config_index"] < 11]
    comparison = both(few, rows(0, design=1))
    assert comparison.matches == ()
    assert any("nothing is compared" in line for line in comparison_warnings(comparison))
    assert (ratio_table(comparison).rows, comparison_sentences(comparison)) == ((), [])


def test_unequal_meters_give_no_ratio_of_energies() -> None:
    comparison = both(rows(0), rows(0, noise=1, machine="pc", energy_basis="energy_j"))
    (match,) = comparison.matches
    assert match.changes.keys() == {"n_new_tokens", "tokens_per_s"}
    assert any("unequal meters" in line for line in comparison_warnings(comparison))
    assert ratio_table(comparison).rows[0][4:6] == ("n/a", "n/a")


def test_a_modelled_and_a_measured_cpu_are_unequal_meters() -> None:
    by = {
        method: rows(0, noise=1, energy_basis="energy_j", cpu_method=method)
        for method in ("rapl", "constant")
    }
    rapl = rows(0, energy_basis="energy_j", cpu_method="rapl")
    assert [both(rapl, by[method]).matches[0].same_meter for method in by] == [True, False]
    by_gpu = [rows(0, noise=n, cpu_method=method) for n, method in enumerate(by)]
    assert both(*by_gpu).matches[0].same_meter, "a GPU's counter knows nothing of the CPU"


def test_tokens_of_other_models_are_warned_of() -> None:
    def warned(model: str) -> bool:
        return any(
            "into tokens differently" in line
            for line in comparison_warnings(both(rows(0), rows(0, noise=1, model=model)))
        )

    assert (warned("smollm2"), warned("mistral")) == (False, True)


def test_as_many_configurations_are_not_the_same_ones() -> None:
    table = setup_table(both(rows(0), rows(0, design=1)))
    assert ("configurations", "12, 0 of them in both", "12, 0 of them in both") in table.rows
    assert "prompts" in table.note.partition("equal in A and B: ")[2]


def test_the_setup_shows_what_differs_and_names_the_rest() -> None:
    table = setup_table(both(rows(0), costlier(1.0, 0).assign(engine=None, cache="static")))
    assert [row[0] for row in table.rows] == [
        "quantization",
        "engine",
        "cache",
        "gross energy",
        "measured",
    ]
    assert ("engine", "transformers", "unknown") in table.rows
    equal, unknown = table.note.split(" Unknown in both: ")
    assert equal.startswith("11 rows not shown, equal in A and B: machine, gpu_name, model, ")
    assert "attention" in unknown
    assert "attention" not in equal, "what nobody knows may differ"


def test_more_values_than_are_listed_are_compared_whole() -> None:
    names = [f"case{n:02d}" for n in range(20)]
    a = pd.concat([rows(0).iloc[:5].assign(use_case=name) for name in names])
    b = a.assign(started_at="2027", use_case=a["use_case"].replace("case19", "case20"))
    (row,) = [row for row in setup_table(both(a, b)).rows if row[0] == "use_case"]
    assert row[1] == row[2], "the first six and how many more"


def test_too_few_configurations_give_no_interval() -> None:
    few = rows(0)
    few = few[few["config_index"] < LEAST_POINTS - 1]
    other = rows(0, noise=1)
    comparison = both(few, other[other["config_index"] < LEAST_POINTS - 1])
    change = comparison.matches[0].changes["energy_per_token_j"]
    assert (change.interval, change.note) == (None, "fewer than 5 configurations")
    assert "(" not in ratio_table(comparison).rows[0][4]
    assert comparison_sentences(comparison) == []


def test_groups_of_one_model_and_quantization_are_compared_with_each_other() -> None:
    setups = [(model, kind) for model in ("a", "b") for kind in ("nf4", "none")]
    one, other = (
        pd.concat(
            [
                rows(0, noise=noise, machine=machine, model=model, quantization=kind)
                for model, kind in setups
            ],
            ignore_index=True,
        )
        for noise, machine in enumerate(("pc", "gpu"))
    )
    comparison = both(one, other)
    assert [(match.a, match.b) for match in comparison.matches] == [
        (f"pc / {model} / {kind}", f"gpu / {model} / {kind}") for model, kind in setups
    ]
    assert len(comparison_sentences(comparison)) == 1
    assert any("--all-pairs" in line for line in comparison_warnings(comparison))
    assert len(compare(data_of(one), data_of(other), all_pairs=True).matches) == 16


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
    comparison = both(rows(0, machine=evil), rows(0, noise=1, machine=evil))
    assert "<script>alert" not in comparison_page(comparison, evil, evil)


def test_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for day, name in enumerate(("a", "b"), start=1):
        spec = builders.spec()
        paths = DataSetPaths(tmp_path / name)
        at = f"2026-01-0{day}T03:04:05+00:00"
        builders.seal_trial(
            paths, spec, [builders.measured(p.number, of=spec, started_at=at) for p in spec.prompts]
        )
        rebuild(paths)
    assert exit_code("report", "--compare", "a", "b", "--tables", "x.md") == 0
    assert "compare.html" in capsys.readouterr().out
    assert "What differs in how they were measured" in (tmp_path / "compare.html").read_text()
    assert "equal in A and B: machine, " in (tmp_path / "x.md").read_text()
    assert exit_code("plot", "ratios", "--compare", "a", "b", "--file", "x.pdf") == 0
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
    assert capsys.readouterr().out.startswith("x.pdf\n")
    assert exit_code("report", "--compare", "a", "b", "--file", "a/executions.parquet") == 2
    assert "must end in .html" in capsys.readouterr().err
    assert (tmp_path / "a/executions.parquet").read_bytes().startswith(b"PAR1")
    assert exit_code("report", "--compare", "a", "c") == 2
    assert "--compare c: no such folder" in capsys.readouterr().err
