"""What is to be run: the plan beside what the data set has of it, weights and folders. Reads; only weights are written."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import Ledger, asked_of, failures, of_kind, specs_of
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan
from orchestrator.dataset.tables import Trials, read_all
from orchestrator.engine.weights import expected_revision, locate
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.models import Model
from orchestrator.nouns import TrialSpec
from orchestrator.samplers import FORMER_OBJECTIVES, OptunaOptions
from orchestrator.sweep.estimate import too_small, trial_bound, unasked_bound
from orchestrator.sweep.planning import begun_setups, check_same_weights, make_plan, neighbours
from orchestrator.sweep.request import Resolved

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """What one kind of machine has and misses of a plan, or all machines together."""

    machine: str | None
    """None: whatever machine is free."""
    missing: list[TrialSpec]
    """Trials with the prompts that they still have to run."""
    done: list[Execution]
    """Executions that are in the data set, those that are to run again left out."""
    asked: dict[tuple[str, str], dict[int, TrialSpec]]
    """Optuna: what was asked for of each model and use case, by index."""

    def left(self, plan: SweepPlan) -> dict[tuple[str, str], int]:
        """Configurations that a learning sampler may still ask for, by model and use case."""
        if not plan.learns():
            return {}
        keys = [(s.model, s.use_case) for s in plan.setups]
        return {key: max(0, plan.samples - len(self.asked.get(key, {}))) for key in keys}


@dataclass(frozen=True)
class Prepared:
    """A plan beside what the data set has of it."""

    resolved: Resolved
    plan: SweepPlan
    paths: DataSetPaths
    trials: Trials
    parts: list[Part]
    """One, or one for each kind of machine that runs the whole plan."""
    before: SweepPlan | None
    """The sweep's plan as an earlier run left it."""
    notes: tuple[str, ...] = ()
    """What a person should know of the data set before it starts."""

    @property
    def records(self) -> list[TrialRecord]:
        """All trials of the data set, of other sweeps too."""
        return self.trials.records()

    def of_sweep(self) -> list[TrialRecord]:
        """Those that this sweep's runs measured."""
        return [record for record in self.records if record.spec.sweep_id == self.plan.id]

    @property
    def n_done(self) -> int:
        """Executions of the plan that are in the data set."""
        return sum(len(part.done) for part in self.parts)

    def n_failed(self) -> Counter[str]:
        """Of these the failed ones, by kind."""
        return failures(e for part in self.parts for e in part.done)

    def _missing(self) -> list[TrialSpec]:
        return [spec for part in self.parts for spec in part.missing]

    def _left(self) -> Counter[tuple[str, str]]:
        """Trials that a learning sampler may still ask for, by model and use case."""
        return sum(
            (
                Counter({key: n * self.plan.repeats for key, n in p.left(self.plan).items()})
                for p in self.parts
            ),
            Counter(),
        )

    def n_missing(self) -> int:
        """Executions that are to be run now."""
        unasked = sum(
            n * len(self.plan.prompts(use_case)) for (_, use_case), n in self._left().items()
        )
        return sum(len(spec.prompts) for spec in self._missing()) + unasked

    def n_missing_trials(self) -> int:
        """Trials that are to be run now."""
        return len(self._missing()) + self._left().total()

    def token_bound(self) -> int:
        """The most new tokens they can give, about."""
        models = {model.label: model for model in self.resolved.models}
        planned = sum(
            trial_bound(spec, tuple(p.number for p in spec.prompts), models[spec.setup.model])
            for spec in self._missing()
        )
        return planned + unasked_bound(self.plan, models, self._left())

    def prompt_bound(self, spec: TrialSpec, number: int) -> int:
        """The same of one prompt of a trial."""
        model = next(m for m in self.resolved.models if m.label == spec.setup.model)
        return trial_bound(spec, (number,), model)


def prepare(resolved: Resolved, revisions: dict[str, str], rerun: tuple[str, ...] = ()) -> Prepared:
    """Make the plan and find what is missing of it. Reads only. Raises UserError."""
    paths = DataSetPaths(resolved.request.out)
    resolved, plan = _as_begun(resolved, revisions, paths)
    before = read_plan(paths.sweep(plan.id)) if paths.sweep(plan.id).exists() else None
    if before:
        check_same_weights(before, plan)
    trials, faults = read_all(paths, unfinished=True)
    if faults:
        raise UserError(
            *(
                f"{paths.root}/{fault}: can't be read as a trial; restore it or move it out of the data set"
                for fault in faults
            )
        )
    return Prepared(
        resolved=resolved,
        plan=plan,
        paths=paths,
        trials=trials,
        parts=[_part(resolved, plan, trials, kind, rerun) for kind in plan.kinds()],
        before=before,
        notes=(
            *([] if before else neighbours(plan, paths.sweeps)),
            *_small_machines(plan, resolved),
        ),
    )


