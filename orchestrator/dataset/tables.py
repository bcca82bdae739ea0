"""executions.parquet and summary.parquet: derived from trial folders, at once or bit by bit.

`TableWriter` keeps the tables up to date during a sweep. What a trial costs there doesn't grow with
their number: a file is rewritten only after its rows have grown by a tenth, and at the end.
`rebuild` reads every folder. Both give equal tables.

Records are kept packed, and rows are made while they are written: no table is in memory as a whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.caveats import Caveat, Caveats, marked
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.packed import PackedRecords
from orchestrator.dataset.parquet import read_schema, row_count, table_version, written_rows
from orchestrator.dataset.paths import DataSetPaths, Stamp, execution_id, stamp
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION, Execution, ExecutionRow, TrialRecord
from orchestrator.dataset.summary import Chosen, SummaryRow, summary_values
from orchestrator.dataset.trial_files import partial_record, read_trial
from orchestrator.dataset.verdicts import (
    Judgements,
    read_decisions,
    read_verdicts,
    write_verdicts,
)
from orchestrator.say import Say, silent

if TYPE_CHECKING:
    import pyarrow as pa

TRIAL_KEY = (
    "machine",
    "model",
    "strategy",
    "use_case",
    "config_index",
    "config_hash",
    "repetition",
)
"""Columns that all attempts of a trial share, and no other trial has."""
GROWTH = 0.1
FRESH_ROWS = 30
"""While a table is this small it is rewritten after every trial."""

Key = tuple[Any, ...]


class Trials:
    """The chosen executions of every trial: for each prompt that of its newest ok attempt."""

    def __init__(self) -> None:
        self._records = PackedRecords()
        self._places: dict[Key, list[int]] = {}
        """Key -> places of its attempts in `_records`."""
        self._caveats = Caveats()
        self._taken_in: dict[int, Caveat] = {}
        """Place of a record -> the caveat that its flags tell already."""
        self.judgements = Judgements()

    @staticmethod
    def key(record: TrialRecord) -> Key:
        """What all attempts of a trial share."""
        return tuple(getattr(record.columns, name) for name in TRIAL_KEY)

    def add(self, record: TrialRecord) -> Key:
        """Take in a sealed trial; its key."""
        key = self.key(record)
        place = len(self._records)
        self._records.append(record)
        self._caveats.add(place, record)
        self._places.setdefault(key, []).append(place)
        return key

    def take_in_caveats(self) -> None:
        """Flag executions for what their processes did."""
        for place, caveat in self._caveats.found().items():
            if self._taken_in.get(place) != caveat:
                self._taken_in[place] = caveat
                self._records.replace(place, marked(self._records[place], caveat))

    def records(self) -> Sequence[TrialRecord]:
        """The records of all sealed trials, every attempt of each, made as they are looked at."""
        return self._records

    def attempts(self, key: Key) -> list[TrialRecord]:
        """All records of one trial."""
        return [self._records[place] for place in self._places[key]]

    def __iter__(self) -> Iterator[Key]:
        """Keys, sorted."""
        return iter(sorted(self._places))

    def __len__(self) -> int:
        """How many trials."""
        return len(self._places)

    def chosen(self, key: Key) -> list[Chosen]:
        """The execution that counts for each prompt, as `chosen_of` its attempts."""
        return chosen_of(self.attempts(key))

    def execution_rows(
        self, key: Key, chosen: Iterable[Chosen] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of executions.parquet of one trial. `chosen`: its executions, where known."""
        rows = []
        for one in self.chosen(key) if chosen is None else chosen:
            record, execution = one.record, one.execution
            name = execution_id(record.columns.machine, record.spec, execution.prompt_number)
            judged = self.judgements.of(name, execution.output_text)
            rows.append(
                {
                    **record.columns.model_dump(),
                    **execution.model_dump(),
                    "prompt_text": prompt_text(record, execution),
                    "execution": name,
                    **judged.model_dump(),
                }
            )
        return rows

    def rows(self, key: Key) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Rows of executions.parquet, and the row of summary.parquet, of one trial."""
        chosen = self.chosen(key)
        rows = self.execution_rows(key, chosen)
        judged = [
            Chosen(one.execution, one.record, row["usable"], row["quality"])
            for one, row in zip(chosen, rows, strict=True)
        ]
        return rows, summary_values(judged)

    def summary_row(self, key: Key) -> dict[str, Any]:
        """Row of summary.parquet: sums over the executions that are ok and not discarded."""
        return self.rows(key)[1]

    def figures(self, key: Key) -> dict[str, Any]:
        """The summary over all ok executions, whatever was judged.

        The number of new tokens is there under the name of Tune's metric, `tokens`, too.
        """
        row = summary_values(self.chosen(key))
        return {**row, "tokens": row["n_new_tokens"]}


def chosen_of(attempts: Iterable[TrialRecord]) -> list[Chosen]:
    """The execution that counts for each prompt of a trial, in the order of the prompts.

    An ok one counts before a failed one, then the newest attempt. What was judged is not looked up.
    """
    best: dict[int, Chosen] = {}
    for record in attempts:
        for execution in record.executions:
            one = Chosen(execution, record)
            before = best.get(execution.prompt_number)
            # an ok one wins over a later failure: --rerun must not lose a measurement
            if before is None or _rank(one) > _rank(before):
                best[execution.prompt_number] = one
    return [best[number] for number in sorted(best)]


def _rank(one: Chosen) -> tuple[bool, int, Any]:
    """Sort key of executions of one prompt: ok before failed, then the later attempt."""
    return (one.execution.status == "ok", one.record.columns.attempt, one.record.sealed_at)


def prompt_text(record: TrialRecord, execution: Execution) -> str | None:
    """The text of an execution's prompt; None: its trial has no such prompt."""
    prompts = {prompt.number: prompt.text for prompt in record.spec.prompts}
    return prompts.get(execution.prompt_number)


