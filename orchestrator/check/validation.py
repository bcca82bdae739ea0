"""Check a whole data set: folders, tables, what each plan misses, what the Hub refuses."""

from __future__ import annotations

from pathlib import Path

from orchestrator.check.folders import validate_folders
from orchestrator.check.hub import hub_findings
from orchestrator.dataset.drift import conditions, mixed, mixed_weights
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.lock import LOCK_FILE, holder_of, seems_alive
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import by_kind, failures, finished_of, n_missing, relevant
from orchestrator.dataset.sweep_plan import SweepPlan, read_plans
from orchestrator.dataset.tables import Trials
from orchestrator.units import plural


def validate(out: Path, *, alone: bool = False) -> tuple[Trials, list[Finding]]:
    """Every readable trial of a data set, and all findings, errors first. Changes nothing.

    `alone`: the caller knows that no sweep runs there; it may hold the data set itself.
    """
    paths = DataSetPaths(out)
    holder = None if alone else holder_of(out)
    alive = holder is not None and seems_alive(out, holder)
    trials, findings = validate_folders(paths, running=alive is True)
    if holder and alive is None:
        what = (
            f"{holder.line()} has given no sign of life for a while; "
            "if it is alive, the tables may be outdated"
        )
        findings.append(Finding("warning", LOCK_FILE, what))
    if alive is not True:
        findings += hub_findings(paths)
    plans, unreadable = read_plans(paths)
    findings += unreadable
    for plan in plans:
        findings += _completeness(plan, trials)
    planned = {plan.id for plan in plans}
    measured = {record.spec.sweep_id for record in trials.records()}
    for sweep_id in sorted(measured - planned):
        what = "the plan is missing, so missing executions of its sweep can't be found; restore it"
        findings.append(Finding("warning", f"sweeps/{sweep_id}.json", what))
    return trials, sorted(findings)


def _completeness(plan: SweepPlan, trials: Trials) -> list[Finding]:
    """What a sweep misses, which of its executions failed, and whether its conditions changed."""
    where = f"sweeps/{plan.id}.json"
    finished = finished_of(plan, trials)
    missing = n_missing(plan, finished)
    failed = failures(execution for _, done in finished for execution in done)
    findings = []
    if missing:
        total = plural(plan.n_executions(), "execution")
        what = f"incomplete: {missing} of {total} missing; resume it with `tune`"
        findings.append(Finding("error", where, what))
    if failed:
        what = (
            f"{plural(failed.total(), 'failed execution')} ({by_kind(failed)}); "
            "retry with `tune --rerun failed`"
        )
        findings.append(Finding("warning", where, what))
    counting = relevant(plan, trials.records())
    for change in mixed_weights(plan.model_sha256, counting):
        what = f"trials were measured with several weights of one model: {change}"
        findings.append(Finding("error", where, what))
    for change in mixed(conditions(counting)):
        what = f"measured under different conditions, which no flag of a row tells: {change}"
        findings.append(Finding("warning", where, what))
    return findings
