"""`plan --plan` and `tune --plan` on the command line; more is in tests/sweep/test_repeating.py."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import builders
from tests.commandline import Outcome, caller
from tests.golden_files import golden

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
PLAN = "published/sweeps/lhs-88079171f460.json"


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line beside a published data set, on a machine without GPUs."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copytree(EXAMPLE / "sweeps", "published/sweeps")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", list)
    builders.host_memory(monkeypatch, 16 * 2**30)
    return caller(capsys)


def test_a_published_plan_is_looked_at(call: Callable[..., Outcome]) -> None:
    done = call("plan", "--plan", PLAN, "--machine", "pc")
    assert (done.code, done.err) == (0, "")
    golden("plan-repeated.txt", done.out)
    assert [path.name for path in Path.cwd().iterdir()] == ["published"]


@pytest.mark.parametrize("verb", ["plan", "tune"])
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--space", "lhs"), "leave out --space; beside it go --model, --machine, "),
        (("--seed", "0", "--prompts", "5"), "leave out --seed, --prompts; beside"),
        (("--fixed-length", "--cpu-offload"), "leave out --fixed-length, --cpu-offload; beside"),
        (("--model", "llama2"), "beside --plan it says where the folder of one of its models is"),
        (("--server-url", "http://127.0.0.1:1/v1"), "none of its engines takes --server-url"),
        (("--machine", "leonard"), "did you mean leonardo?"),
    ],
)
def test_what_contradicts_a_plan_is_told_in_one_sentence(
    call: Callable[..., Outcome], verb: str, flags: tuple[str, ...], said: str
) -> None:
    done = call(verb, "--plan", PLAN, *flags)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_job_on_slurm_repeats_a_plan(call: Callable[..., Outcome]) -> None:
    flags = ("--account", "ACC", "--machine", "leonardo", "--hours", "1")
    done = call("cluster", "slurm", *flags, "--", "tune", "--plan", PLAN)
    assert done.code == 0, done.err
    assert f"--plan {PLAN}" in done.out
    bad = call("cluster", "slurm", *flags, "--", "tune", "--plan", PLAN, "--samples", "3")
    assert (bad.code, bad.out) == (2, "")
