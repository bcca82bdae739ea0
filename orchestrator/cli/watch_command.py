"""`watch`: show a running sweep, refreshed until it is complete. Changes nothing."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import POSITIVE, check_data_set, out_option

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.status import Status

INTERVAL_S = 2.0
CPU_SHARE = 0.05
"""Largest share of one core that watching may take: it may run on the host that is measured."""


@click.command()
@out_option
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Read the sweep's metrics at this address, which `tune` prints, instead of its folder. "
    "One that gives no answer within 10 s counts as gone.",
)
@click.option(
    "--interval",
    "interval_s",
    type=POSITIVE,
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="Time between two updates.",
)
@click.option(
    "--once", is_flag=True, help="Print one view and exit, as always where there is no terminal."
)
def watch(out: Path, address: str | None, interval_s: float, *, once: bool) -> None:
    """Follow a running sweep until it is complete.

    Shows progress, failures, speed, energy, the last trials and who runs the sweep. Works on any
    machine that can read the folder, or with --address on any that can reach the sweep's metrics.
    Ends when the sweep is complete or gone, or with Ctrl-C, which does not stop the sweep.

    \b
    Examples:
      orchestrator watch
      orchestrator watch --out /shared/measurements --interval 10
      orchestrator watch --address 192.168.1.10:61234
    """  # noqa: D301 - click wants the character
    from orchestrator.cli.terminal import console

    screen = console()
    with contextlib.suppress(KeyboardInterrupt):
        if address:
            _by_metrics(screen, address, interval_s, once=once)
        else:
            check_data_set(out, "--out ")
            _by_folder(screen, out, interval_s, once=once)


def _by_folder(screen: Console, out: Path, interval_s: float, *, once: bool) -> None:
    """Show the sweeps of a folder until they are complete."""
    from rich.live import Live

    from orchestrator.cli.watch_view import view
    from orchestrator.status import StatusReader

    reader = StatusReader(out)
    first = current = reader.look()
    if once or not screen.is_terminal:
        screen.print(view(current))
        return
    took_s = 0.0
    with Live(view(current), console=screen, auto_refresh=False) as live:
        while not complete(first, current):
            # a large data set takes long to read, so it is looked at less often
            time.sleep(max(interval_s, took_s / CPU_SHARE))
            started_s = time.process_time()
            current = reader.look()
            live.update(view(current), refresh=True)
            took_s = time.process_time() - started_s


def _by_metrics(screen: Console, address: str, interval_s: float, *, once: bool) -> None:
    """Show the sweeps at a metrics address until nothing answers there any more.

    Raises UserError where nothing answers the first time.
    """
    from rich.live import Live

    from orchestrator.cli.metrics_view import metrics_view
    from orchestrator.errors import UserError
    from orchestrator.ray_tune.metrics_page import look

    sweeps = look(address)
    if once or not screen.is_terminal:
        screen.print(metrics_view(sweeps))
        return
    with (
        Live(metrics_view(sweeps), console=screen, auto_refresh=False) as live,
        contextlib.suppress(UserError),  # the end of the sweep ends its metrics
    ):
        while True:
            time.sleep(interval_s)
            live.update(metrics_view(look(address)), refresh=True)
    screen.print(
        "This address no longer answers: the sweep has ended, or its host can't be reached."
    )


def complete(first: Status, now: Status) -> bool:
    """Whether nothing is left to watch: no sweep is running, and those watched miss nothing.

    Watched are the sweeps that made progress since `first`, the status when watching started; if
    none did, all sweeps of the data set.
    """
    # unknown (None) counts as running: its host may only be silent
    runs = now.holder is not None and now.alive is not False
    if runs or not now.sweeps:
        return False
    before = {sweep.id: sweep.missing for sweep in first.sweeps}
    missing = {sweep.id: sweep.missing for sweep in now.sweeps}
    watched = dict(missing.items() - before.items())
    return not any((watched or missing).values())
