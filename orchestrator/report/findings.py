"""What the data say, in sentences: cost, what drives it, quality, waste, what to set.

No sentence says more than the data allow. An effect is told only where it is clear with all
hyperparameters considered (effects.py), "no effect" only where the interval leaves out every effect
of MARGIN or more, and advice is given only where less energy is clear and a loss
of quality of QUALITY_MARGIN or more is ruled out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.dataset.gross_energy import gross_energy
from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import (
    AT_EQUAL_LENGTH,
    ENERGY,
    USABLE,
    Effect,
    points_text,
    value_range,
)
from orchestrator.report.execution_frame import Data, energy_rows
from orchestrator.units import energy, number, percent, plural

if TYPE_CHECKING:
    import pandas as pd

MARGIN = 0.10
"""A smaller effect on energy is not worth speaking of."""
QUALITY_MARGIN = 0.10
"""A smaller loss of usable answers, as a share of all, is accepted for less energy."""

Subject = Literal["cost", "driver", "quality", "waste", "advice"]


SUBJECTS: dict[Subject, str] = {
    "cost": "What it costs",
    "driver": "What drives it",
    "quality": "How usable it is",
    "waste": "What is wasted",
    "advice": "What to set",
}
"""Subject -> its heading, in the order in which a reader asks."""


@dataclass(frozen=True)
class Finding:
    """One thing that the data say."""

    subject: Subject
    text: str


def findings_json(data: Data) -> str:
    """The findings and the effects behind them, for programs."""
    said = [{"subject": one.subject, "text": one.text} for one in findings(data)]
    return json.dumps({"findings": said, "effects": effect_rows(data)}, indent=1)


def effect_rows(data: Data) -> list[dict[str, Any]]:
    """A row an effect: of each outcome that is known, each hyperparameter's."""
    return [
        {
            "parameter": effect.parameter,
            "outcome": effect.outcome.name,
            "of": effect.outcome.of,
            "value": effect.value,
            "lower": effect.lower,
            "upper": effect.upper,
            "note": effect.note or None,
            "halves": effect.halves,
            "p": effect.p,
            "clear": effect.clear,
        }
        for of_one in data.effects.values()
        for effect in of_one
    ]


def findings(data: Data) -> list[Finding]:
    """What the data say, in the order in which a reader asks. Empty where nothing was measured."""
    if data.answers.empty:
        return []
    return [
        *(Finding("cost", text) for text in _cost(data.answers)),
        *(Finding("driver", text) for text in effect_sentences(data)),
        *(Finding("quality", text) for text in _quality(data)),
        *(Finding("waste", text) for text in _waste(data)),
        *(Finding("advice", text) for text in _advice(data)),
    ]


def _cost(answers: pd.DataFrame) -> Iterator[str]:
    """What an answer and a token take: a sentence for each thing that was measured."""
    for _, some in answers.groupby("energy_basis", sort=True):
        joules = some["counted_energy_j"]
        low, middle, high = (float(joules.quantile(q)) for q in (0.25, 0.5, 0.75))
        per_token = some["energy_per_token_j"].median()
        measured = gross_energy(energy_rows(some)).of_basis[0].name
        yield (
            f"An answer took {energy(middle)} ({measured}; the middle half "
            f"{energy(low)} to {energy(high)}), and {number(float(per_token))} J per new token, "
            f"medians of {plural(len(some), 'answer')}."
        )


def effect_sentences(data: Data) -> list[str]:
    """What each hyperparameter does to energy, the largest clear effect first."""
    total, at_equal_length = data.effects[ENERGY], data.effects[AT_EQUAL_LENGTH]
    if all(effect.known is None for effect in total):
        return [f"What each hyperparameter does is not known: {total[0].note}."]
    both = [one for one in zip(total, at_equal_length, strict=True) if one[0].known is not None]
    both.sort(key=lambda one: (not one[0].clear, -_size(one[0])))
    return [_effect_sentence(whole, rest) for whole, rest in both]


def _size(effect: Effect) -> float:
    """How far an effect is from none, for sorting."""
    assert effect.known is not None  # noqa: S101 - the caller chose
    value, _, _ = effect.known
    return max(value, 1 / value)


def _effect_sentence(whole: Effect, rest: Effect) -> str:
    """What one hyperparameter does to energy, as a whole and at equal length."""
    name, upper, lower = whole.parameter, _half(whole, 1), _half(whole, 0)
    if whole.clear:
        more_or_less = "more" if _value(whole) > 1 else "less"
        return (
            f"{name} matters: answers at {upper} took {more_or_less} energy than at {lower}, "
            f"{whole.text()}. {_share_of_length(rest)}"
        )
    if whole.within(MARGIN):
        known = f"has no effect of {percent(MARGIN)} or more on an answer's energy"
    elif whole.leaves_out_nothing:
        known = (
            f"may matter: its interval excludes no effect at all, but among {len(PARAMETERS)} "
            "hyperparameters one does so by chance too often"
        )
    else:
        known = "may or may not matter: its effect can't be distinguished from chance"
    sentence = f"{name} {known}, {whole.text()} from {lower} to {upper}."
    if rest.within(MARGIN):
        small = f"At equal length it has no effect of {percent(MARGIN)} or more, {rest.text()}."
        return f"{sentence} {small}"
    return f"{sentence} {_share_of_length(rest)}" if rest.clear else sentence


