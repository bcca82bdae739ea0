"""`validate`: check a data set before it is published or merged."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import existing_out_option

SHOWN = 200


@click.command()
@existing_out_option
@click.option("--json", "as_json", is_flag=True, help="All findings as JSON.")
def validate(out: Path, *, as_json: bool) -> int:
    """Check a data set: schema, hashes, places, duplicates, tables, and what each plan still misses.

    Changes nothing. Exit code 3 where there are errors.

    \b
    Example:
      orchestrator validate --out measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.check.validation import validate as check
    from orchestrator.yaml_files import printable

    trials, findings = check(out)
    errors = sum(finding.severity == "error" for finding in findings)
    executions = sum(len(trials.counted(key)) for key in trials)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "trials": len(trials),
                    "executions": executions,
                    "findings": list(map(dataclasses.asdict, findings)),
                }
            )
        )
    else:
        for finding in findings[:SHOWN]:
            click.echo(printable(finding.line()))
        if len(findings) > SHOWN:
            click.echo(f"... and {len(findings) - SHOWN} more (--json has all)")
        click.echo(
            f"{executions} executions of {len(trials)} trials: {errors} errors, {len(findings) - errors} warnings"
        )
    return FAULTS if errors else 0
