"""Whether what a trial says can be: ranges, energies, powers, clocks. Doesn't know what is right, only what can't be.

What a clock says is a warning: one that was set anew in mid-sweep spoils no energy, and must not keep a data set from a merge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from orchestrator.dataset.findings import Finding, Severity
from orchestrator.dataset.paths import execution_id
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.nouns import DOMAIN

GPU_POWER_W = 1500.0
"""More than any single GPU draws (a B300 is specified for 1400 W): a wrong unit, or more than one GPU."""
TOKEN_J = (1e-4, 1e3)
"""Far outside of what is published for LLM inference (0.01 to 100 J a token)."""
EDGE_S = 0.1
"""Step of a GPU's energy counter: that much of the power before the window may count into it."""
OVERLAP_S = 1.0
FUTURE = timedelta(days=1)
MEASURED = ("energy_j", "gpu_energy_counter_j", "gpu_energy_integrated_j")


def record_findings(
    where: str, record: TrialRecord, now: datetime | None = None
) -> Iterator[Finding]:
    """What can't be, or hardly, in one trial."""
    for name, (low, high) in DOMAIN.items():
        value = getattr(record.asked, name)
        if not low <= value <= high:
            yield Finding("error", where, f"{name}: {value:g} leaves the domain {low:g}..{high:g}")
    before: datetime | None = None
    for execution in record.executions:
        prompt = f"prompt {execution.prompt}"
        for severity, what in _measurement_faults(record, execution):
            yield Finding(severity, where, f"{prompt}: {what}")
        at = _time(execution.started_at)
        if at is None:
            yield Finding(
                "error",
                where,
                f"{prompt}: started_at: {execution.started_at!r} is no time with its zone",
            )
            continue
        if at > (now or datetime.now(UTC)) + FUTURE:
            yield Finding(
                "warning", where, f"{prompt}: started_at: {execution.started_at} is in the future"
            )
        if before is not None and at < before:
            yield Finding(
                "warning",
                where,
                f"{prompt}: started_at: is before that of the prompt measured before it",
            )
        before = at


def _measurement_faults(
    record: TrialRecord, execution: Execution
) -> Iterator[tuple[Severity, str]]:
    window_s = execution.window_s
    if execution.status == "ok" and window_s:
        for name in MEASURED:
            if getattr(execution, name) == 0 and (name == "energy_j" or window_s > EDGE_S):
                yield "error", f"{name}: is 0 over {window_s:.3g} s; what wasn't measured is null"
    if window_s:
        limit_w, whose = GPU_POWER_W, "any one GPU draws"
        recorded = record.environment.get("power_limit_w")
        if isinstance(recorded, int | float) and recorded > 0:
            limit_w, whose = float(recorded), "its power limit"
        for name in MEASURED[1:]:
            energy_j = getattr(execution, name)
            if energy_j is not None and energy_j > limit_w * (window_s + EDGE_S):
                power = f"{energy_j / window_s:.0f} W"
                yield "warning", f"{name}: {power} on average, more than {whose} ({limit_w:.0f} W)"
    per_token_j = execution.energy_per_token_j
    if (
        record.columns.engine != "simulated"
        and per_token_j is not None
        and not TOKEN_J[0] <= per_token_j <= TOKEN_J[1]
    ):
        yield (
            "warning",
            f"energy_per_token_j: {per_token_j:.3g} J is outside {TOKEN_J[0]:g}..{TOKEN_J[1]:g}",
        )


def between_trials(records: Iterable[tuple[str, TrialRecord]]) -> Iterator[Finding]:
    """Windows on one GPU that overlap, and one measurement that stands in two places."""
    windows: dict[tuple[str, str], list[tuple[datetime, datetime, str, str]]] = defaultdict(list)
    runs: dict[str, str] = {}
    for where, record in records:
        for execution, raw in zip(record.executions, record.codecarbon, strict=False):
            name = execution_id(record.columns.machine, record.spec, execution.prompt)
            run_id = raw.get("run_id")
            if (
                isinstance(run_id, str)
                and run_id
                and (first := runs.setdefault(run_id, name)) != name
            ):
                what = f"prompt {execution.prompt}: the same measurement (CodeCarbon's run_id) as {first}"
                yield Finding("error", where, what)
            at, gpu = _time(execution.started_at), record.columns.gpu_uuid
            if at and gpu and execution.window_s and execution.scope == "exclusive":
                end = at + timedelta(seconds=execution.window_s)
                windows[record.columns.host, gpu].append((at, end, where, name))
    for of_gpu in windows.values():
        of_gpu.sort()
        last = of_gpu[0]
        for item in of_gpu[1:]:
            both_s = (min(last[1], item[1]) - item[0]).total_seconds()
            if both_s > OVERLAP_S:
                what = f"{item[3]}: its window overlaps that of {last[3]} on the same GPU by {both_s:.1f} s"
                yield Finding("warning", item[2], what)
            last = max(last, item, key=lambda one: one[1])


def _time(text: str) -> datetime | None:
    """A time with its zone; None where the text is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
