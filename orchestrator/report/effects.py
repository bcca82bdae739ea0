"""What each hyperparameter does to an answer: the upper half of its values against the lower.

The effect of a hyperparameter is the change from the mean of the configurations in the lower half
of its values to the mean of those in the upper half, the others held at their means. That is the
same question whatever the curve in between: a line, a step, a saturation.

Each configuration has one value (configuration_means.py), and a linear model is fitted to them
(least squares, statsmodels): for each hyperparameter a step between its halves, and powers of the
values' ranks and then products of two hyperparameters' ranks, as far as they are needed (forward
selection by F tests). The steps make the difference between halves unbiased whatever the curve; the
chosen columns only take what the curve explains out of the noise.

Choosing among many columns finds one that happens to fit the noise, and the interval is then too
narrow. So the best of m columns must be m times as significant (Bonferroni), and a chosen column
counts as three degrees of freedom (Friedman 1991, "Multivariate adaptive regression splines",
section 3.6: 2 to 4, 3 is a fair choice). Intervals are those of Student's t with what is left of
the degrees of freedom. tools/coverage checks how often they hold the truth.

An interval of 95 % speaks of one hyperparameter. Of four that do nothing, one or more leave out "no
change" in up to 20 of 100 sweeps. So an effect is `clear` only if it is so by Holm's procedure
(1979) over the hyperparameters: with it, at most 5 of 100 sweeps have any false one.

At equal length, the model also has the mean logarithm of the new tokens, its square, higher powers
that are needed, and a slope of each hyperparameter, since the length follows it: what a
hyperparameter does to energy by longer texts is no effect there.

top_p, top_k and temperature do nothing in greedy configurations: these have a level of their own
and are in no half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from orchestrator.nouns import ANCHOR, DOMAIN, PARAMETERS
from orchestrator.report.configuration_means import configuration_means
from orchestrator.units import number, plural

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
LEAST_POINTS = 12
"""With fewer configurations than this, four effects and their errors can't be separated."""
LEAST_AT_EQUAL_LENGTH = 15
"""The same beside the length, which takes columns of its own."""
LEAST_FREE = 4
"""Degrees of freedom that the noise keeps: no column is added that leaves fewer."""
HIGHEST_POWER = 5
LENGTHS = {"length": 1, "length2": 2, "length3": 3, "length4": 4}
"""Columns of a table of configurations: means of powers of the new tokens' logarithm. Energy is
about a + b * tokens, which is no power of the length, so the first two are always in a model."""
NEEDED_P = 0.01
"""The best of m columns is needed if m times the p of its F test is smaller."""
CHOSEN_COUNTS = 3
"""How many degrees of freedom a chosen column takes; one that isn't chosen takes 1."""
LARGEST = 700.0
"""The largest logarithm of a ratio that a float can hold."""
LEAST_SPREAD = 1e-9
"""Values whose range is below this differ by rounding only."""


@dataclass(frozen=True)
class Outcome:
    """Something of an answer that a hyperparameter may change."""

    name: str
    of: str
    """Which answers: "all" that ended, or "usable" ones."""
    is_ratio: bool
    """Whether a change is a ratio; else a difference of shares."""
    at_equal_length: bool = False


ENERGY = Outcome("energy of an answer", "all", is_ratio=True)
AT_EQUAL_LENGTH = Outcome("energy at equal length", "all", is_ratio=True, at_equal_length=True)
OF_USABLE = Outcome("energy of a usable answer", "usable", is_ratio=True)
LENGTH = Outcome("new tokens", "all", is_ratio=True)
USABLE = Outcome("usable answers", "all", is_ratio=False)
OUTCOMES = (ENERGY, AT_EQUAL_LENGTH, OF_USABLE, LENGTH, USABLE)
OF_EVALUATED = (OF_USABLE, USABLE)
"""Outcomes that only data whose texts were evaluated have."""


