"""Feeds a logger of Ray Tune with flat numbers, since what goes through Tune here is one value.

A step is a prompt, with its figures under `prompt/`; the last step has the trial's figures, named
and computed as the columns of summary.parquet. Parameters are the configuration, the setup and
where the trial ran. What the data set refused or Tune told twice isn't logged twice.

Logging happens where Tune tells its callbacks: in the driver, outside of the recorder's lock, and
not while that trial's worker measures. An attempt is a run of its own. A logger that fails ends
with one warning; the sweep goes on.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.logger import LoggerCallback
from ray.tune.result import TRAINING_ITERATION

from orchestrator.dataset.schema import Execution
from orchestrator.dataset.summary import SummaryColumns, summary_values
from orchestrator.dataset.tables import chosen_of
from orchestrator.dataset.trial_files import Measured, Origin, RunningTrial, record_of
from orchestrator.nouns import TrialSpec
from orchestrator.ray_tune.harmless import harmless

OF_PROMPT = (
    *("n_prompt_tokens", "n_new_tokens", "window_s", "ttft_s", "tokens_per_s"),
    *("energy_per_token_j", "energy_j", "gpu_energy_counter_j", "cpu_energy_j", "ram_energy_j"),
)
"""Figures of an execution that are logged, where they are known."""
PARAMETERS = (
    *("max_length", "top_p", "top_k", "temperature"),
    *("config_index", "repetition", "attempt", "config_hash", "sweep_id"),
    *("model", "use_case", "strategy", "quantization", "engine", "batch_size", "length_mode"),
    *("machine", "gpu_name", "session_id"),
)
"""Columns that a run has as its parameters."""


class LoggedTrial:
    """A trial as Ray's loggers ask for it."""

    def __init__(self, spec: TrialSpec, origin: Origin, folder: Path, sweep_id: str) -> None:
        columns = origin.columns.model_dump()
        known = {name: columns[name] for name in PARAMETERS if columns[name] is not None}
        self.config = self.evaluated_params = known
        # a trial whose worker died early is tried again under the same name
        self.trial_id = uuid.uuid4().hex[:12]
        self.experiment_dir_name = f"sweep {sweep_id}"
        machine, model, use_case = columns["machine"], columns["model"], columns["use_case"]
        self._name = f"{model}-{use_case}-{spec.folder()}-{machine}"
        self.local_path = str(folder / sweep_id / self._name)
        self.running = RunningTrial(spec, origin, "", [])

    def __str__(self) -> str:
        """Its name in the tool."""
        return self._name

    def init_local_path(self) -> None:
        """Make the folder of its files."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def has(self, prompt_number: int) -> bool:
        """Whether a prompt was logged."""
        return any(one.execution.prompt_number == prompt_number for one in self.running.measured)


class FlatLogger(Callback):  # type: ignore[misc]  # ray has no types
    """One of Ray's loggers, told of trials as numbers."""

    def __init__(
        self, name: str, make: Callable[[], LoggerCallback], folder: Path, sweep_id: str
    ) -> None:
        """`make`: makes Ray's; `folder`: of dashboards, in which it has one of its own."""
        self.shows, self.broken = f"logging to {name}", False
        self._make, self._logger = make, LoggerCallback()
        self._folder, self._sweep_id = (folder / name).absolute(), sweep_id
        self._specs: dict[str, TrialSpec] = {}
        self._running: dict[str, LoggedTrial] = {}
        """By the names that Tune gives its trials."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave all out: Tune pickles callbacks into a state that is never restored."""
        return {}

    @harmless
    def setup(self, *arguments: Any, **info: Any) -> None:
        """Make the logger, and let it connect to where it writes."""
        self._logger = self._make()
        self._logger.setup(*arguments, **info)

    @harmless
    def on_trial_start(self, /, *, trial: Any, **_info: Any) -> None:
        """Remember what a trial is, which is forgotten when it is over."""
        self._specs[trial.trial_id] = trial.config["assignment"].assignment.spec

    @harmless
    def on_trial_result(
        self, /, *, iteration: int, trial: Any, result: dict[str, Any], **_info: Any
    ) -> None:
        """Log where a trial runs, or the prompts that it has done."""
        event, trial_id = result.get("event"), trial.trial_id
        if event == "ready" and trial_id not in self._running:
            origin = Origin.model_validate_json(result["origin"])
            logged = LoggedTrial(self._specs[trial_id], origin, self._folder, self._sweep_id)
            logged.init_local_path()
            self._running[trial_id] = logged
            self._logger.log_trial_start(logged)
        elif event == "executions" and trial_id in self._running:
            logged = self._running[trial_id]
            for one in map(Measured.model_validate_json, result["measured"]):
                if not logged.has(one.execution.prompt_number):
                    logged.running.measured.append(one)
                    self._log(iteration, logged, _of_prompt(one.execution))

    def _log(self, iteration: int, logged: LoggedTrial, figures: dict[str, float]) -> None:
        """Log figures as a step: the prompts so far."""
        step = {TRAINING_ITERATION: len(logged.running.measured)}
        self._logger.log_trial_result(iteration, logged, figures | step)

    @harmless
    def on_trial_complete(self, /, *, iteration: int, trial: Any, **_info: Any) -> None:
        """Log a trial's figures, and that it is over."""
        self._end(iteration, trial.trial_id, failed=False)

    @harmless
    def on_trial_error(self, /, *, iteration: int, trial: Any, **_info: Any) -> None:
        """Log what a trial has whose worker was lost, and that it failed."""
        self._end(iteration, trial.trial_id, failed=True)

    def _end(self, iteration: int, trial_id: str, *, failed: bool) -> None:
        """End a trial's run; one without any answer failed."""
        self._specs.pop(trial_id, None)
        logged = self._running.pop(trial_id, None)
        if logged is None:  # it never began, or Tune tells of it once more
            return
        if logged.running.measured:
            figures = _of_trial(logged.running)
            self._log(iteration, logged, figures)
            failed = failed or not figures["n_ok"]
        self._logger.log_trial_end(logged, failed=failed)

    @harmless
    def on_experiment_end(self, /, *, trials: list[Any], **info: Any) -> None:
        """Let the logger send what it has left."""
        self._logger.on_experiment_end(trials=trials, **info)


def _of_prompt(execution: Execution) -> dict[str, float]:
    """The figures of an execution that are known."""
    figures = {name: getattr(execution, name) for name in OF_PROMPT}
    figures["failed"] = int(execution.status != "ok")
    return {f"prompt/{name}": value for name, value in figures.items() if value is not None}


def _of_trial(trial: RunningTrial) -> dict[str, float]:
    """The numbers of the summary of what a trial has, as far as they are known."""
    row = summary_values(chosen_of([record_of(trial)]))
    figures = {name: row[name] for name in SummaryColumns.model_fields}
    return {name: value for name, value in figures.items() if isinstance(value, (int, float))}
