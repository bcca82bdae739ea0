"""The executions of a data set as a table for analysis, with the columns that the report adds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.drift import Conditions, conditions
from orchestrator.dataset.energy import GPU_ENERGIES, TOTAL_ENERGY
from orchestrator.dataset.flags import LEFT_OUT
from orchestrator.dataset.parquet import (
    ROWS_AT_ONCE,
    as_list,
    read_parquet,
    read_schema,
    table_version,
    to_table,
)
from orchestrator.dataset.paths import DataSetPaths, holds
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION, ExecutionRow, TrialRecord
from orchestrator.dataset.sessions import Session, SessionTrials
from orchestrator.dataset.tables import made_anew
from orchestrator.dataset.trial_files import read_trial
from orchestrator.dataset.upgrades import check_values, upgraded_table, with_defaults
from orchestrator.errors import UserError
from orchestrator.nouns import PARAMETERS, columns_of
from orchestrator.report.effects import OF_EVALUATED, OUTCOMES, Effect, Outcome, effects
from orchestrator.report.sweep_cost import Cost, CostTotals
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    import pandas as pd


TEXTS = ["output_text", "prompt_text"]
"""Columns that are not read: no chart shows a text, and texts are most of the table's bytes."""


TABLE_ONLY = frozenset(
    {
        *("attempt", "baseline_id", "beyond_context", "bits", "counter_period_s", "counter_rest_j"),
        *("counter_steps", "cpu_energy_j", "decided_by", "decode_energy_per_token_j", "device"),
        *("dormant", "double_quant", "effective_temperature", "effective_top_k"),
        *("effective_top_p", "emissions_kg", "energy_kwh", "energy_rel_uncertainty"),
        *("error_message", "finish_reason", "gpu_energy_cc_j", "limits", "n_foreign_processes"),
        *("net_energy_j", "notes", "order_index", "prefill_n_in_window"),
        *("prefill_rel_uncertainty", "prefill_window_s", "ram_energy_j"),
        *("ram_method", "ram_scope", "session_started_at", "session_trial"),
        *("temperature_begin_c", "temperature_end_c", "threads", "throttled", "ttft_s"),
    }
)
"""Columns of which only the table of columns tells anything: their values are not kept."""


@dataclass(frozen=True)
class TrialFacts:
    """What the trials' folders say besides the table."""

    cost: Cost | None = None
    """What the sweep took besides its executions; None: without the folders."""
    sessions: Sequence[Session] = ()
    """The sessions on GPUs."""
    conditions: Mapping[str, list[Conditions]] = field(default_factory=dict)
    """Machine -> the conditions under which its trials ran."""


def trial_facts(paths: DataSetPaths) -> TrialFacts:
    """Read all sealed trials once, and keep none; those that can't be read are only counted."""
    totals, sessions, n_unreadable = CostTotals(), SessionTrials(), 0

    def readable() -> Iterator[TrialRecord]:
        """The trials, each added to the sums."""
        nonlocal n_unreadable
        for folder in paths.sealed_trials():
            try:
                record = read_trial(folder, paths.root)
            except (OSError, ValueError):
                n_unreadable += 1
                continue
            sessions.add(totals.n_trials, record)
            totals.add(record)
            yield record

    found = conditions(readable())
    return TrialFacts(totals.cost(n_unreadable), sessions.sessions(), found)


@dataclass(frozen=True)
class ColumnFacts:
    """What the table of columns tells of one."""

    n_known: int
    median: float | None
    """None of texts, lists, times and truth values."""


