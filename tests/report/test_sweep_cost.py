"""What a sweep took besides its executions, by hand; and records that hold nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import rebuild
from orchestrator.report.execution_frame import data_of, read_data
from orchestrator.report.page_content import cost_table
from orchestrator.report.sweep_cost import Cost, CostPart, CostTotals
from tests import builders
from tests.report.synthetic import Truth, executions

PILOT = {
    "tokens_per_s": 1.0,
    "energy_j_per_token": 2.0,
    "energy_basis": "gpu_energy_counter_j",
    "warm_up_s": 3.0,
    "warm_up_energy_j": 30.0,
}
FRESH = {
    "load_s": 5.0,
    "loaded_here": True,
    "pilot": PILOT,
}
WARM = FRESH | {"loaded_here": False}


def trial(
    *starts: str, environment: dict[str, Any] = FRESH, gpu: str | None = "GPU-1", **changes: Any
) -> TrialRecord:
    """Executions of 2 s and 100 J on a GPU, at times of one day."""
    done = [
        builders.execution(
            i, **(builders.ON_GPU | {"started_at": f"2026-01-02T{start}+00:00"} | changes)
        )
        for i, start in enumerate(starts, 1)
    ]
    return builders.record(executions=done, environment=environment, gpu_uuid=gpu)


def cost_of(records: list[TrialRecord]) -> Cost:
    totals = CostTotals()
    for record in records:
        totals.add(record)
    return totals.cost()


def parts(cost: Cost) -> dict[str, CostPart]:
    return {part.name: part for part in cost.parts}


def test_a_gpus_time_from_loading_to_the_last_execution() -> None:
    cost = cost_of([trial("10:00:00", "10:00:03"), trial("10:00:10", environment=WARM)])
    by_name = parts(cost)
    assert cost.held_s == pytest.approx(5 + 3 + 12)
    assert by_name["executions"] == CostPart("executions", 3, 6.0, 6.0, 300.0, 0)
    assert by_name["warm-up of a model"] == CostPart("warm-up of a model", 1, 3.0, 3.0, 30.0, 0)
    assert by_name["loading a model"] == CostPart("loading a model", 1, 5.0, 5.0, None, 1)
    assert by_name["between executions"].time_s == pytest.approx(20 - 6 - 3 - 5)
    assert by_name["a GPU held, overall"].n == 1


def test_hours_between_two_processes_are_nobodys() -> None:
    one, other = trial("10:00:00"), trial("15:00:00")
    for records in ([one, other], [other, one]):
        cost = cost_of(records)
        assert cost.held_s == pytest.approx(2 * (5 + 3 + 2))
        assert parts(cost)["a GPU held, overall"].n == 2
        assert parts(cost)["between executions"].time_s == pytest.approx(0)


def test_gpus_side_by_side_are_held_each() -> None:
    assert cost_of([trial("10:00:00"), trial("10:00:00", gpu="GPU-2")]).held_s == pytest.approx(20)


def test_without_a_gpu_the_rest_is_unknown() -> None:
    cost = cost_of([trial("10:00:00", gpu=None, energy_basis="energy_j")])
    assert cost.held_s is None
    assert parts(cost)["executions"] == CostPart("executions", 1, 2.0, 0.0, 120.0, 0)
    assert "between executions" not in parts(cost)


def test_energy_that_is_unknown_is_counted_not_zero() -> None:
    unmeasured = trial("10:00:00", energy_basis=None, environment=FRESH | {"pilot": None})
    by_name = parts(cost_of([unmeasured, trial("11:00:00")]))
    executions = by_name["executions"]
    assert (executions.counted_energy_j, executions.n_unmeasured) == (100.0, 1)
    assert by_name["warm-up of a model"].n == 1
    assert parts(cost_of([unmeasured]))["executions"].counted_energy_j is None


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"loaded_here": True},
    ],
)
def test_an_environment_without_figures_is_unknown(environment: dict[str, Any]) -> None:
    cost = cost_of([trial("10:00:00", environment=environment)])
    assert cost.held_s == pytest.approx(2)
    of_model = [part for part in cost.parts if part.name != "executions"]
    assert {part.counted_energy_j for part in of_model} == {None}
    assert all(
        part.time_s in (None, 0.0)
        for part in of_model
        if part.name in ("warm-up of a model", "loading a model")
    )


@pytest.mark.parametrize(
    "environment",
    [{"loaded_here": "perhaps"}, {"load_s": "long"}, {"pilot": [1]}, {"pilot": {}}],
)
def test_an_environment_of_other_types_is_no_record(environment: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        trial("10:00:00", environment=environment)


def test_a_start_that_is_no_time_is_no_record_and_a_clock_set_back() -> None:
    with pytest.raises(ValidationError):
        builders.execution(1, **builders.ON_GPU, started_at="yesterday")
    assert cost_of([trial("10:00:00", "10:00:00", "10:00:00", environment=WARM)]).held_s == 6.0, (
        "not less than its windows"
    )


def test_every_attempt_counts_also_one_that_another_replaced_and_one_that_can_not_be_read_is_told(
    tmp_path: Path,
) -> None:
    paths = DataSetPaths(tmp_path)
    spec = builders.spec()
    on_gpu = builders.origin(spec, environment=FRESH, gpu_uuid="GPU-1")
    for attempt in (1, 2, 3):
        again = spec.model_copy(update={"attempt": attempt})
        builders.seal_trial(
            paths, again, [builders.measured(1, of=again, **builders.ON_GPU)], on_gpu
        )
    rebuild(paths)
    damaged = paths.sealed_trials()[0] / "trial.json"
    damaged.write_text(damaged.read_text().replace('"window_s": 2.0', '"window_s": 3.0'))
    data = read_data(paths)
    assert len(data.all) == 1
    cost = data.trials.cost
    assert cost is not None
    assert (cost.n_trials, cost.n_unreadable) == (2, 1)
    table = cost_table(data)
    assert table.rows[0] == ("executions", "2", "200 J", "4 s", "20.0 %")
    assert table.rows[2] == ("loading a model", "2", "n/a", "10 s", "50.0 %")
    assert "1 trial can't be read" in table.note


def test_tables_without_their_folders_say_so() -> None:
    table = cost_table(data_of(executions(Truth(), 0, points=2)))
    assert (table.rows, table.note) == (
        (),
        "Not known: there are no trial folders beside the tables.",
    )
