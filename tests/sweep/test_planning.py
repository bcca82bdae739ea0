"""The plan: what its id hangs on, the order of its trials, its file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from scipy.stats import spearmanr

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan, write_plan
from orchestrator.errors import UserError
from orchestrator.nouns import ANCHOR, PARAMETERS, digest, generation_seed
from orchestrator.sweep.planning import check_same_weights, make_plan, neighbours
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.staging import known_revisions

USUAL: dict[str, Any] = {
    "engines": ("simulated",),
    "samples": 8,
    "models": ("smollm2",),
    "ranges": ("max_length=100:200",),
}

Plan = Callable[..., SweepPlan]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plans of the simulated engine from keyword flags, in an empty folder without a GPU."""
    monkeypatch.chdir(tmp_path)

    def make(space: str = "sobol", **flags: Any) -> SweepPlan:
        resolved = resolve_request(Request(space=space, **{**USUAL, **flags}), [])
        made = make_plan(resolved)
        return made.with_revisions(known_revisions(resolved, made))

    return make


@pytest.mark.parametrize(
    "changed",
    [{"samples": 9}, {"repeats": 2}, {"prompts": 5}, {"machine": "gpu"}, {"order": "design"}],
)
def test_the_id_does_not_hang_on_how_much_is_run_and_where(
    plan: Plan, changed: dict[str, Any]
) -> None:
    assert plan(**changed).id == plan().id


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"quantizations": ("int8",)},
        {"dtypes": ("bfloat16",)},
        {"chat_template": "off"},
        {"fixed_length": True},
        {"beyond_context": True},
        {"models": ("mistral",)},
        {"use_cases": ("fantasyWorld",)},
        {"ranges": ("max_length=100:200", "top_p=0.1:1")},
        {"space": "uniform"},
    ],
    ids=str,
)
def test_the_id_hangs_on_what_decides_the_measurements(plan: Plan, changed: dict[str, Any]) -> None:
    assert plan(**changed).id != plan().id


def test_another_text_of_a_prompt_is_another_sweep_and_another_hash(plan: Plan) -> None:
    for text in ("Dance slowly.", "Dance quickly."):
        Path(f"{text[6]}.yaml").write_text(f"name: mine\nprompts: ['{text}']\n")
    first, second = plan(use_cases=("s.yaml",)), plan(use_cases=("q.yaml",))
    assert first.id != second.id
    assert not {s.config_hash() for s in first.specs()} & {s.config_hash() for s in second.specs()}


@pytest.mark.parametrize("space", ["lhs", "grid"])
def test_a_design_that_cannot_grow_has_its_count_in_the_id(plan: Plan, space: str) -> None:
    assert plan(space, samples=16).id != plan(space, samples=81).id


@pytest.mark.parametrize("space", ["sobol", "uniform"])
def test_a_larger_sweep_keeps_trials_and_their_order(plan: Plan, space: str) -> None:
    def order(p: SweepPlan) -> list[tuple[str, str, int]]:
        return [
            (s.config_hash(), s.setup.use_case, s.repeat) for s in p.specs() if s.strategy != ANCHOR
        ]

    small, large = order(plan(space, samples=8)), order(plan(space, samples=24, repeats=2))
    assert [item for item in large if item in set(small)] == small
    assert len(large) == 24 * 2 * 3


@pytest.mark.parametrize("space", ["lhs", "grid", "sobol", "uniform"])
def test_more_repeats_keep_trials_and_their_order(plan: Plan, space: str) -> None:
    small, large = plan(space), plan(space, repeats=3)
    assert small.id == large.id
    assert small.points == large.points
    assert [t for t in large.trials if t.repeat == 1 and t.strategy != ANCHOR] == [
        t for t in small.trials if t.strategy != ANCHOR
    ]


