"""Layouts of output.txt: a file gives n texts or none, never a wrong number of them."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.importer.output_files import split_texts

STORIES = ["Once there was a fox.\n\nIt slept.", "1 dragon, 2 towers.", "The end"]


def joined(pattern: str, rule: str = "\n") -> str:
    return rule.join(pattern.format(n=n, text=text) for n, text in enumerate(STORIES, 1))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(STORIES),
        joined("Prompt {n}: tell\nOutput: {text}"),
        joined("PROMPT: tell\nOUTPUT {n}:\n{text}\n----------"),
        joined("*** Output {n} ***:\n{text}\n"),
        joined("Risposta {n}: {text}"),
        joined("Prompt {n}:\n{text}"),
        joined("#{n} - {text}"),
        joined("{text}", "\n-----\n"),
        joined("{text}", "\n\n=====\n\n") + "\n=====\n",
        joined("Output: {text}").replace("\n", "\r\n"),
    ],
    ids=[
        "json",
        "headings",
        "numbered-headings",
        "starred",
        "italian",
        "prompts",
        "numbers",
        "rules",
        "closed-rules",
        "crlf",
    ],
)
def test_known_layouts(content: str) -> None:
    assert split_texts(content, 3) == STORIES
    assert split_texts(content, 4) is None


@pytest.mark.parametrize(
    "content", ["", "  \n", "no layout at all", "My steps\n1. left\n2. right\n3. turn\n"]
)
def test_what_cant_be_told_apart(content: str) -> None:
    assert split_texts(content, 3) is None


@given(st.text(max_size=80).filter(str.strip))
def test_one_measurement_has_the_whole_file(content: str) -> None:
    texts = split_texts(content, 1)
    assert texts is None or texts == [content.replace("\r\n", "\n").lstrip("\ufeff").strip()]


@given(st.text(max_size=80), st.integers(2, 4))
def test_never_another_number(content: str, n: int) -> None:
    assert (found := split_texts(content, n)) is None or len(found) == n


@pytest.mark.parametrize(
    "line",
    [" " * 100_000, "output" + " " * 100_000, "-" * 100_000, "output:\n" * 20_000, "1:" * 50_000],
)
def test_hostile_files_take_no_time(line: str) -> None:
    started = time.process_time()
    split_texts(line + "\nx", 3)
    assert time.process_time() - started < 5
