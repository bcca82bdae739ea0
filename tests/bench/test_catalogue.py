"""The letters and the ways that they name."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.bench.catalogue import ENGINES_COMPARED, LETTERS, OTHERS, ways_of
from orchestrator.bench.running import WAYS


def test_ours_is_a_way_for_each_engine() -> None:
    ways = ways_of(LETTERS, ("transformers", "compiled"))
    assert "".join(way.letter for way in ways) == "abcdd"
    assert [way.engine for way in ways if way.module is None] == ["transformers", "compiled"]
    assert len(set(ways)) == len(ways)


def test_ways_can_be_left_out() -> None:
    assert [way.letter for way in ways_of(("d", "b"), ("transformers",))] == ["b", "d"]


def test_engines_without_a_model_are_not_compared() -> None:
    assert "simulated" not in ENGINES_COMPARED
    assert "transformers" in ENGINES_COMPARED


def test_only_engines_that_draw_as_transformers_does_must_write_its_texts() -> None:
    ways = ways_of(LETTERS, ("transformers", "compiled"))
    assert [way.same_texts for way in ways] == [True, True, True, True, False]


def test_each_other_way_is_a_program() -> None:
    assert all(find_spec(f"{WAYS}.{way.module}") for way in OTHERS)
