"""The schema: every column's name, type, unit, meaning and when it is null, in one place.

The models below are the table: docs/data-dictionary.md, the Parquet metadata and the checks come from them.

History of SCHEMA_VERSION
1  first version
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel

from orchestrator.nouns import Configuration, Effective, Noun, Setup, TrialSpec

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Column:
    """What a column means."""

    meaning: str
    unit: str = ""
    null: str = ""
    """When the value is null; empty: never."""


class TrialColumns(Noun):
    """What all executions of a trial share."""

    machine: Annotated[str, Column("kind of machine it ran on, as in clusters/")]
    model: Annotated[str, Column("model, as in the folder's name")]
    strategy: Annotated[
        str,
        Column(
            "sampling strategy, as in the folder's name; 'anchor' for the repeated reference configuration"
        ),
    ]
    use_case: Annotated[str, Column("use case of the prompts")]
    index: Annotated[int, Column("number of the configuration in its design, from 0")]
    config_hash: Annotated[str, Column("hash of configuration and setup")]
    repeat: Annotated[
        int, Column("repetition of the configuration, from 1, each with its own generation seeds")
    ]
    attempt: Annotated[
        int,
        Column(
            "1, and one more for each time the trial was gone on with: after a cut, a loss, a rerun"
        ),
    ]
    sweep_id: Annotated[str, Column("sweep that asked for it: sweeps/<id>.json")]
    order_index: Annotated[
        int,
        Column(
            "place in the order in which the sweep's trials were handed out, over all its runs, from 0"
        ),
    ]
    max_length: Annotated[
        int, Column("requested limit of prompt and new tokens together", "tokens")
    ]
    top_p: Annotated[float, Column("requested nucleus; 0 = greedy, 1 = off")]
    top_k: Annotated[int, Column("requested number of candidates; 0 = off, 1 = greedy")]
    temperature: Annotated[float, Column("requested temperature; 0 = greedy")]
    quantization: Annotated[str, Column("nf4, fp4, int8 or none")]
    bits: Annotated[
        int | None, Column("bits a weight of the quantized matrices", "bit", "not quantized")
    ]
    double_quant: Annotated[
        bool | None,
        Column(
            "whether the scales are quantized too, as it ran: on a CPU with AVX512-BF16 "
            "bitsandbytes dequantizes them",
            null="not 4 bit, or no model was loaded",
        ),
    ]
    engine: Annotated[str, Column("transformers, or simulated (no model at all)")]
    model_revision: Annotated[str, Column("origin and revision of the weights")]
    synthetic: Annotated[
        bool, Column("random weights or a simulated engine: the text means nothing")
    ]
    length_mode: Annotated[
        str, Column("natural: a text may end early; fixed: always max_length tokens")
    ]
    batch_size: Annotated[int, Column("prompts generated at once")]
    compute_dtype: Annotated[str, Column("type in which matrices are multiplied")]
    device: Annotated[str, Column("cuda, cpu or none (simulated)")]
    chat_template: Annotated[bool, Column("whether the model's chat template was applied")]
    attention: Annotated[str, Column("implementation of attention")]
    cache: Annotated[str, Column("kind of key-value cache")]
    offload_fraction: Annotated[
        float,
        Column(
            "share of the weights' bytes outside the GPU (--cpu-offload); not quantized there", "1"
        ),
    ]
    threads: Annotated[int | None, Column("CPU threads of the engine", null="on a GPU")]
    host: Annotated[str, Column("hash of the host's name")]
    gpu_uuid: Annotated[str | None, Column("identity of the GPU", null="no GPU")]
    gpu_name: Annotated[str | None, Column("name of the GPU", null="no GPU")]
    country_iso_code: Annotated[
        str | None,
        Column(
            "country whose grid the emissions are computed for",
            null="not configured: world average",
        ),
    ]


class Execution(Noun):
    """One prompt under one configuration on one machine: the unit of measurement and of resume."""

    prompt: Annotated[int, Column("number of the prompt in its use case, from 1")]
    prompt_sha256: Annotated[str, Column("hash of the prompt's text")]
    seed: Annotated[int, Column("seed of the generation")]
    started_at: Annotated[str, Column("start of the window, UTC, ISO 8601")]
    status: Annotated[str, Column("ok or failed")]
    error_kind: Annotated[str | None, Column("oom, nan, timeout or other", null="status is ok")] = (
        None
    )
    error_message: Annotated[str | None, Column("first line of the error", null="status is ok")] = (
        None
    )
    effective_max_length: Annotated[int, Column("limit that ran", "tokens")]
    effective_do_sample: Annotated[bool, Column("false: greedy")]
    effective_temperature: Annotated[float | None, Column("temperature that ran", null="greedy")]
    effective_top_p: Annotated[float | None, Column("nucleus that ran", null="greedy")]
    effective_top_k: Annotated[int | None, Column("candidates that ran, 0 = off", null="greedy")]
    dormant: Annotated[tuple[str, ...], Column("parameters whose value changed nothing here")]
    limits: Annotated[tuple[str, ...], Column("what moved max_length: prompt, context, memory")]
    beyond_context: Annotated[bool, Column("whether the text ran past the model's context")]
    n_prompt_tokens: Annotated[
        int | None,
        Column("tokens of the prompt, template included", "tokens", "failed before encoding"),
    ]
    n_new_tokens: Annotated[
        int | None, Column("tokens generated, end of sequence included", "tokens", "failed")
    ]
    finish_reason: Annotated[str | None, Column("eos or length", null="failed")]
    window_s: Annotated[
        float | None, Column("length of the measurement window", "s", "failed before the window")
    ]
    ttft_s: Annotated[
        float | None, Column("time until the first token", "s", "failed or the engine can't tell")
    ]
    tokens_per_s: Annotated[float | None, Column("new tokens over window", "1/s", "failed")]
    energy_kwh: Annotated[
        float | None,
        Column(
            "CodeCarbon's total of CPU, GPU and RAM, times the PUE",
            "kWh",
            "not measured, see notes",
        ),
    ]
    energy_j: Annotated[float | None, Column("the same in joules", "J", "not measured, see notes")]
    gpu_energy_counter_j: Annotated[
        float | None, Column("GPU energy by NVML's counter", "J", "no GPU or no counter, see notes")
    ]
    gpu_energy_integrated_j: Annotated[
        float | None,
        Column("GPU energy by integrated power", "J", "no GPU or no samples, see notes"),
    ]
    gpu_energy_cc_j: Annotated[
        float | None,
        Column("GPU energy as CodeCarbon has it, times the PUE", "J", "no GPU, see notes"),
    ]
    cpu_energy_j: Annotated[
        float | None,
        Column("CPU energy by CodeCarbon; of a shared package an equal part", "J", "not measured"),
    ]
    cpu_method: Annotated[
        str | None, Column("rapl (measured), cpu_load or constant (models)", null="not measured")
    ]
    ram_energy_j: Annotated[
        float | None, Column("RAM energy as CodeCarbon has it: a model", "J", "not measured")
    ]
    ram_method: Annotated[str | None, Column("process_rss or constant", null="not measured")]
    scope: Annotated[
        str,
        Column(
            "exclusive: one trial on the host; shared: n_parallel at once (CPU by process time; rapl: an equal part)"
        ),
    ]
    n_parallel: Annotated[int, Column("trials that may run on the host at once")]
    energy_per_token_j: Annotated[
        float | None,
        Column("energy of energy_basis over n_new_tokens", "J", "failed or not measured"),
    ]
    energy_basis: Annotated[
        str | None,
        Column(
            "gpu_energy_counter_j, without one gpu_energy_integrated_j; no GPU: energy_j",
            null="not measured",
        ),
    ]
    energy_rel_uncertainty: Annotated[
        float | None,
        Column(
            "relative, of the GPU's energy: sensor 5 % and window edges",
            "1",
            "no GPU: models have no known error",
        ),
    ]
    flags: Annotated[tuple[str, ...], Column("labels for caution; see docs/method.md")]
    notes: Annotated[tuple[str, ...], Column("why a value is null: 'column: reason'")]
    usable: Annotated[bool | None, Column("verdict on the text", null="not evaluated")] = None
    reasons: Annotated[
        tuple[str, ...] | None, Column("why it is not usable", null="not evaluated")
    ] = None
    text: Annotated[str | None, Column("what the model wrote", null="failed")]


class TelemetrySample(Noun):
    """A row of a trial's telemetry.parquet: the GPU's state about once a second during a window."""

    prompt: Annotated[int, Column("number of the prompt whose window it was")]
    at_s: Annotated[float, Column("time since the window's start", "s")]
    power_w: Annotated[float | None, Column("power", "W", "refused by the GPU")]
    temperature_c: Annotated[
        float | None, Column("temperature of the GPU", "°C", "refused by the GPU")
    ]
    sm_clock_mhz: Annotated[
        float | None, Column("clock of the multiprocessors", "MHz", "refused by the GPU")
    ]
    memory_clock_mhz: Annotated[
        float | None, Column("clock of the memory", "MHz", "refused by the GPU")
    ]
    utilization: Annotated[
        float | None, Column("share of time in which a kernel ran", "%", "refused by the GPU")
    ]
    memory_used_bytes: Annotated[
        int | None, Column("memory in use on the GPU", "B", "refused by the GPU")
    ]
    throttle_reasons: Annotated[
        int | None, Column("NVML's bit mask of reasons for lower clocks", null="refused by the GPU")
    ]


class JudgedColumns(Noun):
    """What verdicts and reviews add to an execution, besides `usable` and `reasons`."""

    execution: Annotated[
        str,
        Column(
            "id: the trial's folder, #, the prompt's number; as in verdicts.parquet and reviews.jsonl"
        ),
    ]
    quality: Annotated[float | None, Column("0 to 1; see docs/evaluation.md", "1", "not evaluated")]
    decided_by: Annotated[
        str | None, Column("whose word `usable` is: rules or review", null="not evaluated")
    ]


class ExecutionRow(JudgedColumns, Execution, TrialColumns):
    """A row of executions.parquet; bases in this order put the trial's columns first."""


