"""`doctor`: what this machine offers, and what to do where something is missing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import out_option
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.doctor import Diagnosis, Room
GIB = 2**30


@click.command()
@out_option
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def doctor(out: Path, *, as_json: bool) -> int:
    """Look at this machine: GPUs, which energy meters answer, disk, model hub, Ray, and which models fit in its memory.

    Changes nothing and takes some seconds. Exit code 3 where something is missing; what to do stands beside it.

    \b
    Example:
      orchestrator doctor
    """  # noqa: D301 - click wants the character
    from orchestrator.doctor import diagnose

    found = diagnose(out)
    if as_json:
        click.echo(
            json.dumps(
                {
                    **dataclasses.asdict(found),
                    "machine_file": str(found.machine_file),
                    "ok": found.ok(),
                }
            )
        )
    else:
        for line in _lines(found):
            click.echo(printable(line))
    return 0 if found.ok() else FAULTS


def _lines(found: Diagnosis) -> Iterator[str]:
    yield f"{'machine':<18} {found.machine}, by {found.machine_file}"
    for check in found.checks:
        mark = "ok " if check.ok else "NOT"
        yield f"{check.name:<18} {mark} {check.found}" + ("" if check.ok else f" -> {check.remedy}")
    yield f"Longest text (--range max_length) that fits in {found.memory_bytes / GIB:.1f} GiB:"
    for model in dict.fromkeys(room.model for room in found.rooms):
        of_model = [room for room in found.rooms if room.model == model]
        yield (
            f"  {model:<8} "
            + ", ".join(map(_room, of_model))
            + f" (context {of_model[0].context_length})"
        )


def _room(room: Room) -> str:
    weights = f"{room.weights_bytes / GIB:.1f} GiB of weights"
    return f"{room.quantization} {room.max_length or 'does not fit'} ({weights})"
