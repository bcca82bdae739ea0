"""`merge`: data sets of machines that can't reach each other become one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import check_data_set, out_option
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.merge import Merge


@click.command()
@click.argument(
    "sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER..."
)
@out_option
@click.option("--dry-run", is_flag=True, help="Only say what would be copied, and what conflicts.")
@click.option(
    "--accept-drift",
    is_flag=True,
    help="Mix what machines of one name measured under different conditions.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def merge(
    *, sources: tuple[Path, ...], out: Path, dry_run: bool, accept_drift: bool, as_json: bool
) -> None:
    """Copy the trials and plans of other data sets into one, and rebuild its tables.

    Nothing that is there is changed, and identical copies are no matter: merge the same folders again whenever they have
    grown. Where two data sets have measured the same attempt of a trial on a machine of the same name, or a sweep's trials on
    such machines with other versions or GPUs, all conflicts are named and nothing is written.

    \b
    Example:
      orchestrator merge from-pc from-colab from-leonardo --out measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.merge import merge as merge_data_sets
    from orchestrator.sweep.prepare import check_folder

    for source in sources:
        check_data_set(source, "")
    check_folder(out)
    found = merge_data_sets(
        sources,
        out,
        lambda line: click.echo(printable(line), err=True),
        dry_run=dry_run,
        accept_drift=accept_drift,
    )
    if as_json:
        click.echo(json.dumps(_as_json(found)))
        return
    for line in _lines(found, "would be copied" if dry_run else "copied"):
        click.echo(printable(line))


def _as_json(found: Merge) -> dict[str, object]:
    return {
        "out": str(found.out),
        "sources": [
            {
                "folder": str(source.root),
                "copied": [str(place) for place in source.new],
                "identical": source.identical,
                "unfinished": list(source.unfinished),
                "imported": source.imported,
            }
            for source in found.sources
        ],
        "sweeps": [dataclasses.asdict(sweep) for sweep in found.sweeps],
    }


def _lines(found: Merge, copied: str) -> list[str]:
    lines = []
    for source in found.sources:
        lines.append(
            f"{source.root}: {len(source.new)} trials {copied}, {source.identical} were there already"
        )
        lines += [
            f"  left out: {place} runs or was cut off; `tune` there goes on with it"
            for place in source.unfinished
        ]
        if source.imported:
            lines.append(
                "  left out: imported/; `orchestrator import` takes the old files into another data set, too"
            )
    for sweep in found.sweeps:
        missing = f"{sweep.missing} are missing" if sweep.missing else "complete"
        lines.append(
            f"{sweep.id}: {sweep.planned - sweep.missing} of {sweep.planned} executions: {missing}"
        )
    return [*lines, f"{found.n_new()} trials {copied} to {found.out}"]
