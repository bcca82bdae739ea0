"""`report` and `plot`: show what a data set says, as one HTML page or as a single chart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import completion
from orchestrator.cli.options import (
    DEFAULT_FOLDER,
    OneOf,
    check_data_set,
    data_set_if_named,
    existing_data_set,
)
from orchestrator.cli.terminal import say, tell

if TYPE_CHECKING:
    from orchestrator.report.compare import Comparison
    from orchestrator.report.execution_frame import Data
    from orchestrator.report.page_content import Table

PAGE_KINDS = (".html", ".htm")
PLOT_KINDS = ("pdf", "svg", "png")


@click.command()
@data_set_if_named
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page to write: .html or .htm. "
    "[default: report.html in the data set; with --compare compare.html in this folder]",
)
@click.option(
    "--tables",
    "exports",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Also write the page's tables to this file, for a paper: .md or .tex. Repeatable.",
)
@click.option(
    "--compare",
    "folders",
    type=click.Path(path_type=Path),
    nargs=2,
    metavar="A B",
    help="Compare two data sets instead, over the configurations that both measured.",
)
@click.option(
    "--all-pairs",
    is_flag=True,
    help="With --compare: also compare groups with different models, quantizations, "
    "engines or batches.",
)
@click.option(
    "--with-left-out",
    is_flag=True,
    help="Also use executions whose flags leave them out by default (docs/data-dictionary.md).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON; write no page.")
def report(
    *,
    out: Path | None,
    file: Path | None,
    exports: tuple[Path, ...],
    folders: tuple[Path, Path] | None,
    all_pairs: bool,
    with_left_out: bool,
    as_json: bool,
) -> None:
    """Write one HTML file that shows what was measured.

    It works offline and in print. It shows energy against length, each hyperparameter's effect
    with and without the effect of the text's length, machines and models side by side, quality
    against energy, which texts were discarded and what they cost, and for each trial how far its
    figures can be trusted.

    \b
    Example:
      orchestrator evaluate && orchestrator report
      orchestrator report docs/example --file example.html
      orchestrator report --compare measurements-pc measurements-leonardo
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.errors import UserError
    from orchestrator.report.compare import compare, names_of, ratio_table, setup_table
    from orchestrator.report.execution_frame import read_data
    from orchestrator.report.findings import findings_json
    from orchestrator.report.page import comparison_page, page
    from orchestrator.report.setups import all_tables
    from orchestrator.report.table_export import EXPORTS

    if folders:
        _check_compared(folders, out)
        root = DEFAULT_FOLDER
    else:
        root = existing_data_set(out)
    # any other ending may be a mistyped name of a data file, which would be overwritten
    if file and file.suffix.lower() not in PAGE_KINDS:
        raise UserError(f"--file {file}: must end in {' or '.join(PAGE_KINDS)}")
    for target in exports:
        if target.suffix.lower() not in EXPORTS:
            raise UserError(f"--tables {target}: must end in {' or '.join(EXPORTS)}")
    shown: Sequence[Table] = ()
    if folders:
        a, b = (DataSetPaths(folder) for folder in folders)
        comparison = compare(
            *(read_data(one, with_left_out=with_left_out) for one in (a, b)), all_pairs=all_pairs
        )
        target, text = file or Path("compare.html"), comparison_page(comparison, *names_of(a, b))
        shown = (ratio_table(comparison), setup_table(comparison))
    else:
        paths = DataSetPaths(root)
        data = read_data(paths, with_left_out=with_left_out)
        if as_json:
            click.echo(findings_json(data))
            return
        target = file or paths.report
        text = page(data, root.resolve().name, target.parent)
        if exports:
            shown = all_tables(data)
    size = write_page(target, text, root)
    tell(f"{target}: {size / 1e6:.1f} MB; open it in a browser")
    for target in exports:
        _write(target, EXPORTS[target.suffix.lower()](shown).encode())
        tell(str(target))


def _check_compared(folders: tuple[Path, Path], named: Path | None) -> None:
    """Raise UserError where one of two data sets isn't there, or a third one is `named`."""
    from orchestrator.errors import UserError

    if named is not None:
        raise UserError(f"--compare names the two data sets to compare; leave out {named}")
    for folder in folders:
        check_data_set(folder, "--compare ")


def write_page(target: Path, text: str, out: Path) -> int:
    """Write the page and return its size in bytes. Raises UserError where it can't be written."""
    from orchestrator.dataset.lock import writing
    from orchestrator.errors import UserError

    if not target.resolve().is_relative_to(out.resolve()):
        return _write(target, text.encode())
    try:
        # publishing takes the hash of what lies in the data set
        with writing(out, say):
            return _write(target, text.encode())
    except OSError as error:
        raise UserError(f"{out}: can't be written ({error.strerror})") from error


def _write(target: Path, written: bytes) -> int:
    """Write a file and return its size in bytes. Raises UserError where it can't be written."""
    from orchestrator.atomic_files import write_atomically
    from orchestrator.errors import UserError

    try:
        write_atomically(target, written)
    except OSError as error:
        raise UserError(f"{target}: can't be written ({error.strerror})") from error
    return len(written)


FILTERS = {"machines": "machine", "models": "model", "use_cases": "use_case"}
"""Option of `plot` -> the column that it chooses rows by."""


