"""The schema: every column's name, type, unit, meaning and when it is null, in one place.

The models below are the tables: docs/data-dictionary.md, the Parquet metadata and the checks come
from them. What an engine or a meter writes is declared in its own table (engine/, meters/).

History of SCHEMA_VERSION
1  first version
2  names and types that pandas, SQL and CSV take: config_index for index, prompt_number for
   prompt, output_text for text, warning_flags for flags; lists are texts joined by ";";
   started_at is a timestamp. New: emissions_kg, prompt_text, power_semantics. trial.json holds
   setup and configuration once, in its spec, and a typed environment (dataset/upgrades.py).
3  energy_rel_uncertainty is expanded (about 95 %) and has two parts; energy_per_token_j of a
   machine without a GPU holds no PUE.
4  repetition for repeat (a word of R and a method of a pandas.Series), and in imported.parquet
   codecarbon_timestamp for timestamp (a type of SQL); a list without entries is "none".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, Field, create_model, model_validator

from orchestrator.dataset.energy import (
    GPU_ENERGIES,
    TOTAL_ENERGY,
    EnergyBasis,
    decode_energy_per_token_of,
    energy_per_token_j,
    energy_rel_statistical,
    energy_rel_systematic,
    energy_rel_uncertainty,
    host_scope,
    net_energy_of,
)
from orchestrator.dataset.environment import Anchor, Environment
from orchestrator.engine import ENGINES, EngineColumns
from orchestrator.meters import METERS
from orchestrator.nouns import (
    ERROR_KINDS,
    SOUND,
    STATUSES,
    Amount,
    Column,
    Count,
    Fact,
    FolderName,
    MachineName,
    Moment,
    Noun,
    Number,
    Real,
    Seconds,
    TrialSpec,
    Whole,
    columns_of,
    one_of,
)

if TYPE_CHECKING:
    from orchestrator.meters.columns import (
        CodeCarbonColumns,
        CounterColumns,
        NeighbourColumns,
        PowerColumns,
    )

SCHEMA_VERSION = 4


class SpecColumns(Noun):
    """What a trial's specification says of it; each column is derived from a TrialSpec."""

    model: Annotated[
        FolderName, Column("model, as in the folder's name", derived=lambda spec: spec.setup.model)
    ]
    strategy: Annotated[
        FolderName,
        Column(
            "sampling strategy, as in the folder's name; 'anchor': the repeated reference "
            "configuration",
            derived=lambda spec: spec.strategy,
        ),
    ]
    use_case: Annotated[
        FolderName, Column("use case of the prompts", derived=lambda spec: spec.setup.use_case)
    ]
    config_index: Annotated[
        Count,
        Column(
            "number of the configuration in its design, from 0",
            derived=lambda spec: spec.config_index,
        ),
    ]
    config_hash: Annotated[
        str,
        Column("hash of configuration and setup", derived=lambda spec: spec.config_hash()),
    ]
    repetition: Annotated[
        Number,
        Column(
            "repetition of the configuration, from 1, each with its own generation seeds",
            derived=lambda spec: spec.repeat,
        ),
    ]
    attempt: Annotated[
        Number,
        Column(
            "1, and one more each time the trial was resumed: after an interruption, a lost "
            "worker or a rerun",
            derived=lambda spec: spec.attempt,
        ),
    ]
    sweep_id: Annotated[
        str,
        Column("sweep that asked for it: sweeps/<id>.json", derived=lambda spec: spec.sweep_id),
    ]
    order_index: Annotated[
        Count,
        Column(
            "place in the order in which the sweep's trials were handed out, over all its runs, "
            "from 0",
            derived=lambda spec: spec.order_index,
        ),
    ]
    max_length: Annotated[
        Count,
        Column(
            "requested limit of prompt and new tokens together",
            "tokens",
            derived=lambda spec: spec.configuration.max_length,
        ),
    ]
    top_p: Annotated[
        Real,
        Column(
            "requested nucleus; 0 = greedy, 1 = off",
            derived=lambda spec: spec.configuration.top_p,
        ),
    ]
    top_k: Annotated[
        Count,
        Column(
            "requested number of candidates; 0 = off, 1 = greedy",
            derived=lambda spec: spec.configuration.top_k,
        ),
    ]
    temperature: Annotated[
        Real,
        Column(
            "requested temperature; 0 = greedy",
            derived=lambda spec: spec.configuration.temperature,
        ),
    ]
    quantization: Annotated[
        str,
        Column("nf4, fp4, int8 or none", derived=lambda spec: spec.setup.quantization.name),
    ]
    bits: Annotated[
        Count | None,
        Column(
            "bits per weight of the quantized matrices",
            "bit",
            "not quantized",
            derived=lambda spec: spec.setup.quantization.bits,
        ),
    ]
    engine: Annotated[
        str,
        Column(
            "; ".join(f"{name}: {kind.meaning}" for name, kind in ENGINES.items()),
            derived=lambda spec: spec.setup.engine,
        ),
    ]
    length_mode: Annotated[
        str,
        Column(
            "natural: a text may end early; fixed: always max_length tokens",
            derived=lambda spec: spec.setup.length_mode,
        ),
    ]
    batch_size: Annotated[
        Number, Column("prompts generated together", derived=lambda spec: spec.setup.batch_size)
    ]


