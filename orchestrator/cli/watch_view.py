"""One view of `watch`. All text of a data set is data: it is printed as text without markup, control characters spelled out."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.status_command import who_runs
from orchestrator.cli.terminal import literal
from orchestrator.dataset.remaining import by_kind
from orchestrator.status import LastTrial, Status, SweepStatus
from orchestrator.units import J_PER_KWH, duration, energy, number

BAR_WIDTH = 32
N_LEAVES = 12
"""So many leaves are shown, unfinished ones first: a view has to fit on a screen."""
N_FAULTS = 3


def view(found: Status) -> RenderableType:
    """Who runs, then each sweep, then what can't be read."""
    return Group(*_parts(found))


def _parts(found: Status) -> Iterator[RenderableType]:
    yield literal(who_runs(found), style="green" if found.alive else "")
    if not found.sweeps:
        yield literal("No sweep was begun here.")
    for sweep in found.sweeps:
        yield Text()
        yield from _sweep(sweep)
    for line in found.unreadable[:N_FAULTS]:
        yield literal(f"left out: {line}", style="red")
    if len(found.unreadable) > N_FAULTS:
        yield literal(
            f"and {len(found.unreadable) - N_FAULTS} more; `orchestrator validate` names them",
            style="red",
        )


def _sweep(sweep: SweepStatus) -> Iterator[RenderableType]:
    finished = sweep.planned - sweep.missing
    head = Table.grid(padding=(0, 2))
    share = f"{finished / sweep.planned:.0%}" if sweep.planned else ""
    count = f"{finished} of {sweep.planned} executions  {share}"
    head.add_row(literal(sweep.id, style="bold"), _bar(finished, sweep.planned), literal(count))
    yield head
    facts = Table.grid(padding=(0, 2))
    for name, value, style in _facts(sweep):
        facts.add_row(literal(name), literal(value, style=style))
    yield facts
    yield _leaves(sweep)
    if sweep.last:
        yield _last(sweep.last)


def _facts(sweep: SweepStatus) -> Iterator[tuple[str, str, str]]:
    states = ("finished", "under_way", "waiting")
    yield (
        "trials",
        ", ".join(f"{sweep.trials[state]} {state.replace('_', ' ')}" for state in states),
        "",
    )
    if sweep.failed:
        yield "failed", by_kind(sweep.failed), "red"
    if sweep.machines:
        yield (
            "machines",
            ", ".join(f"{name}: {n}" for name, n in sorted(sweep.machines.items())),
            "",
        )
    known = "unknown" if sweep.energy_kwh is None else energy(sweep.energy_kwh * J_PER_KWH)
    bound = f" (a lower bound, unknown of {sweep.energy_unknown})" if sweep.energy_unknown else ""
    left = (
        ""
        if not sweep.missing or sweep.left_kwh is None
        else f", about {energy(sweep.left_kwh * J_PER_KWH)} left"
    )
    yield "energy", f"{known} so far{bound}{left}", ""
    if sweep.missing and sweep.per_hour and sweep.left_s is not None:
        yield (
            "rate",
            f"{sweep.per_hour:,.1f} executions an hour lately, about {duration(sweep.left_s)} left",
            "",
        )


def _leaves(sweep: SweepStatus) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    ordered = sorted(sweep.leaves.items(), key=lambda item: (item[1][0] >= item[1][1], item[0]))
    for name, (done, planned) in ordered[:N_LEAVES]:
        table.add_row(
            literal(f"  {name}"),
            _bar(done, planned, BAR_WIDTH // 2),
            literal(f"{done} of {planned}"),
        )
    if len(ordered) > N_LEAVES:
        table.add_row(
            literal(f"  and {len(ordered) - N_LEAVES} more; `orchestrator status` names them")
        )
    return table


def _last(trials: tuple[LastTrial, ...]) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("finished last")
    for name in ("model", "use case", "trial"):
        table.add_column(name)
    for name in ("tokens", "tokens/s", "energy", "J/token", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in trials:
        figures = (
            str(trial.n_new_tokens),
            number(trial.tokens_per_s),
            energy(trial.energy_j),
            number(trial.energy_per_token_j),
        )
        failed = f"{trial.n_failed} of {trial.n_executions}" if trial.n_failed else ""
        names = (f"  {trial.machine}", trial.model, trial.use_case, trial.trial)
        table.add_row(*map(literal, names), *map(literal, figures), literal(failed, style="red"))
    return table


def _bar(done: int, planned: int, width: int = BAR_WIDTH) -> ProgressBar:
    return ProgressBar(total=max(1, planned), completed=done, width=width)
