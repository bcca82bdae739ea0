"""A data set is named as DATASET or by --out, a search space as SPACE or by --space."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.dataset.paths import DataSetPaths
from tests import builders
from tests.commandline import Outcome

READERS = ("evaluate", "publish", "report", "review", "status", "summarize", "validate", "watch")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(folder: str, n: int) -> None:
    """A data set of some trials."""
    for index in range(n):
        spec = builders.spec(config_index=index)
        items = [builders.measured(p.number, of=spec) for p in spec.prompts]
        builders.seal_trial(DataSetPaths(Path(folder)), spec, items)


def n_trials(done: Outcome) -> int:
    assert done.code == 0, done.err
    return int(json.loads(done.out)["trials"])


def test_all_ways_to_name_a_data_set(call: Callable[..., Outcome]) -> None:
    write("measurements", 1)
    write("other", 2)
    assert n_trials(call("summarize", "--json")) == 1
    assert n_trials(call("summarize", "other", "--json")) == 2
    assert n_trials(call("summarize", "--out", "other", "--json")) == 2
    assert n_trials(call("summarize", "other", "--out", "other", "--json")) == 2


@pytest.mark.parametrize("verb", READERS)
def test_no_name_is_ever_ignored(verb: str, call: Callable[..., Outcome]) -> None:
    write("measurements", 1)
    for words, where in ((("cpu",), "cpu"), (("--out", "cpu"), "--out cpu")):
        done = call(verb, *words)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {where}: no such folder")
    Path("cpu").mkdir()
    done = call(verb, "cpu", "--out", "measurements")
    assert done.code == 2
    assert done.err == (
        f"error: orchestrator {verb}: DATASET is named twice, cpu and --out measurements; "
        "name it once\n"
    )


@pytest.mark.parametrize("words", [("report", "--out", "r.html"), ("plot", "effects", "r.pdf")])
def test_a_file_in_place_of_the_data_set_is_told_where_it_belongs(
    words: tuple[str, ...], call: Callable[..., Outcome]
) -> None:
    write("measurements", 1)
    done = call(*words)
    assert done.code == 2
    assert "this names the data set to read" in done.err
    assert "--file" in done.err
    assert not Path(words[-1]).exists()


def test_a_report_of_a_folder_into_a_file(call: Callable[..., Outcome]) -> None:
    write("ex", 1)
    assert call("summarize", "ex").code == 0
    assert call("report", "ex", "--file", "r.html").code == 0
    assert Path("r.html").stat().st_size
    assert not Path("ex", "report.html").exists()
    done = call("report", "ex", "--out", "r.html")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--file" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "a", "--compare", "a", "b"), "--compare names the two data sets"),
        (("plot", "ratios", "a", "--compare", "a", "b", "--file", "r.svg"), "leave out a"),
        (("watch", "a", "--address", "127.0.0.1:1"), "leave out a"),
        (("plot", "a"), "name the chart first"),
        (("tune", "lhs", "--space", "sobol"), "SPACE is named twice, lhs and --space sobol"),
        (("tune",), "name a search space (lhs, uniform, grid, sobol, optuna or a YAML file)"),
        (("plan", "lhs", "sobol"), "unexpected extra argument"),
        (("validate", "a", "b"), "unexpected extra argument"),
        (("doctor", "a"), "unexpected extra argument"),
    ],
    ids=lambda words: " ".join(words)[:30],
)
def test_too_many_names_or_too_few_are_told(
    words: tuple[str, ...], said: str, call: Callable[..., Outcome]
) -> None:
    for folder in ("a", "b"):
        write(folder, 1)
    done = call(*words)
    assert done.code == 2
    assert said in done.err


def test_a_space_by_its_place_or_by_its_flag(call: Callable[..., Outcome]) -> None:
    flags = ("--engine", "simulated", "--model", "llama2", "--json")
    plans = [
        json.loads(call("plan", *space, *flags).out)
        for space in (("lhs",), ("--space", "lhs"), ("lhs", "--space", "lhs"))
    ]
    assert {plan["id"] for plan in plans} == {plans[0]["id"]}
    assert json.loads(call("plan", *flags, "sobol").out)["space"]["sampler"] == "sobol"


def test_help_needs_neither(call: Callable[..., Outcome]) -> None:
    assert call("tune", "--help").code == 0
    assert call("status", "--help").code == 0
