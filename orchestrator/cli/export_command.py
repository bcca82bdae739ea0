"""`export`: write what was measured in the form of another tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import data_set
from orchestrator.cli.terminal import say, tell
from orchestrator.units import plural

if TYPE_CHECKING:
    from orchestrator.export.studies import Objectives, Study


@click.group()
def export() -> None:
    """Write the trials into a file that other tools open.

    \b
    Example:
      orchestrator export optuna --file study.db
    """  # noqa: D301 - click wants the character


@export.command("optuna")
@data_set
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    default=Path("study.db"),
    show_default=True,
    metavar="FILE",
    help="The new file: .db or .sqlite3 for SQLite; .log for Optuna's journal, which is quicker "
    "for many trials.",
)
@click.option(
    "--objective",
    "objectives",
    multiple=True,
    metavar="COLUMN=min|max",
    help="A number of summary.parquet, or usable_share. Repeatable. [default: what the sampler "
    "learned from; of a design energy_per_token_j=min and, where all was evaluated, quality=max]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export_optuna(*, out: Path, file: Path, objectives: tuple[str, ...], as_json: bool) -> None:
    """Write the trials of all sweeps as studies of Optuna, which optuna-dashboard opens.

    A study is a model, variant and use case of one sweep on one kind of machine. Parameters have
    the ranges of their space; the figures of the summary are attributes. Trials without a value are
    failed. A file that exists is never changed.

    \b
    Example:
      orchestrator export optuna --file study.db && optuna-dashboard sqlite:///study.db
      orchestrator export optuna --objective energy_per_usable_j=min --objective usable_share=max
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.sweep_plan import read_plans
    from orchestrator.dataset.tables import read_all, read_judgements
    from orchestrator.errors import UserError
    from orchestrator.export.studies import studies_of
    from orchestrator.export.study_file import address, check_kind, write_studies

    check_kind(file)
    chosen = _objectives(objectives)
    paths = DataSetPaths(out)
    plans, unreadable = read_plans(paths)
    if unreadable:
        raise UserError(*(f"{paths.root}/{fault.where}: {fault.what}" for fault in unreadable))
    trials, faults = read_all(paths)
    trials.judgements, unjudged = read_judgements(paths)
    for fault in (*faults, *(f"{finding.where}: {finding.what}" for finding in unjudged)):
        say(f"left out: {fault}")
    studies, n_left_out = studies_of(trials, plans, chosen)
    if not studies:
        raise UserError(f"{out}: no trial is complete yet; see `orchestrator status`")
    is_new = write_studies(studies, file)
    if as_json:
        click.echo(json.dumps(_as_json(file, studies, n_left_out)))
        return
    for study in studies:
        tell(_line(study))
    if n_left_out:
        tell(f"Left out: {plural(n_left_out, 'trial')} of which prompts are missing")
    if not is_new:
        tell(f"{file}: has these studies already")
    tell(f"Open it with: optuna-dashboard {address(file)}")


def _objectives(given: tuple[str, ...]) -> Objectives | None:
    """What --objective says; None where it isn't given. Raises UserError."""
    from orchestrator.errors import UserError
    from orchestrator.export.studies import DIRECTIONS, OBJECTIVES
    from orchestrator.yaml_files import nearest

    chosen = {}
    for text in given:
        name, _, direction = text.partition("=")
        if name not in OBJECTIVES:
            raise UserError(
                f"--objective {text}: there is no {name!r}: {nearest(name, list(OBJECTIVES))}"
            )
        if direction not in DIRECTIONS:
            raise UserError(f"--objective {text}: write {name}=min or {name}=max")
        chosen[name] = direction
    return chosen or None


def _line(study: Study) -> str:
    """A study on one line."""
    counts = plural(len(study.trials), "trial")
    if study.n_failed():
        counts += f" ({study.n_failed()} failed)"
    sought = ", ".join(f"{name} {direction}" for name, direction in study.objectives.items())
    return f"{study.name}: {counts}; {sought}"


def _as_json(file: Path, studies: list[Study], n_left_out: int) -> dict[str, object]:
    """What was written, for a program."""
    return {
        "file": str(file),
        "studies": [
            {
                "name": study.name,
                "objectives": dict(study.objectives),
                "trials": len(study.trials),
                "failed": study.n_failed(),
            }
            for study in studies
        ],
        "left_out": n_left_out,
    }
