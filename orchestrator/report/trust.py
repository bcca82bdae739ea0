"""Whether a trial's number can be trusted: one word for each trial, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.dataset.energy import TOTAL_ENERGY
from orchestrator.dataset.flags import DOUBTFUL, FLAGS
from orchestrator.dataset.gross_energy import gross_energy
from orchestrator.report.execution_frame import Data, energy_rows
from orchestrator.units import plural
from orchestrator.unknowns import quotient

if TYPE_CHECKING:
    import pandas as pd

Word = Literal["measured", "modelled", "doubtful", "nothing kept"]

TRIAL_KEY = (
    "machine",
    "model",
    "quantization",
    "strategy",
    "use_case",
    "config_index",
    "config_hash",
    "repeat",
)
"""Columns that tell which trial an execution belongs to."""


MOST_OTHERS = 20
"""So many flags that this version doesn't have are named."""


@dataclass(frozen=True)
class TrialCard:
    """One trial, as the report shows it."""

    name: str
    word: Word
    why: tuple[str, ...]
    configuration: str
    """The requested values."""
    n_executions: int
    n_kept: int
    n_new_tokens: int
    energy_name: str
    """What was measured: 'GPU energy (counter)'."""
    energy_per_token_j: float | None
    """None where nothing was kept, or energies of several meters, which have no sum."""
    energy_rel_uncertainty: float | None
    """Of the kept executions together; None where one is unknown, as those of models are."""
    quality: float | None


def trial_cards(data: Data) -> list[TrialCard]:
    """One card for each trial, the doubtful ones first."""
    order = {"doubtful": 0, "nothing kept": 1, "modelled": 2, "measured": 3}
    unordered = [_card(rows) for _, rows in data.all.groupby(list(TRIAL_KEY), sort=True)]
    return sorted(unordered, key=lambda card: order[card.word])


def _card(rows: pd.DataFrame) -> TrialCard:
    """The card of one trial from its executions."""
    first = rows.iloc[0]
    kept = rows[rows["measured"]]
    flags = set(rows["warning_flags"].explode().dropna())
    n_new_tokens = int(kept["n_new_tokens"].sum())
    energies = gross_energy(energy_rows(kept))
    energy_per_token_j = energy_rel_uncertainty = None
    if energies.only is not None:
        energy_per_token_j = quotient(energies.only.counted_energy_j, n_new_tokens)
        energy_rel_uncertainty = energies.only.energy_rel_uncertainty
    place = f"{first['machine']} / {first['model']} / {first['use_case']}"
    return TrialCard(
        name=f"{place} / {int(first['config_index']):04d}-r{int(first['repeat'])}",
        word=_word(kept, flags),
        why=tuple(_reasons(rows, kept, flags)),
        configuration=f"max_length {int(first['max_length'])}, top_p {first['top_p']:.2g}, "
        f"top_k {int(first['top_k'])}, temperature {first['temperature']:.2g}",
        n_executions=len(rows),
        n_kept=len(kept),
        n_new_tokens=n_new_tokens,
        energy_name=" and ".join(one.name for one in energies.of_basis),
        energy_per_token_j=energy_per_token_j,
        energy_rel_uncertainty=energy_rel_uncertainty,
        quality=_mean(rows["quality"]),
    )


def _word(kept: pd.DataFrame, flags: set[str]) -> Word:
    """How far a group's energies can be trusted, in a word."""
    if kept.empty:
        return "nothing kept"
    # a doubt weighs more than whether the energy was measured
    if not flags.isdisjoint(DOUBTFUL):
        return "doubtful"
    if (kept["energy_basis"] == TOTAL_ENERGY).any():
        return "modelled"
    return "measured"


def _reasons(rows: pd.DataFrame, kept: pd.DataFrame, flags: set[str]) -> list[str]:
    """Everything that speaks against a trial's number, one sentence each."""
    reasons = [f"{name}: {flag.meaning}" for name, flag in FLAGS.items() if name in flags]
    # a flag that an earlier version of this program set
    others = sorted(flags - FLAGS.keys())
    reasons += [f"{flag}: see docs/measurement.md" for flag in others[:MOST_OTHERS]]
    if len(others) > MOST_OTHERS:
        reasons.append(f"and {len(others) - MOST_OTHERS:,} more flags")
    if len(kept) and (kept["energy_basis"] == TOTAL_ENERGY).all():
        reasons.append(
            "without a GPU, the energy is CodeCarbon's estimate for CPU and RAM, with no known "
            "uncertainty: good for trying out, not for publishing"
        )
    if len(set(kept["energy_basis"])) > 1:
        reasons.append("its energies are those of different meters, which have no sum")
    n_failed = int((rows["status"] != "ok").sum())
    if n_failed:
        reasons.append(f"{n_failed} of {plural(len(rows), 'execution')} failed")
    n_discarded = int(rows["discarded"].sum())
    if n_discarded:
        was_or_were = "was" if n_discarded == 1 else "were"
        reasons.append(f"{n_discarded} of {plural(len(rows), 'text')} {was_or_were} discarded")
    return reasons


def _mean(values: pd.Series) -> float | None:
    """The mean of the known values; None where none is known."""
    known = values.dropna().astype(float)
    if not len(known):
        return None
    return float(known.mean())
