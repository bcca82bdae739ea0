"""`publish`: check a data set and write the files that it needs to be published."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import OneOf, data_set
from orchestrator.cli.terminal import say, tell
from orchestrator.units import plural
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.dataset.findings import Finding
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.tables import Trials
    from orchestrator.errors import UserError
    from orchestrator.publish.conclusions import CardChart, Conclusions
    from orchestrator.publish.publication import Publication
    from orchestrator.publish.scan import Scanner
    from orchestrator.report.execution_frame import Data

PUBLISHES = "publishes it"
_PAGE = re.compile(r"https?://[\w.-]+(?::\d+)?(?:/[\w.~%/+?=&@-]*)?", re.ASCII)
CHART, CHART_CM = "energy-length", 13.0
"""The report's chart that the card shows, and its width in print."""
SHOWN = 50
"""Most findings that are printed; --json has all."""
SPDX = ("CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ODbL-1.0")
ACCEPTABLE = (
    "coordinates", "e_mail", "home_path", "host_name", "ip_address", "own_name", "password", "path",
    "user_name",
)  # fmt: skip
"""Rules of the scan that give false alarms. Tokens and keys of a known form can't be accepted."""


@click.command()
@data_set
@click.option(
    "--title",
    default="Energy of LLM inference over generation hyperparameters",
    show_default=True,
    metavar="TEXT",
    help="Title of the data set.",
)
@click.option(
    "--author",
    "authors",
    multiple=True,
    metavar='"NAME <ORCID>"',
    help="An author: given name, family name, and an ORCID if there is one. Repeatable, in order.",
)
@click.option(
    "--licence",
    "--license",
    "spdx",
    type=OneOf(SPDX),
    default="CC-BY-4.0",
    show_default=True,
    help="Licence of the measurements, by its SPDX identifier.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Page of the data set, such as https://huggingface.co/datasets/ORG/NAME.",
)
@click.option(
    "--accept",
    multiple=True,
    type=OneOf(ACCEPTABLE),
    help="Ignore matches of this rule: they become warnings. Repeatable.",
)
@click.option(
    "--remove-private",
    is_flag=True,
    help="Remove from the copies of imported tables what the scan finds.",
)
@click.option("--check", is_flag=True, help="Only check; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print findings and files as JSON.")
def publish(
    *,
    out: Path,
    title: str,
    authors: tuple[str, ...],
    spdx: str,
    url: str | None,
    accept: tuple[str, ...],
    remove_private: bool,
    check: bool,
    as_json: bool,
) -> int:
    """Prepare a data set for publication: data card, citation, checksums.

    Writes a data card with a chart, a data dictionary, Croissant metadata, citation, licence and
    checksums into it. The data set is
    validated first, and scanned for tokens, keys, addresses, coordinates and names that reveal who
    measured where. If either finds an error, nothing is written and the exit code is 3. Measured
    files are never changed. Nothing is uploaded: the command for that is printed.

    --remove-private changes the copies of imported tables (imported/): coordinates become empty,
    names and paths become `removed-...`. imported.parquet is rebuilt from them, and
    imported/import.json keeps the hash of each original and names the columns.

    \b
    Example:
      orchestrator publish measurements --author "Ada Lovelace <0000-0002-1825-0097>"
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths

    publication = _publication(title, authors, spdx, url)
    paths = DataSetPaths(out)
    removed: dict[str, list[str]] = {}
    with _standing_still(paths, check=check):
        if remove_private:
            removed = _remove_private(paths, accept, check=check)
        if not check:
            _renew_imported(paths)
        trials, findings = _findings(paths, accept, alone=not check)
        errors = sum(finding.severity == "error" for finding in findings)
        files: list[Path] = []
        if not errors:
            files = _files(paths, trials, publication, check=check)
    if as_json:
        result = {
            "findings": list(map(asdict, findings)),
            "files": [file.name for file in files],
            "written": bool(files) and not check,
            "removed": removed,
        }
        click.echo(json.dumps(result))
    else:
        for path, columns in removed.items():
            done = "would be removed" if check else "removed"
            tell(f"{done} from imported/{path}: {', '.join(columns)}")
        for line in _lines(out, findings, files, errors, check=check, anonymous=not authors):
            tell(line)
        if files and not check:
            # a command stays in one line, so that it can be copied
            click.echo(
                f"Upload: hf upload ORG/NAME {printable(shlex.quote(str(out)))} . "
                '--repo-type dataset --exclude ".*" --exclude "*/.*"'
            )
    if errors:
        return FAULTS
    return 0


def _publication(title: str, authors: tuple[str, ...], spdx: str, url: str | None) -> Publication:
    """What the flags say of the publication. Raises UserError."""
    from orchestrator.errors import UserError
    from orchestrator.publish.authors import parse_author
    from orchestrator.publish.licences import LICENCES
    from orchestrator.publish.publication import Publication

    if not title.strip() or not title.isprintable():
        raise UserError("--title: must be one line of text")
    if url is not None and not _PAGE.fullmatch(url):
        raise UserError(f"--url {url}: must be the address of a page, beginning with https://")
    return Publication(title.strip(), tuple(map(parse_author, authors)), spdx, LICENCES[spdx], url)


def _refuse_running(out: Path) -> None:
    """Raise UserError where somebody adds to the data set: its files still change."""
    from orchestrator.dataset.lock import holder_of, seems_alive
    from orchestrator.errors import UserError

    holder = holder_of(out)
    if holder and seems_alive(out, holder):
        raise UserError(f"--out {out}: {holder.line()} {holder.doing}; publish when it is done")


@contextlib.contextmanager
def _standing_still(paths: DataSetPaths, *, check: bool) -> Iterator[None]:
    """Keep all others from writing: what was checked must be what the checksums are of.

    With `check` nothing is written, the locks included. Raises UserError where a sweep runs there
    or the folder can't be written.
    """
    from orchestrator.dataset.leftovers import alone
    from orchestrator.dataset.lock import held
    from orchestrator.dataset.tables import renew

    if check:
        _refuse_running(paths.root)
        yield
        return
    with (
        _as_user_error(paths),
        held(paths.root, say, PUBLISHES),
        alone(paths, say, PUBLISHES),
    ):
        renew(paths)  # the data card describes the columns of the present version
        yield


@contextlib.contextmanager
def _as_user_error(paths: DataSetPaths) -> Iterator[None]:
    """Raise UserError for what the system refuses."""
    from orchestrator.errors import UserError

    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or paths.root}: can't be read or written ({error.strerror})"
        ) from error


def _files(
    paths: DataSetPaths, trials: Trials, publication: Publication, *, check: bool
) -> list[Path]:
    """The files of the publication, written unless `check`. Raises UserError."""
    from orchestrator.publish.publishing import publish as write

    conclusions = _conclusions(paths, trials)
    with _as_user_error(paths):
        return write(paths, trials, publication, conclusions, check=check)


def _conclusions(paths: DataSetPaths, trials: Trials) -> Conclusions:
    """What the report concludes; nothing where all was imported. Raises UserError."""
    from orchestrator.publish.conclusions import Conclusions
    from orchestrator.report.execution_frame import read_data
    from orchestrator.report.page_content import findings_by_subject, warnings

    if not trials:
        return Conclusions()
    data = read_data(paths)
    return Conclusions(warnings(data), findings_by_subject(data), _chart(data))


def _chart(data: Data) -> CardChart | None:
    """The chart of the data card; None: there is nothing to draw."""
    from orchestrator.publish.conclusions import CardChart
    from orchestrator.report.charts import CHARTS
    from orchestrator.report.drawing import drawn

    chart = CHARTS[CHART]
    drawing = chart.draw(data)
    if drawing is None:
        return None
    png = drawn(drawing, "png", CHART_CM)
    return CardChart(png, chart.title, drawing.description, drawing.message)


def _scanner(paths: DataSetPaths, accepted: tuple[str, ...]) -> Scanner:
    """What is looked for in a data set."""
    from orchestrator.publish.scan import Scanner, names_here

    folder_names: set[str] = set()
    for folder in paths.use_case_folders():
        folder_names.update(folder.relative_to(paths.root).parts)
    return Scanner(names_here(folder_names), frozenset(accepted))


def _remove_private(
    paths: DataSetPaths, accepted: tuple[str, ...], *, check: bool
) -> dict[str, list[str]]:
    """Copy of an imported table -> columns in which something was removed. Raises UserError."""
    from orchestrator.importer.import_tree import renew_imported
    from orchestrator.publish.private_cells import remove_private

    try:
        removed = remove_private(paths, _scanner(paths, accepted), check=check)
        if paths.provenance.exists() and not check:
            renew_imported(paths)
    except (OSError, ValueError) as error:
        raise _unreadable_import(paths, error) from error
    return removed


def _renew_imported(paths: DataSetPaths) -> None:
    """Make imported.parquet anew where an earlier version wrote it. Raises UserError."""
    from orchestrator.importer.import_tree import renew_earlier

    try:
        renew_earlier(paths)
    except (OSError, ValueError) as error:
        raise _unreadable_import(paths, error) from error


def _unreadable_import(paths: DataSetPaths, error: OSError | ValueError) -> UserError:
    """What to say where the imported files can't be read or written."""
    from orchestrator.dataset.reading import reason_of
    from orchestrator.errors import UserError

    where = getattr(error, "filename", None) or paths.imports
    return UserError(
        f"{where}: can't be read or written ({reason_of(error)}); `orchestrator validate` says more"
    )


