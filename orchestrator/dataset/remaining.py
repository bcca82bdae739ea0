"""What of a plan is missing in the data set: resume is nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.sweep_plan import PlannedTrial, SweepPlan
from orchestrator.dataset.tables import Trials
from orchestrator.nouns import TrialKey, TrialSpec

SUSPECT_FLAGS = frozenset(
    {"throttled", "thermal_drift", "foreign_load", "meter_disagreement", "window_mismatch"}
)
"""Flags of a measurement that may come out better another time; the others tell how a machine measures, always."""

RERUN: dict[str, Callable[[Execution], bool]] = {
    "failed": lambda execution: execution.status == "failed",
    "oom": lambda execution: execution.error_kind == "oom",
    "timeout": lambda execution: execution.error_kind == "timeout",
    "flagged": lambda execution: not SUSPECT_FLAGS.isdisjoint(execution.flags),
}
"""What --rerun takes -> which finished executions are run once more. The newest ok attempt counts; older ones stay."""


def specs_of(plan: SweepPlan, records: Iterable[TrialRecord]) -> list[TrialSpec]:
    """Every trial of a plan as far as it is known: a learning sampler's are those it has asked for."""
    if not plan.learns():
        return list(plan.specs())
    return [
        plan.spec(
            PlannedTrial(
                strategy=plan.strategy, model=model, use_case=use_case, index=index, repeat=repeat
            ),
            0,
            spec.asked,
        )
        for (model, use_case), of_setup in asked_of(plan, records).items()
        for index, spec in sorted(of_setup.items())
        for repeat in range(1, plan.repeats + 1)
    ]


def finished_of(plan: SweepPlan, trials: Trials) -> list[tuple[TrialSpec, list[Execution]]]:
    """Every trial of a plan with the executions that count for it, failed ones included."""
    found = []
    for kind in plan.kinds():
        ledger = Ledger(trials, kind)
        found += [
            (spec, ledger.done(spec))
            for spec in specs_of(plan, of_kind(plan, trials.records(), kind))
        ]
    return found


def of_kind(
    plan: SweepPlan, records: Sequence[TrialRecord], kind: str | None
) -> Sequence[TrialRecord]:
    """What a learning sampler may know: where each machine runs the whole plan, each has studies of its own."""
    return (
        [record for record in records if record.columns.machine == kind] if plan.each else records
    )


def relevant(plan: SweepPlan, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials that a sweep's runs measured, in their order, then those of other sweeps that count for it."""
    planned = {spec.key() for spec in specs_of(plan, records)}
    found = [
        record
        for record in records
        if record.spec.sweep_id == plan.id or record.spec.key() in planned
    ]
    return sorted(
        found, key=lambda record: (record.spec.sweep_id != plan.id, record.columns.order_index)
    )


def n_missing(plan: SweepPlan, finished: Iterable[tuple[TrialSpec, list[Execution]]]) -> int:
    """How many executions a plan still misses."""
    return max(0, plan.n_executions() - sum(len(done) for _, done in finished))


def asked_of(
    plan: SweepPlan, records: Iterable[TrialRecord]
) -> dict[tuple[str, str], dict[int, TrialSpec]]:
    """What a learning sampler has asked for: by model and use case, then by index."""
    wanted = {(setup.model, setup.use_case) for setup in plan.setups}
    asked: dict[tuple[str, str], dict[int, TrialSpec]] = {}
    for record in records:
        pair = (record.setup.model, record.setup.use_case)
        if record.spec.sweep_id == plan.id and pair in wanted:
            asked.setdefault(pair, {}).setdefault(record.spec.index, record.spec)
    return asked


def failures(executions: Iterable[Execution]) -> Counter[str]:
    """How many of them failed, by kind."""
    return Counter(e.error_kind or "other" for e in executions if e.status == "failed")


def by_kind(failed: Mapping[str, int]) -> str:
    """'2 nan, 1 oom', for a person."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(failed.items()))


@dataclass
class Done:
    """What the data set holds of one trial: the counted execution of each prompt."""

    executions: dict[int, Execution] = field(default_factory=dict)
    attempt: int = 0


class Ledger:
    """The finished executions of a data set, by trial. `machine` None: on whatever machine."""

    def __init__(self, trials: Trials, machine: str | None, rerun: Iterable[str] = ()) -> None:
        self._rerun = [RERUN[name] for name in rerun]
        self._done: dict[TrialKey, Done] = defaultdict(Done)
        for key in trials:
            attempts = trials.attempts(key)
            if machine not in (None, attempts[0].columns.machine):
                continue
            done = self._done[
                attempts[0].spec.key()
            ]  # a hash: once for all attempts, which share it and the machine
            for _, execution, _ in trials.counted(key):
                before = done.executions.get(execution.prompt)
                if before is None or before.status == "failed":
                    done.executions[execution.prompt] = execution
            done.attempt = max(done.attempt, *(record.spec.attempt for record in attempts))

    def missing(self, spec: TrialSpec) -> TrialSpec | None:
        """A planned trial with the prompts that it still has to run, as its next attempt; None: there are none."""
        done = self._done.get(spec.key(), Done())
        prompts = tuple(
            p
            for p in spec.prompts
            if p.number not in done.executions or self._again(done.executions[p.number])
        )
        if not prompts:
            return None
        return spec.model_copy(update={"prompts": prompts, "attempt": done.attempt + 1})

    def _again(self, execution: Execution) -> bool:
        return any(wanted(execution) for wanted in self._rerun)

    def done(self, spec: TrialSpec) -> list[Execution]:
        """The counted executions of a planned trial's prompts."""
        executions = self._done.get(spec.key(), Done()).executions
        return [executions[p.number] for p in spec.prompts if p.number in executions]
