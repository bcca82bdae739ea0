"""What of a plan is missing in the data set: resume is nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.dataset.schema import Execution
from orchestrator.dataset.tables import Trials
from orchestrator.nouns import TrialKey, TrialSpec

SUSPECT_FLAGS = frozenset({"throttled", "thermal_drift", "foreign_load", "meter_disagreement", "window_mismatch"})
"""Flags of a measurement that may come out better another time; the others tell how a machine measures, always."""

RERUN: dict[str, Callable[[Execution], bool]] = {
    "failed": lambda execution: execution.status == "failed",
    "oom": lambda execution: execution.error_kind == "oom",
    "timeout": lambda execution: execution.error_kind == "timeout",
    "flagged": lambda execution: not SUSPECT_FLAGS.isdisjoint(execution.flags),
}
"""What --rerun takes -> which finished executions are run once more. The newest ok attempt counts; older ones stay."""


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
            for columns, execution, record in trials.counted(key):
                if machine not in (None, columns.machine):
                    continue
                done = self._done[record.spec.key()]
                before = done.executions.get(execution.prompt)
                if before is None or before.status == "failed":
                    done.executions[execution.prompt] = execution
            for record in trials.attempts(key):
                if machine in (None, record.columns.machine):
                    done = self._done[record.spec.key()]
                    done.attempt = max(done.attempt, record.spec.attempt)

    def missing(self, spec: TrialSpec) -> TrialSpec | None:
        """A planned trial with the prompts that it still has to run, as its next attempt; None: there are none."""
        done = self._done.get(spec.key(), Done())
        prompts = tuple(p for p in spec.prompts if p.number not in done.executions or self._again(done.executions[p.number]))
        if not prompts:
            return None
        return spec.model_copy(update={"prompts": prompts, "attempt": done.attempt + 1})

    def _again(self, execution: Execution) -> bool:
        return any(wanted(execution) for wanted in self._rerun)

    def done(self, spec: TrialSpec) -> list[Execution]:
        """The counted executions of a planned trial's prompts."""
        executions = self._done.get(spec.key(), Done()).executions
        return [executions[p.number] for p in spec.prompts if p.number in executions]
