"""The plan as a person sees it before anything runs."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.meters.nvml import Gpu
from orchestrator.nouns import ANCHOR, PARAMETERS, Space
from orchestrator.sweep.estimate import Figures, memory_fit, stored_figures
from orchestrator.sweep.prepare import Prepared
from orchestrator.units import duration, energy


def takes(tokens: int, figures: Figures, at_once: int = 1) -> str:
    """Time and energy of so many tokens."""
    seconds = tokens / figures.tokens_per_s / at_once if figures.tokens_per_s else math.inf
    if figures.energy_j_per_token is None:
        joules, per_token = "energy unknown", ""
    else:
        joules = energy(tokens * figures.energy_j_per_token)
        per_token = f", {figures.energy_j_per_token:.3g} J/token"
    source = f"{figures.tokens_per_s:.3g} tokens/s{per_token} from {figures.source}"
    return f"at most about {duration(seconds)} and {joules} ({source})"


def print_plan(console: Console, prepared: Prepared, gpus: list[Gpu]) -> None:
    """Print the plan and every note; wrapped under its column on a terminal, a line each in a log."""
    rows = _rows(prepared, gpus)
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        for key, value in rows:
            table.add_row(Text(key, style="bold"), Text(value))
        console.print(table)
    else:
        for key, value in rows:
            console.print(Text(f"{key:<10} {value}"), soft_wrap=True)
    for note in (*prepared.resolved.notes, *prepared.notes):
        console.print(Text(f"Note: {note}", style="yellow"), soft_wrap=True)


def _rows(prepared: Prepared, gpus: list[Gpu]) -> list[tuple[str, str]]:
    plan, resolved, request = prepared.plan, prepared.resolved, prepared.resolved.request
    models = ", ".join(
        f"{m.label} ({resolved.quantization.name}, {request.engine})" for m in resolved.models
    )
    use_cases = ", ".join(
        f"{u.name} ({len(plan.prompts(u.name))} of {len(u.prompts)} prompts)"
        for u in plan.use_cases
    )
    folders = dict.fromkeys(str(path.parent) for path in resolved.use_case_files)
    prompt_files = (
        [str(path) for path in resolved.use_case_files] if len(folders) > 1 else list(folders)
    )
    rows = [
        (
            "Sweep",
            f"{plan.id}, seed {plan.seed}"
            + (", begun before: going on" if prepared.before else ""),
        ),
        ("Space", f"{resolved.space_file}: {_axes(plan.space)}"),
        ("Models", models),
        ("Use cases", f"{use_cases} from {', '.join(prompt_files)}"),
        ("Machine", _machine(prepared) + _devices(gpus)),
    ]
    if request.engine == "simulated" or any(m.kind == "synthetic" for m in resolved.models):
        rows.append(("SYNTHETIC", "random weights or no model at all: the text means nothing"))
    if plan.quality:
        rows.append(("Design", plan.quality.line()))
        if plan.samples < resolved.samples:
            unfilled = f"{plan.samples} points: the largest grid of at most {resolved.samples}; the rest is not filled"
            rows.append(("Grid", unfilled))
    rows.append(("Trials", _trials(prepared)))
    if resolved.shard:
        n = prepared.n_done + prepared.n_missing()
        rows.append(
            (
                "Shard",
                f"{resolved.shard}: {n} of the {plan.n_executions()} executions are for this machine",
            )
        )
    if prepared.n_done:
        rows.append(("Done", f"{prepared.n_done} executions; {prepared.n_missing()} left to run"))
    bound = prepared.token_bound()
    rows.append(("Tokens", f"at most about {bound:,} new ones"))
    figures = stored_figures(prepared.records, plan)
    rows.append(
        (
            "Takes",
            takes(bound, figures)
            if figures
            else "known after a pilot: the data set has no figures of this model yet",
        )
    )
    if request.engine != "simulated":
        fits = memory_fit(
            plan, list(resolved.models), resolved.quantization, gpus, local=request.address is None
        )
        rows += [("Memory", fit.line()) for fit in fits]
    if not resolved.sampler.extensible:
        rows.append(
            (
                "Extend",
                f"{plan.space.sampler} can't grow: another --samples starts a new design beside this one",
            )
        )
    return rows


def _axes(space: Space) -> str:
    """Ranges on one line."""
    parts = []
    for name in PARAMETERS:
        axis = space.parameters[name]
        parts.append(
            f"{name} {axis.low:g}..{axis.high:g}"
            if axis.high > axis.low
            else f"{name} {axis.low:g}"
        )
    return ", ".join(parts)


def _machine(prepared: Prepared) -> str:
    if prepared.plan.each:
        return f"each of {', '.join(prepared.plan.each)}"
    if prepared.plan.machine is None:
        return "as each node is labelled"
    return f"{prepared.plan.machine} by {prepared.resolved.machine_file}"


def _devices(gpus: list[Gpu]) -> str:
    names = [gpu.name for gpu in gpus]
    return (
        f" ({', '.join(f'{names.count(n)} x {n}' for n in dict.fromkeys(names))})"
        if names
        else " (no GPU)"
    )


def _trials(prepared: Prepared) -> str:
    plan = prepared.plan
    factors = (
        f"{plan.samples} configurations x {len(plan.models)} models x {len(plan.use_cases)} use cases x {plan.repeats} repeats"
        + (f" x {len(plan.each)} machines" if plan.each else "")
    )
    anchors = sum(trial.strategy == ANCHOR for trial in plan.trials) * len(plan.kinds())
    return (
        f"{plan.n_trials()} = {factors}"
        + (f" + {anchors} anchors" if anchors else "")
        + f"; {plan.n_executions()} executions"
    )
