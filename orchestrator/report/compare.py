"""Compare two data sets, A and B: how each was measured, and how they differ where they overlap.

Groups (machine, model, setup) of the same model, quantization, engine and batch size are compared
with each other, on the same machine where both have it; the others only on request, or where
nothing else can be compared. What both measured is compared pair by pair (pairs.py). Groups that
have no pair are compared by the model of the effects, with its assumptions (`adjusted`). Energies
that were measured by different meters give no ratio.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.energy import TOTAL_ENERGY
from orchestrator.dataset.gross_energy import gross_energy
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.nouns import PARAMETERS
from orchestrator.report.circumstances import days, package_versions, values
from orchestrator.report.configuration_means import HOW_MEASURED, configuration_means
from orchestrator.report.effects import LEAST_POINTS as LEAST_OF_MODEL
from orchestrator.report.effects import Model, axis
from orchestrator.report.execution_frame import Data, energy_rows
from orchestrator.report.page_content import Table, warnings
from orchestrator.report.pairs import (
    FEW_SESSIONS,
    LEAST_POINTS,
    LEAST_SESSIONS,
    OF_A_METER,
    RATIOS,
    USABLE,
    Change,
    configuration,
    gains_variance,
    pairs_of,
    ratio,
    session_error,
    share_change,
)
from orchestrator.units import plural

if TYPE_CHECKING:
    import pandas as pd

SETUP = (*HOW_MEASURED, "country_iso_code", "strategy", "use_case")
"""Columns that tell how a data set was measured."""
OF_LIKE_GROUPS = ("model", "quantization", "engine", "batch_size")
"""Columns that are equal in two groups that are compared without being asked for."""
UNKNOWN_CELL = "n/a"
MEASUREMENT = ["host", "started_at", "use_case", "prompt_sha256", "counted_energy_j"]
"""Columns in which only one and the same measurement is equal in two data sets."""


@dataclass(frozen=True)
class Match:
    """A group of A, a group of B, and the pairs that both measured."""

    a: str
    b: str
    pairs: pd.DataFrame
    """As `pairs_of` gives them; empty where the two are compared by the model."""
    same_meter: bool
    same_model: bool
    changes: Mapping[str, Change]
    """Changes that are known, by column. Those of RATIOS are ratios; USABLE is a difference."""

    @property
    def n_points(self) -> int:
        """The number of configurations that both groups measured."""
        return int(self.pairs["configuration"].nunique())

    @property
    def is_adjusted(self) -> bool:
        """Whether nothing is matched, and the model of the effects stands in."""
        return self.pairs.empty


@dataclass(frozen=True)
class Cell:
    """One thing that is told of how a data set was measured."""

    value: object
    """What is compared; false where it is unknown."""
    text: str
    """As it is shown."""


ABSENT = Cell(None, "none")


@dataclass(frozen=True)
class Comparison:
    """Two data sets and all their matches that can be compared."""

    a: Data
    b: Data
    matches: tuple[Match, ...]
    n_same: int = 0
    """Executions that are in both: one measurement, not two. They are in no match."""
    n_not_compared: int = 0
    """Pairs of groups of unlike model or setup, which `all_pairs` adds."""


def compare(a: Data, b: Data, *, all_pairs: bool = False) -> Comparison:
    """Match the groups of two data sets and compute their changes.

    `all_pairs`: also groups of unlike models or setups.
    """
    known = [one.answers[MEASUREMENT].dropna(subset=["started_at"]) for one in (a, b)]
    same = known[0].merge(known[1], on=MEASUREMENT)
    a, b = (_without(data, same) for data in (a, b))
    alike, unlike = _groups_to_compare(a.answers, b.answers)
    if not alike or all_pairs:
        alike, unlike = [*alike, *unlike], []
    matches = [matched(a, b, *groups) for groups in alike]
    kept = tuple(match for match in matches if match is not None)
    return Comparison(a, b, kept, n_same=len(same.drop_duplicates()), n_not_compared=len(unlike))


def _without(data: Data, same: pd.DataFrame) -> Data:
    """A data set without the answers that stand in the other one, too."""
    if same.empty:
        return data
    marked = data.answers.merge(same.drop_duplicates(), how="left", indicator="side")
    is_own = (marked["side"] == "left_only").to_numpy()
    return Data(all=data.all, answers=data.answers[is_own], paths=data.paths)


def _groups_to_compare(
    a: pd.DataFrame, b: pd.DataFrame
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of groups of one model and setup, and all others.

    Where both data sets have such a group on one machine, only that pair is of the first kind.
    """
    columns = ["group", "machine", *OF_LIKE_GROUPS]
    groups_a, groups_b = (frame[columns].drop_duplicates().to_dict("records") for frame in (a, b))
    names_a, names_b = ({one["group"] for one in groups} for groups in (groups_a, groups_b))
    alike, unlike = [], []
    for one, other in product(groups_a, groups_b):
        pair = (str(one["group"]), str(other["group"]))
        is_like = all(one[name] == other[name] for name in OF_LIKE_GROUPS)
        has_its_own = pair[0] in names_b or pair[1] in names_a
        if is_like and (pair[0] == pair[1] or not has_its_own):
            alike.append(pair)
        else:
            unlike.append(pair)
    return sorted(alike), sorted(unlike)


