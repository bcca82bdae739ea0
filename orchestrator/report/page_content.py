"""What the report says, as plain values: headline figures, tables, sentences. The page and the exports only lay it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.report.effects import Effect
from orchestrator.report.execution_frame import LEFT_OUT, Data
from orchestrator.report.importance import ONE_VALUE, Importance
from orchestrator.units import duration, energy, number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Cells as they are shown."""

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def headline(data: Data) -> list[tuple[str, str, str]]:
    """(name, figure, what it is) of the few numbers that matter most."""
    frame, kept = data.all, data.kept
    ok = frame[frame["status"] == "ok"]
    found = [
        (
            "executions",
            f"{len(frame):,}",
            f"{len(frame) - len(ok):,} failed, {int(frame['discarded'].sum()):,} discarded",
        ),
        (
            "energy",
            energy(_sum(frame["spent_j"])),
            "of all executions, by the meter that each row names",
        ),
    ]
    if len(kept):
        low, middle, high = _quartiles(kept)
        found.append(
            ("J/token", middle, f"median of the kept answers; half of them lie in {low} to {high}")
        )
    if data.evaluated:
        n_usable = int((ok["usable"] == True).sum())  # noqa: E712 - null is neither
        wasted = _sum(ok.loc[ok["discarded"], "spent_j"])
        per_usable = _sum(ok["spent_j"])
        share = (
            f"{100 * wasted / per_usable:.0f} % of it"
            if wasted is not None and per_usable
            else "share unknown"
        )
        found.append(
            ("wasted energy", energy(wasted), f"went into answers that were discarded: {share}")
        )
        answer = energy(per_usable / n_usable) if per_usable and n_usable else "n/a"
        found.append(("per usable answer", answer, f"{n_usable:,} answers are usable"))
    return found


def warnings(data: Data) -> list[str]:
    """What a reader must know before any number."""
    found = []
    frame = data.all
    if frame.empty:
        return ["There are no executions in this data set yet."]
    if n := int(frame["synthetic"].sum()):
        found.append(
            f"{n} of {len(frame)} executions are SYNTHETIC (random weights or no model): their texts mean nothing."
        )
    bases = set(frame["energy_basis"].dropna())
    if bases == {"energy_j"}:
        found.append(
            "No GPU was measured: all energies are CodeCarbon's models of CPU and RAM. Don't publish them as measured."
        )
    elif len(bases) > 1:
        found.append(
            f"Energies come from different meters ({', '.join(sorted(bases))}): compare within a machine only."
        )
    flags = Counter(flag for found_flags in frame["flags"] for flag in found_flags)
    found += [
        f"{flags[flag]} executions are {flag}: left out of every effect below, not of the data."
        for flag in LEFT_OUT
        if flags[flag]
    ]
    if not data.evaluated:
        found.append(
            "The texts were not evaluated: `orchestrator evaluate` tells usable ones from nonsense."
        )
    return found


def effect_table(data: Data) -> Table:
    """Each hyperparameter, in all and at equal length."""
    in_all, at_length = data.effects
    rows = tuple(
        (a.parameter, f"{a.low:.3g} to {a.high:.3g}", _change(a), _change(b))
        for a, b in zip(in_all, at_length, strict=True)
    )
    return Table(
        "effects",
        "Effect of each hyperparameter on an answer's energy",
        ("hyperparameter", "from lowest to highest", "in all", "at equal length"),
        rows,
        "Change in percent with its 95 % interval; errors clustered by configuration. Greedy answers tell of max_length only.",
    )


def _change(effect: Effect) -> str:
    if effect.percent is None or effect.lower is None or effect.upper is None:
        return effect.note
    return f"{effect.percent:+.1f} % ({effect.lower:+.1f} to {effect.upper:+.1f})"


def effect_sentences(data: Data) -> list[str]:
    """What the table says, no further than its intervals."""
    found = []
    in_all, at_length = data.effects
    for whole, rest in zip(in_all, at_length, strict=True):
        if whole.percent is None or rest.percent is None:
            continue
        name = whole.parameter
        if whole.clear and not rest.clear:
            found.append(
                f"{name} changes an answer's energy by {_change(whole)}, and that is explained by the answers' length."
            )
        elif rest.clear:
            found.append(f"At equal length {name} changes an answer's energy by {_change(rest)}.")
        else:
            found.append(f"No effect of {name} can be told from chance.")
    return found or [at_length[0].note + "."]


def importance_table(data: Data) -> Table:
    """What each hyperparameter explains of the differences between configurations."""
    of_energy, of_token = data.importances
    head = ("hyperparameter", "of an answer's energy", "of J/token")
    if notes := {found.note for found in (*of_energy, *of_token) if found.share is None} - {
        ONE_VALUE
    }:
        return Table(
            "importance",
            "Importance of each hyperparameter",
            head,
            (),
            f"Not known: {'; '.join(sorted(notes))}.",
        )
    rows = [(a.parameter, _share(a), _share(b)) for a, b in zip(of_energy, of_token, strict=True)]
    rest = [
        f"{100 * max(0, 1 - sum(found.share or 0 for found in some)):.0f} %"
        for some in data.importances
    ]
    note = (
        "Share of the variance between sampled configurations that a hyperparameter explains by itself, with its 95 % interval. "
        "'May be chance': the interval reaches 0."
    )
    rows.append(("the rest: together, or by chance", rest[0], rest[1]))
    return Table("importance", "Importance of each hyperparameter", head, tuple(rows), note)


