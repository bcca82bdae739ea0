"""What every sampler that draws a design must hold, and what each alone promises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UserError
from orchestrator.nouns import DOMAIN, PARAMETERS, Configuration, Space, digest
from orchestrator.reader import read
from orchestrator.samplers import SAMPLERS, configurations, grid
from orchestrator.samplers.quality import quality

DESIGNS = [name for name, sampler in SAMPLERS.items() if sampler.design]
PINNED = {"uniform": "9a3b5f98ca4e", "grid": "6e2e64c45935", "lhs": "c5c8759cd5bd", "sobol": "cca553ff898c"}
"""Digest of the design of 16 points with seed 5: the same on every machine."""


def space(name: str, **options: Any) -> Space:
    found = read("search_spaces", name, Space)[0]
    return found.model_copy(update={"options": {**found.options, **options}})


def draw(name: str, count: int, seed: int = 5, **options: Any) -> list[Configuration]:
    return configurations(space(name, **options), count, seed)


@pytest.mark.parametrize("name", DESIGNS)
def test_same_design_on_every_machine(name: str) -> None:
    assert digest([asked.model_dump() for asked in draw(name, 16)]) == PINNED[name]


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("count", [1, 2, 7, 16, 100])
def test_points_are_inside_and_as_many_as_asked(name: str, count: int) -> None:
    design = draw(name, count)
    assert len(design) == count if name != "grid" else 1 <= len(design) <= count
    for asked in design:
        for parameter, (low, high) in DOMAIN.items():
            assert low <= getattr(asked, parameter) <= high
    assert draw(name, count) == design


@pytest.mark.parametrize("name", [n for n in DESIGNS if n != "grid"])
def test_another_seed_another_design(name: str) -> None:
    assert draw(name, 8, seed=1) != draw(name, 8, seed=2)


@pytest.mark.parametrize("name", [n for n in DESIGNS if SAMPLERS[n].extensible])
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**31 - 1))
@settings(max_examples=25, deadline=None)
def test_an_extensible_design_keeps_its_points(name: str, small: int, more: int, seed: int) -> None:
    assert draw(name, small + more, seed)[:small] == draw(name, small, seed)


@pytest.mark.parametrize("optimization", [None, "random-cd"])
@pytest.mark.parametrize("strength", [1, 2])
def test_latin_hypercube_meets_each_stratum_once(strength: int, optimization: str | None) -> None:
    count = 25
    design = draw("lhs", count, strength=strength, optimization=optimization)
    wide = space("lhs")
    for name in ("top_p", "temperature"):
        strata = sorted(int(wide.parameters[name].position(getattr(asked, name)) * count) for asked in design)
        assert strata == list(range(count))


def test_strength_two_wants_the_square_of_a_prime() -> None:
    with pytest.raises(UserError, match=r"\$\.options.*--samples 20"):
        draw("lhs", 20, strength=2)


@pytest.mark.parametrize(
    ("count", "levels"), [(1, [1, 1, 1, 1]), (3, [2, 1, 1, 1]), (16, [2, 2, 2, 2]), (20, [2, 2, 2, 2]), (24, [3, 2, 2, 2])]
)
def test_the_largest_grid_of_at_most_so_many(count: int, levels: list[int]) -> None:
    assert grid.levels(count, 4) == levels
    design = draw("grid", count)
    assert [len({getattr(asked, name) for asked in design}) for name in PARAMETERS] == levels
    assert len({asked.model_dump_json() for asked in design}) == len(design)


def test_levels_of_a_grid_are_evenly_spaced() -> None:
    middle = draw("grid", 81)
    assert sorted({asked.temperature for asked in middle}) == pytest.approx([1 / 3, 1, 5 / 3])
    ends = draw("grid", 81, levels_at="endpoints")
    assert sorted({asked.temperature for asked in ends}) == pytest.approx([0, 1, 2])
    assert sorted({asked.top_k for asked in ends}) == [0, 50, 100]
    assert {asked.max_length for asked in ends} >= {100, 10000}


def test_quality_of_known_designs() -> None:
    lhs = quality(space("lhs"), draw("lhs", 32), None)
    assert lhs.coverage["temperature"] == lhs.coverage["top_p"] == 1.0
    assert lhs.points == 32
    sobol, uniform = quality(space("sobol"), draw("sobol", 64), None), quality(space("uniform"), draw("uniform", 64), None)
    assert sobol.discrepancy is not None
    assert uniform.discrepancy is not None
    assert sobol.discrepancy < uniform.discrepancy
    assert quality(space("uniform"), draw("uniform", 1), None).discrepancy is None


def test_lengths_above_the_context_are_one_and_the_same() -> None:
    greedy = space("uniform").narrowed({"top_k": (1, 1), "max_length": (5000, 10000)})
    found = quality(greedy, configurations(greedy, 50, 0), 4096)
    assert (found.points, found.effective) == (50, 1)


def test_optuna_draws_nothing_ahead() -> None:
    with pytest.raises(UserError, match="draws no design ahead"):
        draw("optuna", 4)
