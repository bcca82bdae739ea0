"""The report's tables for a paper: Markdown, or LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.dataset.markdown import markdown_table, markdown_text
from orchestrator.report.page_content import Table

LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
    }
    | {">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "κ": r"$\kappa$"}
)


def markdown(tables: Sequence[Table]) -> str:
    """All tables, each below its title."""
    return "\n".join(
        f"## {markdown_text(table.title)}\n"
        + (f"{markdown_table(table.head, table.rows)}\n" if table.rows else "")
        + (f"\n{markdown_text(table.note)}\n" if table.note else "")
        for table in tables
    )


def latex(tables: Sequence[Table]) -> str:
    r"""All tables that have rows, to be \input: needs \usepackage{booktabs}."""
    return "\n".join(_latex(table) for table in tables if table.rows)


EXPORTS: dict[str, Callable[[Sequence[Table]], str]] = {".md": markdown, ".tex": latex}
"""By the file's ending."""


def _latex(table: Table) -> str:
    import pandas as pd

    frame = pd.DataFrame(
        [[_tex(cell) for cell in row] for row in table.rows],
        columns=[_tex(cell) for cell in table.head],
    )
    return frame.to_latex(
        index=False,
        escape=False,
        column_format="l" * len(table.head),
        caption=" ".join(filter(None, (f"{_tex(table.title)}.", _tex(table.note)))),
        label=f"tab:{table.name}",
    )


def _tex(text: str) -> str:
    """Untrusted text in LaTeX: nothing in it is a command."""
    return "".join(c if c.isprintable() else " " for c in text).translate(LATEX)
