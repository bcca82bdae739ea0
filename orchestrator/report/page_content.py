"""What the report says, as plain values: headline figures, tables and sentences.

page.py and table_export.py only lay out what this module returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.dataset.energy import TOTAL_ENERGY, energy_name
from orchestrator.dataset.flags import FLAGS, LEFT_OUT, SESSION_DRIFT
from orchestrator.dataset.gross_energy import GrossEnergy, gross_energy, uncertainty
from orchestrator.dataset.schema import ExecutionRow
from orchestrator.dataset.sessions import MOST_DRIFT, Session
from orchestrator.nouns import ANCHOR, columns_of
from orchestrator.report.effects import LEAST_POINTS, value_range
from orchestrator.report.execution_frame import Data, energy_rows, facts_of
from orchestrator.report.findings import SUBJECTS, findings
from orchestrator.report.sweep_cost import CostPart
from orchestrator.units import duration, energy, number, percent, plural
from orchestrator.unknowns import known

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "n/a"
"""What is shown for a figure that is unknown."""


NO_FOLDERS = "Not known: there are no trial folders beside the tables."
MOST_REASONS = 100
"""So many kinds of failures, reasons or flags are listed."""


@dataclass(frozen=True)
class Table:
    """A table whose cells are texts, as they are shown."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def findings_by_subject(data: Data) -> list[tuple[str, list[str]]]:
    """(heading, its sentences) for each subject of which the data say something."""
    said = findings(data)
    texts = {
        title: [one.text for one in said if one.subject == key] for key, title in SUBJECTS.items()
    }
    return [(title, of_one) for title, of_one in texts.items() if of_one]


def headline(data: Data) -> list[tuple[str, str, str]]:
    """(name, figure, explanation) of the few numbers that matter most."""
    frame = data.all
    n_failed = int((frame["status"] != "ok").sum())
    n_discarded = int(frame["discarded"].sum())
    figures = [
        ("executions", f"{len(frame):,}", f"{n_failed:,} failed, {n_discarded:,} discarded"),
        *_energy_figures(gross_energy(energy_rows(frame))),
    ]
    for basis, answers in data.answers.groupby("energy_basis", sort=True):
        low, middle, high = _quartiles(answers)
        explanation = f"{energy_name(str(basis))}: median of answers; half lie in {low} to {high}"
        figures.append(("J/token", middle, explanation))
    if data.evaluated:
        figures += _usable_figures(frame)
    return figures


def _energy_figures(energies: GrossEnergy) -> list[tuple[str, str, str]]:
    """The energy of all executions: a figure for each thing that was measured."""
    if not energies.of_basis:
        return [("energy", UNKNOWN, "no execution was measured")]
    notes = [f"of {plural(one.n_executions, 'execution')}" for one in energies.of_basis]
    # said once, beside the first figure
    notes[0] = "; ".join((notes[0] + energies.gap(), *energies.notes()))
    return [
        (one.name, one.text(), note) for one, note in zip(energies.of_basis, notes, strict=True)
    ]