class PlaceColumns(Noun):
    """Where a trial ran, and in which session."""

    machine: Annotated[MachineName, Column("kind of machine it ran on, as in clusters/")]
    host: Annotated[str, Column("hash of the host's name")]
    gpu_name: Annotated[str | None, Column("name of the GPU", null="no GPU")] = None
    country_iso_code: Annotated[
        str | None,
        Column(
            "country whose grid the emissions are computed for",
            null="not configured: world average",
        ),
    ] = None
    session_id: Annotated[
        str | None,
        Column(
            "session: a process from when it loaded its model on; sessions of one sweep may differ",
            null="before version 3",
        ),
    ] = None
    session_started_at: Annotated[
        Moment | None, Column("when that was, UTC", null="before version 3")
    ] = None
    session_trial: Annotated[
        Count | None,
        Column("number of the trial in its session, from 0", null="before version 3"),
    ] = None


# pydantic takes the fields of the last base first
class TrialColumns(EngineColumns, PlaceColumns, SpecColumns):
    """What all executions of a trial share."""


class EffectiveColumns(Noun):
    """The effective configuration; each column is derived from an Effective."""

    effective_max_length: Annotated[
        Count, Column("limit in effect", "tokens", derived=lambda ran: ran.max_length)
    ]
    effective_do_sample: Annotated[bool, Column("false: greedy", derived=lambda ran: ran.do_sample)]
    effective_temperature: Annotated[
        Real | None,
        Column("temperature in effect", null="greedy", derived=lambda ran: ran.temperature),
    ]
    effective_top_p: Annotated[
        Real | None, Column("nucleus in effect", null="greedy", derived=lambda ran: ran.top_p)
    ]
    effective_top_k: Annotated[
        Count | None,
        Column(
            "candidates in effect, 0 = off",
            null="greedy, or the server doesn't take it (not_taken)",
            derived=lambda ran: ran.top_k,
        ),
    ]
    dormant: Annotated[
        tuple[str, ...],
        Column("parameters whose value changed nothing here", derived=lambda ran: ran.dormant),
    ]
    limits: Annotated[
        tuple[str, ...],
        Column("what moved max_length: prompt, context, memory", derived=lambda ran: ran.limits),
    ]


if TYPE_CHECKING:

    class MeterColumns(PowerColumns, CounterColumns, CodeCarbonColumns, NeighbourColumns):
        """What the meters write."""

else:
    MeterColumns = create_model(
        "MeterColumns", __base__=tuple(kind.columns for kind in reversed(METERS.values()))
    )


Status = Annotated[str, one_of(STATUSES)]
ErrorKind = Annotated[str, one_of(ERROR_KINDS)]


