"""The trial on its machine, without Ray.

Its steps, what stays loaded, what is reported, and a process that hangs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pickle
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune import Trainable

from orchestrator.cooldown import Cooldown
from orchestrator.dataset.environment import Pilot
from orchestrator.dataset.trial_files import Measured, Origin
from orchestrator.engine import ENGINES, Engine, GenerationError
from orchestrator.errors import ModelTooLargeError, UserError
from orchestrator.gpu.access import GpuAccess
from orchestrator.gpu.lock import hold_gpu, holder_of_gpu
from orchestrator.gpu.simulated import GpuTruth, Neighbour
from orchestrator.measure import ExecutionLimits, execute
from orchestrator.meters import METERS, Reading, Scene
from orchestrator.nouns import Prompt, Setup, Slurm
from orchestrator.ray_tune import trainable
from orchestrator.ray_tune.trainable import Assignment, HandedOut, Measure
from tests import builders
from tests.meters.fake_nvml import host, uuid
from tests.processes import processes
from tests.ray_tune.fake_tune import assignment

PILOT = Pilot(
    tokens_per_s=20.0,
    energy_j_per_token=0.5,
    energy_basis="energy_j",
    warm_up_s=1.0,
    warm_up_energy_j=9.0,
)


class Machine:
    """Stands for engine, meters and generation.

    It remembers what was loaded, and what was run under which limits.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads: list[str] = []
        self.closed = 0
        self.run: list[tuple[int, ExecutionLimits]] = []
        self.failing: Exception | None = None
        self.measured: dict[int, dict[str, Any]] = {}
        monkeypatch.setattr(trainable, "list_gpus", list)
        monkeypatch.setattr(trainable, "meters_for", lambda _scene: [self])
        monkeypatch.setattr(trainable, "execute", self.execute)
        monkeypatch.setattr(trainable, "warm_up", self.warm_up)
        kind = ENGINES["simulated"]

        def load(
            setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None
        ) -> Engine:
            self.loads.append(model_ref)
            return kind.load(setup, model_ref, threads, gpu)

        monkeypatch.setitem(ENGINES, "simulated", dataclasses.replace(kind, load=load))

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def reading(self, _began_s: float, _ended_s: float) -> Reading:
        return Reading({})

    def close(self) -> None:
        self.closed += 1

    def warm_up(self, _tools: Any, _longest: int) -> Pilot:
        if self.failing:
            raise self.failing
        return PILOT

    def execute(
        self, _tools: Any, spec: Any, prompts: list[Prompt], _order: str, limits: ExecutionLimits
    ) -> list[Measured]:
        self.run += [(prompt.number, limits) for prompt in prompts]
        numbers = [prompt.number for prompt in prompts]
        return [builders.measured(n, of=spec, **self.measured.get(n, {})) for n in numbers]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    yield Machine(monkeypatch)
    trainable.unload()


def simulated(**changes: Any) -> Assignment:
    own = {name: changes.pop(name) for name in list(changes) if name in Assignment.model_fields}
    setup = builders.setup(engine="simulated", **changes.pop("setup", {}))
    return assignment(builders.spec(setup=setup, model_ref="smollm2", **changes), **own)


def trial(of: Assignment) -> Measure:
    return Measure(config={"assignment": HandedOut(of)})


def measured_of(result: dict[str, Any]) -> list[Measured]:
    """What a step gave of its prompts."""
    return [Measured.model_validate_json(one) for one in result["measured"]]


def steps(of: Trainable) -> Iterator[dict[str, Any]]:
    """Until it is done."""
    while True:
        result = of.step()
        yield result
        if result.get("done"):
            return


def test_the_first_step_tells_where_it_runs_and_each_other_is_a_prompt(machine: Machine) -> None:
    measure = trial(simulated())
    assert machine.loads == [], "nothing is loaded before the first step"
    ready, *rest = steps(measure)
    assert (ready["event"], "done" in ready) == ("ready", False)
    origin = Origin.model_validate_json(ready["origin"])
    assert (origin.columns.machine, origin.columns.engine, origin.environment.loaded_here) == (
        "pc",
        "simulated",
        True,
    )
    assert origin.environment.pilot == PILOT
    assert [(r["event"], r["done"]) for r in rest] == [
        ("executions", False),
        ("executions", False),
        ("executions", True),
    ]
    assert [one.execution.prompt_number for r in rest for one in measured_of(r)] == [1, 2, 3]


