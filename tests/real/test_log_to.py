"""Real sweeps that are shown elsewhere: live studies, and Ray Tune's loggers with real packages."""

from __future__ import annotations

from pathlib import Path

import optuna
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.export.optuna_storage import journal
from tests.real.conftest import Orchestrator

SWEEP = (
    *("--engine", "simulated", "--model", "smollm2", "--use-case", "fantasyWorld"),
    *("--prompts", "2", "--range", "max_length=100:110", "--country", "ITA"),
)


def by_folder(out: Path, column: str) -> dict[tuple[int, int], float]:
    """(index, repeat) -> a column of the summary."""
    rows = pq.read_table(out / "summary.parquet").to_pylist()
    return {(row["config_index"], row["repetition"]): row[column] for row in rows}


@pytest.mark.slow  # in short: tests/sweep/test_live_studies.py and tests/ray_tune/test_loggers.py
def test_a_sweep_that_learns_is_shown_live_and_resumed_with_the_same_study(
    orchestrator: Orchestrator,
) -> None:
    flags = ("--space", "optuna", *SWEEP, "--log-to", "tensorboard")
    done = orchestrator.run("tune", "--samples", "2", *flags)
    assert "tensorboard: tensorboard --logdir measurements/.dashboards/tensorboard" in done.stdout
    paths = DataSetPaths(orchestrator.folder / "measurements")
    before = paths.live_studies.read_bytes()
    assert len(list(paths.dashboards.glob("tensorboard/*/*/events.out.tfevents.*"))) == 2
    result = orchestrator.tune("--samples", "3", *flags)
    assert result["trials_run"] == 1
    assert paths.live_studies.read_bytes().startswith(before)
    storage = journal(paths.live_studies)
    [name] = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert study.metric_names == ["energy_per_token_j", "quality"]
    energies = by_folder(paths.root, "energy_per_token_j")
    shown = {
        (trial.user_attrs["config_index"], trial.user_attrs["repetition"]): trial.values[0]
        for trial in study.trials
    }
    assert shown == energies
    said = orchestrator.run("export", "optuna").stdout
    assert f"{name}: 3 trials; energy_per_token_j min, quality max" in said.splitlines()
    orchestrator.run("validate")


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["mlflow", "wandb"])
def test_a_sweep_is_logged_offline(orchestrator: Orchestrator, logger: str) -> None:
    pytest.importorskip(logger, reason=f"{logger} isn't installed (pip install {logger})")
    done = orchestrator.run(
        *("tune", "--space", "lhs", "--samples", "2", *SWEEP, "--log-to", logger),
        WANDB_MODE="offline",
    )
    assert "no more logging" not in done.stderr
    paths = DataSetPaths(orchestrator.folder / "measurements")
    names = {path.name for path in orchestrator.folder.iterdir()}
    assert names == {"measurements", "cache"}, "nothing in the working folder"
    if logger == "wandb":
        assert len(list(paths.dashboards.glob("wandb/offline-run-*/run-*.wandb"))) == 2
    else:
        check_mlflow(paths)
    orchestrator.run("validate")


def check_mlflow(paths: DataSetPaths) -> None:
    """Its runs say what the summary says."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{paths.dashboards}/mlflow.db")
    [experiment] = [one for one in client.search_experiments() if one.name != "Default"]
    runs = client.search_runs([experiment.experiment_id])
    logged = {
        (int(run.data.params["config_index"]), int(run.data.params["repetition"])): run.data.metrics
        for run in runs
    }
    for column in ("energy_per_token_j", "n_new_tokens", "tokens_per_s"):
        expected = by_folder(paths.root, column)
        assert {key: metrics[column] for key, metrics in logged.items()} == expected
