"""`merge`: copy the data sets of machines that can't reach each other into one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import check_data_set, out_option
from orchestrator.cli.terminal import say, tell
from orchestrator.units import plural

if TYPE_CHECKING:
    from orchestrator.merge import Merge


@click.command()
@click.argument(
    "sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER..."
)
@out_option
@click.option("--dry-run", is_flag=True, help="Only show what would be copied, and conflicts.")
@click.option(
    "--accept-drift",
    is_flag=True,
    help="Merge trials of machines with the same name even where their software or GPU differs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def merge(
    *, sources: tuple[Path, ...], out: Path, dry_run: bool, accept_drift: bool, as_json: bool
) -> None:
    """Copy the trials and plans of other data sets into one, and rebuild its tables.

    Existing files are never changed, and identical copies are skipped: merge the same folders
    again whenever they have grown. Two data sets conflict if both measured the same attempt of a
    trial on a machine of the same name, or if a sweep's trials on machines of the same name ran
    with other versions or GPUs. Then all conflicts are named and nothing is written.

    \b
    Example:
      orchestrator merge from-pc from-colab from-leonardo --out measurements
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.folder_checks import check_folder
    from orchestrator.merge import merge as merge_data_sets

    for source in sources:
        check_data_set(source, "")
    check_folder(out)
    result = merge_data_sets(
        sources,
        out,
        say,
        dry_run=dry_run,
        accept_drift=accept_drift,
    )
    if as_json:
        click.echo(json.dumps(_as_json(result)))
        return
    copied = "copied"
    if dry_run:
        copied = "would be copied"
    for line in _lines(result, copied):
        tell(line)


def _as_json(result: Merge) -> dict[str, object]:
    """What `merge --json` prints."""
    return {
        "out": str(result.out),
        "sources": [
            {
                "folder": str(source.root),
                "copied": [str(place) for place in source.new],
                "identical": source.identical,
                "unfinished": list(source.unfinished),
                "imported": source.imported,
            }
            for source in result.sources
        ],
        "sweeps": [dataclasses.asdict(sweep) for sweep in result.sweeps],
    }


def _lines(result: Merge, copied: str) -> list[str]:
    """What was copied from each data set, and how complete each sweep is now."""
    lines = []
    for source in result.sources:
        new = plural(len(source.new), "trial")
        lines.append(f"{source.root}: {new} {copied}, {source.identical} skipped as identical")
        lines += [
            f"  left out: {place} is unfinished; resume it with `tune` in that data set"
            for place in source.unfinished
        ]
        if source.imported:
            lines.append(
                "  left out: imported/; import its original files with `orchestrator import`"
            )
    for sweep in result.sweeps:
        finished = f"{sweep.id}: {sweep.planned - sweep.missing} of {sweep.planned} executions"
        if sweep.missing:
            lines.append(f"{finished}, {sweep.missing} missing")
        else:
            lines.append(f"{finished}, complete")
    return [*lines, f"{plural(result.n_new(), 'trial')} {copied} to {result.out}"]