def test_a_step_of_a_batch_gives_all_its_rows(machine: Machine) -> None:
    machine.measured[2] = {**builders.FAILED, "error_kind": "oom", "effective_max_length": 600}
    measure = trial(simulated(setup={"batch_size": 2}))
    _, first, last = steps(measure)
    numbers = [[one.execution.prompt_number for one in measured_of(r)] for r in (first, last)]
    assert numbers == [[1, 2], [3]]
    assert last["tokens"] == 20.0, "of the prompts that did not fail"
    assert machine.run[-1][1].oom_tokens == 600


def test_whose_account_pays_is_in_no_record(machine: Machine) -> None:
    """Neither in what a trial's folder says of its machine, nor in what Tune gets."""
    planned = simulated()
    paid = {
        name: of.model_copy(update={"slurm": Slurm(account="EUHPC_X01_001")})
        for name, of in planned.machines.items()
    }
    planned = planned.model_copy(update={"machines": paid})
    assert "EUHPC" not in pickle.dumps(HandedOut(planned)).decode("latin-1")
    ready = next(steps(trial(planned)))
    assert "slurm" not in json.loads(ready["origin"])["environment"]["machine"]
    assert "EUHPC" not in str(ready)


def test_the_model_stays_loaded_until_another_is_asked_for(machine: Machine) -> None:
    measure = trial(simulated())
    assert json.loads(next(steps(measure))["origin"])["environment"]["loaded_here"] is True
    for same in (simulated(config_index=1), simulated(setup={"use_case": "other", "seed": 7})):
        assert measure.reset_config({"assignment": HandedOut(same)})
        assert json.loads(next(steps(measure))["origin"])["environment"]["loaded_here"] is False
    assert (len(machine.loads), machine.closed) == (1, 0)
    measure.reset_config({"assignment": HandedOut(simulated(setup={"revision": "another"}))})
    assert json.loads(next(steps(measure))["origin"])["environment"]["loaded_here"] is True
    assert (len(machine.loads), machine.closed) == (2, 1), "the old one is given back first"


