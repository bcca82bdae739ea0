"""Put data sets of machines that can't reach each other together.

What is new is copied, what is there is kept, what conflicts is refused. Everything is checked
before the first byte is written. The result doesn't depend on the order of the sources, nor on how
often they are merged. Trials of earlier schema versions are copied as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.atomic_files import make_folder, sync_folder, write_atomically
from orchestrator.check.folders import validate_folders
from orchestrator.dataset.drift import conditions, mixed, mixed_weights
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.lock import held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import finished_of, n_missing, relevant
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan, read_plans, write_plan
from orchestrator.dataset.tables import TableWriter, Trials, read_judgements
from orchestrator.dataset.trial_files import DERIVED_FILES
from orchestrator.dataset.verdicts import Decision, Verdicts, append_decision, write_verdicts
from orchestrator.errors import UserError
from orchestrator.nouns import digest
from orchestrator.outside_files import read_bytes
from orchestrator.say import Say

SHOWN = 20
"""At most so many conflicts are shown."""
MERGES = "merges data sets there"


@dataclass
class Side:
    """One data set: its sealed trials by place, and its plans."""

    root: Path
    sealed: dict[PurePosixPath, TrialRecord] = field(default_factory=dict)
    """machine/model/strategy/use case/folder -> what lies there."""
    unfinished: list[str] = field(default_factory=list)
    """Trials that run or were interrupted; they are not merged."""
    plans: dict[str, SweepPlan] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=Verdicts)
    decisions: list[Decision] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """What one data set adds."""

    root: Path
    new: tuple[PurePosixPath, ...]
    identical: int
    unfinished: tuple[str, ...]
    imported: bool = False
    """Whether it holds measurements made without this program, which are not merged."""


@dataclass(frozen=True)
class SweepGap:
    """A sweep of the merged data set against its plan."""

    id: str
    planned: int
    missing: int


@dataclass(frozen=True)
class Merge:
    """What a merge does, or would do."""

    out: Path
    sources: tuple[Source, ...]
    plans: tuple[SweepPlan, ...]
    """All plans as they stand afterwards."""
    trials: Trials
    """All sealed trials as they stand afterwards."""
    sweeps: tuple[SweepGap, ...]
    verdicts: Verdicts
    """All verdicts as they stand afterwards, by execution."""
    decisions: tuple[Decision, ...]
    """Decisions of persons that `out` doesn't have."""

    def n_new(self) -> int:
        """Trial folders that are copied."""
        return sum(len(source.new) for source in self.sources)


def merge(
    sources: Sequence[Path],
    out: Path,
    say: Say,
    *,
    dry_run: bool = False,
    accept_drift: bool = False,
) -> Merge:
    """Copy into `out` what the sources have and it hasn't, and rebuild its tables.

    Trials of one sweep that machines of one name measured under different conditions are a
    conflict, unless `accept_drift`.

    Raises UserError, before anything is written, naming every conflict, every faulty source, or
    who runs a sweep in `out`.
    """
    roots = {path.resolve(): path for path in sources}
    if out.resolve() in roots:
        raise UserError(
            f"--out {out}: is one of the data sets to merge; name another folder, it may be a new "
            "one"
        )
    sides = [_side(root) for root in roots.values()]
    if dry_run or not out.exists():  # a conflict leaves no new folder behind
        target = _side(out) if out.exists() else Side(out)
        planned = _planned(sides, target, accept_drift=accept_drift)
        if dry_run:
            return planned
    try:
        # no table is written meanwhile: verdicts that are added now would be overwritten
        with held(out, say, MERGES), alone(DataSetPaths(out), say, MERGES):
            planned = _planned(sides, _side(out), accept_drift=accept_drift)
            _write(planned)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be written ({error.strerror}); what was copied is "
            "whole, merge again"
        ) from error
    return planned


