"""`orchestrator.plan` and the arguments of `orchestrator.tune`; tests/real runs sweeps by it."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.api.sweeps import SweepOptions, _environment_kept, _request, _run_options
from orchestrator.cli.tune_command import tune as tune_command
from orchestrator.dataset.sweep_plan import write_plan
from orchestrator.errors import UserError
from orchestrator.sweep.request import Request
from tests.commandline import Outcome

SIMULATED: dict[str, Any] = {"engines": "simulated", "models": "smollm2", "country": "ITA"}
FLAGS = ("--engine", "simulated", "--model", "smollm2", "--country", "ITA")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", list)


def test_options_are_the_flags_of_the_command_line() -> None:
    fields = {field.name for field in dataclasses.fields(Request)}
    assert set(SweepOptions.__annotations__) | {"space"} == fields
    of_run = set(inspect.signature(orchestrator.tune).parameters) - {"space", "show", "options"}
    shared = {parameter.name for parameter in tune_command.params} & of_run
    assert shared == of_run


def test_a_plan_says_what_the_command_line_says(call: Callable[..., Outcome]) -> None:
    found = orchestrator.plan("lhs", samples=12, repeats=2, **SIMULATED)
    done = call("plan", "--space", "lhs", "--samples", "12", "--repeats", "2", *FLAGS)
    assert f"{found}\n" == done.out
    assert not list(Path.cwd().iterdir())


def test_the_trials_of_a_plan_are_a_table() -> None:
    found = orchestrator.plan("lhs", samples=12, use_cases=["fantasyWorld"], prompts=3, **SIMULATED)
    trials = found.trials
    assert len(trials) == found.n_trials == 12 + 2
    assert found.n_executions == found.n_missing == 14 * 3
    assert set(trials["strategy"]) == {"latinHypercubeSampling", "anchor"}
    assert trials.loc[trials["strategy"] != "anchor", "config_hash"].is_unique
    assert trials["max_length"].between(100, 10000).all()
    assert set(trials["n_prompts"]) == {3}
    assert any("12 configurations" in line for line in str(found).splitlines())


def test_a_sampler_that_learns_has_no_trials_yet() -> None:
    assert orchestrator.plan("optuna", samples=4, **SIMULATED).trials.empty


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"samples": 0, "prompts": 0}, ("--samples", "0", "--prompts", "0")),
        ({"models": "lama2"}, ("--model", "lama2")),
        ({"quantizations": ["nf5"]}, ("--quantization", "nf5")),
        ({"ranges": {"top_q": (0, 1)}}, ("--range", "top_q=0:1")),
        ({"machine": "leonard"}, ("--machine", "leonard")),
        ({"out": "file"}, ("--out", "file")),
    ],
    ids=str,
)
def test_faults_are_told_in_the_sentences_of_the_command_line(
    options: dict[str, Any], flags: tuple[str, ...], call: Callable[..., Outcome]
) -> None:
    Path("file").write_text("")
    with pytest.raises(orchestrator.UserError) as error:
        orchestrator.plan("lhs", **options)
    said = call("plan", "--space", "lhs", *flags).err.splitlines()
    assert [f"error: {line}" for line in error.value.lines] == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"dtypes": "float8"},
            "--dtype float8: must be 'auto', 'float32', 'float16' or 'bfloat16'",
        ),
        ({"seed": -1}, "--seed -1: must be greater than or equal to 0"),
        ({"order": "random"}, "--order random: must be 'shuffled' or 'design'"),
        ({"chat_template": "on"}, "--chat-template on: must be 'auto' or 'off'"),
        ({"isolation": "rack"}, "--isolation rack: must be 'gpu' or 'host'"),
        ({"batch_sizes": [0]}, "--batch-size 0: must be greater than or equal to 1"),
        ({"samples": "many"}, "--samples many: must be a valid integer"),
    ],
    ids=str,
)
def test_values_are_checked_as_click_checks_them(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        orchestrator.plan("lhs", **options)
    assert str(error.value).startswith(said)


def test_neither_space_nor_plan_is_told() -> None:
    with pytest.raises(UserError, match=r"name a search space \(lhs, uniform"):
        orchestrator.plan()


def test_an_option_that_there_is_not_is_an_error_of_the_program() -> None:
    with pytest.raises(TypeError, match="no option 'sample': did you mean samples"):
        orchestrator.plan("lhs", sample=3)  # type: ignore[call-arg]


def test_one_value_is_a_list_of_one() -> None:
    request = _request(
        Path("mine.yaml"),
        {
            "models": "smollm2",
            "batch_sizes": 2,
            "ranges": {"max_length": (100, 200), "top_p": 0.5},
            "out": "there",
            "samples": None,
        },
    )
    assert request == Request(
        space="mine.yaml",
        models=("smollm2",),
        batch_sizes=(2,),
        ranges=("max_length=100:200", "top_p=0.5:0.5"),
        out=Path("there"),
    )


def test_a_plan_is_repeated(tmp_path: Path) -> None:
    first = orchestrator.plan("sobol", samples=8, seed=4, **SIMULATED)
    write_plan(first._prepared.plan, tmp_path / "sweeps" / "plan.json")
    again = orchestrator.plan(plan=tmp_path / "sweeps" / "plan.json", country="ITA")
    assert again.trials.equals(first.trials)
    assert again.id == first.id
    assert str(again).splitlines()[1].startswith(f"Repeats    {tmp_path}/sweeps/plan.json, written")
    with pytest.raises(UserError, match="leave out --seed"):
        orchestrator.plan(plan=tmp_path / "sweeps" / "plan.json", seed=0)


ABOVE_0 = dict.fromkeys(
    ("--execution-timeout", "--min-busy-s", "--max-hours", "--max-kwh", "--max-gpu-hours")
)


def run_options(**changes: Any) -> Any:
    """The options of a run."""
    given = {"rerun": (), "force": False, "accept_drift": False, "cooldown": "none"}
    given["log_to"] = ()
    return _run_options(**{**given, "above_0": ABOVE_0, **changes})


def test_options_of_a_run() -> None:
    options = run_options(
        rerun=("oom",), cooldown="30s", above_0=ABOVE_0 | {"--max-hours": 2.0, "--min-busy-s": 60.0}
    )
    assert (options.rerun, options.cooldown.seconds) == (("oom",), 30.0)
    assert (options.limits.hours, options.limits.kwh) == (2.0, float("inf"))
    assert (options.min_busy_s, options.execution_timeout_s) == (60.0, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rerun": ("omm",)}, "--rerun: there is no 'omm': did you mean oom?"),
        ({"cooldown": "cold"}, "--cooldown: 'cold' is not a cooldown; give none"),
        ({"above_0": ABOVE_0 | {"--max-kwh": 0.0}}, "--max-kwh 0.0: must be a number above 0"),
        ({"above_0": ABOVE_0 | {"--max-hours": float("nan")}}, "--max-hours nan: must be a number"),
    ],
    ids=str,
)
def test_options_of_a_run_that_are_none(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        run_options(**changes)
    assert str(error.value).startswith(said)


def test_environment_variables_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("REMOVED", "2")
    before = dict(os.environ)
    with _environment_kept():
        os.environ |= {"KEPT": "3", "NEW": "4"}
        del os.environ["REMOVED"]
    assert dict(os.environ) == before
