"""`summarize`: rebuild the tables of a data set from its trial folders."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import data_set
from orchestrator.cli.terminal import say, tell
from orchestrator.units import plural


@click.command()
@data_set
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def summarize(out: Path, *, as_json: bool) -> int:
    """Rebuild executions.parquet and summary.parquet from the trial folders.

    Folders that can't be read are left out and listed; the exit code is then 3.

    \b
    Example:
      orchestrator summarize measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.reading import reason_of
    from orchestrator.dataset.tables import rebuild
    from orchestrator.errors import UserError
    from orchestrator.importer.import_tree import renew_earlier

    paths = DataSetPaths(out)
    try:
        executions, trials, faults = rebuild(paths, say)
        renew_earlier(paths)
    except ValueError as error:
        faults.append(f"{paths.imports.name}: {reason_of(error)}")
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be read or written ({error.strerror})"
        ) from error
    for fault in faults:
        say(f"left out: {fault}")
    if as_json:
        click.echo(json.dumps({"executions": executions, "trials": trials, "left_out": faults}))
    else:
        rows = f"{plural(executions, 'execution')} of {plural(trials, 'trial')}"
        tell(f"{rows} -> {paths.executions}, {paths.summary}")
    if faults:
        return FAULTS
    return 0
