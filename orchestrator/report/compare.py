"""Compare two data sets, A and B: how each was measured, and how they differ where they overlap.

A pair is one prompt under one configuration (the values of the four hyperparameters) that both
data sets measured. Groups (machine, model, quantization) that have the same name in both data
sets are compared with each other; each other group of A is compared with each other group of B.

A ratio is that of the geometric means over the pairs. Its interval comes from the pairs'
logarithms, clustered by configuration, as in effects.py. Energies that were measured by
different meters give no ratio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.dataset.energy import TOTAL_ENERGY
from orchestrator.dataset.gross_energy import gross_energy
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.nouns import PARAMETERS
from orchestrator.report.circumstances import days, package_versions, values
from orchestrator.report.effects import CONFIDENCE
from orchestrator.report.execution_frame import Data, energy_rows
from orchestrator.report.page_content import Table, warnings

if TYPE_CHECKING:
    import pandas as pd

RATIOS = {
    "energy_per_token_j": "J/token",
    "counted_energy_j": "energy of an answer",
    "n_new_tokens": "new tokens",
    "tokens_per_s": "tokens/s",
}
"""Columns of which ratios are given, with their names in the report."""
OF_A_METER = ("energy_per_token_j", "counted_energy_j")
"""Columns that can be compared only where both data sets used the same meter."""
USABLE = "usable"
PAIR_KEY = ["configuration", "use_case", "prompt_sha256"]
"""Columns that are equal in the two executions of a pair."""
LEAST_POINTS = 5
"""With fewer matched configurations than this, no interval is given."""
SETUP = (
    "machine",
    "gpu_name",
    "model",
    "model_revision",
    "quantization",
    "engine",
    "compute_dtype",
    "attention",
    "cache",
    "chat_template",
    "length_mode",
    "offload_fraction",
    "scope",
    "energy_basis",
    "cpu_method",
    "country_iso_code",
    "strategy",
    "use_case",
)
"""Columns that tell how a data set was measured."""
UNKNOWN_CELL = "n/a"


@dataclass(frozen=True)
class Change:
    """The change from A to B: a ratio, or for usable texts the difference of the two shares."""

    value: float
    lower: float | None
    upper: float | None
    """The 95 % interval is `lower` to `upper`; both are None with fewer than LEAST_POINTS
    configurations."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """(lower, upper); None where there are too few configurations."""
        if self.lower is None or self.upper is None:
            return None
        return self.lower, self.upper


@dataclass(frozen=True)
class Match:
    """A group of A, a group of B, and the pairs that both measured."""

    a: str
    b: str
    pairs: pd.DataFrame
    """One row a pair. Each column of RATIOS occurs twice, with the suffixes _a and _b."""
    same_meter: bool
    same_model: bool
    changes: Mapping[str, Change]
    """Changes that are known, by column. Those of RATIOS are ratios; USABLE is a difference."""

    @property
    def n_points(self) -> int:
        """The number of configurations that both groups measured."""
        return int(self.pairs["configuration"].nunique())


@dataclass(frozen=True)
class Comparison:
    """Two data sets and all their matches that have pairs."""

    a: Data
    b: Data
    matches: tuple[Match, ...]


def compare(a: Data, b: Data) -> Comparison:
    """Match the groups of two data sets and compute their changes.

    Matches without pairs are left out.
    """
    groups_a, groups_b = set(a.all["group"]), set(b.all["group"])
    to_compare = [(group, group) for group in sorted(groups_a & groups_b)]
    # The other groups are compared crosswise, e.g. nf4 of A with none of B.
    to_compare += product(sorted(groups_a - groups_b), sorted(groups_b - groups_a))
    matches = [_match(a, b, group_a, group_b) for group_a, group_b in to_compare]
    return Comparison(a, b, tuple(match for match in matches if len(match.pairs)))


def _match(a: Data, b: Data, group_a: str, group_b: str) -> Match:
    """Compare a group of one data set with a group of the other."""
    kept_a = a.kept[a.kept["group"] == group_a]
    kept_b = b.kept[b.kept["group"] == group_b]
    meters_a, meters_b = _meters(kept_a), _meters(kept_b)
    # A group that changed its meter half-way has energies that can't be compared even with itself.
    same_meter = meters_a == meters_b and len(meters_a) == 1
    pairs = _pairs(_geometric_means(kept_a), _geometric_means(kept_b))
    changes = {}
    if len(pairs):
        for name in RATIOS:
            # tokens and speed need no meter
            if same_meter or name not in OF_A_METER:
                changes[name] = _ratio(pairs, name)
    usable = _usable_change(_judged(a, group_a), _judged(b, group_b))
    if usable is not None:
        changes[USABLE] = usable
    same_model = set(kept_a["model"]) == set(kept_b["model"])
    return Match(group_a, group_b, pairs, same_meter, same_model, changes)


def _judged(data: Data, group: str) -> pd.DataFrame:
    """The executions of a group whose text has a verdict, discarded ones included."""
    return data.all[(data.all["group"] == group) & data.all[USABLE].notna()]


def _meters(executions: pd.DataFrame) -> set[tuple[str, str]]:
    """(energy basis, CPU method) of each meter that measured these executions.

    The CPU method matters only where the basis is CodeCarbon's total, which includes the CPU.
    Elsewhere it is "".
    """
    methods = executions["cpu_method"].fillna("none")
    methods = methods.where(executions["energy_basis"] == TOTAL_ENERGY, "")
    return set(zip(executions["energy_basis"], methods, strict=True))


def _means(executions: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Arithmetic means of `columns` over the repeats of each prompt under each configuration."""
    frame = executions[["use_case", "prompt_sha256", *columns]]
    frame = frame.assign(configuration=_configuration(executions))
    # `usable` is True, False or null: as a float, its mean is a share.
    frame = frame.astype(dict.fromkeys(columns, float))
    means: pd.DataFrame = frame.groupby(PAIR_KEY, dropna=False)[columns].mean().reset_index()
    return means


