"""`publish`: make a data set ready to be published."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import existing_out_option

SHOWN = 50
SPDX = ("CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "ODbL-1.0")
ACCEPTABLE = ("e_mail", "home_path", "ip_address", "own_name", "password")
"""Rules of the scan with false alarms; a known form of token or key has none."""


@click.command()
@existing_out_option
@click.option(
    "--title",
    default="Energy of LLM inference over generation hyperparameters",
    show_default=True,
    metavar="TEXT",
)
@click.option(
    "--author",
    "authors",
    multiple=True,
    metavar='"NAME <ORCID>"',
    help="Given Family, with or without an ORCID. Repeatable, in order.",
)
@click.option(
    "--licence",
    "spdx",
    type=click.Choice(SPDX),
    default="CC-BY-4.0",
    show_default=True,
    help="Of the measurements, by SPDX identifier.",
)
@click.option(
    "--accept",
    multiple=True,
    type=click.Choice(ACCEPTABLE),
    help="Let finds of this rule through. Repeatable.",
)
@click.option("--check", is_flag=True, help="Only check; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Findings and files as JSON.")
def publish(
    *,
    out: Path,
    title: str,
    authors: tuple[str, ...],
    spdx: str,
    accept: tuple[str, ...],
    check: bool,
    as_json: bool,
) -> int:
    """Write data card, Croissant metadata, citation, licence and checksums into a data set.

    Before that it is validated, and searched for tokens, keys, addresses and names that tell who measured where; with an
    error in either nothing is written, and the exit code is 3. No measured file is changed. Nothing is uploaded: the command
    for that is printed.

    \b
    Example:
      orchestrator publish --out measurements --author "Ada Lovelace <0000-0002-1825-0097>"
    """  # noqa: D301 - click wants the character
    from orchestrator.check.validation import validate as validated
    from orchestrator.dataset.lock import holder_of, seems_alive
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.errors import UserError
    from orchestrator.publish.authors import parse_author
    from orchestrator.publish.licences import LICENCES
    from orchestrator.publish.publication import Publication
    from orchestrator.publish.publishing import publish as write
    from orchestrator.publish.scan import Scanner, names_here, scan
    from orchestrator.yaml_files import printable

    if not title.strip() or not title.isprintable():
        raise UserError("--title: must be a line of text")
    publication = Publication(
        title.strip(), tuple(map(parse_author, authors)), spdx, LICENCES[spdx]
    )
    if (holder := holder_of(out)) and seems_alive(out, holder):
        raise UserError(f"--out {out}: {holder.line()} runs a sweep there; publish when it is done")
    paths = DataSetPaths(out)
    trials, findings = validated(out)
    findings = [
        finding for finding in findings if finding.where != paths.checksums.name
    ]  # they are made anew
    folders = {part for leaf in paths.leaves() for part in leaf.relative_to(out).parts}
    findings += scan(paths, Scanner(names_here(folders), frozenset(accept)))
    errors = sum(finding.severity == "error" for finding in findings)
    try:
        files = [] if errors else write(paths, trials, publication, check=check)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be read or written ({error.strerror})"
        ) from error
    if as_json:
        names = [file.name for file in files]
        click.echo(
            json.dumps(
                {
                    "findings": list(map(asdict, findings)),
                    "files": names,
                    "written": bool(files) and not check,
                }
            )
        )
        return FAULTS if errors else 0
    for finding in sorted(findings)[:SHOWN]:
        click.echo(printable(finding.line()))
    if len(findings) > SHOWN:
        click.echo(f"... and {len(findings) - SHOWN} more (--json has all)")
    if errors:
        click.echo(f"not published: {errors} errors")
        return FAULTS
    click.echo(
        f"{'would be written' if check else 'written'} to {out}: {', '.join(file.name for file in files)}"
    )
    if not authors:
        click.echo('Note: no --author is given; CITATION.cff says "anonymous".')
    if not check:
        click.echo(
            f'Upload: hf upload ORG/NAME {shlex.quote(str(out))} . --repo-type dataset --exclude ".*" --exclude "*/.*"'
        )
    return 0
