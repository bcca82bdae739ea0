"""The report's rows as pandas tables, each column with its meaning and unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.schema import ExecutionRow
from orchestrator.nouns import PARAMETERS, Column, columns_of
from orchestrator.report.trial_rows import PLACE, TRIAL_KEY, TrialRow

if TYPE_CHECKING:
    import pandas as pd


def table_of(rows: Iterable[Any], columns: Mapping[str, Column]) -> pd.DataFrame:
    """A table with these columns, each derived from the rows of the report."""
    import pandas as pd

    derived = [column.derived for column in columns.values() if column.derived is not None]
    return pd.DataFrame([[of(row) for of in derived] for row in rows], columns=list(columns))


def _of_first(name: str) -> Column:
    """A column that all executions of a row share."""
    of_executions = {column: told for column, _, told in columns_of(ExecutionRow)}
    meaning, unit = "how the model was run: its quantization, and what else differs here", ""
    if name in of_executions:
        meaning, unit = of_executions[name].meaning, of_executions[name].unit
    return Column(meaning, unit, derived=lambda row: row.first[name])


def _bound(row: TrialRow, which: int) -> float | None:
    """The lower (0) or upper (1) end of the interval of joules per usable answer."""
    interval = row.per_usable_interval_j
    return None if interval is None else interval[which]


FIGURES = {
    "trust": Column(
        "measured, modelled (no GPU's meter), doubtful, or nothing kept",
        derived=lambda row: row.word,
    ),
    "reasons": Column(
        'what speaks against its figures, sentences joined by "; "; empty: nothing',
        derived=lambda row: "; ".join(row.why),
    ),
    "n_executions": Column("executions", derived=lambda row: row.n_executions),
    "n_kept": Column("of these, ok, measured and not discarded", derived=lambda row: row.n_kept),
    "n_judged": Column("texts that have a verdict", derived=lambda row: row.n_judged),
    "n_usable": Column("of these, usable", derived=lambda row: row.n_usable),
    "energy": Column("what was measured", derived=lambda row: row.energy_name),
    "energy_per_token_j": Column(
        "gross energy of the kept executions over their new tokens",
        "J",
        "nothing kept, or several meters",
        derived=lambda row: row.energy_per_token_j,
    ),
    "energy_rel_uncertainty": Column(
        "of energy_per_token_j, relative",
        "1",
        "unknown, as of modelled energies",
        derived=lambda row: row.energy_rel_uncertainty,
    ),
    "energy_per_usable_j": Column(
        "gross energy of all ok executions over the usable ones",
        "J",
        "none is usable, or one wasn't measured",
        derived=lambda row: row.energy_per_usable_j,
    ),
    "energy_per_usable_lower_j": Column(
        "lower end of its 95 % interval, by that of the share of usable texts",
        "J",
        "a text wasn't judged",
        derived=lambda row: _bound(row, 0),
    ),
    "energy_per_usable_upper_j": Column(
        "upper end of that interval",
        "J",
        "a text wasn't judged",
        derived=lambda row: _bound(row, 1),
    ),
    "quality": Column(
        "mean quality of the ok texts, 0 to 1",
        "1",
        "no text was judged",
        derived=lambda row: row.quality,
    ),
}
CONFIGURATIONS = {name: _of_first(name) for name in (*PLACE, *PARAMETERS)} | FIGURES
TRIALS = {
    **{name: _of_first(name) for name in (*TRIAL_KEY, *PARAMETERS)},
    **FIGURES,
    "folder": Column("the trial's folder in the data set", derived=lambda row: row.folder),
}


def _half(row: Mapping[str, Any], half: int, end: int) -> float | None:
    """The least (0) or largest (1) value of the lower (0) or upper (1) half."""
    halves = row["halves"]
    return None if halves is None else halves[half][end]


NO_EFFECT = "the effect is unknown: `note` says why"
EFFECTS = {
    "outcome": Column("what may change", derived=lambda row: row["outcome"]),
    "answers": Column(
        "of which answers: all that ended, or usable ones", derived=lambda row: row["of"]
    ),
    "parameter": Column("the hyperparameter", derived=lambda row: row["parameter"]),
    "value": Column(
        "from the lower to the upper half of its values: a ratio (1: no change); of `usable "
        "answers` a difference of shares (0: none)",
        "1",
        NO_EFFECT,
        derived=lambda row: row["value"],
    ),
    "lower": Column(
        "lower end of the 95 % interval", "1", NO_EFFECT, derived=lambda row: row["lower"]
    ),
    "upper": Column(
        "upper end of the 95 % interval", "1", NO_EFFECT, derived=lambda row: row["upper"]
    ),
    "p": Column(
        "how often chance alone gives as large a change",
        "1",
        NO_EFFECT,
        derived=lambda row: row["p"],
    ),
    "clear": Column(
        "whether chance hardly explains it, all hyperparameters considered (Holm)",
        derived=lambda row: row["clear"],
    ),
    "lower_half_from": Column(
        "least value of the lower half, in the parameter's unit",
        null="there are no halves",
        derived=lambda row: _half(row, 0, 0),
    ),
    "lower_half_to": Column(
        "largest value of the lower half",
        null="there are no halves",
        derived=lambda row: _half(row, 0, 1),
    ),
    "upper_half_from": Column(
        "least value of the upper half",
        null="there are no halves",
        derived=lambda row: _half(row, 1, 0),
    ),
    "upper_half_to": Column(
        "largest value of the upper half",
        null="there are no halves",
        derived=lambda row: _half(row, 1, 1),
    ),
    "note": Column(
        "why the effect is unknown", null="it is known", derived=lambda row: row["note"]
    ),
}