@dataclass(frozen=True)
class Effect:
    """The change of an outcome from the lower to the upper half of a hyperparameter's values."""

    parameter: str
    outcome: Outcome
    value: float | None
    """A ratio (1: no change) or a difference of shares (0: none); None where it is unknown."""
    lower: float | None = None
    upper: float | None = None
    """The 95 % interval is `lower` to `upper`; both are None where it is unknown."""
    note: str = ""
    """Why it is unknown."""
    halves: tuple[tuple[float, float], tuple[float, float]] | None = None
    """Least and largest value of the lower and of the upper half."""
    p: float | None = None
    """How often chance alone gives a change as large; None where it is unknown."""
    clear: bool = False
    """Whether chance hardly explains it, all hyperparameters considered (Holm's procedure)."""

    @property
    def known(self) -> tuple[float, float, float] | None:
        """(value, lower, upper); None where the effect is unknown."""
        if self.value is None or self.lower is None or self.upper is None:
            return None
        return self.value, self.lower, self.upper

    def text(self) -> str:
        """The change with its interval, as a reader wants it; the reason where it is unknown."""
        if self.known is None:
            return self.note
        return ratio_text(self.known) if self.outcome.is_ratio else points_text(self.known)

    @property
    def nothing(self) -> float:
        """The value that means no change."""
        return 1.0 if self.outcome.is_ratio else 0.0

    @property
    def leaves_out_nothing(self) -> bool:
        """Whether the interval leaves out no change, which does not yet make the effect clear."""
        if self.known is None:
            return False
        _, lower, upper = self.known
        return lower > self.nothing or upper < self.nothing

    def within(self, margin: float) -> bool:
        """Whether the interval leaves out every change of `margin` or more, a share: 0.1 is 10 %.

        This is the test of equivalence (Schuirmann 1987) at 2.5 % a side.
        """
        if self.known is None:
            return False
        _, lower, upper = self.known
        if self.outcome.is_ratio:
            return lower > 1 / (1 + margin) and upper < 1 + margin
        return lower > -margin and upper < margin


@dataclass(frozen=True)
class Axis:
    """A hyperparameter over the configurations of a table."""

    counts: Any
    """Which configurations it does anything in; shape (configurations,), bool."""
    in_upper: Any
    """Which are in the upper half of its values."""
    rank: Any
    """Rank of its value among those that count, from -0.5 to 0.5; 0 elsewhere."""
    n_values: int
    """How many different values there are."""
    halves: tuple[tuple[float, float], tuple[float, float]]


def effects(answers: pd.DataFrame, outcome: Outcome) -> list[Effect]:
    """The effect of each hyperparameter on an outcome, in the order of PARAMETERS.

    `answers`: rows of execution_frame.Data.answers. An effect that can't be estimated has None and
    a note.
    """
    import numpy as np

    # the reference configuration was not drawn from the space
    answers = answers[answers["strategy"] != ANCHOR]
    if outcome.of == "usable":
        answers = answers[~answers["discarded"]]
    values = _values(answers, outcome)
    known = values.notna()
    answers, values = answers[known], values[known]
    n_points = answers["point"].nunique()
    least = LEAST_AT_EQUAL_LENGTH if outcome.at_equal_length else LEAST_POINTS
    if n_points < least:
        is_or_are = "is" if n_points == 1 else "are"
        why = f"{plural(n_points, 'configuration')} {is_or_are} too few: {least} are needed"
        return [Effect(name, outcome, None, note=why) for name in PARAMETERS]
    tokens = answers["n_new_tokens"].astype(float)
    length = np.log(tokens) - np.log(tokens).mean()
    columns = {"value": values, **{name: length**power for name, power in LENGTHS.items()}}
    table = configuration_means(answers, columns)
    axes = {name: axis(table, name) for name in PARAMETERS}
    if not np.ptp(table["value"]) > LEAST_SPREAD:
        why = "configurations don't differ in it"
        return [Effect(name, outcome, None, note=why) for name in PARAMETERS]
    model = Model(table, axes, at_equal_length=outcome.at_equal_length)
    return _with_clear([_effect(model, name, outcome) for name in PARAMETERS])


def _with_clear(found: list[Effect]) -> list[Effect]:
    """Mark the effects that are clear by Holm's procedure.

    The smallest of n values of p must be below 5 % / n, the next one below 5 % / (n - 1), and so
    on up to the first that isn't. (statsmodels has it, but collects garbage at each call: 0.2 s.)
    """
    waiting = sorted((one for one in found if one.p is not None), key=lambda one: one.p or 0.0)
    clear = set()
    while waiting and (waiting[0].p or 0.0) < (1 - CONFIDENCE) / len(waiting):
        clear.add(id(waiting.pop(0)))
    return [replace(one, clear=id(one) in clear) for one in found]


def _values(answers: pd.DataFrame, outcome: Outcome) -> pd.Series:
    """What a model of an outcome explains, for each answer: a logarithm, or 1 and 0."""
    values: pd.Series
    if outcome == USABLE:
        values = answers["usable"].astype(float)
    elif outcome == LENGTH:
        values = answers["n_new_tokens"].astype(float).map(math.log)
    else:
        values = answers["counted_energy_j"].astype(float).map(math.log)
    return values


