"""What `tune` says of energies: which one, that it is gross, and how well it is known."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.cli.live import Live
from orchestrator.cli.run_result import as_json, print_result
from orchestrator.cli.waiting import Waiting
from orchestrator.dataset.environment import Pilot
from orchestrator.dataset.gross_energy import COVERAGE, GROSS, NO_ERROR, gross_energy
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import Trials
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import Prepared, prepare
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.run import RunOutcome
from orchestrator.sweep.totals import Totals
from tests import builders

if TYPE_CHECKING:
    from orchestrator.ray_tune.session import Session

MODEL = "CPU+RAM energy (CodeCarbon's model)"
UNMEASURED = {"energy_basis": None, "energy_j": None, "energy_per_token_j": None}


def ended(*rows: dict[str, Any], space: str = "lhs") -> tuple[Prepared, RunOutcome]:
    """A run of one trial with these executions."""
    return ended_trials(rows, space=space)


def ended_trials(*of_trial: tuple[dict[str, Any], ...], space: str) -> tuple[Prepared, RunOutcome]:
    """A run of trials with these executions each."""
    trials, outcome = Trials(), RunOutcome()
    for index, rows in enumerate(of_trial):
        spec = builders.spec(config_index=index)
        executions = [builders.execution(n, of=spec, **row) for n, row in enumerate(rows, 1)]
        record = builders.record(spec, executions=executions, gpu_uuid="GPU-1")
        trials.add(record)
        origin = builders.origin(spec, gpu_uuid="GPU-1")
        for execution in executions:
            outcome.totals.execution_recorded(spec, origin, execution)
        outcome.totals.trial_sealed(record)
    prepared = SimpleNamespace(
        paths=DataSetPaths(Path("measurements")),
        plan=SimpleNamespace(id="lhs-1", strategy="latinHypercubeSampling"),
        trials=trials,
        resolved=resolve_request(Request(space=space, engines=("simulated",)), []),
        n_done=0,
        n_failed=dict,
    )
    return cast("Prepared", prepared), outcome


@pytest.mark.parametrize(
    ("rows", "total", "of_trial"),
    [
        (
            [builders.ON_GPU] * 3,
            f"GPU energy (counter) 300 J ± 5.5 %; {GROSS}; {COVERAGE}",
            "300 J  10 ±5.5 %",
        ),
        (
            [{}, UNMEASURED, {}],
            f"{MODEL} 40 J ± unknown (1 execution not measured); {GROSS}; {NO_ERROR}",
            "n/a      n/a",
        ),
        ([UNMEASURED], "energy not measured", "n/a      n/a"),
    ],
)
def test_the_closing_lines(
    rows: list[dict[str, Any]], total: str, of_trial: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, outcome = ended(*rows)
    print_result(Live([]), prepared, outcome)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert total in lines
    assert lines[1].endswith(of_trial)


@pytest.mark.parametrize(
    ("space", "of_trial", "said"),
    [
        (
            "optuna",
            [(UNMEASURED,), (UNMEASURED,)],
            (
                "The sampler optuna learned nothing: energy_per_token_j is unknown for each of 2 "
                "trials, so their configurations are no better than random ones; `orchestrator "
                "doctor` tells what this machine can measure"
            ),
        ),
        (
            "optuna",
            [({},), (UNMEASURED,), ({},)],
            (
                "The sampler optuna learned from 2 of 3 trials: energy_per_token_j is unknown for "
                "the others"
            ),
        ),
        ("optuna", [({},)], None),
        ("lhs", [(UNMEASURED,)], None),
    ],
)
def test_a_sampler_that_could_not_learn_is_told(
    space: str,
    of_trial: list[tuple[dict[str, Any], ...]],
    said: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepared, outcome = ended_trials(*of_trial, space=space)
    print_result(Live([]), prepared, outcome)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "sampler" in line] == ([said] if said else [])


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"loaded_here": True, "load_s": 29.2, "protocol_s": 15.4},
            "80 s: Ray and libraries 35 s, loading 29 s, protocol 15 s (idle power, warm-up)",
        ),
        ({"loaded_here": True, "load_s": 29.2}, None),
        ({"loaded_here": False}, None),
    ],
)
def test_the_time_before_the_first_window_is_told_with_its_parts(
    environment: dict[str, Any], said: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, outcome = ended({})
    (record,) = outcome.totals.records
    of_process = record.environment.model_copy(update=environment)
    outcome.totals.records.replace(0, record.model_copy(update={"environment": of_process}))
    outcome.totals.began_at = record.executions[0].started_at - timedelta(seconds=80)
    print_result(Live([]), prepared, outcome)
    lines = capsys.readouterr().out.splitlines()
    told = [line for line in lines if "first window" in line]
    assert told == ([f"Before the first window {said}"] if said else [])


def test_the_result_for_a_machine_tells_both() -> None:
    result = as_json(*ended(builders.ON_GPU, builders.ON_GPU))
    assert result["energy_j"] == 240.0, "CodeCarbon's total"
    assert result["gross_energy"] == {
        "of_basis": (
            {
                "energy_basis": "gpu_energy_counter_j",
                "counted_energy_j": 200.0,
                "energy_rel_uncertainty": pytest.approx(0.0553, rel=1e-3),
                "n_executions": 2,
                "is_simulated": False,
            },
        ),
        "n_unmeasured": 0,
    }


def test_the_closing_table_says_by_what_setups_differ(capsys: pytest.CaptureFixture[str]) -> None:
    prepared, outcome = ended({})
    trials = prepared.trials
    for quantization in ("none", "int8"):
        spec = builders.spec(setup=builders.setup(quantization=quantization))
        record = builders.record(spec)
        trials.add(record)
        outcome.totals.trial_sealed(record)
    print_result(Live([]), prepared, outcome)
    head, *rows = capsys.readouterr().out.splitlines()[:4]
    place = head.index("setup")
    assert [row[place:].split()[0] for row in rows] == ["int8", "nf4", "none"]


def test_a_line_a_trial_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = resolve_request(Request(space="lhs", engines=("simulated",), models=("llama2",)), [])
    live = Live([])
    live.planned(prepare(resolved, make_plan(resolved)))
    capsys.readouterr()
    _, outcome = ended({}, builders.ON_GPU, UNMEASURED)
    live.trial_sealed(outcome.totals.records[0])
    both = f"{MODEL} 20 J ± unknown and GPU energy (counter) 100 J ± 5.4 %"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f": 30 tokens, {both} (1 execution not measured)")


def test_the_pilot_of_each_setup_is_told_once_with_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    request = Request(
        space="lhs",
        engines=("simulated",),
        models=("llama2",),
        quantizations=("nf4", "none"),
        machine="cpu",
    )
    resolved = resolve_request(request, [])
    live = Live([])
    live.planned(prepare(resolved, make_plan(resolved)))
    monkeypatch.setattr(live, "_show", lambda _doing: None)  # a bar, of a sweep that began
    capsys.readouterr()
    specs = {spec.setup.quantization.name: spec for spec in live.prepared.plan.specs()}
    for name, speed, loaded_here in (
        ("nf4", 5.0, True),
        ("nf4", 5.0, False),
        ("none", 50.0, True),
        ("nf4", 6.0, True),
    ):
        pilot = Pilot(
            tokens_per_s=speed,
            energy_j_per_token=2.0,
            energy_basis=None,
            warm_up_s=1.0,
            warm_up_energy_j=None,
        )
        environment = {"loaded_here": loaded_here, "pilot": pilot}
        live.trial_started(specs[name], builders.origin(specs[name], environment=environment))
    live.waiting.end()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" loaded in ")[0].partition(" takes at most ")[0] for line in lines] == [
        "simulated-llama2 (nf4, simulated)",
        "simulated-llama2 (nf4, simulated)",
        "simulated-llama2 (none, simulated)",
        "simulated-llama2 (none, simulated)",
    ]
    assert "(5 tokens/s, 2 J/token from a pilot)" in lines[1]
    assert "(50 tokens/s, 2 J/token from a pilot)" in lines[3]


def test_a_log_says_what_is_waited_for_until_the_first_prompt_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = resolve_request(Request(space="lhs", engines=("simulated",), models=("llama2",)), [])
    live = Live([])
    live.waiting = Waiting(live.console, first_s=0.0, every_s=3600.0)
    live.planned(prepare(resolved, make_plan(resolved)))
    said = ""

    def until(line: str) -> None:
        nonlocal said
        end = time.monotonic() + 20.0
        while line not in said.splitlines():
            assert time.monotonic() < end, said
            said += capsys.readouterr().out

    live.starting()
    until("Starting Ray ...")
    session = SimpleNamespace(dashboard=None, metrics=None, token_file=None)
    totals = Totals()
    live.started(cast("Session", session), 1, totals)
    until("Loading libraries and the model, warming up ...")
    spec = next(iter(live.prepared.plan.specs()))
    origin = builders.origin(spec, environment={"loaded_here": True})
    live.trial_started(spec, origin)
    until("Running the first prompt ...")
    execution = builders.execution(of=spec)
    totals.execution_recorded(spec, origin, execution)
    live.execution_recorded(spec, origin, execution)
    said = capsys.readouterr().out
    live.trial_started(spec, origin)
    assert capsys.readouterr().out == "", "other workers load while prompts are measured"
    live.finished()


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (62, "left 3 min  5 tokens/s"),
        (70, "left 3 min  5 tokens/s  50 W"),
        (80, "left 3 min  5 tokens/s  GPU energy 100 J"),
        (90, "left 3 min  5 tokens/s  GPU energy 100 J  50 W"),
        (20, "left 3 min"),
    ],
)
def test_the_bar_leaves_out_what_there_is_no_room_for(
    width: int, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = resolve_request(Request(space="lhs", engines=("simulated",), models=("llama2",)), [])
    live = Live([])
    live.planned(prepare(resolved, make_plan(resolved)))
    live.console.width = width
    assert live._fitting("left 3 min", "5 tokens/s", "GPU energy 100 J", "50 W") == expected


def test_energies_of_a_simulated_gpu_are_named_so() -> None:
    """They are never added to measured ones, nor taken for them."""
    text = gross_energy(
        {**row, "energy_rel_systematic": 0.03, "energy_rel_statistical": 0.001}
        for row in (
            {
                "energy_basis": "gpu_energy_counter_j",
                "gpu_energy_counter_j": 100.0,
                "gpu_uuid": "GPU-1",
            },
            {
                "energy_basis": "gpu_energy_counter_j",
                "gpu_energy_counter_j": 50.0,
                "gpu_uuid": "SIMULATED-0",
            },
        )
    ).text()
    assert "GPU energy (counter) 100 J" in text
    assert "SIMULATED GPU energy (counter) 50 J" in text


@pytest.mark.parametrize(
    ("running", "said"),
    [
        (0, "SIGTERM: nothing more is started"),
        (
            2,
            (
                "SIGTERM: nothing more is started, 2 running prompts to finish (a second signal "
                "stops at once)"
            ),
        ),
    ],
)
def test_a_drain_says_what_is_to_finish(
    running: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = Live([])
    monkeypatch.setattr(live, "_show", lambda _doing: None)  # a bar, of a sweep that began
    live.draining("SIGTERM", running)
    assert capsys.readouterr().out.splitlines()[0] == said
