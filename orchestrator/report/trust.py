"""Can this number be trusted: a word for each trial, with its reasons in plain language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.report.execution_frame import Data

if TYPE_CHECKING:
    import pandas as pd

DOUBTS = {
    "throttled": "the GPU slowed itself down for heat or power",
    "meter_disagreement": "two meters of the GPU differ by more than 10 %",
    "window_mismatch": "CodeCarbon saw another energy than the GPU's counter",
    "too_short": "a window below 1 s: the counter's steps dominate",
    "foreign_load": "something else ran on the GPU",
    "thermal_drift": "the GPU warmed up by more than 10 degrees",
    "drift": "other versions or another GPU than the sweep was begun with",
}
"""Flags that doubt the measurement itself; see docs/method.md."""
CAUTIONS = {
    "estimated_cpu": "the CPU's energy is a model, not a measurement",
    "shared_host": "other trials ran on the host at the same time",
    "cpu_offload": "layers lay in the host's memory, unquantized: slower, and not to compare with whole models",
    "no_country": "emissions use a world average (energy is not concerned)",
    "unshuffled": "trials ran in design order, so drift may look like an effect",
}
"""Flags to know of."""
TRIAL = (
    "machine",
    "model",
    "quantization",
    "strategy",
    "use_case",
    "index",
    "config_hash",
    "repeat",
)


@dataclass(frozen=True)
class Card:
    """One trial."""

    name: str
    word: Literal["measured", "modelled", "doubtful", "nothing kept"]
    why: tuple[str, ...]
    asked: str
    n_executions: int
    n_kept: int
    tokens: int
    energy_per_token_j: float | None
    rel_uncertainty: float | None
    """Root mean square of the executions' relative uncertainties; None where models have none."""
    quality: float | None


def cards(data: Data) -> list[Card]:
    """A card a trial, the doubtful ones first."""
    order = {"doubtful": 0, "nothing kept": 1, "modelled": 2, "measured": 3}
    found = [_card(rows) for _, rows in data.all.groupby(list(TRIAL), sort=True)]
    return sorted(found, key=lambda card: order[card.word])


def _card(rows: pd.DataFrame) -> Card:
    first = rows.iloc[0]
    kept = rows[rows["counted"]]
    tokens = int(kept["n_new_tokens"].sum()) if len(kept) else 0
    flags = {flag for found in rows["flags"] for flag in found}
    uncertainties = kept["energy_rel_uncertainty"].dropna().astype(float)
    return Card(
        name=f"{first['machine']} / {first['model']} / {first['use_case']} / {int(first['index']):04d}-r{int(first['repeat'])}",
        word=_word(kept, flags),
        why=tuple(_reasons(rows, kept, flags)),
        asked=f"max_length {int(first['max_length'])}, top_p {first['top_p']:.2g}, top_k {int(first['top_k'])}, "
        f"temperature {first['temperature']:.2g}",
        n_executions=len(rows),
        n_kept=len(kept),
        tokens=tokens,
        energy_per_token_j=float(kept["spent_j"].sum()) / tokens if tokens else None,
        rel_uncertainty=float((uncertainties**2).mean() ** 0.5) if len(uncertainties) else None,
        quality=_mean(rows["quality"]),
    )


def _word(kept: pd.DataFrame, flags: set[str]) -> Any:
    if kept.empty:
        return "nothing kept"
    if not flags.isdisjoint(DOUBTS):
        return "doubtful"
    return "modelled" if (kept["energy_basis"] == "energy_j").any() else "measured"


def _reasons(rows: pd.DataFrame, kept: pd.DataFrame, flags: set[str]) -> list[str]:
    found = [f"{flag}: {what}" for flag, what in (DOUBTS | CAUTIONS).items() if flag in flags]
    found += [
        f"{flag}: see docs/method.md" for flag in sorted(flags - DOUBTS.keys() - CAUTIONS.keys())
    ]
    if len(kept) and (kept["energy_basis"] == "energy_j").all():
        found.append(
            "without a GPU the energy is CodeCarbon's, of CPU and RAM: good for trying out, not for publishing"
        )
    if n := int((rows["status"] != "ok").sum()):
        found.append(f"{n} of {len(rows)} executions failed")
    if n := int(rows["discarded"].sum()):
        found.append(f"{n} of {len(rows)} texts were discarded")
    return found


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.mean()) if len(known) else None