def _usable_figures(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The headline figures that only evaluated data have."""
    ok = frame[frame["status"] == "ok"]
    n_usable = int((ok["usable"] == True).sum())  # noqa: E712 - a null is neither True nor False
    # failed executions have no text that could be usable
    wasted = gross_energy(energy_rows(ok[ok["discarded"]]))
    whole = gross_energy(energy_rows(ok)).only
    share = "share unknown" if ok["discarded"].any() else "none"
    if wasted.only is not None and whole is not None:
        part = wasted.only.counted_energy_j / whole.counted_energy_j
        share = f"{percent(part)} of the energy of ok executions"
    # A usable answer pays for the discarded ones, too.
    per_usable = UNKNOWN
    if whole is not None and n_usable:
        joules = energy(whole.counted_energy_j / n_usable)
        per_usable = f"{joules} ± {uncertainty(whole.energy_rel_uncertainty)}"
    is_or_are = "is" if n_usable == 1 else "are"
    wasted_figure = wasted.figure() if ok["discarded"].any() else "0 J"
    return [
        ("wasted energy", wasted_figure, f"went into answers that were discarded: {share}"),
        ("per usable answer", per_usable, f"{plural(n_usable, 'answer')} {is_or_are} usable"),
    ]


def warnings(data: Data) -> list[str]:
    """What a reader must know before any number."""
    frame = data.all
    if frame.empty:
        return ["There are no executions in this data set yet."]
    lines = []
    n_synthetic = int(frame["synthetic"].sum())
    if n_synthetic:
        lines.append(
            f"{n_synthetic} of {plural(len(frame), 'execution')} used SYNTHETIC models (random "
            "weights, or no model at all): their texts mean nothing."
        )
    bases = set(frame["energy_basis"].dropna())
    if bases == {TOTAL_ENERGY}:
        lines.append(
            "No GPU was measured: all energies are CodeCarbon's estimates for CPU and RAM. "
            "Don't publish them as measured."
        )
    elif len(bases) > 1:
        lines.append(
            f"Energies come from different meters: {', '.join(sorted(map(energy_name, bases)))}. "
            "They are not added, and can be compared only within one machine."
        )
    lines += _flag_warnings(data)
    lines += _design_warnings(data)
    if not data.evaluated:
        lines.append(
            "The texts have not been evaluated: "
            "`orchestrator evaluate` distinguishes usable texts from nonsense."
        )
    return lines


def _flag_warnings(data: Data) -> list[str]:
    """What flags and failures say of all figures."""
    frame, lines = data.all, []
    counts = Counter(flag for flags in frame["warning_flags"] for flag in flags)
    for flag in sorted(LEFT_OUT):
        if counts[flag]:
            is_or_are = "is" if counts[flag] == 1 else "are"
            lines.append(
                f"{plural(counts[flag], 'execution')} {is_or_are} {flag} ({FLAGS[flag].meaning}): "
                "left out of every figure of answers, unless --with-left-out is given."
            )
    if counts[SESSION_DRIFT]:
        n = plural(counts[SESSION_DRIFT], "execution")
        lines.append(
            f"{n} ran in sessions whose anchors moved by more than {percent(MOST_DRIFT)}: absolute "
            "figures may be off by as much. Measure again in another data set (--out) when nothing "
            "else uses the machine."
        )
    n_failed = int((frame["status"] != "ok").sum())
    if n_failed:
        lines.append(
            f"{n_failed:,} of {plural(len(frame), 'execution')} failed: no figure says what "
            "they would have taken. Run the same `orchestrator tune` with --rerun failed."
        )
    return lines


def _design_warnings(data: Data) -> list[str]:
    """What the design of the sweep can't tell."""
    answers, lines = data.answers, []
    n_points = answers.loc[answers["strategy"] != ANCHOR, "point"].nunique()
    if 0 < n_points < LEAST_POINTS:
        lines.append(
            f"{plural(n_points, 'configuration')} can't tell what a hyperparameter does: at least "
            f"{LEAST_POINTS} are needed, and 20 tell more. Run the same `orchestrator tune` with "
            "--samples 20."
        )
    sessions = answers["session_id"].dropna()
    n_sessions = sessions.nunique()
    if n_sessions == 1 and len(sessions) == len(answers):
        lines.append(
            "All answers come from one session (one process with its model loaded): absolute "
            "figures of another one may differ. Run the same `orchestrator tune` with "
            "--repeats 2 for a second session."
        )
    return lines


def effect_table(data: Data) -> Table:
    """What each hyperparameter does: a row a hyperparameter, a column an outcome."""
    rows = []
    for of_one in zip(*data.effects.values(), strict=True):
        halves, name = of_one[0].halves, of_one[0].parameter
        lower, upper = (value_range(name, half) for half in halves) if halves else ("", "")
        rows.append((name, lower, upper, *(one.text() for one in of_one)))
    names = (outcome.name for outcome in data.effects)
    head = ("hyperparameter", "lower half", "upper half", *names)
    note = (
        "Change from the lower to the upper half of a hyperparameter's values, the others held at "
        "their means, with its 95 % interval; × 1 is no change. Of four hyperparameters that do "
        "nothing, one or more leave out × 1 in up to 20 of 100 sweeps: the sentences on top are "
        "corrected for that (Holm 1979). Of all answers that ended, usable or not, but for 'energy "
        "of a usable answer'. At equal length: what is left beside the length of the text. It "
        "holds for these prompts, models and machines. Greedy answers tell only about max_length."
    )
    return Table("effects", "What each hyperparameter does", head, tuple(rows), note)


def group_table(data: Data) -> Table:
    """Each machine, model, setup and use case side by side."""
    rows = []
    of_group = data.answers.groupby(["group", "use_case", "energy_basis"], sort=True)
    for (group, use_case, energy_basis), answers in of_group:
        low, middle, high = _quartiles(answers)
        # All tokens over all time, so that a long answer counts more than a short one.
        window_s = float(answers["window_s"].sum())
        tokens_per_s = None
        if window_s:
            tokens_per_s = float(answers["n_new_tokens"].sum()) / window_s
        basis = energy_name(str(energy_basis))
        n_answers, interval = f"{len(answers):,}", f"{low} to {high}"
        cells = (group, use_case, n_answers, middle, interval, number(tokens_per_s), basis)
        rows.append(tuple(str(cell) for cell in cells))
    head = (
        "machine / model / setup",
        "use case",
        "answers",
        "J/token",
        "middle half",
        "tokens/s",
        "meter",
    )
    note = (
        "J/token: the median over answers. "
        "Compare J/token across machines only where the meter is the same."
    )
    return Table("groups", "Side by side", head, tuple(rows), note)


def repeat_table(data: Data) -> Table:
    """How far repeats of the same configuration and prompt differ, anchors included."""
    rows = []
    for group, answers in data.answers.groupby("group", sort=True):
        of_prompt = answers.groupby(["point", "use_case", "prompt_number"])["energy_per_token_j"]
        repeats = of_prompt.agg(["mean", "std", "size"])
        # A single measurement has no spread.
        repeats = repeats[repeats["size"] > 1]
        if len(repeats):
            spread = repeats["std"] / repeats["mean"]
            median, largest = f"{100 * spread.median():.1f} %", f"{100 * spread.max():.1f} %"
            rows.append((str(group), f"{len(repeats):,}", median, largest))
    head = (
        "machine / model / setup",
        "prompts measured repeatedly",
        "median spread",
        "largest spread",
    )
    note = ""
    if not rows:
        note = (
            "Nothing was measured twice. Use --repeats 3, or a design of at least 10 "
            "configurations, which has anchors."
        )
    title = "Repeatability of J/token (standard deviation over mean)"
    return Table("repeats", title, head, tuple(rows), note)


def left_out_table(data: Data) -> Table:
    """What failed, was discarded or was flagged, and the energy that it took."""
    frame = data.all
    failed = frame[frame["status"] != "ok"]
    # An execution may have several reasons or flags: explode() gives it one row for each.
    discarded = frame[frame["discarded"]].explode("reasons")
    flagged = frame.explode("warning_flags").dropna(subset=["warning_flags"])
    counted = (
        *_counts("failed", failed, "error_kind"),
        *_counts("discarded", discarded, "reasons"),
        *_counts("flagged", flagged, "warning_flags"),
    )
    like = max((one.largest_j for *_, one in counted if one), default=None)
    rows = tuple((*words, one.figure(like) if one else "") for *words, one in counted)
    note = (
        "Failed executions are in no figure of answers, nor are those flagged "
        f"{', '.join(sorted(LEFT_OUT))}. An execution may occur in several rows."
    )
    head = ("what", "why", "executions", "energy")
    return Table("left-out", "Discarded, failed, flagged", head, rows, note)


def _counts(
    what: str, executions: pd.DataFrame, column: str
) -> list[tuple[str, str, str, GrossEnergy | None]]:
    """For each value of a column, how many executions have it and the energy that they took.

    Of more than MOST_REASONS values, which no version of this program gives, the rarest are left
    out.
    """
    numbers = executions[column].value_counts()
    often = numbers.nlargest(MOST_REASONS).index
    rows: list[tuple[str, str, str, GrossEnergy | None]] = [
        (what, str(why), f"{len(some):,}", gross_energy(energy_rows(some)))
        for why, some in executions[executions[column].isin(often)].groupby(column, sort=True)
    ]
    if len(numbers) > MOST_REASONS:
        rows.append((what, f"and {len(numbers) - MOST_REASONS:,} more", "", None))
    return rows


def session_table(data: Data) -> Table:
    """How steady each process on a GPU was, and how far two differ, by their anchors."""
    head = ("session", "GPU", "model", "trials", "anchors", "J/token", "spread", "drift", "idle")
    note = (
        "A session is one process, from the loading of its model on. Its anchors are one text, "
        "generated at its beginning, before every tenth trial and at its end. Spread: standard "
        "deviation over mean. Drift: last anchor against the first; trials beside one that moved "
        f"by more than {percent(MOST_DRIFT)} have the flag session_drift. Idle: with the model "
        "loaded, which net energies leave out."
    )
    if data.paths is None:
        note = NO_FOLDERS
    elif not data.trials.sessions:
        note = "No trial here ran in a session on a GPU, whose anchors tell how steady it was."
    n_setups = len({session.setup for session in data.trials.sessions})
    by_setup = n_setups > len({session.quantization for session in data.trials.sessions})
    rows = tuple(_session_row(session, by_setup=by_setup) for session in data.trials.sessions)
    return Table("sessions", "Sessions", head, rows, note)


def _session_row(session: Session, *, by_setup: bool) -> tuple[str, ...]:
    """A session as a row of its table; `by_setup`: its quantization alone says too little."""
    return (
        session.session_id,
        f"{session.machine}, {session.gpu_name or UNKNOWN}",
        f"{session.model}, {session.setup if by_setup else session.quantization}",
        f"{session.n_trials:,}",
        f"{session.n_anchors:,}",
        number(session.energy_per_token_j),
        _relative(session.relative_spread),
        _relative(session.drift),
        UNKNOWN if session.baseline_w is None else f"{number(session.baseline_w)} W",
    )


def _relative(share: float | None) -> str:
    """A relative difference in percent with one decimal; n/a where it is unknown."""
    return UNKNOWN if share is None else f"{100 * share:.1f} %"


def cost_table(data: Data) -> Table:
    """What the sweep took: measured windows and everything else."""
    title = "What the sweep itself took"
    head = ("what", "how many", "energy", "time", "of the GPUs' time")
    cost = data.trials.cost
    if cost is None or not cost.n_trials:
        return Table("cost", title, head, (), NO_FOLDERS)
    like = max(known(part.counted_energy_j for part in cost.parts), default=None)
    rows = tuple(_cost_row(part, cost.held_s, like) for part in cost.parts)
    note = (
        "From sealed trials, with every attempt. Energy is gross (idle power included), and added "
        "over meters where rows name different ones; that of waiting is unknown. A GPU counts as "
        "held from the loading of a model to the end of the last execution before the next "
        "loading. What left no trial (such as a model that failed to load) is not recorded."
    )
    if not cost.held_s:
        note += " Without a GPU, the time between executions is unknown."
    if cost.n_unreadable:
        trials = plural(cost.n_unreadable, "trial")
        note += f" {trials} can't be read: `orchestrator validate` names them."
    return Table("cost", title, head, rows, note)


def _cost_row(part: CostPart, held_s: float | None, like: float | None) -> tuple[str, ...]:
    """A part of the sweep's cost as a row: name, number, energy, time, share of the GPU time.

    `like`: as of units.energy.
    """
    joules = energy(part.counted_energy_j, like)
    if part.counted_energy_j and part.n_unmeasured:
        joules += f" (unknown for {part.n_unmeasured:,})"
    n = ""
    if part.n is not None:
        n = f"{part.n:,}"
    share = UNKNOWN
    if held_s:
        share = f"{100 * part.gpu_s / held_s:.1f} %"
    return part.name, n, joules, duration(part.time_s), share


def _quartiles(answers: pd.DataFrame) -> tuple[str, ...]:
    """J/token of answers: lower quartile, median, upper quartile."""
    return tuple(
        number(float(answers["energy_per_token_j"].quantile(q))) for q in (0.25, 0.5, 0.75)
    )


def columns_table(data: Data) -> Table:
    """What each column of executions.parquet holds: which meters answered, and how much."""
    rows = []
    for name, _, column in columns_of(ExecutionRow):
        if name in data.table_only:
            facts = data.table_only[name]
        elif name in data.all:
            facts = facts_of(data.all[name])
        else:
            continue
        # A seed or a number in a list has no unit, and its median says nothing.
        middle = "" if facts.median is None or not column.unit else number(facts.median)
        rows.append((name, column.meaning, column.unit, f"{facts.n_known:,}", middle))
    head = ("column", "meaning", "unit", "known", "median")
    note = "Of all executions. A column that no meter filled is known 0 times."
    return Table("columns", "What the columns hold", head, tuple(rows), note)


def tables(data: Data) -> Sequence[Table]:
    """All tables of results, in the order of the report."""
    return (
        effect_table(data),
        group_table(data),
        repeat_table(data),
        left_out_table(data),
        session_table(data),
        cost_table(data),
    )