def matched(a: Data, b: Data, group_a: str, group_b: str) -> Match | None:
    """Compare a group of one data set with a group of the other; None where nothing is known."""
    answers_a = a.answers[a.answers["group"] == group_a]
    answers_b = b.answers[b.answers["group"] == group_b]
    meters_a, meters_b = _meters(answers_a), _meters(answers_b)
    # A group that changed its meter half-way has energies that can't be compared even with itself.
    same_meter = meters_a == meters_b and len(meters_a) == 1
    # tokens and speed need no meter
    names = [name for name in RATIOS if same_meter or name not in OF_A_METER]
    same_devices = set(answers_a["gpu_uuid"]) == set(answers_b["gpu_uuid"])
    pairs = pairs_of(answers_a, answers_b)
    if len(pairs):
        changes = {name: ratio(pairs, name, same_devices=same_devices) for name in names}
    else:
        changes = adjusted(answers_a, answers_b, names, same_devices=same_devices)
    usable = share_change(_judged(answers_a), _judged(answers_b))
    if usable is not None:
        changes[USABLE] = usable
    if not changes:
        return None
    same_model = set(answers_a["model"]) == set(answers_b["model"])
    return Match(group_a, group_b, pairs, same_meter, same_model, changes)


def adjusted(
    a: pd.DataFrame, b: pd.DataFrame, names: list[str], *, same_devices: bool
) -> dict[str, Change]:
    """Ratios B/A of columns of RATIOS between answers that share prompts, not configurations.

    The model of effects.py, in which each session has a level of its own. It assumes that each
    hyperparameter does the same in both. Empty where too few configurations are there.
    """
    import numpy as np
    import pandas as pd

    both = pd.concat([a.assign(side="A"), b.assign(side="B")], ignore_index=True)
    both["point"] = both["side"] + " " + both["point"].astype(str)
    both["session"] = both["side"] + " " + both["session_id"].fillna("").astype(str)
    if min(one["point"].nunique() for one in (a, b)) < LEAST_OF_MODEL:
        return {}
    is_shared = both["prompt_sha256"].isin(set(a["prompt_sha256"]) & set(b["prompt_sha256"]))
    both = both[is_shared]
    is_repeated = both.groupby("point")["session"].nunique().gt(1).any()
    changes = {}
    for name in names if len(both) else []:
        values = pd.Series(np.log(both[name].to_numpy(float)), index=both.index)
        table = configuration_means(both, {"value": values}, ("use_case", "prompt_sha256"))
        session = both.groupby("point")["session"].first().loc[table.index]
        table["part"], sessions = pd.factorize(session, sort=True)
        axes = {one: axis(table, one) for one in PARAMETERS}
        levels = Model(table, axes, at_equal_length=False).levels()
        if levels is None:
            continue
        change = _adjusted_change(
            *levels,
            sessions.str.startswith("B"),
            gains_variance(name, same_devices=same_devices),
        )
        if is_repeated:
            # the configurations' noise is then in each session alike, and not between them
            change = Change(change.value, note="sessions that repeat unlike configurations")
        changes[name] = change
    return changes


