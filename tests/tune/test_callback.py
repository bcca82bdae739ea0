"""The driver's callback, fed by hand: executions reach the disk once, whatever Tune does."""

from __future__ import annotations

import pickle
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import TableWriter, Trials
from orchestrator.dataset.trials import read_trial
from orchestrator.nouns import Machine
from orchestrator.tune.callback import DataSetCallback, Halt
from orchestrator.tune.driver import _noticing_interrupts
from orchestrator.tune.trainable import Job
from tests import builders


@dataclass
class Recorder:
    """An observer that only remembers."""

    events: list[str] = field(default_factory=list)

    def ready(self, _origin: Any) -> None:
        self.events.append("ready")

    def execution(self, _origin: Any, execution: Any) -> None:
        self.events.append(f"execution {execution.prompt}")

    def sealed(self, record: Any) -> None:
        self.events.append(f"sealed {record.spec.index}")

    def lost(self, _job: Any, reason: str, *, retried: bool) -> None:
        self.events.append(f"lost {reason} {retried}")


class Trial:
    """What the callback reads of Tune's trial."""

    def __init__(self, job: Job, error_file: Path | None = None) -> None:
        self.trial_id = f"trial-{job.spec.index}"
        self.config = {"job": job.model_dump(mode="json")}
        self.error_file = str(error_file) if error_file else None


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    return DataSetPaths(tmp_path)


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def callback(paths: DataSetPaths, observer: Recorder) -> DataSetCallback:
    return DataSetCallback(paths, TableWriter(paths, Trials()), observer, [])


def job(*todo: int, index: int = 0) -> Job:
    machine = Machine(name="pc", accelerator="cpu")
    spec = builders.spec(index=index)
    return Job(spec=spec, todo=todo, order="shuffled", machine="pc", machines={"pc": machine}, threads=1, n_parallel=1)


def result(prompt: int, of: Job) -> dict[str, Any]:
    return {
        "event": "execution",
        "origin": builders.origin(of.spec).model_dump(mode="json"),
        "measured": builders.measured(prompt=prompt).model_dump(mode="json"),
    }


def test_each_execution_is_on_the_disk_before_the_next(
    callback: DataSetCallback, paths: DataSetPaths, observer: Recorder
) -> None:
    whole = job(1, 2, 3)
    trial = Trial(whole)
    callback.on_trial_result(trial=trial, result={"event": "ready", "origin": result(1, whole)["origin"]})
    for prompt in (1, 2):
        callback.on_trial_result(trial=trial, result=result(prompt, whole))
        lines = (paths.partial("pc", whole.spec) / "executions.jsonl").read_text().splitlines()
        assert len(lines) == prompt
    callback.on_trial_result(trial=trial, result=result(3, whole))
    assert observer.events == ["ready", "execution 1", "execution 2", "execution 3", "sealed 0"]
    record = read_trial(paths.trial("pc", whole.spec))
    assert [e.prompt for e in record.executions] == [1, 2, 3]
    assert not paths.partial("pc", whole.spec).exists()
    assert paths.executions.exists()
    assert paths.summary.exists()


def test_a_trial_begun_again_doubles_nothing(
    callback: DataSetCallback, paths: DataSetPaths, observer: Recorder, tmp_path: Path
) -> None:
    whole = job(1, 2)
    error = tmp_path / "error.txt"
    error.write_text("Traceback ...\nray.exceptions.ActorDiedError: killed\n")
    trial = Trial(whole, error)
    callback.on_trial_result(trial=trial, result=result(1, whole))
    callback.on_trial_recover(trial=trial)
    for prompt in (1, 2):
        callback.on_trial_result(trial=trial, result=result(prompt, whole))
    assert observer.events == ["execution 1", "lost ray.exceptions.ActorDiedError: killed True", "execution 2", "sealed 0"]
    assert [e.prompt for e in read_trial(paths.trial("pc", whole.spec)).executions] == [1, 2]


def test_a_trial_given_up_keeps_what_it_finished(callback: DataSetCallback, paths: DataSetPaths, observer: Recorder) -> None:
    whole = job(1, 2)
    callback.on_trial_result(trial=Trial(whole), result=result(1, whole))
    callback.on_trial_error(trial=Trial(whole))
    assert observer.events[-1] == "lost its worker or node died False"
    assert len((paths.partial("pc", whole.spec) / "executions.jsonl").read_text().splitlines()) == 1


def test_a_disk_error_is_kept_for_the_driver(paths: DataSetPaths, observer: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = []
    callback = DataSetCallback(paths, TableWriter(paths, Trials()), observer, errors)

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.tune.callback.append", full)
    with pytest.raises(OSError, match="No space"):
        callback.on_trial_result(trial=Trial(job(1)), result=result(1, job(1)))
    assert [error.errno for error in errors if isinstance(error, OSError)] == [28]


def test_it_can_be_pickled_as_tune_does(callback: DataSetCallback) -> None:
    assert isinstance(pickle.loads(pickle.dumps(callback)), DataSetCallback)


def test_a_fatal_result_stops_the_sweep_with_its_first_reason() -> None:
    halt = Halt()
    assert halt("a", {"event": "execution"}) is False
    assert halt.stop_all() is False
    assert halt("a", {"event": "fatal", "message": "gated"}) is True
    assert halt("b", {"event": "fatal", "message": "later"}) is True
    assert (halt.stop_all(), halt.reason) == (True, "gated")


def test_an_interrupt_that_ray_swallowed_stops_the_sweep_all_the_same() -> None:
    halt, before = Halt(), signal.getsignal(signal.SIGINT)
    with _noticing_interrupts(halt):
        with pytest.raises(KeyboardInterrupt):  # as inside Ray
            signal.raise_signal(signal.SIGINT)
        assert halt.stop_all() is True
    assert signal.getsignal(signal.SIGINT) is before
