"""Measure one window: a prompt or a batch in, a row a prompt out. Engine and meters are given.

The order is: encode, synchronize, open the window, generate, synchronize, close it, decode. Nothing
else happens between the window's edges, but that a short answer is generated again until its window
is long enough. The rows of a batch share its time and its energies by their new tokens. Doesn't
know Ray or the data set's files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from orchestrator.dataset.energy import (
    counted_energy_j,
    energy_basis,
    energy_rel_uncertainty,
)
from orchestrator.dataset.environment import Anchor, Baseline, Pilot
from orchestrator.dataset.flags import Window, window_flags
from orchestrator.dataset.schema import (
    EffectiveColumns,
    Execution,
    MeterColumns,
    PrefillColumns,
    TelemetrySample,
)
from orchestrator.dataset.trial_files import Measured
from orchestrator.engine import (
    SIMULATED_DEVICE,
    BatchRow,
    Built,
    Encoded,
    Engine,
    EngineInfo,
    Generated,
    GenerationError,
    padded_length,
)
from orchestrator.metered import metered
from orchestrator.meters import Meter, Reading
from orchestrator.nouns import (
    Effective,
    Prompt,
    TrialSpec,
    columns_of,
    derived_values,
    effective_of,
    generation_seed,
    text_sha256,
)
from orchestrator.unknowns import product, quotient, sum_of_all

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
"""Always the same: pilots and anchors compare, and no prompt of a use case can fail before it has a
row."""
ANCHOR_TOKENS = 128
"""New tokens of an anchor: about 5 s of an H100 with a 7B model."""
PREFILL_WINDOW_S = 1.0
"""A prompt is taken in again and again for so long: once takes less than the counter's step."""
PER_ANSWER_UNITS = ("J", "kWh", "kg")
ENERGIES = tuple(
    name for name, _, column in columns_of(MeterColumns) if column.unit in PER_ANSWER_UNITS
)
"""Readings of a window that are divided by the number of answers in it."""


@dataclass(frozen=True)
class Instrumented:
    """A loaded engine with its meters: what a worker keeps across trials."""

    engine: Engine
    meters: list[Meter]
    pue: float = 1.0
    n_parallel: int = 1
    country_known: bool = True
    batch_size: int = 1
    """Prompts that the engine is to generate at once."""
    clock: Callable[[], float] = time.perf_counter
    baselines: list[Baseline] = field(default_factory=list)
    """Idle powers of the session, the newest one last."""
    prefills: dict[str, PrefillColumns] = field(default_factory=dict)
    """Prompt -> the energy of taking it in, measured once a session."""

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
    """Length at which memory ran out on such a machine: as much is not tried again.

    Of a batch it is the length of its longest text."""
    least_window_s: float = 0.0
    """An answer is generated again in its window until that has lasted so long (--min-busy-s)."""


@dataclass(frozen=True)
class WindowOutcome:
    """What came of a prompt or a batch: texts or an error, and what was measured of them."""

    generated: list[Generated] | None = None
    """Of each row; None: it failed."""
    error: GenerationError | None = None
    window_s: float | None = None
    """None: no window was opened, since it failed before."""
    n_in_window: int = 1
    """How often the same answer was generated in it."""
    reading: Reading = field(default_factory=lambda: Reading({}))

    def shares(self, n_rows: int) -> list[float]:
        """The part of the window that each row stands for; together 1.

        It is the row's new tokens over those of all. Where it failed, all have the same part.
        """
        if self.generated is None:
            return [1 / n_rows] * n_rows
        n_new = [one.n_new for one in self.generated]
        return [n / sum(n_new) for n in n_new]


def measured_window(
    tools: Instrumented, work: Callable[[], list[Generated]], least_window_s: float = 0.0
) -> WindowOutcome:
    """Generate inside all meters, again and again until so many seconds have passed.

    `work` gives what was generated, each time the same. Its errors are caught and stand in the
    outcome, since a failed execution took energy, too. Raises what a meter or the engine's
    synchronize() raises.
    """
    tools.engine.synchronize()

    def until_long_enough() -> tuple[list[Generated] | GenerationError, int]:
        """The answer or its error, and how often it was generated."""
        began_s = tools.clock() if least_window_s > 0 else 0.0
        n_done = 0
        while True:
            n_done += 1
            try:
                result: list[Generated] | GenerationError = work()
                tools.engine.synchronize()
            except GenerationError as known:
                return known, n_done
            except Exception as unknown:  # noqa: BLE001 - a failure is a row, and the model stays loaded
                return _as_generation_error(unknown), n_done
            if least_window_s <= 0 or tools.clock() - began_s >= least_window_s:
                return result, n_done

    done = metered(tools.meters, tools.clock, until_long_enough)
    result, n_in_window = done.result
    return WindowOutcome(
        generated=result if isinstance(result, list) else None,
        error=result if isinstance(result, GenerationError) else None,
        window_s=done.window_s,
        n_in_window=n_in_window,
        reading=_possible(done.reading),
    )