def test_a_plan_says_once_what_its_trials_share(plan: Plan) -> None:
    whole = plan(samples=2, prompts=3, use_cases=("fantasyWorld", "danceCoreography"))
    specs = list(whole.specs())
    assert [s.order_index for s in specs] == [0, 1, 2, 3]
    for spec in specs:
        texts = next(u.prompts for u in whole.use_cases if u.name == spec.setup.use_case)
        assert [(p.number, p.text) for p in spec.prompts] == list(enumerate(texts[:3], 1))
        assert (spec.sweep_id, spec.strategy, spec.attempt, spec.model_ref) == (
            whole.id,
            "sobolSampling",
            1,
            "smollm2",
        )
        assert spec.configuration == whole.points[spec.config_index]
    assert len({s.key() for s in specs}) == 4


def test_description_and_place_of_a_use_case_do_not_count(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Path("mine.yaml").write_text("name: mine\nprompts: [Dance.]\n")
    Path("other/renamed.yaml").write_text("name: mine\ndescription: The same.\nprompts: [Dance.]\n")
    assert plan(use_cases=("mine.yaml",)).id == plan(use_cases=("other/renamed.yaml",)).id


def test_weights_do_not_count_for_the_id_but_for_the_hash(plan: Plan) -> None:
    resolved = resolve_request(
        Request(space="sobol", **{**USUAL, "engines": ("transformers",)}), []
    )
    one, other = (
        make_plan(resolved).with_revisions({"smollm2": revision})
        for revision in ("gguf:1", "hub:2")
    )
    assert one.id == other.id
    assert not {s.config_hash() for s in one.specs()} & {s.config_hash() for s in other.specs()}
    with pytest.raises(
        UserError,
        match="was started with smollm2 gguf:1 and would go on with hub:2; stage the first weights",
    ):
        check_same_weights(one, other)


def test_counts(plan: Plan) -> None:
    whole = plan(samples=8, repeats=2, prompts=4)
    assert (whole.n_trials(), whole.n_executions()) == (48, 192)
    learning = plan("optuna", samples=8, repeats=2, prompts=4)
    assert learning.learns()
    assert (learning.n_trials(), learning.n_executions()) == (48, 192)
    assert learning.trials == ()


def test_anchors_stand_at_start_end_and_between(plan: Plan) -> None:
    whole = plan(samples=30, prompts=1)
    places = [i for i, trial in enumerate(whole.trials) if trial.strategy == ANCHOR]
    assert [whole.trials[i].repeat for i in places] == [1, 2, 3, 4]
    assert places[0] == 0
    assert places[-1] == len(whole.trials) - 1
    assert max(b - a for a, b in pairwise(places)) <= 31
    anchors = [s for s in whole.specs() if s.strategy == ANCHOR]
    assert len({s.config_hash() for s in anchors}) == 1
    assert {s.setup.use_case for s in anchors} == {whole.use_cases[0].name}
    assert whole.n_trials() == 30 * 3 + 4
    assert not [t for t in plan(samples=9).trials if t.strategy == ANCHOR]


@pytest.mark.parametrize(("samples", "anchors"), [(9, 0), (10, 2), (19, 2), (20, 3), (50, 6)])
def test_number_and_places_of_anchors(plan: Plan, samples: int, anchors: int) -> None:
    whole = plan(samples=samples, use_cases=("fantasyWorld",), prompts=1)
    places = [i for i, trial in enumerate(whole.trials) if trial.strategy == ANCHOR]
    assert len(whole.trials) == samples + anchors
    assert (whole.anchor is None) == (anchors == 0)
    assert places[:1] + places[-1:] == ([0, len(whole.trials) - 1] if anchors else [])
    gaps = [b - a - 1 for a, b in pairwise(places)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
    assert sum(gaps) == (samples if anchors else 0)


def test_each_model_has_anchors_in_its_own_block(plan: Plan) -> None:
    whole = plan(samples=20, models=("smollm2", "mistral"), prompts=1)
    half = len(whole.trials) // 2
    for block in (whole.trials[:half], whole.trials[half:]):
        assert len({whole.setups[trial.setup].model for trial in block}) == 1
        assert [t.repeat for t in block if t.strategy == ANCHOR] == [1, 2, 3]
        assert (block[0].strategy, block[-1].strategy) == (ANCHOR, ANCHOR)
    assert whole.anchor is not None
    assert whole.anchor.model_dump() == {
        "max_length": 150,
        "top_p": 0.5,
        "top_k": 50,
        "temperature": 1.0,
    }


@pytest.mark.parametrize("space", ["lhs", "uniform", "sobol", "grid"])
@pytest.mark.parametrize("seed", [0, 1])
def test_order_does_not_hang_on_any_factor(plan: Plan, space: str, seed: int) -> None:
    """On three use cases; the design's own order of a grid would follow max_length."""
    specs = [
        s for s in plan(space, samples=81, seed=seed, prompts=1).specs() if s.strategy != ANCHOR
    ]
    assert len(specs) == 81 * 3
    for name in PARAMETERS:
        correlation = spearmanr(
            range(len(specs)), [getattr(s.configuration, name) for s in specs]
        ).statistic
        assert abs(correlation) < 0.3, name


def test_the_seed_decides_the_order(plan: Plan) -> None:
    orders = [
        [
            (t.setup, t.config_index)
            for t in plan("grid", samples=16, seed=seed).trials
            if t.strategy != ANCHOR
        ]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_configurations_beyond_the_context_differ_where_they_run(plan: Plan) -> None:
    flags = {
        "samples": 16,
        "models": ("llama2",),
        "ranges": ("max_length=5000:10000", "temperature=0"),
    }
    effective = [plan(beyond_context=beyond, **flags).quality for beyond in (False, True)]
    assert [found.effective for found in effective if found] == [1, 16]


def test_models_are_blocks_and_order_is_not_the_design(plan: Plan) -> None:
    whole = plan(samples=64, models=("smollm2", "mistral"), prompts=1)
    models = [whole.setups[trial.setup].model for trial in whole.trials]
    assert models == sorted(models, key=models.index)
    assert set(models) == {"simulated-smollm2", "simulated-mistral"}
    specs = [s for s in whole.specs() if s.setup.model == models[0] and s.strategy != ANCHOR]
    for name in PARAMETERS:
        correlation = spearmanr(
            range(len(specs)), [getattr(s.configuration, name) for s in specs]
        ).statistic
        assert abs(correlation) < 0.3, name
    of_one = [s.config_index for s in specs if s.setup.use_case == specs[0].setup.use_case]
    assert of_one != sorted(of_one)
    assert [
        t.config_index for t in plan(order="design", samples=5, use_cases=("fantasyWorld",)).trials
    ] == [0, 1, 2, 3, 4]


def test_same_flags_same_plan(plan: Plan) -> None:
    assert plan().model_dump(exclude={"created_at"}) == plan().model_dump(exclude={"created_at"})


def test_file_round_trip_and_edits(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "x.json"
    whole = plan()
    write_plan(whole, path)
    assert read_plan(path) == whole
    content = json.loads(path.read_text())
    content["plan"]["points"][0]["top_k"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="edited by hand"):
        read_plan(path)
    for broken in ("", "[]", "{}", '{"sha256": 1, "plan": {}}', "\x00"):
        path.write_text(broken)
        with pytest.raises(UserError, match="not a sweep's plan"):
            read_plan(path)


def test_other_weights_are_refused(plan: Plan) -> None:
    before = plan()
    after = before.model_copy(
        update={"setups": tuple(s.model_copy(update={"revision": "hub:1"}) for s in before.setups)}
    )
    check_same_weights(before, before)
    with pytest.raises(
        UserError, match="was started with simulated-smollm2 simulated and would go on with hub:1"
    ):
        check_same_weights(before, after)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"use_cases": ("fantasyWorld", "danceCoreography")},
            {"use_cases": ("danceCoreography", "fantasyWorld")},
        ),
        ({"models": ("smollm2", "mistral")}, {"models": ("mistral", "smollm2")}),
        ({"ranges": ("top_p=0:1",)}, {"ranges": ("top_p=-0.0:1.0",)}),
        (
            {"models": ("synthetic-llama2:hidden_size=256,vocab_size=600",)},
            {"models": ("synthetic-llama2:vocab_size=600,hidden_size=256",)},
        ),
    ],
)
def test_spelling_does_not_change_the_id(
    plan: Plan, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert plan(**one).id == plan(**other).id


def test_defaults_written_out_do_not_change_the_id(plan: Plan, tmp_path: Path) -> None:
    before = plan("lhs")
    text = Path(resolve_request(Request(space="lhs", **USUAL), []).space_file).read_text()
    assert "optimization: null" in text
    (tmp_path / "search_spaces").mkdir()
    short = "\n".join(line for line in text.splitlines() if "optimization" not in line)
    (tmp_path / "search_spaces" / "lhs.yaml").write_text(short)
    assert plan("lhs").id == before.id


@pytest.mark.parametrize("samples", [50, 51, 64])
def test_order_aliases_with_no_parameter_for_any_seed(plan: Plan, samples: int) -> None:
    """With one use case: chance alone would miss it for about one seed in ten."""
    for seed in range(40):
        made = plan("uniform", samples=samples, use_cases=("fantasyWorld",), seed=seed)
        order = [made.points[t.config_index] for t in made.trials if t.strategy != ANCHOR]
        for name in PARAMETERS:
            rho = spearmanr(range(len(order)), [getattr(point, name) for point in order]).statistic
            assert abs(rho) < 0.3, (seed, name)


def test_what_was_edited_between_two_runs_is_named(plan: Plan, tmp_path: Path) -> None:
    old = plan("lhs", ranges=())
    write_plan(old, tmp_path / "sweeps" / f"{old.id}.json")
    for name, broken in {
        "broken": "{",
        "list": "[]",
        "deep": "[" * 100_000,
        "nul": "\0",
        "number": "1" * 5000,
    }.items():
        (tmp_path / "sweeps" / f"{name}.json").write_text(broken)
    (tmp_path / "sweeps" / "folder.json").mkdir()
    for other in (
        {"quantizations": ("int8",)},
        {"chat_template": "off"},
        {"models": ("mistral",)},
        {"use_cases": ("fantasyWorld",)},
    ):
        assert (
            neighbours(plan("lhs", **{"ranges": (), "samples": 9, **other}), DataSetPaths(tmp_path))
            == []
        ), "asked for on purpose"
    assert neighbours(old, DataSetPaths(tmp_path)) == []
    assert neighbours(plan("lhs", ranges=(), seed=5), DataSetPaths(tmp_path)) == [], (
        "another seed is asked for on purpose"
    )
    (note,) = neighbours(plan("lhs", ranges=("top_k=5:50",)), DataSetPaths(tmp_path))
    said = f"sweep {old.id} in this data set differs in top_k (0..100 -> 5..50)"
    assert note == f"{said}: this is a new sweep beside it"
    (note,) = neighbours(plan("lhs", ranges=(), samples=9), DataSetPaths(tmp_path))
    assert "differs in samples (8 -> 9)" in note
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "fantasyWorld.yaml").write_text("prompts: [Something else.]\n")
    (note,) = neighbours(plan("lhs", ranges=()), DataSetPaths(tmp_path))
    assert "differs in prompts of fantasyWorld:" in note


