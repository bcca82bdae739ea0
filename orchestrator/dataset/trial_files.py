"""Trial folders: append executions while a trial runs, seal it when it is done, read both back.

Only the driver writes. A running trial is a hidden folder with `spec.json` and a line a finished execution in
`executions.jsonl`; sealing writes trial.json, emissions.csv and output.txt there and renames the folder. So a cut at any
moment loses at most the execution that was running.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.dataset.json_lines import append_line, whole_lines
from orchestrator.dataset.parquet import to_table, write_parquet
from orchestrator.dataset.paths import (
    PARTIAL_SUFFIX,
    WORKING_FILES,
    DataSetPaths,
    make_folder,
    sync_folder,
    write_atomically,
)
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    Execution,
    TelemetrySample,
    TrialColumns,
    TrialRecord,
)
from orchestrator.nouns import Noun, TrialSpec
from orchestrator.yaml_files import printable

REPORT_FIELDS = (
    "timestamp", "project_name", "run_id", "duration", "emissions", "emissions_rate", "cpu_power", "gpu_power",
    "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "country_name", "country_iso_code",
    "region", "on_cloud", "cloud_provider", "cloud_region", "os", "python_version", "cpu_count", "cpu_model",
    "gpu_count", "gpu_model", "longitude", "latitude", "ram_total_size", "tracking_mode",
)  # fmt: skip
"""The 29 fields of the report's Table 1 in its order, in CodeCarbon's spelling (the report writes run-id, Tracking_mode)."""

OWN_FIELDS = (
    "prompt", "status", "error_kind", "n_prompt_tokens", "n_new_tokens", "finish_reason", "window_s", "energy_j",
    "gpu_energy_counter_j", "cpu_method", "energy_per_token_j", "seed",
)  # fmt: skip
"""Ours, at the end of emissions.csv; the rest stands in trial.json and executions.parquet."""


DERIVED_FILES = ("emissions.csv", "output.txt", "telemetry.parquet")
"""Beside trial.json, which holds their hashes."""

SIZE_LIMIT_BYTES = 256 * 2**20
"""Of a text file that is read: ten texts of 10,000 tokens are 1 MiB, so more is none of ours."""


class Measured(Noun):
    """What a worker sends for one prompt."""

    execution: Execution
    codecarbon: dict[str, Any]
    telemetry: tuple[TelemetrySample, ...] = ()


class Origin(Noun):
    """What a worker sends once a trial: where and with what it runs."""

    columns: TrialColumns
    environment: dict[str, Any]


def append(
    paths: DataSetPaths,
    spec: TrialSpec,
    origin: Origin,
    order: str,
    measured: Measured,
    *,
    begun: bool = False,
) -> None:
    """Add an execution to its running trial; on the disk when this returns, folder entries included.

    `begun`: executions of it were written before, so its folder must be there. Raises OSError, and writes nothing then that
    a later reader would take for an execution.
    """
    folder = paths.partial(origin.columns.machine, spec)
    head, lines = folder / "spec.json", folder / "executions.jsonl"
    if not head.exists():
        if begun:
            raise FileNotFoundError(
                errno.ENOENT, "a running trial's folder was removed", str(folder)
            )
        make_folder(folder)
        content = {
            "spec": spec.model_dump(mode="json"),
            "origin": origin.model_dump(mode="json"),
            "order": order,
        }
        write_atomically(head, json.dumps({"schema_version": SCHEMA_VERSION, **content}).encode())
    append_line(lines, measured.model_dump_json())


def read_partial(folder: Path) -> tuple[TrialSpec, Origin, str, list[Measured]]:
    """A running or cut-off trial, each prompt once: a write that failed half-way may have been repeated.

    A torn line is left out: its execution never finished being written.

    Raises OSError without a spec.json, ValueError (pydantic's included) or KeyError where it isn't one of ours.
    """
    head = _object(folder / "spec.json")
    _check_version("spec.json", head)
    measured: dict[int, Measured] = {}
    lines = folder / "executions.jsonl"
    text = read_text(lines, errors="replace") if lines.exists() else ""
    for _, line in whole_lines(text):
        try:
            item = Measured.model_validate_json(line)
        except ValidationError as error:
            # earlier versions of this program kept a torn line and went on after it
            if error.errors(include_input=False)[0]["type"] == "json_invalid":
                continue
            raise
        measured.setdefault(item.execution.prompt, item)
    return (
        TrialSpec.model_validate(head["spec"]),
        Origin.model_validate(head["origin"]),
        head["order"],
        list(measured.values()),
    )


def partial_record(folder: Path) -> TrialRecord | None:
    """What a running or cut-off trial would be if it were sealed now; None before its first execution is written."""
    if not (folder / "executions.jsonl").exists():
        return None
    spec, origin, order, measured = read_partial(folder)
    return _record(spec, origin, order, measured) if measured else None


def _record(spec: TrialSpec, origin: Origin, order: str, measured: list[Measured]) -> TrialRecord:
    measured = sorted(measured, key=lambda m: m.execution.prompt)
    return TrialRecord(
        schema_version=SCHEMA_VERSION,
        columns=origin.columns,
        spec=spec,
        setup=spec.setup,
        asked=spec.asked,
        environment=origin.environment,
        order=order,
        executions=[m.execution for m in measured],
        codecarbon=[m.codecarbon for m in measured],
        sealed_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def seal(paths: DataSetPaths, machine: str, spec: TrialSpec) -> tuple[Path, TrialRecord]:
    """Turn a running trial into its final folder, in one rename, with the executions that it has.

    Where that folder is taken (two data sets copied into one) it becomes the next free attempt: a sealed folder never
    changes.
    """
    return _seal(paths, paths.partial(machine, spec))


def seal_left(paths: DataSetPaths) -> list[TrialRecord]:
    """Seal every cut-off trial with what it has, remove those that have nothing and files that a cut left half-way.

    Nothing may be running.

    Raises OSError, ValueError or KeyError for a folder that can't be read, naming it.
    """
    records = []
    for folder in paths.partial_trials():
        try:
            if partial_record(folder) is None:
                discard_partial(folder)
            else:
                records.append(_seal(paths, folder)[1])
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise ValueError(
                f"{folder}: can't be read as a running trial: {reason_of(error)}"
            ) from error
    for rest in paths.leftovers():
        rest.unlink(missing_ok=True)
    return records


def _seal(paths: DataSetPaths, folder: Path) -> tuple[Path, TrialRecord]:
    spec, origin, order, measured = read_partial(folder)
    machine = origin.columns.machine
    while paths.trial(machine, spec).exists():
        spec = spec.model_copy(update={"attempt": spec.attempt + 1})
    origin = Origin(
        columns=origin.columns.model_copy(update={"attempt": spec.attempt}),
        environment=origin.environment,
    )
    record = _record(spec, origin, order, measured)
    write_atomically(folder / "emissions.csv", emissions_csv(record).encode())
    write_atomically(folder / "output.txt", output_txt(record).encode())
    if samples := [sample.model_dump() for m in measured for sample in m.telemetry]:
        write_parquet(folder / "telemetry.parquet", to_table(TelemetrySample, samples))
    record.files = {
        name: file_sha256(folder / name) for name in DERIVED_FILES if (folder / name).exists()
    }
    record.sha256 = content_sha256(json.loads(record.model_dump_json()))
    write_atomically(folder / "trial.json", record.model_dump_json(indent=1).encode())
    target = paths.trial(machine, spec)
    folder.rename(target)
    with contextlib.suppress(
        OSError
    ):  # it is sealed: nothing may take it for not written and try again
        sync_folder(target.parent)
        for (
            name
        ) in WORKING_FILES:  # only now: until the rename they are what a cut leaves to go on from
            (target / name).unlink()
    return target, record


def read_trial(folder: Path, root: Path | None = None) -> TrialRecord:
    """A sealed trial. Raises OSError, or ValueError where trial.json isn't one of ours, is of another version or was edited.

    `root`: of the data set, out of which no link may lead.
    """
    if root is not None and not (folder / "trial.json").resolve().is_relative_to(root.resolve()):
        raise ValueError("a link out of the data set")
    content = _object(folder / "trial.json")
    _check_version("trial.json", content)
    try:
        record = TrialRecord.model_validate(content, strict=False)
    except ValidationError as error:
        raise ValueError(f"trial.json: {_first_fault(error)}") from error
    if record.sha256 != content_sha256(content):
        raise ValueError("trial.json: was edited after it was written (its hash differs)")
    return record


def _check_version(name: str, content: dict[str, Any]) -> None:
    version = content.get("schema_version", "none")
    if version != SCHEMA_VERSION:
        raise ValueError(f"{name}: schema version {version}, this program reads {SCHEMA_VERSION}")


def content_sha256(content: dict[str, Any]) -> str:
    """Hash of a trial.json's parsed content but for the hash itself: layout and order of keys don't matter."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(
        json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _object(path: Path) -> dict[str, Any]:
    """A file's JSON object. Raises OSError, or ValueError where it is none of ours."""
    try:
        content = json.loads(read_text(path))
        json.dumps(content)  # a little deeper than it can be read it can't be hashed
    except RecursionError as error:
        raise ValueError(f"{path.name}: nested too deeply to be one of ours") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: holds no JSON object")  # noqa: TRY004 - a fault of the file, not of the program
    return content


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_text(path: Path, errors: str = "strict") -> str:
    """A text file of a data set. Raises OSError, or ValueError where it is no UTF-8 or too large to be one of ours."""
    status = path.stat()
    if stat.S_ISFIFO(status.st_mode):
        raise ValueError(f"{path.name}: is a pipe, reading it would wait for ever")
    size = status.st_size
    if size > SIZE_LIMIT_BYTES:
        raise ValueError(
            f"{path.name}: {size / 2**20:.0f} MiB, more than the {SIZE_LIMIT_BYTES // 2**20} MiB that is read"
        )
    try:
        return path.read_bytes().decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: not UTF-8 at byte {error.start}") from error


def _first_fault(error: ValidationError) -> str:
    """Where a record differs from the schema, and how."""
    item = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"


def reason_of(error: Exception) -> str:
    """What is wrong with a file of a data set, on one line."""
    if isinstance(error, ValidationError):
        return _first_fault(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error).partition("\n")[0]


def discard_partial(folder: Path) -> None:
    """Remove an unfinished trial that nothing will continue."""
    if folder.name.endswith(PARTIAL_SUFFIX):
        shutil.rmtree(folder)


def emissions_csv(record: TrialRecord) -> str:
    """CodeCarbon's row of each execution: the report's 29 fields, CodeCarbon's newer ones, then ours."""
    newer = sorted({key for row in record.codecarbon for key in row} - set(REPORT_FIELDS))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*REPORT_FIELDS, *newer, *OWN_FIELDS])
    for execution, row in zip(record.executions, record.codecarbon, strict=True):
        own = [getattr(execution, name) for name in OWN_FIELDS]
        writer.writerow(
            [
                _cell(value)
                for value in [*(row.get(name) for name in (*REPORT_FIELDS, *newer)), *own]
            ]
        )
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Null is an empty cell; text that a spreadsheet would run as a formula is quoted."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    value = value.replace(
        "\r", " "
    )  # csv.writer leaves it unquoted, and readers take it for the end of the line
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t") else value


