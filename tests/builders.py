"""Valid values of the project's nouns, with keyword overrides, and Hypothesis strategies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest
from hypothesis import strategies as st

from orchestrator.dataset.environment import Anchor, Environment
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    EffectiveColumns,
    Execution,
    SpecColumns,
    TelemetrySample,
    TrialColumns,
    TrialRecord,
)
from orchestrator.dataset.tables import Trials
from orchestrator.dataset.trial_files import Measured, Origin, append, seal
from orchestrator.dataset.trial_texts import CODECARBON_FIELDS
from orchestrator.nouns import (
    DOMAIN,
    QUANTIZATIONS,
    Configuration,
    Prompt,
    Setup,
    TrialSpec,
    derived_values,
    effective_of,
    generation_seed,
)

PROMPTS = (
    "Write a short story about a castle.",
    "Describe a dance in three movements.",
    "Tell of an old city by the sea.",
)

HOSTILE_TEXTS = (
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x1b[2J",  # escapes of a terminal
    '=HYPERLINK("http://example.org","click")',  # a spreadsheet's formula
    "+1+1", "-2", "@SUM(A1:A9)",
    "before\x00after",
    "\u202eright to left\u202c עברית العربية",
    "👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301",
    "line\nline\r\nline\rline\u2028line\u2029line\x85line\x0bline\x0cline",
    'quotes " and , and ; and \\ and \t',
    "=== prompt 2 ====\n--- output ---",
    "",
    " ",
    "\ufeffmark\ufffe\uffff\U0010ffff",
    "word " * 40_000,
)  # fmt: skip


def configuration(**changes: Any) -> Configuration:
    """A sampling configuration in which nothing is dormant."""
    return Configuration.model_validate(
        {"max_length": 120, "top_p": 0.9, "top_k": 50, "temperature": 0.7} | changes
    )


def setup(**changes: Any) -> Setup:
    """A setup on the simulated engine. `quantization` takes a name, too."""
    if isinstance(changes.get("quantization"), str):
        changes["quantization"] = QUANTIZATIONS[changes["quantization"]]
    values = {
        "seed": 7,
        "model": "smollm2",
        "revision": "hub:12fd25f77366",
        "engine": "simulated",
        "quantization": QUANTIZATIONS["nf4"],
        "use_case": "fantasyWorld",
        "prompts_sha256": "0" * 64,
    }
    return Setup.model_validate(values | changes)


def prompts(texts: Iterable[str] = PROMPTS) -> tuple[Prompt, ...]:
    """Numbered from 1."""
    return tuple(Prompt(number=number, text=text) for number, text in enumerate(texts, 1))


def spec(**changes: Any) -> TrialSpec:
    """A trial of three prompts."""
    values: dict[str, Any] = {
        "sweep_id": "5eed5eed5eed",
        "strategy": "latinHypercubeSampling",
        "config_index": 0,
        "repeat": 1,
        "order_index": 0,
        "configuration": configuration(),
        "setup": setup(),
        "prompts": prompts(),
        "model_ref": "smollm2",
    }
    return TrialSpec.model_validate(values | changes)


def columns(of: TrialSpec | None = None, **changes: Any) -> TrialColumns:
    """The columns of a trial on a machine without a GPU."""
    trial = of or spec()
    values: dict[str, Any] = {
        **derived_values(SpecColumns, trial),
        "machine": "pc",
        "double_quant": trial.setup.quantization.double_quant,
        "model_revision": trial.setup.revision,
        "synthetic": True,
        "compute_dtype": "float32",
        "device": "cpu",
        "chat_template": True,
        "attention": "sdpa",
        "cache": "dynamic",
        "threads": 1,
        "host": "abcdef012345",
        "country_iso_code": "ITA",
    }
    return TrialColumns.model_validate(values | changes)


def origin(
    of: TrialSpec | None = None, *, environment: dict[str, Any] | None = None, **changes: Any
) -> Origin:
    """Where a trial runs; other keywords change its columns."""
    known = {"load_s": 1.5, "loaded_here": False, "versions": {"torch": "2.11"}}
    return Origin(
        columns=columns(of, **changes), environment=Environment(**(known | (environment or {})))
    )


def execution(prompt: int = 1, *, of: TrialSpec | None = None, **changes: Any) -> Execution:
    """A measured execution on a machine without a GPU: 10 tokens, 20 J, 2 s."""
    trial = of or spec()
    text = next((p.text for p in trial.prompts if p.number == prompt), "another prompt")
    values: dict[str, Any] = {
        "prompt_number": prompt,
        "prompt_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "seed": generation_seed(trial.setup.seed, trial.configuration, text, trial.repeat),
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "status": "ok",
        **derived_values(EffectiveColumns, effective_of(trial.configuration)),
        "beyond_context": False,
        "n_prompt_tokens": 7,
        "n_new_tokens": 10,
        "finish_reason": "eos",
        "window_s": 2.0,
        "ttft_s": 0.1,
        "tokens_per_s": 5.0,
        "energy_kwh": 20.0 / 3.6e6,
        "energy_j": 20.0,
        "gpu_energy_counter_j": None,
        "gpu_energy_integrated_j": None,
        "gpu_energy_cc_j": None,
        "cpu_energy_j": 15.0,
        "cpu_method": "cpu_load",
        "ram_energy_j": 5.0,
        "ram_method": "process_rss",
        "scope": "exclusive",
        "n_parallel": 1,
        "energy_per_token_j": 2.0,
        "energy_basis": "energy_j",
        "energy_rel_uncertainty": None,
        "emissions_kg": 1e-6,
        "warning_flags": ("estimated_cpu",),
        "notes": ("gpu_energy_cc_j: no GPU",),
        "output_text": f"Text of prompt {prompt}.",
    }
    return Execution.model_validate(values | changes)


FAILED = {
    "status": "failed",
    "error_kind": "oom",
    "error_message": "out of memory",
    "n_new_tokens": None,
    "finish_reason": None,
    "ttft_s": None,
    "tokens_per_s": None,
    "energy_per_token_j": None,
    "output_text": None,
}
"""What makes an execution a failed one: execution(**FAILED)."""

ON_GPU = {
    "gpu_energy_counter_j": 100.0,
    "gpu_energy_integrated_j": 101.0,
    "gpu_energy_cc_j": 100.0,
    "energy_j": 120.0,
    "energy_kwh": 120.0 / 3.6e6,
    "energy_basis": "gpu_energy_counter_j",
    "energy_per_token_j": 10.0,
    "energy_rel_uncertainty": 0.07,
    "power_semantics": "instant",
    "notes": (),
}
"""What makes an execution one on a GPU."""


def codecarbon(**changes: Any) -> dict[str, Any]:
    """CodeCarbon's own record: the report's fields and its newer ones."""
    newer = {
        "experiment_id": None,
        "codecarbon_version": "3.3.2",
        "water_consumed": 0.0,
        "pue": 1.0,
        "wue": 0.0,
    }
    values: dict[str, Any] = dict.fromkeys(CODECARBON_FIELDS, 0.0) | newer
    return (
        values
        | {"project_name": "test", "cloud_provider": "", "region": None, "country_iso_code": "ITA"}
        | changes
    )


def anchor(energy_j: float, session_trial: int) -> Anchor:
    """An anchor of 100 tokens."""
    return Anchor(
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        session_trial=session_trial,
        n_new_tokens=100,
        window_s=4.0,
        energy_j=energy_j,
        energy_basis="gpu_energy_counter_j",
    )


def measured(
    prompt: int = 1,
    *,
    of: TrialSpec | None = None,
    raw: dict[str, Any] | None = None,
    **changes: Any,
) -> Measured:
    """What a worker sends for one prompt; other keywords change its execution."""
    return Measured(
        execution=execution(prompt, of=of, **changes),
        codecarbon=codecarbon() if raw is None else raw,
    )


def record(
    of: TrialSpec | None = None, *, executions: list[Execution] | None = None, **changes: Any
) -> TrialRecord:
    """A sealed trial; keywords that are columns change those, the others the record."""
    trial = of or spec()
    done = (
        [execution(p.number, of=trial) for p in trial.prompts] if executions is None else executions
    )
    inside = {
        name: changes.pop(name) for name in list(changes) if name in TrialColumns.model_fields
    }
    where = origin(trial, **inside)
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "columns": where.columns,
        "spec": trial,
        "environment": where.environment,
        "order": "shuffled",
        "executions": done,
        "codecarbon": [codecarbon() for _ in done],
        "sealed_at": "2026-01-02T03:05:00+00:00",
    }
    return TrialRecord.model_validate(values | changes)


def seal_trial(
    paths: DataSetPaths, of: TrialSpec, items: Iterable[Measured], where: Origin | None = None
) -> TrialRecord:
    """Write a whole trial into a data set."""
    place = where or origin(of)
    for item in items:
        append(paths, of, place, "shuffled", [item])
    return seal(paths, place.columns.machine, of)[1]


# --- strategies --------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
"""Any text but lone surrogates, which no tokenizer gives and UTF-8 can't hold."""

