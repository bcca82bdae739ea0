"""`validate`: check a data set before it is published or merged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import existing_out_option
from orchestrator.units import plural

SHOWN = 200
"""Most findings that are printed; --json has all."""


@click.command()
@existing_out_option
@click.option("--json", "as_json", is_flag=True, help="Print all findings as JSON.")
def validate(out: Path, *, as_json: bool) -> int:
    """Check a data set for errors and missing executions.

    Checks schema, hashes, folders, duplicates, tables and whether values are possible. Changes
    nothing. The exit code is 3 if there are errors.

    \b
    Example:
      orchestrator validate --out measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.check.validation import validate as check
    from orchestrator.yaml_files import printable

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
            click.echo(printable(finding.line()))
        if len(findings) > SHOWN:
            click.echo(f"... and {len(findings) - SHOWN} more (--json has all)")
        rows = f"{plural(executions, 'execution')} of {plural(len(trials), 'trial')}"
        warnings = len(findings) - errors
        click.echo(f"{rows}: {plural(errors, 'error')}, {plural(warnings, 'warning')}")
    if errors:
        return FAULTS
    return 0
