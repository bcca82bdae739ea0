"""Real sweeps: the command line in a process of its own, with its own Ray, on the real small model.

The model is staged once a session into a cache of the test's own. ORCHESTRATOR_TEST_CACHE keeps one
between sessions.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trial_files import read_trial

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real)


@dataclass
class Orchestrator:
    """Runs `python -m orchestrator ...` from an empty folder with a given cache."""

    folder: Path
    cache: Path

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_"))}
        return {**kept, "ORCHESTRATOR_CACHE": str(self.cache), "HF_HUB_OFFLINE": "1", **extra}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *arguments]

    def run(
        self, *arguments: str, expect: int = 0, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def tune(self, *arguments: str, expect: int = 0, **extra: str) -> dict[str, Any]:
        """A sweep with --json; its result."""
        result: dict[str, Any] = json.loads(
            self.run("tune", "--json", *arguments, expect=expect, **extra).stdout
        )
        return result


@pytest.fixture(scope="session")
def real_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the small model."""
    kept = os.environ.get("ORCHESTRATOR_TEST_CACHE")
    cache = Path(kept) if kept else tmp_path_factory.mktemp("cache")
    Orchestrator(cache, cache).run("models", "stage", "smollm2")
    return cache


@pytest.fixture
def orchestrator(tmp_path: Path) -> Orchestrator:
    """Without a model: for the simulated engine."""
    return Orchestrator(tmp_path, tmp_path / "cache")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path that is short enough for Ray's sockets."""
    folder = Path(f"/tmp/o{os.getpid() % 10_000}")  # noqa: S108 - made here, private and empty
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def trials() -> Callable[[Path], list[TrialRecord]]:
    """Reads every sealed trial of a data set."""

    def read(out: Path) -> list[TrialRecord]:
        return [read_trial(path.parent) for path in sorted(out.glob("*/*/*/*/*/trial.json"))]

    return read


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def bare_python(tmp_path: Path) -> Path:
    """A Python without this program, to which this environment lends everything else."""
    environment = tmp_path / "bare"
    venv.create(environment)
    lent = environment / "lent"
    lent.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "orchestrator" not in path.name:
            (lent / path.name).symlink_to(path)
    site = next((environment / "lib").glob("python*/site-packages"))
    # a .pth adds the folder itself but doesn't run the .pth files in it
    (site / "lent.pth").write_text(f"{lent}\n")
    return environment / "bin" / "python"
