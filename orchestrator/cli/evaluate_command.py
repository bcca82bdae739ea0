"""`evaluate`: judge which outputs are usable."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.options import data_set
from orchestrator.cli.terminal import say, tell
from orchestrator.units import plural

if TYPE_CHECKING:
    from orchestrator.evaluate.evaluation import Evaluation
    from orchestrator.evaluate.judge import Judge


@click.command()
@data_set
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML file with your own rules; --print-rules gives one to edit. [default: the "
    "packaged rules]",
)
@click.option(
    "--print-rules", is_flag=True, help="Print the rules that would apply as YAML, then exit."
)
@click.option(
    "--embedding",
    metavar="FOLDER|NAME",
    help="Also measure how similar text and prompt are, with this sentence-transformers model: "
    "a folder or a name on the hub.",
)
@click.option(
    "--judge",
    "judge_url",
    metavar="URL",
    help="Also ask a language model to judge each text: the URL of an OpenAI-compatible API, "
    "e.g. http://localhost:8000/v1",
)
@click.option(
    "--judge-model",
    metavar="NAME",
    help="Name of the judge's model at that URL; its key is read from OPENAI_API_KEY.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
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
    """Judge each text: usable or not, why, and how good it is.

    The quality is a number from 0 to 1. Afterwards the tables are rebuilt. Texts that already have
    a verdict by the same rules are skipped, so run it whenever a sweep has grown. It also works
    while a sweep runs, but then best on another machine, since it takes CPU time. A person's
    decision (`review`) overrules the verdict of the rules.

    \b
    Examples:
      orchestrator evaluate measurements
      orchestrator evaluate --print-rules > my-rules.yaml
      orchestrator evaluate --rules my-rules.yaml
    """  # noqa: D301 - click wants the character
    from orchestrator.evaluate.evaluation import evaluate as run
    from orchestrator.evaluate.parallel_map import spread
    from orchestrator.evaluate.rules import PACKAGED, read_rules
    from orchestrator.outside_files import read_text

    if print_rules:
        read_rules(rules_file)  # what can't be rules is told, not printed
        click.echo(read_text(rules_file or PACKAGED), nl=False)
        return 0
    result = run(
        out,
        read_rules(rules_file),
        embedding=embedding,
        judge=_judge(judge_url, judge_model),
        spread=spread,
        say=say,
    )
    for line in (*(f"left out: {fault}" for fault in result.faults), *result.notes):
        say(line)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result)))
    else:
        for line in _lines(result, out):
            tell(line)
    if result.faults:
        return FAULTS
    return 0


def _judge(url: str | None, model: str | None) -> Judge | None:
    """The judge that --judge and --judge-model name; None without them. Raises UserError."""
    from orchestrator.errors import UserError
    from orchestrator.evaluate.judge import Judge

    if url is None and model is None:
        return None
    if url is None or model is None:
        raise UserError("--judge and --judge-model: give both or neither")
    if not url.startswith(("http://", "https://")):
        raise UserError(f"--judge {url}: must begin with http:// or https://")
    return Judge(url, model)


def _lines(result: Evaluation, out: Path) -> list[str]:
    """What `evaluate` prints for a person; counts of 0 are left out."""
    judged = f"{plural(result.judged, 'text')} judged, {result.known} already had a verdict"
    lines = [f"{judged}: {result.kept} usable, {result.discarded} discarded"]
    if result.reasons:
        reasons = ", ".join(f"{reason} {n}" for reason, n in result.reasons.items())
        lines.append(f"Reasons: {reasons}")
    no_model = "from random weights or no model at all were not judged: they mean nothing"
    more = (
        (result.discarded, f"Spent on discarded texts: {result.wasted_energy.explained()}"),
        (result.overruled, f"{plural(result.overruled, 'text')} decided by a person"),
        (result.failed, f"{plural(result.failed, 'failed execution')} without a text"),
        (result.synthetic, f"{plural(result.synthetic, 'text')} {no_model}"),
    )
    lines += [line for n, line in more if n]
    tables = f"verdicts.parquet, executions.parquet and summary.parquet in {out}"
    return [*lines, f"-> {tables}; `orchestrator report` shows the results"]
