"""Work and runs that are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.bench.running import NO_GPU, Answer, WayRun, way_run
from orchestrator.bench.work import Generation, PlannedTrial, Work

TRIALS = ("first", "second")


def work(**changes: Any) -> Work:
    """Two trials of two prompts."""
    generations = [
        Generation(
            prompt=number,
            text=f"prompt {number}",
            seed=7,
            max_length=100,
            do_sample=True,
            top_k=40,
            top_p=0.9,
            temperature=1.0,
        )
        for number in (1, 2)
    ]
    values: dict[str, Any] = {
        "model_folder": Path("weights"),
        "quantization": {"name": "none", "bits": None},
        "of_new_tokens": False,
        "context_length": 200,
        "threads": 2,
        "gpu_index": None,
        "country_iso_code": "ITA",
        "trials": tuple(PlannedTrial(trial, tuple(generations)) for trial in TRIALS),
    }
    return Work(**values | changes)


def answers(window_s: float = 1.0, began_at: float = 103.0, **changes: Any) -> tuple[Answer, ...]:
    """An answer to each prompt of `work`; `changes` are those of the last one."""
    made: list[dict[str, Any]] = [
        {
            "trial": trial,
            "prompt": prompt,
            "began_at": began_at,
            "window_s": window_s,
            "n_new_tokens": 10,
            "text": f"{trial} {prompt}",
        }
        for trial in TRIALS
        for prompt in (1, 2)
    ]
    made[-1] |= changes
    return tuple(Answer(**one) for one in made)


def run(number: int = 1, given: tuple[Answer, ...] | None = None, **changes: Any) -> WayRun:
    """A way that began at 100 s and took 10 s."""
    values: dict[str, Any] = {
        "wall_s": 10.0,
        "began_at": 100.0,
        "n_trials": 2,
        "energy_j": None,
        "energy_unknown_because": NO_GPU,
        "protocol_s": None,
        "load_1min": 0.5,
    }
    return way_run(number, answers() if given is None else given, **values | changes)
