"""`report` and `plot`: what a data set says, to look at."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import existing_out_option

PLOT_KINDS = ("pdf", "svg", "png")


@click.command()
@existing_out_option
@click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="Where to. [default: report.html in the data set]"
)
def report(*, out: Path, file: Path | None) -> None:
    """Write one HTML file that shows what was measured: it opens offline, prints, and can be sent.

    Energy against length, each hyperparameter's effect with and without the text's length, machines and models side by side,
    quality against energy, what was discarded and what it cost, and for each trial whether its number can be trusted.

    \b
    Example:
      orchestrator evaluate && orchestrator report
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths, write_atomically
    from orchestrator.errors import UserError
    from orchestrator.report.frame import read_data
    from orchestrator.report.page import page

    paths = DataSetPaths(out)
    target = file or paths.report
    text = page(read_data(paths), out.resolve().name).encode()
    try:
        write_atomically(target, text)
    except OSError as error:
        raise UserError(f"{target}: can't be written ({error.strerror})") from error
    click.echo(f"{target}: {len(text) / 1e6:.1f} MB; open it in a browser")


@click.command()
@click.argument("name")
@existing_out_option
@click.option(
    "--file", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where to: .pdf, .svg or .png."
)
def plot(*, name: str, out: Path, file: Path) -> None:
    """Write one chart of the report for a paper.

    Charts: energy-length, effects, importance, parallel, side-by-side, energy-quality, usable, coverage.

    \b
    Example:
      orchestrator plot effects --file effects.pdf
    """  # noqa: D301 - click wants the character
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.errors import UserError
    from orchestrator.reader import nearest
    from orchestrator.report.figures import CHARTS
    from orchestrator.report.frame import read_data
    from orchestrator.report.page import write_figure

    if name not in CHARTS:
        raise UserError(f"plot: there is no {name!r}: {nearest(name, list(CHARTS))}")
    kind = file.suffix.removeprefix(".").lower()
    if kind not in PLOT_KINDS:
        raise UserError(f"--file {file}: must end in .pdf, .svg or .png")
    figure = CHARTS[name].draw(read_data(DataSetPaths(out)))
    if figure is None:
        raise UserError(f"plot {name}: the data set has nothing for it yet; see `orchestrator report`")
    try:
        write_figure(figure, file, kind)
    except OSError as error:
        raise UserError(f"{file}: can't be written ({error.strerror})") from error
    click.echo(str(file))
