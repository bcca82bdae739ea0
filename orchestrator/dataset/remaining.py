"""What of a plan is missing in the data set: resuming a sweep is nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from orchestrator.dataset import flags
from orchestrator.dataset.packed import PickedRecords
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.dataset.tables import Trials, chosen_of
from orchestrator.nouns import TrialKey, TrialSpec


class Ended(Protocol):
    """How an execution ended: an Execution, or a FinishedExecution."""

    @property
    def status(self) -> str:
        """Ok or failed."""

    @property
    def error_kind(self) -> str | None:
        """Why it failed."""

    @property
    def warning_flags(self) -> tuple[str, ...]:
        """What to know or to doubt of the measurement."""


class FinishedExecution(NamedTuple):
    """What has to be known of an execution that counts: a plan may have a million."""

    prompt_number: int
    status: str
    error_kind: str | None
    warning_flags: tuple[str, ...]
    started_at: datetime
    whole_window_s: float


RERUN: dict[str, Callable[[Ended], bool]] = {
    "failed": lambda execution: execution.status == "failed",
    "oom": lambda execution: execution.error_kind == "oom",
    "timeout": lambda execution: execution.error_kind == "timeout",
    "flagged": lambda execution: not flags.RERUN.isdisjoint(execution.warning_flags),
}
"""What --rerun takes -> which finished executions are run once more.

