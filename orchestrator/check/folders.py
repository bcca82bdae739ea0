"""Check the folders and tables of a data set: schema, hashes, places, duplicates, leftovers.

Changes nothing. plausibility.py checks whether values are possible, files_beside_trials.py the
verdicts, reviews and imported files, validation.py what each plan still misses.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import __version__
from orchestrator.check.files_beside_trials import findings_beside_trials
from orchestrator.check.plausibility import between_trials, record_findings
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.flags import NEW_LENGTHS
from orchestrator.dataset.parquet import (
    ROWS_AT_ONCE,
    batches_of,
    read_schema,
    row_count,
    table_version,
    to_table,
)
from orchestrator.dataset.paths import PARTIAL_SUFFIX, DataSetPaths, names_in
from orchestrator.dataset.reading import file_sha256, reason_of
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    Execution,
    ExecutionRow,
    SpecColumns,
    TrialRecord,
)
from orchestrator.dataset.summary import SummaryRow
from orchestrator.dataset.tables import Trials, read_judgements
from orchestrator.dataset.trial_files import partial_record, read_trial
from orchestrator.nouns import (
    Noun,
    TrialSpec,
    columns_of,
    derived_values,
    generation_seed,
    text_sha256,
)
from orchestrator.outside_files import leads_into
from orchestrator.units import plural
from orchestrator.yaml_files import short

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH_OF_PARTIAL = 5
"""Parts of an unfinished trial's path: machine, model, strategy, use case and its own folder."""
REBUILD = "rebuild it with `orchestrator summarize`"


def validate_folders(
    paths: DataSetPaths, *, running: bool, tables: bool = True
) -> tuple[Trials, list[Finding]]:
    """Every readable trial, unfinished ones included, and what is wrong with the data set.

    `running`: a sweep is writing the data set, so unfinished trials and outdated tables are no
    fault. `tables`: check the tables too; False where the caller rebuilds them anyway.
    """
    trials = Trials()
    findings = list(_leftovers(paths, running=running))
    findings += _sealed_findings(paths, trials)
    if tables:
        findings += _table_findings(paths, trials, running=running)
        findings += findings_beside_trials(paths, trials, running=running)
    findings += _partial_findings(paths, trials, running=running)
    return trials, findings


def _sealed_findings(paths: DataSetPaths, trials: Trials) -> list[Finding]:
    """Read the finished trials into `trials`; what is wrong with them, one by one and together."""
    findings: list[Finding] = []
    folders: list[str] = []
    attempts: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for folder in paths.sealed_trials():
        where = folder.relative_to(paths.root).as_posix()
        try:
            record = read_trial(folder, paths.root)
        except (OSError, ValueError) as error:
            findings.append(Finding("error", where, reason_of(error)))
            continue
        trials.add(record)
        folders.append(where)
        attempts[(*Trials.key(record), record.columns.attempt)].append(where)
        findings += [
            Finding("error", where, what) for what in _folder_faults(paths, folder, record)
        ]
        if record.unknown_columns:
            findings.append(Finding("warning", where, _left_out(record)))
        findings += record_findings(where, record)
    trials.take_in_caveats()
    findings += _new_lengths(trials.records())
    findings += between_trials(zip(folders, trials.records(), strict=True))
    # the key has the attempt, so a second trial under it is a copy
    for first, *others in attempts.values():
        findings += [
            Finding("error", other, f"the same attempt of the same trial as {first}")
            for other in others
        ]
    return findings


def _new_lengths(records: Iterable[TrialRecord]) -> Iterator[Finding]:
    """One warning that counts the executions which paid for lengths new to their process."""
    n_on_gpu = n_new = 0
    for record in records:
        if record.columns.gpu_uuid:
            n_on_gpu += len(record.executions)
            n_new += sum(NEW_LENGTHS in one.warning_flags for one in record.executions)
    if n_new:
        yield Finding(
            "warning",
            "executions",
            f"{n_new} of {n_on_gpu} on a GPU are flagged new_lengths: they were the first in "
            "their process to reach some lengths, so their energy may be up to 1.9 times "
            "too high; the "
            "report leaves them out, `tune --rerun flagged` measures them again",
        )


def _left_out(record: TrialRecord) -> str:
    """A sentence on columns of a trial that this program doesn't have."""
    writer = record.environment.orchestrator or "another version"
    names = ", ".join(record.unknown_columns)
    return (
        f"written by {writer} of the program, with {names}, which version {__version__} doesn't "
        "know and leaves out; update llm-energy-orchestrator"
    )


