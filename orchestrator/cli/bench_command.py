"""`bench`: the same work done by `tune` and in other ways, side by side."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import completion
from orchestrator.cli.exit_codes import DIFFERENT
from orchestrator.cli.options import max_new_tokens_option, range_option, seed_option
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType


@click.command()
@click.option(
    "--ways",
    default="a,b,c,d",
    show_default=True,
    metavar="LETTERS",
    help="Ways to compare: a the report's way, b a bare warm loop, c plain Ray Tune, d `tune`.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    metavar="N",
    help="Each way runs once a round, one at a time.",
)
@click.option(
    "--engine",
    "engines",
    shell_complete=completion.ENGINES,
    multiple=True,
    default=("transformers",),
    show_default=True,
    metavar="NAME",
    help="Engines of `tune`: transformers, compiled. Repeatable: each is a way of its own.",
)
@click.option(
    "--model",
    shell_complete=completion.MODELS,
    metavar="NAME",
    help="A model, as for `tune`. [default: synthetic-llama2 with a GPU, else smollm2]",
)
@click.option(
    "--quantization",
    shell_complete=completion.QUANTIZATIONS,
    default="nf4",
    show_default=True,
    metavar="NAME",
    help="nf4, fp4, int8 or none: what transformers loads by itself.",
)
@click.option(
    "--space",
    default="lhs",
    show_default=True,
    metavar="NAME|FILE",
    shell_complete=completion.SPACES,
    help="Search space: lhs, uniform, grid, sobol, or a YAML file.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=6,
    show_default=True,
    metavar="N",
    help="Configurations.",
)
@click.option(
    "--prompts",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    metavar="N",
    help="Only the first N prompts of each use case.",
)
@click.option(
    "--use-case",
    "use_cases",
    shell_complete=completion.USE_CASES,
    multiple=True,
    default=("fantasyWorld",),
    show_default=True,
    metavar="NAME|FILE",
    help="Prompts. Repeatable.",
)
@range_option
@max_new_tokens_option
@seed_option
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write every figure of every round there, as JSON.",
)
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
def bench(
    *,
    ways: str,
    engines: tuple[str, ...],
    rounds: int,
    json_file: Path | None,
    markdown: bool,
    **flags: Any,
) -> int:
    """Compare `tune` with other ways to do the same work.

    Each way is a process of its own and gets the same configurations, prompts and seeds. All texts
    have their full length; max_length is 100 to 140 tokens unless --range says otherwise. The table
    has seconds, and their ratio to the bare warm loop: medians over the rounds, with the least and
    the most. Nothing else should run on the machine meanwhile. Exit code 1: they didn't do the same
    work, so their seconds can't be compared.

    \b
    Examples:
      orchestrator bench
      orchestrator bench --engine transformers --engine compiled --json bench.json
      orchestrator bench --ways b,d --model mistral --samples 24 --range max_length=100:500
    """  # noqa: D301 - click wants the character
    from orchestrator.bench.comparison import as_json, differences
    from orchestrator.bench.preparing import Asked, prepare, where
    from orchestrator.bench.running import run_rounds
    from orchestrator.cli.terminal import say

    if json_file is not None:
        _check_writable(json_file)
    letters = tuple(dict.fromkeys(letter.strip() for letter in ways.split(",")))
    engines = tuple(dict.fromkeys(engines))
    prepared = prepare(Asked(letters=letters, engines=engines, **flags), say)
    runs = run_rounds(prepared, rounds, say)
    unlike = differences(runs, prepared.work)
    if json_file is not None:
        content = where(prepared) | as_json(runs, prepared.work, unlike)
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _print(runs, unlike, markdown=markdown)
    for line in unlike:
        say(f"error: {line}")
    return DIFFERENT if unlike else 0


def _check_writable(file: Path) -> None:
    """Raise UserError now where a file can't be written, and not after all ways have run."""
    try:
        file.open("a").close()
    except OSError as error:
        raise UserError(
            f"--json {file}: can't be written ({error.strerror}); name another file"
        ) from error


def _print(runs: Any, unlike: list[str], *, markdown: bool) -> None:
    """The table and the sentences under it."""
    from orchestrator.bench.table import HEAD, notes, table_rows
    from orchestrator.cli.terminal import console, tell
    from orchestrator.cli.widest import Widest
    from orchestrator.dataset.markdown import markdown_table

    rows = table_rows(runs)
    if markdown:
        click.echo(markdown_table(HEAD, rows))
    else:
        console().print(Widest((_side_by_side(HEAD, rows), _one_by_one(HEAD, rows))))
    click.echo()
    for line in notes(runs, unlike):
        tell(line, hang=0)


HEAD_WIDTH = 10
"""Columns within which the heads of figures are folded between words."""


def _side_by_side(head: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """A row a way."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(head[0], no_wrap=True)
    for name in head[1:]:
        folded = textwrap.fill(name, HEAD_WIDTH, break_long_words=False)
        table.add_column(folded, justify="right", no_wrap=True)
    for row in rows:
        # least and most stand under the median: beside it they would have no room
        table.add_row(*(cell.replace(" (", "\n").removesuffix(")") for cell in row))
    return table


def _one_by_one(head: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """The same for a narrow terminal: a line a figure, below its way."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for way, *cells in rows:
        table = Table.grid(padding=(0, 2))
        for name, cell in zip(head[1:], cells, strict=True):
            table.add_row(f"  {name}", cell)
        parts += [Text(way, style="bold"), table]
    return Group(*parts)