def _as_begun(
    resolved: Resolved, revisions: dict[str, str], paths: DataSetPaths
) -> tuple[Resolved, SweepPlan]:
    """The plan; of a study that was begun when the default objectives were others, with those, if the file names none."""
    plan = make_plan(resolved, revisions)
    if (
        resolved.sampler.options is not OptunaOptions
        or "objectives" in resolved.space.options
        or paths.sweep(plan.id).exists()
    ):
        return resolved, plan
    space = resolved.space.model_copy(
        update={"options": {**resolved.space.options, "objectives": FORMER_OBJECTIVES}}
    )
    note = f"this study keeps the objective that it was begun with: {', '.join(FORMER_OBJECTIVES)}; newer ones have quality, too"
    former = replace(resolved, space=space, notes=(*resolved.notes, note))
    as_begun = make_plan(former, revisions)
    return (former, as_begun) if paths.sweep(as_begun.id).exists() else (resolved, plan)


def _small_machines(plan: SweepPlan, resolved: Resolved) -> list[str]:
    what = "run it, and their rows will say that" if plan.each else "get no trials, since"
    return [
        f"nodes labelled {name} {what} a model doesn't fit in their GPU"
        for name in too_small(plan, resolved)
    ]


def _part(
    resolved: Resolved, plan: SweepPlan, trials: Trials, kind: str | None, rerun: tuple[str, ...]
) -> Part:
    ledger = Ledger(trials, kind, rerun)
    records = of_kind(plan, trials.records(), kind)
    specs = [
        spec
        for spec in specs_of(plan, records)
        if resolved.shard is None or resolved.shard.has(spec)
    ]
    missing = {spec.key(): left for spec in specs if (left := ledger.missing(spec))}
    again = {(key, prompt.number) for key, spec in missing.items() for prompt in spec.prompts}
    return Part(
        machine=kind,
        missing=list(missing.values()),
        done=[
            e for spec in specs for e in ledger.done(spec) if (spec.key(), e.prompt) not in again
        ],
        asked=asked_of(plan, records) if plan.learns() else {},
    )


def known_revisions(resolved: Resolved) -> dict[str, str]:
    """Revisions as far as they are known without network; for `plan`. A sweep that was begun names its own."""
    if resolved.request.engine == "simulated":
        return {model.label: "simulated" for model in resolved.models}
    begun = {setup.model: setup.revision for setup in begun_setups(resolved)}
    return {
        model.label: expected_revision(model) or begun.get(model.label, "not staged yet")
        for model in resolved.models
    }


def staged_revisions(resolved: Resolved, say: Say) -> dict[str, str]:
    """Revisions of weights that are on this machine, fetched where they were not. Raises ModelUnavailableError.

    Fetching runs in a process of its own: it needs torch, and the driver is to stay small and idle while trials measure.
    """
    if resolved.request.engine == "simulated":
        return known_revisions(resolved)
    return {model.label: _staged(model, say) for model in resolved.models}


def _staged(model: Model, say: Say) -> str:
    if found := locate(model):
        return found.revision
    say(f"{model.label}: not on this machine yet, staging it")
    command = [sys.executable, "-m", "orchestrator", "models", "stage", model.ref]
    environment = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    for line in done.stdout.splitlines():
        say(line)
    found = locate(model) if done.returncode == 0 else None
    if found is None:
        reason = [line for line in done.stderr.splitlines() if line.strip()][-3:] or [
            "staging failed"
        ]
        raise ModelUnavailableError(*(line.removeprefix("error: ") for line in reason))
    return found.revision


def check_folder(out: Path, where: str = "--out") -> Path:
    """What exists of a folder's path. Raises UserError where that is no folder, or no path that a system takes.

    `where`: what the user named it by.
    """
    try:
        existing = next(
            p for p in (out.absolute(), *out.absolute().parents) if p.exists() or p.is_symlink()
        )
    except OSError as error:
        raise UserError(
            f"{where} {out}: can't be read ({error.strerror}); name a folder of yours"
        ) from error
    if not existing.is_dir():
        raise UserError(f"{where} {out}: {existing} is no folder; name one")
    return existing


def check_writable(out: Path) -> None:
    """Raise UserError where the data set's folder can't be made or written. Leaves nothing behind."""
    try:
        existing = check_folder(out)
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(
            f"--out {out}: can't be written ({error.strerror}); name a folder of yours"
        ) from error
