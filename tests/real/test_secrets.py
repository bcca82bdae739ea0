"""No secret of the user's environment reaches Ray: its processes, files and answers, or the data.

On a private Ray and on a cluster that `cluster start` started. The hub's token may be in the driver
only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from ray.tune.execution.class_cache import ENV_VARS_TO_PROPAGATE

from tests.real.conftest import Orchestrator
from tests.real.test_faults import (
    SLOW,
    SMALL,
    contains,
    first_execution,
    lines_until,
    start,
    temporary_folders,
)
from tests.real.test_sweep_life import processes_of

NAMES = {
    *(name for name in ENV_VARS_TO_PROPAGATE if not name.startswith(("RAY_", "TUNE_", "TRAIN_"))),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AZURE_CLIENT_SECRET", "AZURE_STORAGE_KEY", "AZURE_STORAGE_CONNECTION_STRING"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_API_KEY", "GCP_PROJECT", "GCS_TOKEN"),
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HF_API_TOKEN"),
    *("WANDB_API_KEY", "WANDB_PROJECT_NAME", "COMET_API_KEY", "MLFLOW_TRACKING_TOKEN"),
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "OPENAI_API_KEY", "GITHUB_TOKEN"),
    *("CODECARBON_API_KEY", "RAY_REDIS_PASSWORD", "SLURM_JWT", "MY_SECRET"),
}
"""What Tune hands out, what services take, and one that nobody knows."""
ADDRESSES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "all_proxy", "CODECARBON_API_ENDPOINT")
"""Variables that reach workers where their address holds no user and no password."""
SECRETS = {
    **{name: f"planted-{name.lower()}-9f2c" for name in NAMES},
    **{name: f"http://ada:planted-{name.lower()}-9f2c@127.0.0.1:9" for name in ADDRESSES},
}
WANTED = {"https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1", "CODECARBON_WUE": "0.5"}
"""What workers need of such a kind."""
ENVIRONMENT = {**SLOW, **SECRETS, **WANTED}
PLANTED = "planted-"

ANSWERS = (
    *(f"/api/v0/{what}?detail=1&limit=1000" for what in ("actors", "workers", "tasks", "nodes")),
    *(f"/api/v0/{what}?detail=1" for what in ("jobs", "runtime_envs", "placement_groups")),
    *("/api/jobs/", "/nodes?view=summary", "/nodes?view=details", "/logical/actors"),
    *("/api/cluster_status", "/api/component_activities", "/api/cluster_metadata", "/api/v0/logs"),
)


@dataclass
class Running:
    """A sweep that measures."""

    orchestrator: Orchestrator
    driver: subprocess.Popen[str]
    dashboard: str

    def pids(self) -> set[int]:
        """Ray's living processes."""
        return set(processes_of(self.orchestrator)) - {self.driver.pid}


@contextlib.contextmanager
def cluster(orchestrator: Orchestrator) -> Iterator[tuple[str, ...]]:
    """The flags for a sweep on a cluster of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    orchestrator.run("cluster", "start", "--machine", "cpu", "--port", str(port), **ENVIRONMENT)
    yield ("--address", f"127.0.0.1:{port}")
    orchestrator.run("cluster", "stop")


@pytest.fixture(params=["private", pytest.param("attached", marks=pytest.mark.slow)])
def running(orchestrator: Orchestrator, request: pytest.FixtureRequest) -> Iterator[Running]:
    with contextlib.ExitStack() as stack:
        flags: tuple[str, ...] = ()
        if request.param == "attached":
            flags = stack.enter_context(cluster(orchestrator))
        driver = start(orchestrator, *SMALL, *flags, **ENVIRONMENT)
        assert driver.stdout
        *_, said = lines_until(driver.stdout, "Ray dashboard: ")
        assert first_execution(orchestrator.folder / "measurements"), said
        yield Running(orchestrator, driver, said.split()[2])
        if driver.poll() is None:
            driver.kill()
            driver.communicate()


def test_no_secret_reaches_ray(running: Running) -> None:
    pids = running.pids()
    assert len(pids) > 5
    told = {pid: path_of(pid, "environ") for pid in pids}
    assert {pid for pid, path in told.items() if contains(path, PLANTED)} == set()
    assert contains(path_of(running.driver.pid, "environ"), SECRETS["HF_TOKEN"]), "planted at all"
    workers = [pid for pid in pids if path_of(pid, "comm").read_text().startswith("ray::Measure")]
    assert workers
    for pid in workers:
        held = path_of(pid, "environ").read_text().split("\0")
        assert set(held) >= {f"{name}={value}" for name, value in WANTED.items()}
    nice = {psutil.Process(pid).nice() for pid in workers}
    assert nice == {psutil.Process(running.driver.pid).nice()}, "what is measured yields to nobody"
    token = (running.orchestrator.cache / "ray_token").read_text()
    answers = {path: answer_of(running.dashboard + path, token) for path in ANSWERS}
    assert "Measure" in answers[ANSWERS[0]], "it knows the sweep's actors"
    assert [path for path, answer in answers.items() if PLANTED in answer] == []
    time.sleep(3)  # Ray writes what it knows of its processes every few seconds
    folders = {folder.parent for folder in temporary_folders(pids)}
    assert len(folders) == 1
    os.killpg(running.driver.pid, signal.SIGTERM)
    (scratch,) = folders
    assert len(list(scratch.rglob("*.log"))) > 5
    assert with_secret(scratch) == []
    said, _ = running.driver.communicate(timeout=60)
    assert running.driver.returncode == 75, said
    assert PLANTED not in said
    assert with_secret(running.orchestrator.folder) == []


def path_of(pid: int, name: str) -> Path:
    return Path(f"/proc/{pid}/{name}")


def with_secret(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and contains(path, PLANTED)]


def answer_of(url: str, token: str) -> str:
    """What the dashboard says, errors too."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    try:
        return str(urllib.request.urlopen(request, timeout=30).read().decode())  # noqa: S310
    except urllib.error.HTTPError as error:
        return str(error.read().decode(errors="replace"))