def _adjusted_change(levels: Any, covariances: Any, is_b: Any, gains: float) -> Change:
    """A ratio from the levels of the sessions of A and B, and the covariances of their noise."""
    import numpy as np

    of_a, of_b = levels[~is_b], levels[is_b]
    value = float(of_b.mean() - of_a.mean())
    if min(len(of_a), len(of_b)) < LEAST_SESSIONS:
        return Change(math.exp(value), note=FEW_SESSIONS)
    # the noise of the hyperparameters' effects moves sessions apart, but hardly A from B
    weights = np.where(is_b, 1 / len(of_b), -1 / len(of_a))
    surplus = -float(weights @ covariances @ weights)
    for side in (~is_b, is_b):
        n, of_side = side.sum(), covariances[np.ix_(side, side)]
        surplus += float(np.trace(of_side) - of_side.mean() * n) / n / (n - 1)
    error = session_error(of_a, of_b, gains=gains, counted_twice=surplus)
    return Change(math.exp(value), math.exp(value - error), math.exp(value + error))


def _judged(answers: pd.DataFrame) -> pd.DataFrame:
    """The answers whose text has a verdict, discarded ones included."""
    return answers[answers[USABLE].notna()]


def _meters(executions: pd.DataFrame) -> set[tuple[str, str]]:
    """(energy basis, CPU method) of each meter that measured these executions.

    The CPU method matters only where the basis is CodeCarbon's total, which includes the CPU.
    Elsewhere it is "".
    """
    methods = executions["cpu_method"].fillna("none")
    methods = methods.where(executions["energy_basis"] == TOTAL_ENERGY, "")
    return set(zip(executions["energy_basis"], methods, strict=True))


def comparison_warnings(comparison: Comparison) -> list[str]:
    """What a reader must know before any number of a comparison."""
    lines = [f"A: {line}" for line in warnings(comparison.a)]
    lines += [f"B: {line}" for line in warnings(comparison.b)]
    if comparison.n_same:
        lines.append(
            f"{plural(comparison.n_same, 'execution')} of A and B are one and the same "
            "measurement, so they are not compared. Compare what was measured separately."
        )
    if not comparison.matches:
        lines.append(
            "A and B have no prompt under the same configuration, and too few configurations for "
            "a model: nothing is compared except how they were measured."
        )
    if any(match.is_adjusted for match in comparison.matches):
        lines.append(
            "Ratios marked 'by model' are ratios of different configurations. They assume "
            "that each "
            "hyperparameter does the same in A and in B, and hold for prompts that both have. "
            "Give both sweeps the same --space, --samples and --seed to compare pair by pair."
        )
    few = sorted(
        {change.note for match in comparison.matches for change in match.changes.values()} - {""}
    )
    if few:
        lines.append(
            f"Some ratios have no interval ({'; '.join(few)}): nobody can tell whether these "
            "differ from 1. Each run of `orchestrator tune` is a session: run it with --repeats "
            "1, again with --repeats 2, and with --repeats 3, on both sides."
        )
    if comparison.n_not_compared:
        n = plural(comparison.n_not_compared, "pair")
        lines.append(
            f"{n} of groups with different models or setups are not compared: --all-pairs "
            "adds them."
        )
    unequal = [match for match in comparison.matches if not match.same_meter]
    if unequal:
        lines.append(
            f"{plural(len(unequal), 'pair')} of groups (first: A's {unequal[0].a}, B's "
            f"{unequal[0].b}) were measured by unequal meters: no ratio of their energies is given."
        )
    others = [match for match in comparison.matches if not match.same_model]
    if others:
        lines.append(
            f"{plural(len(others), 'pair')} of groups (first: A's {others[0].a}, B's "
            f"{others[0].b}) are of different models, which may split a text into tokens "
            "differently: J/token counts each model's own tokens."
        )
    return lines


def comparison_sentences(comparison: Comparison) -> list[str]:
    """What the ratios of energy say, in one sentence; nothing where none has an interval."""
    of_matches = [match.changes.get("counted_energy_j") for match in comparison.matches]
    changes = [change for change in of_matches if change is not None]
    told = [change for change in changes if change.interval is not None]
    if not told:
        return []
    if len(told) == 1:
        only, verdict = told[0], _verdict(told[0])
        return [f"An answer of B took {times(only)} times the energy of one of A: {verdict}."]
    verdicts = [_verdict(change) for change in told]
    more, less = verdicts.count(MORE), verdicts.count(LESS)
    with_interval = " with an interval" if len(told) < len(changes) else ""
    sentence = (
        f"Of {plural(len(told), 'pair')} of groups{with_interval}, an answer of B took less energy "
        f"in {less} and more in {more}; "
        f"{len(told) - more - less} can't be distinguished from chance"
    )
    if not (more and less):
        low, high = min(one.value for one in told), max(one.value for one in told)
        sentence += f"; the ratios are {low:.3g} to {high:.3g}"
    return [f"{sentence}."]


