"""Measure one execution: prompt in, row out. Gets engine and meters as arguments, so tests pass fakes.

The order is that of METHOD R18: encode, synchronize, open the window, generate, synchronize, close it, decode. Nothing
else happens between the window's edges. Doesn't know Ray or the data set's files.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from orchestrator.dataset.schema import Execution, TelemetrySample, effective_columns
from orchestrator.dataset.trial_files import Measured
from orchestrator.engine import Encoded, Engine, Generated, GenerationError
from orchestrator.meters import Meter, Reading
from orchestrator.meters.nvml import COUNTER_PERIOD_S
from orchestrator.meters.telemetry import Telemetry
from orchestrator.nouns import Effective, Noun, Prompt, TrialSpec, generation_seed, resolve

T = TypeVar("T")

TOO_SHORT_S = 1.0
"""METHOD R3: below it the counter's steps dominate."""
SENSOR_GAIN = 0.05
"""METHOD R25: systematic relative error of a GPU's sensor, common to all rows of a device."""
MISMATCH = 0.01
"""METHOD R1: CodeCarbon and the counter read the same sensor; a larger difference is a wrong window or GPU, unless it is a
step of the counter at each edge."""
DISAGREEMENT = 0.10
"""METHOD R2: counter and integrated power see the same GPU by different sensors."""
WARM_UP_TOKENS = (4, 4, 24)
"""New tokens of the discarded generations (METHOD R6: three at least); the last, long enough to time, is the pilot."""
WARM_UP_GPU_S = 20.0
"""On a GPU the last is repeated until so much time has passed: in docs/example, measured without, the first answer of two of four
processes still took 2.7 times as long as later ones."""
MOST_WARM_UPS = 100
WARM_UP_PROMPT = "Describe a lighthouse to somebody who has never seen the sea."
"""Always the same, so that pilots compare, and so that no prompt of a use case can fail before it has a row."""


class Pilot(Noun):
    """What the last warm-up generation showed: the figures from which time and energy of a sweep are foreseen."""

    tokens_per_s: float
    energy_j_per_token: float | None
    energy_basis: str | None
    warm_up_s: float
    warm_up_energy_j: float | None


@dataclass(frozen=True)
class Bench:
    """A loaded engine with its meters: what a worker keeps across trials."""

    engine: Engine
    meters: list[Meter]
    telemetry: Telemetry | None = None
    """Polled power of the GPU; asked after the window, by the same clock."""
    pue: float = 1.0
    n_parallel: int = 1
    country_known: bool = True
    clock: Callable[[], float] = time.perf_counter

    def close(self) -> None:
        """Let go of the instruments and of the model."""
        for meter in self.meters:
            meter.close()
        if self.telemetry is not None:
            self.telemetry.close()
        self.engine.close()


@dataclass(frozen=True)
class Limits:
    """What an execution may take."""

    timeout_s: float | None = None
    oom_tokens: int | None = None
    """Length at which memory ran out before on such a machine: as much is not tried again."""


def window(
    bench: Bench, work: Callable[[], Generated]
) -> tuple[Generated | GenerationError, float, list[Reading]]:
    """Run `work` inside all meters: outermost first opened, last closed. Gives outcome, seconds and readings."""
    for meter in bench.meters:
        meter.settle()
    bench.engine.synchronize()
    for meter in bench.meters:
        meter.begin()
    began = bench.clock()
    outcome: Generated | GenerationError
    try:
        outcome = work()
        bench.engine.synchronize()
    except GenerationError as error:
        outcome = error
    except Exception as error:  # noqa: BLE001 - a failure is a row, and the model stays loaded
        outcome = GenerationError("other", f"{type(error).__name__}: {error}")
    ended = bench.clock()
    readings = [meter.end() for meter in reversed(bench.meters)]
    if bench.telemetry is not None:
        readings.append(bench.telemetry.between(began, ended))
    return outcome, ended - began, readings


