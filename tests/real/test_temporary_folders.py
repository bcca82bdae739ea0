"""What a run leaves in the folder for temporary files: nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.conftest import Orchestrator
from tests.real.test_sweep_life import SIMULATED


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path that is short enough for Ray's sockets."""
    folder = Path(f"/tmp/o{os.getpid() % 10_000}")  # noqa: S108 - made here, private and empty
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


def test_a_sweep_leaves_no_temporary_file(orchestrator: Orchestrator, folder: Path) -> None:
    """Ray kills its dashboard, which has a pymp-* folder; workers and libraries have others."""
    orchestrator.tune("--space", "uniform", "--samples", "1", *SIMULATED, TMPDIR=str(folder))
    assert list(folder.iterdir()) == []