def _findings(
    paths: DataSetPaths, accepted: tuple[str, ...], *, alone: bool
) -> tuple[Trials, list[Finding]]:
    """The trials, and what `validate` and the scan for private content find, errors first.

    `alone`: this process holds the data set.
    """
    from orchestrator.check.validation import validate
    from orchestrator.publish.private_cells import removed_before
    from orchestrator.publish.scan import scan

    trials, findings = validate(paths.root, alone=alone)
    # publishing writes these anew, so an old one is no fault
    written_anew = (paths.checksums.name, paths.readme.name)
    findings = [finding for finding in findings if finding.where not in written_anew]
    findings += [*scan(paths, _scanner(paths, accepted)), *removed_before(paths)]
    return trials, sorted(findings)


def _lines(
    out: Path,
    findings: list[Finding],
    files: list[Path],
    errors: int,
    *,
    check: bool,
    anonymous: bool,
) -> Iterator[str]:
    """What is printed: the findings, the files, and how to go on."""
    for finding in findings[:SHOWN]:
        yield finding.line()
    if len(findings) > SHOWN:
        yield f"... and {len(findings) - SHOWN} more (--json has all)"
    if errors:
        yield f"not published: {plural(errors, 'error')}"
        yield from _advice(findings)
        return
    names = ", ".join(file.name for file in files)
    if check:
        yield f"would be written to {out}: {names}"
    else:
        yield f"written to {out}: {names}"
    if anonymous:
        yield 'Note: no --author is given; CITATION.cff and croissant.json say "anonymous".'


def _advice(findings: list[Finding]) -> Iterator[str]:
    """What can be done about private content, by where it stands."""
    private = [one for one in findings if one.severity == "error" and "holds " in one.what]
    if any(one.where.startswith("imported/") for one in private):
        yield "--remove-private removes it from the copies of imported tables"
    if any(one.where.endswith("/trial.json") for one in private):
        yield (
            "a trial.json is sealed and stays as it is: give --accept RULE if it may be published, "
            "or move the trial's folder out of the data set and measure it again without that name"
        )