class TableWriter:
    """Keeps both tables up to date while trials are sealed."""

    def __init__(self, paths: DataSetPaths, trials: Trials) -> None:
        self._paths = paths
        self.trials = trials
        """What the tables are made of."""
        self._take_in_judgements()
        self.n_rows = sum(len(record.executions) for record in trials.records())
        """Rows of executions.parquet as it was written last, or of what there was before."""
        self._pending = 0

    def _take_in_judgements(self) -> None:
        """Read what was judged."""
        self._judged = judgement_stamps(self._paths)
        self.trials.judgements, findings = read_judgements(self._paths)
        self.faults = [f"{finding.where}: {finding.what}" for finding in findings]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of executions.parquet, in its order, made as they are asked for."""
        return (row for key in self.trials for row in self.trials.execution_rows(key))

    def add(self, record: TrialRecord) -> None:
        """Take in a sealed trial; writes nothing."""
        self.trials.add(record)
        self._pending += len(record.executions)

    def is_due(self) -> bool:
        """Whether the files are to be written: while they are small, or once a tenth is new."""
        return self.n_rows < FRESH_ROWS or self._pending > GROWTH * self.n_rows

    def flush(self, look: Callable[[list[dict[str, Any]]], None] = lambda _rows: None) -> None:
        """Write both files as they should be now, with what was judged meanwhile.

        Only inside `writing`, and with all trials that are sealed by then: nobody's rows are lost.
        `look` is given the executions' rows, a trial at a time.
        """
        if judgement_stamps(self._paths) != self._judged:
            self._take_in_judgements()
        # what a session's later anchors say of its earlier trials
        self.trials.take_in_caveats()
        n_rows = 0
        with (
            written_rows(self._paths.summary, SummaryRow) as add_to_summary,
            written_rows(self._paths.executions, ExecutionRow) as add_executions,
        ):
            for key in self.trials:
                rows, summary = self.trials.rows(key)
                add_executions(rows)
                add_to_summary([summary])
                look(rows)
                n_rows += len(rows)
        self.n_rows = n_rows
        self._pending = 0


def read_all(paths: DataSetPaths, *, unfinished: bool = False) -> tuple[Trials, list[str]]:
    """Every readable trial of a data set, and a line for each folder that can't be read.

    `unfinished`: running and interrupted trials count with the executions they have.
    """
    sealed = (read_sealed(paths, folder) for folder in paths.sealed_trials())
    partial = paths.partial_trials() if unfinished else []
    running = (read_running(paths, folder) for folder in partial)
    return gathered(itertools.chain(sealed, running))


def read_judgements(paths: DataSetPaths) -> tuple[Judgements, list[Finding]]:
    """What was judged, and an error for each file that can't be read.

    Without its verdicts texts count as not evaluated.
    """
    findings, decisions = [], []
    verdicts = None
    try:
        verdicts = read_verdicts(paths)
    except (OSError, ValueError) as error:
        findings.append(Finding("error", paths.verdicts.name, reason_of(error)))
    try:
        decisions = read_decisions(paths)
    except (OSError, ValueError) as error:
        name = paths.reviews.name
        findings.append(Finding("error", name, reason_of(error).removeprefix(f"{name}: ")))
    return Judgements(verdicts, decisions), findings


def judgement_stamps(paths: DataSetPaths) -> tuple[Stamp | None, ...]:
    """What changes when something was judged."""
    return stamp(paths.verdicts), stamp(paths.reviews)


def read_sealed(paths: DataSetPaths, folder: Path) -> TrialRecord | str:
    """A sealed trial, or a line why it can't be read.

    The line begins with the folder, relative to the data set.
    """
    try:
        return read_trial(folder, paths.root)
    except (OSError, ValueError) as error:
        return f"{folder.relative_to(paths.root)}: {reason_of(error)}"


def read_running(paths: DataSetPaths, folder: Path) -> TrialRecord | str | None:
    """What a running or interrupted trial has, or a line why it can't be read.

    None: it has nothing yet, or it was sealed meanwhile.
    """
    try:
        return partial_record(folder)
    except (OSError, ValueError) as error:
        if not folder.exists():  # it was sealed and renamed while it was read
            return None
        return f"{folder.relative_to(paths.root)}: {reason_of(error)}"


def gathered(items: Iterable[TrialRecord | str | None]) -> tuple[Trials, list[str]]:
    """Trials from records, and the lines for those that can't be read; None is passed over."""
    trials, faults = Trials(), []
    for item in items:
        if isinstance(item, str):
            faults.append(item)
        elif item is not None:
            trials.add(item)
    trials.take_in_caveats()
    return trials, faults