# --- several variants -----------------------------------------------------------------------------

CROSSED: dict[str, Any] = {"quantizations": ("nf4", "none"), "dtypes": ("float16", "bfloat16")}


def variants_in_order(whole: SweepPlan) -> list[str]:
    """The label of each trial's variant, in the order of execution."""
    return [whole.setups[trial.setup].variant().label() for trial in whole.trials]


@pytest.mark.parametrize(
    ("space", "samples", "digests"),
    [
        ("sobol", 24, ("sobol-61464b58a0f7", "0d24e120a4ae")),
        ("lhs", 60, ("lhs-c8934a484e53", "5f4ccf0d2d53")),
    ],
)
def test_one_variant_is_planned_as_before_there_were_several(
    plan: Plan, space: str, samples: int, digests: tuple[str, str]
) -> None:
    """Id, hashes and order of two models by the program before plans of version 3."""
    flags = {"repeats": 2, "prompts": 1, "models": ("smollm2", "mistral"), "machine": "cpu"}
    whole = plan(space, samples=samples, **flags)
    order = [
        [
            *(s.strategy, s.config_index, s.repeat, s.setup.model, s.setup.use_case),
            *(s.config_hash(), s.order_index),
        ]
        for s in whole.specs()
    ]
    assert (whole.id, digest(order)) == digests


