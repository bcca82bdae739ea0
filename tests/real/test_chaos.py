"""The chaos program, shortly; docs/reliability.md tells of a long run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # in short: the single faults of test_faults.py, test_signals.py and others
@pytest.mark.parametrize(
    "options",
    [("--sweeps", "2", "--seed", "8", "--faults", "1"), ("--sweeps", "6", "--seed", "9")],
)
def test_sweeps_under_random_faults(options: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.chaos", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, doubled 0" in done.stdout
