"""Resume: what of a plan the data set lacks, after every kind of cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trials import append, seal
from orchestrator.nouns import ANCHOR, TrialSpec
from orchestrator.sweep.remaining import Ledger
from tests import builders


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    return DataSetPaths(tmp_path)


def write(paths: DataSetPaths, spec: TrialSpec, *numbers: int, machine: str = "cpu") -> None:
    """Append executions of a running trial."""
    origin = builders.origin(spec, machine=machine)
    for number in numbers:
        append(paths, spec, origin, "shuffled", builders.measured(prompt=number))


def sealed(paths: DataSetPaths, spec: TrialSpec, *numbers: int, machine: str = "cpu") -> TrialRecord:
    write(paths, spec, *numbers, machine=machine)
    return seal(paths, machine, spec)[1]


def first(spec: TrialSpec, n: int) -> TrialSpec:
    return spec.model_copy(update={"prompts": spec.prompts[:n]})


def test_nothing_done(paths: DataSetPaths) -> None:
    missing = Ledger(paths, [], "cpu").missing(builders.spec())
    assert missing is not None
    assert (missing.todo, missing.spec.attempt) == ((1, 2, 3), 1)


def test_all_done(paths: DataSetPaths) -> None:
    spec = builders.spec()
    ledger = Ledger(paths, [sealed(paths, spec, 1, 2, 3)], "cpu")
    assert ledger.missing(spec) is None
    assert ledger.n_done(spec) == 3


def test_more_prompts_are_a_new_attempt_beside_the_sealed_folder(paths: DataSetPaths) -> None:
    spec = builders.spec()
    ledger = Ledger(paths, [sealed(paths, first(spec, 2), 1, 2)], "cpu")
    missing = ledger.missing(spec)
    assert missing is not None
    assert (missing.todo, missing.spec.attempt) == ((3,), 2)
    assert [p.number for p in missing.spec.prompts] == [3]
    assert missing.spec.folder().endswith("-r1-a2")
    assert ledger.n_done(spec) == 2


def test_a_cut_off_trial_is_continued(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1)
    ledger = Ledger(paths, [], "cpu")
    missing = ledger.missing(spec)
    assert missing is not None
    assert (missing.spec, missing.todo) == (spec, (2, 3))
    assert missing.prior_tokens == builders.measured(prompt=1).execution.n_new_tokens
    assert missing.prior_energy_j is not None
    assert ledger.unfinished(spec.sweep_id) == [spec]
    assert ledger.unfinished("another") == []


def test_a_trial_cut_off_before_its_sealing_has_nothing_to_run(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1, 2, 3)
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert missing.todo == ()


def test_fewer_prompts_than_the_cut_off_trial_had(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1)
    missing = Ledger(paths, [], "cpu").missing(first(spec, 2))
    assert missing is not None
    assert missing.todo == (2,), "a prompt that is not asked for any more is run"


def test_more_prompts_than_the_cut_off_trial_had(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, first(spec, 2), 1)
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert (missing.spec, missing.todo) == (spec, (2, 3)), "the same folder goes on with all prompts"


def test_a_second_attempt_that_was_cut_off_is_continued(paths: DataSetPaths) -> None:
    spec = builders.spec()
    record = sealed(paths, first(spec, 1), 1)
    second = spec.model_copy(update={"prompts": spec.prompts[1:], "attempt": 2})
    write(paths, second, 2)
    ledger = Ledger(paths, [record], "cpu")
    missing = ledger.missing(spec)
    assert missing is not None
    assert (missing.spec, missing.todo) == (second, (3,))
    assert ledger.n_done(spec) == 2


def test_a_third_attempt_counts_on(paths: DataSetPaths) -> None:
    spec = builders.spec()
    records = [
        sealed(paths, first(spec, 1), 1),
        sealed(paths, spec.model_copy(update={"prompts": spec.prompts[1:2], "attempt": 2}), 2),
    ]
    for order in (records, records[::-1]):
        missing = Ledger(paths, order, "cpu").missing(spec)
        assert missing is not None
        assert (missing.spec.attempt, missing.todo) == (3, (3,))


def test_what_was_done_for_the_finished_part_is_carried_on(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1, 2)
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert (missing.prior_energy_j, missing.prior_tokens) == (40.0, 20)


def test_energy_of_the_finished_part_is_unknown_where_one_is(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1)
    unknown = builders.measured(prompt=2, energy_j=None, energy_kwh=None, energy_per_token_j=None, energy_basis=None)
    append(paths, spec, builders.origin(spec, machine="cpu"), "shuffled", unknown)
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert (missing.todo, missing.prior_energy_j, missing.prior_tokens) == ((3,), None, 20)


def test_a_failed_execution_is_a_row_and_not_run_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1)
    append(paths, spec, builders.origin(spec, machine="cpu"), "shuffled", builders.measured(prompt=2, **builders.FAILED))
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert (missing.todo, missing.prior_energy_j, missing.prior_tokens) == ((3,), 20.0, 10)


def test_a_torn_line_is_run_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1, 2)
    lines = paths.partial("cpu", spec) / "executions.jsonl"
    lines.write_bytes(lines.read_bytes()[:-40])
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert missing.todo == (2, 3)


def test_another_sweep_has_the_same_trials_but_its_own_anchors(paths: DataSetPaths) -> None:
    for strategy, again in (("sobolSampling", None), (ANCHOR, (1, 2, 3))):
        spec = builders.spec(strategy=strategy)
        missing = Ledger(paths, [sealed(paths, spec, 1, 2, 3)], "cpu").missing(
            builders.spec(strategy=strategy, sweep_id="another")
        )
        assert (missing.todo if missing else None) == again


@pytest.mark.parametrize(
    "changed",
    [{"index": 1}, {"repeat": 2}, {"setup": builders.setup(quantization="int8")}, {"asked": builders.configuration(top_k=9)}],
    ids=lambda changed: next(iter(changed)),
)
def test_another_trial_is_missing_whole(paths: DataSetPaths, changed: dict[str, Any]) -> None:
    ledger = Ledger(paths, [sealed(paths, builders.spec(), 1, 2, 3)], "cpu")
    missing = ledger.missing(builders.spec(**changed))
    assert missing is not None
    assert (missing.todo, missing.spec.attempt) == ((1, 2, 3), 1)


def test_a_half_written_folder_is_no_trial(paths: DataSetPaths) -> None:
    spec = builders.spec()
    paths.partial("cpu", spec).mkdir(parents=True)
    missing = Ledger(paths, [], "cpu").missing(spec)
    assert missing is not None
    assert missing.todo == (1, 2, 3)


@pytest.mark.parametrize(("machine", "done"), [("cpu", 3), ("gpu", 0), (None, 3)])
def test_another_machine_has_its_own_executions_unless_any_will_do(paths: DataSetPaths, machine: str | None, done: int) -> None:
    spec = builders.spec()
    assert Ledger(paths, [sealed(paths, spec, 1, 2, 3, machine="cpu")], machine).n_done(spec) == done