def test_variants_share_configurations_prompts_and_seeds_but_no_folder(plan: Plan) -> None:
    whole = plan(samples=12, repeats=2, prompts=2, **CROSSED)
    shared: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
    for spec in whole.specs():
        key = (spec.strategy, spec.setup.use_case, spec.config_index, spec.repeat)
        seeds = [
            generation_seed(spec.setup.seed, spec.configuration, prompt.text, spec.repeat)
            for prompt in spec.prompts
        ]
        shared.setdefault(key, set()).add((spec.configuration, *seeds))
    assert all(len(one) == 1 for one in shared.values())
    assert len(whole.trials) == 4 * len(shared) == 4 * (12 * 2 * 3 + 2)
    folders = {DataSetPaths(Path()).trial("cpu", spec) for spec in whole.specs()}
    assert len(folders) == len({spec.key() for spec in whole.specs()}) == len(whole.trials)
    levels = {folder.parent.as_posix() for folder in folders if ANCHOR not in folder.parts}
    assert levels == {
        f"cpu/simulated-smollm2/sobolSampling/{case.name}" for case in whole.use_cases
    }


def test_each_variant_has_all_trials_and_anchors_of_its_own(plan: Plan) -> None:
    alone, whole = plan(samples=20, prompts=1), plan(samples=20, prompts=1, **CROSSED)
    for _, variant in whole.load_keys():
        own = [t for t in whole.trials if whole.setups[t.setup].variant() == variant]
        as_alone = [(t.strategy, t.config_index, t.repeat) for t in own]
        assert sorted(as_alone) == sorted(
            (t.strategy, t.config_index, t.repeat) for t in alone.trials
        )
        assert [t.repeat for t in own if t.strategy == ANCHOR] == [1, 2, 3]
        assert (own[0].strategy, own[-1].strategy) == (ANCHOR, ANCHOR)


