"""What a sweep will take: bounds on tokens, figures of the data set, memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.sweep_plan import SweepPlan
from orchestrator.gpu.devices import Gpu
from orchestrator.models import KNOWN, parse_model
from orchestrator.nouns import QUANTIZATIONS, Configuration
from orchestrator.sweep import estimate
from orchestrator.sweep.estimate import (
    Figures,
    Fit,
    memory_fit,
    offloaded_bytes,
    stored_figures,
    token_bound,
    too_small,
    trial_bound,
    unasked_bound,
)
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request
from tests import builders

LLAMA2, SMOLLM2 = KNOWN["llama2"], KNOWN["smollm2"]
WORDS_20 = "word " * 20
"""About 20 * 1.15 + 25 = 48 tokens with the chat template."""
GIB = 2**30

Plan = Callable[..., SweepPlan]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plans from keyword flags, in an empty folder without a GPU."""
    monkeypatch.chdir(tmp_path)

    def make(**flags: Any) -> SweepPlan:
        resolved = resolve_request(
            Request(**{"space": "lhs", "ranges": ("max_length=100:10000",), **flags}), []
        )
        return make_plan(resolved)

    return make


@pytest.mark.parametrize(
    ("max_length", "beyond", "tokens"),
    [
        (200, False, 152),
        (4096, False, 4048),
        (10_000, False, 4048),
        (10_000, True, 9952),
        (48, False, 1),
        (30, True, 1),
    ],
)
def test_new_tokens_are_what_the_prompt_leaves(max_length: int, beyond: bool, tokens: int) -> None:
    asked = builders.configuration(max_length=max_length)
    assert token_bound(asked, WORDS_20, LLAMA2, beyond_context=beyond) == tokens


def test_a_model_of_unknown_sizes_has_no_context_to_cut_at() -> None:
    assert (
        token_bound(builders.configuration(max_length=10_000), WORDS_20, parse_model("org/name"))
        == 9952
    )


def test_random_weights_take_a_token_a_byte() -> None:
    assert (
        token_bound(
            builders.configuration(max_length=200), "x" * 99, parse_model("synthetic-llama2")
        )
        == 100
    )


@given(
    builders.configurations(),
    builders.texts,
    st.sampled_from(["llama2", "synthetic-mistral", "org/name"]),
)
def test_there_is_always_a_token(asked: Configuration, prompt: str, ref: str) -> None:
    assert 1 <= token_bound(asked, prompt, parse_model(ref)) <= asked.max_length


def test_a_trial_is_the_sum_of_what_is_left_of_it() -> None:
    spec = builders.spec(configuration=builders.configuration(max_length=200))
    each = {p.number: token_bound(spec.configuration, p.text, LLAMA2) for p in spec.prompts}
    assert trial_bound(spec, (1, 2, 3), LLAMA2) == sum(each.values())
    assert trial_bound(spec, (2,), LLAMA2) == each[2]
    assert trial_bound(spec, (), LLAMA2) == 0


def test_a_trial_beyond_the_context() -> None:
    asked = builders.configuration(max_length=10_000)
    inside, beyond = (
        builders.spec(configuration=asked, setup=builders.setup(beyond_context=b))
        for b in (False, True)
    )
    assert trial_bound(beyond, (1,), LLAMA2) - trial_bound(inside, (1,), LLAMA2) == 10_000 - 4096


def test_trials_not_asked_for_yet_are_taken_at_the_middle(plan: Plan) -> None:
    learning = plan(space="optuna", prompts=2, ranges=("max_length=100:300",))
    middle = builders.configuration(max_length=200)
    prompts = learning.prompts("fantasyWorld")
    expected = 5 * sum(token_bound(middle, p.text, SMOLLM2) for p in prompts)
    assert len(prompts) == 2
    setup = next(one for one in learning.setups if one.use_case == "fantasyWorld")
    assert unasked_bound(learning, setup, SMOLLM2, 5) == expected
    assert unasked_bound(learning, setup, SMOLLM2, 0) == 0


def rows(*speeds: float | None, joules: float | None = 2.0, **changes: Any) -> Any:
    """A sealed trial of executions at these speeds on the plan's machine, model and engine."""
    spec = builders.spec(setup=builders.setup(engine="transformers"))
    done = [
        builders.execution(i, of=spec, tokens_per_s=speed, energy_per_token_j=joules, **changes)
        for i, speed in enumerate(speeds, 1)
    ]
    return builders.record(spec, executions=done, machine="cpu")


def figures_of(records: list[Any], plan: SweepPlan) -> Figures | None:
    """The figures of a plan of one model in one variant."""
    (load_key,) = plan.load_keys()
    return stored_figures(records, plan, load_key)


def test_figures_are_medians(plan: Plan) -> None:
    figures = figures_of([rows(1.0, 4.0, 100.0), rows(5.0, 6.0, joules=4.0)], plan())
    assert figures is not None
    assert (figures.tokens_per_s, figures.energy_per_token_j, figures.source) == (
        5.0,
        2.0,
        "5 executions in the data set",
    )


