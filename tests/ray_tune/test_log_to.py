"""What --log-to asks for before anything is started, and what it says."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.options import RUN_OPTIONS
from orchestrator.cli.tune_command import tune
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.errors import UserError
from orchestrator.ray_tune.log_to import LOGGERS, check_loggers, shown_by
from tests.commandline import Outcome

PATHS = DataSetPaths(Path("measurements"))


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package of a logger is installed."""
    real = importlib.util.find_spec
    modules = {kind.module for kind in LOGGERS.values()}

    def found(name: str, *rest: Any) -> Any:
        return None if name in modules else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", found)


@pytest.mark.usefixtures("missing")
@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_told_in_a_sentence_before_anything_starts(
    call: Callable[..., Outcome], name: str, tmp_path: Path
) -> None:
    out = tmp_path / "measurements"
    done = call("tune", "--space", "lhs", "--log-to", name, "--out", str(out))
    package = LOGGERS[name].package
    said = f"--log-to {name}: the package {package} isn't installed; run `pip install {package}`"
    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n")
    assert not out.exists()


def test_tensorboard_comes_with_ray() -> None:
    check_loggers(["tensorboard", "tensorboard"])


def test_the_option_takes_what_there_is() -> None:
    [option] = [parameter for parameter in tune.params if parameter.name == "log_to"]
    assert list(option.type.choices) == list(LOGGERS)
    assert RUN_OPTIONS


def test_it_says_how_to_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    here = Path.cwd()
    assert shown_by(("tensorboard", "mlflow", "wandb", "wandb"), PATHS) == [
        "tensorboard: tensorboard --logdir measurements/.dashboards/tensorboard",
        f"mlflow: mlflow ui --backend-store-uri sqlite:///{here}/measurements/.dashboards/mlflow.db",
        "wandb: wandb sync --sync-all measurements/.dashboards/wandb",
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert shown_by(("mlflow",), PATHS) == ["mlflow: http://127.0.0.1:5000"]


def test_wandb_without_an_account_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb", reason="wandb isn't installed (pip install wandb)")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UserError, match="--log-to wandb: nobody is logged in here"):
        check_loggers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_loggers(["wandb"])
