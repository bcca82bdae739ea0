"""The sweep's metrics, fed as Tune feeds the driver, and the file that Prometheus reads.

A fake library of metrics adds the figures up.
"""

from __future__ import annotations

import fcntl
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.dataset.energy import energy_basis
from orchestrator.dataset.lock import Lock
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.ray_tune import prometheus_targets as targets
from orchestrator.ray_tune.leftovers import remove_leftovers
from orchestrator.ray_tune.metrics import BUCKETS, METRICS, Metrics
from orchestrator.ray_tune.prometheus_targets import announced, targets_folder
from orchestrator.ray_tune.session import Node
from orchestrator.ray_tune.temp_folders import SCRATCH
from tests import builders
from tests.ray_tune.fake_tune import FakeTune, assignment

SWEEP = "5eed5eed5eed"


@dataclass
class Library:
    """Replaces ray.util.metrics, and refuses what that refuses."""

    values: dict[str, dict[tuple[tuple[str, str], ...], Any]] = field(default_factory=dict)
    broken: bool = False

    def _made(self, name: str, tag_keys: tuple[str, ...], record: Any) -> Any:
        assert name not in self.values
        known = self.values.setdefault(name, {})

        def checked(value: float, tags: dict[str, str]) -> None:
            if self.broken:
                raise RuntimeError("no agent")
            assert set(tags) == set(tag_keys)
            assert all(isinstance(tag, str) for tag in tags.values())
            key = tuple(sorted((name, tag) for name, tag in tags.items() if name != "sweep"))
            assert tags["sweep"] == SWEEP
            known[key] = record(known.get(key), value)

        return checked

    def Counter(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Any:  # noqa: N802 - Ray's name
        def add(before: float | None, value: float) -> float:
            if value <= 0:
                raise ValueError(f"value must be >0, got {value}")
            return (before or 0) + value

        assert description
        return SimpleNamespace(inc=self._made(name, tag_keys, add))

    def Gauge(self, name: str, description: str, tag_keys: tuple[str, ...]) -> Any:  # noqa: N802
        assert description
        return SimpleNamespace(set=self._made(name, tag_keys, lambda _before, value: value))

    def Histogram(  # noqa: N802
        self, name: str, description: str, tag_keys: tuple[str, ...], boundaries: list[float]
    ) -> Any:
        assert description
        assert boundaries == sorted(set(boundaries))
        assert boundaries[0] > 0
        return SimpleNamespace(
            observe=self._made(name, tag_keys, lambda before, value: [*(before or []), value])
        )

    def of(self, name: str) -> dict[tuple[str, ...], Any]:
        """Values of the labels with these names -> value of the metric."""
        return {
            tuple(tag for _, tag in key): value
            for key, value in self.values[f"orchestrator_{name}"].items()
        }

    def trials(self) -> dict[str, float]:
        """State -> number of trials, without states that have none."""
        return {state: n for (state,), n in self.of("trials").items() if n}


@dataclass
class Run:
    tune: FakeTune
    seen: Library
    metrics: Metrics


@pytest.fixture
def run(paths: DataSetPaths, lock: Lock) -> Run:
    """A sweep of two trials of three prompts."""
    seen = Library()
    metrics = Metrics(SWEEP, 2, seen)
    assignments = [assignment(config_index=index) for index in range(2)]
    tune = FakeTune(paths, lock, assignments, observers=[metrics])
    return Run(tune, seen, metrics)


def test_every_name_has_its_unit_and_its_kind() -> None:
    units = ("joules", "watts", "seconds", "tokens", "trials", "executions", "lost", "per_second")
    for name, metric in METRICS.items():
        assert name.startswith("orchestrator_")
        assert name.endswith("_total") == (metric.kind == "Counter")
        assert name.removesuffix("_total").endswith(units)
    assert sorted(BUCKETS) == BUCKETS


def test_a_trial_from_its_begin_to_its_end(run: Run) -> None:
    assert run.seen.trials() == {"waiting": 2}
    trial = run.tune.start()
    assert run.seen.trials() == {"waiting": 1, "running": 1}
    assert run.seen.of("executions_total") == {}
    run.tune.whole(trial)
    assert run.seen.trials() == {"waiting": 1, "finished": 1}
    of = ("pc", "smollm2")
    assert run.seen.of("energy_joules_total") == {of: pytest.approx(60.0)}
    assert run.seen.of("counted_energy_joules_total") == {("energy_j", *of): pytest.approx(60.0)}
    assert run.seen.of("tokens_total") == {of: 30}
    assert run.seen.of("window_seconds_total") == {of: pytest.approx(6.0)}
    assert run.seen.of("executions_total") == {("none", *of, "ok"): 3}
    assert run.seen.of("energy_per_token_joules") == {of: [2.0, 2.0, 2.0]}
    assert run.seen.of("power_watts") == {("none", "abcdef012345", "pc"): 10.0}
    assert run.seen.of("tokens_per_second") == {("none", "abcdef012345", "pc"): 5.0}
    assert run.seen.of("gpu_power_watts") == {}
    assert run.seen.of("energy_unknown_executions_total") == {}


def test_unknown_energy_is_counted_apart_and_never_as_0(run: Run) -> None:
    trial = run.tune.start()
    unknown = {
        "energy_j": None,
        "energy_kwh": None,
        "energy_per_token_j": None,
        "energy_basis": None,
    }
    run.tune.give(trial, 1)
    run.tune.give(trial, 2, **unknown)
    of = ("pc", "smollm2")
    assert run.seen.of("energy_joules_total") == {of: 20.0}
    assert run.seen.of("counted_energy_joules_total") == {("energy_j", *of): 20.0}
    unknown_of = {("counted_energy_j", *of): 1, ("energy_j", *of): 1}
    assert run.seen.of("energy_unknown_executions_total") == unknown_of
    assert run.seen.of("energy_per_token_joules") == {of: [2.0]}
    assert math.isnan(run.seen.of("power_watts")["none", "abcdef012345", "pc"])


@pytest.mark.parametrize(
    ("measured", "watts", "joules"),
    [
        ({}, 50.0, 100.0),
        ({"gpu_energy_counter_j": None, "gpu_energy_integrated_j": 60.0}, 30.0, 60.0),
        ({"gpu_energy_counter_j": None, "gpu_energy_integrated_j": None}, math.nan, None),
    ],
)
def test_a_gpu(measured: dict[str, Any], watts: float, joules: float | None) -> None:
    seen, spec = Library(), builders.spec()
    metrics = Metrics(SWEEP, 1, seen)
    where = builders.origin(spec, gpu_uuid="GPU-1", gpu_name="A100")
    values = builders.ON_GPU | measured
    values["energy_basis"] = energy_basis(values, has_gpu=True, window_s=4.0)
    execution = builders.execution(1, of=spec, **values)
    metrics.execution_recorded(spec, where, execution)
    assert not metrics.broken
    place = ("GPU-1", "abcdef012345", "pc")
    assert seen.of("gpu_power_watts")[place] == pytest.approx(watts, nan_ok=True)
    assert seen.of("power_watts")[place] == 60.0
    counted = {(execution.energy_basis, "pc", "smollm2"): joules} if joules else {}
    assert seen.of("counted_energy_joules_total") == counted
    unknown = {} if joules else {("counted_energy_j", "pc", "smollm2"): 1}
    assert seen.of("energy_unknown_executions_total") == unknown


def test_failures_by_kind(run: Run) -> None:
    trial = run.tune.start()
    run.tune.give(trial, 1, **builders.FAILED)
    run.tune.give(
        trial, 2, **(builders.FAILED | {"error_kind": "nan", "window_s": None, "energy_j": None})
    )
    run.tune.give(trial, 3)
    of = ("pc", "smollm2")
    assert run.seen.of("executions_total") == {
        ("oom", *of, "failed"): 1,
        ("nan", *of, "failed"): 1,
        ("none", *of, "ok"): 1,
    }
    assert run.seen.trials() == {"waiting": 1, "failed": 1}
    assert run.seen.of("energy_joules_total") == {of: 40.0}, "what failed took energy, too"


def test_a_lost_worker_lets_its_trial_wait_and_states_always_add_up(run: Run) -> None:
    trial = run.tune.start()
    run.tune.give(trial, 1)
    run.tune.lose(trial)
    assert run.seen.trials() == {"waiting": 2}
    again = run.tune.start()
    assert run.seen.trials() == {"waiting": 1, "running": 1}
    run.tune.whole(again)
    assert run.seen.trials() == {"waiting": 1, "finished": 1}
    for _ in range(3):
        assert sum(run.seen.trials().values()) == 2
        run.tune.lose(run.tune.start())
    assert run.seen.trials() == {"finished": 1, "given_up": 1}
    assert run.seen.of("workers_lost_total") == {(): 4}


def test_gauges_that_still_hold_are_told_again(run: Run) -> None:
    """Ray forgets a gauge after twenty seconds, and a window may take minutes."""

    def again() -> tuple[dict[str, float], set[str]]:
        for known in run.seen.values.values():
            known.clear()
        run.metrics.tell_again()
        return run.seen.trials(), {name for name, known in run.seen.values.items() if known} - {
            "orchestrator_trials"
        }

    assert again() == ({"waiting": 2}, set())
    trial = run.tune.start()
    assert again() == ({"waiting": 1, "running": 1}, set())
    run.tune.give(trial, 1)
    windows = {"orchestrator_power_watts", "orchestrator_tokens_per_second"}
    assert again() == ({"waiting": 1, "running": 1}, windows)
    run.tune.give(trial, 2)
    run.tune.give(trial, 3)
    assert again() == ({"waiting": 1, "finished": 1}, set()), (
        "nothing runs there: its power is forgotten"
    )


def test_a_drained_trial_waits(run: Run) -> None:
    trial = run.tune.start()
    run.tune.give(trial, 1)
    run.tune.callback.close()
    assert run.seen.trials() == {"waiting": 2}


def test_metrics_that_fail_are_told_once_and_hurt_nothing(
    run: Run, paths: DataSetPaths, caplog: pytest.LogCaptureFixture
) -> None:
    run.seen.broken = True
    for _ in range(2):
        run.tune.whole(run.tune.start())
    assert run.metrics.broken
    assert run.tune.callback.n_written == 6
    assert len(paths.sealed_trials()) == 2
    assert [r.getMessage() for r in caplog.records] == [
        "no more metrics in this run, the sweep continues: RuntimeError: no agent"
    ]


def test_a_library_that_is_none(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(SWEEP, 1, SimpleNamespace())
    metrics.disk_full("no space")
    assert metrics.broken
    assert len(caplog.records) == 1


# --- the file that Prometheus reads ---------------------------------------------------------------

NODES = (
    Node(cpus=2, gpus=0, metrics="127.0.0.1:4711"),
    Node(cpus=2, gpus=0),
    Node(cpus=2, gpus=0, metrics="127.0.0.1:4712"),
)


def test_prometheus_is_told_while_a_sweep_runs() -> None:
    with announced(NODES):
        (path,) = targets_folder().iterdir()
        assert path.match("orch-*.json")
        assert json.loads(path.read_text()) == [
            {"labels": {"job": "ray"}, "targets": ["127.0.0.1:4711", "127.0.0.1:4712"]}
        ]
    assert list(targets_folder().iterdir()) == []


def test_it_is_taken_away_after_an_error_and_after_a_kill() -> None:
    with pytest.raises(KeyError), announced(NODES):
        raise KeyError
    left, foreign = targets_folder() / f"{SCRATCH}1.json", targets_folder() / "orch-another-1.json"
    living = targets_folder() / f"{SCRATCH}2.json"
    half = targets_folder() / f".{SCRATCH}3.tmp"
    for path in (left, foreign, living, half):
        path.write_text("[]")
    with living.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        remove_leftovers()
        assert sorted(targets_folder().iterdir()) == sorted([foreign, living])


def test_a_folder_that_cannot_be_written_hurts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(targets, "cache_folder", lambda: tmp_path / "file")
    with announced(NODES):
        pass
    assert "Prometheus won't find this sweep" in caplog.text
