"""Measure one execution: prompt in, row out. Engine and meters are given, so tests pass fakes.

The order is: encode, synchronize, open the window, generate, synchronize, close it, decode. Nothing
else happens between the window's edges. Doesn't know Ray or the data set's files.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from orchestrator.dataset.energy import counted_energy_j, energy_basis
from orchestrator.dataset.environment import Pilot
from orchestrator.dataset.flags import Window, window_flags
from orchestrator.dataset.schema import EffectiveColumns, Execution, TelemetrySample
from orchestrator.dataset.trial_files import Measured
from orchestrator.engine import Encoded, Engine, EngineInfo, Generated, GenerationError
from orchestrator.meters import Meter, Reading, joined
from orchestrator.nouns import (
    Effective,
    Prompt,
    TrialSpec,
    derived_values,
    effective_of,
    generation_seed,
)
from orchestrator.unknowns import quotient, sum_of_all

T = TypeVar("T")

WARM_UP_TOKENS = (4, 4, 24)
"""New tokens of the discarded generations; the last, long enough to time, is the pilot."""
WARM_UP_GPU_S = 20.0
"""On a GPU the last warm-up is repeated until so much time has passed.

In a sweep on an H100 that was measured without, the first answer of two of four processes still
took 2.7 times as long as later ones.
"""
MOST_WARM_UPS = 100
WARM_UP_PROMPT = "Describe a lighthouse to somebody who has never seen the sea."
"""Always the same: pilots compare, and no prompt of a use case can fail before it has a row."""


@dataclass(frozen=True)
class Instrumented:
    """A loaded engine with its meters: what a worker keeps across trials."""

    engine: Engine
    meters: list[Meter]
    pue: float = 1.0
    n_parallel: int = 1
    country_known: bool = True
    clock: Callable[[], float] = time.perf_counter

    def close(self) -> None:
        """Release the instruments and the model."""
        for meter in self.meters:
            meter.close()
        self.engine.close()

    @property
    def has_gpu(self) -> bool:
        """Whether the engine runs on a GPU."""
        return self.engine.info.columns.gpu_uuid is not None


@dataclass(frozen=True)
class ExecutionLimits:
    """What an execution may take."""

    timeout_s: float | None = None
    oom_tokens: int | None = None
    """Length at which memory ran out on such a machine: as much is not tried again."""


@dataclass(frozen=True)
class WindowOutcome:
    """What came of a prompt: a generation or an error, and what was measured of it."""

    generated: Generated | None = None
    error: GenerationError | None = None
    window_s: float | None = None
    """None: no window was opened, since the prompt failed before."""
    reading: Reading = field(default_factory=lambda: Reading({}))


def measured_window(tools: Instrumented, work: Callable[[], Generated]) -> WindowOutcome:
    """Run `work` inside all meters: the outermost is opened first and closed last.

    `work` gives what was generated. Its errors are caught and stand in the outcome, since a failed
    execution took energy, too. Raises what a meter or the engine's synchronize() raises.
    """
    tools.engine.synchronize()
    for meter in tools.meters:
        meter.begin()
    generated, error = None, None
    began_s = tools.clock()
    try:
        generated = work()
        tools.engine.synchronize()
    except GenerationError as known:
        generated, error = None, known
    except Exception as unknown:  # noqa: BLE001 - a failure is a row, and the model stays loaded
        generated, error = None, _as_generation_error(unknown)
    ended_s = tools.clock()
    # the innermost window closes first, so each meter sees all that lies inside of it
    for meter in reversed(tools.meters):
        meter.end()
    readings = [meter.reading(began_s, ended_s) for meter in reversed(tools.meters)]
    return WindowOutcome(generated, error, ended_s - began_s, joined(readings))


def warm_up(tools: Instrumented, longest_length: int) -> Pilot:
    """Build what each length needs, then discard three generations or more; the last is the pilot.

    They pay what only the first windows of a process pay, as CodeCarbon's slow first start.
    `longest_length`: the largest max_length that will be asked for. Raises GenerationError.
    """
    engine, began_s = tools.engine, tools.clock()
    engine.build_shapes(_reachable(engine.info, longest_length))
    encoded = engine.encode(WARM_UP_PROMPT)
    energies: list[float | None] = []
    for n_done in range(MOST_WARM_UPS):
        warm = not tools.has_gpu or tools.clock() - began_s >= WARM_UP_GPU_S
        if n_done >= len(WARM_UP_TOKENS) and warm:
            break
        n_tokens = WARM_UP_TOKENS[min(n_done, len(WARM_UP_TOKENS) - 1)]
        outcome = measured_window(
            tools,
            partial(
                engine.generate, encoded, _warm_up_values(encoded, n_tokens), 0, fixed_length=True
            ),
        )
        if outcome.error:
            raise outcome.error
        basis = _basis(tools, outcome)
        energies.append(counted_energy_j({**outcome.reading.values, "energy_basis": basis}))
    n_new = len(outcome.generated.tokens) if outcome.generated else 0
    return Pilot(
        tokens_per_s=n_new / outcome.window_s if outcome.window_s else math.inf,
        energy_j_per_token=quotient(energies[-1], n_new),
        energy_basis=basis,
        warm_up_s=tools.clock() - began_s,
        warm_up_energy_j=sum_of_all(energies),
    )


def _reachable(info: EngineInfo, longest_length: int) -> int:
    """The longest text that an engine will generate: its context and its memory may end it."""
    limits = [longest_length, info.context_length, info.memory_tokens]
    return min(limit for limit in limits if limit)


def _warm_up_values(encoded: Encoded, n_tokens: int) -> Effective:
    """Plain sampling of so many new tokens."""
    return Effective(
        max_length=encoded.n_tokens + n_tokens,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        dormant=(),
        limits=(),
    )


def execute(
    tools: Instrumented,
    spec: TrialSpec,
    prompt: Prompt,
    order: str,
    limits: ExecutionLimits | None = None,
) -> Measured:
    """One prompt of a trial under its configuration; a prompt that fails is a row too.

    Raises what the engine's synchronize() or a meter raises: then the device is lost, which is
    not the prompt's fault.
    """
    engine, info = tools.engine, tools.engine.info
    seed = generation_seed(spec.setup.seed, spec.configuration, prompt.text, spec.repeat)
    # the time of day is for people; windows are timed by a clock that never jumps
    now = datetime.now(UTC)
    encoded = _attempted(engine, partial(engine.encode, prompt.text))
    n_prompt_tokens = encoded.n_tokens if isinstance(encoded, Encoded) else None
    effective = effective_of(
        spec.configuration,
        prompt_tokens=n_prompt_tokens or 0,
        context_length=info.context_length,
        memory_tokens=info.memory_tokens,
        beyond_context=spec.setup.beyond_context,
    )
    limits = limits or ExecutionLimits()
    outcome = _generated(tools, spec, encoded, effective, seed=seed, limits=limits)
    text, error, generated = None, outcome.error, outcome.generated
    if generated is not None:
        decoded = _attempted(engine, partial(engine.decode, generated))
        if isinstance(decoded, GenerationError):  # tokens without a text are no answer
            error, generated = decoded, None
        else:
            text = decoded
    produced = _generated_columns(generated)
    reading = outcome.reading
    execution = Execution(
        prompt_number=prompt.number,
        prompt_sha256=hashlib.sha256(prompt.text.encode()).hexdigest(),
        seed=seed,
        started_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
        **_status_columns(error),
        **derived_values(EffectiveColumns, effective),
        beyond_context=_is_beyond(info.context_length, n_prompt_tokens, produced["n_new_tokens"]),
        n_prompt_tokens=n_prompt_tokens,
        **produced,
        window_s=outcome.window_s,
        **reading.values,
        n_parallel=tools.n_parallel,
        energy_basis=_basis(tools, outcome),
        warning_flags=_flags(tools, outcome, order),
        notes=_notes(outcome),
        output_text=text,
    )
    samples = [TelemetrySample(prompt_number=prompt.number, **one) for one in reading.samples]
    return Measured(execution=execution, codecarbon=reading.codecarbon, telemetry=tuple(samples))


def _basis(tools: Instrumented, outcome: WindowOutcome) -> str | None:
    """The column whose energy counts for a window."""
    return energy_basis(
        outcome.reading.values, has_gpu=tools.has_gpu, window_s=outcome.window_s or 0.0
    )


def _generated(
    tools: Instrumented,
    spec: TrialSpec,
    encoded: Encoded | GenerationError,
    effective: Effective,
    *,
    seed: int,
    limits: ExecutionLimits,
) -> WindowOutcome:
    """Generate in a window, unless it is known before that it would fail."""
    if isinstance(encoded, GenerationError):
        return WindowOutcome(error=encoded)
    length, oom_tokens = effective.max_length, limits.oom_tokens
    # it would fail again, after minutes, and might take the worker with it
    if oom_tokens is not None and length >= oom_tokens:
        why = f"not tried: memory ran out at {oom_tokens} tokens before, this is {length}"
        return WindowOutcome(error=GenerationError("oom", why))
    work = partial(
        tools.engine.generate,
        encoded,
        effective,
        seed,
        fixed_length=spec.setup.length_mode == "fixed",
        timeout_s=limits.timeout_s,
    )
    return measured_window(tools, work)


def _attempted(engine: Engine, work: Callable[[], T]) -> T | GenerationError:
    """What `work` gives outside the window, or its error where the device is sound."""
    try:
        return work()
    except GenerationError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a failure is a row, and the model stays loaded
        engine.synchronize()  # raises where the device itself is lost
        return _as_generation_error(error)


def _as_generation_error(error: Exception) -> GenerationError:
    """Any error of an engine as one that a row can hold."""
    return GenerationError("other", f"{type(error).__name__}: {error}")


def _status_columns(error: GenerationError | None) -> dict[str, Any]:
    """The columns that say whether an execution worked, and why not: the error's first line."""
    if error is None:
        return {"status": "ok"}
    message = str(error).partition("\n")[0]
    return {"status": "failed", "error_kind": error.kind, "error_message": message}


