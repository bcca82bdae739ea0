"""Revisions of a sweep's weights; what isn't here is fetched by a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import write_plan
from orchestrator.engine.weights import Weights
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model
from orchestrator.sweep import staging
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, Resolved, resolve_request
from orchestrator.sweep.staging import known_revisions, staged_revisions


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Label of a model -> revision of its weights on this machine; empty until a test fills it."""
    revisions: dict[str, str] = {}

    def locate(model: Model, _say: Any = None) -> Weights | None:
        revision = revisions.get(model.label)
        return Weights(Path("weights"), revision, "cache") if revision else None

    monkeypatch.setattr(staging, "locate", locate)
    monkeypatch.setattr("orchestrator.engine.weights.locate", locate)
    return revisions


@pytest.fixture
def resolved(tmp_path: Path) -> Resolved:
    return sweep_of(tmp_path)


def sweep_of(out: Path, **flags: Any) -> Resolved:
    return resolve_request(
        Request(space="lhs", **{"models": ("smollm2",), "out": out, **flags}), []
    )


def refused(*_given: Any, **_more: Any) -> Any:
    raise AssertionError("nothing needs to be fetched")


def test_an_engine_without_weights_names_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = sweep_of(tmp_path, engine="simulated")
    monkeypatch.setattr(subprocess, "run", refused)
    expected = {"simulated-smollm2": "simulated"}
    assert known_revisions(simulated, make_plan(simulated)) == expected
    assert staged_revisions(simulated, refused) == expected


def test_weights_on_this_machine_are_known(resolved: Resolved, here: dict[str, str]) -> None:
    here["smollm2"] = "gguf:1"
    assert known_revisions(resolved, make_plan(resolved)) == {"smollm2": "gguf:1"}


@pytest.mark.usefixtures("here")
def test_a_sweep_that_was_started_says_its_revision(resolved: Resolved) -> None:
    plan = make_plan(resolved)
    assert known_revisions(resolved, plan) == {"smollm2": "not staged yet"}
    before = plan.with_revisions({"smollm2": "hub:2"})
    write_plan(before, DataSetPaths(resolved.request.out).sweep(plan.id))
    assert known_revisions(resolved, plan) == {"smollm2": "hub:2"}


def test_what_is_here_is_not_fetched(
    resolved: Resolved, here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here["smollm2"] = "gguf:1"
    monkeypatch.setattr(subprocess, "run", refused)
    assert staged_revisions(resolved, refused) == {"smollm2": "gguf:1"}


def test_what_is_not_here_is_fetched_and_that_is_told(
    resolved: Resolved, here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_more: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        here["smollm2"] = "hub:2"
        return subprocess.CompletedProcess(command, 0, "fetched 270 MB\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    said: list[str] = []
    assert staged_revisions(resolved, said.append) == {"smollm2": "hub:2"}
    assert [command[1:] for command in commands] == [
        ["-m", "orchestrator", "models", "stage", "smollm2"]
    ]
    assert said == ["smollm2: not on this machine yet, staging it", "fetched 270 MB"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("stderr", "lines"),
    [
        ("a\nb\n\nerror: the hub\nerror: can't be reached\n", ("b", "the hub", "can't be reached")),
        ("", ("staging failed",)),
    ],
)
def test_weights_that_can_not_be_fetched_are_an_error(
    resolved: Resolved, monkeypatch: pytest.MonkeyPatch, stderr: str, lines: tuple[str, ...]
) -> None:
    def run(command: list[str], **_more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 2, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelUnavailableError) as raised:
        staged_revisions(resolved, lambda _line: None)
    assert raised.value.lines == lines
