"""The built wheel where nothing else of this program is, by the notebook and by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.conftest import Orchestrator
from tests.real.notebook import Notebook

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, real_cache: Path
) -> Path:
    """The folder of a test, with the variables of the command line."""
    for name, value in orchestrator.environment(ORCHESTRATOR_CACHE=str(real_cache)).items():
        monkeypatch.setenv(name, value)
    return orchestrator.folder


@pytest.mark.slow  # over a minute: a wheel, and the small model
def test_the_notebook_runs_from_top_to_bottom_where_the_program_is_not_installed(
    environment: Path, bare_python: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Colab: its user uploads the wheel, and it runs the real small model."""
    notebook = Notebook(bare_python, environment / "drive", wheel)
    said = notebook.executed(environment / "content", monkeypatch)
    everything = "\n".join(said.values())
    assert "leave empty to upload a wheel" in said["# Install"]
    assert (environment / "drive" / wheel.name).exists(), "for the next session"
    assert "The sweep is complete." in everything
    assert "What it costs: An answer took" in everything, everything
    assert "1 of 1 executions" in said["# Check the data set"]
    assert "0 errors" in said["# Check the data set"]
    kept, here = environment / "drive" / "measurements", environment / "content" / "measurements"
    assert (kept / "report.html").read_bytes() == (here / "report.html").read_bytes()
    assert "<iframe" in everything
    # that environment has it now
    plan = [bare_python, "-m", "orchestrator", "plan", "--space", "lhs", "--out", "none"]
    shown = subprocess.run(plan, cwd=environment, capture_output=True, text=True, check=True).stdout
    where = bare_python.parents[1].relative_to(environment) / "lib"
    assert f" {where}/" in shown, shown
    assert "site-packages/orchestrator/data/search_spaces/lhs.yaml" in shown
    assert not (environment / "none").exists(), "plan wrote something"


@pytest.mark.slow
def test_a_program_that_uses_the_wheel_is_type_checked(
    bare_python: Path, wheel: Path, tmp_path: Path
) -> None:
    """Each mistake in it is found; the checkout's own check of it is part of `mypy`."""
    (site,) = (bare_python.parents[1] / "lib").glob("python*/site-packages")
    shutil.unpack_archive(wheel, site, "zip")
    assert {"py.typed", "__init__.pyi"} <= {path.name for path in (site / "orchestrator").iterdir()}
    program = tmp_path / "consumer.py"
    program.write_bytes((ROOT / "tests" / "api" / "consumer.py").read_bytes())
    checked = ["mypy", "--strict", "--python-executable", str(bare_python), program.name]
    found = subprocess.run(
        [sys.executable, "-m", *checked],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