def test_the_protocol_is_told_apart_from_loading(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading takes 20 s here, and warming up 3 s."""
    now_s = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    kind = ENGINES["simulated"]

    def load(*given: Any) -> Engine:
        nonlocal now_s
        now_s += 20.0
        return kind.load(*given)

    def warm_up(_tools: Any, _longest: int) -> Pilot:
        nonlocal now_s
        now_s += 3.0
        return PILOT

    monkeypatch.setitem(ENGINES, "simulated", dataclasses.replace(kind, load=load))
    monkeypatch.setattr(trainable, "warm_up", warm_up)
    measure = trial(simulated())
    first = Origin.model_validate_json(next(steps(measure))["origin"]).environment
    assert first.protocol_s == 3.0
    measure.reset_config({"assignment": HandedOut(simulated(config_index=1))})
    later = Origin.model_validate_json(next(steps(measure))["origin"]).environment
    assert later.protocol_s is None, "its model was loaded before"


@pytest.mark.parametrize(
    "other",
    [{"quantization": "none"}, {"compute_dtype": "float16"}, {"batch_size": 2}],
    ids=lambda other: next(iter(other)),
)
def test_each_variant_of_a_sweep_is_loaded_anew(machine: Machine, other: dict[str, Any]) -> None:
    measure = trial(simulated())
    first = json.loads(next(steps(measure))["origin"])["columns"]["session_id"]
    sessions = [first]
    for setup in (other, {}):
        again = simulated(setup=setup)
        measure.reset_config({"assignment": HandedOut(again)})
        sessions.append(json.loads(next(steps(measure))["origin"])["columns"]["session_id"])
    assert len(set(sessions)) == 3, "a load is a session"
    assert (len(machine.loads), machine.closed) == (3, 2)


def test_the_metrics_add_up_over_a_trial_s_prompts(machine: Machine) -> None:
    machine.measured = {2: builders.FAILED}
    measure = trial(simulated())
    _, first, failed, last = steps(measure)
    one = builders.execution(1, of=simulated().spec)
    assert one.energy_j is not None
    assert one.window_s is not None
    assert one.n_new_tokens is not None
    assert (first["energy_j"], first["tokens"]) == (one.energy_j, one.n_new_tokens)
    assert failed["energy_j"] == first["energy_j"], "what failed counts for nothing"
    assert last["energy_j"] == pytest.approx(2 * one.energy_j)
    assert last["tokens_per_s"] == pytest.approx(one.n_new_tokens / one.window_s)
    measure.reset_config({"assignment": HandedOut(simulated(config_index=1))})
    assert (
        next(r["tokens"] for r in steps(measure) if r["event"] == "executions") == one.n_new_tokens
    ), "each trial its own"


def test_an_unknown_energy_makes_the_sum_unknown(machine: Machine) -> None:
    machine.measured = {1: {"energy_j": None, "energy_kwh": None}}
    *_, last = steps(trial(simulated()))
    assert math.isnan(last["energy_j"])
    assert last["tokens"] > 0


def test_memory_that_ran_out_bounds_what_is_tried_next(machine: Machine) -> None:
    """By what this process met, or what the driver knows of others on such machines."""
    machine.measured = {
        1: builders.FAILED | {"effective_max_length": 90},
        2: builders.FAILED | {"effective_max_length": 120},
    }
    measure = trial(simulated(timeout_s=30.0))
    list(steps(measure))
    assert machine.run == [
        (1, ExecutionLimits(30.0, None)),
        (2, ExecutionLimits(30.0, 90)),
        (3, ExecutionLimits(30.0, 90)),
    ]
    measure.reset_config(
        {"assignment": HandedOut(simulated(config_index=1, oom_tokens={"pc": 70, "colab": 10}))}
    )
    list(steps(measure))
    assert {limits.oom_tokens for _, limits in machine.run[3:]} == {70}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            GenerationError("nan", "no number"),
            "smollm2: already the warm-up failed (nan): no number",
        ),
        (UserError("the weights are gated", "ask for them"), "the weights are gated\nask for them"),
    ],
)
def test_a_model_that_can_not_run_ends_the_sweep(
    machine: Machine, error: Exception, told: str
) -> None:
    machine.failing = error
    (result,) = steps(trial(simulated()))
    assert (result["event"], result["message"]) == ("fatal", told)
    machine.failing = None
    assert next(steps(trial(simulated())))["event"] == "ready", "nothing of it stays"


def test_where_other_machines_run_it_too_a_model_that_does_not_fit_becomes_rows(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def too_large(*given: Any) -> None:
        loads.append(given)
        raise ModelTooLargeError("llama2 doesn't fit on the GPU: 3.1 of 4.0 GiB were free")

    kind = dataclasses.replace(ENGINES["simulated"], load=too_large)
    monkeypatch.setitem(ENGINES, "simulated", kind)
    monkeypatch.setattr(trainable, "execute", execute)
    (result,) = steps(trial(simulated()))
    assert result["event"] == "fatal"
    measure = trial(simulated(may_not_fit=True))
    ready, *rest = steps(measure)
    origin = Origin.model_validate_json(ready["origin"])
    assert (
        origin.columns.device,
        origin.environment.loaded_here,
        origin.environment.pilot,
    ) == ("none", False, None)
    rows = [one.execution for r in rest for one in measured_of(r)]
    assert {(e.status, e.error_kind, e.energy_j, e.window_s) for e in rows} == {
        ("failed", "oom", None, None)
    }
    assert all("3.1 of 4.0 GiB" in (e.error_message or "") for e in rows)
    measure.reset_config({"assignment": HandedOut(simulated(config_index=1, may_not_fit=True))})
    assert len(list(steps(measure))) == 4
    assert len(loads) == 2, "it isn't tried again in this process"


def test_a_machine_without_a_file_ends_the_sweep(machine: Machine) -> None:
    (result,) = steps(trial(simulated(machine="attic")))
    assert result["event"] == "fatal"
    assert "there is no clusters/attic.yaml" in result["message"]


# --- nobody else on the GPU -----------------------------------------------------------------------


@pytest.fixture
def on_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The worker's engine needs a GPU. There is one, on which process 7 computes already."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(trainable, "_gpu_lock", None)
    monkeypatch.setattr(trainable, "_has_context", True)
    monkeypatch.setattr(trainable, "_nvml_pids", frozenset())
    kind, real = ENGINES["simulated"], host(300, neighbours=(NEIGHBOUR,))
    on_real = dataclasses.replace(
        kind, gpu=real.access, load=lambda *given: kind.load(*given[:3], None)
    )
    monkeypatch.setitem(ENGINES, "simulated", on_real)
    yield
    if trainable._gpu_lock is not None:
        trainable._gpu_lock.release()


NEIGHBOUR = Neighbour(begins_s=0.0, ends_s=1e9, watts=0.0, pid=7)


def test_a_worker_holds_its_gpu(on_gpu: None) -> None:
    other = hold_gpu(uuid(0), "sweep lhs-1")
    assert other is not None
    (result,) = steps(trial(simulated()))
    assert result["event"] == "fatal"
    assert "is in use by sweep lhs-1" in result["message"]
    other.release()
    assert next(steps(trial(simulated())))["event"] == "ready"
    assert (holder_of_gpu(uuid(0)) or "").startswith(f"sweep {builders.spec().sweep_id}, ")


@pytest.fixture
def scenes(on_gpu: None, monkeypatch: pytest.MonkeyPatch) -> list[Scene]:
    """What the meters are told, on a GPU where NVML lists the neighbour and this process as 42."""
    both = GpuTruth(neighbours=(NEIGHBOUR, NEIGHBOUR.model_copy(update={"pid": 42})))
    monkeypatch.setenv("ORCHESTRATOR_SIMULATED_GPU", both.model_dump_json(include={"neighbours"}))
    told: list[Scene] = []
    monkeypatch.setattr(trainable, "meters_for", lambda scene: told.append(scene) or [])
    return told


def test_who_was_on_the_gpu_before_is_a_neighbour(scenes: list[Scene]) -> None:
    """In a container NVML numbers this process otherwise: it is the one that came with the load."""
    assert next(steps(trial(simulated())))["event"] == "ready"
    assert scenes[0].own_pids == {os.getpid(), 42}


def test_with_a_second_model_this_process_is_still_itself(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its context stays, so its number in NVML is there before the second model is loaded."""
    assert next(steps(trial(simulated())))["event"] == "ready"
    monkeypatch.setattr(trainable, "_hold_gpu", lambda *_given: frozenset({7, 42}))
    assert next(steps(trial(simulated(setup={"model": "other"}))))["event"] == "ready"
    assert [scene.own_pids for scene in scenes] == [{os.getpid(), 42}] * 2


# --- a process that hangs -------------------------------------------------------------------------

HANGS = """
import sys, time
from orchestrator.ray_tune import trainable
from tests.ray_tune.test_trainable import PILOT, simulated, trial
from tests import builders

trainable.HUNG_FACTOR, trainable.HUNG_EXTRA_S, trainable.HUNG_LOAD_S = 0.0, 0.5, 0.5
where, timeout_s = sys.argv[1], float(sys.argv[2]) or None
hang = lambda *_: time.sleep(float(sys.argv[3]))
trainable.meters_for = lambda _scene: []
trainable.warm_up = hang if where == "load" else lambda *_: PILOT
def execute(tools, spec, prompts, *_):
    hang()
    return [builders.measured(prompt.number, of=spec) for prompt in prompts]

trainable.execute = execute
measure = trial(simulated(timeout_s=timeout_s))
measure.step()
print("ready", flush=True)
measure.step()
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("where", "timeout_s", "hangs_s", "said"),
    [
        ("load", 1, 100, ""),
        ("generate", 1, 100, "ready\n"),
        ("generate", 1, 0.1, "ready\ndone\n"),
        ("generate", 0, 1, "ready\ndone\n"),  # no timeout was asked for: nothing is taken for hung
    ],
)
def test_a_kernel_that_hangs_ends_its_process(
    where: str, timeout_s: float, hangs_s: float, said: str
) -> None:
    began = time.monotonic()
    with processes(HANGS, stderr=-1) as start:
        process = start(where, str(timeout_s), str(hangs_s))
        out, err = process.communicate(timeout=90)
    assert out == said
    ended = "done" not in said
    assert (process.returncode, "Timeout (0:00:00.5" in err) == (1, True) if ended else (0, False)
    assert time.monotonic() - began < hangs_s or not ended


# --- what a session measures besides its trials, on a simulated GPU -------------------------------


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process of which nothing is replaced but CodeCarbon, which would measure this host."""
    monkeypatch.setattr(trainable, "list_gpus", list)
    codecarbon = METERS["codecarbon"]
    monkeypatch.setitem(
        METERS, "codecarbon", dataclasses.replace(codecarbon, make=lambda _scene: None)
    )
    yield
    trainable.unload()


def run_trials(n: int, **changes: Any) -> tuple[list[Origin], list[list[Measured]]]:
    """So many trials of one prompt in one session: where they ran, and what they gave."""
    origins, results = [], []
    prompts = builders.prompts()[:1]
    for number in range(n):
        of = simulated(
            config_index=number,
            prompts=prompts,
            is_last=number == n - 1,
            longest_length=200,
            **changes,
        )
        ready, *rest = steps(trial(of))
        origins.append(Origin.model_validate_json(ready["origin"]))
        results.append([one for r in rest for one in measured_of(r)])
    return origins, results


@pytest.mark.usefixtures("session")
def test_a_session_has_an_anchor_at_both_ends_and_before_each_tenth_trial() -> None:
    origins, results = run_trials(12)
    anchors = [[one.session_trial for one in measured.anchors] for [measured] in results]
    assert anchors == [[0], *[[]] * 9, [10], [12]]
    assert [origin.columns.session_trial for origin in origins] == list(range(12))
    energies_j = [one.energy_j for [measured] in results for one in measured.anchors]
    assert energies_j == pytest.approx([128 * (1.6 + 75 * 0.025)] * 3, rel=0.01)


@pytest.mark.usefixtures("session")
def test_idle_power_in_three_states_and_the_energy_of_loading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = '{"bare_w": 50.0, "context_w": 75.0}'
    monkeypatch.setenv("ORCHESTRATOR_SIMULATED_GPU", truth)
    [origin], [[measured]] = run_trials(1)
    environment, execution = origin.environment, measured.execution
    powers_w = {one.state: one.power_w for one in environment.baselines}
    assert powers_w == {
        "bare": pytest.approx(50.0, rel=0.01),
        "context": pytest.approx(75.0, rel=0.01),
        "loaded": pytest.approx(75.0, rel=0.01),
    }
    assert environment.load_energy_j is not None
    loaded = environment.baselines[-1]
    assert (execution.baseline_id, execution.baseline_w) == (loaded.id, loaded.power_w)
    assert loaded.id.startswith(f"{origin.columns.session_id}-")
    n_new = execution.n_new_tokens
    assert n_new is not None
    n_prompt = execution.n_prompt_tokens
    assert n_prompt is not None
    assert execution.net_energy_j == pytest.approx(n_new * 1.6 + n_prompt * 0.03, rel=0.02)
    first_token_j = n_prompt * (0.03 + 75 * 0.0002) + 1.6 + 75 * 0.025
    assert execution.prefill_energy_j == pytest.approx(first_token_j, rel=0.02)
    assert execution.decode_energy_per_token_j == pytest.approx(1.6 + 75 * 0.025, rel=0.02)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize(("drift_w_per_hour", "n_baselines"), [(0.0, 1), (2000.0, 2)])
def test_an_idle_power_that_moved_by_a_tenth_is_a_new_baseline(
    monkeypatch: pytest.MonkeyPatch, drift_w_per_hour: float, n_baselines: int
) -> None:
    """Ten trials of 2 to 3 s, an anchor and a prefill take about 40 s."""
    truth = f'{{"drift_w_per_hour": {drift_w_per_hour}}}'
    monkeypatch.setenv("ORCHESTRATOR_SIMULATED_GPU", truth)
    origins, results = run_trials(11)
    ids = [measured.execution.baseline_id for [measured] in results]
    session_id = origins[0].columns.session_id
    assert ids == [f"{session_id}-0"] * 10 + [f"{session_id}-{n_baselines - 1}"]
    loaded = [one for one in origins[-1].environment.baselines if one.state == "loaded"]
    assert len(loaded) == n_baselines


@pytest.mark.usefixtures("session")
def test_a_trial_waits_until_the_gpu_is_cool() -> None:
    [origin], _ = run_trials(1, cooldown=Cooldown(seconds=45.0))
    assert origin.environment.cooldown_s == 45.0


@pytest.mark.usefixtures("session")
def test_answers_are_generated_again_until_the_window_is_long_enough() -> None:
    _, [[measured]] = run_trials(1, least_window_s=20.0)
    execution = measured.execution
    assert execution.window_s is not None
    assert execution.n_in_window * execution.window_s >= 20.0
    assert execution.energy_per_token_j == pytest.approx(1.6 + 75 * 0.025, rel=0.05)
