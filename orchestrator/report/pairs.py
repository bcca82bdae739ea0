"""How much two groups of answers differ where both measured the same: ratios with intervals.

A pair is one prompt under one configuration (the values of the four hyperparameters) that both
groups measured. A ratio is that of the geometric means over the pairs.

Two things make a ratio of energies wrong that no number of configurations averages out. Sessions
differ: each process on a GPU has a speed and an idle power of its own. So the interval is made from
the means of the sessions of either group, by Student's t with the degrees of freedom of Welch
(1947) and Satterthwaite (1946); fewer than three sessions a group give none. Where each session
took some of the configurations only, the noise of a measurement is in the means of A's and of B's
sessions, but counts once: the surplus is subtracted (`noise_counted_twice`). And each device's
sensor has a gain of its own, within 5 %: across devices the variances of both are added (energy.py)
by the rule for a variance that is known beside ones that are estimated (GUM, JCGM 100:2008, G.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.energy import SENSOR_REL
from orchestrator.nouns import PARAMETERS
from orchestrator.report.configuration_means import rest_of_levels
from orchestrator.report.effects import CONFIDENCE

if TYPE_CHECKING:
    import pandas as pd

RATIOS = {
    "counted_energy_j": "energy of an answer",
    "energy_per_token_j": "J/token",
    "n_new_tokens": "new tokens",
    "tokens_per_s": "tokens/s",
}
"""Columns of which ratios are given, with their names in the report."""
OF_A_METER = ("energy_per_token_j", "counted_energy_j")
"""Columns that can be compared only where both groups used the same meter."""
OF_A_SESSION = (*OF_A_METER, "tokens_per_s")
"""Columns that differ between sessions; a text is the same in each."""
USABLE = "usable"
SIDES = ("session_id_a", "session_id_b")
"""Columns of pairs with the session of A and that of B."""
PAIR_KEY = ["configuration", "use_case", "prompt_sha256"]
"""Columns that are equal in the two executions of a pair."""
LEAST_POINTS = 5
"""With fewer matched configurations than this, no interval is given."""
LEAST_SESSIONS = 3
"""With fewer sessions of a group than this, nobody knows how much its sessions differ."""
NO_SURPLUS = 1e-9
"""A smaller surplus of the noise is rounding."""
FEW_BESIDE_SESSIONS = "too few configurations beside the sessions"
FEW_SESSIONS = f"fewer than {LEAST_SESSIONS} sessions on a side"
GAINS_VARIANCE = 2 * SENSOR_REL**2
"""Of a ratio of energies by two sensors."""


@dataclass(frozen=True)
class Change:
    """The change from A to B: a ratio, or for usable texts the difference of the two shares."""

    value: float
    lower: float | None = None
    upper: float | None = None
    """The 95 % interval is `lower` to `upper`; both are None where it is unknown."""
    note: str = ""
    """Why it is unknown."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """(lower, upper); None where it is unknown."""
        if self.lower is None or self.upper is None:
            return None
        return self.lower, self.upper


def configuration(executions: pd.DataFrame) -> pd.Series:
    """The four requested values as one text, so that they can be compared across groups."""
    text = executions["max_length"].astype(str)
    for name in PARAMETERS[1:]:
        text = text + " " + executions[name].astype(str)
    return text


def pairs_of(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The pairs of two groups of answers: a row a pair, and where sessions repeat it, one for each.

    Each column of RATIOS occurs twice, as a geometric mean over repeats, with the suffixes _a and
    _b; so does session_id.
    """
    return _means(a).merge(_means(b), on=PAIR_KEY, suffixes=("_a", "_b"))


def _means(answers: pd.DataFrame) -> pd.DataFrame:
    """Geometric means of RATIOS over the repeats of each prompt in each session."""
    import numpy as np

    columns = list(RATIOS)
    frame = answers[["use_case", "prompt_sha256", "session_id", *columns]]
    frame = frame.assign(configuration=configuration(answers))
    # energies are skewed, and ratios of geometric means don't depend on which side is A
    frame[columns] = np.log(frame[columns].astype(float))
    keys = [*PAIR_KEY, "session_id"]
    means: pd.DataFrame = frame.groupby(keys, dropna=False)[columns].mean().reset_index()
    means[columns] = np.exp(means[columns])
    return means


def ratio(pairs: pd.DataFrame, name: str, *, same_devices: bool) -> Change:
    """B over A, for one column of RATIOS. `same_devices`: whether one sensor measured both."""
    import numpy as np

    differences = np.log(pairs[f"{name}_b"]) - np.log(pairs[f"{name}_a"])
    of_point = differences.groupby(pairs["configuration"]).mean()
    value = float(of_point.mean())
    if len(of_point) < LEAST_POINTS:
        return Change(math.exp(value), note=f"fewer than {LEAST_POINTS} configurations")
    if name not in OF_A_SESSION:
        error = _error(of_point)
    else:
        gains = gains_variance(name, same_devices=same_devices)
        of_sessions = _error_of_sessions(pairs, name, gains)
        if isinstance(of_sessions, str):
            return Change(math.exp(value), note=of_sessions)
        error = of_sessions
    return Change(math.exp(value), math.exp(value - error), math.exp(value + error))


