"""Two sweeps of the chaos program; docs/reliability.md tells of a long run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_two_sweeps_under_random_faults() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--sweeps", "2", "--seed", "8"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0" in done.stdout
