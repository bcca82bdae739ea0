"""`doctor`: what this machine offers, and what to do about each problem."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import out_option
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.doctor import Diagnosis, Room

GIB = 2**30


@click.command()
@out_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def doctor(out: Path, *, as_json: bool) -> int:
    """Check this machine: GPUs, energy meters, disk, network, memory.

    Also shows how long a text of each known model can be. Changes nothing and takes some seconds.
    Each problem is shown with its remedy; the exit code is then 3.

    \b
    Example:
      orchestrator doctor
    """  # noqa: D301 - click wants the character
    from orchestrator.doctor import diagnose

    diagnosis = diagnose(out)
    if as_json:
        click.echo(json.dumps(_as_json(diagnosis)))
    else:
        for line in _lines(diagnosis):
            click.echo(printable(line))
    if diagnosis.ok():
        return 0
    return FAULTS


def _as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """What `doctor --json` prints."""
    return {
        **dataclasses.asdict(diagnosis),
        "machine_file": str(diagnosis.machine_file),
        "ok": diagnosis.ok(),
    }


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    """The diagnosis for a person: the machine, a line a check, then the lengths that fit."""
    yield f"{'machine':<18} {diagnosis.machine}, described in {diagnosis.machine_file}"
    for check in diagnosis.checks:
        if check.ok:
            yield f"{check.name:<18} ok: {check.found}"
        else:
            yield f"{check.name:<18} PROBLEM: {check.found} -> {check.remedy}"
    memory = f"{diagnosis.memory_bytes / GIB:.1f} GiB"
    yield f"Largest max_length whose weights and cache fit in {memory} of memory:"
    by_model: dict[str, list[Room]] = {}
    for room in diagnosis.rooms:
        by_model.setdefault(room.model, []).append(room)
    for model, rooms in by_model.items():
        lengths = ", ".join(map(_room, rooms))
        yield f"  {model:<8} {lengths} (context {rooms[0].context_length})"


def _room(room: Room) -> str:
    """How long texts of one quantization may get, with the size of its weights."""
    weights = f"{room.weights_bytes / GIB:.1f} GiB of weights"
    return f"{room.quantization} {room.max_length or 'does not fit'} ({weights})"
