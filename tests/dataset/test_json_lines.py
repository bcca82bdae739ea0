"""Files of JSON lines: what a cut may leave of the last line, and what is added after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.dataset.json_lines import append_line, whole_lines

FIRST, SECOND, THIRD = (json.dumps({"n": n, "text": "città"}, ensure_ascii=False) for n in "123")


def lines_of(path: Path) -> list[str]:
    return [line for _, line in whole_lines(path.read_text("utf-8", errors="replace"))]


def test_lines_come_back_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    append_line(path, FIRST)
    append_line(path, SECOND)
    assert path.read_text("utf-8") == f"{FIRST}\n{SECOND}\n"
    assert list(whole_lines(f"{FIRST}\n\n{SECOND}\n")) == [(1, FIRST), (3, SECOND)]


@pytest.mark.parametrize(
    "torn",
    [SECOND.encode()[:n] for n in range(1, len(SECOND.encode()))] + [b"\0" * 9, b"[" * 100_000],
)
def test_a_torn_line_is_passed_over_and_its_place_taken(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "some.jsonl"
    append_line(path, FIRST)
    with path.open("ab") as stream:
        stream.write(torn)
    assert lines_of(path) == [FIRST]
    append_line(path, THIRD)
    assert path.read_text("utf-8") == f"{FIRST}\n{THIRD}\n"


def test_a_torn_first_line(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(FIRST[:5])
    assert lines_of(path) == []
    append_line(path, SECOND)
    assert lines_of(path) == [SECOND]


def test_a_whole_last_line_without_its_newline_counts_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(f"{FIRST}\n{SECOND}", "utf-8")
    assert lines_of(path) == [FIRST, SECOND]
    append_line(path, THIRD)
    assert lines_of(path) == [FIRST, SECOND, THIRD]


def test_a_torn_line_that_an_earlier_version_left_is_the_readers_business(tmp_path: Path) -> None:
    assert list(whole_lines(f"{FIRST[:5]}\n{SECOND}\n")) == [(1, FIRST[:5]), (2, SECOND)]
