"""From flags to work: what can't be compared, and that `tune` makes the same plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.bench.preparing import Asked, prepare, tune_flags
from orchestrator.cli.tune_command import tune
from orchestrator.errors import UserError
from orchestrator.say import silent
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request


def asked(**changes: Any) -> Asked:
    values: dict[str, Any] = {
        "letters": ("a", "b"),
        "engines": ("transformers",),
        "model": "smollm2",
        "quantization": "nf4",
        "space": "lhs",
        "samples": 2,
        "prompts": 1,
        "seed": 0,
        "use_cases": ("fantasyWorld",),
        "ranges": (),
        "max_new_tokens": False,
    }
    return Asked(**values | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"letters": ("a", "e")}, "--ways e: the ways are a, b, c, d"),
        ({"engines": ("simulated",)}, "--engine simulated: bench compares engines that run"),
        ({"quantization": "int4"}, "--quantization int4: the other ways have what transformers"),
        ({"space": "optuna"}, "--space optuna: its configurations depend on results"),
    ],
    ids=["way", "engine", "quantization", "space"],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        prepare(asked(**changes), silent)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UserError) as told:
        prepare(asked(letters=("x",), engines=("y",), quantization="z"), silent)
    assert len(told.value.lines) == 3


def test_tune_makes_the_same_plan_of_its_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = Request(
        space="sobol",
        samples=8,
        seed=3,
        models=("smollm2",),
        quantizations=("none",),
        engines=("transformers",),
        fixed_length=True,
        max_new_tokens=True,
        use_cases=("fantasyWorld", "danceCoreography"),
        prompts=2,
        ranges=("max_length=100:120", "top_k=0:50"),
    )
    flags = [*tune_flags(request), "--engine", "transformers"]
    with tune.make_context("tune", flags) as context:
        given = {
            name: value
            for name, value in context.params.items()
            if name in Request.__dataclass_fields__
        }
    plans = [make_plan(resolve_request(one, [])) for one in (request, Request(**given))]
    assert plans[0].id == plans[1].id
    assert plans[0].trials == plans[1].trials
    assert list(plans[0].specs()) == list(plans[1].specs())
