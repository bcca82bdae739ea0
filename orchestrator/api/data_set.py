"""A data set as pandas tables: `orchestrator.load`.

The report's figures (effects with their intervals, the frontier, how far a trial can be trusted)
come from the report's own functions: nothing is computed a second time here.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import pyarrow as pa

    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.nouns import Noun
    from orchestrator.report.execution_frame import Data


def load(folder: str | Path) -> DataSet:
    """The data set in a folder that `tune` wrote, or a published copy of one.

    Tables are read when they are first looked at, and kept. Raises UserError where there is no such
    folder; a table raises it where it can't be read.
    """
    from orchestrator.cli.options import check_data_set

    check_data_set(Path(folder), "")
    return DataSet(Path(folder))


class DataSet:
    """The tables of a data set. `columns` tells what each column means, and its unit."""

    def __init__(self, folder: Path, run: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.run = run
        """How `tune` ended, as `tune --json` prints it (`executions_left`, `failed`, `drained`);
        None: the data set was only loaded."""

    @cached_property
    def executions(self) -> pd.DataFrame:
        """A row an execution, with its prompt and text: executions.parquet."""
        from orchestrator.dataset.schema import ExecutionRow

        return _table(self._paths, self._paths.executions, ExecutionRow)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """A row a trial, with sums over its executions: summary.parquet."""
        from orchestrator.dataset.summary import SummaryRow

        return _table(self._paths, self._paths.summary, SummaryRow)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial as the report has it: what it took, and how far that can be trusted."""
        from orchestrator.api.report_tables import TRIALS, table_of
        from orchestrator.report.trial_rows import trial_rows

        return table_of(trial_rows(self._data), TRIALS)

    @cached_property
    def frontier(self) -> pd.DataFrame:
        """The report's best configurations: a row each, cheapest usable answer first.

        Of the same model, setup, machine and use case no other has at most its J/token and at least
        its quality, and is better in one. Empty before `evaluate`: quality is unknown then.
        """
        from orchestrator.api.report_tables import CONFIGURATIONS, table_of
        from orchestrator.report.trial_rows import configuration_rows

        best = [row for row in configuration_rows(self._data) if row.on_front]
        return table_of(best, CONFIGURATIONS)

    @cached_property
    def effects(self) -> pd.DataFrame:
        """A row an outcome and hyperparameter: the change from its lower to its upper half.

        With its 95 % interval, as the report has it.
        """
        from orchestrator.api.report_tables import EFFECTS, table_of
        from orchestrator.report.findings import effect_rows

        return table_of(effect_rows(self._data), EFFECTS)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """What the data say, in the report's sentences."""
        from orchestrator.report.findings import findings

        return tuple(one.text for one in findings(self._data))

    @cached_property
    def columns(self) -> pd.DataFrame:
        """What the columns of all tables mean; the index is (table, column)."""
        import pandas as pd

        from orchestrator.api.report_tables import CONFIGURATIONS, EFFECTS, TRIALS
        from orchestrator.dataset.schema import ExecutionRow
        from orchestrator.dataset.summary import SummaryRow
        from orchestrator.nouns import columns_of

        rows = [
            (table, name, column.unit, column.meaning, column.null)
            for table, row in (("executions", ExecutionRow), ("summary", SummaryRow))
            for name, _, column in columns_of(row)
        ]
        tables = {"trials": TRIALS, "frontier": CONFIGURATIONS, "effects": EFFECTS}
        for table, columns in tables.items():
            rows += [
                (table, name, column.unit, column.meaning, column.null)
                for name, column in columns.items()
            ]
        frame = pd.DataFrame(rows, columns=["table", "column", "unit", "meaning", "null when"])
        return frame.set_index(["table", "column"])

    @cached_property
    def _data(self) -> Data:
        """What the report is made of."""
        from orchestrator.report.execution_frame import read_data

        return read_data(self._paths)

    @property
    def _paths(self) -> DataSetPaths:
        """Where its files are."""
        from orchestrator.dataset.paths import DataSetPaths

        return DataSetPaths(self.folder)

    def __repr__(self) -> str:
        """Its folder and what it holds."""
        return f"DataSet({str(self.folder)!r}): {len(self.executions):,} executions"


def _table(paths: DataSetPaths, path: Path, row: type[Noun]) -> pd.DataFrame:
    """A table of a data set. Raises UserError where it can't be read."""
    from orchestrator.dataset.reading import reason_of

    try:
        frame: pd.DataFrame = _present_table(paths, path, row).to_pandas()
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: can't be read ({reason_of(error)}); `orchestrator summarize` makes it anew"
        ) from error
    return frame


def _present_table(paths: DataSetPaths, path: Path, row: type[Noun]) -> pa.Table:
    """A table with the columns and types of the present version, whichever version wrote it.

    Where the folders of an earlier version's trials aren't all there, its summary stays as it was.
    Raises OSError and ValueError.
    """
    import pyarrow as pa

    from orchestrator.dataset.parquet import arrow_schema, read_parquet, to_table
    from orchestrator.dataset.tables import made_anew
    from orchestrator.dataset.upgrades import upgraded_table

    writer = made_anew(paths, path)
    if writer is not None:
        is_summary = path == paths.summary
        rows = map(writer.trials.summary_row, writer.trials) if is_summary else writer.rows()
        return to_table(row, rows)
    table = read_parquet(path)
    if path == paths.summary:
        return table
    frame, schema = upgraded_table(path.name, table), arrow_schema(row)
    # through the schema, so that every version's columns have the same types
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False).cast(schema)
