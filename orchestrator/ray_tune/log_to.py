"""--log-to: Ray Tune's own loggers, what each needs, and where a person looks at what it wrote.

They write into the data set's folder of dashboards, which is never published. A tracking server
that MLFLOW_TRACKING_URI names, and W&B, get what they are sent instead.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.atomic_files import make_folder
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ray_tune.loggers import FlatLogger

WANDB_PROJECT = "llm-energy"
"""Where WANDB_PROJECT names none."""
MLFLOW_SERVER = "MLFLOW_TRACKING_URI"
UPLOAD_S = 60
"""How long the end of a sweep waits for W&B to upload."""


class LoggerKind(NamedTuple):
    """One of Ray Tune's loggers."""

    module: str
    """What it imports."""
    package: str
    """What a user installs for it."""
    make: Callable[[DataSetPaths, str], Any]
    """(data set, sweep) -> Ray's callback."""
    shown_by: Callable[[DataSetPaths], str]
    """The command that shows what it wrote, or where that is."""


def check_loggers(names: Iterable[str]) -> None:
    """Raise UserError where a logger's package or account is missing."""
    for name in names:
        kind = LOGGERS[name]
        if importlib.util.find_spec(kind.module) is None:
            raise UserError(
                f"--log-to {name}: the package {kind.package} isn't installed; "
                f"run `pip install {kind.package}`"
            )
        if name == "wandb":
            _check_wandb()


def _check_wandb() -> None:
    """Raise UserError where W&B would ask for a key."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return
    # the key in the environment would be handed to Ray's processes, where others can read it
    os.environ.pop("WANDB_API_KEY", None)
    import wandb

    if not wandb.login(prompt=False):
        raise UserError(
            "--log-to wandb: nobody is logged in here; run `wandb login` once (a key in "
            "WANDB_API_KEY isn't used, since Ray's processes would hand it on), or set "
            "WANDB_MODE=offline"
        )


def loggers_for(names: Iterable[str], paths: DataSetPaths, sweep_id: str) -> list[FlatLogger]:
    """The loggers as Tune's callbacks, one set for each Tuner. Ray must be imported by now."""
    from orchestrator.ray_tune.loggers import FlatLogger

    return [
        FlatLogger(name, partial(LOGGERS[name].make, paths, sweep_id), paths.dashboards, sweep_id)
        for name in dict.fromkeys(names)
    ]


def _tensorboard(_paths: DataSetPaths, _sweep_id: str) -> Any:
    """Event files, in a folder for each trial."""
    from ray.tune.logger import TBXLoggerCallback

    return TBXLoggerCallback()


def _mlflow_file(paths: DataSetPaths) -> str:
    """The address of the file that holds the runs where no server is named."""
    return f"sqlite:///{(paths.dashboards / 'mlflow.db').absolute()}"


def _mlflow(paths: DataSetPaths, sweep_id: str) -> Any:
    """A run for each trial, in an experiment of the sweep's name."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    name, server = f"sweep {sweep_id}", os.environ.get(MLFLOW_SERVER)
    if server:
        return MLflowLoggerCallback(tracking_uri=server, experiment_name=name)
    make_folder(paths.dashboards)
    client = mlflow.MlflowClient(tracking_uri=_mlflow_file(paths))
    # made here, so that files of its runs don't go into the working folder
    if client.get_experiment_by_name(name) is None:
        artifacts = (paths.dashboards / "mlartifacts").absolute()
        client.create_experiment(name, artifact_location=artifacts.as_uri())
    return MLflowLoggerCallback(tracking_uri=_mlflow_file(paths), experiment_name=name)


def _mlflow_shown(paths: DataSetPaths) -> str:
    """The server that the user named, or what shows the file."""
    server = os.environ.get(MLFLOW_SERVER)
    return server or f"mlflow ui --backend-store-uri {_mlflow_file(paths)}"


def _wandb(paths: DataSetPaths, sweep_id: str) -> Any:
    """A run for each trial, in a group of the sweep."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    from ray.air.integrations.wandb import WandbLoggerCallback

    make_folder(paths.dashboards)
    return WandbLoggerCallback(
        project=os.environ.get("WANDB_PROJECT", WANDB_PROJECT),
        group=f"sweep {sweep_id}",
        upload_timeout=UPLOAD_S,
        dir=str(paths.dashboards.absolute()),
    )


def _wandb_shown(paths: DataSetPaths) -> str:
    """Where W&B's runs are."""
    if os.environ.get("WANDB_MODE") == "offline":
        return f"wandb sync --sync-all {paths.dashboards}/wandb"
    return "https://wandb.ai/home"


LOGGERS = {
    "tensorboard": LoggerKind(
        "tensorboardX",
        "tensorboardX",
        _tensorboard,
        lambda paths: f"tensorboard --logdir {paths.dashboards}/tensorboard",
    ),
    "mlflow": LoggerKind("mlflow", "mlflow", _mlflow, _mlflow_shown),
    "wandb": LoggerKind("wandb", "wandb", _wandb, _wandb_shown),
}
"""What --log-to takes."""


def shown_by(names: Iterable[str], paths: DataSetPaths) -> list[str]:
    """A line for each logger: what shows its runs."""
    return [f"{name}: {LOGGERS[name].shown_by(paths)}" for name in dict.fromkeys(names)]
