"""Trial folders: append executions while a trial runs, seal it when it is done, read both back.

Only the driver writes. A running trial is a hidden folder with `spec.json` and a line a finished
execution in `executions.jsonl`. Sealing writes trial.json, emissions.csv and output.txt there and
renames the folder. So an interruption at any moment loses at most the executions of one window.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from orchestrator import __version__
from orchestrator.atomic_files import make_folder, sync_folder, write_files
from orchestrator.dataset.environment import Anchor, Environment
from orchestrator.dataset.json_lines import append_line, whole_lines
from orchestrator.dataset.parquet import parquet_bytes, to_table
from orchestrator.dataset.paths import PARTIAL_SUFFIX, WORKING_FILES, DataSetPaths
from orchestrator.dataset.reading import (
    NOT_AS_WRITTEN,
    bytes_sha256,
    content_sha256,
    first_fault,
    list_in,
    parsed,
    read_object,
    reason_of,
)
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    Execution,
    TelemetrySample,
    TrialColumns,
    TrialRecord,
)
from orchestrator.dataset.trial_texts import emissions_csv, output_txt
from orchestrator.dataset.upgrades import upgraded_record, upgraded_running
from orchestrator.nouns import Fact, Noun, TrialSpec
from orchestrator.outside_files import leads_into, read_text

DERIVED_FILES = ("emissions.csv", "output.txt", "telemetry.parquet")
"""Beside trial.json, which holds their hashes."""


class Measured(Noun):
    """What a worker sends for one prompt."""

    execution: Execution
    codecarbon: dict[str, Fact]
    telemetry: tuple[TelemetrySample, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    """Measured before it or, after a session's last execution, behind it."""


class Origin(Noun):
    """What a worker sends once a trial: where and with what it runs."""

    columns: TrialColumns
    environment: Environment


class RunningTrial(NamedTuple):
    """A trial that runs or was interrupted, with the executions that it has."""

    spec: TrialSpec
    origin: Origin
    order: str
    measured: list[Measured]


def append(
    paths: DataSetPaths,
    spec: TrialSpec,
    origin: Origin,
    order: str,
    measured: Sequence[Measured],
    *,
    started_before: bool = False,
) -> None:
    """Add the executions of a window to their running trial; on the disk when this returns.

    `started_before`: executions of it were written before, so its folder must be there.

    Raises OSError, and then writes nothing that a later reader would take for an execution.
    """
    folder = paths.partial(origin.columns.machine, spec)
    head, lines = folder / "spec.json", folder / "executions.jsonl"
    if not head.exists():
        if started_before:
            raise FileNotFoundError(
                errno.ENOENT, "a running trial's folder was removed", str(folder)
            )
        # the head comes first: without it nobody knows what the lines are of
        make_folder(folder)
        content = {
            "spec": spec.model_dump(mode="json"),
            "origin": origin.model_dump(mode="json"),
            "order": order,
        }
        # the first line, which follows, flushes the folder's names
        text = json.dumps({"schema_version": SCHEMA_VERSION, **content})
        write_files(folder, {head.name: text.encode()})
    # one write: executions of a batch belong together
    append_line(lines, "\n".join(one.model_dump_json() for one in measured))


def read_partial(folder: Path) -> RunningTrial:
    """A running or interrupted trial, each prompt once: a failed write may have been repeated.

    A torn line is left out: its execution was not written to its end.

    Raises OSError without a spec.json, or ValueError (pydantic's included) where this program
    didn't write it, or a newer version did.
    """
    try:
        return _read_partial(folder)
    except (ValidationError, *NOT_AS_WRITTEN) as error:  # lines tell their own faults
        raise ValueError(f"spec.json: {reason_of(error)}") from error