class SummaryRow(TrialColumns):
    """A row of summary.parquet: one trial over its counted executions."""

    n_executions: Annotated[int, Column("executions counted")]
    n_ok: Annotated[int, Column("of these, generated without error")]
    n_usable: Annotated[int | None, Column("of the ok ones, usable", null="none was evaluated")]
    n_discarded: Annotated[
        int,
        Column("of the ok ones, not usable: the rest is kept, and what the sums below run over"),
    ]
    quality: Annotated[
        float | None,
        Column(
            "mean over the evaluated executions, discarded ones included", "1", "none was evaluated"
        ),
    ]
    n_prompt_tokens: Annotated[int, Column("tokens of the prompts, kept executions", "tokens")]
    n_new_tokens: Annotated[int, Column("tokens generated, kept executions", "tokens")]
    window_s: Annotated[float, Column("sum of the windows, kept executions", "s")]
    tokens_per_s: Annotated[
        float | None, Column("new tokens over windows", "1/s", "no kept execution")
    ]
    energy_kwh: Annotated[
        float | None,
        Column(
            "sum of CodeCarbon's totals, kept executions",
            "kWh",
            "one is not measured or none is kept",
        ),
    ]
    energy_j: Annotated[
        float | None, Column("the same in joules", "J", "one is not measured or none is kept")
    ]
    gpu_energy_counter_j: Annotated[
        float | None,
        Column("sum over the GPU's counter", "J", "one is not measured or none is kept"),
    ]
    energy_per_token_j: Annotated[
        float | None,
        Column(
            "sum of energy_basis over sum of tokens", "J", "one is not measured or none is kept"
        ),
    ]
    energy_basis: Annotated[
        str | None, Column("what energy_per_token_j is of", null="mixed or not measured")
    ]
    wasted_energy_j: Annotated[
        float | None,
        Column(
            "energy of energy_basis that the discarded executions took",
            "J",
            "not evaluated or not measured",
        ),
    ]
    energy_per_usable_j: Annotated[
        float | None,
        Column(
            "energy of energy_basis of all ok executions over n_usable",
            "J",
            "not evaluated, not measured or none usable",
        ),
    ]
    load_s: Annotated[
        float | None,
        Column("loading the model, where this trial did", "s", "it was loaded already"),
    ]
    flags: Annotated[tuple[str, ...], Column("labels of any execution, and short_trial")]


