"""`import`: copy measurements that were made with CodeCarbon alone into a data set."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import out_option
from orchestrator.cli.terminal import say, tell
from orchestrator.units import energy, plural

if TYPE_CHECKING:
    from orchestrator.dataset.imported import LeftOut
    from orchestrator.importer.import_tree import Import

LINES_SHOWN = 5
"""Most line numbers that are printed of one fault of a file; left-out.csv has all."""


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
@click.option("--json", "as_json", is_flag=True, help="Print counts and what was left out as JSON.")
def import_(*, source: Path, out: Path, dry_run: bool, as_json: bool, **levels: str | None) -> int:
    """Copy measurements made with CodeCarbon alone into a data set.

    FOLDER holds MACHINE/MODEL/STRATEGY/USE_CASE/.../ with an emissions.csv, and output.txt if
    there is one, of any version of CodeCarbon. The files are copied to imported/, and their rows
    go to imported.parquet, apart from what this program measured; what is unknown is null. Each
    file is read by one rule (encoding, separator, decimal sign), which is printed. A measurement
    that several files hold counts once.

    The same command again adds what is new: a file that has grown replaces its copy, and a
    different file of the same name gets a number. Rows and files that can't be read are listed
    with their reason, all of them in imported/left-out.csv; the exit code is then 3.

    \b
    Example:
      orchestrator import old-measurements --out measurements --dry-run
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.folder_checks import check_folder
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.errors import UserError
    from orchestrator.importer.import_tree import import_tree

    _check_source(source)
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
        for line in _notices(result):
            say(line)
        for line in _lines(result, out, dry_run=dry_run):
            tell(line)
    if result.left_out:
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
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        with alone(DataSetPaths(out), say, "imports there"):
            yield
    finally:
        for folder in new:
            with contextlib.suppress(OSError):  # it holds what was imported
                folder.rmdir()


def _check_source(source: Path) -> None:
    """Raise UserError where the source is no folder."""
    from orchestrator.errors import UserError

    try:
        is_folder, is_file = source.is_dir(), source.is_file()
    except OSError:  # a name that no system takes
        is_folder = is_file = False
    if is_file:
        raise UserError(
            f"{source}: is a file; name its folder: `orchestrator import "
            f"{shlex.quote(str(source.parent))} --machine NAME --model NAME --strategy NAME "
            "--use-case NAME`"
        )
    if not is_folder:
        raise UserError(
            f"{source}: no such folder; name one with machine/model/strategy/useCase below it"
        )


def _notices(result: Import) -> Iterator[str]:
    """What was left out, a line for each file and reason, and what was passed over."""
    groups: dict[tuple[str, str], list[LeftOut]] = defaultdict(list)
    for item in result.left_out:
        groups[item.source, item.reason].append(item)
    for (source, reason), items in sorted(groups.items()):
        found = f" ({items[0].found!r})" if items[0].found else ""
        lines = [str(item.line) for item in items if item.line]
        if len(items) == 1:
            place = f":{lines[0]}" if lines else ""
            yield f"left out: {source}{place}: {reason}{found}"
            continue
        shown = ", ".join(lines[:LINES_SHOWN])
        more = ", ..." if len(lines) > LINES_SHOWN else ""
        first = f"; first{found}" if found else ""
        yield f"left out: {source}: {len(items)} lines ({shown}{more}): {reason}{first}"
    for path, why in sorted(result.passed_over.items()):
        yield f"passed over: {path}: {why}"


def _flags(result: Import) -> dict[str, int]:
    """Flag -> new rows that carry it, sorted."""
    flags: Counter[str] = Counter()
    for row in result.rows:
        flags.update(row.warning_flags)
    return dict(sorted(flags.items()))


def _as_json(result: Import) -> dict[str, object]:
    """What `import --json` prints."""
    from orchestrator.dataset.imported import energy_once_j

    energy_j, n_added = energy_once_j(result.rows)
    return {
        "files": len(result.new),
        "identical": result.identical,
        "grown": result.grown,
        "renamed": result.renamed,
        "removed_before": result.removed_before,
        "rows": len(result.rows),
        "same": result.n_same,
        "energy_once_j": energy_j,
        "energy_once_rows": n_added,
        "readings": dict(sorted(result.readings.items())),
        "flags": _flags(result),
        "left_out": [item.model_dump() for item in result.left_out],
        "passed_over": result.passed_over,
    }


def _lines(result: Import, out: Path, *, dry_run: bool) -> Iterator[str]:
    """What `import` prints for a person when it is done."""
    from orchestrator.dataset.imported import energy_once_j

    done = "imported to"
    if dry_run:
        done = "would be imported to"
    new = f"{plural(len(result.rows), 'measurement')} of {plural(len(result.new), 'file')}"
    yield f"{new} {done} {out}; {plural(result.identical, 'file')} skipped as imported before"
    for reading, count in sorted(result.readings.items()):
        yield f"read as {reading}: {plural(count, 'file')}"
    if result.n_same:
        repeats = "repeats" if result.n_same == 1 else "repeat"
        counted = "isn't counted" if result.n_same == 1 else "aren't counted"
        rows = plural(result.n_same, "row")
        yield f"{rows} {repeats} the measurement of another row and {counted}"
    for path in result.grown:
        yield f"imported/{path}: has grown; it replaces the copy, and still holds all of it"
    for path in result.renamed:
        yield f"imported/{path}: got a number, since a different file was imported before"
    for path, columns in result.removed_before.items():
        yield (
            f"imported/{path}: holds again what was removed as private ({', '.join(columns)}); "
            "`orchestrator publish --remove-private` removes it"
        )
    if result.rows:
        with_text = sum(row.output_text is not None for row in result.rows)
        flags = ", ".join(f"{name} ({count:,})" for name, count in _flags(result).items())
        yield f"{with_text} of them with a text; flags: {flags} (see docs/publish.md)"
        energy_j, n_added = energy_once_j(result.rows)
        yield (
            f"energy that can be added up: {energy(energy_j)} of {plural(n_added, 'row')}; "
            f"{len(result.rows) - n_added:,} may be part of others or have none"
        )
    if result.left_out:
        listed = "" if dry_run else "; imported/left-out.csv has all"
        n = len(result.left_out)
        what = "row or file" if n == 1 else "rows or files"
        yield f"left out: {n:,} {what}{listed}"