def warm_up(bench: Bench) -> Pilot:
    """Discarded generations, three or more; the last is measured as the pilot. Also pays CodeCarbon's slow first start."""
    engine = bench.engine
    encoded = engine.encode(WARM_UP_PROMPT)
    began = bench.clock()
    energies: list[float | None] = []
    n_new, window_s = 0, 0.0
    energy: tuple[float | None, str | None] = (None, None)
    for n_done in range(MOST_WARM_UPS):
        if n_done >= len(WARM_UP_TOKENS) and (
            engine.info.device != "cuda" or bench.clock() - began >= WARM_UP_GPU_S
        ):
            break
        n_tokens = WARM_UP_TOKENS[min(n_done, len(WARM_UP_TOKENS) - 1)]
        effective = Effective(
            max_length=encoded.n_tokens + n_tokens,
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            dormant=(),
            limits=(),
        )
        outcome, window_s, readings = window(
            bench, partial(engine.generate, encoded, effective, 0, fixed_length=True)
        )
        if isinstance(outcome, GenerationError):
            raise outcome
        n_new = len(outcome.tokens)
        energy = _basis(merged(readings).values)
        energies.append(energy[0])
    known = [e for e in energies if e is not None]
    return Pilot(
        tokens_per_s=n_new / window_s if window_s else math.inf,
        energy_j_per_token=None if energy[0] is None else energy[0] / n_new,
        energy_basis=energy[1],
        warm_up_s=bench.clock() - began,
        warm_up_energy_j=sum(known) if len(known) == len(energies) else None,
    )


def execute(
    bench: Bench, spec: TrialSpec, prompt: Prompt, order: str, limits: Limits | None = None
) -> Measured:
    """One prompt of a trial under its configuration; what fails because of the prompt is a row too.

    Raises what the engine's synchronize() or a meter raises: then the device is lost, and not the prompt's fault.
    """
    engine, info, limits = bench.engine, bench.engine.info, limits or Limits()
    seed = generation_seed(spec.setup.seed, spec.asked, prompt.text, spec.repeat)
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    encoded = _attempted(engine, partial(engine.encode, prompt.text))
    prompt_tokens = encoded.n_tokens if isinstance(encoded, Encoded) else None
    effective = resolve(
        spec.asked,
        prompt_tokens=prompt_tokens or 0,
        context_length=info.context_length,
        memory_tokens=info.memory_tokens,
        beyond_context=spec.setup.beyond_context,
    )
    outcome: Generated | GenerationError
    window_s, readings = None, [Reading({})]
    if isinstance(encoded, GenerationError):
        outcome = encoded
    elif limits.oom_tokens is not None and effective.max_length >= limits.oom_tokens:
        outcome = GenerationError(
            "oom",
            f"not tried: memory ran out at {limits.oom_tokens} tokens before, this is {effective.max_length}",
        )
    else:
        fixed = spec.setup.length_mode == "fixed"
        work = partial(
            engine.generate,
            encoded,
            effective,
            seed,
            fixed_length=fixed,
            timeout_s=limits.timeout_s,
        )
        outcome, window_s, readings = window(bench, work)
    reading = merged(readings)
    values = reading.values
    text = (
        _attempted(engine, partial(engine.decode, outcome))
        if isinstance(outcome, Generated)
        else None
    )
    if isinstance(text, GenerationError):
        outcome, text = text, None
    error = outcome if isinstance(outcome, GenerationError) else None
    generated = outcome if isinstance(outcome, Generated) else None
    n_new = len(generated.tokens) if generated else None
    energy, basis = _basis(values)
    row: dict[str, Any] = {
        "prompt": prompt.number,
        "prompt_sha256": hashlib.sha256(prompt.text.encode()).hexdigest(),
        "seed": seed,
        "started_at": started_at,
        "status": "failed" if error else "ok",
        "error_kind": error.kind if error else None,
        "error_message": str(error).partition("\n")[0] if error else None,
        **effective_columns(effective),
        "beyond_context": _passed(info.context_length, (prompt_tokens or 0) + (n_new or 0)),
        "n_prompt_tokens": prompt_tokens,
        "n_new_tokens": n_new,
        "finish_reason": generated.finish_reason if generated else None,
        "window_s": window_s,
        "ttft_s": generated.ttft_s if generated else None,
        "tokens_per_s": n_new / window_s if n_new and window_s else None,
        "energy_kwh": None,
        "energy_j": None,
        "gpu_energy_counter_j": None,
        "gpu_energy_integrated_j": None,
        "gpu_energy_cc_j": None,
        "cpu_energy_j": None,
        "cpu_method": None,
        "ram_energy_j": None,
        "ram_method": None,
        **values,
        "scope": "shared" if bench.n_parallel > 1 else "exclusive",
        "n_parallel": bench.n_parallel,
        "energy_per_token_j": energy / n_new if energy is not None and n_new else None,
        "energy_basis": basis,
        "energy_rel_uncertainty": _uncertainty(basis, window_s),
        "flags": flags(
            reading,
            window_s,
            n_parallel=bench.n_parallel,
            pue=bench.pue,
            country_known=bench.country_known,
            order=order,
            offloaded=info.offload_fraction > 0,
        ),
        "notes": (
            *(f"{column}: {why}" for column, why in sorted(reading.notes.items())),
            *(["energy_j: nothing was generated"] if window_s is None else []),
        ),
        "text": text,
    }
    samples = [TelemetrySample(prompt=prompt.number, **sample) for sample in reading.samples]
    return Measured(execution=Execution(**row), codecarbon=reading.raw, telemetry=tuple(samples))


