"""summary.parquet: a row a trial, each column declared with the function that computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

from orchestrator.dataset.energy import counted_energy_j, rel_uncertainty_of_sum
from orchestrator.dataset.flags import TrialSum, trial_flags
from orchestrator.dataset.gross_energy import energy_row
from orchestrator.dataset.schema import Execution, TrialColumns, TrialRecord
from orchestrator.nouns import Column, Noun, derived_values
from orchestrator.unknowns import known, mean_of_known, product, quotient, sum_of_all


@dataclass(frozen=True)
class Chosen:
    """An execution that counts, with the trial record it stands in and what was judged of it."""

    execution: Execution
    record: TrialRecord
    usable: bool | None = None
    quality: float | None = None


@dataclass(frozen=True)
class TrialGroup:
    """The chosen executions of one trial, one a prompt: what a row of the summary runs over."""

    chosen: Sequence[Chosen]

    @cached_property
    def ok(self) -> list[Chosen]:
        """Those without an error."""
        return [one for one in self.chosen if one.execution.status == "ok"]

    @cached_property
    def kept(self) -> list[Chosen]:
        """Of the ok ones, those that were not discarded."""
        return [one for one in self.ok if one.usable is not False]

    @cached_property
    def discarded(self) -> list[Chosen]:
        """Of the ok ones, those whose text is not usable."""
        return [one for one in self.ok if one.usable is False]

    @cached_property
    def n_usable(self) -> int | None:
        """Of the ok ones, the usable ones; None: none was evaluated."""
        if all(one.usable is None for one in self.ok):
            return None
        # texts without a verdict count neither way
        return sum(one.usable is True for one in self.ok)

    @cached_property
    def basis(self) -> str | None:
        """The column whose energy counts for all ok executions; None: mixed or not measured."""
        bases = {one.execution.energy_basis for one in self.ok}
        return bases.pop() if len(bases) == 1 else None

    def counted_energy_j(self, some: Sequence[Chosen]) -> float | None:
        """Energy of `basis` over some executions; None: not measured or there are none."""
        if self.basis is None:
            return None
        return sum_of_all(counted_energy_j(vars(one.execution)) for one in some)

    def rel_uncertainty(self, some: Sequence[Chosen]) -> float | None:
        """That of counted_energy_j(some); None: unknown, or there is no such energy."""
        if self.basis is None:
            return None
        return rel_uncertainty_of_sum(energy_row(one.execution, one.record.columns) for one in some)

    def wasted_energy_j(self) -> float | None:
        """What the discarded executions took; 0 where all were kept."""
        if self.basis is None or self.n_usable is None:
            return None
        if not self.discarded:
            return 0.0
        return self.counted_energy_j(self.discarded)

    def energy_per_usable_j(self) -> float | None:
        """What all ok executions took over the number of usable ones."""
        return quotient(self.counted_energy_j(self.ok), self.n_usable)

    def quality(self) -> float | None:
        """Mean quality over the evaluated executions."""
        return mean_of_known(one.quality for one in self.ok)

    def load_s(self) -> float | None:
        """Seconds that loading the model took, where one of the records loaded it."""
        for one in self.chosen:
            if one.record.environment.loaded_here:
                return one.record.environment.load_s
        return None

    def flags(self) -> tuple[str, ...]:
        """Flags of any execution, and those of the whole trial."""
        # an answer may have been generated several times in its window
        executions = [one.execution for one in self.ok]
        windows_s = known(product(one.window_s, one.n_in_window) for one in executions)
        of_trial = trial_flags(TrialSum(busy_s=sum(windows_s)))
        of_executions = [flag for one in self.chosen for flag in one.execution.warning_flags]
        return tuple(sorted({*of_executions, *of_trial}))


def _values(some: Sequence[Chosen], column: str) -> list[Any]:
    """One column of some executions."""
    return [getattr(one.execution, column) for one in some]


def _total(some: Sequence[Chosen], column: str) -> Any:
    """Sum of a column, unknown values left out; 0 where none is known."""
    return sum(known(_values(some, column)))


class SummaryColumns(Noun):
    """One trial over its chosen executions; each column is derived from a TrialGroup."""

    n_executions: Annotated[
        int, Column("executions, one per prompt", derived=lambda group: len(group.chosen))
    ]
    n_ok: Annotated[
        int, Column("of these, generated without error", derived=lambda group: len(group.ok))
    ]
    n_usable: Annotated[
        int | None,
        Column(
            "of the ok ones, usable",
            null="none was evaluated",
            derived=lambda group: group.n_usable,
        ),
    ]
    n_discarded: Annotated[
        int,
        Column(
            "of the ok ones, not usable: the sums below run over the rest",
            derived=lambda group: len(group.discarded),
        ),
    ]
    quality: Annotated[
        float | None,
        Column(
            "mean over the evaluated executions, discarded ones included",
            "1",
            "none was evaluated",
            derived=lambda group: group.quality(),
        ),
    ]
    n_prompt_tokens: Annotated[
        int,
        Column(
            "tokens of the prompts, kept executions",
            "tokens",
            derived=lambda group: _total(group.kept, "n_prompt_tokens"),
        ),
    ]
    n_new_tokens: Annotated[
        int,
        Column(
            "tokens generated, kept executions",
            "tokens",
            derived=lambda group: _total(group.kept, "n_new_tokens"),
        ),
    ]
    window_s: Annotated[
        float,
        Column(
            "sum of the windows, kept executions",
            "s",
            derived=lambda group: float(_total(group.kept, "window_s")),
        ),
    ]
    tokens_per_s: Annotated[
        float | None,
        Column(
            "new tokens divided by the sum of the windows",
            "1/s",
            "no kept execution",
            derived=lambda group: quotient(
                _total(group.kept, "n_new_tokens"), _total(group.kept, "window_s")
            ),
        ),
    ]
    counted_energy_j: Annotated[
        float | None,
        Column(
            "sum of the energies that energy_basis names, gross (idle power included), kept "
            "executions",
            "J",
            "mixed, one is not measured or none is kept",
            derived=lambda group: group.counted_energy_j(group.kept),
        ),
    ]
    energy_rel_uncertainty: Annotated[
        float | None,
        Column(
            "relative expanded uncertainty (95 %) of counted_energy_j and energy_per_token_j",
            "1",
            "there is no such energy, or it is a model's, whose error is not known",
            derived=lambda group: group.rel_uncertainty(group.kept),
        ),
    ]
    energy_kwh: Annotated[
        float | None,
        Column(
            "sum of CodeCarbon's totals, kept executions",
            "kWh",
            "one is not measured or none is kept",
            derived=lambda group: sum_of_all(_values(group.kept, "energy_kwh")),
        ),
    ]
    energy_j: Annotated[
        float | None,
        Column(
            "energy_kwh in joules",
            "J",
            "one is not measured or none is kept",
            derived=lambda group: sum_of_all(_values(group.kept, "energy_j")),
        ),
    ]
    emissions_kg: Annotated[
        float | None,
        Column(
            "CO2 equivalent of energy_kwh",
            "kg",
            "one is not measured or none is kept",
            derived=lambda group: sum_of_all(_values(group.kept, "emissions_kg")),
        ),
    ]
    gpu_energy_counter_j: Annotated[
        float | None,
        Column(
            "sum over the GPU's counter",
            "J",
            "one is not measured or none is kept",
            derived=lambda group: sum_of_all(_values(group.kept, "gpu_energy_counter_j")),
        ),
    ]
    energy_per_token_j: Annotated[
        float | None,
        Column(
            "counted_energy_j divided by n_new_tokens",
            "J",
            "mixed, one is not measured or none is kept",
            derived=lambda group: quotient(
                group.counted_energy_j(group.kept), _total(group.kept, "n_new_tokens")
            ),
        ),
    ]
    energy_basis: Annotated[
        str | None,
        Column(
            "the column of executions.parquet that counted_energy_j sums up",
            null="mixed or not measured",
            derived=lambda group: group.basis,
        ),
    ]
    wasted_energy_j: Annotated[
        float | None,
        Column(
            "energy of energy_basis that the discarded executions took",
            "J",
            "not evaluated or not measured",
            derived=lambda group: group.wasted_energy_j(),
        ),
    ]
    wasted_energy_rel_uncertainty: Annotated[
        float | None,
        Column(
            "relative expanded uncertainty (95 %) of wasted_energy_j",
            "1",
            "there is no such energy, or it is a model's, whose error is not known",
            derived=lambda group: group.rel_uncertainty(group.discarded),
        ),
    ]
    energy_per_usable_j: Annotated[
        float | None,
        Column(
            "energy of energy_basis of all ok executions divided by n_usable",
            "J",
            "not evaluated, not measured or none usable",
            derived=lambda group: group.energy_per_usable_j(),
        ),
    ]
    energy_per_usable_rel_uncertainty: Annotated[
        float | None,
        Column(
            "relative expanded uncertainty (95 %) of energy_per_usable_j",
            "1",
            "there is no such energy, or it is a model's, whose error is not known",
            derived=lambda group: group.rel_uncertainty(group.ok) if group.n_usable else None,
        ),
    ]
    load_s: Annotated[
        float | None,
        Column(
            "loading the model, where this trial did",
            "s",
            "it was loaded already",
            derived=lambda group: group.load_s(),
        ),
    ]
    warning_flags: Annotated[
        tuple[str, ...],
        Column(
            "flags of any execution, and of the whole trial; see Flags",
            derived=lambda group: group.flags(),
        ),
    ]


class SummaryRow(SummaryColumns, TrialColumns):
    """A row of summary.parquet."""


def summary_values(chosen: Sequence[Chosen]) -> dict[str, Any]:
    """The row of summary.parquet of a trial: its newest attempt's columns, and what follows."""
    newest = max((one.record.columns for one in chosen), key=lambda columns: columns.attempt)
    return newest.model_dump() | derived_values(SummaryColumns, TrialGroup(chosen))
