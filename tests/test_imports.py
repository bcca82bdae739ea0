"""The verbs that measure nothing load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("ray", "torch", "transformers", "codecarbon", "optuna", "bitsandbytes")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["tune", "--help"],
        ["plan", "--space", "lhs"],
        ["plan", "--space", "optuna"],
        ["summarize", "--out", "."],
        ["models", "list"],
        ["validate", "--out", "."],
        ["publish", "--help"],
        ["import", "--help"],
        ["review", "--help"],
    ],
    ids=" ".join,
)
def test_no_heavy_import(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from orchestrator.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.strip().splitlines()[-1] == "LOADED []"
