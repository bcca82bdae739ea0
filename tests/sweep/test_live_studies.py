"""The live studies: what a dashboard sees during a sweep, and after any interruption."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import optuna
import pytest

from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import Trials
from orchestrator.export.optuna_storage import journal
from orchestrator.nouns import ANCHOR, Configuration
from orchestrator.samplers.optuna_study import OptunaStudy, distributions
from orchestrator.sweep.live_studies import LiveStudies
from tests import builders
from tests.export.swept import OUT_OF_MEMORY, Swept


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    monkeypatch.chdir(tmp_path)
    return Swept(tmp_path / "measurements", "optuna", samples=30)


class Run:
    """A run's view: the trials of the data set as they are sealed, and its live studies."""

    def __init__(self, swept: Swept) -> None:
        self.swept, self.trials = swept, swept.trials()
        self.live = LiveStudies(swept.plan, self.trials, swept.paths)

    def measure(self, index: int, *energies_j: float, **changes: Any) -> TrialRecord:
        """Seal the trial of a configuration, and tell of it."""
        configuration = builders.configuration(top_k=index)
        spec = self.swept.proposed(index, configuration, changes.pop("repeat", 1))
        if attempt := changes.pop("attempt", 0):
            spec = spec.model_copy(update={"attempt": attempt})
        if strategy := changes.pop("strategy", None):
            spec = spec.model_copy(update={"strategy": strategy})
        record = self.swept.measure(spec, energies_j or (20.0, 20.0), **changes)
        self.trials.add(record)
        self.live.trial_sealed(record)
        return record


def shown(swept: Swept) -> list[tuple[int, str, float | None]]:
    """(top_k, state, energy per token) of what a dashboard finds, in its order."""
    storage = journal(swept.paths.live_studies)
    return [
        (trial.params["top_k"], trial.state.name, trial.values[0] if trial.values else None)
        for name in optuna.get_all_study_names(storage)
        for trial in optuna.load_study(study_name=name, storage=storage).trials
    ]


def lines(swept: Swept) -> int:
    return swept.paths.live_studies.read_bytes().count(b"\n")


def test_trials_appear_as_they_are_sealed(swept: Swept) -> None:
    run = Run(swept)
    assert shown(swept) == []
    run.measure(1, 10.0, 20.0)
    assert shown(swept) == [(1, "COMPLETE", 1.5)]
    run.measure(2, 0.0, 0.0, **OUT_OF_MEMORY | {"energy_j": None})
    run.measure(3, repeat=2)
    assert shown(swept) == [(1, "COMPLETE", 1.5), (2, "FAIL", None), (3, "COMPLETE", 2.0)]


def test_parts_of_trials_and_anchors_do_not_appear(swept: Swept) -> None:
    run = Run(swept)
    run.measure(1, 20.0)
    run.measure(2, strategy=ANCHOR)
    assert shown(swept) == []


def test_a_trial_appears_once_its_last_prompt_is_done(swept: Swept) -> None:
    run = Run(swept)
    part = run.measure(1, 20.0)
    rest = part.spec.model_copy(update={"attempt": 2, "prompts": part.spec.prompts[1:]})
    where = builders.origin(rest, machine="cpu")
    record = builders.seal_trial(swept.paths, rest, [builders.measured(2, of=rest)], where)
    run.trials.add(record)
    run.live.trial_sealed(record)
    assert shown(swept) == [(1, "COMPLETE", 2.0)]


def test_a_resumed_run_goes_on_with_the_same_study(swept: Swept) -> None:
    first = Run(swept)
    for index in (3, 1, 2):
        first.measure(index)
    before = swept.paths.live_studies.read_bytes()
    second = Run(swept)
    assert swept.paths.live_studies.read_bytes() == before, "it said what the data set says"
    second.measure(4)
    assert [top_k for top_k, _, _ in shown(swept)] == [3, 1, 2, 4]
    assert swept.paths.live_studies.read_bytes().startswith(before)


