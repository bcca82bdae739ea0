"""What a run leaves in the folder for temporary files: nothing."""

from __future__ import annotations

from pathlib import Path

from tests.real.conftest import Orchestrator
from tests.real.test_sweep_life import SIMULATED


def test_a_sweep_leaves_no_temporary_file(orchestrator: Orchestrator, short_folder: Path) -> None:
    """Ray kills its dashboard, which has a pymp-* folder; workers and libraries have others."""
    orchestrator.tune("--space", "uniform", "--samples", "1", *SIMULATED, TMPDIR=str(short_folder))
    assert list(short_folder.iterdir()) == []
