"""Parameters by cells, spaces within the domain, requested and effective values, hashes and seeds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.nouns import (
    ANCHOR,
    QUANTIZATIONS,
    Configuration,
    Parameter,
    Space,
    TrialSpec,
    UseCase,
    digest,
    generation_seed,
    resolve,
)
from orchestrator.reader import read
from tests import builders

INTEGERS = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).map(sorted)
UNIT = st.floats(0, 1)


def test_integers_are_cells_of_equal_width() -> None:
    axis = Parameter(type="int", low=3, high=7)
    counts = Counter(axis.at((i + 0.5) / 5000) for i in range(5000))
    assert counts == dict.fromkeys(range(3, 8), 1000)
    assert (axis.at(0.0), axis.at(1.0)) == (3, 7)


@given(INTEGERS, UNIT)
def test_an_integer_axis_stays_inside_and_finds_its_way_back(bounds: list[int], u: float) -> None:
    axis = Parameter(type="int", low=bounds[0], high=bounds[1])
    value = axis.at(u)
    assert isinstance(value, int)
    assert bounds[0] <= value <= bounds[1]
    assert axis.at(axis.position(value)) == value


@given(st.tuples(st.floats(0, 2), st.floats(0, 2)).map(sorted), UNIT)
def test_a_real_axis_stays_inside(bounds: list[float], u: float) -> None:
    axis = Parameter(type="float", low=bounds[0], high=bounds[1])
    assert bounds[0] <= axis.at(u) <= bounds[1]
    assert 0 <= axis.position(axis.at(u)) <= 1


@pytest.mark.parametrize(
    ("low", "high", "kind"), [(2, 1, "float"), (0.5, 3, "int"), (float("nan"), 1, "float"), (0, float("inf"), "float")]
)
def test_axes_that_are_none(low: float, high: float, kind: str) -> None:
    with pytest.raises(ValidationError):
        Parameter.model_validate({"type": kind, "low": low, "high": high})


def asked(temperature: float = 0.7, top_p: float = 0.9, top_k: int = 50, max_length: int = 200) -> Configuration:
    return Configuration(max_length=max_length, top_p=top_p, top_k=top_k, temperature=temperature)


GREEDY = [
    (asked(temperature=0), {"top_p", "top_k"}),
    (asked(temperature=1e-30), {"top_p", "top_k"}),
    (asked(temperature=9.9e-6), {"top_p", "top_k"}),
    (asked(top_p=0), {"top_k", "temperature"}),
    (asked(top_k=1), {"top_p", "temperature"}),
    (asked(top_k=1, top_p=0, temperature=0), set()),
]


@pytest.mark.parametrize(("configuration", "dormant"), GREEDY, ids=str)
def test_edges_that_are_greedy(configuration: Configuration, dormant: set[str]) -> None:
    effective = resolve(configuration)
    assert effective.do_sample is False
    assert (effective.temperature, effective.top_p, effective.top_k) == (None, None, None)
    assert set(effective.dormant) == dormant
    assert effective.key() == resolve(asked(temperature=0)).key()


@pytest.mark.parametrize("configuration", [asked(temperature=1e-5), asked(temperature=0.01), asked(top_k=0), asked(top_p=1)])
def test_edges_that_sample(configuration: Configuration) -> None:
    effective = resolve(configuration)
    assert effective.do_sample is True
    assert (effective.temperature, effective.top_p, effective.top_k) == (
        configuration.temperature,
        configuration.top_p,
        configuration.top_k,
    )
    assert isinstance(effective.top_k, int)
    assert effective.dormant == ()


@pytest.mark.parametrize(
    ("max_length", "limits", "expected", "why"),
    [
        (5, {"prompt_tokens": 19}, 20, ("prompt",)),
        (19, {"prompt_tokens": 19}, 20, ("prompt",)),
        (20, {"prompt_tokens": 19}, 20, ()),
        (10_000, {"context_length": 4096}, 4096, ("context",)),
        (4096, {"context_length": 4096}, 4096, ()),
        (10_000, {"context_length": 4096, "beyond_context": True}, 10_000, ()),
        (10_000, {"context_length": 4096, "memory_tokens": 900}, 900, ("context", "memory")),
        (800, {"context_length": 4096, "memory_tokens": 900}, 800, ()),
        (10_000, {"prompt_tokens": 5000, "context_length": 4096}, 5001, ("context", "prompt")),
    ],
)
def test_max_length_is_bounded_and_says_by_what(
    max_length: int, limits: dict[str, int], expected: int, why: tuple[str, ...]
) -> None:
    effective = resolve(asked(max_length=max_length), **limits)  # type: ignore[arg-type]
    assert (effective.max_length, effective.limits) == (expected, why)


def test_a_hundred_points_of_which_forty_are_greedy_are_sixty_one_programs() -> None:
    design = [asked(temperature=0, top_k=i) for i in range(40)] + [asked(temperature=0.5 + i / 100) for i in range(60)]
    assert len({resolve(configuration).key() for configuration in design}) == 61


def test_the_hash_covers_configuration_and_setup() -> None:
    base = builders.spec()
    others = [
        builders.spec(asked=builders.configuration(top_k=51)),
        *(
            builders.spec(setup=builders.setup(**{name: value}))
            for name, value in [
                ("quantization", "int8"),
                ("compute_dtype", "bfloat16"),
                ("prompts_sha256", "1" * 64),
                ("revision", "hub:other"),
                ("seed", 8),
                ("chat_template", "off"),
                ("length_mode", "fixed"),
                ("beyond_context", True),
                ("use_case", "danceCoreography"),
                ("model", "mistral"),
            ]
        ),
        builders.spec(strategy=ANCHOR),
        builders.spec(strategy=ANCHOR, sweep_id="another"),
    ]
    hashes = [spec.config_hash() for spec in [base, *others]]
    assert len(set(hashes)) == len(hashes)
    same = [builders.spec(repeat=2), builders.spec(order_index=9), builders.spec(sweep_id="another")]
    assert {spec.config_hash() for spec in same} == {base.config_hash()}


def test_hashes_and_seeds_are_the_same_on_every_machine() -> None:
    assert digest({"b": [1, 2.5, None], "a": "è"}) == "7c2bea7cdb95"
    assert generation_seed(0, asked(), "Describe a castle.", 1) == 3539421404380309711


def test_seeds_differ_by_what_they_are_derived_from() -> None:
    seeds = {
        generation_seed(*arguments)
        for arguments in [
            (0, asked(), "a", 1),
            (1, asked(), "a", 1),
            (0, asked(top_k=51), "a", 1),
            (0, asked(), "b", 1),
            (0, asked(), "a", 2),
        ]
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "-dash", "a b", "x" * 65])
def test_use_cases_have_names_fit_for_folders(name: str) -> None:
    with pytest.raises(ValidationError):
        UseCase(name=name, prompts=("Dance.",))


def test_whole_quantization_record() -> None:
    assert {name: (q.bits, q.quant_type, q.double_quant) for name, q in QUANTIZATIONS.items()} == {
        "nf4": (4, "nf4", True),
        "fp4": (4, "fp4", False),
        "int8": (8, None, None),
        "none": (None, None, None),
    }


@given(st.fixed_dictionaries({"top_p": UNIT, "temperature": st.floats(0, 2), "top_k": st.integers(0, 100)}))
def test_specs_survive_json(values: dict[str, float]) -> None:
    spec = builders.spec(asked=builders.configuration(**values))
    assert TrialSpec.model_validate_json(spec.model_dump_json()) == spec


def test_spaces_survive_json() -> None:
    space = read("search_spaces", "optuna", Space)[0]
    assert Space.model_validate_json(space.model_dump_json()) == space