def _share_of_length(rest: Effect) -> str:
    """How much of an effect is left at equal length."""
    if rest.known is None:
        return f"At equal length its effect is not known: {rest.note}."
    if rest.within(MARGIN):
        return (
            "The answers' length explains this: at equal length any effect is below "
            f"{percent(MARGIN)}, {rest.text()}."
        )
    if rest.clear:
        return f"At equal length it is {rest.text()}."
    return f"How much is left at equal length can't be told, {rest.text()}."


def _quality(data: Data) -> Iterator[str]:
    """How usable the answers are, and what changes that."""
    judged = data.answers[data.answers["usable"].notna()]
    if judged.empty:
        return
    n_usable = int(judged["usable"].astype(bool).sum())
    share = n_usable / len(judged)
    is_or_are = "is" if n_usable == 1 else "are"
    of_all = plural(len(judged), "answer")
    yield f"{n_usable:,} of {of_all} {is_or_are} usable ({percent(share)})."
    for effect in data.effects[USABLE]:
        if effect.clear:
            yield (
                f"{effect.parameter} changes that: {effect.text()} from {_half(effect, 0)} "
                f"to {_half(effect, 1)}."
            )


def _waste(data: Data) -> Iterator[str]:
    """What unusable answers took, and what a usable one costs with them."""
    judged = data.answers[data.answers["usable"].notna()]
    wasted = gross_energy(energy_rows(judged[judged["discarded"]])).only
    whole = gross_energy(energy_rows(judged)).only
    n_usable = int((~judged["discarded"]).sum())
    if wasted is None or whole is None:
        return
    share = wasted.counted_energy_j / whole.counted_energy_j
    text = f"{percent(share)} of the energy of evaluated answers went into unusable ones"
    if n_usable:
        text += f"; with it, a usable answer took {energy(whole.counted_energy_j / n_usable)}"
    yield f"{text}."


def _advice(data: Data) -> Iterator[str]:
    """What to set: the half of a hyperparameter with less energy and no worse quality."""
    if USABLE not in data.effects:
        yield (
            "Can't be told before `orchestrator evaluate` has judged the texts: the least energy "
            "may go with useless answers."
        )
        return
    advice: list[str] = []
    for whole, usable in zip(data.effects[ENERGY], data.effects[USABLE], strict=True):
        advice += _advice_on(whole, usable)
    if not advice:
        yield (
            "Can't be told: no hyperparameter clearly saves energy without the risk of "
            f"{100 * QUALITY_MARGIN:.0f} points fewer usable answers. More configurations tell "
            "more: run the same `orchestrator tune` with twice the --samples."
        )
    yield from advice


def _advice_on(whole: Effect, usable: Effect) -> Iterator[str]:
    """Advice on one hyperparameter, where there is any."""
    if whole.known is None or usable.known is None:
        return
    if whole.clear:
        better = 0 if _value(whole) > 1 else 1
        change = _towards(usable, better)
        if change[1] > -QUALITY_MARGIN:
            saved = 1 - min(_value(whole), 1 / _value(whole))
            yield (
                f"Set {whole.parameter} to {_half(whole, better)}: {percent(saved)} less energy an "
                f"answer, and usable answers change by {points_text(change)}, so that a loss of "
                f"{100 * QUALITY_MARGIN:.0f} points or more is ruled out."
            )
    elif usable.clear and whole.within(MARGIN):
        better = 1 if _value(usable) > 0 else 0
        yield (
            f"Set {whole.parameter} to {_half(whole, better)}: usable answers change by "
            f"{points_text(_towards(usable, better))}, at the same energy (within "
            f"{percent(MARGIN)})."
        )


def _towards(usable: Effect, half: int) -> tuple[float, float, float]:
    """(difference, lower, upper) of going to the upper half (1) or to the lower one (0)."""
    assert usable.known is not None  # noqa: S101 - the caller looked
    value, lower, upper = usable.known
    return (value, lower, upper) if half else (-value, -upper, -lower)


def _value(effect: Effect) -> float:
    """A value that is known."""
    assert effect.known is not None  # noqa: S101 - the caller looked
    return effect.known[0]


def _half(effect: Effect, which: int) -> str:
    """The values of the lower (0) or the upper (1) half."""
    if effect.halves is None:
        return ("lower", "higher")[which] + " values"
    return value_range(effect.parameter, effect.halves[which])
