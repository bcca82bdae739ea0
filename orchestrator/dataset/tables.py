"""executions.parquet and summary.parquet: derived from trial folders, at once or bit by bit.

`TableWriter` keeps the tables up to date during a sweep. What a trial costs there doesn't grow with
their number: a file is rewritten only after its rows have grown by a tenth, and at the end.
`rebuild` reads every folder. Both give equal tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.caveats import with_caveats
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.parquet import read_parquet, table_version, to_table, write_parquet
from orchestrator.dataset.paths import DataSetPaths, Stamp, execution_id, stamp
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION, Execution, ExecutionRow, TrialRecord
from orchestrator.dataset.summary import Chosen, SummaryRow, summary_values
from orchestrator.dataset.trial_files import partial_record, read_trial
from orchestrator.dataset.verdicts import Judgements, read_decisions, read_verdicts
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
    "repeat",
)
"""Columns that all attempts of a trial share, and no other trial has."""
GROWTH = 0.1
FRESH_ROWS = 500
"""While a table is this small it is rewritten after every trial."""

Key = tuple[Any, ...]


class Trials:
    """The chosen executions of every trial: for each prompt that of its newest ok attempt."""

    def __init__(self) -> None:
        self._records: dict[Key, list[TrialRecord]] = {}
        self.judgements = Judgements()

    @staticmethod
    def key(record: TrialRecord) -> Key:
        """What all attempts of a trial share."""
        return tuple(getattr(record.columns, name) for name in TRIAL_KEY)

    def add(self, record: TrialRecord) -> Key:
        """Take in a sealed trial; its key."""
        key = self.key(record)
        self._records.setdefault(key, []).append(record)
        return key

    def take_in_caveats(self) -> list[Key]:
        """Flag executions for what their processes did; the keys of trials that this changed."""
        records = self.records()
        pairs = zip(records, with_caveats(records), strict=True)
        changed = {id(old): new for old, new in pairs if new is not old}
        keys = []
        for key, attempts in self._records.items():
            if any(id(record) in changed for record in attempts):
                self._records[key] = [changed.get(id(record), record) for record in attempts]
                keys.append(key)
        return keys

    def records(self) -> list[TrialRecord]:
        """The records of all sealed trials, every attempt of each."""
        return [record for records in self._records.values() for record in records]

    def attempts(self, key: Key) -> list[TrialRecord]:
        """All records of one trial."""
        return self._records[key]

    def __iter__(self) -> Iterator[Key]:
        """Keys, sorted."""
        return iter(sorted(self._records))

    def __len__(self) -> int:
        """How many trials."""
        return len(self._records)

    def chosen(self, key: Key) -> list[Chosen]:
        """The execution that counts for each prompt, in the order of the prompts.

        An ok one counts before a failed one, then the newest attempt. What was judged is not
        looked up.
        """
        best: dict[int, Chosen] = {}
        for record in self._records[key]:
            for execution in record.executions:
                one = Chosen(execution, record)
                before = best.get(execution.prompt_number)
                # an ok one wins over a later failure: --rerun must not lose a measurement
                if before is None or _rank(one) > _rank(before):
                    best[execution.prompt_number] = one
        return [best[number] for number in sorted(best)]

    def execution_rows(self, key: Key) -> list[dict[str, Any]]:
        """Rows of executions.parquet of one trial."""
        rows = []
        for one in self.chosen(key):
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

    def summary_row(self, key: Key, rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Row of summary.parquet: sums over the executions that are ok and not discarded.

        `rows`: the trial's `execution_rows` where they are known, for what was judged; a prompt
        without a row there counts as not evaluated.
        """
        if rows is None:
            rows = self.execution_rows(key)
        judged = {row["prompt_number"]: (row["usable"], row["quality"]) for row in rows}
        chosen = []
        for one in self.chosen(key):
            usable, quality = judged.get(one.execution.prompt_number, (None, None))
            chosen.append(Chosen(one.execution, one.record, usable, quality))
        return summary_values(chosen)

    def figures(self, key: Key) -> dict[str, Any]:
        """The summary over all ok executions, whatever was judged.

        The number of new tokens is there under the name of Tune's metric, `tokens`, too.
        """
        row = self.summary_row(key, [])
        return {**row, "tokens": row["n_new_tokens"]}


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
        self._rows: dict[Key, list[dict[str, Any]]] = {}
        self._take_in_judgements(list(trials))
        self._written = len(list(self.rows()))
        self._pending = 0

    def _take_in_judgements(self, keys: Iterable[Key]) -> None:
        """Read what was judged, and make the rows of these trials with it."""
        self._judged = judgement_stamps(self._paths)
        self.trials.judgements, findings = read_judgements(self._paths)
        self.faults = [f"{finding.where}: {finding.what}" for finding in findings]
        self._rows = {key: self.trials.execution_rows(key) for key in keys}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of executions.parquet, in its order."""
        return (row for key in sorted(self._rows) for row in self._rows[key])

    def add(self, record: TrialRecord) -> None:
        """Take in a sealed trial; writes nothing."""
        key = self.trials.add(record)
        self._rows[key] = self.trials.execution_rows(key)
        self._pending += len(record.executions)

    def follow(self) -> None:
        """Write what was taken in: at once while the files are small, later once a tenth is new."""
        if self._written < FRESH_ROWS or self._pending > GROWTH * self._written:
            self.flush()

    def flush(self) -> None:
        """Write both files as they should be now, with what was judged meanwhile.

        Only inside `writing`, and with all trials that are sealed by then: nobody's rows are lost.
        """
        if judgement_stamps(self._paths) != self._judged:
            self._take_in_judgements(self._rows)
        # what a session's later anchors say of its earlier trials
        for key in self.trials.take_in_caveats():
            self._rows[key] = self.trials.execution_rows(key)
        rows = list(self.rows())
        write_parquet(self._paths.executions, to_table(ExecutionRow, rows))
        summary = (self.trials.summary_row(key, self._rows[key]) for key in sorted(self._rows))
        write_parquet(self._paths.summary, to_table(SummaryRow, summary))
        self._written = len(rows)
        self._pending = 0


def read_all(paths: DataSetPaths, *, unfinished: bool = False) -> tuple[Trials, list[str]]:
    """Every readable trial of a data set, and a line for each folder that can't be read.

    `unfinished`: running and interrupted trials count with the executions they have.
    """
    items: list[TrialRecord | str | None] = [
        read_sealed(paths, folder) for folder in paths.sealed_trials()
    ]
    if unfinished:
        items += [read_running(paths, folder) for folder in paths.partial_trials()]
    return gathered(items)


def read_judgements(paths: DataSetPaths) -> tuple[Judgements, list[Finding]]:
    """What was judged, and an error for each file that can't be read.

    Without its verdicts texts count as not evaluated.
    """
    findings = []
    verdicts, decisions = {}, []
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
    records, faults = [], []
    for item in items:
        if isinstance(item, str):
            faults.append(item)
        elif item is not None:
            records.append(item)
    trials = Trials()
    for record in records:
        trials.add(record)
    trials.take_in_caveats()
    return trials, faults


def made_anew(paths: DataSetPaths, executions: pa.Table, *others: pa.Table) -> TableWriter | None:
    """The tables as the folders make them, where an earlier version wrote one; None: they stand.

    The folders know more than such a table: columns and caveats that came later. Where they hold
    fewer executions than the table, as in a shortened data set, the tables stand.
    """
    if not any(_is_of_earlier_version(table) for table in (executions, *others)):
        return None
    trials, _ = read_all(paths)
    writer = TableWriter(paths, trials)
    return writer if len(list(writer.rows())) == executions.num_rows else None


def _is_of_earlier_version(table: pa.Table) -> bool:
    """Whether an earlier version of the program wrote a table."""
    version = table_version(table)
    return version is not None and version < SCHEMA_VERSION


def renew(paths: DataSetPaths) -> None:
    """Write tables of an earlier version anew, unless that would lose an execution.

    Where one can't be read nothing is written: `validate` tells that. Raises OSError.
    """
    try:
        executions, summary = read_parquet(paths.executions), read_parquet(paths.summary)
    except (OSError, ValueError):
        return
    writer = made_anew(paths, executions, summary)
    if writer is not None:
        writer.flush()


def rebuild(paths: DataSetPaths, say: Say = silent) -> tuple[int, int, list[str]]:
    """Write both tables from the folders alone, while no other process writes them.

    `say` hears who is waited for. Gives (executions, trials, faults). Raises OSError.
    """
    with alone(paths, say):
        trials, faults = read_all(paths)
        writer = TableWriter(paths, trials)
        writer.flush()
    faults += writer.faults
    return len(list(writer.rows())), len(trials), faults
