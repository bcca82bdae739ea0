"""The executions of a data set as a table to analyse: what counts, what it spent, what it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.dataset.parquet import arrow_schema, read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.schema import ExecutionRow
from orchestrator.errors import UserError
from orchestrator.nouns import PARAMETERS
from orchestrator.report.effects import Effect, effects
from orchestrator.report.importance import Importance, importances
from orchestrator.report.sweep_cost import Cost, sweep_cost

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = ("throttled",)
"""Flags whose executions no effect is computed from (METHOD R12); they stay in the data and are counted."""


@dataclass(frozen=True)
class Data:
    """What a report is made of."""

    all: pd.DataFrame
    """Every execution; besides the schema's columns: `spent_j` (the column that energy_basis names), `per_token_j` (of it),
    `group` (machine, model, quantization: within one, energies may be compared), `point` (a configuration, over models, use
    cases and repeats), `discarded`, and `counted` (ok, not discarded, measured)."""
    kept: pd.DataFrame
    """Of these, the `counted` ones with none of the flags LEFT_OUT."""
    paths: DataSetPaths | None = None
    """Where the trials' folders are; None: the tables only."""

    @cached_property
    def effects(self) -> tuple[list[Effect], list[Effect]]:
        """Of each hyperparameter: in all, and at equal length."""
        return effects(self.kept, adjusted=False), effects(self.kept, adjusted=True)

    @cached_property
    def importances(self) -> tuple[list[Importance], list[Importance]]:
        """Of each hyperparameter: for an answer's energy, and for J/token."""
        return importances(self.kept, "spent_j"), importances(self.kept, "per_token_j")

    @cached_property
    def cost(self) -> Cost | None:
        """What the sweep took besides its executions; None without the trials' folders."""
        return sweep_cost(self.paths) if self.paths is not None else None

    @property
    def evaluated(self) -> bool:
        """Whether any text was judged."""
        return bool(self.all["usable"].notna().any())


def read_data(paths: DataSetPaths) -> Data:
    """The executions of a data set. Raises UserError where its table is missing or older than this program."""
    try:
        table = read_parquet(paths.executions)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{paths.executions}: can't be read ({reason_of(error)}); `orchestrator summarize` makes it anew"
        ) from error
    missing = [name for name in arrow_schema(ExecutionRow).names if name not in table.schema.names]
    if missing:
        raise UserError(
            f"{paths.executions}: lacks the column {missing[0]}; `orchestrator summarize` makes it anew"
        )
    return data_of(table.drop_columns(["text"]).to_pandas(), paths)


def data_of(executions: pd.DataFrame, paths: DataSetPaths | None = None) -> Data:
    """The same from rows of executions.parquet."""
    import numpy as np

    frame = executions.copy()
    basis = frame["energy_basis"]
    frame["spent_j"] = np.nan
    for name in basis.dropna().unique():
        frame.loc[basis == name, "spent_j"] = frame.loc[basis == name, name].astype(float)
    frame["group"] = frame["machine"] + " / " + frame["model"] + " / " + frame["quantization"]
    frame["point"] = frame["strategy"].astype(str)
    for name in PARAMETERS:
        frame["point"] = frame["point"] + " " + frame[name].astype(str)
    flagged = frame["flags"].map(lambda flags: any(flag in LEFT_OUT for flag in flags)).astype(bool)
    discarded = (
        frame["usable"].map(lambda usable: usable is False or usable is np.False_).astype(bool)
    )
    frame["discarded"] = (frame["status"] == "ok") & discarded
    frame["counted"] = (
        (frame["status"] == "ok")
        & ~discarded
        & frame["spent_j"].gt(0)
        & frame["n_new_tokens"].gt(0)
    )
    frame["per_token_j"] = (frame["spent_j"] / frame["n_new_tokens"]).where(frame["counted"])
    return Data(all=frame, kept=frame[frame["counted"] & ~flagged].copy(), paths=paths)
