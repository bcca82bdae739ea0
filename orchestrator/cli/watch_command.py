"""`watch`: a running sweep on any terminal that sees its folder, refreshed until it is complete. Reads only."""

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
SHARE = 0.05
"""Of a core, the most that watching takes: it may run on the host whose CPU is being measured."""


@click.command()
@out_option
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Watch by a running sweep's metrics instead of its folder; `tune` prints where they are.",
)
@click.option(
    "--interval",
    "interval_s",
    type=POSITIVE,
    default=INTERVAL_S,
    show_default=True,
    metavar="SECONDS",
    help="Time between two looks.",
)
@click.option("--once", is_flag=True, help="One view and no more; also where there is no terminal.")
def watch(out: Path, address: str | None, interval_s: float, *, once: bool) -> None:
    """Follow a running sweep: who runs it, what is done, failed and left, its rate, its energy, its last trials.

    Works from any machine that sees the folder, and reads only what has changed; with --address, from any that reaches the
    sweep's metrics. Ends when the sweep is complete or gone, or with Ctrl-C, which doesn't touch the sweep.

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
    from rich.live import Live

    from orchestrator.cli.watch_view import view
    from orchestrator.status import StatusReader

    reader = StatusReader(out)
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


def _by_metrics(screen: Console, address: str, interval_s: float, *, once: bool) -> None:
    """Until nothing answers any more. Raises UserError where nothing did."""
    from rich.live import Live

    from orchestrator.cli.metrics_view import metrics_view
    from orchestrator.errors import UserError
    from orchestrator.tune.metrics_page import look

    found = look(address)
    if once or not screen.is_terminal:
        screen.print(metrics_view(found))
        return
    with (
        Live(metrics_view(found), console=screen, auto_refresh=False) as live,
        contextlib.suppress(UserError),
    ):
        while True:
            time.sleep(interval_s)
            live.update(metrics_view(look(address)), refresh=True)
    screen.print(
        "Nothing answers there any more: the sweep has ended, or its host can't be reached."
    )


def complete(first: Status, now: Status) -> bool:
    """Whether nothing is left to watch: no run, and nothing missing of any sweep, or of those that went on since `first`."""
    runs = now.holder is not None and now.alive is not False
    if runs or not now.sweeps:
        return False
    before = {sweep.id: sweep.missing for sweep in first.sweeps}
    went_on = [sweep for sweep in now.sweeps if sweep.missing != before.get(sweep.id)]
    return not any(sweep.missing for sweep in went_on or now.sweeps)
