"""`doctor`: what this machine can measure and how well, and what to do about each problem."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import out_option
from orchestrator.cli.terminal import say, tell

if TYPE_CHECKING:
    from orchestrator.doctor.checks import Check
    from orchestrator.doctor.diagnosis import Diagnosis
    from orchestrator.doctor.rooms import Room

GIB = 2**30


LEAST_WIDTH = 18
"""Of the column with the checks' names."""


@click.command()
@out_option
@click.option(
    "--overhead",
    is_flag=True,
    help="Also measure the meters' own cost: power of the first GPU, time of the CPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def doctor(out: Path, *, overhead: bool, as_json: bool) -> int:
    """Check what this machine can measure, and whether a sweep can run.

    Reads each energy meter while nothing runs, compares them, and looks at disk, network and
    memory. Also shows how long a text of each known model can be. Changes nothing. Takes some
    seconds, 10 s more for each GPU, and some 45 s more with --overhead.

    A warning means that a sweep runs, but its figures are worth less or it needs another flag; a
    PROBLEM means that it can't run. Each comes with a remedy. Exit codes: 0 `tune` works here, with
    warnings or without, 2 usage error, 3 there is a problem.

    \b
    Examples:
      orchestrator doctor
      orchestrator doctor --overhead
    """  # noqa: D301 - click wants the character
    from orchestrator.doctor.diagnosis import diagnose

    diagnosis = diagnose(out, with_overhead=overhead, say=say)
    if as_json:
        click.echo(json.dumps(_as_json(diagnosis)))
    else:
        for line, hang in _lines(diagnosis):
            tell(line, hang)
    if diagnosis.level == "problem":
        return FAULTS
    return 0


def _as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """What `doctor --json` prints."""
    return {
        **dataclasses.asdict(diagnosis),
        "machine_file": str(diagnosis.machine_file),
        "level": diagnosis.level,
    }


def _lines(diagnosis: Diagnosis) -> Iterator[tuple[str, int]]:
    """The diagnosis for a person: machine, a line a check, lengths that fit, the conclusion.

    With each line how far to the right it goes on where it doesn't fit.
    """
    width = max(LEAST_WIDTH, *(len(check.name) for check in diagnosis.checks))
    machine = f"{diagnosis.machine}, described in {diagnosis.machine_file}"
    yield f"{'machine':<{width}} {machine}", width + 1
    for check in diagnosis.checks:
        yield f"{check.name:<{width}} {_result(check)}", width + 1
        if check.level != "ok":
            yield f"{'':<{width}} -> {check.remedy}", len("-> ")
    memory = f"{diagnosis.memory_bytes / GIB:.1f} GiB"
    yield f"Largest max_length that fits in {memory} of memory (and the size of the weights):", 2
    by_model: dict[str, list[Room]] = {}
    for room in diagnosis.rooms:
        by_model.setdefault(room.model, []).append(room)
    for model, rooms in by_model.items():
        lengths = ", ".join(map(_room, rooms))
        yield f"  {model:<8} {lengths} (context {rooms[0].context_length})", 9
    if diagnosis.level == "problem":
        yield "No sweep can run here until each PROBLEM above is solved.", 2
    yield f"In short: {diagnosis.conclusion}.", 2


def _result(check: Check) -> str:
    """Level and finding of a check."""
    level = check.level.upper() if check.level == "problem" else check.level
    return f"{level}: {check.found}"


def _room(room: Room) -> str:
    """How long texts of one quantization may get, with the size of its weights."""
    weights = f"{room.weights_bytes / GIB:.1f} GiB"
    return f"{room.quantization}: {room.max_length or 'does not fit'} ({weights})"