def _possible(reading: Reading) -> Reading:
    """The reading with None, and a note, for what its column can't hold: NaN, an energy below 0.

    A meter that fails in such a way must not take the text and the other meters' values with it.
    """
    values, notes = dict(reading.values), dict(reading.notes)
    try:
        MeterColumns.model_validate(values)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            column = str(fault["loc"][0])
            if column in MeterColumns.model_fields:
                values[column] = None
                notes[column] = f"the meter gave {fault['input']!r}: {fault['msg']}"
    facts = {
        name: None if isinstance(fact, float) and not math.isfinite(fact) else fact
        for name, fact in reading.codecarbon.items()
    }
    return replace(reading, values=values, notes=notes, codecarbon=facts)


def warm_up(tools: Instrumented, longest_length: int) -> Pilot:
    """Build what each length needs, then discard three generations or more; the last is the pilot.

    They pay what only the first windows of a process pay, as CodeCarbon's slow first start.
    `longest_length`: the largest max_length that will be asked for. Raises GenerationError.
    """
    engine, began_s = tools.engine, tools.clock()
    engine.synchronize()

    def build_all() -> Built:
        """What every length needs."""
        built = engine.build_shapes(_reachable(engine.info, longest_length))
        engine.synchronize()
        return built

    build = metered(tools.meters, tools.clock, build_all)
    build_energy_j = _counted_j(tools, _possible(build.reading), build.window_s)
    encoded = engine.encode(WARM_UP_PROMPT)
    energies: list[float | None] = [build_energy_j]
    built_s = tools.clock()
    # a simulated GPU has no clocks and kernels that are slow at first
    is_cold = tools.has_gpu and engine.info.columns.device != SIMULATED_DEVICE
    for n_done in range(MOST_WARM_UPS):
        warm = not is_cold or tools.clock() - built_s >= WARM_UP_GPU_S
        if n_done >= len(WARM_UP_TOKENS) and warm:
            break
        n_tokens = WARM_UP_TOKENS[min(n_done, len(WARM_UP_TOKENS) - 1)]
        rows = _warm_up_rows(encoded, n_tokens, tools.batch_size)
        outcome = measured_window(tools, partial(engine.generate, rows, fixed_length=True))
        if outcome.error:
            raise outcome.error
        basis = _basis(tools, outcome)
        energies.append(counted_energy_j({**outcome.reading.values, "energy_basis": basis}))
    n_new = _n_new(outcome)
    return Pilot(
        tokens_per_s=quotient(n_new, outcome.window_s),
        energy_j_per_token=quotient(energies[-1], n_new),
        energy_basis=basis,
        warm_up_s=tools.clock() - began_s,
        warm_up_energy_j=sum_of_all(energies),
        build_s=build.window_s,
        build_energy_j=build_energy_j,
        n_compiled=build.result.n_compiled,
        n_from_disk=build.result.n_from_disk,
    )


def _counted_j(tools: Instrumented, reading: Reading, window_s: float) -> float | None:
    """The energy that counts of a reading."""
    basis = energy_basis(reading.values, has_gpu=tools.has_gpu, window_s=window_s)
    return counted_energy_j({**reading.values, "energy_basis": basis})


def _n_new(outcome: WindowOutcome) -> int:
    """New tokens of one answer, of a batch those of all rows."""
    return sum(one.n_new for one in outcome.generated or [])


