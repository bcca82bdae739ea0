"""Trial folders: append executions while a trial runs, seal it when it is done, read both back.

Only the driver writes. A running trial is a hidden folder with `spec.json` and a line a finished execution in
`executions.jsonl`; sealing writes trial.json, emissions.csv and output.txt there and renames the folder. So a cut at any
moment loses at most the execution that was running.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.dataset.parquet import to_table, write_parquet
from orchestrator.dataset.paths import PARTIAL_SUFFIX, DataSetPaths, sync_folder, write_atomically
from orchestrator.dataset.schema import SCHEMA_VERSION, Execution, TelemetrySample, TrialColumns, TrialRecord
from orchestrator.nouns import Noun, TrialSpec

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


class Measured(Noun):
    """What a worker sends for one prompt."""

    execution: Execution
    codecarbon: dict[str, Any]
    telemetry: tuple[TelemetrySample, ...] = ()


class Origin(Noun):
    """What a worker sends once a trial: where and with what it runs."""

    columns: TrialColumns
    environment: dict[str, Any]


def append(paths: DataSetPaths, spec: TrialSpec, origin: Origin, order: str, measured: Measured) -> None:
    """Add an execution to its running trial; on the disk when this returns."""
    folder = paths.partial(origin.columns.machine, spec)
    head = folder / "spec.json"
    if not head.exists():
        folder.mkdir(parents=True, exist_ok=True)
        content = {"spec": spec.model_dump(mode="json"), "origin": origin.model_dump(mode="json"), "order": order}
        write_atomically(head, json.dumps(content).encode())
    with (folder / "executions.jsonl").open("a+b") as stream:
        if stream.tell() and stream.seek(-1, os.SEEK_END) >= 0 and stream.read(1) != b"\n":
            stream.write(b"\n")  # a cut left a torn line: keep what follows out of it
        stream.write(measured.model_dump_json().encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_partial(folder: Path) -> tuple[TrialSpec, Origin, str, list[Measured]]:
    """A running or cut-off trial. A torn line is left out: its execution never finished being written."""
    head = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    measured = []
    lines = folder / "executions.jsonl"
    for line in lines.read_bytes().splitlines() if lines.exists() else []:
        with contextlib.suppress(ValidationError):
            measured.append(Measured.model_validate_json(line))
    return TrialSpec.model_validate(head["spec"]), Origin.model_validate(head["origin"]), head["order"], measured


def seal(paths: DataSetPaths, machine: str, spec: TrialSpec) -> tuple[Path, TrialRecord]:
    """Turn a running trial into its final folder, in one rename."""
    folder = paths.partial(machine, spec)
    _, origin, order, measured = read_partial(folder)
    measured = sorted(first_of_each_prompt(measured), key=lambda m: m.execution.prompt)
    record = TrialRecord(
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
    write_atomically(folder / "emissions.csv", emissions_csv(record).encode())
    write_atomically(folder / "output.txt", output_txt(record).encode())
    if samples := [sample.model_dump() for m in measured for sample in m.telemetry]:
        write_parquet(folder / "telemetry.parquet", to_table(TelemetrySample, samples))
    write_atomically(folder / "trial.json", record.model_dump_json(indent=1).encode())
    target = paths.trial(machine, spec)
    folder.rename(target)
    sync_folder(target.parent)
    (target / "executions.jsonl").unlink()  # only now: until the rename they are what a cut leaves to continue from
    (target / "spec.json").unlink()
    return target, record


def first_of_each_prompt(measured: Iterable[Measured]) -> list[Measured]:
    """A retried trial may repeat a prompt that was already written: the first one counts."""
    kept: dict[int, Measured] = {}
    for item in measured:
        kept.setdefault(item.execution.prompt, item)
    return list(kept.values())


def read_trial(folder: Path) -> TrialRecord:
    """A sealed trial. Raises ValueError where trial.json is not one of ours or of another schema version."""
    text = (folder / "trial.json").read_text(encoding="utf-8")
    version = _Versioned.model_validate_json(text).schema_version
    if version != SCHEMA_VERSION:
        msg = f"schema version {version}, this program reads {SCHEMA_VERSION}"
        raise ValueError(msg)
    return TrialRecord.model_validate_json(text)


class _Versioned(BaseModel):
    """What the trial.json of every schema version has."""

    schema_version: int


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
        writer.writerow([_cell(value) for value in [*(row.get(name) for name in (*REPORT_FIELDS, *newer)), *own]])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Null is an empty cell; text that a spreadsheet would run as a formula is quoted."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    value = value.replace("\r", " ")  # csv.writer leaves it unquoted, and readers take it for the end of the line
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t") else value


def output_txt(record: TrialRecord) -> str:
    """Prompts and texts for a person: rule, prompt, rule, text."""
    texts = {prompt.number: prompt.text for prompt in record.spec.prompts}
    asked = ", ".join(f"{name}={value:g}" for name, value in record.asked.model_dump().items())
    note = "\nSYNTHETIC: no real model wrote this.\n" if record.columns.synthetic else "\n"
    parts = [f"{record.columns.model} ({record.columns.quantization}) on {record.columns.machine}: {asked}{note}"]
    for execution in record.executions:
        head = f"=== prompt {execution.prompt} "
        body = execution.text if execution.text is not None else f"[no text: {execution.error_kind}: {execution.error_message}]"
        tokens = "" if execution.n_new_tokens is None else f" ({execution.n_new_tokens} tokens, {execution.finish_reason})"
        parts.append(f"{head:=<80}\n{texts.get(execution.prompt, '')}\n--- output{tokens} ---\n{body}\n")
    return "\n".join(parts)
