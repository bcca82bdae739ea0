"""The notebook for Colab after a cut-off, and in an environment that was made from nothing.

tests/real/test_wheel.py runs it once with SmolLM2.
"""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from tests.real.conftest import Orchestrator
from tests.real.notebook import SMALL, Notebook

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, real_cache: Path
) -> Path:
    """A short folder, and the variables of the command line."""
    for name, value in orchestrator.environment(ORCHESTRATOR_CACHE=str(real_cache)).items():
        monkeypatch.setenv(name, value)
    return orchestrator.folder


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["simulated", "transformers"])
def test_a_second_session_goes_on_with_what_the_drive_has(
    environment: Path, bare_python: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "simulated":
        monkeypatch.setenv("ORCHESTRATOR_SIMULATED_TOKEN_S", "0.005")
    drive = environment / "drive"
    notebook = Notebook(bare_python, drive, wheel)
    more = ["--engine", engine, *SMALL["MORE"]]
    first = notebook.executed(environment / "first", monkeypatch, MORE=more)
    judged = "\n".join(said for cell, said in first.items() if cell.startswith("# Judge"))
    assert ("1 usable" in judged or "1 discarded" in judged) == (engine == "transformers"), judged
    # the machine is gone, the Drive is there
    second = notebook.executed(environment / "second", monkeypatch, MORE=more)
    said = "\n".join(second.values())
    assert "1 trial copied" in said
    assert "Nothing is left to do: all 1 executions" in said
    assert "leave empty to upload a wheel" not in said, "the wheel is on the Drive"


@pytest.mark.slow
def test_in_an_environment_made_from_nothing(
    environment: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colab has pip and ipykernel; all else comes by the notebook's own `pip install`."""
    venv.create(environment / "venv", with_pip=True)
    python = environment / "venv" / "bin" / "python"
    monkeypatch.setenv("PIP_CONSTRAINT", str(ROOT / "constraints.txt"))
    subprocess.run([python, "-m", "pip", "install", "-q", "ipykernel"], check=True)
    notebook = Notebook(python, environment / "drive")
    said = notebook.executed(environment / "first", monkeypatch, SOURCE=str(wheel))
    assert "The sweep is complete." in "\n".join(said.values())
