"""The plan: what its id hangs on, the order of its trials, its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from orchestrator.errors import UserError
from orchestrator.nouns import ANCHOR, PARAMETERS
from orchestrator.sweep.plan import SweepPlan, check_same_weights, make_plan, read_plan, write_plan
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.run import known_revisions

USUAL: dict[str, Any] = {"engine": "simulated", "samples": 8, "models": ("smollm2",), "ranges": ("max_length=100:200",)}

Plan = Callable[..., SweepPlan]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Plans of the simulated engine from keyword flags, in an empty folder without a GPU."""
    monkeypatch.chdir(tmp_path)

    def make(space: str = "sobol", **flags: Any) -> SweepPlan:
        resolved = resolve_request(Request(space=space, **{**USUAL, **flags}), [])
        return make_plan(resolved, known_revisions(resolved))

    return make


@pytest.mark.parametrize("changed", [{"samples": 9}, {"repeats": 2}, {"prompts": 5}, {"machine": "gpu"}, {"order": "design"}])
def test_the_id_does_not_hang_on_how_much_is_run_and_where(plan: Plan, changed: dict[str, Any]) -> None:
    assert plan(**changed).id == plan().id


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"quantization": "int8"},
        {"dtype": "bfloat16"},
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
        return [(s.config_hash(), s.setup.use_case, s.repeat) for s in p.specs() if s.strategy != ANCHOR]

    small, large = order(plan(space, samples=8)), order(plan(space, samples=24, repeats=2))
    assert [item for item in large if item in set(small)] == small
    assert len(large) == 24 * 2 * 3


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


def test_models_are_blocks_and_order_is_not_the_design(plan: Plan) -> None:
    whole = plan(samples=64, models=("smollm2", "mistral"), prompts=1)
    models = [trial.model for trial in whole.trials]
    assert models == sorted(models, key=models.index)
    assert set(models) == {"simulated-smollm2", "simulated-mistral"}
    specs = [s for s in whole.specs() if s.setup.model == models[0] and s.strategy != ANCHOR]
    for name in PARAMETERS:
        correlation = spearmanr(range(len(specs)), [getattr(s.asked, name) for s in specs]).statistic
        assert abs(correlation) < 0.3, name
    assert [t.index for t in plan(order="design", samples=5, use_cases=("fantasyWorld",)).trials] == [0, 1, 2, 3, 4]


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
    after = before.model_copy(update={"setups": tuple(s.model_copy(update={"revision": "hub:1"}) for s in before.setups)})
    check_same_weights(before, before)
    with pytest.raises(UserError, match="was begun with simulated-smollm2 simulated and would go on with hub:1"):
        check_same_weights(before, after)
