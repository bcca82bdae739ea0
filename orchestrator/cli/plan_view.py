"""The plan as a person sees it before anything runs."""

from __future__ import annotations

import math
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.engine import ENGINES
from orchestrator.gpu.devices import Gpu
from orchestrator.nouns import ANCHOR, PARAMETERS, Space
from orchestrator.sweep.estimate import Figures, memory_fit, stored_figures
from orchestrator.sweep.prepare import Prepared
from orchestrator.units import duration, energy


def takes(tokens: int, figures: Figures, at_once: int = 1) -> str:
    """Time and energy of so many tokens.

    `at_once`: trials that share the time but not the energy. An unknown energy is said to be so.
    """
    seconds = tokens / figures.tokens_per_s / at_once if figures.tokens_per_s else math.inf
    if figures.energy_per_token_j is None:
        joules, per_token = "energy unknown", ""
    else:
        joules = energy(tokens * figures.energy_per_token_j)
        per_token = f", {figures.energy_per_token_j:.3g} J/token"
    source = f"{figures.tokens_per_s:.3g} tokens/s{per_token} from {figures.source}"
    return f"at most about {duration(seconds)} and {joules} ({source})"


def print_plan(console: Console, prepared: Prepared, gpus: list[Gpu]) -> None:
    """Print the plan and every note: wrapped in a column on a terminal, a line each in a log.

    `gpus`: those of this machine, for what fits in their memory.
    """
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
    """(label, text) of each line of a plan."""
    plan, resolved, request = prepared.plan, prepared.resolved, prepared.resolved.request
    engine = ENGINES[request.engine]
    resumed = ", started before: resumed" if prepared.before else ""
    rows = [
        ("Sweep", f"{plan.id}, seed {plan.seed}{resumed}"),
        ("Space", f"{resolved.space_file}: {_axes(plan.space)}"),
        ("Models", _models(prepared)),
        ("Use cases", _use_cases(prepared)),
        ("Machine", _machine(prepared) + _devices(gpus)),
    ]
    if not engine.needs_weights or any(m.kind == "synthetic" for m in resolved.models):
        rows.append(("SYNTHETIC", "random weights or no model at all: the text means nothing"))
    if plan.quality:
        rows.append(("Design", plan.quality.line()))
        if plan.samples < resolved.samples:
            largest = f"the largest grid of at most {resolved.samples}"
            rows.append(("Grid", f"{plan.samples} points: {largest}; the rest is not filled"))
    rows.append(("Trials", _trials(prepared)))
    if resolved.shard:
        n = prepared.n_done + prepared.n_missing()
        share = f"{n} of the {plan.n_executions()} executions are for this machine"
        rows.append(("Shard", f"{resolved.shard}: {share}"))
    if prepared.n_done:
        rows.append(("Done", f"{prepared.n_done} executions; {prepared.n_missing()} left to run"))
    bound = prepared.token_bound()
    rows.append(("Tokens", f"at most about {bound:,} new ones"))
    rows.append(("Takes", _takes(prepared, bound)))
    if engine.needs_weights:
        models, local = list(resolved.models), request.address is None
        fits = memory_fit(plan, models, resolved.quantization, gpus, local=local)
        rows += [("Memory", fit.line()) for fit in fits]
    if not resolved.sampler.extensible:
        beside = "another --samples starts a new design beside this one"
        rows.append(("Extend", f"{plan.space.sampler} can't grow: {beside}"))
    return rows


def _models(prepared: Prepared) -> str:
    """The models, each with its quantization and engine."""
    resolved = prepared.resolved
    how = f"{resolved.quantization.name}, {resolved.request.engine}"
    return ", ".join(f"{model.label} ({how})" for model in resolved.models)


def _use_cases(prepared: Prepared) -> str:
    """Each with the number of its prompts, and the files that they come from."""
    plan, files = prepared.plan, prepared.resolved.use_case_files
    cases = []
    for use_case in plan.use_cases:
        n, whole = len(plan.prompts(use_case.name)), len(use_case.prompts)
        cases.append(f"{use_case.name} ({n} of {whole} prompts)")
    folders = list(dict.fromkeys(str(path.parent) for path in files))
    places = [str(path) for path in files] if len(folders) > 1 else folders
    return f"{', '.join(cases)} from {', '.join(places)}"


def _takes(prepared: Prepared, bound: int) -> str:
    """Time and energy of the sweep by the data set's own figures, if it has any."""
    figures = stored_figures(prepared.records, prepared.plan)
    if figures is None:
        return "known after a pilot: the data set has no figures of this model yet"
    return takes(bound, figures)


def _axes(space: Space) -> str:
    """Ranges on one line."""
    parts = []
    for name in PARAMETERS:
        axis = space.parameters[name]
        high = f"..{axis.high:g}" if axis.high > axis.low else ""
        parts.append(f"{name} {axis.low:g}{high}")
    return ", ".join(parts)


def _machine(prepared: Prepared) -> str:
    """Which machine, or which machines of a cluster, run the trials."""
    if prepared.plan.each:
        return f"each of {', '.join(prepared.plan.each)}"
    if prepared.plan.machine is None:
        return "as each node is labelled"
    return f"{prepared.plan.machine} by {prepared.resolved.machine_file}"


def _devices(gpus: list[Gpu]) -> str:
    """This machine's GPUs, in brackets."""
    if not gpus:
        return " (no GPU)"
    counts = Counter(gpu.name for gpu in gpus)
    return f" ({', '.join(f'{n} x {name}' for name, n in counts.items())})"


def _trials(prepared: Prepared) -> str:
    """The number of trials, as the product that makes it up."""
    plan = prepared.plan
    factors = [
        f"{plan.samples} configurations",
        f"{len(plan.models)} models",
        f"{len(plan.use_cases)} use cases",
        f"{plan.repeats} repeats",
    ]
    if plan.each:
        factors.append(f"{len(plan.each)} machines")
    anchors = sum(trial.strategy == ANCHOR for trial in plan.trials) * len(plan.kinds())
    more = f" + {anchors} anchors" if anchors else ""
    return f"{plan.n_trials()} = {' x '.join(factors)}{more}; {plan.n_executions()} executions"
