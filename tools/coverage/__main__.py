"""How often the report's 95 % intervals hold the truth, as tables in Markdown for docs/report.md.

`python -m tools.coverage` makes the table of effects. A cell is a kind of truth (worlds.py) and a
number of configurations, over many data sets: the share of intervals that hold it in percent, in
brackets that of the hyperparameter that is farthest from 95, and the median width of an interval,
as a logarithm. `--kind nothing --points 20 --data-sets 2000` makes one cell.

`python -m tools.coverage --compare` makes the table of comparisons, `--compare --sides 1 --points
12` one line of it.

Cells whose coverage is outside 93 to 97 % are told below the table; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
from importlib.metadata import version

from orchestrator.units import plural
from tools.coverage import of_comparisons, of_effects
from tools.coverage.lines import Line, verdict
from tools.coverage.worlds import KINDS

PACKAGES = ("statsmodels", "scipy", "numpy", "pandas")


def provenance(options: argparse.Namespace) -> str:
    """When, where and how the table was made, as a sentence for the documentation."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    command = " ".join(["python -m tools.coverage", *sys.argv[1:]])
    return (
        f"`{command}`, {dt.datetime.now(dt.UTC):%Y-%m-%d}, {plural(options.processes, 'core')}, "
        f"Python {platform.python_version()}, {packages}; {options.data_sets:,} data sets a cell:"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-sets", type=int, default=500, help="of each cell [default: 500]")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="[default: all]")
    parser.add_argument("--points", action="append", type=int, help="configurations")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--compare", action="store_true", help="the table of comparisons instead")
    parser.add_argument(
        "--sides",
        action="append",
        type=int,
        choices=range(len(of_comparisons.SIDES)),
        help="lines of --compare",
    )
    options = parser.parse_args()
    # each process has one core
    os.environ["OMP_NUM_THREADS"] = "1"
    print(provenance(options), end="\n\n")
    if options.compare:
        sides, points = (
            options.sides or list(range(len(of_comparisons.SIDES))),
            options.points or of_comparisons.POINTS,
        )
        rows = of_comparisons.compare_rows(options.data_sets, sides, points, options.processes)
    else:
        kinds, points = options.kind or list(KINDS), options.points or of_effects.POINTS
        rows = of_effects.effect_rows(options.data_sets, kinds, points, options.processes)
    lines: list[tuple[str, Line]] = []
    for row, of_row in rows:
        print(row, flush=True)
        lines += of_row
    print(f"\n{verdict(lines)}")
    sys.exit(any(line.is_outside for _, line in lines))


if __name__ == "__main__":
    main()