def _effect(model: Model, name: str, outcome: Outcome) -> Effect:
    """One effect from a fitted model."""
    axis_ = model.axes[name]
    if axis_ is None:
        return Effect(name, outcome, None, note="it has one value only")
    if model.free < LEAST_FREE:
        why = f"{model.n_points} configurations are too few beside what else differed"
        return Effect(name, outcome, None, note=why, halves=axis_.halves)
    found = model.difference(name)
    if found is None:
        why = "its effect can't be separated from the others' in this design"
        return Effect(name, outcome, None, note=why, halves=axis_.halves)
    value, lower, upper = found.value, found.value - found.error, found.value + found.error
    if outcome.is_ratio:
        value, lower, upper = (math.exp(min(one, LARGEST)) for one in (value, lower, upper))
    return Effect(name, outcome, value, lower, upper, halves=axis_.halves, p=found.p)


def axis(table: pd.DataFrame, name: str) -> Axis | None:
    """A hyperparameter over a table of configurations; None where it has only one value."""
    import numpy as np
    from scipy.stats import rankdata

    counts = table["sampled"].to_numpy(bool) | (name == "max_length")
    values = table[name].to_numpy(float)
    different = np.unique(values[counts])
    if len(different) < 2:  # noqa: PLR2004 - two halves need two values
        return None
    # equal values are in one half: the cut that makes the halves most alike in number
    n_upper = np.array([(values[counts] >= value).sum() for value in different[1:]])
    cut = different[1:][np.abs(n_upper - counts.sum() / 2).argmin()]
    rank = np.zeros(len(values))
    rank[counts] = (rankdata(values[counts]) - 0.5) / counts.sum() - 0.5
    in_upper = counts & (values >= cut)
    lowest, highest = (
        (float(half.min()), float(half.max()))
        for half in (values[counts & ~in_upper], values[in_upper])
    )
    return Axis(counts, in_upper, rank, len(different), (lowest, highest))


@dataclass(frozen=True)
class Difference:
    """The mean of the upper half of a hyperparameter's values less that of the lower half."""

    value: float
    error: float
    """Half the 95 % interval."""
    p: float
    """How often chance alone gives a difference as large."""