def measured_anchor(tools: Instrumented, longest_length: int, session_trial: int) -> Anchor | None:
    """Generate and measure the text that is always the same; None where it failed.

    `longest_length`: as in `warm_up`. `session_trial`: how many trials have begun.
    """
    engine = tools.engine
    started_at = datetime.now(UTC).replace(microsecond=0)
    encoded = engine.encode(WARM_UP_PROMPT)
    room = _reachable(engine.info, longest_length) - encoded.n_tokens
    rows = _warm_up_rows(encoded, max(1, min(ANCHOR_TOKENS, room)), tools.batch_size)
    outcome = measured_window(tools, partial(engine.generate, rows, fixed_length=True))
    if outcome.window_s is None or not outcome.generated:
        return None
    basis = _basis(tools, outcome)
    return Anchor(
        started_at=started_at,
        session_trial=session_trial,
        n_new_tokens=_n_new(outcome),
        window_s=outcome.window_s,
        energy_j=counted_energy_j({**outcome.reading.values, "energy_basis": basis}),
        energy_basis=basis,
        baseline_w=tools.baselines[-1].power_w if tools.baselines else None,
    )


def _prefill(tools: Instrumented, prompt: Prompt, encoded: Encoded) -> PrefillColumns:
    """The energy until a prompt's first token, measured once a session.

    Null on a CPU, where energies are models, in batches, and where it can't be generated.
    """
    if not tools.has_gpu or tools.batch_size > 1:
        return PrefillColumns()
    if prompt.text not in tools.prefills:
        work = partial(tools.engine.generate, _warm_up_rows(encoded, 1, 1), fixed_length=True)
        outcome = measured_window(tools, work, PREFILL_WINDOW_S)
        tools.prefills[prompt.text] = _prefill_columns(tools, outcome)
    return tools.prefills[prompt.text]


def _prefill_columns(tools: Instrumented, outcome: WindowOutcome) -> PrefillColumns:
    """What a window of first tokens gave."""
    row = {
        **outcome.reading.values,
        "energy_basis": _basis(tools, outcome),
        "window_s": outcome.window_s,
    }
    energy_j = counted_energy_j(row)
    if outcome.error or energy_j is None:
        return PrefillColumns()
    return PrefillColumns(
        prefill_energy_j=energy_j / outcome.n_in_window,
        prefill_n_in_window=outcome.n_in_window,
        prefill_window_s=outcome.window_s,
        prefill_rel_uncertainty=energy_rel_uncertainty(row),
    )


def _reachable(info: EngineInfo, longest_length: int) -> int:
    """The longest text that an engine will generate: its context and its memory may end it."""
    limits = [longest_length, info.context_length, info.memory_tokens]
    return min(limit for limit in limits if limit)


def _warm_up_rows(encoded: Encoded, n_tokens: int, batch_size: int) -> list[BatchRow]:
    """The same prompt in each row, with plain sampling of so many new tokens."""
    effective = Effective(
        max_length=encoded.n_tokens + n_tokens,
        do_sample=True,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        dormant=(),
        limits=(),
    )
    return [BatchRow(encoded, effective, 0)] * batch_size


@dataclass(frozen=True)
class _Asked:
    """A prompt of a trial as it is about to be generated."""

    prompt: Prompt
    seed: int
    encoded: Encoded | GenerationError
    effective: Effective
    prefill: PrefillColumns = field(default_factory=PrefillColumns)

    def row(self) -> BatchRow | None:
        """What the engine is asked for; None: the prompt can't be encoded."""
        if isinstance(self.encoded, GenerationError):
            return None
        return BatchRow(self.encoded, self.effective, self.seed)


@dataclass(frozen=True)
class _RowOutcome:
    """What came of one prompt, in its window."""

    window: WindowOutcome
    generated: Generated | None
    error: GenerationError | None
    n_in_batch: int = 1
    """Prompts in that window."""
    share: float = 1.0
    """Its part of the window and of its energies."""
    is_first: bool = True
    """Whether it is the first row of the window."""


def execute(
    tools: Instrumented,
    spec: TrialSpec,
    prompts: Sequence[Prompt],
    order: str,
    limits: ExecutionLimits | None = None,
) -> list[Measured]:
    """One prompt or batch of a trial under its configuration; what fails is a row too.

    A row for each of `prompts`. Raises what the engine's synchronize() or a meter raises: then the
    device is lost, which is not the prompts' fault.
    """
    # the time of day is for people; windows are timed by a clock that never jumps
    now = datetime.now(UTC)
    started_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    limits = limits or ExecutionLimits()
    all_asked = [_asked(tools, spec, prompt) for prompt in prompts]
    rows = [row for row in (asked.row() for asked in all_asked) if row is not None]
    if not _runs_out(rows, limits):
        all_asked = [_with_prefill(tools, asked) for asked in all_asked]
    outcomes = iter(_row_outcomes(_generated(tools, spec, rows, limits), len(rows)))
    measured = []
    for asked in all_asked:
        if isinstance(asked.encoded, GenerationError):
            outcome = _RowOutcome(WindowOutcome(error=asked.encoded), None, asked.encoded)
        else:
            outcome = next(outcomes)
        execution = _execution(tools, spec, asked, outcome, order=order, started_at=started_at)
        measured.append(_measured(execution, outcome))
    return measured