def _generated_columns(generated: Generated | None) -> dict[str, Any]:
    """The columns of what the model gave; null where it failed."""
    if generated is None:
        return dict.fromkeys(("n_new_tokens", "finish_reason", "ttft_s"))
    return {
        "n_new_tokens": len(generated.tokens),
        "finish_reason": generated.finish_reason,
        "ttft_s": generated.ttft_s,
    }


def _is_beyond(context_length: int | None, *n_tokens: int | None) -> bool:
    """Whether the text ran past the model's context."""
    whole = sum(n or 0 for n in n_tokens)
    return context_length is not None and whole > context_length


def _flags(tools: Instrumented, outcome: WindowOutcome, order: str) -> tuple[str, ...]:
    """Warning flags; none where nothing was generated, and so nothing measured."""
    if outcome.window_s is None:
        return ()
    return window_flags(
        Window(
            values=outcome.reading.values,
            seen=outcome.reading.flags,
            window_s=outcome.window_s,
            n_parallel=tools.n_parallel,
            pue=tools.pue,
            country_known=tools.country_known,
            order=order,
            offload_fraction=tools.engine.info.columns.offload_fraction,
        )
    )


def _notes(outcome: WindowOutcome) -> tuple[str, ...]:
    """Why values are null, each as 'column: reason'."""
    notes = [f"{column}: {why}" for column, why in sorted(outcome.reading.notes.items())]
    if outcome.window_s is None:
        notes.append("energy_j: nothing was generated")
    return tuple(notes)
