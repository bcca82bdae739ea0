"""docs/python.md shows what its programs print; UPDATE_GOLDEN=1 rewrites it.

They run in order, as in a notebook. The one that runs Ray is in tests/real.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from tests.golden_files import assert_same

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
PROGRAM = re.compile(
    r"(?P<before>\n<!-- runs Ray -->)?\n```python\n(?P<code>.*?)```\n```text\n(?P<said>.*?)```",
    re.DOTALL,
)
"""A program of the page with what it prints."""


def printed(code: str, names: dict[str, Any]) -> str:
    """What a program prints; `names`: those that the programs before it made."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    return said.getvalue()


def test_programs_print_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", list)
    names: dict[str, Any] = {}
    n_programs = 0

    def with_output(match: re.Match[str]) -> str:
        nonlocal n_programs
        n_programs += 1
        whole: str = match[0]
        if match["before"]:
            return whole
        head = whole[: match.start("said") - match.start()]
        return f"{head}{printed(match['code'], names)}```"

    text = PAGE.read_text(encoding="utf-8")
    assert_same(PAGE, PROGRAM.sub(with_output, text))
    assert n_programs == text.count("```python") == 7
