"""The compared runs for a person: a row a way, and sentences under them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.bench.catalogue import OURS, Way
from orchestrator.bench.comparison import Runs, Spread, figures, ratios
from orchestrator.units import energy, number

HEAD = (
    "way",
    "wall s",
    "of b",
    "in generate s",
    "overhead s per trial",
    "to first window s",
    "rest of b",
    "tokens/s",
    "GPU energy",
)
"""Columns of the table; 'of b': the ratio to the bare warm loop, 'rest': after the first window."""


def table_rows(runs: Runs) -> list[tuple[str, ...]]:
    """The rows under HEAD, a way each: the median, with least and most of several rounds."""
    return [_row(runs, way) for way in runs]


def _row(runs: Runs, way: Way) -> tuple[str, ...]:
    """A way's row."""
    of_way, to_floor = figures(runs[way]), ratios(runs, way)
    return (
        f"{way.letter}: {way.name}",
        _shown(of_way["wall_s"]),
        _ratio(to_floor["wall_s"]),
        _shown(of_way["generate_s"]),
        _shown(of_way["overhead_s_per_trial"]),
        _shown(of_way["to_first_window_s"]),
        _ratio(to_floor["after_first_window_s"]),
        _shown(of_way["tokens_per_s"]),
        _energy(of_way["energy_j"]),
    )


def _shown(one: Spread | None) -> str:
    """'103 (101..105)', and the median alone where there is one round."""
    if one is None:
        return "n/a"
    if one.least == one.most:
        return number(one.median)
    return f"{number(one.median)} ({number(one.least)}..{number(one.most)})"


def _ratio(one: Spread | None) -> str:
    """'1.84 (1.72..1.96)', and the median alone where there is one round."""
    if one is None:
        return "n/a"
    if one.least == one.most:
        return f"{one.median:.2f}"
    return f"{one.median:.2f} ({one.least:.2f}..{one.most:.2f})"


def _energy(one: Spread | None) -> str:
    """The median energy, with its least and most."""
    if one is None:
        return "n/a"
    if one.least == one.most:
        return energy(one.median)
    least, most = (energy(value, like=one.median) for value in (one.least, one.most))
    return f"{energy(one.median)} ({least}..{most})"


def notes(runs: Runs, unlike: Sequence[str]) -> list[str]:
    """Sentences under the table: what is equal, what is unknown and why, and how busy it was."""
    lines = []
    same = [way.name for way in runs if way.same_texts]
    if not unlike and len(same) > 1:
        lines.append(f"Texts are the same, byte by byte: {'; '.join(same)}.")
    others = [way.name for way in runs if not way.same_texts]
    if not unlike and others:
        lines.append(f"The same number of tokens, but other texts: {'; '.join(others)}.")
    for way, of_way in runs.items():
        protocol = figures(of_way)["protocol_s"]
        if way.letter == OURS and protocol is not None:
            lines.append(
                f"{way.name}: {number(protocol.median)} s of it are the protocol (meters, idle "
                "power, warm-up), which the other ways don't have."
            )
    whys = {run.energy_unknown_because for of_way in runs.values() for run in of_way}
    lines += [f"Energy: {why}." for why in sorted(why for why in whys if why)]
    loads = [run.load_1min for of_way in runs.values() for run in of_way]
    lines.append(f"Load average before each way: {min(loads):.1f} to {max(loads):.1f}.")
    return lines
