"""Revisions of a sweep's weights; what isn't here is fetched by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan, write_plan
from orchestrator.engine.weights import Weights
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.models import Model
from orchestrator.say import Say, silent
from orchestrator.sweep import staging
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import prepare
from orchestrator.sweep.request import Request, Resolved, resolve_request
from orchestrator.sweep.staging import checked_files, known_revisions, staged_revisions
from tests import builders


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
    simulated = sweep_of(tmp_path, engines=("simulated",))
    monkeypatch.setattr(subprocess, "Popen", refused)
    expected = {"simulated-smollm2": "simulated"}
    assert known_revisions(simulated, make_plan(simulated), refused) == expected
    assert staged_revisions(simulated, refused) == expected


def test_weights_on_this_machine_are_known(resolved: Resolved, here: dict[str, str]) -> None:
    here["smollm2"] = "gguf:1"
    assert known_revisions(resolved, make_plan(resolved), refused) == {"smollm2": "gguf:1"}


@pytest.mark.usefixtures("here")
def test_a_sweep_that_was_started_says_its_revision(resolved: Resolved) -> None:
    plan = make_plan(resolved)
    assert known_revisions(resolved, plan, refused) == {"smollm2": "not staged yet"}
    before = plan.with_revisions({"smollm2": "hub:2"})
    write_plan(before, DataSetPaths(resolved.request.out).sweep(plan.id))
    assert known_revisions(resolved, plan, refused) == {"smollm2": "hub:2"}


def test_what_is_here_is_not_fetched(
    resolved: Resolved, here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here["smollm2"] = "gguf:1"
    monkeypatch.setattr(subprocess, "Popen", refused)
    assert staged_revisions(resolved, refused) == {"smollm2": "gguf:1"}


def test_what_is_not_here_is_fetched_and_that_is_told(
    resolved: Resolved, here: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], _environment: dict[str, str], say: Say) -> tuple[int, str]:
        commands.append(command)
        here["smollm2"] = "hub:2"
        say("fetched 270 MB")
        return 0, ""

    monkeypatch.setattr(staging, "_run", run)
    said: list[str] = []
    assert staged_revisions(resolved, said.append) == {"smollm2": "hub:2"}
    assert [command[1:] for command in commands] == [
        ["-m", "orchestrator", "models", "stage", "smollm2"]
    ]
    assert said == ["smollm2: not on this machine yet, fetching it", "fetched 270 MB"]


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
    monkeypatch.setattr(staging, "_run", lambda *_: (2, stderr))
    with pytest.raises(ModelUnavailableError) as raised:
        staged_revisions(resolved, silent)
    assert raised.value.lines == lines


def test_what_fetching_says_is_told_at_once(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    program = (
        "import pathlib, sys, time\n"
        "print('begun', flush=True)\n"
        "end = time.monotonic() + 60\n"
        f"while not pathlib.Path({str(heard)!r}).exists() and time.monotonic() < end:\n"
        "    time.sleep(0.01)\n"
        "print('failed', file=sys.stderr)\n"
        "sys.exit(2 if time.monotonic() < end else 3)\n"
    )
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        heard.touch()

    assert staging._run([sys.executable, "-c", program], dict(os.environ), say) == (2, "failed\n")
    assert said == ["begun"]


def test_fetching_ends_with_us() -> None:
    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    program = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"
    with pytest.raises(KeyboardInterrupt):
        staging._run([sys.executable, "-c", program], dict(os.environ), interrupt)


# --- altered weights ------------------------------------------------------------------------------


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of the user's own, with weights of 64 MiB."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(2**26)
    return folder


def planned(resolved: Resolved) -> SweepPlan:
    """The plan as `tune` makes it."""

    def quiet(_line: str) -> None:
        """Hear nothing."""

    plan = make_plan(resolved).with_revisions(staged_revisions(resolved, quiet))
    return plan.with_model_files(checked_files(resolved, quiet))


def test_the_plan_says_the_hashes_of_all_files(own_folder: Path, tmp_path: Path) -> None:
    plan = planned(sweep_of(tmp_path / "out", models=(str(own_folder),)))
    assert set(plan.model_sha256["mine"]) == {"config.json", "tokenizer.json", "model.safetensors"}
    path = DataSetPaths(tmp_path / "out").sweep(plan.id)
    write_plan(plan, path)
    assert read_plan(path) == plan


def test_a_sweep_goes_on_with_the_same_files_and_not_with_altered_ones(
    own_folder: Path, tmp_path: Path
) -> None:
    resolved = sweep_of(tmp_path / "out", models=(str(own_folder),))
    first = planned(resolved)
    write_plan(first, DataSetPaths(tmp_path / "out").sweep(first.id))
    assert prepare(resolved, planned(resolved)).before == first
    with (own_folder / "model.safetensors").open("r+b") as weights:
        weights.seek(2**25)
        weights.write(b"!")
    with pytest.raises(UserError) as raised:
        prepare(resolved, planned(resolved))
    (line,) = raised.value.lines
    assert line.startswith(f"sweep {first.id} was started with mine local:")
    assert "(model.safetensors sha256 " in line
    assert line.endswith("; stage the first weights again, or start a new data set with --out")


def test_the_same_revision_with_other_weights_is_refused(
    resolved: Resolved, tmp_path: Path
) -> None:
    """As when weights were altered before anybody had hashed them."""
    plan = make_plan(resolved).with_revisions({"smollm2": "gguf:1"})
    before = plan.with_model_files({"smollm2": {"model.safetensors": "a" * 64}})
    write_plan(before, DataSetPaths(tmp_path).sweep(plan.id))
    with pytest.raises(UserError, match=r"other weights of smollm2: model.safetensors sha256 aaaa"):
        prepare(resolved, plan.with_model_files({"smollm2": {"model.safetensors": "b" * 64}}))
    assert prepare(resolved, plan).before == before, "not recorded is no difference"


def test_trials_that_other_weights_measured_are_not_added_to(
    resolved: Resolved, tmp_path: Path
) -> None:
    """Also where the plan doesn't say the hashes, as an earlier version's."""
    plan = make_plan(resolved).with_revisions({"smollm2": "gguf:1"})
    write_plan(plan, DataSetPaths(tmp_path).sweep(plan.id))
    spec = next(plan.specs())
    origin = builders.origin(spec, environment={"model_sha256": {"model.safetensors": "a" * 64}})
    builders.seal_trial(DataSetPaths(tmp_path), spec, [builders.measured(1, of=spec)], origin)
    with pytest.raises(UserError, match=r"trials that count for it were measured with other"):
        prepare(resolved, plan.with_model_files({"smollm2": {"model.safetensors": "b" * 64}}))


def test_an_engine_without_weights_has_no_files(tmp_path: Path) -> None:
    assert checked_files(sweep_of(tmp_path, engines=("simulated",)), refused) == {}
