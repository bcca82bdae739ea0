"""One view of `watch --address`: what a sweep's metrics tell. Text from the network is printed as text, without markup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cli.terminal import literal
from orchestrator.dataset.remaining import by_kind
from orchestrator.tune.metrics_page import RunningSweep, places_of
from orchestrator.units import energy, number

STATES = ("finished", "failed", "given_up", "running", "waiting")


def metrics_view(sweeps: Sequence[RunningSweep]) -> RenderableType:
    """Each sweep that runs there."""
    if not sweeps:
        return Text(
            "Metrics answer there, but no sweep has told any yet: they come some ten seconds after its first prompt."
        )
    parts: list[RenderableType] = []
    for sweep in sweeps:
        parts += [literal(sweep.id, "bold"), _facts(sweep), _places(sweep)]
    return Group(*parts)


def _facts(sweep: RunningSweep) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value, style in _rows(sweep):
        table.add_row(literal(name), literal(value, style))
    return table


def _rows(sweep: RunningSweep) -> Iterator[tuple[str, str, str]]:
    states = [
        f"{sweep.trials[state]} {state.replace('_', ' ')}"
        for state in STATES
        if sweep.trials.get(state)
    ]
    yield "trials", ", ".join(states) or "none told yet", ""
    failed = {kind: n for kind, n in sweep.executions.items() if kind != "none"}
    yield "executions", f"{sweep.executions.get('none', 0)} ok in this run", ""
    if failed:
        yield "failed", by_kind(failed), "red"
    if sweep.lost:
        yield "lost", f"{sweep.lost} workers", "red"
    bound = f" (a lower bound, unknown of {sweep.energy_unknown})" if sweep.energy_unknown else ""
    of_gpu = (
        f", of which {energy(sweep.gpu_energy_j)} by the GPUs' counters"
        if sweep.gpu_energy_j
        else ""
    )
    yield "energy", f"{energy(sweep.energy_j)} so far{bound}{of_gpu}", ""
    speed = sweep.tokens / sweep.window_s if sweep.window_s else None
    yield "tokens", f"{sweep.tokens}, {number(speed)} tokens/s within the windows", ""
    yield "J/token", f"median at most {number(sweep.median_j_per_token())}", ""


def _places(sweep: RunningSweep) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("last window", "host", "GPU"):
        table.add_column(name)
    for name in ("tokens/s", "W in all", "W of the GPU"):
        table.add_column(name, justify="right")
    for place in places_of(sweep):
        figures = (sweep.tokens_per_s, sweep.power_w, sweep.gpu_power_w)
        table.add_row(
            *(literal(part[:12]) for part in place),
            *(literal(number(of.get(place))) for of in figures),
        )
    return table
