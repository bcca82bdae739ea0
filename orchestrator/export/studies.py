"""The trials of a data set as studies: what was varied, what came out, and what else is known.

A study is one setup (model, variant, use case) of one sweep on one kind of machine: joules of two
kinds of machine aren't comparable. What a sampler that learns proposed is one study where it had
one, over all machines. Doesn't know Optuna.

Figures run over all answers without an error, discarded ones too: that some aren't usable is what
quality and the share of usable answers say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import by_kind, failures
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.summary import SummaryColumns
from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.dataset.tables import Key, Trials, chosen_of
from orchestrator.errors import UserError
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.nouns import ANCHOR, Configuration, Setup, SetupKey, Space, columns_of
from orchestrator.samplers import sampler_of
from orchestrator.unknowns import quotient

ENERGY, QUALITY = "energy_per_token_j", "quality"
SHARE = "usable_share"
"""Usable answers over those without an error."""
JUDGED = ("n_usable", "n_discarded", QUALITY, "wasted_energy_j", "energy_per_usable_j")
"""Columns of the summary that say what was judged."""
OF_TRIAL = (
    *("config_index", "config_hash", "repetition", "attempt", "order_index"),
    *("machine", "host", "gpu_name", "session_id", "session_trial"),
)
"""Other columns that a trial is shown with."""
NUMBERS = (int, float, int | None, float | None)
OBJECTIVES = (
    *(name for name, kind, _ in columns_of(SummaryColumns) if kind in NUMBERS),
    SHARE,
)
"""What may be an objective: the numbers of the summary."""
DIRECTIONS = ("min", "max")

Objectives = Mapping[str, str]
"""Figure -> min or max."""


@dataclass(frozen=True)
class StudyTrial:
    """A trial that has run all its prompts."""

    configuration: Configuration
    values: tuple[float, ...] | None
    """Of the objectives, in their order; None: it failed, or one of them is unknown."""
    attributes: Mapping[str, Any]
    """What else is known of it: unknown figures are left out."""
    started_at: datetime
    ended_at: datetime


class StudyKey(NamedTuple):
    """What tells the studies of a data set apart."""

    sweep_id: str
    setup: SetupKey
    machine: str | None
    """None: of a sampler that learned from whatever machine."""


@dataclass(frozen=True)
class Study:
    """Trials of one setup."""

    name: str
    space: Space
    objectives: Objectives
    attributes: Mapping[str, Any]
    trials: tuple[StudyTrial, ...] = ()
    """In the order in which they were handed out."""

    def with_trials(self, trials: Iterable[StudyTrial]) -> Study:
        """The study with other trials."""
        return dataclasses.replace(self, trials=tuple(trials))

    def n_failed(self) -> int:
        """Trials for which the value of an objective is missing."""
        return sum(trial.values is None for trial in self.trials)


def study_key(plan: SweepPlan, record: TrialRecord) -> StudyKey:
    """The study that a trial belongs to."""
    shared = plan.learns() and not plan.each
    machine = None if shared else record.columns.machine
    return StudyKey(plan.id, record.spec.setup.key(), machine)


def is_whole(plan: SweepPlan, attempts: Sequence[TrialRecord]) -> bool:
    """Whether a trial has run all prompts that its plan wants. `attempts`: all its records."""
    wanted = {prompt.number for prompt in plan.prompts(attempts[0].spec.setup.use_case)}
    return wanted <= {one.execution.prompt_number for one in chosen_of(attempts)}


def learned_objectives(plan: SweepPlan) -> Objectives:
    """What a plan's sampler learns from; {}: it doesn't learn."""
    kind, options = sampler_of(plan.space, f"sweeps/{plan.id}.json")
    return kind.objectives(options)


def study_of(plan: SweepPlan, record: TrialRecord, objectives: Objectives) -> Study:
    """The study that a trial belongs to, without any trials."""
    setup, machine = record.spec.setup, study_key(plan, record).machine
    where = f" on {machine}" if machine else ""
    return Study(
        name=f"{setup.model} {setup.use_case} ({setup.variant().label()}){where}, sweep {plan.id}",
        space=plan.space,
        objectives=objectives,
        attributes=_setup_attributes(plan, setup, machine, objectives),
    )


def _setup_attributes(
    plan: SweepPlan, setup: Setup, machine: str | None, objectives: Objectives
) -> dict[str, Any]:
    """What all trials of a study share."""
    units = {name: column.unit for name, _, column in columns_of(SummaryColumns)}
    options = {f"option {name}": value for name, value in setup.engine_options.items()}
    shared: dict[str, Any] = {
        "sweep": plan.id,
        "sampler": plan.space.sampler,
        "machine": machine,
        **setup.model_dump(exclude={"quantization", "engine_options"}),
        "quantization": setup.quantization.name,
        **options,
        "n_prompts": len(plan.prompts(setup.use_case)),
        "repeats": plan.repeats,
        "units": {name: units[name] for name in objectives if units.get(name)},
    }
    return {name: value for name, value in shared.items() if value is not None}


def learned_trial(trials: Trials, key: Key, objectives: Objectives) -> StudyTrial:
    """A trial with the figures that a sampler was told, without what was judged since."""
    figures = learned_figures(trials, key, objectives)
    return _trial(trials.attempts(key), figures, figures, objectives)


def whole_trials(
    trials: Trials, plans: Mapping[str, SweepPlan]
) -> tuple[dict[StudyKey, list[Key]], int]:
    """The whole trials of these sweeps by study, in the order in which they were first handed out.

    And how many trials are left out, since prompts of them are left. Anchors are no part of a
    design, and in no study. `plans`: by sweep.
    """
    groups: dict[StudyKey, list[tuple[int, Key]]] = {}
    n_left_out = 0
    for key in trials:
        attempts = trials.attempts(key)
        spec = attempts[0].spec
        plan = plans.get(spec.sweep_id)
        if plan is None or spec.strategy == ANCHOR:
            continue
        if is_whole(plan, attempts):
            groups.setdefault(study_key(plan, attempts[0]), []).append((spec.order_index, key))
        else:
            n_left_out += 1
    in_order = {study: [key for _, key in sorted(found)] for study, found in groups.items()}
    return in_order, n_left_out


def studies_of(
    trials: Trials, plans: Iterable[SweepPlan], objectives: Objectives | None = None
) -> tuple[list[Study], int]:
    """All studies of a data set, and how many trials are left out (`whole_trials`).

    `objectives`: None for those that a sampler learned from; of a design energy per token and,
    where all of it was evaluated, quality.

    Raises UserError where the plan of a sweep is missing.
    """
    by_sweep = {plan.id: plan for plan in plans}
    for record in trials.records():
        if record.spec.sweep_id not in by_sweep:
            raise UserError(
                f"sweeps/{record.spec.sweep_id}.json: is missing, and without it the ranges of "
                "the sweep's parameters are unknown; copy it from where the data set was made"
            )
    groups, n_left_out = whole_trials(trials, by_sweep)
    studies = [
        _study(by_sweep[study.sweep_id], trials, keys, objectives) for study, keys in groups.items()
    ]
    return sorted(studies, key=lambda study: study.name), n_left_out


def _study(
    plan: SweepPlan, trials: Trials, keys: list[Key], objectives: Objectives | None
) -> Study:
    """A study with its trials."""
    rows = figures = [_judged_row(trials, key) for key in keys]
    learned = learned_objectives(plan)
    if objectives is None and learned:
        objectives = learned
        figures = [learned_figures(trials, key, learned) for key in keys]
    objectives = objectives or _design_objectives(rows)
    empty = study_of(plan, trials.attempts(keys[0])[0], objectives)
    return empty.with_trials(
        _trial(trials.attempts(key), row, of_trial, objectives)
        for key, row, of_trial in zip(keys, rows, figures, strict=True)
    )


def _judged_row(trials: Trials, key: Key) -> dict[str, Any]:
    """The figures of a trial over all its ok answers, and what was judged of them."""
    row, judged = trials.figures(key), trials.summary_row(key)
    return row | {name: judged[name] for name in JUDGED}


def _design_objectives(rows: Iterable[Mapping[str, Any]]) -> Objectives:
    """Energy per token, and quality where every trial with an answer has it."""
    rated = [row[QUALITY] is not None for row in rows if row["n_ok"]]
    return {ENERGY: "min", QUALITY: "max"} if rated and all(rated) else {ENERGY: "min"}


def _trial(
    attempts: Sequence[TrialRecord],
    row: Mapping[str, Any],
    figures: Mapping[str, Any],
    objectives: Objectives,
) -> StudyTrial:
    """A trial. `row`: what it is shown with; `figures`: what its objectives are taken from."""
    newest = max(attempts, key=lambda record: record.spec.attempt)
    executions = [one.execution for one in chosen_of(attempts)]
    share = {SHARE: quotient(row["n_usable"], row["n_ok"])}
    known = {**share, **figures}
    values = [known[name] for name in objectives]
    unknown = [
        name
        for name, value in zip(objectives, values, strict=True)
        if value is None or not math.isfinite(value)
    ]
    shown = {
        "trial": DataSetPaths(Path()).trial(newest.columns.machine, newest.spec).as_posix(),
        **{name: row[name] for name in OF_TRIAL},
        "failed": by_kind(failures(executions)),
        "unknown": ", ".join(unknown),
        **{name: row[name] for name in SummaryColumns.model_fields},
        **share,
    }
    return StudyTrial(
        configuration=newest.spec.configuration,
        values=None if unknown else tuple(map(float, values)),
        attributes={name: _shown(value) for name, value in shown.items() if _is_known(value)},
        started_at=min(execution.started_at for execution in executions),
        ended_at=newest.sealed_at,
    )


def _is_known(value: Any) -> bool:
    """Whether there is anything to show."""
    return value is not None and value not in ("", ())


def _shown(value: Any) -> Any:
    """A value as the tables have it: a list is a text."""
    return ";".join(value) if isinstance(value, tuple) else value
