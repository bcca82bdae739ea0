"""What every sampler that draws a design must hold, and what each alone promises."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from orchestrator.errors import UserError
from orchestrator.nouns import DOMAIN, KINDS, PARAMETERS, Configuration, Space, digest
from orchestrator.samplers import (
    SAMPLERS,
    LhsOptions,
    Sampler,
    SobolOptions,
    configurations,
    grid,
    lhs,
    sampler_of,
    sobol,
    uniform,
)
from orchestrator.samplers.quality import centered_discrepancy, quality
from orchestrator.yaml_files import read

FUNCTIONS = {
    "uniform": uniform.design,
    "grid": grid.design,
    "lhs": lhs.design,
    "sobol": sobol.design,
}
DESIGNS = [name for name, kind in SAMPLERS.items() if not kind.learns]
PINNED = {
    "uniform": "9a3b5f98ca4e",
    "grid": "6e2e64c45935",
    "lhs": "c5c8759cd5bd",
    "sobol": "cca553ff898c",
}
"""Digest of the design of 16 points with seed 5: the same on every machine."""


def space(name: str, **options: Any) -> Space:
    space = read("search_spaces", name, Space)[0]
    return space.model_copy(update={"options": {**space.options, **options}})


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


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("count", [1, 5, 25])
@pytest.mark.parametrize("dimensions", [1, 4])
def test_a_design_is_rows_of_plain_floats_in_the_unit_cube(
    name: str, count: int, dimensions: int
) -> None:
    _, options = sampler_of(space(name), name)
    rows = FUNCTIONS[name](count, dimensions, 3, options)
    assert len(rows) == count if name != "grid" else len(rows) <= count
    assert all(type(u) is float and 0 <= u <= 1 for row in rows for u in row)
    assert {len(row) for row in rows} == {dimensions}


@pytest.mark.parametrize("name", DESIGNS)
@given(st.data())
@settings(max_examples=15, deadline=None)
def test_points_are_inside_any_narrower_space(name: str, data: st.DataObject) -> None:
    ranges = {}
    for parameter, (low, high) in DOMAIN.items():
        bound = (
            st.integers(int(low), int(high)) if KINDS[parameter] == "int" else st.floats(low, high)
        )
        ranges[parameter] = tuple(sorted((data.draw(bound), data.draw(bound))))
    for asked in configurations(
        space(name).narrowed(ranges), data.draw(st.integers(1, 20)), data.draw(st.integers(0, 99))
    ):
        for parameter, (low, high) in ranges.items():
            assert low <= getattr(asked, parameter) <= high


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
        strata = sorted(
            int(wide.parameters[name].position(getattr(asked, name)) * count) for asked in design
        )
        assert strata == list(range(count))


def test_strength_two_is_an_orthogonal_array() -> None:
    """Of 5 x 5 cells over any two axes, each holds one of 25 points."""
    points = lhs.design(25, 4, 5, LhsOptions(strength=2))
    for one, other in itertools.combinations(range(4), 2):
        assert len({(int(point[one] * 5), int(point[other] * 5)) for point in points}) == 25


def test_optimization_spreads_the_points() -> None:
    plain, spread = (
        quality(space("lhs"), draw("lhs", 20, optimization=o), None) for o in (None, "random-cd")
    )
    assert spread.coverage["temperature"] == plain.coverage["temperature"] == 1
    assert plain.discrepancy is not None
    assert spread.discrepancy is not None
    assert spread.discrepancy < plain.discrepancy


@pytest.mark.parametrize("count", [1, 2, 4])
def test_lloyd_wants_more_points_than_axes(count: int) -> None:
    with pytest.raises(UserError) as raised:
        draw("lhs", count, optimization="lloyd")
    assert raised.value.lines == (
        f"space: $.options: lloyd needs more points than the 4 axes (--samples {count})",
    )
    assert len(draw("lhs", 5, optimization="lloyd")) == 5


@pytest.mark.parametrize("optimization", ["random-cd", "lloyd"])
def test_optimization_is_for_designs_that_it_can_do(optimization: str) -> None:
    with pytest.raises(UserError) as raised:
        draw("lhs", 20_000, optimization=optimization)
    said = f"optimization {optimization} is for at most 5,000 points; set it to null"
    assert raised.value.lines == (f"space: $.options: {said} (--samples 20000)",)


def test_without_scrambling_points_stand_in_the_middle_of_their_strata() -> None:
    assert sorted(asked.temperature for asked in draw("lhs", 4, scramble=False)) == pytest.approx(
        [0.25, 0.75, 1.25, 1.75]
    )


def test_sobol_without_scrambling_begins_as_published() -> None:
    first = [
        (asked.max_length, asked.top_p, asked.top_k, asked.temperature)
        for asked in draw("sobol", 4, scramble=False)
    ]
    assert first == [
        (100, 0, 0, 0),
        (5050, 0.5, 50, 1),
        (7525, 0.25, 25, 0.5),
        (2575, 0.75, 75, 1.5),
    ]


@pytest.mark.parametrize("count", [16, 64])
def test_sobol_at_powers_of_two_meets_each_stratum_once(count: int) -> None:
    coverage = quality(space("sobol"), draw("sobol", count), None).coverage
    assert (coverage["top_p"], coverage["temperature"], coverage["max_length"]) == (1, 1, 1)
    assert coverage["top_k"] > 0.85, "101 integers hardly fall into 64 equal strata"


@pytest.mark.parametrize(
    ("name", "options", "path"),
    [
        ("uniform", {"scramble": True}, "$.options.scramble"),
        ("grid", {"levels_at": "corners"}, "$.options.levels_at"),
        ("lhs", {"strength": 3}, "$.options.strength"),
        ("lhs", {"optimization": "best"}, "$.options.optimization"),
        ("sobol", {"scramble": "perhaps"}, "$.options.scramble"),
        ("optuna", {"sampler": "cma"}, "$.options.sampler"),
        ("optuna", {"objectives": {"joules": "min"}}, "$.options.objectives.joules"),
        ("optuna", {"objectives": {"energy_j": "low"}}, "$.options.objectives.energy_j"),
        ("optuna", {"objectives": {}}, "$.options.objectives"),
        ("optuna", {"startup_trials": 0}, "$.options.startup_trials"),
    ],
)
def test_options_are_checked_with_their_path(name: str, options: dict[str, Any], path: str) -> None:
    with pytest.raises(UserError) as raised:
        sampler_of(space(name, **options), "mine.yaml")
    assert [line.split(": ")[:2] for line in raised.value.lines] == [["mine.yaml", path]]


def test_an_unknown_sampler_suggests_the_nearest() -> None:
    with pytest.raises(UserError) as raised:
        sampler_of(space("lhs").model_copy(update={"sampler": "sobl"}), "mine.yaml")
    said = (
        "mine.yaml: $.sampler: there is no 'sobl': did you mean sobol? "
        "Known: uniform, grid, lhs, sobol, optuna"
    )
    assert raised.value.lines == (said,)


def test_strength_two_wants_the_square_of_a_prime() -> None:
    for count in (1, 4, 16, 20):
        with pytest.raises(UserError) as raised:
            draw("lhs", count, strength=2)
        said = (
            "strength 2 needs the square of a prime that is no less than 3: "
            "9, 25, 49, 121, 169, ..."
        )
        assert raised.value.lines == (f"space: $.options: {said} (--samples {count})",)
    assert [len(draw("lhs", count, strength=2)) for count in (9, 25, 49)] == [9, 25, 49]


@pytest.mark.parametrize(
    ("count", "levels"),
    [
        (1, [1, 1, 1, 1]),
        (3, [2, 1, 1, 1]),
        (16, [2, 2, 2, 2]),
        (20, [2, 2, 2, 2]),
        (24, [3, 2, 2, 2]),
    ],
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
    sobol, uniform = (
        quality(space("sobol"), draw("sobol", 64), None),
        quality(space("uniform"), draw("uniform", 64), None),
    )
    assert sobol.discrepancy is not None
    assert uniform.discrepancy is not None
    assert sobol.discrepancy < uniform.discrepancy
    assert quality(space("uniform"), draw("uniform", 1), None).discrepancy is None


@pytest.mark.parametrize("scramble", [True, False])
@pytest.mark.parametrize("count", [1, 2, 20, 333])
def test_the_plain_latin_hypercube_is_scipys(count: int, *, scramble: bool) -> None:
    for seed in range(5):
        sampler = qmc.LatinHypercube(d=4, scramble=scramble, rng=np.random.default_rng(seed))
        drawn = lhs.design(count, 4, seed, LhsOptions(scramble=scramble))
        assert drawn == sampler.random(count).tolist()


@pytest.mark.filterwarnings("ignore:The balance properties")
@pytest.mark.parametrize("scramble", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 20, 64, 1025])
def test_the_sobol_sequence_is_scipys(count: int, *, scramble: bool) -> None:
    for dimensions, seed in itertools.product(range(1, 5), range(3)):
        rng = np.random.default_rng(seed)
        sampler = qmc.Sobol(d=dimensions, scramble=scramble, rng=rng)
        drawn = sobol.design(count, dimensions, seed, SobolOptions(scramble=scramble))
        assert drawn == sampler.random(count).tolist()


@pytest.mark.parametrize("dimensions", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 20, 333])
def test_the_discrepancy_is_scipys(count: int, dimensions: int) -> None:
    points = np.random.default_rng(count).random((count, dimensions))
    points[0] = 0
    points[-1] = 1
    computed = centered_discrepancy(points.T.tolist())
    assert computed == pytest.approx(qmc.discrepancy(points), rel=1e-9)


def test_quality_by_hand() -> None:
    """Two points at 1/4 and 3/4 of one axis: 13/12 - 2 * 35/32 + 9/8 = 1/48."""
    one_axis = space("uniform").narrowed(
        {"max_length": (200, 200), "top_p": (1, 1), "top_k": (0, 0)}
    )
    design = [Configuration(max_length=200, top_p=1, top_k=0, temperature=t) for t in (0.5, 1.5)]
    drawn = quality(one_axis, design, None)
    assert drawn.discrepancy == pytest.approx(1 / 48)
    assert (drawn.points, drawn.effective, drawn.coverage) == (2, 2, {"temperature": 1.0})
    together = quality(one_axis, [design[0]] * 4, None)
    assert (together.points, together.effective, together.coverage) == (4, 1, {"temperature": 0.25})
    assert (
        together.line() == f"discrepancy {together.discrepancy:.4f}, coverage temperature 25%; "
        "1 of 4 effectively different"
    )


def test_quality_of_one_fixed_point() -> None:
    fixed = space("uniform").narrowed(
        {"max_length": (200, 200), "top_p": (1, 1), "top_k": (0, 0), "temperature": (1, 1)}
    )
    drawn = quality(fixed, configurations(fixed, 3, 0), None)
    assert (drawn.points, drawn.effective, drawn.discrepancy, drawn.coverage) == (3, 1, None, {})
    assert drawn.line() == "discrepancy n/a, coverage n/a; 1 of 3 effectively different"


def test_lengths_above_the_context_are_one_and_the_same() -> None:
    greedy = space("uniform").narrowed({"top_k": (1, 1), "max_length": (5000, 10000)})
    drawn = quality(greedy, configurations(greedy, 50, 0), 4096)
    assert (drawn.points, drawn.effective) == (50, 1)


def test_a_grid_with_a_narrowed_axis_has_each_point_once() -> None:
    narrow = space("grid").narrowed({"top_k": (50, 50)})
    design = configurations(narrow, 16, 0)
    assert len(design) == len(set(design)) == 8


# --- what every sampler holds while it runs, learning ones too ------------------------------------


def started(name: str, count: int = 8, seed: int = 5) -> Sampler:
    kind, options = sampler_of(space(name), name)
    return kind.start(space(name), count, seed, options)


@pytest.mark.parametrize("name", SAMPLERS)
def test_it_asks_for_configurations_inside_the_space(name: str) -> None:
    sampler = started(name)
    asked = [sampler.ask() for _ in range(8)]
    known = [configuration for configuration in asked if configuration is not None]
    assert known
    for configuration in known:
        for parameter, (low, high) in DOMAIN.items():
            assert low <= getattr(configuration, parameter) <= high


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_that_learns_never_ends_and_another_ends_after_its_design(name: str) -> None:
    sampler = started(name, count=4)
    asked = [sampler.ask() for _ in range(9)]
    n_known = sum(configuration is not None for configuration in asked)
    assert n_known == 9 if SAMPLERS[name].learns else 1 <= n_known <= 4


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_seed_and_figures_ask_the_same(name: str) -> None:
    def asked() -> list[Configuration | None]:
        sampler, result = started(name), []
        for number in range(8):
            configuration = sampler.ask()
            result.append(configuration)
            if configuration is not None:
                sampler.tell(configuration, {"energy_per_token_j": number, "quality": 0.5})
        return result

    assert asked() == asked()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("figures", [None, {}, {"energy_per_token_j": math.nan}, {"tokens": 1}])
def test_it_takes_unknown_figures_and_configurations_of_earlier_runs(
    name: str, figures: Any
) -> None:
    sampler = started(name)
    earlier = Configuration(max_length=500, top_p=0.5, top_k=50, temperature=1.0)
    sampler.tell(earlier, figures)
    sampler.tell(earlier, {"energy_per_token_j": 1.0, "quality": 0.5})
    configuration = sampler.ask()
    assert configuration is not None
    sampler.tell(configuration, figures)
    assert sampler.ask() is not None


@pytest.mark.parametrize("name", SAMPLERS)
def test_objectives_are_wanted_by_those_that_learn(name: str) -> None:
    kind, options = sampler_of(space(name), name)
    assert bool(kind.objectives(options)) is kind.learns


def test_a_sampler_as_long_as_a_file_is_cut() -> None:
    with pytest.raises(UserError) as raised:
        sampler_of(space("lhs").model_copy(update={"sampler": "s" * 100_000}), "mine.yaml")
    assert len(raised.value.lines[0]) < 500
