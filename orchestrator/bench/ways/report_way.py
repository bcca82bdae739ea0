"""The report's way (section 5.3): each configuration loads and quantizes the model anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.bench.ways.bare import load, main, run_trial


def do_all(work: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The answers of all trials; one trial's model is gone before the next is loaded."""
    answers = []
    for trial in work["trials"]:
        answers += _loaded_and_run(work, trial, folder)
    return answers


def _loaded_and_run(
    work: dict[str, Any], trial: dict[str, Any], folder: Path
) -> list[dict[str, Any]]:
    """The answers of one trial."""
    model, tokenizer = load(work)
    return run_trial(work, trial, model, tokenizer, folder)


if __name__ == "__main__":
    main(do_all)
