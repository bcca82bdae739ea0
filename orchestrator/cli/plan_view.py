"""The plan as a person sees it before anything runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.text import Text

from orchestrator.cli.terminal import folded
from orchestrator.gpu.devices import Gpu
from orchestrator.nouns import ANCHOR, PARAMETERS, LoadKey, Space
from orchestrator.sweep.estimate import Figures, memory_fit, stored_figures
from orchestrator.sweep.prepare import Prepared
from orchestrator.units import duration, energy, plural
from orchestrator.unknowns import sum_of_all

NO_FIGURES = "known after a pilot: the data set has no figures for this model yet"


def takes(tokens: int, figures: Figures, at_once: int = 1) -> str:
    """Time and energy of so many tokens.

    `at_once`: trials that share the time but not the energy. An unknown energy is said to be so.
    """
    per_token = ""
    if figures.energy_per_token_j is not None:
        per_token = f", {figures.energy_per_token_j:.3g} J/token"
    source = f"{figures.tokens_per_s:.3g} tokens/s{per_token} from {figures.source}"
    return f"{_at_most(figures.seconds(tokens) / at_once, figures.joules(tokens))} ({source})"


def _at_most(seconds: float, joules: float | None) -> str:
    """A bound of time and energy, for a person."""
    joules_text = "energy unknown" if joules is None else energy(joules)
    return f"at most about {duration(seconds)} and {joules_text}"


def load_name(load_key: LoadKey) -> str:
    """'llama2 (nf4, transformers)': a model and how it is run."""
    model, variant = load_key
    return f"{model} ({variant.label()})"


def print_plan(console: Console, prepared: Prepared, gpus: list[Gpu]) -> None:
    """Print the plan and every note: folded on a terminal, a line each in a log.

    `gpus`: those of this machine, for what fits in their memory.
    """
    for key, value in _rows(prepared, gpus):
        line = Text(folded(f"{key:<10} {value}", console.file, hang=11))
        line.stylize("bold", 0, len(key))
        console.print(line, soft_wrap=True)
    for note in (*prepared.resolved.notes, *prepared.notes):
        told = folded(f"Note: {note}", console.file)
        console.print(Text(told, style="yellow"), soft_wrap=True)


def _rows(prepared: Prepared, gpus: list[Gpu]) -> list[tuple[str, str]]:
    """(label, text) of each line of a plan."""
    plan, resolved = prepared.plan, prepared.resolved
    resumed = ", started before: resumed" if prepared.before else ""
    rows = [
        ("Sweep", f"{plan.id}, seed {plan.seed}{resumed}"),
        ("Space", f"{_place(resolved.space_file)}: {_axes(plan.space)}"),
        ("Models", ", ".join(map(load_name, plan.load_keys()))),
        ("Use cases", _use_cases(prepared)),
        ("Machine", _machine(prepared) + _devices(gpus)),
    ]
    if resolved.repeats:
        written = f"version {resolved.repeats.written_by} on {resolved.repeats.created_at}"
        rows.insert(1, ("Repeats", f"{resolved.request.plan}, written by {written}"))
    has_none = not resolved.needs_weights and not resolved.is_served
    if has_none or any(m.kind == "synthetic" for m in resolved.models):
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
    bounds = prepared.token_bounds()
    rows.append(("Tokens", f"at most about {sum(bounds.values()):,} new ones"))
    rows += [("Takes", line) for line in _takes(prepared, bounds)]
    if resolved.needs_weights:
        local = resolved.request.address is None
        fits = memory_fit(plan, list(resolved.models), gpus, local=local)
        rows += [("Memory", fit.line()) for fit in fits]
    if resolved.is_served:
        rows.append(("Memory", "the server's: it has loaded its model, and tells no sizes"))
    if not resolved.sampler.extensible:
        beside = "another --samples starts a new design beside this one"
        rows.append(("Extend", f"{plan.space.sampler} can't grow: {beside}"))
    return rows


def _use_cases(prepared: Prepared) -> str:
    """Each with the number of its prompts, and the files that they come from."""
    plan, files = prepared.plan, prepared.resolved.use_case_files
    cases = []
    for use_case in plan.use_cases:
        n, whole = len(plan.prompts(use_case.name)), len(use_case.prompts)
        cases.append(f"{use_case.name} ({n} of {whole} prompts)")
    folders = list(dict.fromkeys(path.parent for path in files))
    whole_names = len(folders) > 1 or prepared.resolved.repeats
    places = files if whole_names else folders
    return f"{', '.join(cases)} from {', '.join(map(_place, places))}"


def _takes(prepared: Prepared, bounds: dict[LoadKey, int]) -> list[str]:
    """Time and energy by the data set's own figures, if it has any, a line a model and variant.

    `bounds`: the most new tokens of each. Of several also what they take together, if it is known.
    """
    figures = {
        load_key: stored_figures(prepared.records, prepared.plan, load_key) for load_key in bounds
    }
    if not any(figures.values()):
        return [NO_FIGURES]
    lines = []
    for load_key, bound in bounds.items():
        of_one = figures[load_key]
        line = NO_FIGURES if of_one is None else takes(bound, of_one)
        lines.append(line if len(bounds) == 1 else f"{load_name(load_key)}: {line}")
    if len(bounds) > 1 and None not in figures.values():
        pairs = [(one, bounds[load_key]) for load_key, one in figures.items() if one is not None]
        seconds = sum(one.seconds(bound) for one, bound in pairs)
        joules = sum_of_all(one.joules(bound) for one, bound in pairs)
        lines.append(f"together {_at_most(seconds, joules)}")
    return lines


def _place(path: Path) -> str:
    """A path, without the working folder where it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


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
    return f"{prepared.plan.machine}, described in {_place(prepared.resolved.machine_file)}"


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
        plural(plan.samples, "configuration"),
        plural(len(plan.models), "model"),
        plural(len(plan.use_cases), "use case"),
        plural(plan.repeats, "repeat"),
    ]
    if plan.several_variants():
        factors.insert(2, plural(len({variant for _, variant in plan.load_keys()}), "setup"))
    if plan.each:
        factors.append(plural(len(plan.each), "machine"))
    anchors = sum(trial.strategy == ANCHOR for trial in plan.trials) * len(plan.kinds())
    more = f" + {plural(anchors, 'anchor')}" if anchors else ""
    return f"{plan.n_trials()} = {' x '.join(factors)}{more}; {plan.n_executions()} executions"