def test_each_variant_has_its_own_figures_bounds_and_memory(plan: Plan) -> None:
    both = plan(models=("llama2",), quantizations=("nf4", "none"), dtypes=("auto", "float32"))
    llama = [
        builders.setup(engine="transformers", model="llama2", **changes)
        for changes in ({}, {"quantization": "none", "compute_dtype": "float32"})
    ]
    records = [
        builders.record(
            spec, executions=[builders.execution(of=spec, tokens_per_s=speed)], machine="cpu"
        )
        for spec, speed in zip(
            [builders.spec(setup=setup) for setup in llama], (40.0, 4.0), strict=True
        )
    ]
    speeds = [stored_figures(records, both, load_key) for load_key in both.load_keys()]
    assert [figures and figures.tokens_per_s for figures in speeds] == [40.0, None, None, 4.0]
    fits = memory_fit(both, [LLAMA2], [gpu(80)], local=True)
    assert [fit.model for fit in fits] == [
        "llama2 (nf4, transformers)",
        "llama2 (nf4, transformers, float32)",
        "llama2 (none, transformers)",
        "llama2 (none, transformers, float32)",
    ]
    assert [round(fit.cache_bytes / GIB) for fit in fits] == [2, 4, 2, 4]
    assert fits[3].weights_bytes == 2 * fits[2].weights_bytes == 4 * 6_738_415_616


def test_figures_tell_time_and_energy() -> None:
    figures = Figures(4.0, 2.0, "a pilot")
    assert (figures.seconds(100), figures.joules(100)) == (25.0, 200.0)
    assert Figures(0.0, None, "a pilot").seconds(1) == math.inf
    assert Figures(4.0, None, "a pilot").joules(1) is None


@pytest.mark.parametrize(
    "flags",
    [
        {"models": ("mistral",)},
        {"quantizations": ("int8",)},
        {"engines": ("simulated",)},
        {"dtypes": ("float32",)},
        {"machine": "leonardo"},
        {"engine_options": {"cpu_offload": True}, "address": "10.0.0.1:6379"},
    ],
    ids=lambda flags: next(iter(flags)),
)
def test_figures_of_something_else_say_nothing(plan: Plan, flags: dict[str, Any]) -> None:
    assert figures_of([rows(1.0)], plan(**flags)) is None


def test_figures_of_any_machine_where_any_will_do(plan: Plan) -> None:
    assert figures_of([rows(1.0)], plan(address="10.0.0.1:6379")) is not None


def test_executions_without_a_figure_do_not_count(plan: Plan) -> None:
    assert figures_of([], plan()) is None
    assert figures_of([rows(None), rows(5.0, status="failed")], plan()) is None
    figures = figures_of([rows(3.0, joules=None)], plan())
    assert figures is not None
    assert (figures.tokens_per_s, figures.energy_per_token_j) == (3.0, None)


def gpu(gib: float, index: int = 0) -> Gpu:
    return Gpu(index, f"GPU-{index}", "NVIDIA", int(gib * GIB))


def test_memory_on_gpus_is_that_of_the_smallest(plan: Plan) -> None:
    both = plan(models=("llama2", "mistral"))
    fits = memory_fit(both, [LLAMA2, KNOWN["mistral"]], [gpu(80), gpu(24, 1)], local=True)
    assert [(fit.model, fit.tokens, fit.cache_bytes / GIB) for fit in fits] == [
        ("llama2", 4096, 2.0),
        ("mistral", 10_000, pytest.approx(10_000 / 8192)),
    ]
    assert fits[0].weights_bytes / GIB == pytest.approx(3.61, rel=0.05)
    assert {fit.available_bytes for fit in fits} == {24 * GIB - estimate.GPU_OVERHEAD_BYTES}