@pytest.mark.parametrize("n_variants", [2, 3, 4])
def test_variants_take_turns_so_that_a_drift_is_no_effect(plan: Plan, n_variants: int) -> None:
    """There and back, twice: a drift that is linear in the trials' number moves no mean."""
    names = ("nf4", "fp4", "int8", "none")[:n_variants]
    whole = plan(samples=16, prompts=1, quantizations=names)
    order = [label.split(",")[0] for label in variants_in_order(whole)]
    runs = [label for label, _ in groupby(order)]
    there, back = list(names), list(names[::-1])
    turns = [there, back, back, there]
    assert runs == [label for label, _ in groupby(label for turn in turns for label in turn)]
    assert min(Counter(runs).values()) >= 3, "as many sessions as a ratio's interval needs"
    means = [mean(i for i, label in enumerate(order) if label == name) for name in names]
    assert len(set(means)) == 1
    assert len(order) == n_variants * (16 * 3 + 2)


def test_a_round_has_the_same_trials_of_each_variant(plan: Plan) -> None:
    whole = plan(samples=16, prompts=1, **CROSSED)
    of_round: dict[str, list[tuple[Any, ...]]] = {}
    ends = [number * (16 * 3 + 2) // 4 * 4 for number in range(5)]
    for start, end in pairwise(ends):
        for trial in whole.trials[start:end]:
            setup = whole.setups[trial.setup]
            what = (trial.strategy, setup.use_case, trial.config_index, trial.repeat)
            of_round.setdefault(f"{start} {setup.variant().label()}", []).append(what)
        rounds = [what for name, what in of_round.items() if name.startswith(f"{start} ")]
        assert len(rounds) == 4
        assert all(one == rounds[0] for one in rounds)


def test_models_are_blocks_and_their_variants_take_turns_inside(plan: Plan) -> None:
    whole = plan(samples=8, models=("smollm2", "mistral"), prompts=1, quantizations=("nf4", "none"))
    models = [whole.setups[trial.setup].model for trial in whole.trials]
    assert [model for model, _ in groupby(models)] == ["simulated-smollm2", "simulated-mistral"]
    half = len(models) // 2
    assert variants_in_order(whole)[:half] == variants_in_order(whole)[half:]


def test_by_design_each_variant_is_one_block(plan: Plan) -> None:
    whole = plan(samples=5, order="design", quantizations=("nf4", "none"))
    assert len(list(groupby(variants_in_order(whole)))) == 2


def test_a_sweep_that_adds_a_variant_counts_what_was_measured(plan: Plan) -> None:
    """It is another sweep; the trials that it shares with the first one are the same ones."""

    def keys(made: SweepPlan) -> set[Any]:
        return {spec.key() for spec in made.specs() if spec.strategy != ANCHOR}

    alone, crossed = plan(samples=12), plan(samples=12, quantizations=("none", "nf4"))
    assert alone.id != crossed.id
    assert keys(alone) < keys(crossed)
    assert len(keys(crossed)) == 2 * len(keys(alone))


@pytest.mark.parametrize("space", ["sobol", "lhs"])
def test_who_names_the_variants_and_in_which_order_does_not_change_the_id(
    plan: Plan, tmp_path: Path, space: str
) -> None:
    one = plan(space, quantizations=("nf4", "none"), dtypes=("float16",))
    other = plan(space, quantizations=("none", "nf4"), dtypes=("float16",))
    text = Path(resolve_request(Request(space=space, **USUAL), []).space_file).read_text()
    (tmp_path / "search_spaces").mkdir()
    setups = "setups: [{quantization: none}, {quantization: nf4, dtype: float16}]\n"
    listed = setups.replace("none}", "none, dtype: float16}")
    (tmp_path / "search_spaces" / f"{space}.yaml").write_text(f"{text}\n{listed}")
    of_file = plan(space)
    assert one.id == other.id == of_file.id
    assert {spec.key() for spec in one.specs()} == {spec.key() for spec in of_file.specs()}
    (tmp_path / "search_spaces" / f"{space}.yaml").write_text(f"{text}\n{setups}")
    assert plan(space).id != one.id


def test_a_plan_of_several_variants_is_read_as_it_was_written(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "sweeps" / "x.json"
    whole = plan(samples=10, **CROSSED)
    write_plan(whole, path)
    assert read_plan(path) == whole


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"trials": [0]}, "there is no setup 6"),
        ({"setups": [0, 1, 2, 0, 1, 2]}, "setups: two are the same"),
    ],
)
def test_a_plan_whose_setups_do_not_fit_is_refused(
    plan: Plan, tmp_path: Path, broken: dict[str, list[int]], why: str
) -> None:
    whole = plan(samples=2, quantizations=("nf4", "none"))
    changes: dict[str, Any] = {}
    if "trials" in broken:
        changes["trials"] = (whole.trials[0].model_copy(update={"setup": 6}),)
    else:
        changes["setups"] = tuple(whole.setups[place] for place in broken["setups"])
    path = tmp_path / "sweeps" / "x.json"
    write_plan(whole.model_copy(update=changes), path)
    with pytest.raises(UserError, match=why):
        read_plan(path)