def _partial_findings(paths: DataSetPaths, trials: Trials, *, running: bool) -> Iterator[Finding]:
    """Read the unfinished trials into `trials`; those that can't be read or that nobody resumes."""
    for folder in paths.partial_trials():
        where = folder.relative_to(paths.root).as_posix()
        try:
            record = partial_record(folder)
        except (OSError, ValueError) as error:
            if folder.exists():  # else the sweep has finished the trial meanwhile
                what = f"an unfinished trial that can't be read: {reason_of(error)}"
                yield Finding("error", where, what)
            continue
        n = 0
        if record is not None:
            trials.add(record)
            n = len(record.executions)
        if not running:
            what = f"an unfinished trial with {plural(n, 'execution')}; resume it with `tune`"
            yield Finding("warning", where, what)


def _folder_faults(paths: DataSetPaths, folder: Path, record: TrialRecord) -> Iterator[str]:
    """What is wrong with a readable trial."""
    place = paths.trial(record.columns.machine, record.spec)
    if folder != place:
        yield f"lies in the wrong folder; it belongs to {place.relative_to(paths.root)}"
    yield from _file_faults(folder, record)
    yield from _disagreements(record)
    if len(record.codecarbon) != len(record.executions):
        records = plural(len(record.codecarbon), "CodeCarbon record")
        yield f"holds {records} for {plural(len(record.executions), 'execution')}"
    seen: set[int] = set()
    for execution in record.executions:
        for what in _execution_faults(record.spec, execution):
            yield f"prompt {execution.prompt_number}: {what}"
        if execution.prompt_number in seen:
            yield f"prompt {execution.prompt_number}: occurs twice"
        seen.add(execution.prompt_number)


def _file_faults(folder: Path, record: TrialRecord) -> Iterator[str]:
    """Files of a trial that are missing, edited, or that the program didn't write."""
    for name, sha256 in record.files.items():
        file = folder / name
        try:
            if not file.exists():
                yield f"{name}: is missing"
            elif file_sha256(file) != sha256:
                yield f"{name}: was edited after it was written (its hash differs)"
        except (OSError, ValueError) as error:
            yield f"{name}: can't be read: {reason_of(error).removeprefix(f'{name}: ')}"
    for name in sorted(set(names_in(folder)) - record.files.keys() - {"trial.json"}):
        yield f"{name}: was not written by this program"


def _disagreements(record: TrialRecord) -> Iterator[str]:
    """Columns that differ from the trial's own specification."""
    for name, value in derived_values(SpecColumns, record.spec).items():
        column = getattr(record.columns, name)
        if column != value:
            is_, gives = short(repr(column)), short(repr(value))
            yield f"{name}: is {is_}, but its specification gives {gives}"


def _execution_faults(spec: TrialSpec, execution: Execution) -> Iterator[str]:
    """What is wrong with one execution of a trial."""
    prompts = {prompt.number: prompt.text for prompt in spec.prompts}
    # the prompt's text is only in the specification, so hash and seed can be checked against it
    text = prompts[execution.prompt_number]
    if execution.prompt_sha256 != text_sha256(text):
        yield "prompt_sha256: is not the hash of its prompt"
    if execution.seed != generation_seed(spec.setup.seed, spec.configuration, text, spec.repeat):
        yield "seed: is not the one that follows from sweep, configuration, prompt and repeat"
    yield from _status_faults(execution)


def _status_faults(execution: Execution) -> Iterator[str]:
    """A status that doesn't go with the text or with the kind of error."""
    if execution.status == "ok":
        if execution.output_text is None or not execution.n_new_tokens:
            yield "is ok but has no text"
    elif execution.error_kind is None:
        yield "has failed but has no error_kind"


def _leftovers(paths: DataSetPaths, *, running: bool) -> Iterator[Finding]:
    """Links that are not followed, and what interrupted programs left behind."""
    closed: list[OSError] = []
    for folder, names, files in os.walk(paths.root, onerror=closed.append):
        if Path(folder) == paths.root:  # other tools write there, and it is never published
            names[:] = [name for name in names if name != paths.dashboards.name]
        for name in sorted([*names, *files]):
            path = Path(folder) / name
            where = path.relative_to(paths.root).as_posix()
            if what := _wrong_link(paths, path):
                yield Finding("error", where, what)
            elif what := _leftover(paths, path, running=running):
                yield Finding("warning", where, what)
    for error in closed:
        where = Path(error.filename).relative_to(paths.root).as_posix()
        yield Finding("error", where, f"a folder that can't be read ({error.strerror})")


def _wrong_link(paths: DataSetPaths, path: Path) -> str:
    """What is wrong with a link; "" for all else."""
    # Path.is_symlink() raises in a folder that may be listed but not entered
    if not os.path.islink(path):  # noqa: PTH114
        return ""
    if not leads_into(path, paths.root):
        return "a link out of the data set, or one that leads nowhere; it is not followed"
    if path == paths.merging:
        return "a link where a merge makes a folder; it is not followed, remove it"
    return ""


