"""Parameters by cells, spaces in the domain, requested and effective values, hashes, seeds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.engine import ENGINES
from orchestrator.nouns import (
    ANCHOR,
    DOMAIN,
    KINDS,
    PARAMETERS,
    QUANTIZATIONS,
    Configuration,
    Parameter,
    Profile,
    Space,
    TrialSpec,
    UseCase,
    digest,
    effective_of,
    generation_seed,
)
from orchestrator.yaml_files import read
from tests import builders

INTEGERS = st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).map(sorted)
UNIT = st.floats(0, 1)


def test_integers_are_cells_of_equal_width() -> None:
    axis = Parameter(type="int", low=3, high=7)
    counts = Counter(axis.at((i + 0.5) / 5000) for i in range(5000))
    assert counts == dict.fromkeys(range(3, 8), 1000)
    assert (axis.at(0.0), axis.at(1.0)) == (3, 7)


@pytest.mark.parametrize("name", ["max_length", "top_k"])
def test_every_integer_of_the_domain_is_met_by_a_cell_of_its_own(name: str) -> None:
    low, high = map(int, DOMAIN[name])
    axis = Parameter(type="int", low=low, high=high)
    cells = high - low + 1
    assert [axis.at((i + 0.5) / cells) for i in range(cells)] == list(range(low, high + 1))


def test_both_ends_have_a_whole_cell() -> None:
    axis = Parameter(type="int", low=0, high=100)
    below, above = 1 - 1e-9, 1 + 1e-9
    assert [axis.at(u / 101) for u in (below, above, 100 * below, 100 * above)] == [0, 1, 99, 100]
    assert (axis.position(0), axis.position(50), axis.position(100)) == (
        0.5 / 101,
        0.5,
        100.5 / 101,
    )


def test_an_axis_of_one_value() -> None:
    for kind, value in (("int", 50), ("float", 0.5)):
        axis = Parameter.model_validate({"type": kind, "low": value, "high": value})
        assert {axis.at(u) for u in (0.0, 0.3, 1.0)} == {value}
        assert axis.position(value) == 0.5


@given(st.tuples(st.floats(0, 2), st.floats(0, 2)).map(sorted), UNIT)
def test_a_real_axis_finds_its_way_back(bounds: list[float], u: float) -> None:
    axis = Parameter(type="float", low=bounds[0], high=bounds[1])
    if bounds[1] - bounds[0] > 1e-6:
        assert axis.position(axis.at(u)) == pytest.approx(u, abs=1e-8)


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
    ("low", "high", "kind"),
    [(2, 1, "float"), (0.5, 3, "int"), (float("nan"), 1, "float"), (0, float("inf"), "float")],
)
def test_axes_that_are_none(low: float, high: float, kind: str) -> None:
    with pytest.raises(ValidationError):
        Parameter.model_validate({"type": kind, "low": low, "high": high})


def axes(**changed: object) -> dict[str, object]:
    whole = {
        name: {"type": KINDS[name], "low": low, "high": high}
        for name, (low, high) in DOMAIN.items()
    }
    return whole | changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"max_length": {"type": "int", "low": 99, "high": 200}},
            "99..200 leaves the domain 100..10000",
        ),
        (
            {"temperature": {"type": "float", "low": 0, "high": 2.1}},
            "0..2.1 leaves the domain 0..2",
        ),
        ({"top_p": {"type": "int", "low": 0, "high": 1}}, "type must be float"),
        ({"top_k": {"type": "float", "low": 0, "high": 1}}, "type must be int"),
        ({"top_k": {"type": "bool", "low": 0, "high": 1}}, "should be 'int' or 'float'"),
        ({"top_p": {"type": "float", "low": 0.6, "high": 0.4}}, "low 0.6 is above high 0.4"),
        ({"top_p": {"type": "float", "low": 0}}, "Field required"),
        ({"top_q": {"type": "float", "low": 0, "high": 1}}, "Extra inputs"),
        ({"top_p": {"type": "float", "low": 0, "high": 1, "step": 1}}, "Extra inputs"),
    ],
    ids=str,
)
def test_spaces_that_are_none(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Space.model_validate({"name": "x", "sampler": "lhs", "parameters": axes(**changed)})
    assert [said in item["msg"] for item in raised.value.errors()] == [True]


def test_narrowing_replaces_the_ranges_it_names_and_checks_them() -> None:
    whole = Space.model_validate({"name": "x", "sampler": "lhs", "parameters": axes()})
    narrow = whole.narrowed({"top_k": (5, 7)})
    assert (
        narrow.parameters["top_k"].low,
        narrow.parameters["top_k"].high,
        narrow.parameters["top_k"].type,
    ) == (5, 7, "int")
    assert narrow.narrowed({"top_k": (0, 100)}) == whole
    for bad in (
        {"top_k": (7, 5)},
        {"top_k": (0, 101)},
        {"top_k": (0.5, 3)},
        {"top_p": (0, float("nan"))},
    ):
        with pytest.raises(ValidationError):
            whole.narrowed(bad)
    with pytest.raises(KeyError):
        whole.parameters["top_q"]


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"temprature": (0, 1)}, "Input should be"),
        ({"max_length": (250, 100)}, "max_length: low 250 is above high 100"),
        ({"max_length": (100.5, 250)}, "max_length: an int parameter needs whole numbers"),
        ({"top_p": (0, float("inf"))}, "top_p.*\n.*Input should be a finite number"),
    ],
)
def test_a_profile_checks_its_ranges_where_its_file_is_named(
    ranges: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Profile.model_validate({"ranges": ranges})


def test_nouns_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        asked().top_k = 3


def asked(
    temperature: float = 0.7, top_p: float = 0.9, top_k: int = 50, max_length: int = 200
) -> Configuration:
    return Configuration(max_length=max_length, top_p=top_p, top_k=top_k, temperature=temperature)


GREEDY = [
    (asked(temperature=0), {"top_p", "top_k"}),
    (asked(temperature=1e-30), {"top_p", "top_k"}),
    (asked(temperature=9.9e-6), {"top_p", "top_k"}),
    (asked(top_p=0), {"top_k", "temperature"}),
    (asked(top_k=1), {"top_p", "temperature"}),
    (asked(top_k=1, top_p=0, temperature=0), set()),
]


@pytest.mark.parametrize(("configuration", "dormant"), GREEDY, ids=range(len(GREEDY)))
def test_edges_that_are_greedy(configuration: Configuration, dormant: set[str]) -> None:
    effective = effective_of(configuration)
    assert effective.do_sample is False
    assert (effective.temperature, effective.top_p, effective.top_k) == (None, None, None)
    assert set(effective.dormant) == dormant
    assert effective.key() == effective_of(asked(temperature=0)).key()


@pytest.mark.parametrize(
    "configuration",
    [asked(temperature=1e-5), asked(temperature=0.01), asked(top_k=0), asked(top_p=1)],
)
def test_edges_that_sample(configuration: Configuration) -> None:
    effective = effective_of(configuration)
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
        (10_000, {"prompt_tokens": 50, "memory_tokens": 40}, 51, ("memory", "prompt")),
        (
            10_000,
            {"context_length": 4096, "memory_tokens": 900, "beyond_context": True},
            900,
            ("memory",),
        ),
        (4097, {"context_length": 4096, "memory_tokens": 4096}, 4096, ("context",)),
    ],
)
def test_max_length_is_bounded_and_says_by_what(
    max_length: int, limits: dict[str, int], expected: int, why: tuple[str, ...]
) -> None:
    effective = effective_of(asked(max_length=max_length), **limits)  # type: ignore[arg-type]
    assert (effective.max_length, effective.limits) == (expected, why)


def test_a_hundred_points_of_which_forty_are_greedy_are_sixty_one_programs() -> None:
    design = [asked(temperature=0, top_k=i) for i in range(40)] + [
        asked(temperature=0.5 + i / 100) for i in range(60)
    ]
    assert len({effective_of(configuration).key() for configuration in design}) == 61


def test_the_hash_covers_configuration_and_setup() -> None:
    base = builders.spec()
    others = [
        builders.spec(configuration=builders.configuration(top_k=51)),
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
    same = [
        builders.spec(repeat=2),
        builders.spec(order_index=9),
        builders.spec(sweep_id="another"),
    ]
    assert {spec.config_hash() for spec in same} == {base.config_hash()}


def test_hashes_and_seeds_are_the_same_on_every_machine() -> None:
    assert digest({"b": [1, 2.5, None], "a": "è"}) == "7c2bea7cdb95"
    assert generation_seed(0, asked(), "Describe a castle.", 1) == 3539421404380309711


def test_a_config_hash_is_the_same_on_every_machine() -> None:
    spec = builders.spec()
    assert spec.config_hash() == "5051b345db57"
    assert spec.folder() == "0000-5051b345db57-r1"
    again = builders.spec(config_index=12, repeat=3, attempt=2)
    assert again.folder() == "0012-5051b345db57-r3-a2"
    assert builders.spec(strategy=ANCHOR).config_hash() == "97e400f064b7"


def test_whole_numbers_hash_alike_however_they_are_written() -> None:
    whole = Configuration.model_validate(
        {"max_length": 200.0, "top_p": 1, "top_k": 50.0, "temperature": 0}
    )
    real = Configuration.model_validate(
        {"max_length": 200, "top_p": 1.0, "top_k": 50, "temperature": 0.0}
    )
    assert (
        builders.spec(configuration=whole).config_hash()
        == builders.spec(configuration=real).config_hash()
    )
    assert generation_seed(0, whole, "a", 1) == generation_seed(0, real, "a", 1)


def test_quantizations_and_models_share_their_random_numbers() -> None:
    specs = [
        builders.spec(),
        builders.spec(setup=builders.setup(quantization="int8")),
        builders.spec(setup=builders.setup(model="m")),
    ]
    assert len({spec.config_hash() for spec in specs}) == 3
    assert (
        len(
            {
                generation_seed(spec.setup.seed, spec.configuration, "Dance.", spec.repeat)
                for spec in specs
            }
        )
        == 1
    )


@given(builders.configurations(), st.integers(0, 2**31 - 1), builders.texts, st.integers(1, 99))
def test_seeds_are_in_range(
    configuration: Configuration, sweep_seed: int, prompt: str, repeat: int
) -> None:
    seed = generation_seed(sweep_seed, configuration, prompt, repeat)
    assert 0 <= seed < 2**63
    assert seed == generation_seed(sweep_seed, configuration.model_copy(), prompt, repeat)


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
        "int4": (4, "int4", None),
        "int8": (8, None, None),
        "none": (None, None, None),
    }


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ((), "at least 1 item"),
        (("a", " \n"), r"prompts\.1\n  is empty"),
        (
            ("a", "b", "a", "a"),
            r"(?s)prompts\.2\n  repeats prompts\[0\].*prompts\.3\n  repeats prompts\[0\]",
        ),
    ],
)
def test_prompts_that_are_none(prompts: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        UseCase(name="x", prompts=prompts)


@given(builders.specs())
def test_specs_survive_json(spec: TrialSpec) -> None:
    again = TrialSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert (again.config_hash(), again.key(), again.folder()) == (
        spec.config_hash(),
        spec.key(),
        spec.folder(),
    )


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    ranges = {}
    for name in PARAMETERS:
        low, high = DOMAIN[name]
        value = st.integers(int(low), int(high)) if KINDS[name] == "int" else st.floats(low, high)
        low, high = sorted((draw(value), draw(value)))
        ranges[name] = {"type": KINDS[name], "low": low, "high": high}
    values = st.none() | st.booleans() | st.integers(-9, 9) | builders.texts
    options = draw(st.dictionaries(builders.texts, values, max_size=3))
    return Space.model_validate(
        {"name": draw(builders.texts), "sampler": "lhs", "options": options, "parameters": ranges}
    )


@given(spaces(), st.lists(UNIT, min_size=4, max_size=4))
def test_spaces_survive_json_and_give_the_same_configurations(
    space: Space, point: list[float]
) -> None:
    again = Space.model_validate_json(space.model_dump_json())
    assert again == space
    assert Configuration.at(again, point) == Configuration.at(space, point)


def test_a_length_that_is_lowered_and_raised_to_what_was_asked_is_not_limited() -> None:
    asked = Configuration(max_length=101, top_p=1.0, top_k=0, temperature=1.0)
    assert effective_of(asked, prompt_tokens=100, context_length=50) == effective_of(asked)


@given(
    spaces(),
    st.lists(UNIT, min_size=4, max_size=4),
    st.integers(0, 5000),
    st.integers(1, 5000),
    st.booleans(),
)
def test_what_runs_is_always_a_program(
    space: Space, point: list[float], prompt: int, context: int, beyond: bool
) -> None:
    configuration = Configuration.at(space, point)
    effective = effective_of(
        configuration, prompt_tokens=prompt, context_length=context, beyond_context=beyond
    )
    assert effective.max_length > prompt
    assert effective.max_length in {configuration.max_length, context, prompt + 1}
    assert (effective.max_length == configuration.max_length) == (effective.limits == ())
    sampling = (effective.temperature, effective.top_p, effective.top_k)
    assert sampling == (
        (configuration.temperature, configuration.top_p, configuration.top_k)
        if effective.do_sample
        else (None,) * 3
    )


def test_shipped_spaces_survive_json() -> None:
    space = read("search_spaces", "optuna", Space)[0]
    assert Space.model_validate_json(space.model_dump_json()) == space


def test_an_option_named_like_a_field_is_refused() -> None:
    """In the hash it would take the field's place."""
    with pytest.raises(ValueError, match="engine_options: seed is the name of a field"):
        builders.setup(engine_options={"seed": 5})


def test_an_option_at_its_default_stays_out_of_the_hash() -> None:
    """So hashes and ids of data sets from before the option existed stay what they are."""
    engine = ENGINES["transformers"]
    assert engine.given_options() == engine.given_options(cpu_offload=False) == {}
    offloaded = builders.setup(engine_options=engine.given_options(cpu_offload=True))
    plain = builders.setup()
    assert "engine_options" not in plain.hashed()
    assert offloaded.hashed() == plain.hashed() | {"cpu_offload": True}
    hashes = [builders.spec(setup=setup).config_hash() for setup in (plain, offloaded)]
    assert hashes == ["5051b345db57", "cc810bd7ef0c"], "as in data sets written before"
