"""`watch`: a running sweep on any terminal that sees its folder, refreshed until it is complete. Reads only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import POSITIVE, existing_out_option

if TYPE_CHECKING:
    from orchestrator.sweep.status import Status

INTERVAL_S = 2.0
SHARE = 0.05
"""Of a core, the most that watching takes: it may run on the host whose CPU is being measured."""


@click.command()
@existing_out_option
@click.option(
    "--interval",
    "interval_s",
    type=POSITIVE,
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks at the folder.",
)
@click.option("--once", is_flag=True, help="One view and no more; also where there is no terminal.")
def watch(out: Path, interval_s: float, *, once: bool) -> None:
    """Follow a running sweep: who runs it, what is done, failed and left, its rate, its energy, its last trials.

    Works from any machine that sees the folder, and reads only what has changed. Ends when the sweep is complete, or with
    Ctrl-C, which doesn't touch the sweep.

    \b
    Examples:
      orchestrator watch
      orchestrator watch --out /shared/measurements --interval 10
    """  # noqa: D301 - click wants the character
    from rich.live import Live

    from orchestrator.cli.text import console
    from orchestrator.cli.watchview import view
    from orchestrator.sweep.status import StatusReader

    reader, screen = StatusReader(out), console()
    try:
        first = found = reader.look()
        if once or not screen.is_terminal:
            screen.print(view(found))
            return
        took_s = 0.0
        with Live(view(found), console=screen, auto_refresh=False) as live:
            while not complete(first, found):
                time.sleep(max(interval_s, took_s / SHARE))
                began = time.process_time()
                found = reader.look()
                live.update(view(found), refresh=True)
                took_s = time.process_time() - began
    except KeyboardInterrupt:
        pass


def complete(first: Status, now: Status) -> bool:
    """Whether nothing is left to watch: no run, and nothing missing of any sweep, or of those that went on since `first`."""
    runs = now.holder is not None and now.alive is not False
    if runs or not now.sweeps:
        return False
    before = {sweep.id: sweep.missing for sweep in first.sweeps}
    went_on = [sweep for sweep in now.sweeps if sweep.missing != before.get(sweep.id)]
    return not any(sweep.missing for sweep in went_on or now.sweeps)