@pytest.mark.parametrize(
    "fault", ["lost", "torn", "foreign", "empty", "edited", "of another", "locked"]
)
def test_whatever_happened_to_the_file_it_shows_the_data_set_again(
    swept: Swept, tmp_path: Path, fault: str
) -> None:
    run = Run(swept)
    for index in (1, 2, 3):
        run.measure(index)
    file, expected = swept.paths.live_studies, shown(swept)
    match fault:
        case "lost":
            file.unlink()
        case "torn":
            file.write_bytes(file.read_bytes()[:-20])
        case "foreign":
            file.write_text("my notes\n")
        case "empty":
            file.write_text("")
        case "edited":
            storage = journal(file)
            [name] = optuna.get_all_study_names(storage)
            optuna.load_study(study_name=name, storage=storage).enqueue_trial({"top_k": 5})
        case "of another":
            other = Swept(tmp_path / "other", "optuna", samples=30)
            Run(other).measure(7)
            file.write_bytes(other.paths.live_studies.read_bytes())
        case "locked":  # by a process that was killed
            file.unlink()
            Path(f"{file}.lock").touch()
    Run(swept)
    assert shown(swept) == expected


def test_a_dashboard_that_is_open_goes_on_when_a_study_is_written_anew(swept: Swept) -> None:
    run = Run(swept)
    run.measure(1)
    reader = journal(swept.paths.live_studies)
    [name] = optuna.get_all_study_names(reader)
    optuna.load_study(study_name=name, storage=reader).enqueue_trial({"top_k": 5})
    Run(swept).measure(2)
    again = optuna.load_study(study_name=name, storage=reader)
    assert [trial.params["top_k"] for trial in again.trials] == [1, 2]


def test_a_trial_that_was_run_again_has_its_new_figures_at_the_end(swept: Swept) -> None:
    run = Run(swept)
    run.measure(1)
    run.measure(2)
    run.measure(1, 40.0, 40.0, attempt=2)
    assert shown(swept) == [(1, "COMPLETE", 2.0), (2, "COMPLETE", 2.0)]
    run.live.close()
    assert shown(swept) == [(1, "COMPLETE", 4.0), (2, "COMPLETE", 2.0)]


def test_studies_of_other_sweeps_stay(swept: Swept, tmp_path: Path) -> None:
    Run(swept).measure(1)
    other = Swept(tmp_path / "measurements", "optuna", samples=30, seed=5)
    assert other.plan.id != swept.plan.id
    Run(other).measure(2)
    Run(swept)
    assert [top_k for top_k, _, _ in shown(swept)] == [1, 2]


def energy_j(configuration: Configuration) -> float:
    """A landscape to learn."""
    return 10 + abs(configuration.temperature - 1.5) + configuration.max_length / 5000


def test_the_file_and_the_data_set_give_the_same_study(swept: Swept) -> None:
    """A sampler that goes on from either proposes the same."""
    run = Run(swept)
    options: Any = swept.resolved.sampler_options
    proposing = OptunaStudy(swept.plan.space, 3, options)
    for index in range(30):
        configuration = proposing.ask()
        joules = energy_j(configuration)
        record = swept.measure(swept.proposed(index, configuration), (joules, joules))
        run.trials.add(record)
        run.live.trial_sealed(record)
        proposing.tell(configuration, figures_of(run.trials, record, options))
    replayed = OptunaStudy(swept.plan.space, 11, options)
    trials = swept.trials()
    for key in trials:
        record = trials.attempts(key)[0]
        replayed.tell(record.spec.configuration, figures_of(trials, record, options))
    storage = journal(swept.paths.live_studies)
    [name] = optuna.get_all_study_names(storage)
    sampler = optuna.samplers.TPESampler(seed=11, n_startup_trials=options.startup_trials)
    from_file = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    assert [(t.params, t.values) for t in from_file.trials] == [
        (t.params, t.values) for t in replayed.trials
    ]
    asked = from_file.ask(distributions(swept.plan.space)).params
    assert Configuration.model_validate(asked) == replayed.ask()


def figures_of(trials: Trials, record: TrialRecord, options: Any) -> dict[str, Any]:
    """What a sampler is told."""
    from orchestrator.evaluate.verdict import learned_figures

    return learned_figures(trials, trials.key(record), options.objectives)


def test_a_fault_ends_the_live_studies_and_not_the_sweep(
    swept: Swept, caplog: pytest.LogCaptureFixture
) -> None:
    swept.paths.dashboards.mkdir(parents=True)
    swept.paths.live_studies.mkdir()
    with caplog.at_level(logging.WARNING):
        run = Run(swept)
        run.measure(1)
        run.live.close()
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "no more live studies in this run, the sweep continues"
    ]
