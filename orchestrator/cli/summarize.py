"""`summarize`: rebuild the derived tables of a data set from its folders."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli.options import out_option
from orchestrator.errors import UserError


@click.command()
@out_option
@click.option("--json", "as_json", is_flag=True, help="Counts as JSON.")
def summarize(out: Path, *, as_json: bool) -> None:
    """Rebuild executions.parquet and summary.parquet from the trial folders.

    \b
    Example:
      orchestrator summarize --out measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.tables import rebuild

    if not out.is_dir():
        raise UserError(f"--out {out}: no such folder; name a data set written by `orchestrator tune`")
    paths = DataSetPaths(out)
    executions, trials, faults = rebuild(paths)
    for fault in faults:
        click.echo(f"left out: {fault}", err=True)
    if as_json:
        click.echo(json.dumps({"executions": executions, "trials": trials, "left_out": faults}))
    else:
        click.echo(f"{executions} executions of {trials} trials -> {paths.executions}, {paths.summary}")
