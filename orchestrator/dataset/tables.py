"""executions.parquet and summary.parquet: derived from trial folders, from scratch or a trial at a time.

`TableWriter` keeps the tables up to date during a sweep at a cost a trial that doesn't grow with their number: a file is
rewritten only after its rows have grown by a tenth, and at the end. `rebuild` reads every folder. Both give equal tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.dataset.findings import Finding
from orchestrator.dataset.parquet import to_table, write_parquet
from orchestrator.dataset.paths import DataSetPaths, Stamp, execution_id, stamp
from orchestrator.dataset.schema import (
    Execution,
    ExecutionRow,
    SummaryRow,
    TrialColumns,
    TrialRecord,
)
from orchestrator.dataset.trial_files import partial_record, read_trial, reason_of
from orchestrator.dataset.verdicts import Judgements, read_decisions, read_verdicts

SHORT_TRIAL_S = 60.0
"""METHOD R7: below it a trial is flagged; publishable power wants a minute of load."""

TRIAL_KEY = ("machine", "model", "strategy", "use_case", "index", "config_hash", "repeat")
GROWTH = 0.1
FRESH_ROWS = 500
"""While a table is this small it is rewritten after every trial."""

Key = tuple[Any, ...]


class Trials:
    """The counted executions of every trial: for each prompt of a trial those of its newest ok attempt."""

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

    def records(self) -> list[TrialRecord]:
        """All of them."""
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

    def counted(self, key: Key) -> list[tuple[TrialColumns, Execution, TrialRecord]]:
        """Per prompt the execution that counts: ok before failed, then the newest attempt."""
        best: dict[int, tuple[tuple[bool, int, str], TrialColumns, Execution, TrialRecord]] = {}
        for record in self._records[key]:
            for execution in record.executions:
                rank = (execution.status == "ok", record.columns.attempt, record.sealed_at)
                if execution.prompt not in best or rank > best[execution.prompt][0]:
                    best[execution.prompt] = (rank, record.columns, execution, record)
        return [best[prompt][1:] for prompt in sorted(best)]

    def execution_rows(self, key: Key) -> list[dict[str, Any]]:
        """Rows of executions.parquet."""
        rows = []
        for columns, execution, record in self.counted(key):
            name = execution_id(columns.machine, record.spec, execution.prompt)
            judged = self.judgements.outcome(name, execution.text)
            rows.append(
                {
                    **columns.model_dump(),
                    **execution.model_dump(),
                    "execution": name,
                    **judged.model_dump(),
                }
            )
        return rows

    def summary_row(self, key: Key, rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Row of summary.parquet: sums over the executions that are ok and not discarded.

        `rows`: the trial's `execution_rows` where they are known, for what was judged; without its row a prompt counts as not
        evaluated.
        """
        rows = self.execution_rows(key) if rows is None else rows
        usable = {row["prompt"]: row["usable"] for row in rows}
        quality = {row["prompt"]: row["quality"] for row in rows}
        counted = self.counted(key)
        ok = [execution for _, execution, _ in counted if execution.status == "ok"]
        kept = [execution for execution in ok if usable.get(execution.prompt) is not False]
        discarded = [execution for execution in ok if usable.get(execution.prompt) is False]
        n_usable = sum(usable.get(execution.prompt) is True for execution in ok)
        evaluated = any(usable.get(execution.prompt) is not None for execution in ok)
        qualities = [
            value for execution in ok if (value := quality.get(execution.prompt)) is not None
        ]
        newest = max((columns for columns, _, _ in counted), key=lambda columns: columns.attempt)
        loads = [
            record.environment.get("load_s")
            for _, _, record in counted
            if record.environment.get("loaded_here")
        ]
        tokens = sum(execution.n_new_tokens or 0 for execution in kept)
        window_s = sum(execution.window_s or 0.0 for execution in kept)
        bases = {execution.energy_basis for execution in ok}
        basis = bases.pop() if len(bases) == 1 else None
        spent = _total(kept, basis) if basis else None
        spent_on_all = _total(ok, basis) if basis else None
        wasted = (_total(discarded, basis) if discarded else 0.0) if basis and evaluated else None
        flags = {flag for _, execution, _ in counted for flag in execution.flags}
        if sum(execution.window_s or 0.0 for execution in ok) < SHORT_TRIAL_S:
            flags.add("short_trial")
        return {
            **newest.model_dump(),
            "n_executions": len(counted),
            "n_ok": len(ok),
            "n_usable": n_usable if evaluated else None,
            "n_discarded": len(discarded),
            "quality": sum(qualities) / len(qualities) if qualities else None,
            "n_prompt_tokens": sum(execution.n_prompt_tokens or 0 for execution in kept),
            "n_new_tokens": tokens,
            "window_s": window_s,
            "tokens_per_s": tokens / window_s if window_s else None,
            "energy_kwh": _total(kept, "energy_kwh"),
            "energy_j": _total(kept, "energy_j"),
            "gpu_energy_counter_j": _total(kept, "gpu_energy_counter_j"),
            "energy_per_token_j": spent / tokens if spent is not None and tokens else None,
            "energy_basis": basis,
            "wasted_energy_j": wasted,
            "energy_per_usable_j": spent_on_all / n_usable
            if spent_on_all is not None and n_usable
            else None,
            "load_s": loads[0] if loads else None,
            "flags": tuple(sorted(flags)),
        }

    def figures(self, key: Key) -> dict[str, Any]:
        """The same over all ok executions, whatever was judged, with the number of new tokens under the name of Tune's metric."""
        row = self.summary_row(key, [])
        return {**row, "tokens": row["n_new_tokens"]}


