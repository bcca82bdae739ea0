"""Split an output.txt into the texts of its executions.

Its layout is not documented. So a layout is accepted only if it gives exactly as many texts as
there are measurements; otherwise the file is only copied and no row gets a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

_BEFORE, _NUMBER, _MARKS = r"^[^\w\n]{0,20}", r"[ \t]{0,4}#?\d{0,6}", r"[^\w\n]{0,20}"
_OUTPUT = re.compile(
    rf"{_BEFORE}(?:output|answer|response|risposta)\b{_NUMBER}{_MARKS}[:=-]",
    re.IGNORECASE | re.MULTILINE,
)
_PROMPT = re.compile(
    rf"{_BEFORE}(?:prompt|input)\b{_NUMBER}{_MARKS}(?:[:=-]|$)", re.IGNORECASE | re.MULTILINE
)
_NUMBERED = re.compile(
    rf"{_BEFORE}(?:prompt|output|answer|response|risposta)?"
    rf"[ \t]{{0,4}}#?(\d{{1,6}}){_MARKS}[:.)=-]",
    re.IGNORECASE | re.MULTILINE,
)
_RULE = re.compile(r"^[ \t]*([-=*_#~])\1{2,}[ \t]*$", re.MULTILINE)


def split_texts(content: str, n: int) -> list[str] | None:
    """The n texts of a file, in their order; None where no known layout gives n texts."""
    content = content.replace("\r\n", "\n").lstrip("\ufeff").strip()
    if not content or n < 1:
        return None
    # a single text may hold headings and rules of its own
    if n == 1:
        return [content]
    for layout in LAYOUTS:
        texts = [text.strip() for text in layout(content)]
        # a layout that only happens to match rarely gives the right number of texts
        if len(texts) == n and all(texts):
            return texts
    return None


def _json(content: str) -> Iterator[str]:
    """Layout: a JSON list of texts."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        yield from value


def _after_headings(content: str) -> Iterator[str]:
    """Layout: each text after `Output:`, up to the next heading of a prompt or an output."""
    headings = [*_OUTPUT.finditer(content), *_PROMPT.finditer(content)]
    # headings of prompts, too: they end the text before them
    headings.sort(key=lambda heading: heading.start())
    ends = [*(heading.start() for heading in headings[1:]), len(content)]
    for heading, end in zip(headings, ends, strict=False):
        if heading.re is _OUTPUT:
            yield _RULE.sub("", content[heading.end() : end])


def _numbered(content: str) -> Iterator[str]:
    """Layout: lines that begin with `1.` or `Prompt 3:`, counted from 0 or 1; none before them."""
    headings = list(_NUMBERED.finditer(content))
    if not headings or headings[0].start() != 0:
        return
    numbers = [int(heading[1]) for heading in headings]
    first = numbers[0]
    if first > 1 or numbers != list(range(first, first + len(numbers))):
        return
    ends = [*(heading.start() for heading in headings[1:]), len(content)]
    for heading, end in zip(headings, ends, strict=True):
        yield content[heading.end() : end]


def _between_rules(content: str) -> Iterator[str]:
    """Layout: texts with lines of ---, === or *** between them."""
    parts = [part for part in _RULE.sub("\0", content).split("\0") if part.strip()]
    if len(parts) > 1:
        yield from parts


LAYOUTS: tuple[Callable[[str], Iterator[str]], ...] = (
    _json,
    _after_headings,
    _numbered,
    _between_rules,
)
"""Known layouts, in the order in which they are tried."""