def _asked(tools: Instrumented, spec: TrialSpec, prompt: Prompt) -> _Asked:
    """A prompt, encoded, with its seed and its effective configuration."""
    engine, info = tools.engine, tools.engine.info
    encoded = _attempted(engine, partial(engine.encode, prompt.text))
    effective = effective_of(
        spec.configuration,
        prompt_tokens=encoded.n_tokens if isinstance(encoded, Encoded) else 0,
        context_length=info.context_length,
        memory_tokens=info.memory_tokens,
        beyond_context=spec.setup.beyond_context,
        of_new_tokens=spec.setup.length_of == "new tokens",
        not_taken=info.columns.not_taken,
    )
    seed = generation_seed(spec.setup.seed, spec.configuration, prompt.text, spec.repeat)
    return _Asked(prompt, seed, encoded, effective)


def _with_prefill(tools: Instrumented, asked: _Asked) -> _Asked:
    """The prompt with the energy of taking it in, where it can be encoded."""
    if isinstance(asked.encoded, GenerationError):
        return asked
    return replace(asked, prefill=_prefill(tools, asked.prompt, asked.encoded))


def _row_outcomes(window: WindowOutcome, n_rows: int) -> list[_RowOutcome]:
    """What came of each row of a window."""
    if not n_rows:
        return []
    generated: Sequence[Generated | None] = window.generated or [None] * n_rows
    return [
        _RowOutcome(window, one, window.error, n_rows, share, is_first=number == 0)
        for number, (one, share) in enumerate(zip(generated, window.shares(n_rows), strict=True))
    ]


def _execution(
    tools: Instrumented,
    spec: TrialSpec,
    asked: _Asked,
    outcome: _RowOutcome,
    *,
    order: str,
    started_at: datetime,
) -> Execution:
    """The row of a prompt."""
    text, error, generated = None, outcome.error, outcome.generated
    if generated is not None:
        decoded = _attempted(tools.engine, partial(tools.engine.decode, generated))
        if isinstance(decoded, GenerationError):  # tokens without a text are no answer
            error, generated = decoded, None
        else:
            text = decoded
    n_prompt_tokens = asked.encoded.n_tokens if isinstance(asked.encoded, Encoded) else None
    produced = _generated_columns(generated)
    window, context_length = outcome.window, tools.engine.info.context_length
    baseline = tools.baselines[-1] if tools.baselines else None
    return Execution(
        prompt_number=asked.prompt.number,
        prompt_sha256=text_sha256(asked.prompt.text),
        seed=asked.seed,
        started_at=started_at,
        **_status_columns(error),
        **derived_values(EffectiveColumns, asked.effective),
        beyond_context=_is_beyond(context_length, n_prompt_tokens, produced["n_new_tokens"]),
        n_prompt_tokens=n_prompt_tokens,
        **produced,
        n_in_window=window.n_in_window,
        **_batch_columns(spec, asked, outcome),
        **_of_row(outcome),
        **asked.prefill.model_dump(),
        n_parallel=tools.n_parallel,
        energy_basis=_basis(tools, window),
        baseline_id=baseline.id if baseline else None,
        baseline_w=baseline.power_w if baseline else None,
        warning_flags=_flags(tools, outcome, order),
        notes=_notes(window),
        output_text=text,
    )


def _measured(execution: Execution, outcome: _RowOutcome) -> Measured:
    """A row with what its meters recorded beside it: of a batch with its first row."""
    if not outcome.is_first:
        return Measured(execution=execution, codecarbon={})
    reading = outcome.window.reading
    samples = [
        TelemetrySample(prompt_number=execution.prompt_number, **one) for one in reading.samples
    ]
    return Measured(execution=execution, codecarbon=reading.codecarbon, telemetry=tuple(samples))