def _total(executions: list[Execution], column: str) -> float | None:
    """Sum of a column; None where one value is unknown or there are none: a sum of some would look like the whole."""
    values = [getattr(execution, column) for execution in executions]
    return None if not values or None in values else sum(values)


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
        """Write what was taken in: at once while the files are small, else when they have grown by a tenth."""
        if self._written < FRESH_ROWS or self._pending > GROWTH * self._written:
            self.flush()

    def flush(self) -> None:
        """Write both files as they should be now, with what was judged meanwhile."""
        if judgement_stamps(self._paths) != self._judged:
            self._take_in_judgements(self._rows)
        rows = list(self.rows())
        write_parquet(self._paths.executions, to_table(ExecutionRow, rows))
        summary = (self.trials.summary_row(key, self._rows[key]) for key in sorted(self._rows))
        write_parquet(self._paths.summary, to_table(SummaryRow, summary))
        self._written = len(rows)
        self._pending = 0


def read_all(paths: DataSetPaths, *, unfinished: bool = False) -> tuple[Trials, list[str]]:
    """Every readable trial of a data set, and a line for each folder that can't be read.

    `unfinished`: running and cut-off trials count with the executions they have.
    """
    found: list[TrialRecord | str | None] = [
        read_sealed(paths, folder) for folder in paths.sealed_trials()
    ]
    found += (
        [read_running(paths, folder) for folder in paths.partial_trials()] if unfinished else []
    )
    return gathered(found)


def read_judgements(paths: DataSetPaths) -> tuple[Judgements, list[Finding]]:
    """What was judged, and an error for a file that can't be read: without its verdicts texts count as not evaluated."""
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
    """A sealed trial, or a line why it can't be read."""
    try:
        return read_trial(folder, paths.root)
    except (OSError, ValueError) as error:
        return f"{folder.relative_to(paths.root)}: {reason_of(error)}"


def read_running(paths: DataSetPaths, folder: Path) -> TrialRecord | str | None:
    """What a running or cut-off trial has, or a line why it can't be read; None: nothing yet, or it was sealed meanwhile."""
    try:
        return partial_record(folder)
    except (OSError, ValueError, KeyError) as error:
        return f"{folder.relative_to(paths.root)}: {reason_of(error)}" if folder.exists() else None


def gathered(found: Iterable[TrialRecord | str | None]) -> tuple[Trials, list[str]]:
    """What the two above gave, sorted out."""
    trials, faults = Trials(), []
    for item in found:
        if isinstance(item, str):
            faults.append(item)
        elif item is not None:
            trials.add(item)
    return trials, faults


def rebuild(paths: DataSetPaths) -> tuple[int, int, list[str]]:
    """Write both tables from the folders alone. Gives (executions, trials, faults)."""
    trials, faults = read_all(paths)
    writer = TableWriter(paths, trials)
    writer.flush()
    faults += writer.faults
    return len(list(writer.rows())), len(trials), faults
