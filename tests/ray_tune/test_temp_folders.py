"""Temporary folders: what processes get that are started meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.gpu.lock import lock_file
from orchestrator.ray_tune.temp_folders import temporary_files_in

SAY = (
    "import tempfile; from orchestrator.gpu.lock import lock_file; "
    "from torch._inductor.runtime.cache_dir_utils import cache_dir; "
    "print(tempfile.gettempdir(), lock_file('GPU-1'), cache_dir())"
)


@pytest.mark.parametrize("before", [None, "set"])
def test_others_files_go_into_the_folder_but_for_the_locks_of_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    """Two sweeps must meet at one lock, though their workers' temporary folders differ."""
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.delenv("ORCHESTRATOR_HOST_TEMP", raising=False)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    if before is not None:
        monkeypatch.setenv("TMPDIR", tempfile.gettempdir())
    ours = lock_file("GPU-1")
    with temporary_files_in(tmp_path / "t"):
        said = subprocess.run(
            [sys.executable, "-c", SAY], capture_output=True, text=True, check=True
        ).stdout.split()
    mine, lock, of_torch = said
    assert (mine, lock) == (str(tmp_path / "t"), str(ours))
    assert Path(of_torch).parent == tmp_path / "t", "torch makes it as soon as a model is loaded"
    assert os.environ.get("TMPDIR") == (tempfile.gettempdir() if before else None)
    assert "ORCHESTRATOR_HOST_TEMP" not in os.environ