def _read_partial(folder: Path) -> RunningTrial:
    """A running trial of the present or an earlier version; raises what its content makes fail."""
    path = folder / "executions.jsonl"
    text = read_text(path, errors="replace") if path.exists() else ""
    as_written = read_object(folder / "spec.json")
    head, _ = upgraded_running("spec.json", as_written, [])
    spec = TrialSpec.model_validate(head["spec"])
    _refuse_newer(head["origin"] | {"executions": []})
    measured: dict[int, Measured] = {}
    # line by line: what a file of many small values takes is gone again with its line
    for number, line in whole_lines(text):
        content = _json(line)
        if content is None:
            continue
        try:
            [new] = upgraded_running("spec.json", as_written, [content])[1]
            _refuse_newer(head["origin"] | {"executions": [new["execution"]]})
            item = Measured.model_validate(new)
        except (ValidationError, *NOT_AS_WRITTEN) as error:
            raise ValueError(f"{path.name}: line {number}: {reason_of(error)}") from error
        measured.setdefault(item.execution.prompt_number, item)
    return RunningTrial(
        spec,
        Origin.model_validate(head["origin"]),
        head["order"],
        list(measured.values()),
    )


def _refuse_newer(content: dict[str, Any]) -> None:
    """Raise ValueError for what a newer version wrote: sealing would write it without that."""
    if unknown := unknown_columns(content):
        raise ValueError(
            f"spec.json: a newer version of the program has begun this trial (it wrote "
            f"{', '.join(unknown)}, which version {__version__} doesn't know); resume it with that "
            "version"
        )


def unknown_columns(content: dict[str, Any]) -> tuple[str, ...]:
    """Columns and facts of a trial that this program doesn't have, sorted.

    A newer program, or one with a meter of its own, has written them. `content`: of trial.json, or
    what stands in its place while a trial runs.
    """
    parts: list[tuple[Any, type[Noun]]] = [
        (content["columns"], TrialColumns),
        (content["environment"], Environment),
        *((one, Execution) for one in list_in(content, "executions")),
    ]
    names: set[str] = set()
    for values, model in parts:
        if isinstance(values, dict):  # the model tells of anything else
            names |= values.keys() - model.model_fields.keys()
    return tuple(sorted(names))


