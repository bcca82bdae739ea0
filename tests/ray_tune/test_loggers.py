"""Ray's loggers get flat numbers, each prompt once, and never end a sweep."""

from __future__ import annotations

import logging
import math
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.tune.logger import LoggerCallback

from orchestrator.dataset.lock import Lock
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.summary import SummaryColumns
from orchestrator.nouns import PARAMETERS
from orchestrator.ray_tune.log_to import loggers_for
from orchestrator.ray_tune.loggers import FlatLogger
from tests import builders
from tests.ray_tune.fake_tune import FakeTune, Trial, assignment

SWEEP = "5eed5eed5eed"


class Heard(LoggerCallback):  # type: ignore[misc]  # ray has no types
    """Remembers what a logger of Ray is told."""

    def __init__(self, fails_at: str = "") -> None:
        self.events: list[tuple[str, str, Any]] = []
        self._fails_at = fails_at

    def _hear(self, event: str, trial: Any = None, said: Any = None) -> None:
        self.events.append((event, str(trial), said))
        if event == self._fails_at:
            raise ConnectionError("nobody answers")

    def setup(self, **_info: Any) -> None:
        self._hear("setup")

    def log_trial_start(self, trial: Any) -> None:
        self._hear("start", trial, trial.config)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self._hear("result", trial, result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self._hear("end", trial, failed)

    def on_experiment_end(self, **_info: Any) -> None:
        self._hear("over")

    def said(self, event: str) -> list[Any]:
        """What came with each event of a name."""
        return [said for name, _, said in self.events if name == event]


class Logged(FakeTune):
    """Tune with a logger beside the data set's callback, which it tells after that one."""

    def __init__(self, logger: FlatLogger, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = logger
        logger.setup(stop=None, num_samples=1, total_num_samples=1)

    def start(self, trial: Trial | None = None, *, loading: bool = False) -> Trial:
        trial = trial or self.hand_out()
        assert trial is not None
        self.logger.on_trial_start(iteration=0, trials=[], trial=trial)
        return super().start(trial, loading=loading)

    def tell(self, trial: Trial, result: dict[str, Any]) -> None:
        super().tell(trial, result)
        self.logger.on_trial_result(iteration=1, trials=[], trial=trial, result=result)
        if result.get("done"):
            self.callback.on_trial_complete(trial=trial)
            self.logger.on_trial_complete(iteration=1, trials=[], trial=trial)

    def lose(self, trial: Trial, error_file: Path | None = None) -> None:
        super().lose(trial, error_file)
        self.logger.on_trial_error(iteration=1, trials=[], trial=trial)


@pytest.fixture
def start(paths: DataSetPaths, lock: Lock) -> Callable[..., Logged]:
    """Makes a sweep of one trial with a logger."""

    def started(logger: FlatLogger, **changes: Any) -> Logged:
        return Logged(logger, paths, lock, [assignment(**changes)])

    return started


def heard_by(paths: DataSetPaths, fails_at: str = "") -> tuple[FlatLogger, Heard]:
    heard = Heard(fails_at)
    return FlatLogger("heard", lambda: heard, paths.dashboards, SWEEP), heard


def test_a_trial_is_told_prompt_by_prompt_and_then_as_a_whole(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    sweep.whole(sweep.start())
    logger.on_experiment_end(trials=[])
    assert [event for event, _, _ in heard.events] == [
        *("setup", "start", "result", "result", "result", "result", "end", "over")
    ]
    *prompts, last = heard.said("result")
    assert [step["training_iteration"] for step in (*prompts, last)] == [1, 2, 3, 3]
    for step in prompts:
        assert step["prompt/energy_per_token_j"] == 2.0
        assert step["prompt/n_new_tokens"] == 10
        assert step["prompt/failed"] == 0
        assert "prompt/gpu_energy_counter_j" not in step, "unknown is no number"
    assert (last["energy_per_token_j"], last["n_new_tokens"], last["n_ok"]) == (2.0, 30, 3)
    assert heard.said("end") == [False]
    for step in (*prompts, last):
        assert all(
            isinstance(value, (int, float)) and math.isfinite(value) for value in step.values()
        )


def test_the_last_step_says_what_the_summary_says(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    trial = sweep.start()
    for number, joules in enumerate((10.0, 25.0, 31.5), 1):
        sweep.give(trial, number, energy_j=joules)
    [key] = sweep.trials
    row = sweep.trials.summary_row(key)
    numbers = {
        name: row[name]
        for name in SummaryColumns.model_fields
        if isinstance(row[name], (int, float))
    }
    assert heard.said("result")[-1] == numbers | {"training_iteration": 3}
    assert numbers["energy_per_token_j"] == 66.5 / 30


def test_a_run_has_configuration_setup_and_place_as_parameters(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    trial = sweep.start()
    [parameters] = heard.said("start")
    requested = trial.spec.configuration.model_dump()
    assert {name: parameters[name] for name in PARAMETERS} == requested
    assert parameters["model"] == "smollm2"
    assert parameters["quantization"] == "nf4"
    assert parameters["machine"] == "pc"
    assert all(isinstance(value, (str, int, float)) for value in parameters.values())
    [name] = {name for event, name, _ in heard.events if event == "start"}
    assert name == f"smollm2-fantasyWorld-{trial.spec.folder()}-pc"


def test_a_result_that_is_told_twice_counts_once(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    trial = sweep.start()
    sweep.ready(trial)
    sweep.give(trial, 1)
    sweep.give(trial, 1)
    assert (len(heard.said("start")), len(heard.said("result"))) == (1, 1)
    logger.on_trial_error(iteration=1, trials=[], trial=trial)
    logger.on_trial_error(iteration=1, trials=[], trial=trial)
    assert heard.said("end") == [True]


def test_a_batch_is_a_step_a_prompt(paths: DataSetPaths, start: Callable[..., Logged]) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger, setup=builders.setup(batch_size=3))
    sweep.give_batch(sweep.start(), 1, 2, 3)
    assert [step["training_iteration"] for step in heard.said("result")] == [1, 2, 3, 3]


def test_a_lost_worker_ends_a_run_as_failed_and_the_rest_is_another_run(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    trial = sweep.start()
    sweep.give(trial, 1)
    sweep.lose(trial)
    assert heard.said("end") == [True]
    assert heard.said("result")[-1]["n_new_tokens"] == 10
    sweep.whole(sweep.start())
    names = [name for event, name, _ in heard.events if event == "start"]
    assert [name.split("-r1")[1] for name in names] == ["-pc", "-a2-pc"]
    assert heard.said("end") == [True, False]


def test_a_worker_that_died_before_it_began_is_no_run(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    sweep.lose(sweep.start(loading=True))
    assert [event for event, _, _ in heard.events] == ["setup"]


def test_a_trial_without_any_answer_failed(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    logger, heard = heard_by(paths)
    sweep = start(logger)
    failed = {"status": "failed", "error_kind": "oom", "n_new_tokens": None, "window_s": None}
    sweep.whole(sweep.start(), **failed)
    assert [step.get("prompt/failed") for step in heard.said("result")] == [1, 1, 1, None]
    assert heard.said("end") == [True]


@pytest.mark.parametrize("fails_at", ["setup", "start", "result", "end", "over"])
def test_a_logger_that_fails_ends_with_one_warning_and_the_sweep_goes_on(
    paths: DataSetPaths,
    start: Callable[..., Logged],
    fails_at: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger, heard = heard_by(paths, fails_at)
    with caplog.at_level(logging.WARNING):
        sweep = start(logger)
        sweep.whole(sweep.start())
        logger.on_experiment_end(trials=[])
    assert [record.message for record in caplog.records] == [
        "no more logging to heard in this run, the sweep continues: ConnectionError: nobody answers"
    ]
    assert heard.events[-1][0] == fails_at, "it is left alone after that"
    assert len(sweep.trials) == 1
    assert sweep.callback.error is None


def test_tune_pickles_nothing_of_it(paths: DataSetPaths) -> None:
    logger, _ = heard_by(paths)
    assert vars(pickle.loads(pickle.dumps(logger))) == {}


def test_nothing_is_made_where_no_logger_is_asked_for(paths: DataSetPaths) -> None:
    assert loggers_for((), paths, SWEEP) == []
    assert not paths.root.exists()


# --- the real packages ----------------------------------------------------------------------------


def logged(
    name: str, paths: DataSetPaths, start: Callable[..., Logged]
) -> tuple[Logged, dict[str, float]]:
    """A sweep of one trial with one of Ray's loggers, and the trial's figures in the summary."""
    [logger] = loggers_for((name, name), paths, SWEEP)
    sweep = start(logger)
    trial = sweep.start()
    for number, joules in enumerate((10.0, 25.0, 31.5), 1):
        sweep.give(trial, number, energy_j=joules)
    logger.on_experiment_end(trials=[])
    assert not logger.broken
    [key] = sweep.trials
    row = sweep.trials.summary_row(key)
    return sweep, {name: row[name] for name in ("energy_per_token_j", "n_new_tokens", "energy_j")}


def records(file: Path) -> Iterator[bytes]:
    """The records of a file of TensorBoard: length, check, content, check."""
    with file.open("rb") as stream:
        while head := stream.read(12):
            (length,) = struct.unpack("<Q", head[:8])
            yield stream.read(length)
            stream.read(4)


def test_tensorboard_has_the_figures(paths: DataSetPaths, start: Callable[..., Logged]) -> None:
    from tensorboardX.proto.event_pb2 import Event  # of Ray Tune's own requirements

    _, summary = logged("tensorboard", paths, start)
    [file] = paths.dashboards.glob(f"tensorboard/{SWEEP}/*/events.out.tfevents.*")
    scalars: dict[str, list[tuple[int, float]]] = {}
    tags = set()
    for record in records(file):
        event = Event.FromString(record)
        for value in event.summary.value:
            tags.add(value.tag)
            if value.HasField("simple_value"):
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert scalars["ray/tune/prompt/energy_j"] == [(1, 10.0), (2, 25.0), (3, 31.5)]
    for name, value in summary.items():
        assert scalars[f"ray/tune/{name}"] == [(3, pytest.approx(value))]
    assert any("hparams" in tag for tag in tags), "parameters beside figures"


def test_tensorboard_itself_reads_the_figures(
    paths: DataSetPaths, start: Callable[..., Logged]
) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard isn't installed (pip install tensorboard)",
    )
    _, summary = logged("tensorboard", paths, start)
    [folder] = paths.dashboards.glob(f"tensorboard/{SWEEP}/*")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    for name, value in summary.items():
        assert events.Scalars(f"ray/tune/{name}")[-1].value == pytest.approx(value)


def test_mlflow_has_the_figures(
    paths: DataSetPaths,
    start: Callable[..., Logged],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow isn't installed (pip install mlflow)")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sweep, summary = logged("mlflow", paths, start)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{paths.dashboards}/mlflow.db")
    experiment = client.get_experiment_by_name(f"sweep {SWEEP}")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["top_k"] == "50"
    for name, value in summary.items():
        assert run.data.metrics[name] == value
    history = client.get_metric_history(run.info.run_id, "prompt/energy_j")
    assert [(one.step, one.value) for one in history] == [(1, 10.0), (2, 25.0), (3, 31.5)]
    assert list(Path.cwd().iterdir()) == [], "nothing in the working folder"
    assert len(sweep.trials) == 1