def _side(root: Path) -> Side:
    """Read and check a data set. Raises UserError where it isn't sound."""
    paths = DataSetPaths(root)
    trials, findings = validate_folders(paths, running=True, tables=False)  # they are made anew
    plans, unreadable = read_plans(paths)
    judgements, unread = read_judgements(paths)
    faults = [one for one in (*findings, *unread, *unreadable) if one.severity == "error"]
    if faults:
        first = f"{faults[0].where}: {faults[0].what}"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        see = f"see `orchestrator validate --out {root}`"
        raise UserError(f"{root}: {first}{more}; {see}")
    plans_by_id = {plan.id: plan for plan in plans}
    side = Side(
        root, plans=plans_by_id, verdicts=judgements.verdicts, decisions=judgements.decisions
    )
    for record in trials.records():
        folder = paths.trial(record.columns.machine, record.spec)
        place = PurePosixPath(folder.relative_to(root))
        if (folder / "trial.json").exists():
            side.sealed[place] = record
        else:
            side.unfinished.append(str(place))
    return side


def _planned(sides: list[Side], target: Side, *, accept_drift: bool) -> Merge:
    """What is to be copied from where. Raises UserError naming every conflict."""
    taken = {place: (target.root, record) for place, record in target.sealed.items()}
    plans = dict(target.plans)
    conflicts: list[str] = []
    sources = []
    for side in sides:
        new, clashes = _take_trials(side, taken)
        conflicts += clashes
        conflicts += _take_plans(side, plans)
        n_identical = len(side.sealed) - len(new)
        imported = DataSetPaths(side.root).imports.exists()
        sources.append(Source(side.root, tuple(new), n_identical, tuple(side.unfinished), imported))
    trials = Trials()
    for _, record in taken.values():
        trials.add(record)
    for plan in plans.values():
        conflicts += _of_other_weights(plan, trials)
        # on one kind of machine all trials of a sweep must have the same conditions
        if not accept_drift:
            conflicts += _drifted(plan, trials)
    n_more = len(conflicts) - SHOWN
    if n_more > 0:
        conflicts = [*conflicts[:SHOWN], f"... and {n_more} more conflicts"]
    if conflicts:
        raise UserError(*conflicts)
    joined_plans = tuple(plan for _, plan in sorted(plans.items()))
    return Merge(
        target.root,
        tuple(sources),
        joined_plans,
        trials,
        tuple(_gap(plan, trials) for plan in joined_plans),
        _verdicts([target, *sides]),
        _new_decisions(target, sides),
    )


def _take_plans(side: Side, plans: dict[str, SweepPlan]) -> list[str]:
    """Join a side's plans with those that are taken already; a line for each conflict."""
    conflicts = []
    for plan in side.plans.values():
        known = plans.get(plan.id, plan)
        joined = _joined(known, plan)
        if joined is None:
            conflicts.append(
                f"sweeps/{plan.id}.json: {side.root} ran this sweep with other weights "
                f"({_weights(plan)}) than the others ({_weights(known)}); leave one of them out"
            )
        else:
            plans[plan.id] = joined
    return conflicts


def _gap(plan: SweepPlan, trials: Trials) -> SweepGap:
    """How many executions of a sweep are missing in the merged data set."""
    missing = n_missing(plan, finished_of(plan, trials))
    return SweepGap(plan.id, plan.n_executions(), missing)


def _new_decisions(target: Side, sides: list[Side]) -> tuple[Decision, ...]:
    """Decisions of the sides that the target doesn't have, each once."""
    there = set(target.decisions)
    new: dict[Decision, None] = {}
    for side in sides:
        for decision in side.decisions:
            if decision not in there:
                new[decision] = None
    return tuple(new)


def _verdicts(sides: list[Side]) -> Verdicts:
    """All verdicts by execution; of two on one execution (by different rules) always the same one.

    `evaluate` makes them alike.
    """
    chosen = Verdicts()
    for side in sides:
        for execution, verdict in side.verdicts.items():
            both = (chosen.get(execution, verdict), verdict)
            chosen[execution] = max(both, key=lambda one: one.model_dump_json())
    return chosen