class Model:
    """A linear model of the configurations' values, with the columns that are needed."""

    def __init__(
        self, table: pd.DataFrame, axes: Mapping[str, Axis | None], *, at_equal_length: bool
    ) -> None:
        """Choose the columns and fit. `table` has the columns value, part and those of LENGTHS."""
        import numpy as np
        import pandas as pd

        self.axes = axes
        self._y = table["value"].to_numpy(float)
        self._columns: list[Any] = []
        self._of: list[str] = []
        """For each column the hyperparameter that it belongs to; "" for the others."""
        self._separable: set[str] = set()
        """Hyperparameters whose step is no combination of what was there before it."""
        self._n_parts = table["part"].nunique()
        self._add("", np.ones(len(table)))
        for column in pd.get_dummies(table["part"], dtype=float).to_numpy().T[1:]:
            self._add("", column)
        self._add("", (~table["sampled"]).to_numpy(float))
        powers = self._add_steps()
        for name, waiting in powers.items():
            # longer answers cost more: nobody has to choose max_length's; and what the length is
            # to explain must not be a slope within halves that was left out
            if waiting and (name == "max_length" or at_equal_length):
                self._add(name, waiting.pop(0))
        if at_equal_length:
            first, second, *higher = (table[name].to_numpy(float) for name in LENGTHS)
            self._add("", first)
            self._add("", second)
            powers[""] = higher
        self._n_chosen = 0
        self._choose(list(powers.items()))
        # a product of centred ranks is the same on average in both halves: it is of neither one
        self._choose([("", [product]) for product in self._products()])
        self.n_points = len(table)
        self.free = self._free(self._n_chosen)
        """Degrees of freedom of the noise."""
        self._fit = self._fitted(self._columns)

    def _add(self, of: str, column: Any) -> bool:
        """Add a column, unless it is a combination of those that are there. Whether it was."""
        is_new = _is_new(self._columns, column)
        if is_new:
            self._columns.append(column)
            self._of.append(of)
        return is_new

    def _add_steps(self) -> dict[str, list[Any]]:
        """Add each hyperparameter's step. Gives the powers of its ranks, which may be needed."""
        powers: dict[str, list[Any]] = {}
        for name, one in self.axes.items():
            if one is not None:
                if self._add(name, one.in_upper.astype(float)):
                    self._separable.add(name)
                highest = min(HIGHEST_POWER, one.n_values - 1)
                powers[name] = [one.rank**power for power in range(1, highest + 1)]
        return powers

    def _products(self) -> list[Any]:
        """Columns for what two hyperparameters do together only."""
        ranks = [one.rank for one in self.axes.values() if one is not None]
        return [first * second for first, second in combinations(ranks, 2)]

    def _choose(self, waiting: list[tuple[str, list[Any]]]) -> None:
        """Add the column that explains most, while one is needed.

        `waiting`: hyperparameters with columns, each of which waits for the one before it.
        """
        fit = self._fitted(self._columns)
        while self._free(self._n_chosen + 1) >= LEAST_FREE:
            waiting = [one for one in waiting if one[1] and _is_new(self._columns, one[1][0])]
            if not waiting:
                return
            larger = [self._fitted([*self._columns, columns[0]]) for _, columns in waiting]
            best = min(range(len(larger)), key=lambda index: float(larger[index].ssr))
            if not len(larger) * larger[best].compare_f_test(fit)[1] < NEEDED_P:
                return
            fit = larger[best]
            name, columns = waiting[best]
            self._add(name, columns.pop(0))
            self._n_chosen += 1

    def _fitted(self, columns: list[Any]) -> Any:
        """The least squares on these columns."""
        import numpy as np
        import statsmodels.api as sm

        return sm.OLS(self._y, np.column_stack(columns)).fit()

    def _free(self, n_chosen: int) -> float:
        """The degrees of freedom of the noise if so many columns were chosen."""
        n_given = len(self._columns) - self._n_chosen
        return len(self._y) - n_given - CHOSEN_COUNTS * n_chosen

    def levels(self) -> tuple[Any, Any] | None:
        """The level of each part, the hyperparameters held alike; None with too few configurations.

        In the order of the parts' numbers, with the covariances of their noise; shapes (parts,) and
        (parts, parts). Only differences of levels mean something.
        """
        import numpy as np

        if self.free < LEAST_FREE:
            return None
        n = self._n_parts
        # the first column is the level of the first part, each other part's one adds to it
        of_columns = np.eye(n)
        of_columns[:, 0] = 1.0
        covariances = of_columns @ self._fit.normalized_cov_params[:n, :n] @ of_columns.T
        return of_columns @ self._fit.params[:n], covariances * self._fit.ssr / self.free

    def difference(self, name: str) -> Difference | None:
        """What a hyperparameter does; None where the design can't separate it."""
        import numpy as np
        from scipy.stats import t

        one = self.axes[name]
        if one is None or name not in self._separable or self.free < LEAST_FREE:
            return None
        design = np.column_stack(self._columns)
        upper, lower = design[one.in_upper], design[one.counts & ~one.in_upper]
        contrast = (upper.mean(axis=0) - lower.mean(axis=0)) * [of == name for of in self._of]
        variance = float(contrast @ self._fit.normalized_cov_params @ contrast)
        error = math.sqrt(self._fit.ssr / self.free * variance)
        value = float(contrast @ self._fit.params)
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, self.free))
        p = 2 * float(t.sf(abs(value) / error, self.free)) if error else float(value == 0)
        return Difference(value, quantile * error, p)


def _is_new(columns: list[Any], column: Any) -> bool:
    """Whether a column is no linear combination of others."""
    import numpy as np

    if not columns:
        return True
    design = np.column_stack(columns)
    rest = column - design @ np.linalg.lstsq(design, column, rcond=None)[0]
    return bool(np.linalg.norm(rest) > 1e-6 * np.linalg.norm(column))


def ratio_text(known: tuple[float, float, float]) -> str:
    """A ratio with its interval: '× 5.9 (4.3 to 8)', but with three digits below 2."""
    digits = 2 if abs(math.log(known[0])) > math.log(2) else 3
    value, lower, upper = (number(one, digits) for one in known)
    return f"× {value} ({lower} to {upper})"


def points_text(known: tuple[float, float, float]) -> str:
    """A difference of shares with its interval: '+28 points (+12 to +45)'."""
    value, lower, upper = (f"{100 * one:+.0f}" for one in known)
    return f"{value} points ({lower} to {upper})"


def value_range(name: str, values: tuple[float, float]) -> str:
    """The least and the largest value of a half, as a reader wants them: '64-1,030'."""
    low, high = (_value(name, value) for value in values)
    return low if low == high else f"{low}\N{EN DASH}{high}"


def _value(name: str, value: float) -> str:
    """A hyperparameter's value with at most three digits, or all of a whole number."""
    if name == "top_k" and value > DOMAIN["top_k"][1]:
        return "off"
    return f"{value:,.0f}" if name in {"max_length", "top_k"} else f"{value:.3g}"
