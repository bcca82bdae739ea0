"""What a sampler that learns was told, where optuna-dashboard shows it while the sweep runs.

The file is made from the data set and never read for a sweep: the sampler's own study is made anew
from the data set, too (sweep/assignments.py), so both hold the same trials. At the start of a run
a study that differs from the data set is written anew; a dashboard that is open goes on, since
lines are only added.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.atomic_files import make_folder
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.dataset.tables import Key, Trials
from orchestrator.export.optuna_storage import add_study, frozen, journal, quiet
from orchestrator.export.studies import (
    Study,
    StudyKey,
    is_whole,
    learned_objectives,
    learned_trial,
    study_key,
    study_of,
    whole_trials,
)
from orchestrator.nouns import ANCHOR
from orchestrator.outside_files import open_regular
from orchestrator.ray_tune.harmless import harmless
from orchestrator.ray_tune.observers import Observer

if TYPE_CHECKING:
    import optuna

LONGEST_LINE = 2**20
"""Bytes at the end of the file that hold its last line: a trial takes some thousand."""


class LiveStudies(Observer):
    """The studies of one sweep in the data set's file of live studies, of which one run writes."""

    shows = "live studies"

    def __init__(self, plan: SweepPlan, trials: Trials, paths: DataSetPaths) -> None:
        """`trials`: of the data set, sealed ones as they come; `plan`: of a sampler that learns."""
        self.broken = False
        self._plan, self._trials, self._file = plan, trials, paths.live_studies
        self._objectives = learned_objectives(plan)
        self._written: dict[StudyKey, optuna.Study] = {}
        self._shown: set[Key] = set()
        """Trials that stand in a study."""
        self._outdated: set[StudyKey] = set()
        """Studies of which a trial was run again: Optuna changes none that is complete."""
        self._open()

    @harmless
    def _open(self) -> None:
        """Open the file, and write what it doesn't hold of the data set yet."""
        make_folder(self._file.parent)
        with quiet():
            self._storage = _opened(self._file)
            for of_study, keys in self._groups().items():
                self._bring_up_to_date(of_study, keys)

    def _groups(self) -> dict[StudyKey, list[Key]]:
        """The sweep's whole trials, by study."""
        return whole_trials(self._trials, {self._plan.id: self._plan})[0]

    def _bring_up_to_date(self, key: StudyKey, keys: list[Key]) -> None:
        """Write a study anew, unless it holds these trials and no others."""
        import optuna

        study = self._study(keys)
        self._shown.update(keys)
        if study.name in optuna.get_all_study_names(self._storage):
            there = optuna.load_study(study_name=study.name, storage=self._storage)
            if _holds(there, study):
                self._written[key] = there
                return
            optuna.delete_study(study_name=study.name, storage=self._storage)
        self._written[key] = add_study(self._storage, study)

    def _study(self, keys: list[Key]) -> Study:
        """A study with its trials."""
        empty = study_of(self._plan, self._trials.attempts(keys[0])[0], self._objectives)
        return empty.with_trials(learned_trial(self._trials, key, self._objectives) for key in keys)

    @harmless
    def trial_sealed(self, record: TrialRecord) -> None:
        """Add a trial that has run all its prompts to its study."""
        key = self._trials.key(record)
        if record.spec.strategy == ANCHOR or not is_whole(self._plan, self._trials.attempts(key)):
            return
        of_study = study_key(self._plan, record)
        if key in self._shown:
            self._outdated.add(of_study)
            return
        self._shown.add(key)
        study = self._study([key])
        with quiet():
            if of_study in self._written:
                self._written[of_study].add_trial(frozen(study, study.trials[0]))
            else:
                self._written[of_study] = add_study(self._storage, study)

    @harmless
    def close(self) -> None:
        """Write studies anew of which a trial was run again."""
        groups = self._groups() if self._outdated else {}
        with quiet():
            for of_study in self._outdated:
                self._bring_up_to_date(of_study, groups[of_study])


def _opened(file: Path) -> optuna.storages.BaseStorage:
    """The storage in a file; a new one where what is there can't be read, or not be gone on with.

    An interruption may leave half a line, behind which Optuna would write the next one.
    """
    if file.exists() and not _ends_with_a_line(file):
        file.unlink()
    try:
        return journal(file)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - whatever Optuna raises for lines that aren't its own
        file.unlink()
        return journal(file)


def _ends_with_a_line(file: Path) -> bool:
    """Whether the last line is whole, or there is none."""
    with open_regular(file) as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - LONGEST_LINE))
        end = stream.read()
    try:
        return not end or (end.endswith(b"\n") and bool(json.loads(end.splitlines()[-1])))
    except ValueError:
        return False


def _holds(written: optuna.Study, study: Study) -> bool:
    """Whether a written study has the objectives and trials that it should have, in any order."""
    directions = [direction.name.lower() for direction in written.directions]
    if directions != [f"{direction}imize" for direction in study.objectives.values()]:
        return False
    there = sorted(map(_content, written.get_trials(deepcopy=False)), key=repr)
    return there == sorted((_content(frozen(study, trial)) for trial in study.trials), key=repr)


def _content(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    """What a trial says, without its number."""
    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": trial.distributions,
        "user_attrs": trial.user_attrs,
    }