def _take_trials(
    side: Side, taken: dict[PurePosixPath, tuple[Path, TrialRecord]]
) -> tuple[list[PurePosixPath], list[str]]:
    """Add a side's trials to `taken`; the places that are new, and a line for each conflict.

    `taken`: place -> (data set that the trial is from, trial). An identical trial is no conflict.
    """
    new, conflicts = [], []
    for place, record in sorted(side.sealed.items()):
        root, present = taken.setdefault(place, (side.root, record))
        if present is record:
            new.append(place)
        elif present.sha256 != record.sha256:
            conflicts.append(_conflict(place, root, side.root))
    return new, conflicts


def _conflict(place: PurePosixPath, one: Path, other: Path) -> str:
    """The message for a trial whose two copies differ."""
    return (
        f"{place}: measured in {one} and, differently, in {other}; leave one of the two out, or "
        "give one of the machines a name of its own (--machine) before it measures"
    )


def _drifted(plan: SweepPlan, trials: Trials) -> list[str]:
    """A message for each condition in which a sweep's trials differ."""
    return [
        f"sweeps/{plan.id}.json: its trials were measured under different conditions on {change}; "
        "give one of the machines a name of its own (--machine) before it measures, or mix them "
        "with --accept-drift"
        for change in mixed(conditions(relevant(plan, trials.records())))
    ]


def _of_other_weights(plan: SweepPlan, trials: Trials) -> list[str]:
    """A message for each file of weights in which a sweep's trials differ."""
    return [
        f"sweeps/{plan.id}.json: its trials were measured with several weights of {change}; "
        "leave one of the data sets out"
        for change in mixed_weights(plan.model_sha256, relevant(plan, trials.records()))
    ]


def _joined(one: SweepPlan, other: SweepPlan) -> SweepPlan | None:
    """The larger of two plans of one sweep; None where their weights differ.

    The order of the two doesn't matter.
    """
    if _hashes(one) != _hashes(other):
        return None
    smaller, larger = sorted((one, other), key=_size)
    return larger.model_copy(
        update={
            "model_sha256": {**smaller.model_sha256, **larger.model_sha256},
            "machine": one.machine if one.machine == other.machine else None,
            "each": tuple(sorted({*one.each, *other.each})),
            "created_at": min(one.created_at, other.created_at),
        }
    )


def _hashes(plan: SweepPlan) -> set[str]:
    """A hash of each setup of a plan, revision of the weights included."""
    return {digest(setup.hashed()) for setup in plan.setups}


def _size(plan: SweepPlan) -> tuple[int, str]:
    """How many executions one kind of machine runs of a plan.

    The text makes the larger of two equal plans the same one in either order.
    """
    text = plan.model_dump_json(exclude={"created_at", "machine", "each"})
    return plan.n_executions() // len(plan.kinds()), text


def _weights(plan: SweepPlan) -> str:
    """The models of a plan with their revisions."""
    return ", ".join(sorted({f"{setup.model} {setup.revision}" for setup in plan.setups}))


def _write(merged: Merge) -> None:
    """Copy trials, each whole by one rename; then the plans, then the tables."""
    paths = DataSetPaths(merged.out)
    for source in merged.sources:
        for place in source.new:
            _copy(source.root / place, merged.out / place, paths.merging / place.name)
    with contextlib.suppress(FileNotFoundError):
        paths.merging.rmdir()
    for plan in merged.plans:
        write_plan(plan, paths.sweep(plan.id))
    for decision in merged.decisions:
        append_decision(paths, decision)
    if merged.verdicts:
        write_verdicts(paths, merged.verdicts)
    TableWriter(paths, merged.trials).flush()


def _copy(source: Path, target: Path, staged: Path) -> None:
    """Copy the files of a trial to a folder beside, then rename that to its place."""
    for name in (*DERIVED_FILES, "trial.json"):
        # telemetry is there only where there is a GPU
        with contextlib.suppress(FileNotFoundError):
            write_atomically(staged / name, read_bytes(source / name))
    make_folder(target.parent)
    staged.rename(target)
    sync_folder(target.parent)
