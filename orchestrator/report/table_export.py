"""The report's tables for a paper: Markdown, or LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from orchestrator.dataset.markdown import markdown_table, markdown_text
from orchestrator.report.page_content import Table

LATEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "κ": r"$\kappa$",
        "×": r"$\times$",
    }
)
"""Character -> the LaTeX that prints it."""
NUMBER = re.compile(r"[-+×~ ]*[0-9][0-9.,]*(?=$|[ %(/])")
"""The beginning of a cell that holds a number; a name such as 5dd1d4061a65 holds none."""


def markdown(tables: Sequence[Table]) -> str:
    """All tables in Markdown, each below its title."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: Table) -> str:
    """A table as Markdown, with title and note."""
    text = f"## {markdown_text(table.title)}\n"
    if table.rows:
        text += f"{markdown_table(table.head, table.rows)}\n"
    if table.note:
        text += f"\n{markdown_text(table.note)}\n"
    return text


def latex(tables: Sequence[Table]) -> str:
    r"""All tables that have rows, in LaTeX for \input; needs \usepackage{booktabs}."""
    return "\n".join(_latex(table) for table in tables if table.rows)


EXPORTS: dict[str, Callable[[Sequence[Table]], str]] = {".md": markdown, ".tex": latex}
"""The ending of a file's name -> the function that writes its text."""


def _latex(table: Table) -> str:
    """A table as LaTeX, with caption and label, numbers to the right, and its note below."""
    import pandas as pd

    rows = [[_tex(cell) for cell in row] for row in table.rows]
    frame = pd.DataFrame(rows, columns=[_tex(cell) for cell in table.head])
    # Every cell is escaped already, by rules that are stricter than those of pandas.
    text: str = frame.to_latex(
        index=False,
        escape=False,
        column_format="".join("r" if numeric else "l" for numeric in numeric_columns(table)),
        caption=f"{_tex(table.title)}.",
        label=f"tab:{table.name}",
        position="htbp",
    )
    if not table.note:
        return text
    end = "\\end{tabular}\n"
    note = f"\\par\\smallskip{{\\footnotesize {_tex(table.note)}\\par}}\n"
    return text.replace(end, end + note)


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers."""
    return [_is_numeric(column) for column in zip(*table.rows, strict=True)]


def _is_numeric(cells: Iterable[str]) -> bool:
    """Whether the cells of a column begin with a number, as far as anything is known."""
    known = [cell for cell in cells if cell not in ("", "n/a")]
    return bool(known) and all(NUMBER.match(cell) for cell in known)


def _tex(text: str) -> str:
    """Untrusted text in LaTeX: no character of it begins a command."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.translate(LATEX)