class PromptColumns(Noun):
    """Which prompt it was, and how it ended."""

    prompt_number: Annotated[Number, Column("number of the prompt in its use case, from 1")]
    prompt_sha256: Annotated[str, Column("hash of the prompt's text")]
    seed: Annotated[Whole, Column("seed of the generation")]
    started_at: Annotated[Moment, Column("start of the window, UTC")]
    status: Annotated[
        Status, Column("; ".join(f"{name}: {meaning}" for name, meaning in STATUSES.items()))
    ]
    error_kind: Annotated[
        ErrorKind | None,
        Column(
            "; ".join(f"{name}: {meaning}" for name, meaning in ERROR_KINDS.items()),
            null="status is ok",
        ),
    ] = None
    error_message: Annotated[str | None, Column("first line of the error", null="status is ok")] = (
        None
    )


class GenerationColumns(Noun):
    """What was generated, and how fast."""

    beyond_context: Annotated[bool, Column("whether the text ran past the model's context")]
    n_prompt_tokens: Annotated[
        Count | None,
        Column("tokens of the prompt, template included", "tokens", "failed before encoding"),
    ]
    n_new_tokens: Annotated[
        Count | None, Column("tokens generated, end of sequence included", "tokens", "failed")
    ]
    finish_reason: Annotated[str | None, Column("eos or length", null="failed")]
    n_steps_beyond: Annotated[
        Count,
        Column(
            "decoding steps after its end, launched before that was known or for other rows of its "
            "batch; their tokens are thrown away, and their energy is in the window"
        ),
    ] = 0
    cache_length: Annotated[
        Count | None,
        Column(
            "positions of the key-value cache that the last step read",
            "tokens",
            "failed, or the cache grows with the text",
        ),
    ] = None
    n_cached_tokens: Annotated[
        Count | None,
        Column(
            "tokens of the prompt that a server had kept from an earlier request, and so didn't "
            "compute again",
            "tokens",
            "failed, no server, or it doesn't tell",
        ),
    ] = None
    n_in_window: Annotated[
        Number,
        Column(
            "how often the same answer was generated in its window (--min-busy-s); window_s and "
            "all energies are the window's over it"
        ),
    ] = 1
    n_in_batch: Annotated[
        Number,
        Column(
            "prompts that were generated at once in its window (--batch-size); window_s and all "
            "energies are the row's share: its new tokens over those of the batch"
        ),
    ] = 1
    batch_number: Annotated[
        Number | None,
        Column(
            "number of its batch among those of its trial, from 1; rows of one attempt that share "
            "it share a window",
            null="generated alone",
        ),
    ] = None
    batch_window_s: Annotated[
        Seconds | None,
        Column(
            "length of the batch's window, per answer",
            "s",
            "generated alone, or failed before the window",
        ),
    ] = None
    window_s: Annotated[
        Seconds | None,
        Column(
            "length of the measurement window, per answer; in a batch the row's share of it",
            "s",
            "failed before the window",
        ),
    ]
    ttft_s: Annotated[
        Seconds | None,
        Column(
            "time to the first token; in a batch that of all its rows",
            "s",
            "failed or the engine can't tell",
        ),
    ]
    tokens_per_s: Annotated[
        Amount | None,
        Column(
            "new tokens divided by window_s",
            "1/s",
            "failed",
            derived=lambda row: _ratio(row.get("n_new_tokens"), row.get("window_s")),
        ),
    ]


class PrefillColumns(Noun):
    """The energy until the first token, measured for each prompt once a session, on its own.

    Not in batches: how much of a batch's energy a prompt takes depends on the others.
    """

    prefill_energy_j: Annotated[
        Amount | None,
        Column(
            "GPU energy of taking in the prompt and sampling one token, mean of a window of many",
            "J",
            "no GPU, in a batch, or it failed",
        ),
    ] = None
    prefill_n_in_window: Annotated[
        Number | None,
        Column("how many times in that window", null="no GPU, in a batch, or it failed"),
    ] = None
    prefill_window_s: Annotated[
        Seconds | None, Column("length of that window", "s", "no GPU, in a batch, or it failed")
    ] = None
    prefill_rel_uncertainty: Annotated[
        Amount | None,
        Column(
            "relative expanded uncertainty of prefill_energy_j",
            "1",
            "no GPU, in a batch, or it failed",
        ),
    ] = None