amounts = st.just(0.0) | st.floats(min_value=1e-9, max_value=1e9)
finite = st.floats(min_value=-1e9, max_value=1e9)
joules = st.none() | st.floats(min_value=1e-9, max_value=1e9)


@st.composite
def configurations(draw: st.DrawFn) -> Configuration:
    """Any point of the report's domain, edges and denormals included."""
    return Configuration(
        max_length=draw(st.integers(*map(int, DOMAIN["max_length"]))),
        top_p=draw(st.floats(*DOMAIN["top_p"])),
        top_k=draw(st.integers(*map(int, DOMAIN["top_k"]))),
        temperature=draw(st.floats(*DOMAIN["temperature"])),
    )


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    """Any setup."""
    return setup(
        seed=draw(st.integers(0, 2**63 - 1)),
        quantization=draw(st.sampled_from(sorted(QUANTIZATIONS))),
        revision=draw(texts),
        compute_dtype=draw(st.sampled_from(["auto", "float16", "bfloat16", "float32"])),
        length_mode=draw(st.sampled_from(["natural", "fixed"])),
        chat_template=draw(st.sampled_from(["auto", "off"])),
        beyond_context=draw(st.booleans()),
    )


@st.composite
def specs(draw: st.DrawFn) -> TrialSpec:
    """Any trial of one to four prompts."""
    return spec(
        config_index=draw(st.integers(0, 9999)),
        repeat=draw(st.integers(1, 9)),
        attempt=draw(st.integers(1, 9)),
        order_index=draw(st.integers(0, 99999)),
        configuration=draw(configurations()),
        setup=draw(setups()),
        prompts=prompts(draw(st.lists(texts, min_size=1, max_size=4))),
    )