def test_memory_on_a_cpu_is_float32(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.host_memory(monkeypatch, 8 * GIB)
    fit = memory_fit(plan(models=("llama2",), quantizations=("none",)), [LLAMA2], [], local=True)[0]
    assert (fit.weights_bytes, fit.cache_bytes, fit.available_bytes) == (
        4 * 6_738_415_616,
        4 * GIB,
        8 * GIB,
    )


def test_memory_of_a_compiled_step_is_that_of_its_whole_cache(plan: Plan) -> None:
    """It has room for 512, 1024, 2048 ... tokens; eager decoding's grows with each token."""
    both = plan(
        models=("llama2",), engines=("transformers", "compiled"), ranges=("max_length=100:1100",)
    )
    fits = memory_fit(both, [LLAMA2], [gpu(80)], local=True)
    assert [(fit.tokens, fit.cache_bytes // (GIB // 2048)) for fit in fits] == [
        (1100, 1100),
        (1100, 2048),
    ]


def test_memory_beyond_the_context_is_that_of_max_length(plan: Plan) -> None:
    beyond = plan(models=("llama2",), beyond_context=True)
    assert memory_fit(beyond, [LLAMA2], [gpu(80)], local=True)[0].tokens == 10_000


def test_memory_of_models_and_nodes_that_are_not_known(plan: Plan) -> None:
    unknown = parse_model("org/name")
    both = plan(models=("org/name", "llama2"), address="10.0.0.1:6379")
    fits = memory_fit(both, [unknown, LLAMA2], [gpu(80)], local=False)
    assert [(fit.model, fit.available_bytes) for fit in fits] == [("llama2", None)]
    assert (
        fits[0]
        .line()
        .endswith("cache 2.00 GiB at 4096 tokens (memory of the nodes is not known here)")
    )


@pytest.mark.parametrize(
    ("available", "verdict"),
    [
        (6.0, "6.0 GiB: fits"),
        (5.9, "5.9 GiB: does NOT fit whole: max_length will be lowered to what does, and recorded"),
        (4.0, "4.0 GiB: does NOT fit whole: max_length will be lowered to what does, and recorded"),
        (3.9, "3.9 GiB: does NOT fit: choose a smaller model or --quantization nf4"),
    ],
)
def test_the_verdict_on_memory(available: float, verdict: str) -> None:
    fit = Fit(
        "llama2", weights_bytes=4 * GIB, cache_bytes=2 * GIB, available_bytes=None, tokens=4096
    )
    line = replace(fit, available_bytes=int(available * GIB)).line()
    assert line == f"llama2: weights 4.00 GiB + cache 2.00 GiB at 4096 tokens of {verdict}"


NOT_EVEN = (
    "does NOT fit, not even with the host's memory: about 9.5 GiB of layers would lie there, "
    "and 8.0 GiB are free"
)


@pytest.mark.parametrize(
    ("offloaded", "verdict"),
    [
        (
            1.5,
            (
                "does NOT fit whole: about 1.5 GiB of layers stay in the host's memory, "
                "which is slow"
            ),
        ),
        (9.5, NOT_EVEN),
        (0, "does NOT fit whole: max_length will be lowered to what does, and recorded"),
    ],
)
def test_the_verdict_on_offload(offloaded: float, verdict: str) -> None:
    fit = Fit(
        "llama2",
        4 * GIB,
        2 * GIB,
        5 * GIB,
        4096,
        offloaded_bytes=int(offloaded * GIB),
        ram_bytes=8 * GIB,
    )
    assert fit.line().endswith(f"of 5.0 GiB: {verdict}")


def test_what_a_gpu_leaves_to_the_host() -> None:
    assert LLAMA2.architecture is not None
    nf4 = [
        offloaded_bytes(LLAMA2.architecture, QUANTIZATIONS["nf4"], gib * GIB) / GIB
        for gib in (24, 6, 4, 3, 2, 0)
    ]
    assert nf4[:2] == [0.0, 0.0]
    assert nf4 == sorted(nf4)
    assert nf4[3] == pytest.approx(12.06 * (3.61 - 2.4) / 3.12, rel=0.03), (
        "of the matrices what 2.4 GiB don't hold, 4 times as large"
    )
    assert nf4[-1] == pytest.approx(2 * LLAMA2.architecture.linear_parameters() / GIB)


def test_offload_is_in_the_plan_s_memory_only_when_asked(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    builders.host_memory(monkeypatch, 16 * GIB)
    plain, asked = (
        plan(models=("llama2",), address="10.0.0.1:6379"),
        plan(models=("llama2",), address="10.0.0.1:6379", engine_options={"cpu_offload": True}),
    )
    assert memory_fit(plain, [LLAMA2], [gpu(4)], local=True)[0].offloaded_bytes == 0
    (fit,) = memory_fit(asked, [LLAMA2], [gpu(4)], local=True)
    assert (fit.offloaded_bytes > 0, fit.ram_bytes) == (True, 16 * GIB)
    assert memory_fit(asked, [LLAMA2], [gpu(80)], local=True)[0].line().endswith(": fits")


@pytest.mark.parametrize(
    ("flags", "small"),
    [
        ({"models": ("llama2",)}, ("pc",)),
        ({"models": ("mistral", "smollm2"), "quantizations": ("none",)}, ("pc",)),
        ({"models": ("smollm2",)}, ()),
        ({"models": ("smollm2",), "quantizations": ("nf4", "none")}, ()),
        ({"models": ("mistral",), "quantizations": ("nf4", "none")}, ("pc",)),
        ({"models": ("llama2",), "machine": "pc"}, ()),  # asked for
        ({"models": ("llama2",), "engines": ("simulated",)}, ()),
        ({"models": ("llama2",), "address": None}, ()),
        ({"models": ("llama2",), "engine_options": {"cpu_offload": True}}, ()),
    ],
)
def test_kinds_of_machine_whose_gpu_does_not_hold_a_model(
    flags: dict[str, Any], small: tuple[str, ...]
) -> None:
    request = Request(**{"space": "sobol", "samples": 2, "address": "10.0.0.1:6379", **flags})
    resolved = resolve_request(request, [])
    assert too_small(make_plan(resolved), resolved) == small
