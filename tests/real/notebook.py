"""The notebook for Colab, executed in an environment of its own, with a stand-in for Colab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from orchestrator.yaml_files import packaged_folder

PARAMETERS = {"SPACE", "MODEL", "SAMPLES", "MORE", "HOURS", "SOURCE"}
SMALL = {
    "SPACE": "uniform",
    "MODEL": "smollm2",
    "SAMPLES": 1,
    "MORE": [
        *("--prompts", "1", "--use-case", "fantasyWorld"),
        *("--range", "max_length=100:110", "--country", "ITA"),
    ],
}
"""One execution."""
COLAB = """
import shutil, sys, types
module = types.ModuleType("google.colab")
module.drive = types.SimpleNamespace(mount=lambda path: print("mounted", path))
module.files = types.SimpleNamespace(upload=lambda: shutil.copy({wheel!r}, "."))
class Secrets:
    def get(self, name): raise KeyError(name)
module.userdata = Secrets()
sys.modules["google.colab"] = module
def input(prompt):
    print(prompt)
    return ""
"""
"""Colab's own module, as far as the notebook uses it; its user uploads a wheel when asked."""


class Notebook:
    """Runs the cells by a Python, in a folder, with a folder in the Drive's place."""

    def __init__(self, python: Path, drive: Path, wheel: Path | None = None) -> None:
        """`wheel`: what the user uploads when asked."""
        self._python, self._drive, self._wheel = python, drive, wheel
        drive.mkdir(exist_ok=True)

    def executed(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any
    ) -> dict[str, str]:
        """Run all cells with other parameters; first line of each cell -> what it said."""
        folder.mkdir()
        book = nbformat.read(packaged_folder("clusters") / "colab.ipynb", as_version=4)
        (cell,) = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
        named = {line.partition(" = ")[0] for line in cell.source.splitlines() if " = " in line}
        assert named == PARAMETERS
        given = {**SMALL, **parameters}
        cell.source += "".join(f"\n{name} = {value!r}" for name, value in given.items())
        cell.source += COLAB.format(wheel=str(self._wheel))
        for other in book.cells:
            other.source = other.source.replace("/content/drive/MyDrive", str(self._drive))
        monkeypatch.setenv("JUPYTER_PATH", str(self._kernel(folder)))
        monkeypatch.delenv("PYTHONPATH", raising=False)
        client = NotebookClient(
            book, timeout=900, kernel_name="bare", resources={"metadata": {"path": str(folder)}}
        )
        try:
            client.execute()
        except CellExecutionError as error:
            pytest.fail("\n".join([*map(_said, book.cells), str(error)[-500:]]))
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        return {cell.source.partition("\n")[0]: _said(cell) for cell in code}

    def _kernel(self, folder: Path) -> Path:
        """A folder with the description of a Jupyter kernel of this Python."""
        where = folder / "jupyter"
        (where / "kernels" / "bare").mkdir(parents=True)
        command = [str(self._python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        described = {"argv": command, "display_name": "bare", "language": "python"}
        (where / "kernels" / "bare" / "kernel.json").write_text(json.dumps(described))
        return where


def _said(cell: Any) -> str:
    """All that a cell printed or showed; of a page its beginning."""
    if cell.cell_type != "code":
        return ""
    outputs = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
    ]
    return "".join(outputs) + "".join(
        output.get("data", {}).get("text/html", "")[:100] for output in cell.outputs
    )