def _with_known(content: dict[str, Any]) -> dict[str, Any]:
    """A trial's content without the columns and facts that this program doesn't have."""

    def known(values: Any, model: type[Noun]) -> Any:
        """The values that are fields of a model; what are no fields' values at all, as it is."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name in model.model_fields}

    return content | {
        "columns": known(content["columns"], TrialColumns),
        "environment": known(content["environment"], Environment),
        "executions": [known(one, Execution) for one in list_in(content, "executions")],
    }


def _json(line: str) -> Any:
    """What a line holds; None where it is torn, which early versions let stand.

    Raises ValueError where it holds more than any line of this program.
    """
    try:
        return parsed(line, "executions.jsonl")
    except json.JSONDecodeError:
        return None


def partial_record(folder: Path) -> TrialRecord | None:
    """What a running trial would be if it were sealed now; None before its first execution."""
    if not (folder / "executions.jsonl").exists():
        return None
    trial = read_partial(folder)
    return record_of(trial) if trial.measured else None


def record_of(trial: RunningTrial) -> TrialRecord:
    """A running trial as the record that its trial.json will hold, prompts in order."""
    measured = sorted(trial.measured, key=lambda one: one.execution.prompt_number)
    return TrialRecord(
        schema_version=SCHEMA_VERSION,
        columns=trial.origin.columns,
        spec=trial.spec,
        environment=trial.origin.environment,
        order=trial.order,
        executions=[one.execution for one in measured],
        codecarbon=[one.codecarbon for one in measured],
        anchors=[anchor for one in measured for anchor in one.anchors],
        sealed_at=datetime.now(UTC).replace(microsecond=0),
    )


def seal(paths: DataSetPaths, machine: str, spec: TrialSpec) -> tuple[Path, TrialRecord]:
    """Turn a running trial into its final folder, in one rename, with the executions that it has.

    Where that folder is taken (two data sets copied into one) it becomes the next free attempt:
    a sealed folder never changes.
    """
    return _seal(paths, paths.partial(machine, spec))


def seal_left(paths: DataSetPaths) -> list[TrialRecord]:
    """Seal every interrupted trial with the executions that it has.

    Trials without any are removed. No sweep may be running here.

    Raises OSError or ValueError for a folder that can't be read, naming it.
    """
    records = []
    for folder in paths.partial_trials():
        try:
            if partial_record(folder) is None:
                discard_partial(folder)
            else:
                records.append(_seal(paths, folder)[1])
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{folder}: can't be read as a running trial: {reason_of(error)}"
            ) from error
    return records


def _seal(paths: DataSetPaths, folder: Path) -> tuple[Path, TrialRecord]:
    """Write the files of a finished trial and rename its folder; the new folder and the record."""
    trial = read_partial(folder)
    machine = trial.origin.columns.machine
    # two data sets that were copied into one may both hold this attempt
    while paths.trial(machine, trial.spec).exists():
        trial = _as_attempt(trial, trial.spec.attempt + 1)
    record = record_of(trial)
    derived = _derived_files(trial, record)
    record.files = {name: bytes_sha256(data) for name, data in derived.items()}
    # of the JSON as it will be read, where for example a tuple is a list
    record.sha256 = content_sha256(json.loads(record.model_dump_json()))
    write_files(folder, {**derived, "trial.json": record.model_dump_json(indent=1).encode()})
    sync_folder(folder)
    target = paths.trial(machine, trial.spec)
    # the rename is what finishes the trial: all its files are on the disk by now
    folder.rename(target)
    with contextlib.suppress(OSError):  # it is sealed: an error here must not seal it once more
        sync_folder(target.parent)
        # until the rename they are what an interrupted sealing is resumed from
        for name in WORKING_FILES:
            (target / name).unlink()
    return target, record


def _derived_files(trial: RunningTrial, record: TrialRecord) -> dict[str, bytes]:
    """The files beside trial.json, by name."""
    files = {
        "emissions.csv": emissions_csv(record).encode(),
        "output.txt": output_txt(record).encode(),
    }
    samples = [sample.model_dump() for one in trial.measured for sample in one.telemetry]
    if samples:
        files["telemetry.parquet"] = parquet_bytes(to_table(TelemetrySample, samples))
    return files


def _as_attempt(trial: RunningTrial, attempt: int) -> RunningTrial:
    """A trial with another attempt number, in its specification and its columns."""
    columns = trial.origin.columns.model_copy(update={"attempt": attempt})
    return trial._replace(
        spec=trial.spec.model_copy(update={"attempt": attempt}),
        origin=trial.origin.model_copy(update={"columns": columns}),
    )


def read_trial(folder: Path, root: Path | None = None) -> TrialRecord:
    """A sealed trial, of any schema version up to the present one.

    `root`: of the data set, out of which no link may lead.

    Raises OSError, or ValueError where this program didn't write trial.json, a newer version did,
    or it was edited.
    """
    # a published data set must not make its reader read other files
    if root is not None and not leads_into(folder / "trial.json", root):
        raise ValueError("a link out of the data set")
    content = read_object(folder / "trial.json")
    try:
        upgraded = upgraded_record("trial.json", content)
        unknown = unknown_columns(upgraded)
        record = TrialRecord.model_validate(_with_known(upgraded) if unknown else upgraded)
        record.unknown_columns = unknown
    except ValidationError as error:
        raise ValueError(f"trial.json: {first_fault(error)}") from error
    except NOT_AS_WRITTEN as error:
        raise ValueError(f"trial.json: {reason_of(error)}") from error
    # of the content as it was written, before any upgrade
    if record.sha256 != content_sha256(content):
        raise ValueError("trial.json: was edited after it was written (its hash differs)")
    return record


def discard_partial(folder: Path) -> None:
    """Remove an unfinished trial that nothing will resume."""
    if folder.name.endswith(PARTIAL_SUFFIX):
        shutil.rmtree(folder)
