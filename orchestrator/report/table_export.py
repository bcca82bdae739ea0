"""The report's tables for a paper: Markdown, or LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    }
)
"""Character -> the LaTeX that prints it."""


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
    """A table as LaTeX, with caption and label."""
    import pandas as pd

    rows = [[_tex(cell) for cell in row] for row in table.rows]
    frame = pd.DataFrame(rows, columns=[_tex(cell) for cell in table.head])
    caption = f"{_tex(table.title)}."
    if table.note:
        caption += f" {_tex(table.note)}"
    # Every cell is escaped already, by rules that are stricter than those of pandas.
    return frame.to_latex(
        index=False,
        escape=False,
        column_format="l" * len(table.head),
        caption=caption,
        label=f"tab:{table.name}",
    )


def _tex(text: str) -> str:
    """Untrusted text in LaTeX: no character of it begins a command."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.translate(LATEX)
