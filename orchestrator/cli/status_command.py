"""`status`: how far the sweeps of a data set are; works beside a running sweep and from any machine that sees the folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import existing_out_option
from orchestrator.units import J_PER_KWH, duration, energy
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.status import Status, SweepStatus


@click.command()
@existing_out_option
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def status(out: Path, *, as_json: bool) -> None:
    """Show what is done, failed and left of each sweep, at which rate, and who runs it.

    Where SLURM is, also the jobs in its queue that were submitted for the data set (`cluster slurm`).

    \b
    Example:
      orchestrator status --out measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster.slurm_queue import queued
    from orchestrator.status import status as read_status

    found, queue = read_status(out), queued(out)
    if as_json:
        holder = found.holder and found.holder.line()
        jobs = [dataclasses.asdict(job) for job in queue]
        click.echo(
            json.dumps(
                {
                    **dataclasses.asdict(found),
                    "out": str(found.out),
                    "holder": holder,
                    "queue": jobs,
                }
            )
        )
        return
    for line in (*_lines(found), *(job.line() for job in queue)):
        click.echo(printable(line))


def _lines(found: Status) -> Iterator[str]:
    yield who_runs(found)
    if not found.sweeps:
        yield "No sweep was begun here."
    for sweep in found.sweeps:
        yield from _sweep_lines(sweep)
    for line in found.unreadable:
        yield f"left out: {line}"


def who_runs(found: Status) -> str:
    """Whether a sweep runs in a data set, and whose."""
    if found.holder is None:
        return f"{found.out}: nothing runs"
    says = {
        True: "running",
        False: "its run died, the next `tune` goes on",
        None: "its run has given no sign for a while; `tune` watches whether it is alive",
    }[found.alive]
    return f"{found.out}: {says} ({found.holder.line()})"


def _sweep_lines(sweep: SweepStatus) -> Iterator[str]:
    from orchestrator.dataset.remaining import by_kind

    count = f"{sweep.id}: {sweep.done} of {sweep.planned} executions done, {sweep.missing} left"
    yield count + (f", FAILED: {by_kind(sweep.failed)}" if sweep.failed else "")
    for leaf, (done, planned) in sweep.leaves.items():
        yield f"  {leaf}: {done} of {planned}"
    if sweep.machines:
        yield "  on " + ", ".join(f"{name}: {n}" for name, n in sorted(sweep.machines.items()))
    if sweep.missing and sweep.per_hour and sweep.left_s is not None:
        left = "energy unknown" if sweep.left_kwh is None else energy(sweep.left_kwh * J_PER_KWH)
        yield f"  {sweep.per_hour:,.1f} executions an hour lately: about {duration(sweep.left_s)} and {left} left"