MORE, LESS = "more beyond chance", "less beyond chance"


def _verdict(change: Change) -> str:
    """What an interval says of a ratio."""
    assert change.interval is not None  # noqa: S101 - the caller looked
    lower, upper = change.interval
    if lower > 1:
        return MORE
    if upper < 1:
        return LESS
    return "this difference can't be distinguished from chance"


def times(change: Change) -> str:
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
            ratios.append(UNKNOWN_CELL if change is None else times(change))
        n_points, n_pairs = f"{match.n_points:,}", f"{len(match.pairs):,}"
        if match.is_adjusted:
            n_points, n_pairs = "by model", "by model"
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
        "Ratios of geometric means over the prompts and configurations that both measured, of all "
        "answers that ended, usable or not, with 95 % intervals. Those of energies and speeds hold "
        f"over sessions and sensors, and are given from {LEAST_SESSIONS} sessions a side and "
        f"{LEAST_POINTS} configurations on. n/a: unequal meters, or not evaluated."
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
    """How each data set was measured: the rows that differ. The note names the others."""
    all_a, all_b = comparison.a.all, comparison.b.all
    setup_a = _setup(all_a) | _versions(comparison.a)
    setup_b = _setup(all_b) | _versions(comparison.b)
    overlaps = {
        "configurations": _overlap(configuration(all_a), configuration(all_b)),
        "prompts": _overlap(all_a["prompt_sha256"], all_b["prompt_sha256"]),
    }
    for name, (cell_a, cell_b) in overlaps.items():
        setup_a[name], setup_b[name] = cell_a, cell_b
    rows, equal, unknown = [], [], []
    for name in dict.fromkeys([*setup_a, *setup_b]):
        a, b = setup_a.get(name, ABSENT), setup_b.get(name, ABSENT)
        if a.value != b.value:
            rows.append((name, a.text, b.text))
        elif a.value:
            equal.append(name)
        else:
            unknown.append(name)
    note = f"{plural(len(equal), 'row')} not shown, equal in A and B: {', '.join(equal) or 'none'}."
    if unknown:
        note += f" Unknown in both: {', '.join(unknown)}."
    return Table(
        "setup", "What differs in how they were measured", ("", "A", "B"), tuple(rows), note
    )


def _setup(frame: pd.DataFrame) -> dict[str, Cell]:
    """How the executions of a data set were measured, by name."""
    setup = {name: Cell(frozenset(frame[name].dropna()), values(frame[name])) for name in SETUP}
    days_of = frozenset(str(at)[:10] for at in frame["started_at"].dropna())
    energies = gross_energy(energy_rows(frame)).text()
    return setup | {
        "executions": Cell(len(frame), f"{len(frame):,}"),
        "gross energy": Cell(energies, energies),
        "measured": Cell(days_of, days(frame["started_at"])),
    }


def _versions(data: Data) -> dict[str, Cell]:
    """The versions of the packages that measured a data set, by package."""
    return {
        package: Cell(frozenset(versions), ", ".join(sorted(versions)))
        for package, versions in package_versions(data).items()
    }


def _overlap(a: pd.Series, b: pd.Series) -> tuple[Cell, Cell]:
    """How many values A has, how many B, and how many of them both."""
    values_a, values_b = frozenset(a.dropna()), frozenset(b.dropna())
    in_both = f"{len(values_a & values_b):,} of them in both"
    return (
        Cell(values_a, f"{len(values_a):,}, {in_both}"),
        Cell(values_b, f"{len(values_b):,}, {in_both}"),
    )


def names_of(a: DataSetPaths, b: DataSetPaths) -> tuple[str, str]:
    """The last parts of two folders' paths, as few as are needed to tell the two apart."""
    parts_a, parts_b = a.root.resolve().parts, b.root.resolve().parts
    for n in range(1, max(len(parts_a), len(parts_b))):
        if parts_a[-n:] != parts_b[-n:]:
            return "/".join(parts_a[-n:]), "/".join(parts_b[-n:])
    return parts_a[-1], parts_b[-1]
