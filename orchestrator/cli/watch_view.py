"""One view of `watch`: the sweeps of a data set as its folders describe them.

Text of a data set is untrusted: it is printed without markup, control characters spelled out.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.status_command import NO_SWEEP, who_runs
from orchestrator.cli.terminal import literal
from orchestrator.dataset.gross_energy import per_token
from orchestrator.dataset.remaining import by_kind
from orchestrator.status import LastTrial, Status, SweepStatus
from orchestrator.units import duration, energy, number

BAR_WIDTH = 32
N_FOLDERS = 12
"""Most folders that are shown, unfinished ones first, so that a view fits on a screen."""
N_FAULTS = 3
"""Most unreadable folders or plans that are shown."""


def view(current: Status) -> RenderableType:
    """Who runs a sweep there, then each sweep, then what can't be read."""
    return Group(*_parts(current))


def _parts(current: Status) -> Iterator[RenderableType]:
    """The screen from top to bottom: who runs, each sweep, then files that can't be read."""
    style = ""
    if current.alive:
        style = "green"
    yield literal(who_runs(current), style=style)
    if not current.sweeps:
        yield literal(NO_SWEEP)
    for sweep in current.sweeps:
        yield Text()
        yield from _sweep(sweep)
    for line in current.unreadable[:N_FAULTS]:
        yield literal(f"left out: {line}", style="red")
    if len(current.unreadable) > N_FAULTS:
        yield literal(
            f"and {len(current.unreadable) - N_FAULTS} more; `orchestrator validate` names them",
            style="red",
        )


def _sweep(sweep: SweepStatus) -> Iterator[RenderableType]:
    """Progress of one sweep, its facts, its folders and its last trials."""
    finished = sweep.planned - sweep.missing
    head = Table.grid(padding=(0, 2))
    count = f"{finished} of {sweep.planned} executions"
    if sweep.planned:
        count += f"  {finished / sweep.planned:.0%}"
    head.add_row(literal(sweep.id, style="bold"), _bar(finished, sweep.planned), literal(count))
    yield head
    facts = Table.grid(padding=(0, 2))
    for name, value, style in _facts(sweep):
        facts.add_row(literal(name), literal(value, style=style))
    yield facts
    yield _folders(sweep)
    if sweep.last:
        yield _last(sweep.last)


def _facts(sweep: SweepStatus) -> Iterator[tuple[str, str, str]]:
    """(name, value, style) of each line."""
    states = ("finished", "under_way", "waiting")
    trials = (f"{sweep.trials[state]} {state.replace('_', ' ')}" for state in states)
    yield "trials", ", ".join(trials), ""
    if sweep.failed:
        yield "failed", by_kind(sweep.failed), "red"
    if sweep.machines:
        machines = (f"{name}: {n}" for name, n in sorted(sweep.machines.items()))
        yield "machines", ", ".join(machines), ""
    yield "energy", _energy(sweep), ""
    if sweep.missing and sweep.per_hour and sweep.left_s is not None:
        left = duration(sweep.left_s)
        yield "rate", f"{sweep.per_hour:,.1f} executions an hour lately, about {left} left", ""


def _energy(sweep: SweepStatus) -> str:
    """The energy that a sweep took so far, how certain that is, and what is left to take."""
    if not sweep.gross_energy.of_basis:
        return "not measured so far"
    left = ""
    if sweep.missing and sweep.left_j is not None:
        left = f", about {energy(sweep.left_j)} left"
    return f"{sweep.gross_energy.text()}, gross{left}"


def _folders(sweep: SweepStatus) -> RenderableType:
    """Progress of each model, strategy and use case, unfinished ones first."""
    table = Table.grid(padding=(0, 2))
    ordered = sorted(sweep.folders.items(), key=lambda item: (item[1][0] >= item[1][1], item[0]))
    for name, (done, planned) in ordered[:N_FOLDERS]:
        table.add_row(
            literal(f"  {name}"),
            _bar(done, planned, BAR_WIDTH // 2),
            literal(f"{done} of {planned}"),
        )
    if len(ordered) > N_FOLDERS:
        table.add_row(
            literal(f"  and {len(ordered) - N_FOLDERS} more; `orchestrator status` names them")
        )
    return table


def _last(trials: tuple[LastTrial, ...]) -> RenderableType:
    """The trials that finished last."""
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
            energy(trial.counted_energy_j),
            per_token(trial.energy_per_token_j, trial.energy_rel_uncertainty),
        )
        failed = ""
        if trial.n_failed:
            failed = f"{trial.n_failed} of {trial.n_executions}"
        names = (f"  {trial.machine}", trial.model, trial.use_case, trial.trial)
        table.add_row(*map(literal, names), *map(literal, figures), literal(failed, style="red"))
    return table


def _bar(done: int, planned: int, width: int = BAR_WIDTH) -> ProgressBar:
    """A bar of what is done; an empty plan gets an empty bar."""
    return ProgressBar(total=max(1, planned), completed=done, width=width)
