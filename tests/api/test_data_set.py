"""`orchestrator.load`: the tables as pandas has them, and the report's own figures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import orchestrator
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.report.configurations import pareto_points
from orchestrator.report.execution_frame import read_data
from tests import builders
from tests.commandline import Outcome
from tests.version_1.frozen import MEASURED, SIMULATED, simulated_truth

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
TABLES = ("executions", "summary", "trials", "frontier", "effects")


@pytest.fixture(scope="module")
def example() -> orchestrator.DataSet:
    return orchestrator.load(EXAMPLE)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_of_every_table_is_explained(example: orchestrator.DataSet, name: str) -> None:
    table = getattr(example, name)
    assert isinstance(table, pd.DataFrame)
    assert not table.empty
    # the example's summary is of an earlier version, and its folders aren't there to make it anew
    if name != "summary":
        assert list(example.columns.loc[name].index) == list(table.columns)
    assert (example.columns["meaning"].str.len() > 0).all()


def test_units_are_those_that_names_end_in(example: orchestrator.DataSet) -> None:
    units = {"_j": "J", "_kwh": "kWh", "_s": "s", "_kg": "kg"}
    for (table, name), row in example.columns.iterrows():
        for end, unit in units.items():
            if name.endswith(end) and not name.endswith("_per_s"):
                assert row["unit"].startswith(unit), (table, name)


def test_no_cell_holds_an_array(example: orchestrator.DataSet) -> None:
    for name in TABLES:
        table = getattr(example, name)
        for column in table:
            assert not table[column].map(lambda cell: isinstance(cell, list | tuple)).any(), column
        table.drop_duplicates()


def test_executions_and_summary_are_the_files(example: orchestrator.DataSet) -> None:
    assert len(example.executions) == 185
    assert len(example.summary) == len(example.trials) == 37
    assert example.executions["output_text"].notna().all()
    energy_j = example.executions["gpu_energy_counter_j"].sum()
    assert energy_j == pytest.approx(
        pd.read_parquet(EXAMPLE / "executions.parquet")["gpu_energy_counter_j"].sum()
    )
    assert str(example.executions["started_at"].dtype).startswith("datetime64")


def test_effects_and_findings_are_what_report_says(
    example: orchestrator.DataSet, call: Callable[..., Outcome]
) -> None:
    said = json.loads(call("report", "--json", "--out", str(EXAMPLE)).out)
    effects = example.effects
    assert len(effects) == len(said["effects"]) == 5 * 4
    for row, effect in zip(effects.itertuples(), said["effects"], strict=True):
        assert (row.parameter, row.outcome, row.answers) == (
            effect["parameter"],
            effect["outcome"],
            effect["of"],
        )
        assert row.clear == effect["clear"]
        for name in ("value", "lower", "upper"):
            value = getattr(row, name)
            assert (None if pd.isna(value) else value) == effect[name]
    known = effects.dropna(subset=["value"])
    assert not known.empty
    assert (known["lower"] <= known["value"]).all()
    assert (known["value"] <= known["upper"]).all()
    assert list(example.findings) == [one["text"] for one in said["findings"]]


def test_no_configuration_beats_one_of_the_frontier(example: orchestrator.DataSet) -> None:
    place = ["model", "setup", "machine", "use_case"]
    configurations = pareto_points(read_data(DataSetPaths(EXAMPLE)))
    assert 0 < len(example.frontier) < len(configurations)
    for _, some in example.frontier.groupby(place):
        ordered = some.sort_values("energy_per_token_j")
        assert ordered["quality"].is_monotonic_increasing
    assert (
        example.frontier["energy_per_usable_lower_j"] <= example.frontier["energy_per_usable_j"]
    ).all()


def test_trials_say_how_far_they_can_be_trusted(example: orchestrator.DataSet) -> None:
    assert set(example.trials["trust"]) <= {"measured", "modelled", "doubtful", "nothing kept"}
    doubtful = example.trials[example.trials["trust"] == "doubtful"]
    assert doubtful["reasons"].str.len().gt(0).all()
    assert example.trials["folder"].str.startswith("gpu/smollm2/").all()


def test_a_data_set_before_evaluate_has_no_frontier(tmp_path: Path) -> None:
    paths = DataSetPaths(tmp_path / "data")
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(n, of=spec) for n in (1, 2, 3)])
    from orchestrator.dataset.tables import rebuild

    rebuild(paths)
    loaded = orchestrator.load(paths.root)
    assert loaded.frontier.empty
    for name in TABLES:
        assert list(loaded.columns.loc[name].index) == list(getattr(loaded, name).columns)
    assert loaded.trials["energy_per_token_j"].tolist() == [2.0]
    assert loaded.effects["value"].isna().all()
    assert loaded.effects["note"].str.contains("1 configuration is too few").any()
    assert loaded.run is None
    assert repr(loaded) == f"DataSet({str(paths.root)!r}): 3 executions"


@pytest.mark.parametrize("folder", [MEASURED, SIMULATED], ids=lambda path: path.name)
def test_tables_of_version_1_have_the_present_columns(folder: Path, tmp_path: Path) -> None:
    loaded = orchestrator.load(shutil.copytree(folder, tmp_path / "copy"))
    assert list(loaded.columns.loc["executions"].index) == list(loaded.executions.columns)
    if folder == SIMULATED:
        assert set(loaded.executions["config_hash"]) == {
            fact["config_hash"] for fact in simulated_truth()
        }
        assert list(loaded.columns.loc["summary"].index) == list(loaded.summary.columns)


def test_what_is_no_data_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(orchestrator.UserError, match=r"no such folder; name a data set"):
        orchestrator.load(tmp_path / "none")
    empty = orchestrator.load(tmp_path)
    for name in TABLES:
        with pytest.raises(orchestrator.UserError, match="can't be read"):
            getattr(empty, name)
