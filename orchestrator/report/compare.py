"""Two data sets side by side: how each was measured, and what differs where both measured the same.

The same is a prompt under the same values of the four hyperparameters. Groups (machine, model, quantization) that have the same
name in both are compared with each other, the others of A with the others of B. Ratios are those of geometric means over such
pairs; their intervals come from the pairs' logarithms, clustered by configuration (statsmodels; as in effects.py). Energies of
unequal meters give no ratio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.dataset.drift import conditions
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import read_all
from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import CONFIDENCE
from orchestrator.report.execution_frame import Data
from orchestrator.report.page_content import Table, warnings
from orchestrator.units import energy

if TYPE_CHECKING:
    import pandas as pd

RATIOS = {
    "per_token_j": "J/token",
    "spent_j": "energy of an answer",
    "n_new_tokens": "new tokens",
    "tokens_per_s": "tokens/s",
}
"""Column -> what it is called."""
OF_A_METER = ("per_token_j", "spent_j")
USABLE = "usable"
SAME = ["asked", "use_case", "prompt_sha256"]
"""What two executions that are compared have in common."""
LEAST_POINTS = 5
"""Matched configurations below which no interval is given."""
SETUP = (
    "machine", "gpu_name", "model", "model_revision", "quantization", "engine", "compute_dtype", "attention", "cache",
    "chat_template", "length_mode", "offload_fraction", "scope", "energy_basis", "cpu_method", "country_iso_code", "strategy",
    "use_case",
)  # fmt: skip
MOST_VALUES = 6
"""In a cell."""


@dataclass(frozen=True)
class Change:
    """From A to B: a ratio, or for usable texts a difference of shares."""

    value: float
    lower: float | None
    upper: float | None
    """The 95 % interval; None where there are too few configurations for one."""


@dataclass(frozen=True)
class Match:
    """A group of A, a group of B, and what both measured."""

    a: str
    b: str
    pairs: pd.DataFrame
    """A row a prompt under a configuration: `use_case`, and of each outcome its mean in A and in B (`J_a`, `J_b`)."""
    same_meter: bool
    same_model: bool
    changes: Mapping[str, Change]
    """Of what is known, by column; USABLE is a difference."""

    @property
    def n_points(self) -> int:
        """Configurations."""
        return int(self.pairs["asked"].nunique())


@dataclass(frozen=True)
class Comparison:
    """All that is said of two data sets."""

    a: Data
    b: Data
    matches: tuple[Match, ...]


def compare(a: Data, b: Data) -> Comparison:
    """Match them, group by group."""
    groups_a, groups_b = (sorted(set(data.all["group"])) for data in (a, b))
    both = [(group, group) for group in groups_a if group in groups_b]
    rest = product(
        (g for g in groups_a if g not in groups_b), (g for g in groups_b if g not in groups_a)
    )
    found = (_match(a, b, group_a, group_b) for group_a, group_b in (*both, *rest))
    return Comparison(a, b, tuple(match for match in found if len(match.pairs)))


def _match(a: Data, b: Data, group_a: str, group_b: str) -> Match:
    kept = [data.kept[data.kept["group"] == group] for data, group in ((a, group_a), (b, group_b))]
    judged = [
        data.all[(data.all["group"] == group) & data.all["usable"].notna()]
        for data, group in ((a, group_a), (b, group_b))
    ]
    meters = [_meters(some) for some in kept]
    same_meter = meters[0] == meters[1] and len(meters[0]) == 1
    pairs = _pairs(
        _means(kept[0], list(RATIOS), logarithm=True), _means(kept[1], list(RATIOS), logarithm=True)
    )
    shares = _pairs(_means(judged[0], [USABLE]), _means(judged[1], [USABLE]))
    changes = (
        {name: _ratio(pairs, name) for name in RATIOS if same_meter or name not in OF_A_METER}
        if len(pairs)
        else {}
    )
    if len(shares):
        changes[USABLE] = _mean_change(
            shares[f"{USABLE}_b"] - shares[f"{USABLE}_a"], shares["asked"]
        )
    models = [set(some["model"]) for some in kept]
    return Match(group_a, group_b, pairs, same_meter, models[0] == models[1], changes)


def _meters(some: pd.DataFrame) -> set[tuple[str, str]]:
    """What its energies were measured by; CodeCarbon's total by the CPU's meter or model too."""
    methods = some["cpu_method"].fillna("none").where(some["energy_basis"] == "energy_j", "")
    return set(zip(some["energy_basis"], methods, strict=True))


def _means(some: pd.DataFrame, outcomes: list[str], *, logarithm: bool = False) -> pd.DataFrame:
    """Of each prompt under each configuration, over its repeats; geometric where the logarithm is asked for."""
    import numpy as np

    frame = (
        some[["use_case", "prompt_sha256", *outcomes]]
        .assign(asked=_asked(some))
        .astype(dict.fromkeys(outcomes, float))
    )
    if logarithm:
        frame[outcomes] = np.log(frame[outcomes])
    means: pd.DataFrame = frame.groupby(SAME, dropna=False)[outcomes].mean().reset_index()
    if logarithm:
        means[outcomes] = np.exp(means[outcomes])
    return means


def _asked(some: pd.DataFrame) -> pd.Series:
    """The configuration, whatever the group."""
    asked = some["max_length"].astype(str)
    for name in PARAMETERS[1:]:
        asked = asked + " " + some[name].astype(str)
    return asked


def _pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    return a.merge(b, on=SAME, suffixes=("_a", "_b"))


def _ratio(pairs: pd.DataFrame, name: str) -> Change:
    import numpy as np

    found = _mean_change(np.log(pairs[f"{name}_b"]) - np.log(pairs[f"{name}_a"]), pairs["asked"])
    bounds = (found.lower, found.upper)
    lower, upper = (None if bound is None else math.exp(bound) for bound in bounds)
    return Change(math.exp(found.value), lower, upper)


def _mean_change(differences: pd.Series, clusters: pd.Series) -> Change:
    """The mean and its interval, clustered."""
    import numpy as np
    import statsmodels.api as sm

    value = float(differences.mean())
    codes = clusters.astype("category").cat.codes.to_numpy()
    if len(set(codes)) < LEAST_POINTS:
        return Change(value, None, None)
    fit = sm.OLS(differences.to_numpy(float), np.ones(len(differences))).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": True}, use_t=True
    )
    lower, upper = fit.conf_int(1 - CONFIDENCE)[0]
    return Change(value, float(lower), float(upper))


def comparison_warnings(found: Comparison) -> list[str]:
    """What must be known before any number."""
    lines = [
        f"{name}: {line}"
        for name, data in (("A", found.a), ("B", found.b))
        for line in warnings(data)
    ]
    if not found.matches:
        lines.append(
            "A and B have no prompt under the same configuration: nothing is compared but how they were measured."
        )
    lines += [
        f"A's {match.a} and B's {match.b} were measured by unequal meters: no ratio of their energies is given."
        for match in found.matches
        if not match.same_meter
    ]
    lines += [
        f"A's {match.a} and B's {match.b} are models that may cut a text into tokens differently: J/token is of each one's own."
        for match in found.matches
        if not match.same_model
    ]
    return lines


def comparison_sentences(found: Comparison) -> list[str]:
    """What the intervals allow to say of J/token."""
    lines = []
    for match in found.matches:
        change = match.changes.get("per_token_j")
        if change is None or change.lower is None or change.upper is None:
            continue
        what = f"B's {match.b} takes {_times(change)} times the J/token of A's {match.a}"
        chance = change.lower <= 1 <= change.upper
        lines.append(
            f"{what}: no difference that can be told from chance." if chance else f"{what}."
        )
    return lines


def _times(change: Change) -> str:
    if change.lower is None or change.upper is None:
        return f"{change.value:.3g}"
    return f"{change.value:.3g} ({change.lower:.3g} to {change.upper:.3g})"


def ratio_table(found: Comparison) -> Table:
    """B over A, by matched group."""
    rows = []
    for match in found.matches:
        ratios = [
            _times(match.changes[name]) if name in match.changes else "n/a" for name in RATIOS
        ]
        usable = match.changes.get(USABLE)
        rows.append(
            (
                match.a,
                match.b,
                f"{match.n_points:,}",
                f"{len(match.pairs):,}",
                *ratios,
                _points(usable),
            )
        )
    head = (
        "A",
        "B",
        "configurations",
        "prompts under them",
        *(f"{name}, B/A" for name in RATIOS.values()),
        "usable, B - A",
    )
    note = (
        "Ratios of geometric means over what both measured, of answers that count, with 95 % intervals clustered by "
        f"configuration (from {LEAST_POINTS} configurations on). n/a: unequal meters, or not evaluated."
    )
    return Table("ratios", "What both measured", head, tuple(rows), note)


def _points(change: Change | None) -> str:
    if change is None:
        return "n/a"
    interval = (
        ""
        if change.lower is None or change.upper is None
        else f" ({100 * change.lower:+.0f} to {100 * change.upper:+.0f})"
    )
    return f"{100 * change.value:+.0f}{interval} points"


def setup_table(found: Comparison) -> Table:
    """How each was measured; what differs is marked."""
    sides = [_setup(found.a), _setup(found.b)]
    names = list(dict.fromkeys([*sides[0], *sides[1]]))
    rows = [(name, *(side.get(name, "none") for side in sides)) for name in names]
    marked = [(name, a, b, "differs" if a != b else "") for name, a, b in rows]
    frames = found.a.all, found.b.all
    marked.append(_shared("configurations", *(set(_asked(frame)) for frame in frames)))
    marked.append(_shared("prompts", *(set(frame["prompt_sha256"]) for frame in frames)))
    return Table("setup", "How they were measured", ("", "A", "B", ""), tuple(marked))


def _shared(name: str, a: set[str], b: set[str]) -> tuple[str, str, str, str]:
    in_both = f"{len(a & b):,} of them in both"
    return name, f"{len(a):,}, {in_both}", f"{len(b):,}, {in_both}", "differs" if a != b else ""


def _setup(data: Data) -> dict[str, str]:
    frame = data.all
    found = {name: _values(frame[name]) for name in SETUP}
    if data.paths is not None:
        for of_machine in conditions(read_all(data.paths)[0].records()).values():
            for condition in of_machine:
                for package, version in condition.versions.items():
                    known = found.get(package, "").split(", ")
                    found[package] = ", ".join(sorted({*filter(None, known), version}))
    found |= {"executions": f"{len(frame):,}", "energy": energy(frame["spent_j"].sum())}
    days = sorted(str(at)[:10] for at in frame["started_at"].dropna())
    return found | {
        "measured": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "unknown"
    }


def _values(column: pd.Series) -> str:
    names = sorted({str(value) for value in column.dropna()})
    more = f" and {len(names) - MOST_VALUES} more" if len(names) > MOST_VALUES else ""
    return ", ".join(names[:MOST_VALUES]) + more if names else "unknown"


def names_of(a: DataSetPaths, b: DataSetPaths) -> tuple[str, str]:
    """Of two folders, as short as tells them apart."""
    parts_a, parts_b = a.root.resolve().parts, b.root.resolve().parts
    for n in range(1, max(len(parts_a), len(parts_b))):
        if parts_a[-n:] != parts_b[-n:]:
            return "/".join(parts_a[-n:]), "/".join(parts_b[-n:])
    return parts_a[-1], parts_b[-1]