def _geometric_means(executions: pd.DataFrame) -> pd.DataFrame:
    """Geometric means of RATIOS over the repeats of each prompt under each configuration."""
    import numpy as np

    columns = list(RATIOS)
    # Energies are skewed, and ratios of geometric means don't depend on which side is A.
    logarithms = executions.copy()
    logarithms[columns] = np.log(executions[columns].astype(float))
    means = _means(logarithms, columns)
    means[columns] = np.exp(means[columns])
    return means


def _configuration(executions: pd.DataFrame) -> pd.Series:
    """The four requested values as one text, so that they can be compared across groups."""
    text = executions["max_length"].astype(str)
    for name in PARAMETERS[1:]:
        text = text + " " + executions[name].astype(str)
    return text


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The configurations that both have, a row each, with columns `_a` and `_b`."""
    return a.merge(b, on=PAIR_KEY, suffixes=("_a", "_b"))


def _ratio(pairs: pd.DataFrame, name: str) -> Change:
    """B over A, for one column of RATIOS."""
    import numpy as np

    logarithms = np.log(pairs[f"{name}_b"]) - np.log(pairs[f"{name}_a"])
    change = _mean_change(logarithms, pairs["configuration"])
    ratio = math.exp(change.value)
    if change.interval is None:
        return Change(ratio, None, None)
    return Change(ratio, *map(math.exp, change.interval))


def _usable_change(judged_a: pd.DataFrame, judged_b: pd.DataFrame) -> Change | None:
    """Share of usable texts in B minus that in A; None where no text was judged in both."""
    shares = _pairs(_means(judged_a, [USABLE]), _means(judged_b, [USABLE]))
    if not len(shares):
        return None
    differences = shares[f"{USABLE}_b"] - shares[f"{USABLE}_a"]
    return _mean_change(differences, shares["configuration"])


def _mean_change(differences: pd.Series, clusters: pd.Series) -> Change:
    """The mean of `differences` with its 95 % interval, clustered by `clusters`."""
    import numpy as np
    import statsmodels.api as sm

    value = float(differences.mean())
    codes = clusters.astype("category").cat.codes.to_numpy()
    # a clustered error needs some clusters to be of any use
    if len(set(codes)) < LEAST_POINTS:
        return Change(value, None, None)
    # A model that has only a constant: its estimate is the mean, with a clustered error.
    fit = sm.OLS(differences.to_numpy(float), np.ones(len(differences))).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": True}, use_t=True
    )
    lower, upper = fit.conf_int(1 - CONFIDENCE)[0]
    return Change(value, float(lower), float(upper))


def comparison_warnings(comparison: Comparison) -> list[str]:
    """What a reader must know before any number of a comparison."""
    lines = [f"A: {line}" for line in warnings(comparison.a)]
    lines += [f"B: {line}" for line in warnings(comparison.b)]
    if not comparison.matches:
        lines.append(
            "A and B have no prompt under the same configuration: "
            "nothing is compared except how they were measured."
        )
    for match in comparison.matches:
        if not match.same_meter:
            lines.append(
                f"A's {match.a} and B's {match.b} were measured by unequal meters: "
                "no ratio of their energies is given."
            )
    for match in comparison.matches:
        if not match.same_model:
            lines.append(
                f"A's {match.a} and B's {match.b} are different models, which may split a text "
                "into tokens differently: J/token counts each model's own tokens."
            )
    return lines


def comparison_sentences(comparison: Comparison) -> list[str]:
    """A sentence on J/token for each match whose interval is known."""
    lines = []
    for match in comparison.matches:
        change = match.changes.get("energy_per_token_j")
        if change is None or change.interval is None:
            continue
        lower, upper = change.interval
        line = f"B's {match.b} takes {_times(change)} times the J/token of A's {match.a}"
        if lower <= 1 <= upper:
            line += ": this difference can't be distinguished from chance"
        lines.append(f"{line}.")
    return lines


def _times(change: Change) -> str:
    """A ratio with its interval, as it is shown."""
    if change.interval is None:
        return f"{change.value:.3g}"
    lower, upper = change.interval
    return f"{change.value:.3g} ({lower:.3g} to {upper:.3g})"


def ratio_table(comparison: Comparison) -> Table:
    """B over A, one row a match."""
    rows = []
    for match in comparison.matches:
        ratios = []
        for name in RATIOS:
            change = match.changes.get(name)
            ratios.append(UNKNOWN_CELL if change is None else _times(change))
        n_points, n_pairs = f"{match.n_points:,}", f"{len(match.pairs):,}"
        usable = _points(match.changes.get(USABLE))
        rows.append((match.a, match.b, n_points, n_pairs, *ratios, usable))
    head = (
        "A",
        "B",
        "configurations",
        "prompts under them",
        *(f"{name}, B/A" for name in RATIOS.values()),
        "usable, B - A",
    )
    note = (
        "Ratios of geometric means over the prompts and configurations that both measured, without "
        "failed and discarded answers, with 95 % intervals clustered by configuration (given from "
        f"{LEAST_POINTS} configurations on). n/a: unequal meters, or not evaluated."
    )
    return Table("ratios", "What both measured", head, tuple(rows), note)


def _points(change: Change | None) -> str:
    """A difference of shares in percentage points, as it is shown."""
    if change is None:
        return UNKNOWN_CELL
    value = f"{100 * change.value:+.0f}"
    if change.interval is None:
        return f"{value} points"
    lower, upper = change.interval
    return f"{value} ({100 * lower:+.0f} to {100 * upper:+.0f}) points"


def setup_table(comparison: Comparison) -> Table:
    """How each data set was measured; rows that differ are marked."""
    setup_a, setup_b = _setup(comparison.a), _setup(comparison.b)
    rows = []
    for name in dict.fromkeys([*setup_a, *setup_b]):
        a, b = setup_a.get(name, "none"), setup_b.get(name, "none")
        rows.append((name, a, b, _mark(a, b)))
    all_a, all_b = comparison.a.all, comparison.b.all
    rows.append(_overlap("configurations", _configuration(all_a), _configuration(all_b)))
    rows.append(_overlap("prompts", all_a["prompt_sha256"], all_b["prompt_sha256"]))
    return Table("setup", "How they were measured", ("", "A", "B", ""), tuple(rows))


def _mark(a: object, b: object) -> str:
    """The word for two values that differ; "" for equal ones."""
    return "" if a == b else "differs"


def _overlap(name: str, a: pd.Series, b: pd.Series) -> tuple[str, str, str, str]:
    """A row that counts the different values of A, of B, and of both."""
    values_a, values_b = set(a), set(b)
    in_both = f"{len(values_a & values_b):,} of them in both"
    cell_a, cell_b = f"{len(values_a):,}, {in_both}", f"{len(values_b):,}, {in_both}"
    return name, cell_a, cell_b, _mark(values_a, values_b)


def _setup(data: Data) -> dict[str, str]:
    """How a data set was measured: name -> all its values, as they are shown."""
    frame = data.all
    setup = {name: values(frame[name]) for name in SETUP}
    for package, versions in package_versions(data).items():
        setup[package] = ", ".join(sorted(versions))
    setup["executions"] = f"{len(frame):,}"
    setup["gross energy"] = gross_energy(energy_rows(frame)).text()
    setup["measured"] = days(frame["started_at"])
    return setup


def names_of(a: DataSetPaths, b: DataSetPaths) -> tuple[str, str]:
    """The last parts of two folders' paths, as few as are needed to tell the two apart."""
    parts_a, parts_b = a.root.resolve().parts, b.root.resolve().parts
    for n in range(1, max(len(parts_a), len(parts_b))):
        if parts_a[-n:] != parts_b[-n:]:
            return "/".join(parts_a[-n:]), "/".join(parts_b[-n:])
    return parts_a[-1], parts_b[-1]
