"""The rows of the page's tables of trials and of configurations: what each took, and what to doubt.

One word says whether a row's energies can be trusted, with reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from orchestrator.dataset.energy import TOTAL_ENERGY
from orchestrator.dataset.flags import DOUBTFUL, FLAGS
from orchestrator.dataset.gross_energy import gross_energy
from orchestrator.nouns import PARAMETERS
from orchestrator.report.configurations import front
from orchestrator.report.effects import CONFIDENCE
from orchestrator.report.execution_frame import ENERGY_COLUMNS, Data, rows_of
from orchestrator.units import plural
from orchestrator.unknowns import mean_of_known, quotient

Word = Literal["measured", "modelled", "doubtful", "nothing kept"]

PLACE = ("model", "setup", "machine", "use_case")
CONFIGURATION_KEY = (*PLACE, *PARAMETERS)
"""Columns that tell which configuration an execution belongs to, in which place."""
TRIAL_KEY = (*PLACE, "strategy", "config_index", "config_hash", "repetition")
"""Columns that tell which trial an execution belongs to."""
MOST_OTHERS = 20
"""So many flags that this version doesn't have are named."""


@dataclass(frozen=True)
class TrialRow:
    """One trial, or one configuration with all its trials."""

    name: str
    """Index and repeat, as in the trial's folder; of a configuration its index."""
    word: Word
    why: tuple[str, ...]
    first: Mapping[str, Any]
    """An execution of it: its place, and the values that were requested."""
    n_executions: int
    n_kept: int
    """How many succeeded, were measured and not discarded."""
    energy_name: str
    """What was measured: 'GPU energy (counter)'."""
    energy_per_token_j: float | None
    """None where nothing was kept, or energies of several meters, which have no sum."""
    energy_rel_uncertainty: float | None
    """Of the kept executions together; None where one is unknown, as those of models are."""
    energy_per_usable_j: float | None
    """What all ok executions took over the number of usable texts; None without a usable one."""
    per_usable_interval_j: tuple[float, float] | None
    """Its 95 % interval, by that of the share of usable texts; None where one isn't judged."""
    n_usable: int
    n_judged: int
    """Texts that have a verdict."""
    quality: float | None
    on_front: bool = False
    """Whether no other configuration of its place is at least as good in J/token and quality, and
    better in one."""

    @property
    def folder(self) -> str:
        """Its first execution's trial's folder, relative to the data set's."""
        return str(self.first["execution"]).rpartition("#")[0]


def trial_rows(data: Data) -> list[TrialRow]:
    """One row for each trial, the doubtful ones first."""
    order = {"doubtful": 0, "nothing kept": 1, "modelled": 2, "measured": 3}
    rows = [
        _row(f"{int(some[0]['config_index']):04d}-r{int(some[0]['repetition'])}", some)
        for some in _grouped(data, TRIAL_KEY)
    ]
    return sorted(rows, key=lambda row: order[row.word])


def configuration_rows(data: Data) -> list[TrialRow]:
    """One row for each configuration in each place: those whose usable answer is cheapest first."""
    rows = [
        _row(f"{int(some[0]['config_index']):04d}", some)
        for some in _grouped(data, CONFIGURATION_KEY)
    ]
    best = _on_front(rows)
    marked = [replace(row, on_front=number in best) for number, row in enumerate(rows)]
    return sorted(
        marked, key=lambda row: (row.energy_per_usable_j is None, row.energy_per_usable_j or 0.0)
    )


def _on_front(rows: Sequence[TrialRow]) -> set[int]:
    """Numbers of the rows on the Pareto front of their place."""
    import pandas as pd

    known = [
        {
            "place": tuple(row.first[name] for name in PLACE),
            "energy_per_token_j": row.energy_per_token_j,
            "quality": row.quality,
        }
        for row in rows
    ]
    table = pd.DataFrame(known, columns=["place", "energy_per_token_j", "quality"])
    table = table.dropna().astype({"energy_per_token_j": float, "quality": float})
    fronts = [front(some) for _, some in table.groupby("place")]
    return {number for one in fronts for number in one.index[one]}


def _interval(
    per_usable_j: float | None, n_usable: int, n_judged: int, n_ok: int
) -> tuple[float, float] | None:
    """The 95 % interval of joules per usable answer: that of the share of usable ones (Wilson)."""
    from statsmodels.stats.proportion import proportion_confint

    if per_usable_j is None or n_judged < n_ok:
        return None
    lower, upper = proportion_confint(n_usable, n_ok, alpha=1 - CONFIDENCE, method="wilson")
    share = n_usable / n_ok
    return per_usable_j * share / float(upper), per_usable_j * share / float(lower)