def facts_of(column: pd.Series) -> ColumnFacts:
    """What the table of columns tells of a column."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    known = column.dropna()
    if known.empty or is_bool_dtype(known) or not is_numeric_dtype(known):
        return ColumnFacts(len(known), None)
    return ColumnFacts(len(known), float(known.median()))


@dataclass(frozen=True)
class Data:
    """The data that a report is made of."""

    all: pd.DataFrame
    """Every execution, with the schema's columns but those in TABLE_ONLY, and these:
    counted_energy_j: joules, from the column that energy_basis names;
    energy_per_token_j: counted_energy_j over the new tokens; null where it isn't measured;
    setup: how the model was run: its quantization, with what else differs in the data set;
    group: machine, model and setup; energies may be compared within one group;
    point: the configuration, across models, use cases and repeats;
    discarded: ok, but its text was found unusable;
    left_out: one of its flags puts the measurement in so much doubt that it is no answer here;
    measured: ok, with a known energy."""
    answers: pd.DataFrame
    """What every figure of the report is made of: executions that are ok, whether usable or not,
    with a known energy and none of the flags in LEFT_OUT."""
    paths: DataSetPaths | None = None
    """Where the trials' folders are; None if there are only tables."""
    table_only: Mapping[str, ColumnFacts] = field(default_factory=dict)
    """Column in TABLE_ONLY -> what is told of it."""

    @cached_property
    def kept(self) -> pd.DataFrame:
        """The answers whose text was not discarded."""
        return self.answers[~self.answers["discarded"]]

    @cached_property
    def effects(self) -> dict[Outcome, list[Effect]]:
        """What each hyperparameter does: outcome -> an effect a hyperparameter, in their order."""
        outcomes = [one for one in OUTCOMES if self.evaluated or one not in OF_EVALUATED]
        return {one: effects(self.answers, one) for one in outcomes}

    @cached_property
    def trials(self) -> TrialFacts:
        """What the trials' folders say; nothing where they are not there."""
        if self.paths is None:
            return TrialFacts()
        return trial_facts(self.paths)

    @property
    def evaluated(self) -> bool:
        """Whether any text has a verdict."""
        return bool(self.all["usable"].notna().any())


def read_data(paths: DataSetPaths, *, with_left_out: bool = False) -> Data:
    """Read the executions of a data set, whichever version of this program wrote their table.

    `with_left_out`: executions with flags in LEFT_OUT count as answers, too. Raises UserError where
    the table is missing, can't be read, or a newer program wrote it.
    """
    path, remedy = paths.executions, "`orchestrator summarize` makes it anew"
    has_table, has_imports = (holds(paths.root, one.name) for one in (path, paths.imported))
    if has_imports and not has_table and not paths.sealed_trials():
        raise UserError(
            f"{paths.root}: holds imported measurements only, which are in imported.parquet; "
            "the report shows what `orchestrator tune` measures"
        )
    told: dict[str, ColumnFacts] = {}
    try:
        schema = read_schema(path)
        columns = [name for name in schema.names if name not in TEXTS]
        if table_version(schema) == SCHEMA_VERSION:
            frame, told = _read_columns(path, columns)
        else:
            frame = upgraded_table(path.name, read_parquet(path, columns))
        writer = made_anew(paths, path)
        if writer is not None:
            table = to_table(ExecutionRow, writer.rows()).drop_columns(TEXTS)
            frame = table.to_pandas(ignore_metadata=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read ({reason_of(error)}); {remedy}") from error
    wanted = [name for name, _, _ in columns_of(ExecutionRow) if name not in TEXTS]
    missing = [name for name in wanted if name not in frame and name not in told]
    if missing:
        raise UserError(f"{path}: lacks the column {missing[0]}; {remedy}")
    data = data_of(frame, paths, with_left_out=with_left_out)
    return replace(data, table_only={**data.table_only, **told})


def _read_columns(
    path: Path, columns: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, ColumnFacts]]:
    """Columns of a table of the present version, and what is told of those in TABLE_ONLY.

    One at a time: the whole table is never in memory twice, as Arrow's and as pandas'.
    """
    import pandas as pd

    kept: dict[str, pd.Series] = {}
    told: dict[str, ColumnFacts] = {}
    for name in columns:
        one = read_parquet(path, [name]).to_pandas(ignore_metadata=True)
        check_values(one)
        if name in TABLE_ONLY:
            told[name] = facts_of(one[name])
        else:
            kept[name] = one[name]
    return with_defaults(pd.DataFrame(kept, copy=False)), told


