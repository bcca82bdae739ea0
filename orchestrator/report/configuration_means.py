"""One value a configuration: the means of its answers, beside the levels of their circumstances.

The circumstances are what was measured and how (machine, model, meter, session, ...), the use case
and the prompt. Levels and means are fitted together by least squares (Fong & Saunders 2011, LSMR),
so that answers that are missing, or machines that took some of the configurations only, don't look
like an effect of a hyperparameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.nouns import DOMAIN, PARAMETERS

if TYPE_CHECKING:
    import pandas as pd

HOW_MEASURED = (
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
    "batch_size",
    "offload_fraction",
    "scope",
    "n_parallel",
    "energy_basis",
    "cpu_method",
)
"""Columns that tell what was measured and how."""
CIRCUMSTANCES = (*HOW_MEASURED, "use_case", "prompt_number")
"""Columns of the circumstances: answers that are alike in all of them share a level."""
SESSION = "session_id"
LEAST_OF_A_PART = 5
"""Sessions have levels of their own only if they leave parts of so many configurations."""
EXACT = 1e-12
"""The relative error at which the fit of the levels ends."""


def configuration_means(
    answers: pd.DataFrame,
    columns: dict[str, pd.Series],
    circumstances: tuple[str, ...] = (*CIRCUMSTANCES, SESSION),
) -> pd.DataFrame:
    """A row a configuration, with the means of `columns` (name -> values of the answers).

    Besides: `part`, a number that is the same for configurations whose means can be compared
    directly; each part has an unknown level of its own, which a model must have too. `sampled`:
    whether its answers were sampled, not greedy. And the four hyperparameters as they ran: the
    mean effective max_length, and a top_k that is off (0) above all others.
    """
    import numpy as np
    import pandas as pd

    point, points = pd.factorize(answers["point"], sort=True)
    level, part = _levels(answers, point, circumstances)
    table = pd.DataFrame({"part": part}, index=points)
    for name, values in columns.items():
        table[name] = _means(point, level, values.to_numpy(float))
    first = answers.drop_duplicates("point").set_index("point").loc[points]
    table["sampled"] = first["effective_do_sample"].astype(bool)
    for name in PARAMETERS:
        table[name] = first[name].astype(float)
    table["top_k"] = table["top_k"].where(table["top_k"] > 0, DOMAIN["top_k"][1] + 1)
    table["max_length"] = np.bincount(point, _length_that_ran(answers)) / np.bincount(point)
    return table


def _length_that_ran(answers: pd.DataFrame) -> pd.Series:
    """The max_length of each answer that ran, counted as it was asked for.

    It may be less than that: the prompt, the context or the memory limit it. A sweep that asked
    for so many new tokens is known by answers that ran with just as many besides the prompt.
    """
    asked = answers["max_length"].astype(float)
    n_prompt = answers["n_prompt_tokens"].astype(float)
    ran = answers["effective_max_length"].astype(float).fillna(asked)
    of_new_tokens = set(answers.loc[ran == asked + n_prompt, "sweep_id"])
    return ran.where(~answers["sweep_id"].isin(of_new_tokens), ran - n_prompt)


def _levels(answers: pd.DataFrame, point: Any, names: tuple[str, ...]) -> tuple[Any, Any]:
    """The level of each answer, and the part of each configuration, both as numbers."""
    level = answers.groupby(list(names), dropna=False).ngroup().to_numpy()
    part = _parts(point, level)
    n_parts = part.max() + 1
    if SESSION in names and n_parts > 1 and len(part) < LEAST_OF_A_PART * n_parts:
        # too many sessions: they count as chance between configurations
        return _levels(answers, point, tuple(name for name in names if name != SESSION))
    return level, part


def _parts(point: Any, level: Any) -> Any:
    """The part of each configuration: those of one part are joined by levels that they share."""
    from scipy.sparse.csgraph import connected_components

    _, of_both = connected_components(_graph(point, level), directed=False)
    return of_both[: point.max() + 1]


def _graph(point: Any, level: Any) -> Any:
    """A graph with an edge between each configuration and each level that it has."""
    import numpy as np
    from scipy.sparse import coo_array

    n_points, n_levels = point.max() + 1, level.max() + 1
    size = n_points + n_levels
    return coo_array((np.ones(len(point)), (point, n_points + level)), shape=(size, size))


def _means(point: Any, level: Any, values: Any) -> Any:
    """The means of configurations beside the levels, by least squares."""
    _, fitted = _fitted(point, level, values)
    return fitted[: point.max() + 1]


def rest_of_levels(point: Any, level: Any, values: Any) -> tuple[Any, int]:
    """What levels of both kinds leave of values, by least squares, and its degrees of freedom.

    `point`, `level`: the number of each value's level of either kind, from 0 on without gaps.
    """
    design, fitted = _fitted(point, level, values)
    # one level of each part is a combination of its others
    n_levels = design.shape[1] - (_parts(point, level).max() + 1)
    return values - design @ fitted, int(len(values) - n_levels)


def _fitted(point: Any, level: Any, values: Any) -> tuple[Any, Any]:
    """The design, a column a configuration and then one a level, and the fitted coefficients."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import lsmr

    n, n_points = len(values), point.max() + 1
    row = np.tile(np.arange(n), 2)
    column = np.concatenate([point, n_points + level])
    design = coo_array((np.ones(2 * n), (row, column))).tocsr()
    return design, lsmr(design, values, atol=EXACT, btol=EXACT, maxiter=10_000)[0]
