"""`import`: copy measurements that were made with CodeCarbon alone into a data set."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import check_data_set, out_option
from orchestrator.cli.terminal import say
from orchestrator.units import plural

if TYPE_CHECKING:
    from orchestrator.importer.import_tree import Import

SHOWN = 50
"""Most faults that are printed; --json has all."""


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path), metavar="FOLDER")
@out_option
@click.option("--machine", metavar="NAME", help="Machine, if FOLDER has no level for it.")
@click.option("--model", metavar="NAME", help="Model, if FOLDER has no level for it.")
@click.option(
    "--strategy", metavar="NAME", help="Sampling strategy, if FOLDER has no level for it."
)
@click.option("--use-case", metavar="NAME", help="Use case, if FOLDER has no level for it.")
@click.option(
    "--dry-run", is_flag=True, help="Only show what would be imported and what would be left out."
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts and faults as JSON.")
def import_(*, source: Path, out: Path, dry_run: bool, as_json: bool, **levels: str | None) -> int:
    """Copy measurements made with CodeCarbon alone into a data set.

    FOLDER holds MACHINE/MODEL/STRATEGY/USE_CASE/.../ with an emissions.csv, and output.txt if
    there is one, of any version of CodeCarbon. The files are copied unchanged to imported/, and
    their rows go to imported.parquet, apart from what this program measured; what is unknown is
    null. Nothing is overwritten, and files that were imported before are skipped. Rows that
    can't be read are listed with file and line; the exit code is then 3.

    \b
    Example:
      orchestrator import old-measurements --out measurements --dry-run
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.folder_checks import check_folder
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.errors import UserError
    from orchestrator.importer.import_tree import import_tree

    check_data_set(source, "")
    check_folder(out)
    named = {name: value for name, value in levels.items() if value is not None}
    try:
        with _writing(out, dry_run=dry_run):
            result = import_tree(source, DataSetPaths(out), named, dry_run=dry_run)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be read or written ({error.strerror}); import again"
        ) from error
    if as_json:
        click.echo(json.dumps(_as_json(result)))
    else:
        for fault in result.faults[:SHOWN]:
            say(f"left out: {fault}")
        if len(result.faults) > SHOWN:
            click.echo(f"... and {len(result.faults) - SHOWN} more (--json has all)", err=True)
        for line in _lines(result, out, dry_run=dry_run):
            click.echo(line)
    if result.faults:
        return FAULTS
    return 0


@contextlib.contextmanager
def _writing(out: Path, *, dry_run: bool) -> Iterator[None]:
    """Be the only writer of the data set; a dry run writes nothing. Raises OSError.

    Where nothing was imported no new folder stays.
    """
    from orchestrator.dataset.leftovers import alone
    from orchestrator.dataset.paths import DataSetPaths

    if dry_run:
        yield
        return
    is_new = not out.exists()
    try:
        with alone(DataSetPaths(out), say, "imports there"):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it holds what was imported
                out.rmdir()


def _flags(result: Import) -> list[str]:
    """Every flag that a new row carries, sorted."""
    flags: set[str] = set()
    for row in result.rows:
        flags.update(row.warning_flags)
    return sorted(flags)


def _as_json(result: Import) -> dict[str, object]:
    """What `import --json` prints."""
    return {
        "files": len(result.new),
        "identical": result.identical,
        "rows": len(result.rows),
        "flags": _flags(result),
        "faults": result.faults,
    }


def _lines(result: Import, out: Path, *, dry_run: bool) -> Iterator[str]:
    """What `import` prints for a person when it is done."""
    done = "imported to"
    if dry_run:
        done = "would be imported to"
    new = f"{plural(len(result.rows), 'measurement')} of {plural(len(result.new), 'file')}"
    yield f"{new} {done} {out}; {plural(result.identical, 'file')} skipped as imported before"
    if result.rows:
        with_text = sum(row.output_text is not None for row in result.rows)
        flags = ", ".join(_flags(result))
        yield f"{with_text} of them with a text; flags: {flags} (see docs/publish.md)"
