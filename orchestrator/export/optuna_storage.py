"""Studies as Optuna keeps them. Optuna is imported when the first one is written.

Parameters have the ranges of their space, both ends included. None has a logarithmic axis: designs
are uniform, and Optuna weighs a logarithmic one by its logarithm.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import digest

if TYPE_CHECKING:
    import optuna

    from orchestrator.export.studies import Study, StudyTrial

DIGEST = "content_sha256"
"""Attribute of a study: the hash of what was written."""
STALE_LOCK_S = 3
"""A lock that is so old was left by a killed process: each is held for one line."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its lines for a person, and its warnings that a name may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def journal(file: Path) -> optuna.storages.BaseStorage:
    """The storage in a file to which lines are only added; made where it is missing.

    Optuna advises it for network file systems, where SQLite's locks fail. Of its two locks this is
    the one that needs no symbolic links, which not every file system has.
    """
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = str(file.absolute())
    lock = JournalFileOpenLock(path, grace_period=STALE_LOCK_S)
    return JournalStorage(JournalFileBackend(path, lock))


def sqlite(file: Path) -> optuna.storages.BaseStorage:
    """The storage in a SQLite file; made where it is missing."""
    from optuna.storages import RDBStorage

    return RDBStorage(f"sqlite:///{file.absolute()}")


def add_study(storage: optuna.storages.BaseStorage, study: Study) -> optuna.Study:
    """Write a study with its trials. Raises optuna's DuplicatedStudyError where it is there."""
    import optuna

    written = optuna.create_study(
        storage=storage,
        study_name=study.name,
        directions=[f"{direction}imize" for direction in study.objectives.values()],
    )
    written.set_metric_names(list(study.objectives))
    for name, value in study.attributes.items():
        written.set_user_attr(name, value)
    written.add_trials([frozen(study, trial) for trial in study.trials])
    return written


def frozen(study: Study, trial: StudyTrial) -> optuna.trial.FrozenTrial:
    """A trial as Optuna has it: complete, or failed where an objective has no value."""
    from optuna.trial import FrozenTrial, TrialState

    from orchestrator.samplers.optuna_study import distributions

    return FrozenTrial(
        number=-1,  # the storage numbers it
        trial_id=-1,
        state=TrialState.FAIL if trial.values is None else TrialState.COMPLETE,
        value=None,
        values=trial.values,
        datetime_start=_local(trial.started_at),
        datetime_complete=_local(trial.ended_at),
        params=trial.configuration.model_dump(),
        distributions=distributions(study.space),
        user_attrs=dict(trial.attributes),
        system_attrs={},
        intermediate_values={},
    )


def _local(moment: datetime) -> datetime:
    """A moment in Optuna's form: this machine's time, without its zone."""
    return moment.astimezone().replace(tzinfo=None)


def study_digest(study: Study) -> str:
    """The hash of what is written of a study."""
    trials: list[Any] = [
        [
            trial.configuration.model_dump(),
            trial.values,
            dict(trial.attributes),
            trial.started_at.isoformat(),
            trial.ended_at.isoformat(),
        ]
        for trial in study.trials
    ]
    space = study.space.model_dump(mode="json")
    return digest([study.name, space, dict(study.objectives), dict(study.attributes), trials], 64)
