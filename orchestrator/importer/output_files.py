"""Tell the texts in somebody's output.txt apart.

Nobody wrote down how it is laid out, so a layout counts only where it gives exactly as many texts as there are measurements;
else the file is kept as it is and no row claims a text.
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
    rf"{_BEFORE}(?:prompt|output|answer|response|risposta)?[ \t]{{0,4}}#?(\d{{1,6}}){_MARKS}[:.)=-]",
    re.IGNORECASE | re.MULTILINE,
)
_RULE = re.compile(r"^[ \t]*([-=*_#~])\1{2,}[ \t]*$", re.MULTILINE)


def split_texts(content: str, n: int) -> list[str] | None:
    """The n texts of a file, in order; None where no known layout gives n."""
    content = content.replace("\r\n", "\n").lstrip("\ufeff").strip()
    if not content or n < 1:
        return None
    if n == 1:
        return [content]
    for layout in LAYOUTS:
        found = [text.strip() for text in layout(content)]
        if len(found) == n and all(found):
            return found
    return None


def _json(content: str) -> Iterator[str]:
    """A JSON list of texts."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        yield from value


def _after_headings(content: str) -> Iterator[str]:
    """`Output: ...` for each, up to the next heading of a prompt or output."""
    headings = [(match.start(), match.end(), True) for match in _OUTPUT.finditer(content)]
    headings += [(match.start(), match.end(), False) for match in _PROMPT.finditer(content)]
    headings.sort()
    for (_, begin, is_output), (end, *_) in zip(
        headings, [*headings[1:], (len(content), 0, False)], strict=False
    ):
        if is_output:
            yield _RULE.sub("", content[begin:end])


def _numbered(content: str) -> Iterator[str]:
    """`1. ...`, `Prompt 3: ...`: numbers that count up from 1 (or 0) at the beginning of lines, nothing before them."""
    headings = list(_NUMBERED.finditer(content))
    numbers = [int(heading[1]) for heading in headings]
    if (
        not headings
        or headings[0].start()
        or numbers[0] > 1
        or numbers != list(range(numbers[0], numbers[0] + len(numbers)))
    ):
        return
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        yield content[heading.end() : following.start() if following else len(content)]


def _between_rules(content: str) -> Iterator[str]:
    """Lines of ---, ===, *** between them."""
    parts = [part for part in _RULE.sub("\0", content).split("\0") if part.strip()]
    yield from parts if len(parts) > 1 else ()


LAYOUTS: tuple[Callable[[str], Iterator[str]], ...] = (
    _json,
    _after_headings,
    _numbered,
    _between_rules,
)
"""In the order in which they are tried."""