The newest ok attempt counts; older ones stay in the data set.
"""


def specs_of(plan: SweepPlan, records: Iterable[TrialRecord]) -> list[TrialSpec]:
    """Every trial of a plan that is known by now.

    Of a sampler that learns these are the trials that it has proposed.
    """
    if not plan.learns():
        return list(plan.specs())
    specs: list[TrialSpec] = []
    for setup, of_setup in proposed_of(plan, records).items():
        for index, spec in sorted(of_setup.items()):
            specs += plan.repeats_of(setup, index, spec.configuration)
    return specs


FinishedTrials = list[tuple[TrialSpec, list[FinishedExecution]]]


def finished_of(plan: SweepPlan, trials: Trials) -> FinishedTrials:
    """Every trial of a plan with the executions that count for it, failed ones included.

    A trial occurs once for each kind of machine that runs the whole plan. One that has none has [].
    """
    pairs = []
    for machine in plan.kinds():
        finished = FinishedExecutions(trials, machine)
        specs = specs_of(plan, of_kind(plan, trials.records(), machine))
        pairs += [(spec, finished.of(spec)) for spec in specs]
    return pairs


def of_kind(
    plan: SweepPlan, records: Sequence[TrialRecord], machine: str | None
) -> Sequence[TrialRecord]:
    """The records that a sampler which learns may know of.

    Where each kind of machine runs the whole plan, each has studies of its own.
    """
    if not plan.each:
        return records
    enumerated = enumerate(records)
    places = [place for place, record in enumerated if record.columns.machine == machine]
    return PickedRecords(records, places)


def relevant(plan: SweepPlan, records: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """Trials that count for a plan: those that its own runs measured first, in their order.

    Trials of other sweeps count where their specification is that of a planned one.
    """
    planned = {spec.key() for spec in specs_of(plan, records)}
    counting = []
    for place, record in enumerate(records):
        is_own = record.spec.sweep_id == plan.id
        if is_own or record.spec.key() in planned:
            counting.append((not is_own, record.columns.order_index, place))
    return PickedRecords(records, [place for _, _, place in sorted(counting)])


def n_missing(plan: SweepPlan, finished: FinishedTrials) -> int:
    """How many executions a plan still misses.

    `finished`: as `finished_of` gives it. Never below 0, since a data set may hold more than a
    smaller plan wants.
    """
    return max(0, plan.n_executions() - sum(len(executions) for _, executions in finished))


def proposed_of(plan: SweepPlan, records: Iterable[TrialRecord]) -> dict[int, dict[int, TrialSpec]]:
    """What a sampler that learns has proposed: by place of the setup, then by index.

    Told from the first trial of each configuration that a run of this sweep measured.
    """
    places = {setup.key(): place for place, setup in enumerate(plan.setups)}
    proposed: dict[int, dict[int, TrialSpec]] = {}
    for record in records:
        spec = record.spec
        if spec.sweep_id != plan.id:
            continue
        place = places.get(spec.setup.key())
        if place is not None:
            proposed.setdefault(place, {}).setdefault(spec.config_index, spec)
    return proposed


def failures(executions: Iterable[Ended]) -> Counter[str]:
    """How many of the executions failed, by kind of error."""
    failed = filter(RERUN["failed"], executions)
    return Counter(execution.error_kind or "other" for execution in failed)


def oom_lengths(executions: Iterable[Execution]) -> list[int]:
    """The lengths at which memory ran out: of a batch that of its longest text."""
    lengths: dict[tuple[str, int], int] = {}
    for execution in executions:
        if execution.error_kind == "oom":
            window = ("prompt", execution.prompt_number)
            if execution.batch_number is not None:
                window = ("batch", execution.batch_number)
            length = execution.effective_max_length
            lengths[window] = max(length, lengths.get(window, length))
    return list(lengths.values())


def by_kind(failed: Mapping[str, int]) -> str:
    """'2 nan, 1 oom', for a person."""
    return ", ".join(f"{n} {kind}" for kind, n in sorted(failed.items()))


@dataclass
class _FinishedTrial:
    """What the data set holds of one trial."""

    executions: dict[int, FinishedExecution] = field(default_factory=dict)
    """Number of a prompt -> the execution that counts."""
    attempt: int = 0
    """The newest one."""


class FinishedExecutions:
    """The finished executions of a data set, by trial. `machine` None: on whatever machine."""

    def __init__(self, trials: Trials, machine: str | None, rerun: Iterable[str] = ()) -> None:
        self._rerun = [RERUN[name] for name in rerun]
        self._trials: dict[TrialKey, _FinishedTrial] = defaultdict(_FinishedTrial)
        for key in trials:
            attempts = trials.attempts(key)
            if machine not in (None, attempts[0].columns.machine):
                continue
            # the key hashes: once for all attempts, which share it and the machine
            finished = self._trials[attempts[0].spec.key()]
            for one in chosen_of(attempts):
                number = one.execution.prompt_number
                before = finished.executions.get(number)
                # where any machine will do, trials of several have one key; an ok execution stays
                if before is None or before.status == "failed":
                    finished.executions[number] = _finished(one.execution)
            newest = max(record.spec.attempt for record in attempts)
            finished.attempt = max(finished.attempt, newest)

    def missing(self, spec: TrialSpec) -> TrialSpec | None:
        """A planned trial with the prompts that it still has to run, as its next attempt.

        None: it has none.
        """
        finished = self._trials.get(spec.key(), _FinishedTrial())
        batch_of = spec.setup.batch_of
        # a batch is one window: where one of its prompts is to be run, all are
        wanted = {
            batch_of(prompt.number)
            for prompt in spec.prompts
            if self._is_wanted(finished.executions.get(prompt.number))
        }
        if not wanted:
            return None
        prompts = tuple(prompt for prompt in spec.prompts if batch_of(prompt.number) in wanted)
        return spec.model_copy(update={"prompts": prompts, "attempt": finished.attempt + 1})

    def _is_wanted(self, execution: FinishedExecution | None) -> bool:
        """Whether a prompt is to be run: it has no execution, or one that is to run again."""
        return execution is None or any(wanted(execution) for wanted in self._rerun)

    def of(self, spec: TrialSpec) -> list[FinishedExecution]:
        """The chosen executions of a planned trial's prompts."""
        executions = self._trials.get(spec.key(), _FinishedTrial()).executions
        return [executions[p.number] for p in spec.prompts if p.number in executions]


def _finished(execution: Execution) -> FinishedExecution:
    """What has to be known of an execution."""
    return FinishedExecution(*(getattr(execution, name) for name in FinishedExecution._fields))
