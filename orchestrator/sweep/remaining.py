"""What of a plan is missing in the data set: resume is nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trials import Measured, Origin, first_of_each_prompt, read_partial
from orchestrator.nouns import Prompt, TrialSpec

Key = tuple[str, str, str, str, int]


@dataclass
class Done:
    """What the data set holds of one trial."""

    prompts: set[int] = field(default_factory=set)
    attempt: int = 0
    partial: tuple[TrialSpec, Origin, list[Measured]] | None = None


@dataclass(frozen=True)
class Missing:
    """A trial with the prompts that it still has to run."""

    spec: TrialSpec
    todo: tuple[int, ...]
    prior_energy_j: float | None = 0.0
    prior_tokens: int = 0


class Ledger:
    """The finished executions of a data set, by trial. `machine` None: on whatever machine."""

    def __init__(self, paths: DataSetPaths, records: Iterable[TrialRecord], machine: str | None) -> None:
        self._done: dict[Key, Done] = defaultdict(Done)
        for record in records:
            if machine in (None, record.columns.machine):
                done = self._done[record.spec.key()]
                done.prompts |= {execution.prompt for execution in record.executions}
                done.attempt = max(done.attempt, record.spec.attempt)
        for folder in paths.partial_trials():
            try:
                spec, origin, _, measured = read_partial(folder)
            except (OSError, ValueError, KeyError):
                continue  # cut off before its first execution was written: nothing to keep
            if machine in (None, origin.columns.machine):
                self._done[spec.key()].partial = (spec, origin, first_of_each_prompt(measured))

    def missing(self, spec: TrialSpec) -> Missing | None:
        """What a planned trial still has to run; None: nothing.

        An unfinished folder is continued; a sealed one is never touched, so prompts it lacks go into a new attempt.
        """
        done = self._done.get(spec.key(), Done())
        if done.partial is not None:
            begun, _, measured = done.partial
            have = done.prompts | {m.execution.prompt for m in measured}
            asked_for = spec.prompts
            prompts = _union(begun.prompts, tuple(p for p in spec.prompts if p.number not in done.prompts))
            spec = begun.model_copy(update={"prompts": prompts})
            energy_j, tokens = _so_far(measured)
            todo = tuple(p.number for p in asked_for if p.number not in have)
            if todo:
                return Missing(spec, todo, energy_j, tokens)
            return Missing(spec, ()) if measured else None
        prompts = tuple(p for p in spec.prompts if p.number not in done.prompts)
        if not prompts:
            return None
        return Missing(
            spec.model_copy(update={"prompts": prompts, "attempt": done.attempt + 1}), tuple(p.number for p in prompts)
        )

    def n_done(self, spec: TrialSpec) -> int:
        """How many of a planned trial's prompts are in the data set."""
        done = self._done.get(spec.key(), Done())
        have = done.prompts | ({m.execution.prompt for m in done.partial[2]} if done.partial else set())
        return len(have & {p.number for p in spec.prompts})

    def unfinished(self, sweep_id: str) -> list[TrialSpec]:
        """Specs of the cut-off trials of a sweep."""
        return [done.partial[0] for done in self._done.values() if done.partial and done.partial[0].sweep_id == sweep_id]


def _union(first: tuple[Prompt, ...], second: tuple[Prompt, ...]) -> tuple[Prompt, ...]:
    return tuple({p.number: p for p in (*first, *second)}[n] for n in sorted({p.number for p in (*first, *second)}))


def _so_far(measured: list[Measured]) -> tuple[float | None, int]:
    """Energy and tokens of the finished part, for the trial's own metric; None where one is unknown."""
    ok = [m.execution for m in measured if m.execution.status == "ok"]
    known = [getattr(e, e.energy_basis) for e in ok if e.energy_basis]
    return sum(known) if len(known) == len(ok) else None, sum(e.n_new_tokens or 0 for e in ok)
