"""`cluster`: sweeps on machines that are several."""

from __future__ import annotations

import click

from orchestrator.cli.node import join, start, status, stop


@click.group()
def cluster() -> None:
    """Run a sweep on several machines at once.

    \b
    Example:
      orchestrator cluster start --machine pc --host 192.168.1.10
    """  # noqa: D301 - click wants the character


for verb in (start, join, status, stop):
    cluster.add_command(verb)
