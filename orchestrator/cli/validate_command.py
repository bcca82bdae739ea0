"""`validate`: check a data set before it is published or merged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import data_set
from orchestrator.cli.terminal import tell
from orchestrator.units import plural

SHOWN = 200
"""Most findings that are printed; --json has all."""


@click.command()
@data_set
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON.")
def validate(out: Path, *, as_json: bool) -> int:
    """Check a data set for errors and missing executions.

    Checks schema, hashes, folders, duplicates, tables and whether values are plausible. Changes
    nothing. The exit code is 3 if there are errors.

    \b
    Example:
      orchestrator validate measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.check.validation import validate as check

    trials, findings = check(out)
    errors = sum(finding.severity == "error" for finding in findings)
    executions = sum(len(trials.chosen(key)) for key in trials)
    if as_json:
        result = {
            "trials": len(trials),
            "executions": executions,
            "findings": list(map(dataclasses.asdict, findings)),
        }
        click.echo(json.dumps(result))
    else:
        for finding in findings[:SHOWN]:
            tell(finding.line())
        if len(findings) > SHOWN:
            tell(f"... and {len(findings) - SHOWN} more (--json has all)")
        rows = f"{plural(executions, 'execution')} of {plural(len(trials), 'trial')}"
        warnings = len(findings) - errors
        tell(f"{rows}: {plural(errors, 'error')}, {plural(warnings, 'warning')}")
    if errors:
        return FAULTS
    return 0
