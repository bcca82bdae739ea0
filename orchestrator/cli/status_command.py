"""`status`: show how far the sweeps of a data set are.

Works beside a running sweep, and on any machine that can read the folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import data_set
from orchestrator.cli.terminal import tell
from orchestrator.units import duration, energy, plural

if TYPE_CHECKING:
    from orchestrator.dataset.sessions import Session
    from orchestrator.status import Status, SweepStatus

N_SESSIONS = 8
"""How many sessions are shown at most."""
NO_SWEEP = "No sweep has been started in this data set."


@click.command()
@data_set
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def status(out: Path, *, as_json: bool) -> None:
    """Show what is done, failed and left of each sweep.

    Also shows how fast it goes, what is left in time and energy, and who runs it. On a SLURM
    cluster also shows the queued and running jobs that `cluster slurm` submitted.

    \b
    Example:
      orchestrator status measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster.slurm_queue import queued
    from orchestrator.status import status as read_status

    current, jobs = read_status(out), queued(out)
    if as_json:
        shown = {
            **dataclasses.asdict(current),
            "out": str(current.out),
            "holder": current.holder and current.holder.line(),
            "sessions": [
                {**dataclasses.asdict(one), "started_at": one.started_at and str(one.started_at)}
                for one in current.sessions
            ],
            "queue": [dataclasses.asdict(job) for job in jobs],
        }
        click.echo(json.dumps(shown))
        return
    for line in (*_lines(current), *(job.line() for job in jobs)):
        tell(line)


def _lines(current: Status) -> Iterator[str]:
    """The status for a person, sweep by sweep."""
    yield who_runs(current)
    if not current.sweeps:
        yield NO_SWEEP
    for sweep in current.sweeps:
        yield from _sweep_lines(sweep)
    yield from _session_lines(current.sessions)
    for line in current.unreadable:
        yield f"left out: {line}"


def _session_lines(sessions: tuple[Session, ...]) -> Iterator[str]:
    """How steady the newest sessions on GPUs are, by their anchors."""
    several = len({session.setup for session in sessions}) > 1
    for session in sessions[-N_SESSIONS:]:
        setup = f" ({session.setup})" if several else ""
        line = f"session {session.session_id} on {session.machine}, {session.model}{setup}: "
        line += f"{plural(session.n_trials, 'trial')}, "
        if session.drift is None:
            yield line + "drift unknown before its second anchor"
        else:
            spread = 100 * (session.relative_spread or 0.0)
            drift = f"drift {100 * session.drift:+.1f} %, spread {spread:.1f} %"
            yield f"{line}{drift} over {session.n_anchors} anchors"


def who_runs(current: Status) -> str:
    """One line: whether a sweep is running in the data set, and by which process."""
    if current.holder is None:
        return f"{current.out}: no sweep is running"
    says = {
        True: "running",
        False: "its run has died; resume it with the same `tune` command",
        None: "its run has given no sign of life for a while; `tune` finds out whether it is alive",
    }[current.alive]
    return f"{current.out}: {says} ({current.holder.line()})"


def _sweep_lines(sweep: SweepStatus) -> Iterator[str]:
    """What is done and left of one sweep, and how long the rest will take."""
    from orchestrator.dataset.remaining import by_kind

    count = f"{sweep.id}: {sweep.done} of {sweep.planned} executions done, {sweep.missing} left"
    if sweep.failed:
        count += f", FAILED: {by_kind(sweep.failed)}"
    yield count
    for folder, (done, planned) in sweep.folders.items():
        yield f"  {folder}: {done} of {planned}"
    if sweep.machines:
        yield "  on " + ", ".join(f"{name}: {n}" for name, n in sorted(sweep.machines.items()))
    if sweep.gross_energy.of_basis:
        yield f"  {sweep.gross_energy.explained()}"
    if sweep.missing and sweep.per_hour and sweep.left_s is not None:
        rate = f"{sweep.per_hour:,.1f} executions an hour lately"
        left = duration(sweep.left_s)
        if sweep.left_j is None:
            yield f"  {rate}: about {left} left, energy unknown"
        else:
            yield f"  {rate}: about {left} and {energy(sweep.left_j)} left"
