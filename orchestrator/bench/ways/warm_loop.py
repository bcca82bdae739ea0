"""The bare warm loop: the model is loaded once, and nothing runs beside what must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.bench.ways.bare import load, main, run_trial


def do_all(work: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The answers of all trials."""
    model, tokenizer = load(work)
    answers = []
    for trial in work["trials"]:
        answers += run_trial(work, trial, model, tokenizer, folder)
    return answers


if __name__ == "__main__":
    main(do_all)
