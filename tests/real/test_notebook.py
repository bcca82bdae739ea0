"""The notebook for Colab, executed from top to bottom, and once more as after a cut-off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from orchestrator.yaml_files import packaged_folder
from tests.real.conftest import Orchestrator

SMALL = {"SPACE": "uniform", "MODEL": "smollm2", "SAMPLES": 1, "HOURS": 1.0}
FLAGS = [
    "--prompts",
    "1",
    "--use-case",
    "fantasyWorld",
    "--range",
    "max_length=100:110",
    "--country",
    "ITA",
]
COLAB = """
import sys, types
module = types.ModuleType("google.colab")
module.drive = types.SimpleNamespace(mount=lambda path: print("mounted", path))
class Secrets:
    def get(self, name): raise KeyError(name)
module.userdata = Secrets()
sys.modules["google.colab"] = module
"""
"""Colab's own module, as far as the notebook uses it."""


def executed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, drive: Path | None = None, **parameters: Any
) -> list[str]:
    """Run all cells with other parameters; what each said."""
    book = nbformat.read(packaged_folder("clusters") / "colab.ipynb", as_version=4)
    (cell,) = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert {line.partition(" = ")[0] for line in cell.source.splitlines() if " = " in line} == {
        *SMALL,
        "MORE",
        "SOURCE",
    }
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in parameters.items())
    if drive:
        cell.source += COLAB
        for other in book.cells:
            other.source = other.source.replace("/content/drive/MyDrive/measurements", str(drive))
    monkeypatch.setenv("JUPYTER_PATH", "")
    client = NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    try:
        client.execute()
    except CellExecutionError as error:
        pytest.fail("\n".join([*map(_said, book.cells), str(error)[-500:]]))
    return [_said(cell) for cell in book.cells if cell.cell_type == "code"]


def _said(cell: Any) -> str:
    if cell.cell_type != "code":
        return ""
    outputs = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    ]
    return "".join(outputs) + "".join(
        output.get("data", {}).get("text/html", "")[:100] for output in cell.outputs
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["simulated", "transformers"])
def test_all_cells_run_and_run_again(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, real_cache: Path, engine: str
) -> None:
    for name, value in orchestrator.environment(ORCHESTRATOR_CACHE=str(real_cache)).items():
        monkeypatch.setenv(name, value)
    drive = orchestrator.folder / "drive"
    first, second = orchestrator.folder / "first", orchestrator.folder / "second"
    first.mkdir()
    second.mkdir()
    small = {**SMALL, "MORE": ["--engine", engine, *FLAGS]}
    if engine == "simulated":
        monkeypatch.setenv("ORCHESTRATOR_SIMULATED_TOKEN_S", "0.005")
    *_, tuned, checked, judged, table, shown = executed(first, monkeypatch, drive=drive, **small)
    assert "The sweep is complete." in tuned
    assert "1 of 1 executions" in checked
    assert "0 errors" in checked
    assert ("1 usable" in judged or "1 discarded" in judged) == (engine == "transformers"), judged
    assert "smollm2" in table
    assert "report.html" in shown
    assert "<iframe" in shown
    assert (drive / "report.html").read_bytes() == (
        first / "measurements" / "report.html"
    ).read_bytes()
    # the machine is gone, the Drive is there
    _, _, mounted, *_, tuned, _, _, _, _ = executed(second, monkeypatch, drive=drive, **small)
    assert "1 trial copied" in mounted
    assert "Nothing is left to do: all 1 executions" in tuned