class EnergyColumns(Noun):
    """Which energy counts, what it is a token, and how far to trust it."""

    scope: Annotated[
        str,
        Column(
            "exclusive: one trial on the host; shared: n_parallel at once (CPU by process time; "
            "rapl: an equal part), or other jobs of SLURM; unknown: SLURM doesn't tell",
            derived=lambda row: host_scope(row, row.get("n_parallel", 1)),
        ),
    ]
    n_parallel: Annotated[Number, Column("trials that may run on the host at once")]
    energy_basis: Annotated[
        EnergyBasis | None,
        Column(
            f"the column whose energy counts: {', without one '.join(GPU_ENERGIES)}; "
            f"no GPU: {TOTAL_ENERGY}",
            null="not measured",
        ),
    ]
    energy_per_token_j: Annotated[
        Amount | None,
        Column(
            "energy of energy_basis divided by n_new_tokens",
            "J",
            "failed or not measured",
            derived=energy_per_token_j,
        ),
    ]
    decode_energy_per_token_j: Annotated[
        Real | None,
        Column(
            "energy of energy_basis less prefill_energy_j, divided by the tokens after "
            "the first one",
            "J",
            "no GPU, in a batch, fewer than two tokens or not measured",
            derived=decode_energy_per_token_of,
        ),
    ] = None
    baseline_id: Annotated[
        str | None,
        Column("idle power that net_energy_j leaves out, in trial.json", null="no GPU"),
    ] = None
    baseline_w: Annotated[
        Amount | None,
        Column(
            "that idle power: the session's, model loaded and warm", "W", "no GPU or not measured"
        ),
    ] = None
    net_energy_j: Annotated[
        Real | None,
        Column(
            "energy of energy_basis less baseline_w times window_s",
            "J",
            "no GPU or not measured",
            derived=net_energy_of,
        ),
    ] = None
    energy_rel_systematic: Annotated[
        Amount | None,
        Column(
            "relative standard uncertainty that all rows of a device share: its sensor's gain",
            "1",
            "no GPU: models have no known error",
            derived=energy_rel_systematic,
        ),
    ]
    energy_rel_statistical: Annotated[
        Amount | None,
        Column(
            "relative standard uncertainty of this row alone: the edges of its window",
            "1",
            "no GPU: models have no known error",
            derived=energy_rel_statistical,
        ),
    ]
    energy_rel_uncertainty: Annotated[
        Amount | None,
        Column(
            "relative expanded uncertainty: 95 % of errors are smaller (factors 1.65 and 1.75)",
            "1",
            "no GPU: models have no known error",
            derived=energy_rel_uncertainty,
        ),
    ]


class TextColumns(Noun):
    """What to know of the measurement, and the text."""

    warning_flags: Annotated[
        tuple[str, ...], Column("what to know or to doubt of the measurement; see Flags")
    ]
    notes: Annotated[tuple[str, ...], Column("why a value is null: 'column: reason'")]
    output_text: Annotated[str | None, Column("what the model wrote", null="failed")]


class Execution(
    TextColumns,
    EnergyColumns,
    PrefillColumns,
    MeterColumns,
    GenerationColumns,
    EffectiveColumns,
    PromptColumns,
):
    """One prompt under one configuration on one machine: the unit of measurement and of resume.

    Derived columns that are not given are computed; those of a stored execution stay as they are.
    """

    @property
    def whole_window_s(self) -> float:
        """Length of the window that it was measured in, other answers in it included; 0: none."""
        return (self.batch_window_s or self.window_s or 0.0) * self.n_in_window

    @model_validator(mode="before")
    @classmethod
    def _with_derived(cls, values: Any) -> Any:
        """Fill in what follows from other columns, where it isn't given."""
        if not isinstance(values, dict):
            return values
        whole = dict(values)
        for name, derive in _DERIVED_FROM_ROW:
            if name not in whole:
                whole[name] = derive(whole)
        return whole


