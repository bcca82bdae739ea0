"""The result of a run: a row a trial, totals, where everything lies; or the same for a machine."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table

from orchestrator.cli.live import Live
from orchestrator.dataset.remaining import by_kind
from orchestrator.nouns import ANCHOR
from orchestrator.sweep.prepare import Prepared
from orchestrator.sweep.run import Outcome
from orchestrator.units import duration, energy, number

ROWS = 20
"""Trials shown; the rest is in summary.parquet."""


def as_json(live: Live, prepared: Prepared, outcome: Outcome) -> dict[str, Any]:
    """The result for a machine; energy_j null where one execution has none."""
    totals = live.totals
    return {
        "sweep": prepared.plan.id,
        "trials_run": totals.trials,
        "executions_run": totals.executions,
        "executions_done_before": prepared.n_done,
        "executions_left": outcome.left,
        "failed": totals.failed,
        "failed_before": dict(prepared.n_failed()),
        "drained": outcome.drained,
        "workers_lost": totals.workers_lost,
        "tokens": totals.tokens,
        "energy_j": None if totals.energy_unknown else totals.energy_j,
        "window_s": totals.window_s,
        "wall_s": totals.wall_s() if totals.executions else 0.0,
        "out": str(prepared.paths.root),
        "executions": str(prepared.paths.executions),
        "summary": str(prepared.paths.summary),
    }


def print_result(live: Live, prepared: Prepared, outcome: Outcome) -> None:
    """The result for a person."""
    if live.records:
        _print_records(live, prepared)
    elif not outcome.drained and not prepared.n_missing():
        live.say(
            f"Nothing was missing: all {prepared.n_done} executions are in {prepared.paths.root}."
        )
    if failed := prepared.n_failed():
        live.say(f"Failed in earlier runs: {by_kind(failed)}; --rerun failed tries them again.")
    if outcome.drained:
        took = (
            f" in {time.monotonic() - outcome.draining_since:.1f} s"
            if outcome.draining_since is not None
            else ""
        )
        live.say(
            f"Drained{took} ({outcome.drained}): {outcome.left} executions are left; the same command again goes on."
        )


def _print_records(live: Live, prepared: Prepared) -> None:
    paths, totals = prepared.paths, live.totals
    rows = [
        prepared.trials.summary_row(key)
        for key in dict.fromkeys(map(prepared.trials.key, live.records))
    ]
    rows.sort(
        key=lambda row: (
            row["model"],
            row["use_case"],
            row["strategy"],
            row["index"],
            row["repeat"],
        )
    )
    live.console.print(_table(rows[:ROWS]))
    if len(rows) > ROWS:
        live.say(f"... and {len(rows) - ROWS} more trials in {paths.summary}")
    failed = f", {totals.failed} FAILED" if totals.failed else ""
    unknown = f", {totals.energy_unknown} without a figure" if totals.energy_unknown else ""
    joules = None if totals.energy_unknown == totals.executions else totals.energy_j
    spent = f"{energy(joules)} of CPU, GPU and RAM by CodeCarbon{unknown}"
    done = f"{totals.executions} executions of {totals.trials} trials{failed}"
    live.say(f"{done}: {totals.tokens} tokens, {spent}, {duration(totals.wall_s())}")
    if flags := sorted({flag for row in rows for flag in row["flags"]}):
        live.say(f"Flags: {', '.join(flags)} (see docs/method.md)")
    live.say(
        f"Trials: {paths.root}/{rows[0]['machine']}/<model>/{prepared.plan.strategy}/<use case>/"
    )
    live.say(f"Tables: {paths.executions}, {paths.summary}")


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("model", "use case", "trial"):
        table.add_column(name, no_wrap=True)
    for name in (
        "max_length",
        "top_p",
        "top_k",
        "temp.",
        "tokens",
        "tokens/s",
        "energy",
        "J/token",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        label = f"{ANCHOR} " if row["strategy"] == ANCHOR else f"{row['index']:04d}-"
        table.add_row(
            row["model"],
            row["use_case"],
            f"{label}r{row['repeat']}",
            str(row["max_length"]),
            f"{row['top_p']:.2f}",
            str(row["top_k"]),
            f"{row['temperature']:.2f}",
            str(row["n_new_tokens"]),
            number(row["tokens_per_s"]),
            energy(row["energy_j"]),
            number(row["energy_per_token_j"]),
        )
    return table