class TrialRecord(BaseModel):
    """trial.json: the truth about a trial, from which all else is derived."""

    schema_version: int
    columns: TrialColumns
    spec: TrialSpec
    setup: Setup
    asked: Configuration
    environment: dict[str, Any]
    """Versions, host, GPU, engine and load figures of the process that ran it."""
    order: str
    executions: list[Execution]
    codecarbon: list[dict[str, Any]]
    """CodeCarbon's own record of each execution, same order."""
    sealed_at: str
    files: dict[str, str] = {}
    """SHA-256 of the files beside it."""
    sha256: str = ""
    """Of the content but for this field: it shows an edit by hand."""


def spent_j(row: Mapping[str, Any]) -> float | None:
    """The energy of a row of executions.parquet that counts: of the column that energy_basis names; None: not measured."""
    joules: float | None = row[row["energy_basis"]] if row["energy_basis"] else None
    return joules


def effective_columns(effective: Effective) -> dict[str, Any]:
    """The effective configuration as columns."""
    return {
        "effective_max_length": effective.max_length,
        "effective_do_sample": effective.do_sample,
        "effective_temperature": effective.temperature,
        "effective_top_p": effective.top_p,
        "effective_top_k": effective.top_k,
        "dormant": effective.dormant,
        "limits": effective.limits,
    }


def columns_of(row: type[Noun]) -> Iterator[tuple[str, Any, Column]]:
    """(name, Python type, Column) of a row's model, in order."""
    for name, field in row.model_fields.items():
        column = next((item for item in field.metadata if isinstance(item, Column)), None)
        if column is None:
            msg = f"{row.__name__}.{name} has no Column"
            raise TypeError(msg)
        yield name, field.annotation, column
