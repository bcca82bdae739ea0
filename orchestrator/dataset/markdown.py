"""Markdown tables of what may be hostile: nothing in a cell is markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as GitHub and the Hugging Face Hub read it."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(markdown_text(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Untrusted text in a line of Markdown."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    escaped = html.escape(plain, quote=False)
    return "".join(f"\\{c}" if c in "\\`*[]|!#" else c for c in escaped)
