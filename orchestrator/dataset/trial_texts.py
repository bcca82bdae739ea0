"""The files of a trial folder that persons read: emissions.csv and output.txt."""

from __future__ import annotations

import csv
import io

from orchestrator.dataset.delimited import plain_cell
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.yaml_files import printable

CODECARBON_FIELDS = (
    "timestamp", "project_name", "run_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed",
    "country_name", "country_iso_code", "region", "on_cloud", "cloud_provider", "cloud_region",
    "os", "python_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude",
    "latitude", "ram_total_size", "tracking_mode",
)  # fmt: skip
"""The 29 fields of CodeCarbon's file that come first, in its spelling; later ones follow."""

OWN_FIELDS = (
    "prompt_number", "status", "error_kind", "n_prompt_tokens", "n_new_tokens", "finish_reason",
    "window_s", "energy_j", "gpu_energy_counter_j", "cpu_method", "energy_per_token_j", "seed",
)  # fmt: skip
"""Our fields at the end of emissions.csv; all others are in trial.json and executions.parquet."""


def emissions_csv(record: TrialRecord) -> str:
    """CodeCarbon's row of each execution: its 29 fields, its newer ones, then ours."""
    newer = sorted({key for row in record.codecarbon for key in row} - set(CODECARBON_FIELDS))
    fields = (*CODECARBON_FIELDS, *newer)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*fields, *OWN_FIELDS])
    for execution, row in zip(record.executions, record.codecarbon, strict=True):
        theirs = [plain_cell(row.get(name)) for name in fields]
        ours = [plain_cell(getattr(execution, name)) for name in OWN_FIELDS]
        writer.writerow([*theirs, *ours])
    return out.getvalue()


def output_txt(record: TrialRecord) -> str:
    """Prompts and texts for a person: a rule, the prompt, a rule, the text.

    Nothing in a prompt or text acts on a terminal or looks like a rule.
    """
    prompts = {prompt.number: prompt.text for prompt in record.spec.prompts}
    parts = [_head(record)]
    for execution in record.executions:
        rule = f"=== prompt {execution.prompt_number} "
        prompt = _shown(prompts.get(execution.prompt_number, ""))
        text = _shown(_text_of(execution))
        parts.append(f"{rule:=<80}\n{prompt}\n--- output{_length(execution)} ---\n{text}\n")
    return "\n".join(parts)


def _head(record: TrialRecord) -> str:
    """The first lines of output.txt: where and with which configuration the texts were made."""
    columns = record.columns
    values = record.spec.configuration.model_dump().items()
    configuration = ", ".join(f"{name}={value:g}" for name, value in values)
    where = f"{columns.model} ({columns.quantization}) on {columns.machine}"
    note = "SYNTHETIC: no real model wrote this.\n" if columns.synthetic else ""
    return f"{where}: {configuration}\n{note}"


def _text_of(execution: Execution) -> str:
    """The generated text, or why there is none."""
    if execution.output_text is not None:
        return execution.output_text
    return f"[no text: {execution.error_kind}: {execution.error_message}]"


def _length(execution: Execution) -> str:
    """Tokens and the reason that the text ended, in brackets; "" where nothing was generated."""
    if execution.n_new_tokens is None:
        return ""
    return f" ({execution.n_new_tokens} tokens, {execution.finish_reason})"


def _shown(text: str) -> str:
    """Untrusted text as lines to read.

    Control characters are spelled out, and no line can be taken for a rule.
    """
    lines = []
    for line in text.split("\n"):
        plain = printable(line.replace("\t", "    "))
        lines.append(f" {plain}" if plain.startswith(("=== ", "--- ")) else plain)
    return "\n".join(lines)