def data_of(
    executions: pd.DataFrame, paths: DataSetPaths | None = None, *, with_left_out: bool = False
) -> Data:
    """The data of a report from rows of executions.parquet (texts are not needed)."""
    import numpy as np

    # no column is changed in place, so that none has to be copied
    table_only = [name for name in executions if name in TABLE_ONLY]
    told = {name: facts_of(executions[name]) for name in table_only}
    frame = executions.drop(columns=table_only)
    _make_visible(frame)
    basis = frame["energy_basis"]
    frame["counted_energy_j"] = np.nan
    for name in basis.dropna().unique():
        frame.loc[basis == name, "counted_energy_j"] = frame.loc[basis == name, name].astype(float)
    without_gpu = basis == TOTAL_ENERGY
    frame.loc[without_gpu, "counted_energy_j"] /= (
        frame.loc[without_gpu, "pue"].astype(float).fillna(1.0)
    )
    frame["setup"] = _setups(frame)
    frame["group"] = frame["machine"] + " / " + frame["model"] + " / " + frame["setup"]
    frame["point"] = frame["strategy"].astype(str)
    for name in PARAMETERS:
        frame["point"] = frame["point"] + " " + frame[name].astype(str)
    for name in ("warning_flags", "reasons"):
        frame[name] = _lists(frame[name])
    # On an empty frame map() keeps the column's type, hence the casts to bool.
    frame["left_out"] = frame["warning_flags"].map(_is_left_out).astype(bool)
    discarded = frame["usable"].map(_is_false).astype(bool)
    ok = frame["status"] == "ok"
    measured = frame["counted_energy_j"].gt(0) & frame["n_new_tokens"].gt(0)
    frame["discarded"] = ok & discarded
    frame["measured"] = ok & measured
    frame["energy_per_token_j"] = (frame["counted_energy_j"] / frame["n_new_tokens"]).where(
        frame["measured"]
    )
    is_answer = frame["measured"] & (with_left_out | ~frame["left_out"])
    # mostly all are answers, and need no memory of their own
    answers = frame.copy(deep=False) if is_answer.all() else frame[is_answer].copy()
    return Data(all=frame, answers=answers, paths=paths, table_only=told)


def _setups(frame: pd.DataFrame) -> pd.Series:
    """How each row's model was run: 'nf4', and engine, type and batch where the data set has more.

    A compute type that a device or a quantization decides is told by these.
    """
    setups = frame["quantization"]
    if len(frame["engine"].unique()) > 1:
        setups = setups + ", " + frame["engine"]
    types = frame.groupby(["machine", "model", "quantization", "engine"])["compute_dtype"]
    if types.nunique().gt(1).any():
        setups = setups + ", " + frame["compute_dtype"]
    if len(frame["batch_size"].unique()) > 1:
        setups = setups + ", batch " + frame["batch_size"].astype(str)
    return setups


def _make_visible(frame: pd.DataFrame) -> None:
    """Spell out what a terminal or the writing direction would obey, in every text of a table.

    Charts, tables and warnings show names of machines, models and the like.
    """
    for name in frame.columns:
        # texts are of kind "O" in every version of pandas
        if frame[name].dtype.kind != "O":
            continue
        texts = [value for value in frame[name].unique() if isinstance(value, str)]
        spelled_out = {text: printable(text) for text in texts if not text.isprintable()}
        if spelled_out:
            frame[name] = frame[name].map(lambda value, to=spelled_out: to.get(value, value))


ENERGY_COLUMNS = [
    "energy_basis",
    *GPU_ENERGIES,
    TOTAL_ENERGY,
    "pue",
    "energy_rel_systematic",
    "energy_rel_statistical",
    "counter_look_s",
    "power_semantics",
    "gpu_uuid",
]
"""What an energy and its uncertainty are made of."""


def energy_rows(executions: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table as dataset/energy.py wants them: unknown values are None, not NaN."""
    return rows_of(executions, ENERGY_COLUMNS)


def rows_of(executions: pd.DataFrame, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some columns of a table's rows, one at a time; unknown values are None, not NaN."""
    # in parts, since as objects the rows take ten times the table's memory
    for start in range(0, len(executions), ROWS_AT_ONCE):
        part = executions[start : start + ROWS_AT_ONCE][list(columns)].astype(object)
        yield from part.where(part.notna(), None).to_dict("records")  # type: ignore[misc]


def _lists(column: pd.Series) -> pd.Series:
    """A column of lists that stand in one cell each, as tuples; equal cells share one tuple."""
    known: dict[str, tuple[str, ...] | None] = {}

    def entries(cell: Any) -> tuple[str, ...] | None:
        """The entries of a cell."""
        if not isinstance(cell, str):
            return _entries(cell)
        if cell not in known:
            known[cell] = _entries(cell)
        return known[cell]

    return column.map(entries).astype(object)


def _entries(cell: Any) -> tuple[str, ...] | None:
    """The entries of a list that stands in one cell; None where the cell is null."""
    unknown = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return None if unknown else as_list(cell)


def _is_left_out(flags: Any) -> bool:
    """Whether one of a row's flags leaves it out by default."""
    return any(flag in LEFT_OUT for flag in flags)


def _is_false(usable: Any) -> bool:
    """Whether a text was found unusable; an unknown one (null) was not."""
    import numpy as np

    return usable is False or usable is np.False_
