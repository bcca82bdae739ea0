"""One view of `watch --address`: a running sweep as its metrics describe it.

Text from the network is untrusted: it is printed without markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.terminal import literal
from orchestrator.dataset.energy import energy_name
from orchestrator.dataset.remaining import by_kind
from orchestrator.ray_tune.metrics_page import RunningSweep, places_of
from orchestrator.units import energy, number, plural
from orchestrator.unknowns import quotient

STATES = ("finished", "failed", "given_up", "running", "waiting")


def metrics_view(sweeps: Sequence[RunningSweep]) -> RenderableType:
    """A block for each sweep that runs at the address."""
    if not sweeps:
        return Text(
            "This address answers, but has no metrics of a sweep yet: "
            "they appear about ten seconds after its first prompt."
        )
    parts: list[RenderableType] = []
    for sweep in sweeps:
        parts += [literal(sweep.id, "bold"), _facts(sweep), _places(sweep)]
    return Group(*parts)


def _facts(sweep: RunningSweep) -> RenderableType:
    """The rows of one sweep as a grid without lines."""
    table = Table.grid(padding=(0, 2))
    for name, value, style in _rows(sweep):
        table.add_row(literal(name), literal(value, style))
    return table


def _rows(sweep: RunningSweep) -> Iterator[tuple[str, str, str]]:
    """(name, value, style) of each line."""
    states = [
        f"{sweep.trials[state]} {state.replace('_', ' ')}"
        for state in STATES
        if sweep.trials.get(state)
    ]
    yield "trials", ", ".join(states) or "not known yet", ""
    failed = {kind: n for kind, n in sweep.executions.items() if kind != "none"}
    yield "executions", f"{sweep.executions.get('none', 0)} ok in this run", ""
    if failed:
        yield "failed", by_kind(failed), "red"
    if sweep.lost:
        yield "lost", plural(sweep.lost, "worker"), "red"
    yield "energy", _energy(sweep), ""
    speed = number(quotient(sweep.tokens, sweep.window_s))
    yield "tokens", f"{sweep.tokens}, {speed} tokens/s while measuring", ""
    yield "J/token", f"median at most {number(sweep.median_j_per_token())}", ""


def _energy(sweep: RunningSweep) -> str:
    """The gross energy that a sweep took so far, by what was measured, and what is missing."""
    sums = sorted((energy_name(basis), joules) for basis, joules in sweep.energies_j.items())
    text = " and ".join(f"{name} {energy(joules)}" for name, joules in sums)
    if not text:
        return "not measured so far"
    if sweep.energy_unknown:
        text += f" ({plural(sweep.energy_unknown, 'execution')} not measured)"
    return f"{text}, gross"


def _places(sweep: RunningSweep) -> RenderableType:
    """Speed and power in the last measurement window of each place where a trial runs."""
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("last window", "host", "GPU"):
        table.add_column(name)
    for name in ("tokens/s", "W overall", "W of the GPU"):
        table.add_column(name, justify="right")
    for place in places_of(sweep):
        figures = (sweep.tokens_per_s, sweep.power_w, sweep.gpu_power_w)
        table.add_row(
            *(literal(part[:12]) for part in place),
            *(literal(number(of.get(place))) for of in figures),
        )
    return table