def made_anew(paths: DataSetPaths, *tables: Path) -> TableWriter | None:
    """The tables as the folders make them, where an earlier version wrote one; None: they stand.

    `tables`: their files. The folders know more than such a table: columns and caveats that came
    later. Where they hold fewer executions than executions.parquet, as in a shortened data set, the
    tables stand. Raises as `read_schema`.
    """
    if not any(_is_of_earlier_version(read_schema(table)) for table in tables):
        return None
    trials, _ = read_all(paths)
    writer = TableWriter(paths, trials)
    return writer if sum(1 for _ in writer.rows()) == row_count(paths.executions) else None


def _is_of_earlier_version(schema: pa.Schema) -> bool:
    """Whether an earlier version of the program wrote a table."""
    version = table_version(schema)
    return version is not None and version < SCHEMA_VERSION


def renew(paths: DataSetPaths) -> None:
    """Write tables of an earlier version anew, unless that would lose an execution.

    Where one can't be read nothing is written: `validate` tells that. Raises OSError.
    """
    _renew_verdicts(paths)
    try:
        writer = made_anew(paths, paths.executions, paths.summary)
    except (OSError, ValueError):
        return
    if writer is not None:
        writer.flush()


def _renew_verdicts(paths: DataSetPaths) -> None:
    """Write verdicts.parquet anew where an earlier version wrote it and it can be read."""
    try:
        if not _is_of_earlier_version(read_schema(paths.verdicts)):
            return
        verdicts = read_verdicts(paths)
    except (OSError, ValueError):
        return
    write_verdicts(paths, verdicts)


def rebuild(paths: DataSetPaths, say: Say = silent) -> tuple[int, int, list[str]]:
    """Write both tables from the folders alone, while no other process writes them.

    A table of verdicts of an earlier version is written in the present one, too.

    `say` hears who is waited for. Gives (executions, trials, faults). Raises OSError.
    """
    with alone(paths, say):
        trials, faults = read_all(paths)
        writer = TableWriter(paths, trials)
        writer.flush()
        _renew_verdicts(paths)
    faults += writer.faults
    return writer.n_rows, len(trials), faults