@click.command()
@click.argument("name", required=False, shell_complete=completion.CHARTS)
@data_set_if_named
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The file to write: .pdf, .svg or .png.",
)
@click.option(
    "--compare",
    "folders",
    type=click.Path(path_type=Path),
    nargs=2,
    metavar="A B",
    help="Two data sets instead, for ratios and pairs.",
)
@click.option("--machine", "machines", multiple=True, help="Only this machine. Repeatable.")
@click.option("--model", "models", multiple=True, help="Only this model. Repeatable.")
@click.option("--use-case", "use_cases", multiple=True, help="Only this use case. Repeatable.")
@click.option(
    "--width",
    type=OneOf(["single", "double"]),
    default="single",
    show_default=True,
    help="As wide as one column of a paper (8.5 cm) or two (17.5 cm).",
)
def plot(
    *,
    name: str | None,
    out: Path | None,
    file: Path | None,
    folders: tuple[Path, Path] | None,
    width: str,
    **chosen: tuple[str, ...],
) -> None:
    """Write one chart of the report to a file, for a paper. Without NAME: list the charts.

    The data set stands behind the chart's name.

    \b
    Example:
      orchestrator plot effects --file effects.pdf
      orchestrator plot effects docs/example --file effects.pdf
      orchestrator plot energy-length --model llama2-7b-chat --width double --file length.pdf
      orchestrator plot ratios --compare measurements-pc measurements-leonardo --file ratios.pdf
    """  # noqa: D301 - click wants the character
    from orchestrator.errors import UserError
    from orchestrator.report.charts import CHARTS, COMPARISON_CHARTS
    from orchestrator.report.drawing import WIDTHS_CM, drawn

    if name is None:
        for known, chart in CHARTS.items():
            tell(f"{known:<16}{chart.title}", hang=16)
        for known, of_two in COMPARISON_CHARTS.items():
            tell(f"{known:<16}{of_two.title} (--compare A B)", hang=16)
        return
    _check_name(name, compares=folders is not None)
    target, kind = _plot_target(name, file)
    if folders:
        _check_compared(folders, out)
        drawing = COMPARISON_CHARTS[name].draw(_compared(folders, chosen))
    else:
        drawing = CHARTS[name].draw(_chosen(existing_data_set(out), chosen))
    if drawing is None:
        raise UserError(
            f"plot {name}: the data set has too little for this chart; "
            "`orchestrator report` says why"
        )
    _write(target, drawn(drawing, kind, WIDTHS_CM[width]))
    tell(str(target))
    for words in (drawing.message, drawing.note):
        if words:
            tell(words, hang=0)


def _check_name(name: str, *, compares: bool) -> None:
    """Raise UserError unless there is such a chart, of two data sets if `compares`, else of one."""
    from orchestrator.errors import UserError
    from orchestrator.report.charts import CHARTS, COMPARISON_CHARTS
    from orchestrator.yaml_files import nearest

    known = [*CHARTS, *COMPARISON_CHARTS]
    if name not in known:
        if Path(name).is_dir():
            raise UserError(
                f"plot {name}: name the chart first, as in `orchestrator plot effects {name} "
                f"--file effects.pdf`; the charts are {', '.join(known)}"
            )
        raise UserError(f"plot: there is no chart {name!r}: {nearest(name, known)}")
    if compares and name in CHARTS:
        names = " and ".join(COMPARISON_CHARTS)
        raise UserError(f"plot {name}: shows one data set; --compare is for {names}")
    if not compares and name in COMPARISON_CHARTS:
        raise UserError(f"plot {name}: compares two data sets; name them with --compare A B")


def _compared(folders: tuple[Path, Path], chosen: dict[str, tuple[str, ...]]) -> Comparison:
    """Two data sets compared, over what was chosen of each. Raises UserError."""
    from orchestrator.report.compare import compare

    a, b = (_chosen(folder, chosen) for folder in folders)
    return compare(a, b)


def _chosen(folder: Path, chosen: dict[str, tuple[str, ...]]) -> Data:
    """What was chosen of a data set, by option (FILTERS). Raises UserError."""
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.report.execution_frame import read_data

    data = read_data(DataSetPaths(folder))
    for option, values in chosen.items():
        if values:
            data = _only(data, FILTERS[option], values)
    return data


def _plot_target(name: str, file: Path | None) -> tuple[Path, str]:
    """The file to write and its kind. Raises UserError where there is none of a known kind."""
    from orchestrator.errors import UserError

    if file is None:
        raise UserError(f"plot {name}: give the file to write, e.g. --file {name}.pdf")
    kind = file.suffix.removeprefix(".").lower()
    if kind not in PLOT_KINDS:
        raise UserError(f"--file {file}: must end in .pdf, .svg or .png")
    return file, kind


def _only(data: Data, column: str, values: tuple[str, ...]) -> Data:
    """The rows of a data set with these values of a column. Raises UserError for an unknown one."""
    from orchestrator.errors import UserError
    from orchestrator.yaml_files import nearest

    known = sorted(set(data.all[column]))
    for value in values:
        if value not in known:
            option = column.replace("_", "-")
            raise UserError(f"--{option} {value}: not in this data set: {nearest(value, known)}")
    everything, answers = (frame[frame[column].isin(values)] for frame in (data.all, data.answers))
    return dataclasses.replace(data, all=everything, answers=answers)
