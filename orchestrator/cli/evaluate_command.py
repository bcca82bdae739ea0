"""`evaluate`: judge which outputs are usable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import existing_out_option
from orchestrator.units import energy

if TYPE_CHECKING:
    from orchestrator.evaluate.evaluation import Evaluation


@click.command()
@existing_out_option
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Limits of your own; see --print-rules.",
)
@click.option(
    "--print-rules", is_flag=True, help="Print the rules in force, to copy and edit, and end."
)
@click.option(
    "--embedding",
    metavar="FOLDER|NAME",
    help="Also compare prompt and text by a sentence-transformers model: a folder, or a name on the hub.",
)
@click.option(
    "--judge",
    "judge_url",
    metavar="URL",
    help="Also ask a judge: an OpenAI-compatible endpoint, e.g. http://localhost:8000/v1",
)
@click.option(
    "--judge-model",
    metavar="NAME",
    help="The judge's model, as its endpoint calls it. The key stands in OPENAI_API_KEY.",
)
@click.option("--json", "as_json", is_flag=True, help="Counts as JSON.")
def evaluate(
    *,
    out: Path,
    rules_file: Path | None,
    print_rules: bool,
    embedding: str | None,
    judge_url: str | None,
    judge_model: str | None,
    as_json: bool,
) -> int:
    """Judge each text: usable or not, why, and its quality from 0 to 1; then rebuild the tables.

    Texts that have a verdict by the same rules are not judged again, so this can be run whenever a sweep has grown, also while
    it runs (best on another machine: it takes CPU time). A person's decision (`review`) stands above the machine's.

    \b
    Example:
      orchestrator evaluate --out measurements
      orchestrator evaluate --print-rules > my-rules.yaml && orchestrator evaluate --rules my-rules.yaml
    """  # noqa: D301 - click wants the character
    from orchestrator.errors import UserError
    from orchestrator.evaluate.evaluation import evaluate as run
    from orchestrator.evaluate.judge import Judge
    from orchestrator.evaluate.rules import PACKAGED, read_rules
    from orchestrator.tune.parallel_map import spread
    from orchestrator.yaml_files import printable

    if print_rules:
        click.echo((rules_file or PACKAGED).read_text(encoding="utf-8"), nl=False)
        return 0
    if (judge_url is None) != (judge_model is None):
        raise UserError("--judge and --judge-model: give both or none")
    if judge_url and not judge_url.startswith(("http://", "https://")):
        raise UserError(f"--judge {judge_url}: must begin with http:// or https://")
    judge = Judge(judge_url, judge_model) if judge_url and judge_model else None
    found = run(
        out,
        read_rules(rules_file),
        embedding=embedding,
        judge=judge,
        spread=spread,
        say=lambda line: click.echo(printable(line), err=True),
    )
    for line in (*(f"left out: {fault}" for fault in found.faults), *found.notes):
        click.echo(printable(line), err=True)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
    else:
        click.echo("\n".join(_lines(found, out)))
    return FAULTS if found.faults else 0


def _lines(found: Evaluation, out: Path) -> list[str]:
    lines = [
        f"{found.judged} texts judged, {found.known} were: {found.kept} usable, {found.discarded} discarded"
    ]
    if found.reasons:
        lines.append("Why: " + ", ".join(f"{reason} {n}" for reason, n in found.reasons.items()))
    if found.discarded:
        lines.append(f"Energy of the discarded: {energy(found.wasted_j)}")
    if found.overruled:
        lines.append(f"{found.overruled} decided by persons")
    if found.failed:
        lines.append(f"{found.failed} failed executions have no text")
    if found.synthetic:
        lines.append(
            f"{found.synthetic} texts of random weights or the simulated engine are not judged: they mean nothing"
        )
    return [
        *lines,
        f"-> verdicts.parquet, executions.parquet and summary.parquet in {out}; `orchestrator report` shows them",
    ]
