"""What the ways took, beside the bare warm loop, and whether they did the same work."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.bench.catalogue import FLOOR, Way
from orchestrator.bench.running import Answer, WayRun
from orchestrator.bench.work import Work
from orchestrator.units import plural
from orchestrator.unknowns import known, quotient

FIGURES = (
    "wall_s",
    "generate_s",
    "overhead_s_per_trial",
    "to_first_window_s",
    "after_first_window_s",
    "tokens_per_s",
    "energy_j",
    "protocol_s",
)
"""Fields of a WayRun that are summed up over the rounds."""
RATIOS = ("wall_s", "generate_s", "after_first_window_s", "energy_j")
"""Those that are divided by the floor's of the same round."""

Runs = dict[Way, list[WayRun]]
"""Each way's rounds, in their order."""


@dataclass(frozen=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float | None]) -> Spread | None:
    """Median, least and most; None where a round's value is unknown."""
    some = known(values)
    if not some or len(some) < len(values):
        return None
    return Spread(median(some), min(some), max(some))


def figures(runs: Sequence[WayRun]) -> dict[str, Spread | None]:
    """Name of a figure -> its spread over a way's rounds."""
    return {name: spread([getattr(run, name) for run in runs]) for name in FIGURES}


def ratios(runs: Runs, way: Way) -> dict[str, Spread | None]:
    """Name of a figure -> spread of its ratio to the floor's, of each round.

    None where the floor wasn't run or the figure is unknown.
    """
    floor = next((runs_of for one, runs_of in runs.items() if one.letter == FLOOR), [])
    return {name: spread(_ratios(runs[way], floor, name)) for name in RATIOS}


def _ratios(runs: Sequence[WayRun], floor: Sequence[WayRun], name: str) -> list[float | None]:
    """The ratio of each round."""
    return [
        quotient(getattr(run, name), getattr(of_floor, name))
        for run, of_floor in zip(runs, floor, strict=False)
    ]


def differences(runs: Runs, work: Work) -> list[str]:
    """Where the ways didn't do the same work, a sentence each; []: all is equal.

    Every way must give an answer to each prompt of the work, of as many tokens. Texts must be the
    same, byte by byte, but for engines that draw their tokens in a way of their own.
    """
    asked = {
        (planned.trial, generation.prompt)
        for planned in work.trials
        for generation in planned.generations
    }
    found = []
    reference: dict[tuple[str, int], Answer] = {}
    reference_name = ""
    for way, of_way in runs.items():
        for run in of_way:
            name = f"{way.name}, round {run.round}"
            answers = {(answer.trial, answer.prompt): answer for answer in run.answers}
            if answers.keys() != asked or len(run.answers) != len(asked):
                found.append(f"{name}: {len(run.answers)} answers, not the {len(asked)} asked for")
            elif not reference:
                reference, reference_name = answers, name
            else:
                found += _unlike(name, answers, reference_name, reference, way=way)
    return found


def _unlike(
    name: str,
    answers: dict[tuple[str, int], Answer],
    reference_name: str,
    reference: dict[tuple[str, int], Answer],
    *,
    way: Way,
) -> list[str]:
    """Sentences on what differs from the reference's answers."""
    told = []
    lengths = [key for key in answers if answers[key].n_new_tokens != reference[key].n_new_tokens]
    if lengths:
        told.append(f"{name}: {_counted(lengths, answers, 'length')} of {reference_name}")
    texts = [key for key in answers if answers[key].text != reference[key].text]
    if way.same_texts and texts:
        told.append(f"{name}: {_counted(texts, answers, 'text')} of {reference_name}")
    return told


def _counted(
    unlike: list[tuple[str, int]], answers: dict[tuple[str, int], Answer], what: str
) -> str:
    """'2 of 12 answers (the first: ... prompt 1) are not of the length'."""
    trial, prompt = min(unlike)
    return (
        f"{len(unlike)} of {plural(len(answers), 'answer')} (the first: {trial}, prompt {prompt}) "
        f"are not of the {what}"
    )


def as_json(runs: Runs, work: Work, unlike: list[str]) -> dict[str, Any]:
    """Everything of a run of `bench` but its texts, as JSON."""
    return {
        "trials": len(work.trials),
        "generations": sum(len(planned.generations) for planned in work.trials),
        "threads": work.threads,
        "same_work": not unlike,
        "differences": unlike,
        "ways": [
            {
                "way": way.letter,
                "name": way.name,
                "meaning": way.meaning,
                "engine": way.engine if way.module is None else None,
                "figures": _plain(figures(of_way)),
                "ratios": _plain(ratios(runs, way)),
                "rounds": [_round(run) for run in of_way],
            }
            for way, of_way in runs.items()
        ],
    }


def _plain(spreads: dict[str, Spread | None]) -> dict[str, Any]:
    """Spreads as JSON."""
    return {name: one and dataclasses.asdict(one) for name, one in spreads.items()}


def _round(run: WayRun) -> dict[str, Any]:
    """A round as JSON, without its answers."""
    named = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    del named["answers"]
    return named