def _leftover(paths: DataSetPaths, path: Path, *, running: bool) -> str:
    """What an interrupted program left at a path; "" for all else.

    A sweep that is running uses temporary files, and a merge its folder.
    """
    if not running and path.name.startswith(".") and path.name.endswith(".tmp"):
        return "a temporary file of an interrupted program; remove it"
    if not running and path == paths.merging:
        return "an incomplete copy of an interrupted merge; merge again, or remove it"
    depth = len(path.relative_to(paths.root).parts)
    if path.name.endswith(PARTIAL_SUFFIX) and depth != DEPTH_OF_PARTIAL:
        return "an unfinished trial in the wrong folder; `tune` will not resume it"
    return ""


def _table_findings(paths: DataSetPaths, trials: Trials, *, running: bool) -> Iterator[Finding]:
    """Judgements that can't be read, and tables that differ from the trial folders.

    Reads the judgements into `trials`, since they belong to the tables' rows.
    """
    trials.judgements, findings = read_judgements(paths)
    yield from findings
    executions, summary = _Table(paths.executions, ExecutionRow), _Table(paths.summary, SummaryRow)
    for key in trials:
        rows, summary_row = trials.rows(key)
        executions.add(rows)
        summary.add([summary_row])
    for table in (executions, summary):
        yield from table.faults(running=running)


class _Table:
    """A table's file beside the rows that it should hold, which come bit by bit.

    One of an earlier version holds other columns: that is no fault, if it has as many rows. Nor is
    one without columns that the program got since the table was written.
    """

    def __init__(self, path: Path, row: type[Noun]) -> None:
        self._path, self._row = path, row
        self._waiting: list[dict[str, Any]] = []
        self._n_rows = 0
        """Rows that the file should hold."""
        self._same = True
        self._error: Exception | None = None
        self._version: int | None = None
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._unread: pa.RecordBatch | None = None
        """What was read of the file and not compared yet."""
        self._open()

    def _open(self) -> None:
        """Read the table's columns."""
        try:
            self._schema = read_schema(self._path)
            self._n_in_file = row_count(self._path)
        except (OSError, ValueError) as error:
            self._error = error
            return
        self._version = table_version(self._schema)
        if self._version == SCHEMA_VERSION:
            self._batches = batches_of(self._path, self._schema)

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take in the next rows that the file should hold."""
        self._n_rows += len(rows)
        if self._error is None and self._version == SCHEMA_VERSION:
            self._waiting += rows
            if len(self._waiting) >= ROWS_AT_ONCE:
                self._compare()

    def _compare(self) -> None:
        """Compare the rows that wait with the file's next ones."""
        rows, self._waiting = self._waiting, []
        try:
            table = self._next(len(rows))
        except (OSError, ValueError) as error:
            self._error = error
            return
        new = _new_columns(self._row, rows, table.column_names)
        self._same &= table.equals(to_table(self._row, rows).drop_columns(new))

    def _next(self, n_rows: int) -> pa.Table:
        """The file's next rows, fewer at its end. Raises as `batches_of`."""
        import pyarrow as pa

        batches: list[pa.RecordBatch] = []
        while n_rows > 0:
            batch = self._unread or next(self._batches, None)
            if batch is None:
                break
            batches.append(batch[:n_rows])
            rest = batch[n_rows:]
            self._unread = rest if rest.num_rows else None
            n_rows -= batches[-1].num_rows
        return pa.Table.from_batches(batches, schema=self._schema)

    def faults(self, *, running: bool) -> Iterator[Finding]:
        """A table that is missing, can't be read, or doesn't hold these rows, once all were told.

        `running`: a sweep writes there, so that a table may be out of date.
        """
        if self._error is None and self._version == SCHEMA_VERSION:
            self._compare()
        name = self._path.name
        if isinstance(self._error, FileNotFoundError):
            if self._n_rows and not running:
                yield Finding("error", name, f"is missing; {REBUILD}")
        elif self._error is not None:
            yield Finding("error", name, f"can't be read ({reason_of(self._error)}); {REBUILD}")
        elif self._version is None or self._version > SCHEMA_VERSION:
            what = f"has schema version {self._version}, this program reads up to {SCHEMA_VERSION}"
            yield Finding("error", name, f"{what}; {REBUILD}")
        elif not running and not (self._same and self._n_in_file == self._n_rows):
            yield Finding("error", name, f"differs from the trial folders; {REBUILD}")


def _new_columns(row: type[Noun], rows: list[dict[str, Any]], known: list[str]) -> list[str]:
    """Columns that a table of these rows may lack, since the program got them after it was written.

    They have a default, and no row has anything else, unless it follows from other columns.
    """
    new = []
    for name, _, column in columns_of(row):
        field = row.model_fields[name]
        if name in known or field.is_required():
            continue
        if column.derived or all(one.get(name) == field.default for one in rows):
            new.append(name)
    return new
