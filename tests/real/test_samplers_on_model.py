"""Samplers x three use cases on the real small model in nf4.

Real Ray, transformers, bitsandbytes, CodeCarbon. All five samplers are slow; the short form is the
default one.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.trial_texts import CODECARBON_FIELDS
from orchestrator.samplers import SAMPLERS
from tests.real.conftest import Orchestrator

USE_CASES = {"fantasyWorld", "creativeStorytelling", "danceCoreography"}
SHORT = ("lhs",)
SMALL = ("--prompts", "1", "--range", "max_length=100:104", "--seed", "7", "--country", "ITA")


@pytest.fixture(
    scope="module",
    params=[SHORT, pytest.param(tuple(SAMPLERS), marks=pytest.mark.slow)],
    ids=["one", "all"],
)
def samplers(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Names of those that run."""
    names: tuple[str, ...] = request.param
    return names


@pytest.fixture(scope="module")
def swept(
    samplers: tuple[str, ...], real_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One data set that the samplers wrote into, one command each."""
    out = tmp_path_factory.mktemp("data") / "measurements"
    for name in samplers:
        result = Orchestrator(out.parent, real_cache).tune(
            "--space", name, "--samples", "1", *SMALL
        )
        assert (result["trials_run"], result["executions_run"], result["failed"]) == (3, 3, 0)
        assert result["energy_j"] > 0
    return out


def test_every_folder_is_there(swept: Path, samplers: tuple[str, ...]) -> None:
    folders = {p.relative_to(swept).as_posix() for p in swept.glob("cpu/smollm2/*/*")}
    assert folders == {
        f"cpu/smollm2/{SAMPLERS[s].folder}/{use_case}" for s in samplers for use_case in USE_CASES
    }
    hidden = {p.name for p in swept.rglob("*") if p.name.startswith(".")}
    assert hidden <= {".dashboards"}, "hidden leftovers"


def test_model_was_loaded_once_a_sweep(
    swept: Path, samplers: tuple[str, ...], trials: Callable[[Path], list[TrialRecord]]
) -> None:
    for name in samplers:
        records = [r for r in trials(swept) if r.columns.strategy == SAMPLERS[name].folder]
        assert sum(r.environment.loaded_here for r in records) == 1, name


def test_executions_are_measured_and_generated(
    swept: Path, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    for record in trials(swept):
        assert record.columns.quantization == "nf4"
        ran = (record.columns.compute_dtype, record.columns.double_quant)
        assert ran in {("float32", True), ("bfloat16", False)}  # by the kind of CPU
        assert record.columns.synthetic is False
        assert record.columns.country_iso_code == "ITA"
        assert record.environment.versions.keys() >= {
            "ray",
            "codecarbon",
            "torch",
            "transformers",
            "bitsandbytes",
        }
        for execution in record.executions:
            assert execution.status == "ok"
            assert execution.output_text
            assert execution.n_new_tokens is not None
            assert execution.n_new_tokens > 0
            assert execution.energy_kwh is not None
            assert execution.energy_j == pytest.approx(execution.energy_kwh * 3.6e6)
            assert execution.energy_basis == "energy_j"
            assert execution.gpu_energy_counter_j is None
            assert "estimated_cpu" in execution.warning_flags or execution.cpu_method == "rapl"


def test_emissions_csv_begins_with_the_reports_fields(
    swept: Path, samplers: tuple[str, ...]
) -> None:
    files = sorted(swept.glob("*/*/*/*/*/emissions.csv"))
    assert len(files) == 3 * len(samplers)
    for file in files:
        header, row = list(csv.reader(file.open()))
        assert tuple(header[:29]) == CODECARBON_FIELDS
        assert float(row[header.index("energy_consumed")]) > 0
        assert row[header.index("country_name")] == "Italy"


def test_tables_of_the_callback_equal_those_from_scratch(
    swept: Path, samplers: tuple[str, ...]
) -> None:
    paths = DataSetPaths(swept)
    before = pq.read_table(paths.executions), pq.read_table(paths.summary)
    executions, trials, faults = rebuild(paths)
    n = 3 * len(samplers)
    assert (executions, trials, faults) == (n, n, [])
    assert before[0].equals(pq.read_table(paths.executions), check_metadata=True)
    assert before[1].equals(pq.read_table(paths.summary), check_metadata=True)


@pytest.mark.slow
def test_the_same_execution_gives_the_same_text(
    swept: Path, real_cache: Path, tmp_path: Path, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    orchestrator = Orchestrator(tmp_path, real_cache)
    # the use case of the shortest texts; its seeds and hashes don't depend on the others
    orchestrator.tune("--space", "lhs", "--samples", "1", *SMALL, "--use-case", "danceCoreography")
    again = {
        (r.columns.use_case, r.columns.config_index): [e.output_text for e in r.executions]
        for r in trials(tmp_path / "measurements")
    }
    before = {
        (r.columns.use_case, r.columns.config_index): [e.output_text for e in r.executions]
        for r in trials(swept)
        if r.columns.strategy == SAMPLERS["lhs"].folder
    }
    assert len(again) == 1
    assert all(before[key] == texts for key, texts in again.items())
