"""`import`: take over measurements that were made with CodeCarbon alone."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import check_data_set, out_option

SHOWN = 50


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path), metavar="FOLDER")
@out_option
@click.option("--machine", metavar="NAME", help="Where the tree has no folders for machines.")
@click.option("--model", metavar="NAME", help="Where it has none for models.")
@click.option("--strategy", metavar="NAME", help="Where it has none for sampling strategies.")
@click.option("--use-case", metavar="NAME", help="Where it has none for use cases.")
@click.option("--dry-run", is_flag=True, help="Only say what would be imported, and what can't be.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def import_(*, source: Path, out: Path, dry_run: bool, as_json: bool, **levels: str | None) -> int:
    """Copy a tree MACHINE/MODEL/STRATEGY/USE CASE/.../emissions.csv, output.txt into a data set.

    Files of any version of CodeCarbon are copied as they are to imported/, and their rows stand in imported.parquet, apart from
    what this program measured and null where something is unknown. Nothing is overwritten, and what is there already is no
    matter. Rows that can't be read are listed with file and line; the exit code is then 3.

    \b
    Example:
      orchestrator import old-measurements --out measurements --dry-run
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.errors import UserError
    from orchestrator.importer.import_tree import import_tree
    from orchestrator.sweep.prepare import check_folder
    from orchestrator.yaml_files import printable

    check_data_set(source, "")
    check_folder(out)
    named = {name: value for name, value in levels.items() if value is not None}
    try:
        found = import_tree(source, DataSetPaths(out), named, dry_run=dry_run)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be read or written ({error.strerror}); import again"
        ) from error
    flags = sorted({flag for row in found.rows for flag in row.flags})
    if as_json:
        counts = {"files": len(found.new), "identical": found.identical, "rows": len(found.rows)}
        click.echo(json.dumps({**counts, "flags": flags, "faults": found.faults}))
        return FAULTS if found.faults else 0
    for fault in found.faults[:SHOWN]:
        click.echo(printable(f"left out: {fault}"), err=True)
    if len(found.faults) > SHOWN:
        click.echo(f"... and {len(found.faults) - SHOWN} more (--json has all)", err=True)
    done = "would be imported" if dry_run else "imported"
    click.echo(
        f"{len(found.rows)} measurements of {len(found.new)} files {done} to {out}, {found.identical} files were there already"
    )
    with_text = sum(row.text is not None for row in found.rows)
    if found.rows:
        click.echo(f"{with_text} with a text; flags: {', '.join(flags)} (see docs/publish.md)")
    return FAULTS if found.faults else 0
