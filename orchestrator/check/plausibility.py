"""Check whether the values of a trial are possible: ranges, energies, powers, clocks.

Values can be possible and still wrong; this module can't tell. Faults of a clock are warnings: a
clock that was adjusted during a sweep spoils no energy, and must not keep a data set from a merge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.dataset.energy import GPU_ENERGIES
from orchestrator.dataset.findings import Finding, Severity
from orchestrator.dataset.paths import execution_id
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.engine import ENGINES
from orchestrator.nouns import DOMAIN

LEAST_GPU_W = 5.0
"""A GPU that generates draws more; boards of 30 W idle at 3 W."""
GPU_POWER_W = 1500.0
"""More than any single GPU draws (a B300 is specified for 1400 W).

A higher power means a wrong unit, or more than one GPU.
"""
TOKEN_J = (1e-4, 1e3)
"""Bounds far outside of what is published for LLM inference (0.01 to 100 J a token)."""
EDGE_S = 0.1
"""Step of a GPU's energy counter: so much energy from before a window may count into it."""
OVERLAP_S = 1.0
"""Windows that overlap by less are no fault: clocks and rounding."""
FUTURE = timedelta(days=1)
"""A time that is later than now by more than this is a fault: clocks of hosts differ."""


def record_findings(
    where: str, record: TrialRecord, now: datetime | None = None
) -> Iterator[Finding]:
    """Values of one trial that are impossible (errors) or very unlikely (warnings).

    `where`: the trial's folder. `now`: the current time, if it isn't the clock's.
    """
    for name, (low, high) in DOMAIN.items():
        value = getattr(record.spec.configuration, name)
        if not low <= value <= high:
            yield Finding("error", where, f"{name}: {value:g} is outside {low:g}..{high:g}")
    latest = (now or datetime.now(UTC)) + FUTURE
    before: datetime | None = None
    for execution in record.executions:
        for severity, what in _measurement_faults(record, execution):
            yield Finding(severity, where, f"prompt {execution.prompt_number}: {what}")
        clock = f"prompt {execution.prompt_number}: started_at"
        at = execution.started_at
        if at > latest:
            what = f"{clock}: {at.isoformat()} is in the future"
            yield Finding("warning", where, what)
        if before is not None and at < before:
            what = f"{clock}: is earlier than that of the prompt measured before it"
            yield Finding("warning", where, what)
        before = at


def _measurement_faults(
    record: TrialRecord, execution: Execution
) -> Iterator[tuple[Severity, str]]:
    """(severity, what) for energies and powers of one execution that can't be right."""
    window_s = execution.window_s
    if window_s:
        if execution.status == "ok":
            for name in _zeros(execution, window_s):
                yield "error", f"{name}: is 0 over {window_s:.3g} s; unmeasured energy must be null"
        for what in _implausible_powers(record, execution, window_s):
            yield "warning", what
    joules = execution.energy_per_token_j
    low, high = TOKEN_J
    if joules is None or not _is_measured(record):
        return
    if not low <= joules <= high:
        yield "warning", f"energy_per_token_j: {joules:.3g} J is outside {low:g}..{high:g}"


def _implausible_powers(
    record: TrialRecord, execution: Execution, window_s: float
) -> Iterator[str]:
    """GPU energies that mean another power than the GPU can draw."""
    # a window may begin up to a step of the counter too early, hence EDGE_S
    limit_w, limit = _power_limit(record)
    for name in GPU_ENERGIES:
        energy_j = getattr(execution, name)
        if energy_j is not None and energy_j > limit_w * (window_s + EDGE_S):
            yield f"{name}: {energy_j / window_s:.0f} W on average, more than {limit}"
        if energy_j is not None and 0 < energy_j < LEAST_GPU_W * window_s:
            least = f"any GPU draws that computes ({LEAST_GPU_W:g} W)"
            yield f"{name}: {energy_j / window_s:.1f} W on average, less than {least}"


def _is_measured(record: TrialRecord) -> bool:
    """Whether a real model generated: an engine without a model takes next to no energy."""
    engine = ENGINES.get(record.columns.engine)
    return engine is None or engine.needs_weights or engine.served_models is not None


def _zeros(execution: Execution, window_s: float) -> Iterator[str]:
    """Columns whose energy is 0 although the window is long enough for their meter."""
    if execution.energy_j == 0:
        yield "energy_j"
    # a counter that moves every 0.1 s may stand still over a shorter window
    if window_s > EDGE_S:
        for name in GPU_ENERGIES:
            if getattr(execution, name) == 0:
                yield name


def _power_limit(record: TrialRecord) -> tuple[float, str]:
    """The most that the trial's GPU can draw, in W, and how a person calls that."""
    limit_w = record.environment.power_limit_w
    if limit_w is not None and limit_w > 0:
        return limit_w, f"its power limit ({limit_w:.0f} W)"
    return GPU_POWER_W, f"any single GPU draws ({GPU_POWER_W:.0f} W)"


@dataclass(frozen=True, order=True)
class _Window:
    """A measurement window on a GPU that its trial had for itself."""

    start: datetime
    end: datetime
    where: str
    execution: str


def between_trials(records: Iterable[tuple[str, TrialRecord]]) -> Iterator[Finding]:
    """Windows on one GPU that overlap, and measurements that occur twice.

    `records`: each trial with its folder.
    """
    windows: dict[tuple[str, str], dict[str, _Window]] = defaultdict(dict)
    first_of: dict[str, str] = {}
    for where, record in records:
        for execution, raw in zip(record.executions, record.codecarbon, strict=False):
            name = execution_id(record.columns.machine, record.spec, execution.prompt_number)
            # a copied row keeps the id that CodeCarbon drew at random
            first = first_of.setdefault(_run_id(raw) or name, name)
            if first != name:
                what = f"the same measurement as {first} (CodeCarbon's run_id)"
                yield Finding("error", where, f"prompt {execution.prompt_number}: {what}")
            start, gpu = execution.started_at, record.columns.gpu_uuid
            # on a shared host windows may overlap, and a simulated GPU has a time of its own
            alone = execution.scope == "exclusive" and _is_measured(record)
            if gpu and execution.window_s and alone:
                window_s = execution.batch_window_s or execution.window_s
                end = start + timedelta(seconds=window_s)
                # rows of one batch have one window
                batch = execution.batch_number
                key = f"{where} batch {batch}" if batch else f"{where} {execution.prompt_number}"
                windows[record.columns.host, gpu].setdefault(key, _Window(start, end, where, name))
    for of_gpu in windows.values():
        yield from _overlaps(sorted(of_gpu.values()))


def _run_id(raw: dict[str, Any]) -> str:
    """CodeCarbon's name of a measurement; "" where its record has none."""
    run_id = raw.get("run_id")
    if not isinstance(run_id, str):
        return ""
    return run_id


def _overlaps(windows: list[_Window]) -> Iterator[Finding]:
    """Windows, in order of their start, that begin before an earlier one ends."""
    last = windows[0]
    for window in windows[1:]:
        overlap_s = (min(last.end, window.end) - window.start).total_seconds()
        if overlap_s > OVERLAP_S:
            what = (
                f"{window.execution}: its window overlaps that of {last.execution} "
                f"on the same GPU by {overlap_s:.1f} s"
            )
            yield Finding("warning", window.where, what)
        # a long window may reach over several short ones
        if window.end > last.end:
            last = window