def gains_variance(name: str, *, same_devices: bool) -> float:
    """What the gains of two sensors add to the variance of a ratio of a column of RATIOS."""
    return GAINS_VARIANCE if name in OF_A_METER and not same_devices else 0.0


def share_change(judged_a: pd.DataFrame, judged_b: pd.DataFrame) -> Change | None:
    """Share of usable texts in B less that in A; None where no text was judged in both."""
    shares = [
        one.assign(configuration=configuration(one), usable=one[USABLE].astype(float))
        .groupby(PAIR_KEY, dropna=False)[USABLE]
        .mean()
        .reset_index()
        for one in (judged_a, judged_b)
    ]
    both = shares[0].merge(shares[1], on=PAIR_KEY, suffixes=("_a", "_b"))
    if not len(both):
        return None
    of_point = (both["usable_b"] - both["usable_a"]).groupby(both["configuration"]).mean()
    value = float(of_point.mean())
    if len(of_point) < LEAST_POINTS:
        return Change(value, note=f"fewer than {LEAST_POINTS} configurations")
    error = _error(of_point)
    return Change(value, value - error, value + error)


def _error(of_point: pd.Series) -> float:
    """Half the 95 % interval of the mean of independent values."""
    from scipy.stats import t

    n = len(of_point)
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * of_point.std() / math.sqrt(n))


def _error_of_sessions(pairs: pd.DataFrame, name: str, gains: float) -> float | str:
    """Half the 95 % interval of the mean over sessions, or why there is none."""
    import numpy as np

    if pairs[list(SIDES)].isna().any(axis=None):  # before version 3
        return FEW_SESSIONS
    logs = pairs.assign(a=np.log(pairs[f"{name}_a"]), b=np.log(pairs[f"{name}_b"]))
    # prompts of one configuration share the noise of its trial
    means = logs.groupby(["configuration", *SIDES])[["a", "b"]].mean().reset_index()
    of_a, of_b = ((means["b"] - means["a"]).groupby(means[side]).mean() for side in SIDES)
    if min(len(of_a), len(of_b)) < LEAST_SESSIONS:
        return FEW_SESSIONS
    twice = noise_counted_twice(means)
    if twice is None:
        return FEW_BESIDE_SESSIONS
    return session_error(of_a, of_b, gains=gains, counted_twice=twice)


def noise_counted_twice(means: pd.DataFrame) -> float | None:
    """How much more of the noise the means of A's and B's sessions hold than the ratio does.

    `means`: a row for each configuration with a session of A and one of B that took it, in columns
    `configuration` and SIDES, and the logarithms `a` and `b`. Gives a variance; None where the
    configurations are too few to tell the noise from the sessions.
    """
    import numpy as np
    import pandas as pd
    from scipy.sparse import coo_array

    # what was measured: a configuration in a session, numbered through both sides
    in_a, in_b = (means.groupby(["configuration", side]) for side in SIDES)
    columns = np.concatenate([in_b.ngroup() + in_a.ngroups, in_a.ngroup()])
    rows, signs = np.tile(np.arange(len(means)), 2), np.repeat([1.0, -1.0], len(means))
    differences = coo_array((signs, (rows, columns))).tocsr()
    of_ratio = (_averages(means["configuration"]) @ differences).mean(axis=0)
    counted = -float((of_ratio**2).sum())
    for side in SIDES:
        of_sessions = (_averages(means[side]) @ differences).toarray()
        counted += float(of_sessions.var(axis=0, ddof=1).sum()) / len(of_sessions)
    if abs(counted) < NO_SURPLUS:
        return 0.0
    values = pd.concat([in_a["a"].mean(), in_b["b"].mean()], keys=["a", "b"])
    point, session = (values.groupby(level=of).ngroup().to_numpy() for of in ([1], [0, 2]))
    rest, n_free = rest_of_levels(point, session, values.to_numpy())
    return counted * float(rest @ rest) / n_free if n_free else None


def _averages(names: pd.Series) -> Any:
    """A matrix that averages rows of one name; shape (names, rows)."""
    import numpy as np
    import pandas as pd
    from scipy.sparse import coo_array

    number = pd.factorize(names)[0]
    share = 1 / np.bincount(number)
    return coo_array((share[number], (number, np.arange(len(number))))).tocsr()


def session_error(of_a: Any, of_b: Any, *, gains: float, counted_twice: float = 0.0) -> float:
    """Half the 95 % interval of the difference of two groups, from the means of their sessions.

    Each group has LEAST_SESSIONS or more. `gains`: as of `gains_variance`. `counted_twice`:
    variance that both groups hold and that counts once.
    """
    import numpy as np
    from scipy.stats import t

    variances = [float(np.var(one, ddof=1)) / len(one) for one in (of_a, of_b)]
    estimated = max(sum(variances) - counted_twice, *variances)
    variance = estimated + gains
    if not variance:
        return 0.0
    # the degrees of freedom of the two estimates, and then of their sum with what is known
    parts = [one**2 / (len(of) - 1) for one, of in zip(variances, (of_a, of_b), strict=True)]
    of_estimated = sum(variances) ** 2 / sum(parts) if sum(parts) else math.inf
    free = of_estimated * (variance / estimated) ** 2 if estimated else math.inf
    return float(t.ppf((1 + CONFIDENCE) / 2, free) * math.sqrt(variance))