def _attempted(engine: Engine, work: Callable[[], T]) -> T | GenerationError:
    """What `work` gives outside the window, or its error where the device is sound."""
    try:
        return work()
    except GenerationError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a failure is a row, and the model stays loaded
        engine.synchronize()  # raises where the device itself is lost
        return GenerationError("other", f"{type(error).__name__}: {error}")


def _passed(context_length: int | None, n_tokens: int) -> bool:
    return context_length is not None and n_tokens > context_length


def merged(readings: list[Reading]) -> Reading:
    """What all meters saw of one window."""
    whole = Reading({})
    for part in readings:
        whole = Reading(
            values=whole.values | part.values,
            notes=whole.notes | part.notes,
            raw=whole.raw | part.raw,
            samples=whole.samples + part.samples,
            flags=whole.flags | part.flags,
        )
    return whole


def _basis(values: dict[str, Any]) -> tuple[float | None, str | None]:
    """The energy that counts and its column: of the GPU where there is one (its counter, else integrated power)."""
    gpu = ("gpu_energy_counter_j", "gpu_energy_integrated_j")
    columns = gpu if any(column in values for column in gpu) else ("energy_j",)
    for column in columns:
        if values.get(column) is not None:
            return values[column], column
    return None, None


def _uncertainty(basis: str | None, window_s: float | None) -> float | None:
    """Relative: the sensor's gain and the counter's steps at both edges, as root of the sum of squares."""
    if basis in (None, "energy_j") or not window_s:
        return None
    return math.hypot(SENSOR_GAIN, COUNTER_PERIOD_S / window_s)


def flags(
    reading: Reading,
    window_s: float | None,
    *,
    n_parallel: int,
    pue: float,
    country_known: bool,
    order: str,
    offloaded: bool = False,
) -> tuple[str, ...]:
    """Labels for caution on one execution, sorted; `window_s` None: nothing was generated."""
    values, found = reading.values, set(reading.flags)
    if window_s is None:
        return tuple(sorted(found))
    if window_s < TOO_SHORT_S:
        found.add("too_short")
    mismatch = max(MISMATCH, 2 * COUNTER_PERIOD_S / window_s) if window_s else MISMATCH
    counter, codecarbon = values.get("gpu_energy_counter_j"), values.get("gpu_energy_cc_j")
    if (
        counter
        and codecarbon
        and window_s >= TOO_SHORT_S
        and abs(codecarbon / pue - counter) > mismatch * counter
    ):
        found.add("window_mismatch")
    integrated = values.get("gpu_energy_integrated_j")
    if (
        counter
        and integrated
        and window_s >= TOO_SHORT_S
        and abs(integrated - counter) > DISAGREEMENT * counter
    ):
        found.add("meter_disagreement")
    if values.get("cpu_energy_j") is not None and values.get("cpu_method") != "rapl":
        found.add("estimated_cpu")
    if n_parallel > 1:
        found.add("shared_host")
    if not country_known:
        found.add("no_country")
    if order == "design":
        found.add("unshuffled")
    if offloaded:
        found.add("cpu_offload")
    return tuple(sorted(found))
