"""How dense the code of a package is: one row of a Markdown table for each folder.

    python -m tools.code_figures orchestrator ../other/package

Reads every .py file below a folder, but for those in folders named `tests`. A folder is named by
its path as it was given. What the columns mean:

- function lines: from `def` to the last line of the body, without decorators, with docstring,
  comments and blank lines. Methods and nested functions are functions, too; lambdas are not. p90:
  nine tenths of the functions are at most this long.
- branches per 100 function lines: the cyclomatic complexities of all functions, divided by the sum
  of their lines. Each function counts 1, and 1 more for each `if` or `elif`, `for`, `while`,
  `except`, `case`, `with`, `assert`, conditional expression, `and` or `or`, and for each `for` and
  each `if` inside a comprehension. A nested function counts on its own and again, with its lines,
  in the function around it.
- lines over 100 characters: their share of the lines that are not blank.
- conditional expressions per 100 functions: `a if b else c`, anywhere in a file.
- comments per 100 lines: `#` comments, also those behind code and those for tools (`noqa`), per 100
  lines that are not blank. Docstrings are no comments.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_LINE = 100

BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
    ast.With,
    ast.AsyncWith,
    ast.Assert,
    ast.IfExp,
)
"""Nodes that count 1; those that count more are in `n_branches`. An `elif` is an `ast.If`."""

HEADER = (
    "| package | files | functions | function lines median / p90 / max "
    "| branches per 100 function lines | lines over 100 characters "
    "| conditional expressions per 100 functions | comments per 100 lines |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass
class Figures:
    """Counts over all files of a package; the properties are the columns of the table."""

    n_files: int = 0
    n_lines: int = 0
    """Lines that are not blank."""
    n_long_lines: int = 0
    n_comments: int = 0
    n_conditional_expressions: int = 0
    n_branches: int = 0
    function_lines: list[int] = field(default_factory=list)
    """Lines of each function."""

    def add(self, source: str) -> None:
        """Count one file's text, too.

        Raises:
            SyntaxError: It is no Python of this interpreter's version.
        """
        lines = [line for line in source.splitlines() if line.strip()]
        self.n_files += 1
        self.n_lines += len(lines)
        self.n_long_lines += sum(len(line) > LONGEST_LINE for line in lines)
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.n_comments += sum(token.type == tokenize.COMMENT for token in tokens)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.IfExp):
                self.n_conditional_expressions += 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.function_lines.append(n_lines(node))
                self.n_branches += n_branches(node)

    @property
    def median_lines(self) -> float:
        """Of a function."""
        return statistics.median(self.function_lines)

    @property
    def p90_lines(self) -> int:
        """Of a function; nine tenths of the functions are at most this long."""
        return sorted(self.function_lines)[len(self.function_lines) * 9 // 10]

    @property
    def branches_per_100_lines(self) -> float:
        """Per 100 lines of functions."""
        return 100 * self.n_branches / sum(self.function_lines)

    @property
    def long_lines_percent(self) -> float:
        """Share of the lines that are not blank."""
        return 100 * self.n_long_lines / self.n_lines

    @property
    def conditional_expressions_per_100_functions(self) -> float:
        """Per 100 functions; one at module level counts, too."""
        return 100 * self.n_conditional_expressions / len(self.function_lines)

    @property
    def comments_per_100_lines(self) -> float:
        """Per 100 lines that are not blank."""
        return 100 * self.n_comments / self.n_lines


def n_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the end of the body."""
    last = function.end_lineno
    assert last is not None  # the parser always sets it
    return last - function.lineno + 1


def n_branches(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Its cyclomatic complexity, with that of the functions nested in it."""
    count = 1
    for node in ast.walk(function):
        if isinstance(node, BRANCHES):
            count += 1
        elif isinstance(node, ast.BoolOp):  # `a and b and c` is one node of three values
            count += len(node.values) - 1
        elif isinstance(node, ast.comprehension):  # one `for` of a comprehension, with its `if`s
            count += 1 + len(node.ifs)
    return count


def figures_of(package: Path) -> Figures:
    """The figures of a package's folder."""
    figures = Figures()
    for path in sorted(package.rglob("*.py")):
        if "tests" not in path.relative_to(package).parts:
            figures.add(path.read_text(encoding="utf-8"))
    return figures


def row(name: str, figures: Figures) -> str:
    """One line of the table."""
    median, p90 = figures.median_lines, figures.p90_lines
    cells = (
        name,
        figures.n_files,
        len(figures.function_lines),
        f"{median:g} / {p90} / {max(figures.function_lines)}",
        f"{figures.branches_per_100_lines:.1f}",
        f"{figures.long_lines_percent:.1f} %",
        f"{figures.conditional_expressions_per_100_functions:.0f}",
        f"{figures.comments_per_100_lines:.1f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def table(folders: Iterable[Path]) -> str:
    """The header and one row for each folder.

    Raises:
        SystemExit: A folder holds no function, so most figures of it would be a division by zero.
    """
    lines = [HEADER]
    for folder in folders:
        figures = figures_of(folder)
        if not figures.function_lines:
            raise SystemExit(f"{folder}: no function in any .py file there.")
        lines.append(row(folder.as_posix(), figures))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    print(table(parser.parse_args(arguments).folders))


if __name__ == "__main__":
    main()
