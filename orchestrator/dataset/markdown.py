"""Markdown tables of what may be hostile: nothing in a cell is markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"[\\`*\[\]|!#]")
"""Characters that Markdown may obey; < and & are escaped as HTML before."""


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as GitHub and the Hugging Face Hub read it.

    `head` is the program's own and stands as it is; each cell of `rows` is untrusted and escaped.
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(markdown_text(str(cell)) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def markdown_text(text: str) -> str:
    """Untrusted text in a line of Markdown."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return _MARKUP.sub(r"\\\g<0>", html.escape(plain, quote=False))