def _share(found: Importance) -> str:
    if found.share is None or found.lower is None or found.upper is None:
        return found.note
    figures = f"{100 * found.share:.0f} % ({100 * found.lower:.0f} to {100 * found.upper:.0f})"
    return figures if found.clear else f"{figures}: may be chance"


def group_table(data: Data) -> Table:
    """Machine, model, quantization and use case side by side."""
    rows = []
    for (group, use_case), some in data.kept.groupby(["group", "use_case"], sort=True):
        low, middle, high = _quartiles(some)
        speed = (
            float(some["n_new_tokens"].sum() / some["window_s"].sum())
            if some["window_s"].sum()
            else None
        )
        basis = ", ".join(sorted(set(some["energy_basis"])))
        rows.append(
            (
                str(group),
                str(use_case),
                f"{len(some):,}",
                middle,
                f"{low} to {high}",
                number(speed),
                basis,
            )
        )
    head = (
        "machine / model / quantization",
        "use case",
        "answers",
        "J/token",
        "middle half",
        "tokens/s",
        "meter",
    )
    note = "Medians over answers. Compare J/token across machines only where the meter is the same."
    return Table("groups", "Side by side", head, tuple(rows), note)


def repeat_table(data: Data) -> Table:
    """How far the same configuration and prompt differ from repeat to repeat, anchors included."""
    rows = []
    for group, some in data.kept.groupby("group", sort=True):
        same = some.groupby(["point", "use_case", "prompt"])["per_token_j"].agg(
            ["mean", "std", "size"]
        )
        same = same[same["size"] > 1]
        if len(same):
            spread = 100 * same["std"] / same["mean"]
            rows.append(
                (
                    str(group),
                    f"{len(same):,}",
                    f"{float(spread.median()):.1f} %",
                    f"{float(spread.max()):.1f} %",
                )
            )
    head = (
        "machine / model / quantization",
        "measured repeatedly",
        "spread, median",
        "spread, largest",
    )
    note = (
        ""
        if rows
        else "Nothing was measured twice: --repeats 3, or a design of 10 configurations and more, which has anchors."
    )
    return Table(
        "repeats",
        "Repeatability of J/token (standard deviation over mean)",
        head,
        tuple(rows),
        note,
    )


def left_out_table(data: Data) -> Table:
    """What was discarded, failed or flagged, and the energy that it took."""
    frame = data.all
    rows = [
        _counted("failed", kind, some)
        for kind, some in frame[frame["status"] != "ok"].groupby("error_kind", sort=True)
    ]
    gone = frame[frame["discarded"]].explode("reasons")
    rows += [
        _counted("discarded", reason, some) for reason, some in gone.groupby("reasons", sort=True)
    ]
    flagged = frame.explode("flags").dropna(subset=["flags"])
    rows += [_counted("flagged", flag, some) for flag, some in flagged.groupby("flags", sort=True)]
    note = (
        "Failed and discarded ones are in no effect; flagged ones are, but for "
        + ", ".join(LEFT_OUT)
        + ". One may have several."
    )
    return Table(
        "left-out",
        "Discarded, failed, flagged",
        ("what", "why", "executions", "energy"),
        tuple(rows),
        note,
    )


def cost_table(data: Data) -> Table:
    """What the sweep took, measured windows and all else."""
    head = ("what", "how many", "energy", "time", "of the GPUs' time")
    cost = data.cost
    title = "What the sweep itself took"
    if cost is None or not cost.n_trials:
        return Table(
            "cost", title, head, (), "Not known: there are no trial folders beside the tables."
        )
    rows = tuple(
        (
            part.name,
            "" if part.n is None else f"{part.n:,}",
            energy(part.energy_j)
            + (
                f" (unknown of {part.n_unmeasured:,})"
                if part.energy_j and part.n_unmeasured
                else ""
            ),
            duration(part.time_s),
            "n/a" if not cost.held_s else f"{100 * part.gpu_s / cost.held_s:.1f} %",
        )
        for part in cost.parts
    )
    note = (
        "From sealed trials, every attempt. Energy is metered in executions and warm-ups: of loading and waiting it is unknown. "
        "A GPU is held from the loading of a model to the end of the last execution before the next; what left no trial (a load "
        "that failed) is not recorded."
    )
    if not cost.held_s:
        note += " No GPU: the time between executions is unknown."
    if cost.n_unreadable:
        note += f" {cost.n_unreadable:,} trials can't be read: `orchestrator validate` tells which."
    return Table("cost", title, head, rows, note)


def _counted(what: str, why: object, some: pd.DataFrame) -> tuple[str, ...]:
    return what, str(why), f"{len(some):,}", energy(_sum(some["spent_j"]))


def _quartiles(some: pd.DataFrame) -> tuple[str, ...]:
    """J/token: lower quartile, median, upper quartile."""
    return tuple(number(float(some["per_token_j"].quantile(q))) for q in (0.25, 0.5, 0.75))


def _sum(values: pd.Series) -> float | None:
    """Of what is known; None where nothing is."""
    known = values.dropna()
    return float(known.sum()) if len(known) else None


def tables(data: Data) -> Sequence[Table]:
    """All tables, in the report's order."""
    return (
        effect_table(data),
        importance_table(data),
        group_table(data),
        repeat_table(data),
        left_out_table(data),
        cost_table(data),
    )
