"""Check a data set against its plans: `validate` = the folders' faults and what each plan still misses."""

from __future__ import annotations

from pathlib import Path

from orchestrator.check.folders import validate_folders
from orchestrator.dataset.drift import conditions, mixed
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.lock import LOCK_FILE, holder_of, seems_alive
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import by_kind, failures, finished_of, n_missing, relevant
from orchestrator.dataset.sweep_plan import SweepPlan, read_plans
from orchestrator.dataset.tables import Trials


def validate(out: Path) -> tuple[Trials, list[Finding]]:
    """Every readable trial of a data set, and all findings, errors first."""
    paths = DataSetPaths(out)
    holder = holder_of(out)
    alive = holder is not None and seems_alive(out, holder)
    trials, findings = validate_folders(paths, running=alive is True)
    if holder and alive is None:
        what = f"{holder.line()} has given no sign for a while; if it lives, tables and unfinished trials may lag behind it"
        findings.append(Finding("warning", LOCK_FILE, what))
    plans, unreadable = read_plans(paths)
    findings += unreadable
    for plan in plans:
        findings += _completeness(plan, trials)
    planned = {plan.id for plan in plans}
    for sweep_id in sorted({record.spec.sweep_id for record in trials.records()} - planned):
        findings.append(
            Finding(
                "warning",
                f"sweeps/{sweep_id}.json",
                "this plan is missing: its trials can't be checked for gaps",
            )
        )
    return trials, sorted(findings)


def _completeness(plan: SweepPlan, trials: Trials) -> list[Finding]:
    where = f"sweeps/{plan.id}.json"
    finished = finished_of(plan, trials)
    missing = n_missing(plan, finished)
    failed = failures(e for _, done in finished for e in done)
    findings = []
    if missing:
        what = f"incomplete: {missing} of {plan.n_executions()} executions are missing; `tune` goes on with it"
        findings.append(Finding("error", where, what))
    if failed:
        what = f"{failed.total()} executions failed ({by_kind(failed)}); `tune --rerun failed` tries them"
        findings.append(Finding("warning", where, what))
    changes = mixed(conditions(relevant(plan, trials.records())))
    what = "measured under different conditions, and no row is marked with it: "
    return findings + [Finding("warning", where, what + change) for change in changes]