def output_txt(record: TrialRecord) -> str:
    """Prompts and texts for a person: rule, prompt, rule, text. Nothing in them acts on a terminal or looks like a rule."""
    texts = {prompt.number: prompt.text for prompt in record.spec.prompts}
    asked = ", ".join(f"{name}={value:g}" for name, value in record.asked.model_dump().items())
    note = "\nSYNTHETIC: no real model wrote this.\n" if record.columns.synthetic else "\n"
    parts = [
        f"{record.columns.model} ({record.columns.quantization}) on {record.columns.machine}: {asked}{note}"
    ]
    for execution in record.executions:
        head = f"=== prompt {execution.prompt} "
        body = (
            execution.text
            if execution.text is not None
            else f"[no text: {execution.error_kind}: {execution.error_message}]"
        )
        tokens = (
            ""
            if execution.n_new_tokens is None
            else f" ({execution.n_new_tokens} tokens, {execution.finish_reason})"
        )
        prompt = _shown(texts.get(execution.prompt, ""))
        parts.append(f"{head:=<80}\n{prompt}\n--- output{tokens} ---\n{_shown(body)}\n")
    return "\n".join(parts)


def _shown(text: str) -> str:
    """Untrusted text as lines to read: control characters spelled out, and no line that could be taken for a rule."""
    lines = (printable(line.replace("\t", "    ")) for line in text.split("\n"))
    return "\n".join(f" {line}" if line.startswith(("=== ", "--- ")) else line for line in lines)
