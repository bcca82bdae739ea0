"""Altered weights are never measured: a real sweep of a tiny model, before and after."""

from __future__ import annotations

from pathlib import Path

from tests.engine.conftest import REFS
from tests.real.conftest import Orchestrator

SWEEP = (
    *("--space", "lhs", "--samples", "1", "--prompts", "1", "--quantization", "none"),
    *("--use-case", "fantasyWorld", "--range", "max_length=100:110", "--max-new-tokens"),
    *("--model", REFS["llama2"]),
)


def test_a_sweep_goes_on_with_sound_weights_alone(
    orchestrator: Orchestrator, short_folder: Path
) -> None:
    first = orchestrator.tune(*SWEEP, TMPDIR=str(short_folder))
    assert first["executions_run"] == 1
    assert list(short_folder.iterdir()) == [], "torch and others made temporary files"
    assert orchestrator.tune(*SWEEP)["executions_done_before"] == 1
    (weights,) = orchestrator.cache.glob("models/*/model.safetensors")
    zero_the_middle(weights)
    refused = orchestrator.run("tune", *SWEEP, "--repeats", "2", expect=2)
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: model.safetensors of synthetic-llama2-")
    assert "has changed since it was made on " in line
    orchestrator.run("models", "verify", expect=3)
    orchestrator.run("models", "stage", REFS["llama2"], "--again")
    orchestrator.run("models", "verify")
    assert orchestrator.tune(*SWEEP, "--repeats", "2")["executions_run"] == 1


def zero_the_middle(file: Path) -> None:
    """Alter a file in place; its size stays."""
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(bytes(1000))