@st.composite
def executions(draw: st.DrawFn, of: TrialSpec, prompt: int) -> Execution:
    """Any execution of a trial: ok or failed, with or without energies and a GPU."""
    energy_j = draw(joules)
    values: dict[str, Any] = {
        "seed": draw(st.integers(0, 2**63 - 1)),
        "window_s": draw(st.just(0.0) | st.floats(min_value=1e-9, max_value=1e5)),
        "energy_j": energy_j,
        "energy_kwh": None if energy_j is None else energy_j / 3.6e6,
        "gpu_energy_counter_j": draw(joules),
        "gpu_energy_integrated_j": draw(joules),
        "energy_rel_uncertainty": draw(st.none() | amounts),
        "n_new_tokens": draw(st.integers(1, 10000)),
        "warning_flags": tuple(
            sorted(draw(st.sets(st.sampled_from(["too_short", "throttled", "shared_host"]))))
        ),
        "notes": tuple(draw(st.lists(texts, max_size=2))),
        "output_text": draw(texts),
    }
    if draw(st.booleans()):
        values |= FAILED | {"error_message": draw(texts)}
    return execution(prompt, of=of, **values)


@st.composite
def records(draw: st.DrawFn) -> TrialRecord:
    """Any sealed trial."""
    trial = draw(specs())
    done = [draw(executions(trial, p.number)) for p in trial.prompts]
    environment = Environment(
        python=draw(st.none() | texts),
        versions=draw(st.dictionaries(texts, texts, max_size=3)),
        load_s=draw(st.none() | amounts),
        loaded_here=draw(st.booleans()),
        weights_bytes=draw(st.none() | st.integers(0, 2**62)),
        drift=tuple(draw(st.lists(texts, max_size=2))),
    )
    raw = [codecarbon(duration=draw(finite), os=draw(texts)) for _ in done]
    return record(
        trial,
        executions=done,
        environment=environment,
        codecarbon=raw,
        machine=draw(st.sampled_from(["pc", "colab"])),
    )


@st.composite
def telemetry(draw: st.DrawFn) -> TelemetrySample:
    """Any row of telemetry."""
    names = ("power_w", "temperature_c", "sm_clock_mhz", "memory_clock_mhz", "utilization")
    values: dict[str, Any] = {name: draw(st.none() | amounts) for name in names}
    masks = {
        name: draw(st.none() | st.integers(0, 2**62))
        for name in ("memory_used_bytes", "throttle_reasons")
    }
    return TelemetrySample(
        prompt_number=draw(st.integers(1, 10)), at_s=draw(finite), **values, **masks
    )


def with_caveats(*records: TrialRecord) -> list[TrialRecord]:
    """The records of one data set with the flags that follow from all of them together."""
    trials = Trials()
    for one in records:
        trials.add(one)
    trials.take_in_caveats()
    return list(trials.records())


def host_memory(
    monkeypatch: pytest.MonkeyPatch, available_bytes: int, total_bytes: int | None = None
) -> None:
    """Let the host have so much memory free, and in all (None: as it has)."""
    real = psutil.virtual_memory()
    memory = real._replace(available=available_bytes, total=total_bytes or real.total)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