def _batch_columns(spec: TrialSpec, asked: _Asked, outcome: _RowOutcome) -> dict[str, Any]:
    """The columns of the batch that a row belongs to; none where it was generated alone."""
    if outcome.n_in_batch == 1:
        return {}
    return {
        "n_in_batch": outcome.n_in_batch,
        "batch_number": spec.setup.batch_of(asked.prompt.number),
        "batch_window_s": quotient(outcome.window.window_s, outcome.window.n_in_window),
    }


def _of_row(outcome: _RowOutcome) -> dict[str, Any]:
    """The window's length and the meters' values.

    Time and energies are over the number of answers in the window, and the row's share.
    """
    window = outcome.window

    def of_row(whole: float | None) -> float | None:
        """A row's share of what the window took."""
        return product(quotient(whole, window.n_in_window), outcome.share)

    values = {
        name: of_row(value) if name in ENERGIES else value
        for name, value in window.reading.values.items()
    }
    return {"window_s": of_row(window.window_s), **values}


def _runs_out(rows: Sequence[BatchRow], limits: ExecutionLimits) -> bool:
    """Whether memory ran out at such a length before."""
    if limits.oom_tokens is None or not rows:
        return False
    return _longest(rows) >= limits.oom_tokens


def _longest(rows: Sequence[BatchRow]) -> int:
    """The length of a batch's longest text."""
    return max(row.effective.max_length for row in rows)


def _basis(tools: Instrumented, outcome: WindowOutcome) -> str | None:
    """The column whose energy counts for a window."""
    return energy_basis(
        outcome.reading.values, has_gpu=tools.has_gpu, window_s=outcome.window_s or 0.0
    )


def _generated(
    tools: Instrumented, spec: TrialSpec, rows: Sequence[BatchRow], limits: ExecutionLimits
) -> WindowOutcome:
    """Generate in a window, unless it is known before that it would fail."""
    engine = tools.engine
    if not rows:
        return WindowOutcome()
    # it would fail again, after minutes, and might take the worker with it
    if _runs_out(rows, limits):
        why = (
            f"not tried: memory ran out at {limits.oom_tokens} tokens before, "
            f"this is {_longest(rows)}"
        )
        return WindowOutcome(error=GenerationError("oom", why))
    if len(rows) > 1:
        # padding may make a batch longer than the longest text that was foreseen
        built = _attempted(engine, partial(engine.build_shapes, padded_length(rows)))
        if isinstance(built, GenerationError):
            return WindowOutcome(error=built)
    work = partial(
        engine.generate,
        rows,
        fixed_length=spec.setup.length_mode == "fixed",
        timeout_s=limits.timeout_s,
    )
    return measured_window(tools, work, limits.least_window_s)


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
        return {"n_new_tokens": None, "finish_reason": None, "ttft_s": None}
    return {
        "n_new_tokens": generated.n_new,
        "finish_reason": generated.finish_reason,
        "ttft_s": generated.ttft_s,
        "n_steps_beyond": generated.n_steps_beyond,
        "cache_length": generated.cache_length,
        "n_cached_tokens": generated.n_cached_tokens,
    }


def _is_beyond(context_length: int | None, *n_tokens: int | None) -> bool:
    """Whether the text ran past the model's context."""
    whole = sum(n or 0 for n in n_tokens)
    return context_length is not None and whole > context_length


def _flags(tools: Instrumented, outcome: _RowOutcome, order: str) -> tuple[str, ...]:
    """Warning flags; none where nothing was generated, and so nothing measured."""
    window = outcome.window
    if window.window_s is None:
        return ()
    return window_flags(
        Window(
            values=window.reading.values,
            seen=window.reading.flags,
            window_s=window.window_s,
            n_parallel=tools.n_parallel,
            pue=tools.pue,
            country_known=tools.country_known,
            order=order,
            offload_fraction=tools.engine.info.columns.offload_fraction,
            n_in_batch=outcome.n_in_batch,
            batch_size=tools.batch_size,
        )
    )


def _notes(outcome: WindowOutcome) -> tuple[str, ...]:
    """Why values are null, each as 'column: reason'."""
    notes = [f"{column}: {why}" for column, why in sorted(outcome.reading.notes.items())]
    if outcome.window_s is None:
        notes.append("energy_j: nothing was generated")
    return tuple(notes)
