"""Work shared out to processes: the same results in the same order, and nothing held in memory."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import pytest

from orchestrator.evaluate.parallel_map import chunks, spread
from orchestrator.evaluate.rules import read_rules
from orchestrator.evaluate.verdict import Text, verdicts_on
from tests.evaluate.texts import ENGLISH, LOOP, PROMPT


def squares(numbers: Sequence[int]) -> list[int]:
    """Found by its name in the processes."""
    if 13 in numbers:
        raise ValueError("thirteen")
    return [number**2 for number in numbers]


def test_texts_judged_by_many_processes() -> None:
    texts = [
        Text(f"a#{i}", "fantasyWorld", PROMPT, text)
        for i, text in enumerate([ENGLISH, LOOP, "", ENGLISH * 2, LOOP])
    ]
    judge = functools.partial(verdicts_on, rules=read_rules(), embedding_model=None, judge=None)
    shared = [verdict for some in spread(judge, texts, 2) for verdict in some]
    assert shared == judge(texts)


def test_items_are_taken_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(14, 214):
            taken.append(number)
            yield number

    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0})
    results = spread(squares, numbers(), 10)
    assert next(results) == [number**2 for number in range(14, 24)]
    assert len(taken) == 20, "two chunks a CPU"
    assert [one for some in results for one in some] == [n**2 for n in range(24, 214)]


def test_an_error_is_raised_here() -> None:
    with pytest.raises(ValueError, match="thirteen"):
        list(spread(squares, range(20), 5))


@pytest.mark.parametrize(
    ("n", "size", "expected"), [(0, 2, []), (3, 2, [[0, 1], [2]]), (4, 2, [[0, 1], [2, 3]])]
)
def test_chunks(n: int, size: int, expected: list[list[int]]) -> None:
    assert list(chunks(range(n), size)) == expected
