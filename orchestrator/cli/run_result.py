"""The result of a run: a row a trial, totals, where everything lies; or the same for a machine."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import compress
from typing import Any

from rich.cells import cell_len
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.live import Live
from orchestrator.cli.widest import Widest
from orchestrator.dataset.gross_energy import per_token
from orchestrator.dataset.remaining import by_kind
from orchestrator.dataset.tables import Key
from orchestrator.evaluate.verdict import learned_figures
from orchestrator.nouns import ANCHOR, Variant
from orchestrator.sweep.prepare import Prepared
from orchestrator.sweep.run import RunOutcome
from orchestrator.sweep.totals import Totals
from orchestrator.units import duration, energy, number, plural

Cell = Callable[[dict[str, Any]], str]

ROWS = 20
"""Trials shown; the rest is in summary.parquet."""


def as_json(prepared: Prepared, outcome: RunOutcome) -> dict[str, Any]:
    """The result for a machine.

    `energy_j` is CodeCarbon's total, null where one execution has none.

    Counts and sums are those of this run, but for `executions_done_before`, `executions_left` and
    `failed_before`. Energies are in joules, times in seconds.
    """
    totals = outcome.totals
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
        "gross_energy": dataclasses.asdict(totals.energies.now()),
        "energy_j": totals.energy_j,
        "window_s": totals.window_s,
        "wall_s": totals.wall_s() if totals.executions else 0.0,
        "out": str(prepared.paths.root),
        "executions": str(prepared.paths.executions),
        "summary": str(prepared.paths.summary),
    }


def print_result(live: Live, prepared: Prepared, outcome: RunOutcome) -> None:
    """Print the result for a person.

    Prints the trials of this run, or why there are none, then what failed earlier and what is left.
    """
    if outcome.totals.records:
        _print_records(live, prepared, outcome.totals)
    elif not outcome.drained and not prepared.n_missing():
        n, where = prepared.n_done, prepared.paths.root
        live.say(f"Nothing is left to do: all {n} executions are in {where}.")
    if failed := prepared.n_failed():
        live.say(f"Failed in earlier runs: {by_kind(failed)}; --rerun failed tries them again.")
    if outcome.drained:
        took = ""
        if outcome.draining_since is not None:
            took = f" in {time.monotonic() - outcome.draining_since:.1f} s"
        left = f"{plural(outcome.left, 'execution')} left"
        live.say(f"Drained{took} ({outcome.drained}): {left}; the same command resumes it.")


def _print_records(live: Live, prepared: Prepared, totals: Totals) -> None:
    """A row a trial, the totals, flags and where everything lies."""
    paths, trials = prepared.paths, prepared.trials
    keys = dict.fromkeys(trials.key(record) for record in totals.records)
    rows = [trials.summary_row(key) for key in keys]
    order = ("model", "use_case", "strategy", "config_index", "repetition", "setup")
    variants = [trials.attempts(key)[0].spec.setup.variant() for key in keys]
    for row, name in zip(rows, _short_names(variants), strict=True):
        row["setup"] = name
    rows.sort(key=lambda row: tuple(row[name] for name in order))
    shown = rows[:ROWS]
    whole = {**TRIAL, **HYPERPARAMETERS, **FIGURES}
    # the hyperparameters are in summary.parquet, too, so the narrowest one is without them
    forms = (_flat(shown, whole), _grouped(shown, whole), _grouped(shown, {**TRIAL, **FIGURES}))
    live.console.print(Widest(forms))
    if len(rows) > ROWS:
        live.say(f"... and {plural(len(rows) - ROWS, 'more trial')} in {paths.summary}")
    live.say(_totals_line(totals))
    live.say(totals.energies.now().explained())
    if flags := sorted({flag for row in rows for flag in row["warning_flags"]}):
        live.say(f"Flags: {', '.join(flags)} (see docs/measurement.md)")
    if start := _start_line(totals):
        live.say(start)
    if learned := _learned(prepared, keys):
        live.say(learned)
    below = f"<model>/{prepared.plan.strategy}/<use case>/"
    live.say(f"Trials: {paths.root}/{rows[0]['machine']}/{below}")
    live.say(f"Tables: {paths.executions}, {paths.summary}")


def _learned(prepared: Prepared, keys: Iterable[Key]) -> str | None:
    """From how many trials a sampler that learns could not learn, and why; None where from all."""
    resolved = prepared.resolved
    objectives = resolved.sampler.objectives(resolved.sampler_options)
    told, unknown = 0, Counter[str]()
    for key in keys if objectives else ():
        spec = prepared.trials.attempts(key)[0].spec
        # neither is told to the study
        if spec.strategy == ANCHOR or spec.repeat > 1:
            continue
        told += 1
        figures = learned_figures(prepared.trials, key, objectives)
        unknown.update(name for name in objectives if figures.get(name) is None)
    if not unknown:
        return None
    name, n_unknown = unknown.most_common(1)[0]
    sampler = resolved.space.sampler
    if n_unknown == told:
        return (
            f"The sampler {sampler} learned nothing: {name} is unknown for each of "
            f"{plural(told, 'trial')}, so their configurations are no better than random ones; "
            "`orchestrator doctor` tells what this machine can measure"
        )
    return (
        f"The sampler {sampler} learned from {told - n_unknown} of {plural(told, 'trial')}: "
        f"{name} is unknown for the others"
    )


def _totals_line(totals: Totals) -> str:
    """What one run did in all: executions, tokens and time."""
    failed = f", {totals.failed} FAILED" if totals.failed else ""
    done = f"{plural(totals.executions, 'execution')} of {plural(totals.trials, 'trial')}{failed}"
    return f"{done}: {plural(totals.tokens, 'token')}, {duration(totals.wall_s())}"


def _start_line(totals: Totals) -> str | None:
    """What the time before the run's first window went to; None where that isn't known."""
    first = min(totals.records, key=lambda record: record.executions[0].started_at)
    environment = first.environment
    if not environment.loaded_here or environment.protocol_s is None:
        return None
    load_s, protocol_s = environment.load_s or 0.0, environment.protocol_s
    start_s = (first.executions[0].started_at - totals.began_at).total_seconds()
    others_s = max(0.0, start_s - load_s - protocol_s)
    return (
        f"Before the first window {duration(start_s)}: Ray and libraries {duration(others_s)}, "
        f"loading {duration(load_s)}, protocol {duration(protocol_s)} (idle power, warm-up)"
    )


def _short_names(variants: list[Variant]) -> list[str]:
    """What tells variants apart, for a column: 'nf4' where quantizations alone differ."""
    parts = [
        (one.quantization.name, one.engine, one.compute_dtype, f"batch {one.batch_size}")
        for one in variants
    ]
    differs = [len(set(of_axis)) > 1 for of_axis in zip(*parts, strict=True)]
    return [", ".join(compress(of_one, differs)) for of_one in parts]


def _flat(rows: list[dict[str, Any]], columns: Mapping[str, Cell]) -> RenderableType:
    """A flat table: a row a trial, with model, setup where they differ, and use case in front."""
    names = _group_names(rows)
    cells = [[*_group(row, names), *(cell(row) for cell in columns.values())] for row in rows]
    return _table([*names, *columns], cells, n_left=len(names) + 1)


def _grouped(rows: list[dict[str, Any]], columns: Mapping[str, Cell]) -> RenderableType:
    """The same for a narrow terminal: model, setup and use case stand above their trials."""
    names = _group_names(rows)
    cells = [[cell(row) for cell in columns.values()] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    groups: dict[str, list[list[str]]] = defaultdict(list)
    for row, of_row in zip(rows, cells, strict=True):
        groups[", ".join(_group(row, names))].append(of_row)
    parts: list[RenderableType] = []
    for name, of_group in groups.items():
        parts += [Text(name), _table(list(columns), of_group, n_left=1, widths=widths)]
    return Group(*parts)


def _group_names(rows: list[dict[str, Any]]) -> list[str]:
    """What a trial is told by beside its number; setups only where they differ."""
    of_setup = ["setup"] if len({row["setup"] for row in rows}) > 1 else []
    return ["model", *of_setup, "use case"]


def _group(row: dict[str, Any], names: list[str]) -> list[str]:
    """Model, setup and use case of a trial."""
    return [row[name.replace(" ", "_")] for name in names]


def _table(
    head: list[str], cells: list[list[str]], n_left: int, widths: list[int] | None = None
) -> Table:
    """Cells under a head; the first `n_left` columns are aligned left. `widths`: the least ones."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for at, name in enumerate(head):
        least = widths[at] if widths else None
        justify: JustifyMethod = "left" if at < n_left else "right"
        table.add_column(name, justify=justify, no_wrap=True, min_width=least)
    for of_row in cells:
        table.add_row(*of_row)
    return table


def _trial(row: dict[str, Any]) -> str:
    """'0003-r1', or 'anchor r1'."""
    label = f"{ANCHOR} " if row["strategy"] == ANCHOR else f"{row['config_index']:04d}-"
    return f"{label}r{row['repetition']}"


TRIAL: Mapping[str, Cell] = {"trial": _trial}
HYPERPARAMETERS: Mapping[str, Cell] = {
    "max_length": lambda row: str(row["max_length"]),
    "top_p": lambda row: f"{row['top_p']:.2f}",
    "top_k": lambda row: str(row["top_k"]),
    "temp.": lambda row: f"{row['temperature']:.2f}",
}
FIGURES: Mapping[str, Cell] = {
    "tokens": lambda row: str(row["n_new_tokens"]),
    "tokens/s": lambda row: number(row["tokens_per_s"]),
    "energy": lambda row: energy(row["counted_energy_j"]),
    "J/token": lambda row: per_token(row["energy_per_token_j"], row["energy_rel_uncertainty"]),
}
"""Head of a column -> its cell in a row of summary.parquet."""