def _grouped(data: Data, key: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """The executions with the same values in `key`'s columns, sorted by these. None is unknown."""
    of_result = ("measured", "discarded", "usable", "quality", "warning_flags")
    columns = dict.fromkeys(
        (
            *TRIAL_KEY,
            *PARAMETERS,
            *ENERGY_COLUMNS,
            "execution",
            "status",
            "n_new_tokens",
            *of_result,
        )
    )
    in_order = data.all[list(columns)].sort_values(list(key), kind="stable")
    grouped = groupby(rows_of(in_order, list(columns)), itemgetter(*key))
    return (list(rows) for _, rows in grouped)


def _row(name: str, executions: list[dict[str, Any]]) -> TrialRow:
    """The row of some executions."""
    ok = [one for one in executions if one["status"] == "ok"]
    kept = [one for one in executions if one["measured"] and not one["discarded"]]
    judged = [one for one in ok if one["usable"] is not None]
    n_usable = sum(bool(one["usable"]) for one in judged)
    flags = {flag for one in executions for flag in one["warning_flags"] or ()}
    energies, of_ok = gross_energy(kept), gross_energy(ok)
    energy_per_token_j = energy_rel_uncertainty = energy_per_usable_j = None
    if energies.only is not None:
        n_new_tokens = sum(one["n_new_tokens"] for one in kept)
        energy_per_token_j = quotient(energies.only.counted_energy_j, n_new_tokens)
        energy_rel_uncertainty = energies.only.energy_rel_uncertainty
    # a sum without the unmeasured ones would pass for the whole
    if of_ok.only is not None and not of_ok.n_unmeasured:
        energy_per_usable_j = quotient(of_ok.only.counted_energy_j, n_usable)
    return TrialRow(
        name=name,
        word=_word(kept, flags),
        why=tuple(_reasons(executions, kept, flags)),
        first=executions[0],
        n_executions=len(executions),
        n_kept=len(kept),
        energy_name=" and ".join(one.name for one in energies.of_basis),
        energy_per_token_j=energy_per_token_j,
        energy_rel_uncertainty=energy_rel_uncertainty,
        energy_per_usable_j=energy_per_usable_j,
        per_usable_interval_j=_interval(energy_per_usable_j, n_usable, len(judged), len(ok)),
        n_usable=n_usable,
        n_judged=len(judged),
        quality=mean_of_known(one["quality"] for one in ok),
    )


def _word(kept: Sequence[Mapping[str, Any]], flags: set[str]) -> Word:
    """How far the energies of some executions can be trusted, in a word."""
    if not kept:
        return "nothing kept"
    # a doubt weighs more than whether the energy was measured
    if not flags.isdisjoint(DOUBTFUL):
        return "doubtful"
    if any(one["energy_basis"] == TOTAL_ENERGY for one in kept):
        return "modelled"
    return "measured"


def _reasons(
    executions: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, Any]], flags: set[str]
) -> list[str]:
    """Everything that speaks against the numbers of some executions, one sentence each."""
    reasons = [f"{name}: {flag.meaning}" for name, flag in FLAGS.items() if name in flags]
    # a flag that an earlier version of this program set
    others = sorted(flags - FLAGS.keys())
    reasons += [
        f"{flag}: a flag of another version of this program" for flag in others[:MOST_OTHERS]
    ]
    if len(others) > MOST_OTHERS:
        reasons.append(f"and {len(others) - MOST_OTHERS:,} more flags")
    bases = {one["energy_basis"] for one in kept}
    if bases == {TOTAL_ENERGY}:
        reasons.append(
            "without a GPU, the energy is CodeCarbon's estimate for CPU and RAM, with no known "
            "uncertainty: good for trying out, not for publishing"
        )
    if len(bases) > 1:
        reasons.append("its energies are those of different meters, which have no sum")
    n_failed = sum(one["status"] != "ok" for one in executions)
    if n_failed:
        reasons.append(f"{n_failed} of {plural(len(executions), 'execution')} failed")
    n_discarded = sum(bool(one["discarded"]) for one in executions)
    if n_discarded:
        was_or_were = "was" if n_discarded == 1 else "were"
        reasons.append(
            f"{n_discarded} of {plural(len(executions), 'text')} {was_or_were} discarded"
        )
    return reasons