_DERIVED_FROM_ROW = [
    (name, column.derived)
    for name, _, column in columns_of(Execution)
    if column.derived is not None and name not in EffectiveColumns.model_fields
]
"""Columns of an execution that follow from its other columns, with their functions."""


class TelemetrySample(Noun):
    """A row of a trial's telemetry.parquet: the GPU's state, ten times a second in a window."""

    prompt_number: Annotated[
        Number, Column("number of the prompt whose window it was; of a batch its first one")
    ]
    at_s: Annotated[Real, Column("time since the window's start", "s")]
    power_w: Annotated[Amount | None, Column("power", "W", "refused by the GPU")]
    temperature_c: Annotated[
        Real | None, Column("temperature of the GPU", "°C", "refused by the GPU")
    ]
    sm_clock_mhz: Annotated[
        Amount | None, Column("clock of the multiprocessors", "MHz", "refused by the GPU")
    ]
    memory_clock_mhz: Annotated[
        Amount | None, Column("clock of the memory", "MHz", "refused by the GPU")
    ]
    utilization: Annotated[
        Amount | None, Column("share of time in which a kernel ran", "%", "refused by the GPU")
    ]
    memory_used_bytes: Annotated[
        Whole | None, Column("memory in use on the GPU", "B", "refused by the GPU")
    ]
    throttle_reasons: Annotated[
        Whole | None,
        Column("NVML's bit mask of reasons for lower clocks", null="refused by the GPU"),
    ]


class JudgedColumns(Noun):
    """What stands in executions.parquet besides the trial's columns and the execution's own."""

    prompt_text: Annotated[
        str | None, Column("the prompt", null="the trial has no such prompt: an edited file")
    ]
    execution: Annotated[
        str,
        Column(
            "id: the trial's folder, #, the prompt's number; as in verdicts.parquet and "
            "reviews.jsonl"
        ),
    ]
    usable: Annotated[bool | None, Column("verdict on the text", null="not evaluated")]
    reasons: Annotated[tuple[str, ...] | None, Column("why not usable", null="not evaluated")]
    quality: Annotated[
        Amount | None, Column("0 to 1; see docs/evaluation.md", "1", "not evaluated")
    ]
    decided_by: Annotated[
        str | None, Column("who decided `usable`: rules or review", null="not evaluated")
    ]


class ExecutionRow(JudgedColumns, Execution, TrialColumns):
    """A row of executions.parquet."""


class TrialRecord(BaseModel):
    """trial.json: the truth about a trial, from which all else is derived."""

    model_config = SOUND

    schema_version: int
    columns: TrialColumns
    spec: TrialSpec
    environment: Environment
    order: str
    """Whether the sweep's trials ran shuffled or in the order of the design."""
    executions: list[Execution] = Field(min_length=1)
    codecarbon: list[dict[str, Fact]]
    """CodeCarbon's own record of each execution, in the order of `executions`.

    That of a batch stands with its first prompt, the others have an empty one.
    """
    anchors: list[Anchor] = []
    """Anchors of the session that were measured at the trial's beginning and end."""
    sealed_at: Moment
    files: dict[FolderName, str] = {}
    """SHA-256 of the files beside it."""
    sha256: str = ""
    """Of the content but for this field: it shows an edit by hand."""
    unknown_columns: tuple[str, ...] = Field((), exclude=True)
    """What was read and left out, since this program doesn't have it: a newer one wrote it."""

    @model_validator(mode="after")
    def _of_its_prompts(self) -> Self:
        """Refuse executions of prompts that the trial doesn't have."""
        numbers = {prompt.number for prompt in self.spec.prompts}
        for execution in self.executions:
            if execution.prompt_number not in numbers:
                raise ValueError(f"prompt {execution.prompt_number} is none of the trial's prompts")
        return self


def _ratio(part: float | None, whole: float | None) -> float | None:
    """A quotient, or None where one of the two is unknown or 0."""
    return part / whole if part and whole else None
