"""Resume: what of a plan the data set lacks, after every kind of cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trials import append, seal
from orchestrator.nouns import TrialSpec
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
