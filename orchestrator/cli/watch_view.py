"""One view of `watch`: the sweeps of a data set as its folders describe them.

Text of a data set is untrusted: it is printed without markup, control characters spelled out.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.cli.status_command import NO_SWEEP, who_runs
from orchestrator.cli.terminal import literal
from orchestrator.cli.widest import Widest
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
    count = f"{finished} of {sweep.planned} executions"
    if sweep.planned:
        count += f"  {finished / sweep.planned:.0%}"
    yield Widest(tuple(_head(sweep, count, width) for width in (BAR_WIDTH, BAR_WIDTH // 4)))
    facts = Table.grid(padding=(0, 2))
    for name, value, style in _facts(sweep):
        facts.add_row(literal(name), literal(value, style=style))
    yield facts
    yield Widest((_folders(sweep), _folders(sweep, bars=False)))
    if sweep.last:
        yield Text("finished last:")
        yield Widest(tuple(_last(sweep.last, without) for without in LEFT_OUT))


def _head(sweep: SweepStatus, count: str, width: int) -> RenderableType:
    """A sweep's name, its bar, and how many executions are done."""
    head = Table.grid(padding=(0, 2))
    finished = sweep.planned - sweep.missing
    bar = _bar(finished, sweep.planned, width)
    head.add_row(literal(sweep.id, style="bold"), bar, literal(count))
    return head


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


def _folders(sweep: SweepStatus, *, bars: bool = True) -> RenderableType:
    """Progress of each model, strategy and use case, unfinished ones first."""
    table = Table.grid(padding=(0, 2))
    ordered = sorted(sweep.folders.items(), key=lambda item: (item[1][0] >= item[1][1], item[0]))
    for name, (done, planned) in ordered[:N_FOLDERS]:
        bar = [_bar(done, planned, BAR_WIDTH // 2)] if bars else []
        table.add_row(literal(f"  {name}"), *bar, literal(f"{done} of {planned}"))
    if len(ordered) > N_FOLDERS:
        table.add_row(
            literal(f"  and {len(ordered) - N_FOLDERS} more; `orchestrator status` names them")
        )
    return table


def _last(trials: tuple[LastTrial, ...], without: frozenset[str]) -> RenderableType:
    """The trials that finished last, without some columns."""
    table = Table(box=None, pad_edge=False, header_style="")
    rows = [_cells(trial) for trial in trials]
    shown = [name for name in rows[0] if name not in without]
    for name in shown:
        justify: JustifyMethod = "left" if name in NAMES else "right"
        table.add_column(f"  {name}" if name == shown[0] else name, justify=justify, no_wrap=True)
    for row in rows:
        first, *others = (row[name] for name in shown)
        table.add_row(Text("  ") + first, *others)
    return table


NAMES = ("machine", "model", "use case", "trial")
LEFT_OUT = (
    frozenset[str](),
    frozenset({"machine"}),
    frozenset({"machine", "tokens", "tokens/s"}),
    frozenset({"machine", "tokens", "tokens/s", "model"}),
)
"""Columns that a terminal has no room for, by its width: the models stand above already."""


def _cells(trial: LastTrial) -> dict[str, Text]:
    """Head of a column -> what stands there for a trial."""
    failed = ""
    if trial.n_failed:
        failed = f"{trial.n_failed} of {trial.n_executions}"
    return {
        "machine": literal(trial.machine),
        "model": literal(trial.model),
        "use case": literal(trial.use_case),
        "trial": literal(trial.trial),
        "tokens": literal(str(trial.n_new_tokens)),
        "tokens/s": literal(number(trial.tokens_per_s)),
        "energy": literal(energy(trial.counted_energy_j)),
        "J/token": literal(per_token(trial.energy_per_token_j, trial.energy_rel_uncertainty)),
        "failed": literal(failed, style="red"),
    }


def _bar(done: int, planned: int, width: int = BAR_WIDTH) -> ProgressBar:
    """A bar of what is done; an empty plan gets an empty bar."""
    return ProgressBar(total=max(1, planned), completed=done, width=width)
